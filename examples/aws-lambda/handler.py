"""Return the document of a run to invocations, and serve the HTTP API at the function's URL."""

import json
import os

import boto3
from apig_wsgi import make_lambda_handler

import connector
import connector.server

# No input can name another host or a file.
INPUTS = ("user_id", "lo_types", "since", "completed_since", "state", "include", "names")

secret = boto3.client("secretsmanager").get_secret_value(SecretId=os.environ["SECRET_ID"])
os.environ.update(json.loads(secret["SecretString"]))
answer_request = make_lambda_handler(connector.server.application)


def handler(event, context):
    """Return an HTTP response if *event* is a request, else the document of a run."""
    if "requestContext" in event:
        return answer_request(event, context)
    if unknown := sorted(set(event) - set(INPUTS)):
        raise ValueError(f"not an input of this function: {', '.join(unknown)}")
    # The remaining time is for returning the document.
    seconds = context.get_remaining_time_in_millis() / 1000 * 0.9
    return connector.run(deadline=seconds, **{name: event.get(name) for name in INPUTS})
