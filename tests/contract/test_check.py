"""``alm-enrollments check``: what it saw, and what it costs to find out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from connector.sandbox.server import SandboxServer

    from .conftest import Reaching, RunCommand, StartSandbox


def test_check__tells_what_it_saw(
    command: RunCommand, start_sandbox: StartSandbox, reaching: Reaching
) -> None:
    """Inputs, token, quota, one record, and how long a full read would take: from a single request for a single record."""
    server = start_sandbox(rate_per_minute=120, burst=20)

    finished = command(
        "check",
        "--user-id",
        "31,32,33",
        "--lo-types",
        "all",
        "--deadline",
        "20",
        environ=reaching(server),
    )

    told = re.sub(r"in \d+ ms", "in N ms", finished.stdout)
    assert (finished.exit_code, finished.stderr) == (0, "")
    assert told == (
        f"inputs     valid: 3 users; course, learningProgram, jobAid, certification; sort dateEnrolled; {server.url}\n"
        "token      accepted\n"
        "quota      120 requests a minute, burst 20\n"
        "read       1 enrollment of user 31 in N ms, more follow; request id sandbox-1\n"
        "full read  3 users of 10 enrollments: 3 requests, at least 0 s at this quota\n"
        "full read  3 users of 50 enrollments: 15 requests, at least 0 s at this quota\n"
        "full read  3 users of 200 enrollments: 60 requests, at least 20 s at this quota\n"
    )
    assert [request["target"].split("?")[1][:16] for request in server.requests] == [
        "page%5Blimit%5D=1"[:16]
    ]


def test_check__says_when_the_deadline_is_too_short(
    command: RunCommand, start_sandbox: StartSandbox, reaching: Reaching
) -> None:
    """A full read that would not fit into the deadline is told before anything is read."""
    server = start_sandbox(rate_per_minute=60, burst=10)

    finished = command("check", "--user-id", "31", "--deadline", "5", environ=reaching(server))

    assert finished.stdout.splitlines()[-1] == (
        "full read  1 user of 200 enrollments: 20 requests, at least 10 s at this quota: longer than the deadline of 5 s"
    )


def test_check__without_quota_headers(
    command: RunCommand, sandbox: SandboxServer, reaching: Reaching
) -> None:
    """Where ALM tells no quota, the documented one is assumed and named as such."""
    finished = command("check", "--user-id", "31", environ=reaching(sandbox))

    assert (
        finished.stdout.splitlines()[2]
        == "quota      not told by ALM; taken to be 100 requests a minute, burst 30"
    )


def test_check__fails_as_the_run_would(command: RunCommand, sandbox: SandboxServer) -> None:
    """A refused token is told in one line with its exit code, and no document is printed."""
    finished = command(
        "check",
        environ={
            "ALM_USER_ID": "31",
            "ALM_ACCESS_TOKEN": "wrong-token",
            "ALM_BASE_URL": sandbox.url,
        },
    )

    assert finished.exit_code == 77
    assert finished.stdout.splitlines()[1:] == []
    assert finished.stderr.startswith(
        "alm-enrollments: error: ALM refuses the access token, asked for user 31 (401"
    )
    assert finished.stderr.count("\n") == 1


def test_check__bad_input_prints_no_document(command: RunCommand) -> None:
    """Invalid inputs end a check with 64 and nothing on standard output."""
    finished = command("check", environ={"ALM_USER_ID": "x", "ALM_BASE_URL": "sandbox"})

    assert (finished.exit_code, finished.stdout) == (64, "")


def test_check__an_empty_shard(command: RunCommand) -> None:
    """A shard without a user is in order, and asks nothing."""
    finished = command(
        "check", "--shard", "1/500000", environ={"ALM_USER_ID": "31", "ALM_BASE_URL": "sandbox"}
    )

    assert finished.exit_code == 0
    assert (
        finished.stdout.splitlines()[1]
        == "           none of the users is in this shard: nothing was asked"
    )
