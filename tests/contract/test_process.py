"""The process among others: signals, pipes, full disks, and the files that it needs."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
import zipfile
from typing import TYPE_CHECKING

import pytest

from tests.support.process import CHECKOUT, PATIENCE_SECONDS, wait_until
from tests.support.sandbox import DOCUMENTED_USER, EMBEDDED, NOTE, reaching

if TYPE_CHECKING:
    from connector.sandbox.server import SandboxServer
    from tests.support.process import Command
    from tests.support.sandbox import StartSandbox

# Two seconds are promised; a busy machine gets five times as many.
MAX_SECONDS = 10.0
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


@pytest.mark.parametrize(
    ("number", "fault", "users"),
    [
        (signal.SIGINT, "*:stall-headersx*", "31"),
        (signal.SIGTERM, "*:stallx*", "31,32,33"),
        (signal.SIGINT, "*:429/50x*", "31,32,33"),
        (signal.SIGTERM, "*:429/50x*", "31"),
    ],
    ids=["no response", "stalled body", "quota, several users", "quota, one user"],
)
def test_signal__ends_the_run_wherever_it_waits(
    number: signal.Signals, fault: str, users: str, command: Command, start_sandbox: StartSandbox
) -> None:
    """A signal ends the run soon, with its exit code, one line and a complete document."""
    server = start_sandbox(fault)
    process = command.start(f"--user-id {users}", **reaching(server))
    wait_until(lambda: server.requests)
    time.sleep(0.1)

    process.send_signal(number)
    began = time.monotonic()
    stdout, stderr = process.communicate(timeout=PATIENCE_SECONDS)

    assert time.monotonic() - began < MAX_SECONDS
    assert (process.returncode, json.loads(stdout)["error"]["code"]) == (CODES[number],) * 2
    line = "A signal stopped the run. No output was replaced."
    assert stderr.splitlines()[-1] == f"alm-enrollments: error: {line}"


@pytest.mark.parametrize("number", CODES)
def test_signal__ends_the_run_while_nobody_reads(
    number: signal.Signals, command: Command, sandbox: SandboxServer
) -> None:
    """A signal ends a run whose reader stalls, and nothing follows the half document."""
    users = ",".join(map(str, range(1000, 1060)))
    process = command.start(f"--user-id {users} --lo-types all", **reaching(sandbox))
    assert process.stdout is not None
    first = os.read(process.stdout.fileno(), 1).decode()

    process.send_signal(number)
    began = time.monotonic()
    assert process.wait(timeout=PATIENCE_SECONDS) == CODES[number]
    assert time.monotonic() - began < MAX_SECONDS

    rest, stderr = process.communicate()
    assert (first + rest).count('"enrollment_ids"') == 1
    assert "may end in the middle" in stderr


@pytest.mark.parametrize(("user", "exit_code"), [("31", 0), ("4041", 67), ("x", 64)])
def test_exit_code__is_the_documents(
    user: str, exit_code: int, command: Command, sandbox: SandboxServer
) -> None:
    """The process ends with the exit code in its document."""
    finished = command.as_process(f"--user-id {user}", **reaching(sandbox))

    assert finished.exit_code == exit_code
    assert (finished.document["error"] or {"code": 0})["code"] == exit_code
    assert finished.stderr.count("\n") == bool(exit_code)


def test_stdout__full_disk_ends_with_73(command: Command) -> None:
    """A document that cannot be written ends the run with 73 and a line that says why."""
    finished = command.shell("alm-enrollments > /dev/full", **EMBEDDED)

    assert finished.exit_code == 73
    assert finished.stderr == (
        f"{NOTE}alm-enrollments: error: Standard output cannot be written: No space left on device."
        " No document was written. Fix this and run again.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        ("--user-id 31 >&-", 73),
        ("--user-id 31 --sort x 2>&-", 64),
        ("--user-ids-file - <&-", 64),
    ],
)
def test_streams__closed_from_the_start(arguments: str, exit_code: int, command: Command) -> None:
    """A stream that is closed from the start ends in its exit code, without a traceback."""
    finished = command.shell(f"alm-enrollments --base-url sandbox {arguments}")

    assert finished.exit_code == exit_code
    assert "Traceback" not in finished.stderr


def test_dotenv__in_the_folder_is_not_read(command: Command) -> None:
    """A `.env` in the folder is not read: it could point the token at another host."""
    file = command.folder / ".env"
    file.write_text("ALM_BASE_URL=sandbox\nALM_USER_ID=31\n", encoding="utf-8")

    finished = command(ALM_ACCESS_TOKEN="some-token")

    assert finished.exit_code == 64
    assert "--user-id is missing" in finished.stderr


def test_help__works_on_an_ascii_terminal(command: Command) -> None:
    """--help is printed to standard output, whatever its encoding, and nothing else is."""
    finished = command.as_process("--help", PYTHONIOENCODING="ascii")

    assert (finished.exit_code, finished.stderr) == (0, "")
    assert finished.stdout.startswith("Usage: alm-enrollments [COMMAND] [OPTIONS]\n")
    assert r"\u2026" in finished.stdout or "…" not in finished.stdout


def test_version__needs_no_inputs(command: Command) -> None:
    """--version prints the version."""
    finished = command("--version")

    python = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    assert (finished.exit_code, finished.stdout) == (0, f"alm-enrollments 0.1.0 ({python})\n")


def test_sandbox__serves_what_it_prints(command: Command) -> None:
    """The sandbox prints variables that work as they are, and a signal ends it quietly."""
    process = command.start("sandbox --port 0 --request-log log")
    assert process.stdout is not None
    exported = next(line for line in process.stdout if line.strip().startswith("export "))
    variables = dict(pair.split("=", 1) for pair in exported.split()[1:])

    finished = command(f"--user-id {DOCUMENTED_USER}", **variables)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=PATIENCE_SECONDS)

    assert finished.document["enrollment_count"] == 3
    assert (process.returncode, stderr) == (0, "")
    assert json.loads(command.files()["log"])["status"] == 200


def test_wheel__runs_as_a_zip_file(command: Command) -> None:
    """Schemas, page templates and sample data are found in a zip file on Python's path."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(command.folder)]
    subprocess.run(build, cwd=CHECKOUT, check=True, capture_output=True)
    (wheel,) = command.folder.glob("*.whl")
    script = (
        f"import sys; sys.path.insert(0, {wheel.name!r}); import connector;"
        "assert '.whl' in connector.__file__;"
        "result = connector.run(user_id=20941371, base_url='sandbox', output_file='x.html');"
        "print(result['enrollment_count'])"
    )

    process = command.start_python(["-I", "-c", script])

    assert process.communicate(timeout=PATIENCE_SECONDS) == ("3\n", "")
    assert "course:7236827" in command.files()["x.html"]


def test_wheel__has_everything_that_it_needs(command: Command) -> None:
    """The wheel holds schemas, sample data, entry points and the typed marker, and runs."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(command.folder)]
    subprocess.run(build, cwd=CHECKOUT, check=True, capture_output=True)
    (wheel,) = command.folder.glob("alm_enrollments_connector-0.1.0-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(command.folder / "installed")
    files = command.files()
    run = "import sys; sys.path.insert(0, 'installed'); import connector.__main__ as main;"

    process = command.start_python(["-I", "-c", f"{run} main.run_command()"], **EMBEDDED)
    stdout, stderr = process.communicate(timeout=PATIENCE_SECONDS)

    assert (process.returncode, stderr) == (0, NOTE)
    assert json.loads(stdout)["enrollment_count"] == 3
    assert "installed/connector/py.typed" in files
    metadata = "installed/alm_enrollments_connector-0.1.0.dist-info"
    assert files[f"{metadata}/entry_points.txt"] == (
        "[console_scripts]\nalm-enrollments = connector.__main__:run_command\n\n"
        "[apache_airflow_provider]\n"
        "provider_info = connector.airflow.provider:get_provider_info\n"
    )
