"""No secret reaches any output: everything that a run writes is searched for its credentials."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest

from tests.support.sandbox import TRIPLE as SANDBOX_TRIPLE
from tests.support.sandbox import reaching
from tests.support.secrets import CANARY, TRIPLE, leaks

if TYPE_CHECKING:
    from connector.sandbox.server import SandboxServer
    from tests.support.process import Command, Finished
    from tests.support.sandbox import StartSandbox

__all__ = ["CANARY", "TRIPLE", "everything", "leaks"]

QUOTED = shlex.quote(CANARY)
# A credential in every place where a user may put it by mistake.
LINES = [
    "--debug",
    f"--debug --access-token {QUOTED}",
    f"--debug --access-token={QUOTED}",
    f"--debug {QUOTED}",
    f"--debug --user-id {QUOTED}",
    f"--debug --since {QUOTED} --output-file {QUOTED}",
    "check --debug",
]


def everything(finished: Finished, command: Command) -> str:
    """Return all that a run wrote: both streams and every file."""
    return "\n".join([finished.stdout, finished.stderr, *command.files().values()])


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("fault", ["*:401x*", "*:schemax*"])
def test_outputs__hold_no_secret(
    line: str, fault: str, command: Command, start_sandbox: StartSandbox
) -> None:
    """Whatever goes wrong, and however much is logged, no output holds a credential."""
    server = start_sandbox(fault)
    credentials = {**TRIPLE, "ALM_ACCESS_TOKEN": CANARY}

    finished = command(line, **(reaching(server, ALM_USER_ID="31") | credentials))

    assert finished.exit_code in (64, 76, 77)
    assert leaks(everything(finished, command) + repr(server.requests)) == []


def test_outputs__hold_no_refreshed_token(command: Command, start_sandbox: StartSandbox) -> None:
    """A token that the run receives is as secret as the one that it started with."""
    server = start_sandbox("page=1:dead-token")

    finished = command("--debug --user-id 31", **reaching(server, **SANDBOX_TRIPLE))

    assert finished.exit_code == 0
    assert "sandbox-access-token" not in finished.stdout + finished.stderr


def test_env_file__errors_name_the_line_only(command: Command) -> None:
    """An error in the env-file names the line by its number, and does not quote it."""
    file = command.folder / "alm.env"
    file.write_text(f"ALM_USER_ID=31\nALM_ACCESS_TOKEN {CANARY}\n", encoding="utf-8")

    finished = command("--env-file alm.env")

    assert finished.exit_code == 64
    assert "--env-file is not valid in line 2" in finished.stderr
    assert leaks(finished.stdout + finished.stderr) == []


def test_debug__logs_requests_without_secrets(command: Command, sandbox: SandboxServer) -> None:
    """--debug logs method, URL, status, time and request id of each request."""
    finished = command("--debug --user-id 20941371", **reaching(sandbox))

    url = f"{sandbox.url}/primeapi/v2/users/20941371/enrollments?page%5Blimit%5D=10"
    assert finished.stderr.startswith(f"alm-enrollments: GET {url}")
    assert finished.stderr.endswith("request id mock-1\n")


def test_proxy__is_not_used_for_loopback(command: Command, sandbox: SandboxServer) -> None:
    """A proxy in the environment never sees a request to loopback, or its token."""
    nobody = "http://127.0.0.1:9"
    proxies = {"HTTP_PROXY": nobody, "http_proxy": nobody, "ALL_PROXY": nobody}

    finished = command("--user-id 20941371", **reaching(sandbox, **proxies))

    assert (finished.exit_code, finished.stderr) == (0, "")


@pytest.mark.parametrize("scheme", ["https", "HTTPS"])
def test_proxy__is_used_for_https(scheme: str, command: Command) -> None:
    """A request over https takes the proxy of the environment, however the scheme is written."""
    variables = {"ALM_ACCESS_TOKEN": CANARY, "HTTPS_PROXY": "http://127.0.0.1:9"}

    finished = command(f"--user-id 1 --deadline 3 --base-url {scheme}://localhost:9", **variables)

    message = "The proxy for localhost:9 cannot be used"
    assert (finished.exit_code, finished.error["message"][: len(message)]) == (69, message)
