"""Signals reach the first process of a container, which gets only those that it handles."""

from __future__ import annotations

import json
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.integrations.container import engine
from tests.support.process import PATIENCE_SECONDS, wait_until
from tests.support.sandbox import reaching

if TYPE_CHECKING:
    from tests.integrations.container.conftest import CreateContainer
    from tests.support.sandbox import StartSandbox

# Two seconds are promised; a busy machine gets more, but no grace period of ten.
MAX_SECONDS = 8.0
ENDED = "alm-enrollments: error: A signal stopped the run. No output was replaced."
# Until Python is started, the process is the container runtime's.
UNTIL_EXEC = r"""
pid=$1 signal=$2
until grep -qs connector "/proc/$pid/cmdline"; do :; done
"""
# The program handles SIGTERM after SIGINT, which Python handles before.
ONCE_HANDLED = (
    UNTIL_EXEC
    + r"""
mask=$((1 << ($(kill -l TERM) - 1)))
is_caught() { read -r _ bits _ < <(grep SigCgt "/proc/$pid/status") && ((16#$bits & mask)); }
until is_caught; do [ -e "/proc/$pid" ] || exit; done
kill -s "$signal" "$pid"
"""
)
RAIN = 'while kill -s "$signal" "$pid" 2> /dev/null; do sleep 0.005; done\n'
ONCE_IGNORED = (
    r"""
pid=$1 signal=$2
mask=$((1 << ($(kill -l "$signal") - 1)))
is_ignored() { read -r _ bits _ < <(grep SigIgn "/proc/$pid/status") && ((16#$bits & mask)); }
until is_ignored; do [ -e "/proc/$pid" ] || exit; done
"""
    + RAIN
)


def start(name: str) -> subprocess.Popen[str]:
    """Start the container *name*, attached to the returned process."""
    return subprocess.Popen(
        engine.command("start", "--attach", name),
        env=engine.environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def send(name: str, script: str, signal: str) -> subprocess.Popen[bytes]:
    """Let *script* send *signal* to the process of the container *name*, which is not started."""
    engine.podman("init", name)
    pid = engine.podman("inspect", "--format={{.State.Pid}}", name)
    return subprocess.Popen(engine.as_root("bash", "-c", script, "send", pid, signal))


def start_and_send(name: str, script: str, signal: str) -> tuple[int, str, str]:
    """Start the container *name* under *script*; return its exit code and both streams."""
    with send(name, script, signal) as sender:
        process = start(name)
        stdout, stderr = process.communicate(timeout=PATIENCE_SECONDS)
        sender.wait(timeout=PATIENCE_SECONDS)
    return process.returncode, stdout, stderr


@pytest.mark.parametrize(
    ("signal", "exit_code", "fault"),
    [("TERM", 143, "*:stall-headersx*"), ("INT", 130, "*:429/50x*")],
)
def test_signal__ends_a_wait(
    signal: str,
    exit_code: int,
    fault: str,
    start_sandbox: StartSandbox,
    create_container: CreateContainer,
) -> None:
    """A signal ends the container soon, with its exit code and a complete document."""
    server = start_sandbox(fault)
    name = create_container(reaching(server, ALM_USER_ID="31"))
    process = start(name)
    wait_until(lambda: server.requests)
    time.sleep(0.3)

    began = time.monotonic()
    engine.podman("kill", f"--signal={signal}", name)
    stdout, stderr = process.communicate(timeout=PATIENCE_SECONDS)

    assert time.monotonic() - began < MAX_SECONDS
    assert (process.returncode, json.loads(stdout)["error"]["code"]) == (exit_code, exit_code)
    assert stderr.splitlines()[-1] == ENDED


@pytest.mark.parametrize(("signal", "exit_code"), [("TERM", 143), ("INT", 130)])
def test_signal__ends_the_program_while_it_loads(
    signal: str, exit_code: int, start_sandbox: StartSandbox, create_container: CreateContainer
) -> None:
    """One signal while the program loads ends it, before any request or message."""
    server = start_sandbox()
    name = create_container(reaching(server, ALM_USER_ID="31"))

    assert start_and_send(name, ONCE_HANDLED, signal) == (exit_code, "", "")
    assert server.requests == []


# Before the program's first line SIGINT is Python's own, which can fail by it.
@pytest.mark.parametrize(("signal", "exit_codes"), [("TERM", {143}), ("INT", {130, 1})])
def test_signal__from_the_first_moment_ends_the_program(
    signal: str,
    exit_codes: set[int],
    start_sandbox: StartSandbox,
    create_container: CreateContainer,
) -> None:
    """Signals from the first moment on end the container before any request or document."""
    server = start_sandbox("*:429/50x*")
    name = create_container(reaching(server, ALM_USER_ID="31"))

    exit_code, stdout, _ = start_and_send(name, UNTIL_EXEC + RAIN, signal)

    assert exit_code in exit_codes
    assert (stdout, server.requests) == ("", [])


def test_stop__needs_no_kill(
    start_sandbox: StartSandbox, create_container: CreateContainer
) -> None:
    """`docker stop`, and a kubelet, end the container long before its grace period."""
    server = start_sandbox("*:stall-headersx*")
    name = create_container(reaching(server, ALM_USER_ID="31"))
    engine.podman("start", name)
    wait_until(lambda: server.requests)

    began = time.monotonic()
    engine.podman("stop", "--time=10", name)

    assert time.monotonic() - began < MAX_SECONDS
    assert engine.podman("inspect", "--format={{.State.ExitCode}}", name) == "143"


def test_signal__that_is_ignored_stays_ignored(
    start_sandbox: StartSandbox, create_container: CreateContainer
) -> None:
    """A signal that the parent process ignores stays ignored, during loading and the run."""
    server = start_sandbox("*:stall-headersx*")
    inspect = ("image", "inspect", "--format={{json .Config.Entrypoint}}", engine.image())
    entry = json.loads(engine.podman(*inspect))
    ignoring = (
        "import os, signal; signal.signal(signal.SIGINT, signal.SIG_IGN);"
        f"os.execv({entry[0]!r}, {entry!r})"
    )
    entrypoint = json.dumps([entry[0], "-c", ignoring])
    name = create_container(reaching(server, ALM_USER_ID="31"), f"--entrypoint={entrypoint}")

    with send(name, ONCE_IGNORED, "INT"):
        process = start(name)
        wait_until(lambda: server.requests or process.poll() is not None)
        engine.podman("kill", "--signal=TERM", name)
        process.communicate(timeout=PATIENCE_SECONDS)

    assert process.returncode == 143
