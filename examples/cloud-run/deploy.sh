#!/usr/bin/env bash
set -euo pipefail
python3 -c 'import secrets; print(secrets.token_urlsafe(32), end="")' | gcloud secrets create alm-serve-key --data-file=-
gcloud secrets create alm-access-token --data-file=- # waits for the token on standard input, ended by Ctrl-D
gcloud run services replace service.yaml --region "$REGION"
