"""The function app, called with Azure's own request objects."""

from __future__ import annotations

import ast
import json
import re
from typing import TYPE_CHECKING, Any

from .conftest import EXAMPLES, KEY, example, judged, newest_first

if TYPE_CHECKING:
    from .conftest import RunPython

APP = EXAMPLES / "azure-functions" / "function_app.py"
# What the host does: finds the one function of `app`, and calls it with the request and its context.
AS_AZURE = f"""
import json, runpy, sys
import azure.functions as func
method, path, headers, body = json.load(sys.stdin)
[function] = runpy.run_path({str(APP)!r})["app"].get_functions()
request = func.HttpRequest(method=method, url="https://app.azurewebsites.net" + path, headers=headers, body=body.encode())
answer = function.get_user_function()(request, None)
trigger = function.get_trigger()
print(json.dumps([answer.status_code, dict(answer.headers), answer.get_body().decode(), trigger.route, trigger.auth_level.value]))
"""
ASKED = {"user_id": "20941371", "lo_types": ["all"]}


def called(run_python: RunPython, variables: dict[str, str], *request: Any) -> list[Any]:
    """Return what the app answers to *request*, and the route and level of its function."""
    finished = run_python(AS_AZURE, request, {**variables, "ALM_SERVE_KEY": KEY})
    assert finished.exit_code == 0, finished.stderr
    answered: list[Any] = json.loads(finished.stdout)
    return answered


def test_app__answers_as_the_door(reaching: dict[str, str], run_python: RunPython) -> None:
    """A request with the key is answered with the document, newest first; the key is the door's own, not Azure's."""
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}

    status, answered, body, route, level = called(
        run_python, reaching, "POST", "/v1/enrollments", headers, json.dumps(ASKED)
    )

    assert (status, answered["Content-Type"], answered["Cache-Control"]) == (
        200,
        "application/json",
        "no-store",
    )
    assert judged(json.loads(body))["enrollment_ids"] == newest_first()
    assert (route, level) == ("/{*route}", "anonymous")


def test_app__a_query_is_one_too(reaching: dict[str, str], run_python: RunPython) -> None:
    """What stands in the query reaches the door as it was written."""
    status, _, body, *_ = called(
        run_python,
        reaching,
        "GET",
        "/v1/enrollments?user_id=20941371&lo_types=all",
        {"X-API-Key": KEY},
        "",
    )

    assert (status, json.loads(body)["enrollment_ids"]) == (200, newest_first())


def test_app__wants_the_key(reaching: dict[str, str], run_python: RunPython) -> None:
    """Without the key nothing is read."""
    status, _, body, *_ = called(
        run_python, reaching, "POST", "/v1/enrollments", {}, json.dumps(ASKED)
    )

    assert (status, judged(json.loads(body))["enrollments"]) == (401, [])


def test_host__puts_nothing_before_the_paths() -> None:
    """Without the prefix `/api` that Azure puts there, the door's paths are the door's paths, and a function has longer than a request."""
    assert json.loads(example("azure-functions/host.json")) == {
        "version": "2.0",
        "extensions": {"http": {"routePrefix": ""}},
        "functionTimeout": "00:01:00",
    }


def test_requirements__are_what_is_imported() -> None:
    """Both packages that the app imports are installed."""
    tree = ast.parse(example("azure-functions/function_app.py"))
    imported = {
        name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names
    }
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}

    assert example("azure-functions/requirements.txt").split() == [
        "alm-enrollments-connector",
        "azure-functions",
    ]
    assert imported == {"azure.functions", "connector.server"}


def test_deploy__has_secrets_by_reference() -> None:
    """Neither secret is in the settings: each is a reference into the vault."""
    settings = dict(re.findall(r'"?(ALM_\w+)=([^"\s]+)', example("azure-functions/deploy.sh")))

    assert settings == {
        "ALM_BASE_URL": "https://learningmanager.adobe.com",
        "ALM_SERVE_KEY": "@Microsoft.KeyVault(SecretUri=https://$VAULT.vault.azure.net/secrets/alm-serve-key)",
        "ALM_ACCESS_TOKEN": "@Microsoft.KeyVault(SecretUri=https://$VAULT.vault.azure.net/secrets/alm-access-token)",
    }
