"""The recipes that import the connector: each function runs once, as its platform calls it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.integrations.recipes.conftest import EXAMPLES, KEY, example, recipe, run_python
from tests.support.process import valid_document
from tests.support.sandbox import DOCUMENTED_IDS, reaching

if TYPE_CHECKING:
    from connector.sandbox.server import SandboxServer

IMPORTS = "import json, os, sys; from types import SimpleNamespace as Object"
PIPEDREAM = f"""{IMPORTS}
import enrollments
pd = Object(steps={{"trigger": {{"event": {{"body": json.load(sys.stdin)}}}}}})
print(json.dumps(enrollments.handler(pd)))
"""
# Instead of Windmill's client, an object with its one function.
WINDMILL = f"""{IMPORTS}
account = {{name: os.environ.pop(name) for name in ("ALM_BASE_URL", "ALM_ACCESS_TOKEN")}}
sys.modules["wmill"] = Object(get_resource={{"f/alm/account": account}}.__getitem__)
import enrollments
print(json.dumps(enrollments.main(**json.load(sys.stdin))))
"""
# Instead of Secrets Manager, a client with its one function.
LAMBDA = f"""{IMPORTS}
import boto3
names = ("ALM_BASE_URL", "ALM_ACCESS_TOKEN", "ALM_SERVE_KEY")
secret = json.dumps({{name: os.environ.pop(name) for name in names}})
secrets = {{"alm-enrollments": {{"SecretString": secret}}}}
boto3.client = lambda service: Object(get_secret_value=lambda SecretId: secrets[SecretId])
import handler
context = Object(get_remaining_time_in_millis=lambda: 30_000)
print(json.dumps(handler.handler(json.load(sys.stdin), context)))
"""
AZURE = f"""{IMPORTS}
import azure.functions as func
import function_app
[function] = function_app.app.get_functions()
answer = function.get_user_function()(func.HttpRequest(**json.load(sys.stdin), body=b""), None)
trigger = function.get_trigger()
level = trigger.auth_level.value
print(json.dumps([answer.status_code, answer.get_body().decode(), trigger.route, level]))
"""
# Documents and recipes show the credentials that make access tokens.
REFRESHING = ("client_id", "client_secret", "refresh_token")
NEWEST_FIRST = DOCUMENTED_IDS[::-1]


def call(code: str, platform: str, value: Any, server: SandboxServer) -> Any:
    """Return what a recipe's function returns for *value*."""
    variables = reaching(server, ALM_SERVE_KEY=KEY, SECRET_ID="alm-enrollments")
    return json.loads(run_python(code, EXAMPLES / platform, json.dumps(value), variables))


@pytest.mark.parametrize(("platform", "code"), [("pipedream", PIPEDREAM), ("windmill", WINDMILL)])
def test_function__returns_the_document(platform: str, code: str, sandbox: SandboxServer) -> None:
    """The function returns the document of the learner in its input."""
    document = call(code, platform, {"user_id": "20941371", "since": "2023-06-20"}, sandbox)

    assert valid_document(json.dumps(document))["enrollment_ids"] == DOCUMENTED_IDS[1:]


def test_lambda__invoked_returns_the_document(sandbox: SandboxServer) -> None:
    """An event with inputs returns the document."""
    event = {"user_id": "20941371", "names": True}

    document = call(LAMBDA, "aws-lambda", event, sandbox)

    assert valid_document(json.dumps(document))["enrollment_ids"] == DOCUMENTED_IDS


@pytest.mark.parametrize("name", ["base_url", "output_file", "lo_type"])
def test_lambda__refuses_other_names(name: str, sandbox: SandboxServer) -> None:
    """An event cannot name another host or a file, and a misspelled input is not ignored."""
    with pytest.raises(AssertionError, match=f"not an input of this function: {name}"):
        call(LAMBDA, "aws-lambda", {"user_id": "20941371", name: "x"}, sandbox)


