"""The environment and the application of one test, in this process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from connector.sandbox import ACCESS_TOKEN
from connector.server.app import make_application
from tests.support.sandbox import StartSandbox, start_sandbox

if TYPE_CHECKING:
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

    from connector.sandbox.server import SandboxServer

__all__ = ["StartSandbox", "start_sandbox"]

KEY = "0123456789abcdef"


class SetVariables(Protocol):
    """Sets variables of the environment for one test."""

    def __call__(self, **variables: str) -> None:
        """Set them."""


class MakeClient(Protocol):
    """Makes test clients of an application that reads from *alm*, or from the sandbox."""

    def __call__(self, alm: SandboxServer | None = None, **variables: str) -> FlaskClient:
        """Make one, with *variables* in the environment."""


@pytest.fixture
def set_variables(monkeypatch: pytest.MonkeyPatch) -> SetVariables:
    """Remove this machine's variables of the server, and return a function that sets others."""
    for name in os.environ:
        if name.upper().startswith("ALM_") or name.endswith("PORT"):
            monkeypatch.delenv(name)

    def set_all(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_all


@pytest.fixture
def make_client(set_variables: SetVariables) -> MakeClient:
    """Return a function that makes test clients."""

    def make(alm: SandboxServer | None = None, **variables: str) -> FlaskClient:
        access = {"ALM_BASE_URL": "sandbox"}
        if alm:
            access = {"ALM_BASE_URL": alm.url, "ALM_ACCESS_TOKEN": ACCESS_TOKEN}
        set_variables(**{"ALM_SERVE_KEY": KEY, **access, **variables})
        return make_application(secrets_dir=None, max_reads=1).test_client()

    return make


def get(client: FlaskClient, headers: dict[str, str] | None = None, **inputs: str) -> TestResponse:
    """Return the response to a request that has the key, and *inputs* in its query."""
    known = {"X-API-Key": KEY, **(headers or {})}
    return client.get("/v1/enrollments", query_string=inputs, headers=known)


def message(response: TestResponse) -> str:
    """Return the message of the error in a response."""
    document: dict[str, Any] = response.get_json()
    return str(document["error"]["message"])
