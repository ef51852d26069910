#!/usr/bin/env bash
# Needs ROLE_ARN, the role of the function, and secret.json.
set -euo pipefail
python3 -m pip install --target package --platform manylinux2014_x86_64 --python-version 3.13 --only-binary :all: -r requirements.txt
cp handler.py package/
(cd package && python3 -m zipfile -c ../function.zip ./*)
aws secretsmanager create-secret --name alm-enrollments --secret-string file://secret.json
aws lambda create-function --function-name alm-enrollments --runtime python3.13 --handler handler.handler \
  --zip-file fileb://function.zip --role "$ROLE_ARN" --timeout 30 --memory-size 512 \
  --environment 'Variables={SECRET_ID=alm-enrollments}'
aws lambda create-function-url-config --function-name alm-enrollments --auth-type NONE
# Both only through the URL, where the handler requires the server's key.
aws lambda add-permission --function-name alm-enrollments --statement-id url --principal '*' \
  --action lambda:InvokeFunctionUrl --function-url-auth-type NONE
aws lambda add-permission --function-name alm-enrollments --statement-id url-invoke --principal '*' \
  --action lambda:InvokeFunction --invoked-via-function-url
