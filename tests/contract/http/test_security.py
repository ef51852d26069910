"""What the HTTP API promises to keep secret or to refuse, as a process."""

from __future__ import annotations

import base64
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from tests.support.process import PATIENCE_SECONDS, wait_until

from .conftest import KEY, SERVERS, environ

if TYPE_CHECKING:
    from .conftest import Response, StartSandbox, StartServer

TOKEN = "canary/alm-t0ken+A%b"
OWN = "canary-own-token-of-the-server"


def forms(secret: str) -> list[str]:
    """Return *secret* in every form: raw, URL-encoded, and in base64 at each alignment."""
    encoded = [
        base64.b64encode(b"x" * shift + secret.encode()).decode()[4:-4] for shift in range(3)
    ]
    return [secret, quote(secret), quote(secret, safe=""), *encoded]


def leaks(*texts: str) -> list[str]:
    """Return the secrets that *texts* have in any form."""
    joined = "\n".join(texts).lower()
    return [
        secret
        for secret in (KEY, TOKEN, OWN)
        if any(form.lower() in joined for form in forms(secret))
    ]


@pytest.mark.parametrize("server", SERVERS)
def test_start__without_a_key(server: str) -> None:
    """Without a valid key no server starts, and the error does not show it."""
    finished = subprocess.run(
        [sys.executable, "-m", *SERVERS[server]],
        env=environ(ALM_BASE_URL="sandbox", ALM_SERVE_KEY="canary-short"),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )

    assert finished.returncode == (64 if server == "waitress" else 3)
    assert "ALM_SERVE_KEY is not valid (allowed: at least 16" in finished.stderr
    assert "canary" not in finished.stderr + finished.stdout
    assert server == "gunicorn" or finished.stderr.count("\n") == 1


@pytest.mark.parametrize("server", SERVERS)
def test_key__is_needed(
    server: str, start_server: StartServer, start_sandbox: StartSandbox
) -> None:
    """A request without exactly the key is refused, and nothing is sent to ALM."""
    alm = start_sandbox()
    api = start_server(server=server, alm=alm)
    wrong: list[dict[str, str]] = [
        {},
        {"Authorization": "Bearer canary-wrong-key-000000"},
        {"X-API-Key": f"{KEY}, {KEY}"},
        {"X-API-Key": "ключ".encode().decode("latin-1")},
    ]

    for headers in wrong:
        for response in (
            api.get(None, headers, user_id="31"),
            api.send("POST", key=None, headers=headers, json={"nonsense": []}),
        ):
            assert response.status == 401, headers
            assert response.headers["WWW-Authenticate"].startswith('Bearer realm="alm-enrollments"')
    assert alm.requests == []


def test_loopback__by_default(start_server: StartServer) -> None:
    """The server listens on loopback, and on other addresses only if it is told to."""
    assert start_server().url.startswith("http://127.0.0.1:")
    assert start_server("--host", "0.0.0.0").url.startswith("http://0.0.0.0:")  # noqa: S104 - the test's subject


ODD_REQUESTS: dict[str, dict[str, Any]] = {
    "NUL": {"params": {"user_id": "31\0"}},
    "a line break in a name": {"params": {"user_id": "31", "a\r\nX-Evil: 1": "x"}},
    "a line break in a value": {"params": {"user_id": "31", "state": "active\r\nX-Evil: 1"}},
    "no UTF-8": {"params": "user_id=31&state=%ff"},
    "no body": {"method": "POST", "headers": {"Content-Type": "application/json"}},
    "half a surrogate pair": {"method": "POST", "json": {"user_id": "\ud800"}},
    "wrong types": {"method": "POST", "json": {"user_id": {"a": 1}, "page_limit": [], "since": 7}},
}


@pytest.mark.parametrize("server", SERVERS)
def test_odd_requests__are_refused(
    server: str, start_server: StartServer, start_sandbox: StartSandbox
) -> None:
    """No part of a malformed request gets into ALM's request, a header or the log."""
    alm = start_sandbox()
    api = start_server(server=server, alm=alm)

    for name, request in ODD_REQUESTS.items():
        response = api.send(**{"method": "GET", **request})

        assert (response.status, response.error["code"]) == (400, 64), name
        assert "X-Evil" not in response.headers, name
    assert alm.requests == []
    assert "vil" not in api.written()


@pytest.mark.parametrize("server", SERVERS)
def test_log__has_one_line_per_request(server: str, start_server: StartServer) -> None:
    """The log has method, path, status, time and id of a request, and nothing else of it."""
    api = start_server(server=server)

    response = api.get(user_id="31", state="canary-state")
    api.path("GET", f"/canary/{quote(TOKEN)}?canary=query", headers={"X-Canary": "header"})
    api.path("CANARY", "/healthz")

    assert server == "gunicorn" or "Server" not in response.headers
    lines = [line for line in api.written().splitlines() if "request id" in line]
    assert lines[1].startswith("alm-enrollments: GET /v1/enrollments 400 ")
    assert lines[1].endswith(f" s, request id {response.headers['X-Request-Id']} error 64")
    methods_and_paths = [line.split()[1:4] for line in lines[2:]]
    assert methods_and_paths == [["GET", "-", "404"], ["-", "/healthz", "405"]]
    assert "canary" not in api.written().lower()


@pytest.mark.parametrize("server", SERVERS)
def test_secrets__are_nowhere(
    server: str, start_server: StartServer, start_sandbox: StartSandbox
) -> None:
    """No form of a key or token is in a response or the log, wherever it was put."""
    faults = ("page=1:htmlx2", "page=1:schemax2")
    alm = start_sandbox(*faults)
    api = start_server(server=server, alm=alm, ALM_ACCESS_TOKEN=OWN, ALM_SERVE_DEADLINE="2")
    responses: list[Response] = []

    for headers in ({}, {"X-ALM-Token": TOKEN}):
        responses += [api.get(headers=headers, user_id="31") for _ in range(3)]
        responses += [
            api.send("POST", headers=headers, json={"user_id": KEY}),
            api.send("POST", headers=headers, json={"since": [KEY]}),
        ]
    responses += [
        api.get(user_id=OWN),
        api.get(headers={"X-ALM-Token": TOKEN}, user_id=TOKEN),
        api.get(None, {"X-API-Key": f"{KEY}x"}),
    ]

    assert {response.status for response in responses} == {400, 401, 502}
    assert leaks(api.written(), *map(str, responses)) == []


def test_liveness__while_all_readers_are_busy(
    start_server: StartServer, start_sandbox: StartSandbox
) -> None:
    """While as many requests read as may, others get 429 and a liveness probe its answer."""
    alm = start_sandbox("*:stall-headersx*")
    api = start_server("--threads", "8", alm=alm, ALM_SERVE_DEADLINE="4")
    readers = [threading.Thread(target=api.get, kwargs={"user_id": "31"}) for _ in range(4)]
    for reader in readers:
        reader.start()
    wait_until(lambda: len(alm.requests) == 4)

    others = [api.get(user_id="32") for _ in range(12)]
    alive = api.path("GET", "/healthz")

    assert [(response.status, response.error["code"]) for response in others] == [(429, 75)] * 12
    assert {response.headers["Retry-After"] for response in others} <= {"1", "2"}
    assert alive.text == "ok\n"
    for reader in readers:
        reader.join()
