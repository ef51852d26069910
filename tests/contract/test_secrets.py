"""No secret reaches any sink, whichever way it is written: every output of every kind of run is searched for canaries."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Finished, Reaching, RunCommand, StartSandbox

CANARY = "canary/t0ken+A%b=="
TRIPLE = {
    "ALM_CLIENT_ID": "canary-client-id",
    "ALM_CLIENT_SECRET": "canary+client/secret",
    "ALM_REFRESH_TOKEN": "canary~refresh~token",
}
SECRETS = [CANARY, *TRIPLE.values()]


def forms(secret: str) -> list[str]:
    """Return *secret* as it may be written: raw, URL-encoded, and in base64 at each alignment."""
    encoded = [
        base64.b64encode(b"x" * shift + secret.encode()).decode()[4:-4] for shift in range(3)
    ]
    return [secret, quote(secret), quote(secret, safe=""), *encoded]


def leaks(text: str) -> list[str]:
    """Return the secrets that *text* holds in any form."""
    return [
        secret for secret in SECRETS if any(form.lower() in text.lower() for form in forms(secret))
    ]


def everything(finished: Finished, folder: Path) -> str:
    """Return all that a run wrote: both streams and every file."""
    files = [
        path.read_text(encoding="utf-8", errors="replace")
        for path in folder.rglob("*")
        if path.is_file()
    ]
    return "\n".join([finished.stdout, finished.stderr, *files])


RUNS = [
    ("--debug",),
    ("--debug", "--access-token", CANARY),
    ("--debug", f"--access-token={CANARY}"),
    ("--debug", CANARY),
    ("--debug", "--user-id", CANARY),
    ("--debug", "--since", CANARY, "--output-file", CANARY),
    ("check", "--debug"),
]


@pytest.mark.parametrize("argv", RUNS, ids=" ".join)
@pytest.mark.parametrize(
    "fault", ["*:401x*", "*:resetx*", "*:htmlx*", "*:same-token", "*:schemax*", "*:foreign-nextx*"]
)
def test_sinks__hold_no_secret(
    argv: tuple[str, ...],
    fault: str,
    command: RunCommand,
    start_sandbox: StartSandbox,
    reaching: Reaching,
    tmp_path: Path,
) -> None:
    """Whatever goes wrong, and however much is told of it, no form of a credential is written anywhere."""
    server = start_sandbox(fault)
    variables = {"ALM_USER_ID": "31", "ALM_DEADLINE": "3", **TRIPLE, "ALM_ACCESS_TOKEN": CANARY}

    finished = command(*argv, environ={**reaching(server), **variables})

    assert finished.exit_code in (64, 75, 76, 77)
    assert leaks(everything(finished, tmp_path)) == []
    assert leaks(repr(server.requests)) == []


def test_sinks__refreshed_token(
    command: RunCommand, start_sandbox: StartSandbox, reaching: Reaching
) -> None:
    """A token that the run itself was given is as secret as the one that it began with."""
    server = start_sandbox("page=1:dead-token")
    triple = {
        "ALM_CLIENT_ID": "sandbox-client-id",
        "ALM_CLIENT_SECRET": "sandbox-client-secret",
        "ALM_REFRESH_TOKEN": "sandbox-refresh-token",
    }

    finished = command("--debug", environ=reaching(server, ALM_USER_ID="31", **triple))

    assert finished.exit_code == 0
    assert "sandbox-access-token" not in finished.stdout + finished.stderr


def test_sinks__env_file(command: RunCommand, tmp_path: Path) -> None:
    """A malformed line of the env-file is told by its number alone."""
    file = tmp_path / "alm.env"
    file.write_text(f"ALM_USER_ID=31\nALM_ACCESS_TOKEN {CANARY}\n", encoding="utf-8")

    finished = command("--env-file", str(file))

    assert finished.exit_code == 64
    assert "env_file is not to be understood in line 2" in finished.stderr
    assert leaks(finished.stdout + finished.stderr) == []


def test_debug__tells_requests_without_secrets(
    command: RunCommand, start_sandbox: StartSandbox, reaching: Reaching
) -> None:
    """--debug tells method, URL, status, time and request id of each request."""
    server = start_sandbox()

    finished = command("--debug", environ=reaching(server, ALM_USER_ID="20941371"))

    assert finished.stderr.startswith(
        f"alm-enrollments: GET {server.url}/primeapi/v2/users/20941371/enrollments?page%5Blimit%5D=10"
    )
    assert finished.stderr.endswith("request id sandbox-1\n")


def test_proxy__never_sees_loopback(
    command: RunCommand, start_sandbox: StartSandbox, reaching: Reaching
) -> None:
    """What goes to loopback goes there directly, whatever proxy the environment names: it would be shown the token."""
    nobody = "http://127.0.0.1:9"
    proxies = {"HTTP_PROXY": nobody, "http_proxy": nobody, "ALL_PROXY": nobody}

    finished = command(environ=reaching(start_sandbox(), ALM_USER_ID="20941371", **proxies))

    assert (finished.exit_code, finished.stderr) == (0, "")
    assert finished.document["enrollment_count"] == 3


@pytest.mark.parametrize("scheme", ["https", "HTTPS"])
def test_proxy__is_heeded_for_https(scheme: str, command: RunCommand) -> None:
    """What goes out over https takes the proxy that the environment names, however the scheme is written."""
    variables = {
        "ALM_USER_ID": "1",
        "ALM_ACCESS_TOKEN": CANARY,
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "ALM_DEADLINE": "1",
    }

    finished = command(environ={**variables, "ALM_BASE_URL": f"{scheme}://localhost:9"})

    assert finished.exit_code == 69
    assert finished.document["error"]["message"].startswith(
        "The proxy in front of localhost:9 does not answer as one"
    )