def test_lambda__requested_answers_as_the_http_api(sandbox: SandboxServer) -> None:
    """A request to the function's URL (payload format 2.0) is answered with the document."""
    event = {
        "version": "2.0",
        "rawPath": "/v1/enrollments",
        "rawQueryString": "user_id=20941371&lo_types=all",
        "headers": {"host": "abc.lambda-url.eu-central-1.on.aws", "x-api-key": KEY},
        "requestContext": {
            "http": {"method": "GET", "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7"}
        },
        "isBase64Encoded": False,
    }

    answer = call(LAMBDA, "aws-lambda", event, sandbox)

    assert (answer["statusCode"], answer["isBase64Encoded"]) == (200, False)
    assert valid_document(answer["body"])["enrollment_ids"] == NEWEST_FIRST


def test_lambda__is_public_only_at_its_url() -> None:
    """Everybody may call the function only through its URL, where it requires the key."""
    script = example("aws-lambda/deploy.sh").replace("\\\n", "")
    conditions = {
        "lambda:InvokeFunctionUrl": "--function-url-auth-type NONE",
        "lambda:InvokeFunction": "--invoked-via-function-url",
    }

    public = [line for line in script.splitlines() if "--principal '*'" in line]
    shown = {line.split("--action ")[1] for line in public}
    assert shown == {f"{action} {condition}" for action, condition in conditions.items()}


def test_azure__answers_as_the_http_api(sandbox: SandboxServer) -> None:
    """A request with the key is answered with the document, on the HTTP API's own path."""
    request = {
        "method": "GET",
        "url": "https://app.azurewebsites.net/v1/enrollments?user_id=20941371&lo_types=all",
        "headers": {"X-API-Key": KEY},
    }

    status, body, route, level = call(AZURE, "azure-functions", request, sandbox)

    assert (status, route, level) == (200, "/{*route}", "anonymous")
    assert valid_document(body)["enrollment_ids"] == NEWEST_FIRST
    # Otherwise Azure would put `/api` in front of the path.
    host = recipe("azure-functions/host.json")
    assert host["extensions"] == {"http": {"routePrefix": ""}}


def test_packages__are_those_that_are_imported() -> None:
    """Each platform installs the distributions of the modules that the code imports."""
    name = "alm-enrollments-connector"

    serve = f"{name}[serve]"
    assert example("aws-lambda/requirements.txt").split() == [serve, "apig-wsgi"]
    assert example("azure-functions/requirements.txt").split() == [serve, "azure-functions"]
    assert f"# requirements:\n# {name}\n# wmill\n\n" in example("windmill/enrollments.py")
    comment = f"# pipedream add-package {name}\nimport connector\n"
    assert comment in example("pipedream/enrollments.py")


def test_secrets__are_references() -> None:
    """Deployments refer to secrets in their platform's store, and hold none."""
    account = recipe("windmill/account.resource.yaml")["value"]
    azure = re.findall(r"(ALM_\w+)=@Microsoft\.KeyVault\(", example("azure-functions/deploy.sh"))
    (container,) = recipe("cloud-run/service.yaml")["spec"]["template"]["spec"]["containers"]
    cloud_run = [variable["name"] for variable in container["env"] if "valueFrom" in variable]

    variables = {f"ALM_{name.upper()}": f"$var:f/alm/{name}" for name in REFRESHING}
    assert {name: text for name, text in account.items() if name != "ALM_BASE_URL"} == variables
    assert azure == cloud_run == ["ALM_SERVE_KEY", *variables]
    keys = [
        variable["valueFrom"]["secretKeyRef"]["name"]
        for variable in container["env"]
        if "valueFrom" in variable
    ]
    assert keys == ["alm-serve-key", *(f"alm-{name.replace('_', '-')}" for name in REFRESHING)]
    created = example("cloud-run/deploy.sh")
    assert f"gcloud secrets create {keys[0]} --data-file=-\n" in created
    assert f"for name in {' '.join(keys[1:])}; do\n" in created
    assert "--secret-string file://secret.json" in example("aws-lambda/deploy.sh")
