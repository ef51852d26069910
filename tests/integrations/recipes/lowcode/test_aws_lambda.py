"""The Lambda function, called as Lambda's runtime calls it, its secret in a stand-in of Secrets Manager."""

from __future__ import annotations

import base64
import json
import re
import shlex
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from .conftest import EXAMPLES, KEY, example, judged, newest_first

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import RunPython

FOLDER = EXAMPLES / "aws-lambda"
# What the runtime does: imports the module, then calls the handler with each event and its context.
AS_LAMBDA = """
import json, sys, types
sys.path.insert(0, ".")
import handler
context = types.SimpleNamespace(get_remaining_time_in_millis=lambda: 30_000)
print(json.dumps(handler.handler(json.load(sys.stdin), context)))
"""
COMMANDS = [
    shlex.split(line, comments=True)
    for line in example("aws-lambda/deploy.sh").replace("\\\n", "").splitlines()
]


@pytest.fixture
def function(reaching: dict[str, str]) -> Iterator[dict[str, str]]:
    """Return the variables that Lambda gives the function, in front of an account that has the recipe's secret."""
    held = json.dumps({**reaching, "ALM_SERVE_KEY": KEY})

    class SecretsManager(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            is_it = (self.headers["X-Amz-Target"], asked) == (
                "secretsmanager.GetSecretValue",
                {"SecretId": "alm-enrollments"},
            )
            body = json.dumps(
                {"Name": "alm-enrollments", "SecretString": held} if is_it else {}
            ).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Write nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), SecretsManager) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {
            "SECRET_ID": "alm-enrollments",
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": f"http://127.0.0.1:{server.server_port}",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        server.shutdown()


def request_event(
    method: str, path: str, query: str = "", body: str | None = None, **headers: str
) -> dict[str, Any]:
    """Return what Lambda hands a function for a request to its URL: payload format 2.0."""
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": {
            "host": "abc.lambda-url.eu-central-1.on.aws",
            "x-forwarded-proto": "https",
            "x-forwarded-port": "443",
            **headers,
        },
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "abc",
            "domainName": "abc.lambda-url.eu-central-1.on.aws",
            "domainPrefix": "abc",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "203.0.113.7",
                "userAgent": "n8n",
            },
            "requestId": "5c1d1a4b-0000-4000-8000-000000000000",
            "routeKey": "$default",
            "stage": "$default",
            "time": "12/Mar/2026:19:03:58 +0000",
            "timeEpoch": 1773342238000,
        },
        **({"body": base64.b64encode(body.encode()).decode()} if body else {}),
        "isBase64Encoded": body is not None,
    }


def answered(
    run_python: RunPython, event: dict[str, Any], variables: dict[str, str]
) -> dict[str, Any]:
    """Return what the function returns to Lambda for *event*."""
    finished = run_python(AS_LAMBDA, event, variables, FOLDER)
    assert finished.exit_code == 0, finished.stderr
    returned: dict[str, Any] = json.loads(finished.stdout)
    return returned


def test_invoked__is_the_document(function: dict[str, str], run_python: RunPython) -> None:
    """An event that is inputs returns the document; what else is in it, a host for the token included, is not looked at."""
    event = {
        "user_id": "20941371",
        "lo_types": "all",
        "base_url": "https://example.com",
        "output_file": "out.json",
    }

    document = judged(answered(run_python, event, function))

    assert sorted(document["enrollment_ids"]) == sorted(newest_first())
    assert document["output_file"] is None


def test_invoked__what_it_raises_fails_the_invocation(
    function: dict[str, str], run_python: RunPython
) -> None:
    """A learner whom ALM does not know fails the invocation, under the name that Step Functions can catch."""
    raised = run_python(AS_LAMBDA, {"user_id": "4041"}, function, FOLDER).raised

    assert raised.startswith("connector.errors.UserNotFoundError: ALM knows no user 4041")


@pytest.mark.parametrize(
    "request_",
    [
        ("POST", "/v1/enrollments", "", json.dumps({"user_id": "20941371", "lo_types": ["all"]})),
        ("GET", "/v1/enrollments", "user_id=20941371&lo_types=all"),
    ],
    ids=["POST", "GET"],
)
def test_requested__answers_as_the_door(
    request_: tuple[str, ...], function: dict[str, str], run_python: RunPython
) -> None:
    """A request to the function's URL is answered with the document, newest first, as text."""
    event = request_event(
        *request_, **{"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    )

    answer = answered(run_python, event, function)

    assert (answer["statusCode"], answer["isBase64Encoded"], answer["headers"]["content-type"]) == (
        200,
        False,
        "application/json",
    )
    assert judged(json.loads(answer["body"]))["enrollment_ids"] == newest_first()


def test_requested__wants_the_key(function: dict[str, str], run_python: RunPython) -> None:
    """Without the key nothing is read."""
    answer = answered(
        run_python, request_event("GET", "/v1/enrollments", "user_id=20941371"), function
    )

    assert (answer["statusCode"], json.loads(answer["body"])["enrollments"]) == (401, [])


def test_deploy__commands_are_awss() -> None:
    """Every command of aws, and each of its flags, is one of AWS's API as botocore describes it; so are the runtime and the actions."""
    session = import_module("botocore.session").get_session()
    for service, command, *words in [argv[1:] for argv in COMMANDS if argv[:1] == ["aws"]]:
        model = session.get_service_model(service)
        operation = model.operation_model("".join(part.capitalize() for part in command.split("-")))
        allowed = {
            "--" + re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()
            for name in operation.input_shape.members
        } | {"--zip-file"}
        assert [word for word in words if word.startswith("--") and word not in allowed] == []
    runtimes = session.get_service_model("lambda").shape_for("Runtime").enum

    assert [
        argv[argv.index("--runtime") + 1] in runtimes for argv in COMMANDS if "--runtime" in argv
    ] == [True]


def test_deploy__what_it_builds_is_what_runs() -> None:
    """The packages are for the runtime's Python and machine, the handler's module goes with them, and the secret is no argument."""
    install, create = (
        next(argv for argv in COMMANDS if word in argv) for word in ("install", "create-function")
    )

    assert (
        create[create.index("--runtime") + 1]
        == f"python{install[install.index('--python-version') + 1]}"
    )
    assert create[create.index("--handler") + 1] == "handler.handler"
    assert next(argv for argv in COMMANDS if "create-secret" in argv)[-1] == "file://secret.json"
    assert example("aws-lambda/requirements.txt").split() == [
        "alm-enrollments-connector",
        "apig-wsgi",
    ]
