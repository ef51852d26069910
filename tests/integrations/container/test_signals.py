"""Signals reach the first process of a container, from which the kernel keeps all that have no handler."""

from __future__ import annotations

import json
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.integrations.container import engine

if TYPE_CHECKING:
    from tests.contract.conftest import Reaching, StartSandbox
    from tests.integrations.container.conftest import CreateContainer

ENDED = "alm-enrollments: error: The run was stopped by a signal. Nothing was half-written; run it again."
SIGNALS = pytest.mark.parametrize(("signal", "exit_code"), [("TERM", 143), ("INT", 130)])
# Before the process is Python's, it is the runtime's. Then: as soon as it handles the signal, once; or from then on, over and over.
UNTIL_EXEC = 'pid=$1 signal=$2; until grep -qs connector "/proc/$pid/cmdline"; do :; done\n'
# SIGTERM is the second that the program handles; SIGINT Python itself handles before.
ONCE_HANDLED = (
    UNTIL_EXEC
    + r"""
while read -r name value _ < <(grep SigCgt "/proc/$pid/status") && (( ! (16#$value >> ($(kill -l TERM) - 1) & 1) )); do :; done
kill -s "$signal" "$pid"
"""
)
RAIN = 'while kill -s "$signal" "$pid" 2> /dev/null; do sleep 0.005; done\n'
OVER_AND_OVER = UNTIL_EXEC + RAIN
ONCE_IGNORED = (
    r"""
pid=$1 signal=$2
while read -r name value _ < <(grep SigIgn "/proc/$pid/status") && (( ! (16#$value >> ($(kill -l "$signal") - 1) & 1) )); do :; done
"""
    + RAIN
)


def start(name: str) -> subprocess.Popen[str]:
    """Start the container *name*; its exit code and its streams become those of the process returned."""
    return subprocess.Popen(
        engine.command("start", "--attach", name),
        env=engine.environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_and_send(name: str, script: str, signal: str) -> tuple[int, str, str]:
    """Start the container *name*, have *script* send *signal* to its process, and return the exit code and both streams."""
    engine.podman("init", name)
    pid = engine.podman("inspect", "--format={{.State.Pid}}", name)
    with subprocess.Popen(engine.as_root("bash", "-c", script, "send", pid, signal)) as sender:
        process = start(name)
        stdout, stderr = process.communicate(timeout=20)
        sender.wait(timeout=20)
    return process.returncode, stdout, stderr


@SIGNALS
@pytest.mark.parametrize("fault", ["*:stall-headers", "*:429/50"], ids=["no answer", "quota wait"])
def test_signals__in_the_middle_of_a_wait(
    fault: str,
    signal: str,
    exit_code: int,
    start_sandbox: StartSandbox,
    reaching: Reaching,
    create_container: CreateContainer,
) -> None:
    """SIGTERM and SIGINT end the container within two seconds wherever it waits, with their exit code and a whole document."""
    server = start_sandbox(f"{fault}x*")
    name = create_container(reaching(server, ALM_USER_ID="31"))
    process = start(name)
    while not server.requests:
        time.sleep(0.05)
    time.sleep(0.3)

    began = time.monotonic()
    engine.podman("kill", f"--signal={signal}", name)
    stdout, stderr = process.communicate(timeout=20)

    assert time.monotonic() - began < 2
    assert process.returncode == exit_code
    assert json.loads(stdout)["error"]["code"] == exit_code
    assert stderr.splitlines()[-1] == ENDED


@SIGNALS
def test_signals__before_the_run(
    signal: str,
    exit_code: int,
    start_sandbox: StartSandbox,
    reaching: Reaching,
    create_container: CreateContainer,
) -> None:
    """A single signal while the program is still being loaded ends it there and then: nothing is asked, nothing is said."""
    server = start_sandbox()
    name = create_container(reaching(server, ALM_USER_ID="31"))

    ended = start_and_send(name, ONCE_HANDLED, signal)

    assert ended == (exit_code, "", "")
    assert server.requests == []


# Before the program's first line SIGINT is Python's own, which fails by it while it starts.
@pytest.mark.parametrize(("signal", "exit_codes"), [("TERM", {143}), ("INT", {130, 1})])
@pytest.mark.parametrize("attempt", range(4))
def test_signals__from_the_first_moment_on(
    attempt: int,
    signal: str,
    exit_codes: set[int],
    start_sandbox: StartSandbox,
    reaching: Reaching,
    create_container: CreateContainer,
) -> None:
    """Signals that rain down from the first moment on end the container before anything is asked or printed."""
    server = start_sandbox(f"*:429/{50 + attempt}x*")
    name = create_container(reaching(server, ALM_USER_ID="31"))

    exit_code, stdout, _ = start_and_send(name, OVER_AND_OVER, signal)

    assert exit_code in exit_codes
    assert stdout == ""
    assert server.requests == []


def test_signals__stopping_needs_no_kill(
    start_sandbox: StartSandbox, reaching: Reaching, create_container: CreateContainer
) -> None:
    """What `docker stop` and the kubelet do takes no grace period: the container is gone long before it is killed."""
    server = start_sandbox("*:stall-headersx*")
    name = create_container(reaching(server, ALM_USER_ID="31"))
    engine.podman("start", name)
    while not server.requests:
        time.sleep(0.05)

    began = time.monotonic()
    engine.podman("stop", "--time=10", name)

    assert time.monotonic() - began < 2
    assert engine.podman("inspect", "--format={{.State.ExitCode}}", name) == "143"


def test_signals__ignored_from_outside(
    start_sandbox: StartSandbox, reaching: Reaching, create_container: CreateContainer
) -> None:
    """A signal that whoever started the process has it ignore stays ignored, while the program is loaded and in the run."""
    server = start_sandbox("*:stall-headersx*")
    entry = json.loads(
        engine.podman("image", "inspect", "--format={{json .Config.Entrypoint}}", engine.image())
    )
    ignoring = f"import os, signal; signal.signal(signal.SIGINT, signal.SIG_IGN); os.execv({entry[0]!r}, {entry!r})"
    name = create_container(
        reaching(server, ALM_USER_ID="31"), f"--entrypoint={json.dumps([entry[0], '-c', ignoring])}"
    )
    engine.podman("init", name)
    pid = engine.podman("inspect", "--format={{.State.Pid}}", name)
    with subprocess.Popen(engine.as_root("bash", "-c", ONCE_IGNORED, "send", pid, "INT")):
        process = start(name)
        while not server.requests:
            assert process.poll() is None
            time.sleep(0.05)
        engine.podman("kill", "--signal=TERM", name)
        process.communicate(timeout=20)

    assert process.returncode == 143
