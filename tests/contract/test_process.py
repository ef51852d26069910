"""The process among others: signals, pipes, full disks, and what it starts with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Reaching, RunCommand, StartSandbox

CHECKOUT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "fault",
    ["*:stall-headers", "*:stall", "*:429/50"],
    ids=["no answer", "stalled body", "quota wait"],
)
@pytest.mark.parametrize("users", ["31", "31,32,33"], ids=["one user", "several at once"])
@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals__end_it_at_once(
    number: signal.Signals,
    exit_code: int,
    users: str,
    fault: str,
    start_sandbox: StartSandbox,
    reaching: Reaching,
    environ: dict[str, str],
) -> None:
    """SIGINT and SIGTERM end the run within two seconds wherever it waits, with their exit code and a whole document."""
    server = start_sandbox(f"{fault}x*")
    process = subprocess.Popen(
        [sys.executable, "-m", "connector"],
        env={**environ, **reaching(server, ALM_USER_ID=users)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not server.requests:
        time.sleep(0.05)
    time.sleep(0.3)

    process.send_signal(number)
    began = time.monotonic()
    stdout, stderr = process.communicate(timeout=10)

    assert time.monotonic() - began < 2
    assert process.returncode == exit_code
    assert json.loads(stdout)["error"]["code"] == exit_code
    assert (
        stderr.splitlines()[-1]
        == "alm-enrollments: error: The run was stopped by a signal. Nothing was half-written; run it again."
    )


def test_stdout__closed_pipe_is_no_error(environ: dict[str, str]) -> None:
    """Who reads only the beginning (`| head`) causes no error and no traceback."""
    line = f"{sys.executable} -m connector --user-id 31 --lo-types all --base-url sandbox | head -c 10; echo ${{PIPESTATUS[0]}}"

    finished = subprocess.run(
        ["bash", "-c", line], env=environ, capture_output=True, text=True, check=False
    )

    assert finished.stdout == '{"enrollme0\n'
    assert finished.stderr == ""


def test_stdout__full_disk(environ: dict[str, str]) -> None:
    """A document that cannot be written ends with 73 and one line that says why."""
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        finished = subprocess.run(
            [sys.executable, "-m", "connector", "--user-id", "31", "--base-url", "sandbox"],
            env=environ,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert finished.returncode == 73
    assert finished.stderr == (
        "alm-enrollments: error: Standard output cannot be written: No space left on device."
        " Nothing was handed on; mend it and run again.\n"
    )


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals__while_nobody_reads(
    number: signal.Signals,
    exit_code: int,
    environ: dict[str, str],
    start_sandbox: StartSandbox,
    reaching: Reaching,
) -> None:
    """A signal ends a run whose reader has stalled in mid-document, and nothing follows the half that is out."""
    server = start_sandbox(rate_per_minute=600_000, burst=100_000)
    users = ",".join(map(str, range(1000, 1060)))
    process = subprocess.Popen(
        [sys.executable, "-m", "connector", "--lo-types", "all"],
        env={**environ, **reaching(server, ALM_USER_ID=users)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    begun = os.read(process.stdout.fileno(), 1)

    process.send_signal(number)
    began = time.monotonic()
    assert process.wait(timeout=10) == exit_code
    assert time.monotonic() - began < 2

    rest, stderr = process.communicate()
    assert (begun + rest).count(b'"enrollment_ids"') == 1
    assert b"may end in the middle" in stderr


@pytest.mark.parametrize(
    ("closing", "exit_code"), [(">&-", 73), ("--sort x 2>&-", 64), ("--user-ids-file - <&-", 64)]
)
def test_streams__closed_from_the_start(
    closing: str, exit_code: int, environ: dict[str, str]
) -> None:
    """A stream that is closed from the start ends in an exit code of the contract, without a traceback."""
    variables = {"ALM_BASE_URL": "sandbox"} | (
        {} if "ids-file" in closing else {"ALM_USER_ID": "20941371"}
    )

    finished = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m connector {closing}"],
        env={**environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )

    assert finished.returncode == exit_code
    assert "Traceback" not in finished.stderr


def test_help__in_any_encoding(command: RunCommand) -> None:
    """--help is told on a terminal that knows ASCII alone."""
    finished = command("--help", environ={"PYTHONIOENCODING": "ascii"})

    assert (finished.exit_code, finished.stderr) == (0, "")


def test_dotenv__found_by_chance_is_not_read(command: RunCommand, tmp_path: Path) -> None:
    """A `.env` that lies in the folder is not read: it could point the token at another host."""
    (tmp_path / ".env").write_text("ALM_BASE_URL=sandbox\nALM_USER_ID=31\n", encoding="utf-8")

    finished = command(environ={"ALM_ACCESS_TOKEN": "some-token"})

    assert finished.exit_code == 64
    assert "user_id is missing" in finished.stderr


def test_help__and_version(command: RunCommand) -> None:
    """--help and --version answer on standard output, with nothing else, and without inputs."""
    told, version, of_sandbox = (
        command("--help"),
        command("--version"),
        command("sandbox", "--help"),
    )

    assert (told.exit_code, told.stderr, told.stdout.splitlines()[0]) == (
        0,
        "",
        "usage: alm-enrollments [fetch | merge | check | serve | sandbox] [--user-id ID …] [flags]",
    )
    assert (version.exit_code, version.stdout) == (0, "alm-enrollments 0.1.0\n")
    assert (of_sandbox.exit_code, of_sandbox.stdout.splitlines()[0]) == (
        0,
        "usage: alm-enrollments sandbox [--port N] [flags]",
    )


def test_sandbox__serves_what_it_prints(
    environ: dict[str, str], command: RunCommand, tmp_path: Path
) -> None:
    """The sandbox prints variables that work as they stand, and ends quietly when it is stopped."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "connector",
            "sandbox",
            "--port",
            "0",
            "--request-log",
            str(tmp_path / "log"),
        ],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    exported = next(line for line in process.stdout if line.strip().startswith("export "))
    variables = dict(pair.split("=", 1) for pair in exported.split()[1:])

    finished = command("--user-id", "20941371", environ=variables)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=10)

    assert finished.document["enrollment_count"] == 3
    assert (process.returncode, stderr) == (0, "")
    assert json.loads((tmp_path / "log").read_text(encoding="utf-8"))["status"] == 200


def test_wheel__has_all_it_needs(tmp_path: Path) -> None:
    """The wheel ships the schemas, the documented example and the typed marker, and its command runs from it alone."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("alm_enrollments_connector-0.1.0-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    entry = (
        tmp_path / "installed" / "alm_enrollments_connector-0.1.0.dist-info" / "entry_points.txt"
    ).read_text(encoding="utf-8")

    finished = subprocess.run(
        [
            sys.executable,
            "-I",
            "-c",
            f"import sys; sys.path.insert(0, {str(tmp_path / 'installed')!r}); from connector.__main__ import run_command; run_command()",
        ],
        env={"ALM_USER_ID": "20941371", "ALM_BASE_URL": "sandbox"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert entry == (
        "[console_scripts]\nalm-enrollments = connector.__main__:run_command\n\n"
        "[apache_airflow_provider]\nprovider_info = connector.airflow.provider:get_provider_info\n"
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    assert json.loads(finished.stdout)["enrollment_count"] == 3
    assert (tmp_path / "installed" / "connector" / "py.typed").exists()
