"""Machines that let a process start few threads, or none."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.sandbox import NOTE

if TYPE_CHECKING:
    from tests.support.process import Command

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="stacks are limited as on Linux")
LIMITS = (
    "a limit on processes (ulimit -u, or pids.max of the container) or on memory (ulimit -v) is"
    " reached"
)
# Addresses for two stacks and everything else, and for no stack, in KB.
FEW = "ulimit -s 4000000 -v 10500000"
NONE = "ulimit -s 12000000 -v 10500000"
USERS = ",".join(str(user) for user in range(31, 41))


def test_threads__few(command: Command) -> None:
    """A run goes on with the threads that there are, and says how many."""
    finished = command.shell(f"{FEW}; alm-enrollments --user-id {USERS} --base-url sandbox")

    assert (finished.exit_code, finished.document["users"]["read"]) == (0, 10)
    _, line = finished.stderr.splitlines()
    assert line.startswith("alm-enrollments: only ")
    assert line.endswith(f" of 8 threads can be started: {LIMITS}")


@pytest.mark.parametrize("line", ["--user-id 31", f"--user-id {USERS}", "check --user-id 31"])
def test_threads__none(line: str, command: Command) -> None:
    """A run without any thread ends with a message that names the limit; another may succeed."""
    finished = command.shell(f"{NONE}; alm-enrollments {line} --base-url sandbox")

    assert (finished.exit_code, finished.stderr) == (
        75,
        (
            f"{NOTE}alm-enrollments: error: The system cannot start another thread: {LIMITS}."
            " Raise that limit, or end other processes, and run again.\n"
        ),
    )


def test_threads__of_the_server(command: Command) -> None:
    """A server that cannot start its threads says so, and does not start."""
    finished = command.shell(
        f"{FEW}; alm-enrollments serve --port 0", ALM_SERVE_KEY="a-key-of-enough-characters"
    )

    assert (finished.exit_code, finished.stdout) == (75, "")
    assert f"error: The system cannot start another thread: {LIMITS}." in finished.stderr
