"""``alm-enrollments check``: its report, and the single request that it costs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.support.pages import answer, body_of
from tests.support.sandbox import reaching
from tests.support.server import FaultServer

if TYPE_CHECKING:
    from connector.sandbox.server import SandboxServer
    from tests.support.process import Command
    from tests.support.sandbox import StartSandbox


def test_check__reports_inputs_token_quota_and_estimates(
    command: Command, start_sandbox: StartSandbox
) -> None:
    """A single request for a single record shows inputs, token, quota, and how long a run takes."""
    server = start_sandbox(rate_per_minute=120, burst=20)

    finished = command("check --user-id 31,32,33 --lo-types all --deadline 20", **reaching(server))

    report = re.sub(r"in \d+ ms", "in N ms", finished.stdout)
    assert (finished.exit_code, finished.stderr) == (0, "")
    assert report == (
        "inputs     valid: 3 users; course, learningProgram, jobAid, certification;"
        f" sort dateEnrolled; {server.url}\n"
        "token      accepted\n"
        "quota      120 requests per minute, burst 20\n"
        "read       1 enrollment of user 31 in N ms, more follow; request id mock-1\n"
        "full read  3 users of 10 enrollments: 3 requests, less than 1 s at this quota\n"
        "full read  3 users of 50 enrollments: 15 requests, less than 1 s at this quota\n"
        "full read  3 users of 200 enrollments: 60 requests, at least 20 s at this quota\n"
    )
    (request,) = server.requests
    assert "?page%5Blimit%5D=1&" in request["target"]


def test_check__says_that_the_deadline_is_too_short(
    command: Command, start_sandbox: StartSandbox
) -> None:
    """An estimate that exceeds the deadline is marked before anything is read."""
    server = start_sandbox(rate_per_minute=60, burst=10)

    finished = command("check --user-id 31 --deadline 5", **reaching(server))

    assert finished.stdout.splitlines()[-1] == (
        "full read  1 user of 200 enrollments: 20 requests,"
        " at least 10 s at this quota: longer than the deadline of 5 s"
    )


def test_check__assumes_the_documented_quota(command: Command, start_sandbox: StartSandbox) -> None:
    """Without quota headers the documented quota is assumed, and marked as such."""
    finished = command("check --user-id 31", **reaching(start_sandbox(rate_per_minute=0)))

    quota = "quota      not reported by ALM; assumed to be 100 requests per minute, burst 30"
    assert finished.stdout.splitlines()[2] == quota


@pytest.mark.parametrize(
    ("headers", "quota"),
    [
        (
            ("x-rate-limit: 500r/week", "x-burst: 9"),
            '"500r/week" cannot be used as it is; assumed to be 100 requests per minute, burst 30',
        ),
        (
            ("x-rate-limit: 1000r/d", "x-burst: 9"),
            '"1000r/d" cannot be used as it is; assumed to be 1440 requests per day, burst 9',
        ),
        (
            ("x-rate-limit: 500r/h",),
            '"500r/h" cannot be used as it is; assumed to be 100 requests per minute, burst 30',
        ),
    ],
    ids=("unknown unit", "implausible", "without a burst"),
)
def test_check__quotes_a_quota_that_it_cannot_use(
    headers: tuple[str, ...], quota: str, command: Command
) -> None:
    """A rate that is not used as ALM names it is quoted, and every estimate is a guess."""
    page = body_of({"links": {}})

    with FaultServer((), (answer(200, page, *headers),)) as server:
        variables = {"ALM_BASE_URL": server.url, "ALM_ACCESS_TOKEN": "a-token-42"}
        finished = command("check --user-id 31", **variables)

    lines = finished.stdout.splitlines()
    assert lines[2] == f"quota      {quota}"
    assert ["at this quota, which is a guess" in line for line in lines[4:]] == [True] * 3


def test_check__shows_the_unit_of_the_quota(command: Command) -> None:
    """A quota is shown in ALM's own unit."""
    page = body_of({"links": {}})
    quota = ("x-rate-limit: 500r/h", "x-burst: 20")

    with FaultServer((), (answer(200, page, *quota),)) as server:
        variables = {"ALM_BASE_URL": server.url, "ALM_ACCESS_TOKEN": "a-token-42"}
        finished = command("check --user-id 31", **variables)

    lines = finished.stdout.splitlines()
    assert lines[2] == "quota      500 requests per hour, burst 20"
    assert lines[-1].endswith("20 requests, less than 1 s at this quota")


def test_check__fails_as_the_run_would(command: Command, sandbox: SandboxServer) -> None:
    """A refused token is one line on standard error, and the exit code that a run would have."""
    refused = reaching(sandbox) | {"ALM_ACCESS_TOKEN": "wrong-token"}

    finished = command("check --user-id 31", **refused)

    message = "alm-enrollments: error: ALM refuses the access token while reading user 31 (401"
    assert (finished.exit_code, finished.stdout.count("\n")) == (77, 1)
    assert finished.stderr.startswith(message)
    assert finished.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "exit_code", "line"),
    [
        ("--user-id x", 64, ""),
        (
            "--user-id 31 --shard 1/500000",
            0,
            "           this shard has no user: nothing was sent",
        ),
    ],
)
def test_check__without_a_request(flags: str, exit_code: int, line: str, command: Command) -> None:
    """Invalid inputs end a check with 64, and an empty shard with 0; neither sends anything."""
    finished = command(f"check {flags}", ALM_BASE_URL="sandbox")

    assert (finished.exit_code, finished.stdout.partition("\n")[2].rstrip()) == (exit_code, line)
