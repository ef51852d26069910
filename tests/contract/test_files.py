"""Output files and formats, by the command as a process: what is left behind when it ends, whatever ended it."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from connector.sandbox.server import SandboxServer

    from .conftest import Reaching, RunCommand, StartSandbox

# No limiter would be no quota headers: the run would take ALM's documented 100 a minute for granted.
UNLIMITED = {"rate_per_minute": 600_000, "burst": 100_000}
FORMATS = ("json", "ndjson", "csv", "table", "parquet")
ALL = ("--lo-types", "all", "--concurrency", "1")
# What counts the lines of a process writes a file at its end, which has to fit as well.
UNMEASURED = "unset COVERAGE_PROCESS_CONFIG;"


def asked(server: SandboxServer) -> list[str]:
    """Return the users asked for, each once, in the order of their first requests."""
    return list(
        dict.fromkeys(
            re.findall(r"/users/(\d+)/", request["target"])[0] for request in server.requests
        )
    )


def users_of(path: Path) -> list[str]:
    """Return the users of an NDJSON file in the order of their first records."""
    return list(
        dict.fromkeys(
            json.loads(line)["user_id"] for line in path.read_text(encoding="utf-8").splitlines()
        )
    )


def names(folder: Path) -> list[str]:
    """Return what is in *folder*."""
    return sorted(path.name for path in folder.iterdir())


def wait_for(is_so: Callable[[], bool]) -> None:
    """Wait until something is so, ten seconds at most."""
    for _ in range(1_000):
        if is_so():
            return
        threading.Event().wait(0.01)
    pytest.fail("it did not come to pass within ten seconds")


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@pytest.mark.parametrize("name", FORMATS[:4])
def test_output_file__has_the_records(
    name: str, suffix: str, command: RunCommand, tmp_path: Path
) -> None:
    """The records are in the file, the ids in the document as well, and nothing else is left behind."""
    told = command("--user-id", "31,32", "--lo-types", "all", "--base-url", "sandbox").document

    document = command(
        "--user-id",
        "31,32",
        "--lo-types",
        "all",
        "--base-url",
        "sandbox",
        "--format",
        name,
        "--output-file",
        f"out{suffix}",
    ).document

    assert sorted(document["enrollment_ids"]) == sorted(told["enrollment_ids"])
    assert document | {"enrollment_ids": [], "resource_grade_ids": [], "output_file": None} == {
        key: value for key, value in told.items() if key != "enrollments"
    } | {"enrollment_ids": [], "resource_grade_ids": []}
    assert document["output_file"] == f"out{suffix}"
    assert names(tmp_path) == [f"out{suffix}", f"out{suffix}.users"]


@pytest.mark.parametrize("name", FORMATS[1:])
def test_standard_output__has_the_records_alone(
    name: str, environ: dict[str, str], tmp_path: Path
) -> None:
    """In another format than JSON standard output has the same bytes as a file would, and no document."""
    flags = ["--user-id", "31", "--lo-types", "all", "--base-url", "sandbox", "--format", name]
    in_file = subprocess.run(
        [sys.executable, "-m", "connector", *flags, "--output-file", "out"],
        env=environ,
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )

    finished = subprocess.run(
        [sys.executable, "-m", "connector", *flags],
        env=environ,
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )

    assert (finished.returncode, finished.stderr) == (0, b"")
    assert finished.stdout == (tmp_path / "out").read_bytes()
    assert json.loads(in_file.stdout)["error"] is None


def test_standard_output__parquet_is_readable(environ: dict[str, str]) -> None:
    """Parquet that is piped on is a whole file with every record of every user."""
    finished = subprocess.run(
        [
            sys.executable,
            "-m",
            "connector",
            "--user-id",
            "20941371,31",
            "--base-url",
            "sandbox",
            "--format",
            "parquet",
        ],
        env=environ,
        capture_output=True,
        check=True,
    )

    table = pq.read_table(io.BytesIO(finished.stdout))
    assert set(table.column("user_id").to_pylist()) == {"20941371", "31"}


def test_standard_output__some_users_failed(command: RunCommand) -> None:
    """The records of the others are on standard output, and the exit code and standard error tell that some are missing."""
    finished = command("--user-id", "4041,31", "--base-url", "sandbox", "--format", "csv")

    assert finished.exit_code == 65
    assert {row["user_id"] for row in csv.DictReader(io.StringIO(finished.stdout, newline=""))} == {
        "31"
    }
    assert "1 of 2 users could not be read: 4041 (exit code 67)." in finished.stderr


@pytest.mark.parametrize("name", FORMATS[1:])
def test_standard_output__closed_pipe_is_no_error(name: str, environ: dict[str, str]) -> None:
    """Who reads only the beginning of the records (`| head`) causes no error and no traceback."""
    line = f"{sys.executable} -m connector --user-id 31,32 --base-url sandbox --format {name} | head -c 4 >&2; echo ${{PIPESTATUS[0]}}"

    finished = subprocess.run(
        ["bash", "-c", line], env=environ, capture_output=True, text=True, check=False
    )

    assert finished.stdout == "0\n"
    assert len(finished.stderr) == 4


@pytest.mark.parametrize("name", FORMATS[1:])
def test_standard_output__full_disk(name: str, environ: dict[str, str]) -> None:
    """Records that cannot be written end with 73 and one line that says why."""
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        finished = subprocess.run(
            [
                sys.executable,
                "-m",
                "connector",
                "--user-id",
                "31",
                "--base-url",
                "sandbox",
                "--format",
                name,
            ],
            env=environ,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert finished.returncode == 73
    assert finished.stderr == (
        "alm-enrollments: error: Standard output cannot be written: No space left on device."
        " What is on it ends in the middle; mend it and run again.\n"
    )


def test_output_file__a_refused_token_leaves_what_was_read(
    command: RunCommand, start_sandbox: StartSandbox, reaching: Reaching, tmp_path: Path
) -> None:
    """A failure that is everyone's leaves what was read beside the file, says so, and resume asks for the others alone."""
    server = start_sandbox("user=33:401", **UNLIMITED)
    flags = (
        "--user-id",
        "31,32,33,34",
        *ALL,
        "--format",
        "ndjson",
        "--output-file",
        "out",
        "--resume",
    )

    first = command(*flags, environ=reaching(server))
    left = names(tmp_path)
    server.requests.clear()
    second = command(*flags, environ=reaching(server))

    assert (first.exit_code, first.document["output_file"], first.document["enrollment_count"]) == (
        77,
        None,
        0,
    )
    assert "2 users that were read are kept in out.part: run again with resume." in first.stderr
    assert left == ["out.part", "out.users"]
    assert (second.exit_code, asked(server), names(tmp_path)) == (
        0,
        ["33", "34"],
        ["out", "out.users"],
    )
    assert second.document["users"] == {"requested": 4, "read": 4, "failed": []}
    assert second.document["enrollment_count"] == len((tmp_path / "out").read_bytes().splitlines())
    assert users_of(tmp_path / "out") == ["31", "32", "33", "34"]


def test_output_file__a_single_users_failure_leaves_nothing(
    command: RunCommand, tmp_path: Path
) -> None:
    """Where nobody was read there is no file, and an earlier one stays as it was."""
    before = command("--user-id", "31", "--base-url", "sandbox", "--output-file", "out")
    earlier = [(tmp_path / name).read_bytes() for name in ("out", "out.users")]

    anew = command("--user-id", "4041", "--base-url", "sandbox", "--output-file", "new")
    over = command("--user-id", "4041", "--base-url", "sandbox", "--output-file", "out")

    assert (before.exit_code, anew.exit_code, over.exit_code) == (0, 67, 67)
    assert names(tmp_path) == ["out", "out.users"]
    assert [(tmp_path / name).read_bytes() for name in ("out", "out.users")] == earlier


def test_output_file__some_users_failed(
    command: RunCommand, start_sandbox: StartSandbox, reaching: Reaching, tmp_path: Path
) -> None:
    """The others are in the file, which tells who failed; resume asks for him alone."""
    server = start_sandbox("user=32:404", **UNLIMITED)
    flags = (
        "--user-id",
        "31,32,33",
        *ALL,
        "--format",
        "ndjson",
        "--output-file",
        "out",
        "--resume",
    )

    first = command(*flags, environ=reaching(server))
    in_first = users_of(tmp_path / "out")
    server.requests.clear()
    second = command(*flags, environ=reaching(server))

    assert (first.exit_code, in_first) == (65, ["31", "33"])
    assert [failed["user_id"] for failed in first.document["users"]["failed"]] == ["32"]
    assert (second.exit_code, asked(server), users_of(tmp_path / "out")) == (
        0,
        ["32"],
        ["31", "33", "32"],
    )


def test_output_file__incomplete_as_allowed(
    command: RunCommand, start_sandbox: StartSandbox, reaching: Reaching, tmp_path: Path
) -> None:
    """Under allow_incomplete the pages before a failure are in the file, behind the whole users; resume reads the user anew."""
    server = start_sandbox("user=31+page=2:403", **UNLIMITED)
    flags = ("--user-id", "31,32", *ALL, "--format", "ndjson", "--output-file", "out", "--resume")

    first = command(*flags, "--allow-incomplete", environ=reaching(server))
    in_first = users_of(tmp_path / "out")
    second = command(*flags, environ=reaching(server))

    assert (first.exit_code, first.document["complete"], in_first) == (0, False, ["32", "31"])
    assert (second.exit_code, second.document["complete"], users_of(tmp_path / "out")) == (
        0,
        True,
        ["32", "31"],
    )
    assert second.document["enrollment_count"] == len((tmp_path / "out").read_bytes().splitlines())


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_output_file__a_signal_keeps_who_was_read(
    number: signal.Signals,
    exit_code: int,
    environ: dict[str, str],
    start_sandbox: StartSandbox,
    reaching: Reaching,
    tmp_path: Path,
) -> None:
    """A signal gives the file its name with those who were read; resume finishes it."""
    server = start_sandbox("user=33:stall", **UNLIMITED)
    line = [
        sys.executable,
        "-m",
        "connector",
        "--user-id",
        "31,32,33",
        *ALL,
        "--format",
        "ndjson",
        "--output-file",
        "out",
        "--resume",
    ]
    variables = {**environ, **reaching(server)}
    process = subprocess.Popen(
        line, env=variables, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: asked(server) == ["31", "32", "33"])
    threading.Event().wait(0.3)

    process.send_signal(number)
    stdout, _ = process.communicate(timeout=10)
    left, kept = names(tmp_path), users_of(tmp_path / "out")
    server.requests.clear()
    resumed = subprocess.run(line, env=variables, cwd=tmp_path, capture_output=True, check=False)

    document = json.loads(stdout)
    assert (process.returncode, document["output_file"], document["users"]["read"]) == (
        exit_code,
        "out",
        2,
    )
    assert document["completeness"]["reasons"] == ["1 of 3 users were not reached"]
    assert (left, kept) == (["out", "out.users"], ["31", "32"])
    assert (resumed.returncode, asked(server), users_of(tmp_path / "out")) == (
        0,
        ["33"],
        ["31", "32", "33"],
    )


@pytest.mark.parametrize("name", [*FORMATS, "ndjson.gz", "csv.zst"])
def test_resume__nothing_left_to_do(
    name: str, command: RunCommand, start_sandbox: StartSandbox, reaching: Reaching, tmp_path: Path
) -> None:
    """Where the file has everybody, resume asks for nothing, changes nothing, and tells the same document."""
    server = start_sandbox(**UNLIMITED)
    flags = (
        "--user-id",
        "31,32",
        *ALL,
        "--format",
        name.split(".", maxsplit=1)[0],
        "--output-file",
        f"out.{name}",
        "--resume",
    )
    first = command(*flags, environ=reaching(server)).document
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(tmp_path.iterdir())]
    server.requests.clear()

    second = command(*flags, environ=reaching(server)).document

    assert server.requests == []
    assert [
        (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(tmp_path.iterdir())
    ] == before
    assert second == {**first, "completeness": {**first["completeness"], "requests": 0}}


@pytest.mark.parametrize(
    "changed",
    [
        ("--lo-types", "jobAid"),
        ("--format", "csv"),
        ("--since", "2024-01-01"),
        ("--state", "active"),
        ("--sort", "-dateEnrolled"),
        ("--include", "learner"),
        ("--max-enrollments", "5"),
        ("--shard", "1/2"),
    ],
    ids=" ".join,
)
def test_resume__other_inputs_are_refused(
    changed: tuple[str, str],
    command: RunCommand,
    start_sandbox: StartSandbox,
    reaching: Reaching,
    tmp_path: Path,
) -> None:
    """With other inputs than the earlier run's, resume is refused before anything is sent, and the file stays as it was."""
    server = start_sandbox(**UNLIMITED)
    flags = ("--user-id", "31,32", "--format", "ndjson", "--output-file", "out")
    command(*flags, environ=reaching(server))
    before = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    server.requests.clear()

    finished = command(*flags, "--resume", *changed, environ=reaching(server))

    assert (finished.exit_code, server.requests) == (64, [])
    assert "resume is asked for other inputs than those of the earlier run" in finished.stderr
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == before


def test_users__a_pipe_is_read_as_it_comes(
    environ: dict[str, str], start_sandbox: StartSandbox, reaching: Reaching
) -> None:
    """Asking begins while ids still come, one of them given twice is asked for once, and all are read."""
    server = start_sandbox(**UNLIMITED)
    process = subprocess.Popen(
        [sys.executable, "-m", "connector", "--user-ids-file", "-"],
        env={**environ, **reaching(server)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None

    process.stdin.write("31\n32\n31\n")
    process.stdin.flush()
    wait_for(lambda: {"31", "32"} <= set(asked(server)))
    stdout, _ = process.communicate("33\n31\n", timeout=30)

    assert sorted(asked(server)) == ["31", "32", "33"]
    assert json.loads(stdout)["users"] == {"requested": 3, "read": 3, "failed": []}


def test_users__a_wrong_line_of_a_pipe(
    command: RunCommand, tmp_path: Path, start_sandbox: StartSandbox, reaching: Reaching
) -> None:
    """A pipe ends at a line that is no id, told with its number; who was read before it is kept for resume."""
    server = start_sandbox(**UNLIMITED)
    flags = ("--user-ids-file", "-", *ALL, "--format", "ndjson", "--output-file", "out", "--resume")

    first = command(*flags, environ=reaching(server), stdin="31\n32\nx\n33\n")
    left = names(tmp_path)
    second = command(*flags, environ=reaching(server), stdin="31\n32\n33\n")

    assert (first.exit_code, left) == (64, ["out.part", "out.users"])
    assert first.stderr == (
        "alm-enrollments: error: 1 input is not valid: user_ids_file is without an id in line 3 of standard input"
        " (allowed: one ALM user id, decimal digits, in each line)."
        " Users before it were asked for; of an output_file, resume keeps those that were read.\n"
    )
    assert (second.exit_code, users_of(tmp_path / "out")) == (0, ["31", "32", "33"])


def test_users__a_wrong_line_of_a_pipe_that_stays_open(
    environ: dict[str, str], start_sandbox: StartSandbox, reaching: Reaching
) -> None:
    """A line that is no id ends the run when it comes, not when the pipe ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "connector", "--user-ids-file", "-"],
        env={**environ, **reaching(start_sandbox(**UNLIMITED))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None

    process.stdin.write("31\nx\n")
    process.stdin.flush()

    assert process.wait(timeout=10) == 64
    process.communicate()


def test_users__a_wrong_line_of_a_file(
    command: RunCommand, tmp_path: Path, start_sandbox: StartSandbox, reaching: Reaching
) -> None:
    """A file is judged as a whole before anything is sent."""
    server = start_sandbox(**UNLIMITED)
    (tmp_path / "users").write_text("31\n32\nx\n33\n", encoding="utf-8")

    finished = command("--user-ids-file", "users", "--output-file", "out", environ=reaching(server))

    assert (finished.exit_code, server.requests, names(tmp_path)) == (64, [], ["users"])
    assert finished.stderr.endswith("in each line). Nothing was sent.\n")


@pytest.mark.parametrize("name", ["ndjson", "json", "csv", "parquet"])
def test_output_file__a_disk_that_fills_up(
    name: str,
    environ: dict[str, str],
    start_sandbox: StartSandbox,
    reaching: Reaching,
    tmp_path: Path,
) -> None:
    """Where there is no room for a user, the run ends with 73 and one line; with room again, resume finishes it."""
    server = start_sandbox(enrollments_per_user=50, **UNLIMITED)
    flags = f"--user-id 31,32,33,34 {' '.join(ALL)} --format {name} --output-file out --resume"
    # As much as the system lets a file grow, in units of 1,024 bytes: two users have room.
    limited = f"{UNMEASURED} ulimit -f {80 if name == 'ndjson' else 60}; exec {sys.executable} -m connector {flags}"
    variables = {**environ, **reaching(server), "PYTHONDONTWRITEBYTECODE": "1"}

    first = subprocess.run(
        ["bash", "-c", limited],
        env=variables,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    left = names(tmp_path)
    server.requests.clear()
    second = subprocess.run(
        [sys.executable, "-m", "connector", *flags.split()],
        env=variables,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (first.returncode, left) == (73, ["out.part", "out.users"])
    assert first.stderr == (
        "alm-enrollments: error: The output file out cannot be written: File too large."
        " What is whole is kept: mend it, and run again with resume.\n"
    )
    assert json.loads(first.stdout)["error"]["code"] == 73
    assert (second.returncode, json.loads(second.stdout)["enrollment_count"]) == (0, 200)
    assert "31" not in asked(server)
    assert names(tmp_path) == ["out", "out.users"]


def test_output_file__no_room_for_one_user(
    environ: dict[str, str], start_sandbox: StartSandbox, reaching: Reaching, tmp_path: Path
) -> None:
    """A user too large for memory, and for the disk, is no defect: 73, and no file of his is left."""
    server = start_sandbox(enrollments_per_user=2_000, **UNLIMITED)
    line = f"{UNMEASURED} ulimit -f 300; exec {sys.executable} -m connector --user-id 31 --lo-types all --output-file out --format ndjson"

    finished = subprocess.run(
        ["bash", "-c", line],
        env={**environ, **reaching(server)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert finished.returncode == 73
    assert "The output file out cannot be written: File too large." in finished.stderr
    assert "out" not in names(tmp_path)


def test_output_file__two_runs_at_once(
    command: RunCommand,
    environ: dict[str, str],
    start_sandbox: StartSandbox,
    reaching: Reaching,
    tmp_path: Path,
) -> None:
    """A second run on the same file ends with 73 and asks for nobody; the first one finishes."""
    server = start_sandbox("user=32:drip", **UNLIMITED)
    flags = ["--user-id", "31,32", *ALL, "--format", "ndjson", "--output-file", "out"]
    first = subprocess.Popen(
        [sys.executable, "-m", "connector", *flags],
        env={**environ, **reaching(server)},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: asked(server) == ["31", "32"])
    others = start_sandbox(**UNLIMITED)

    second = command(*flags, environ=reaching(others))
    first.kill()
    first.communicate()
    resumed = command(*flags, "--resume", environ=reaching(server))

    assert (second.exit_code, others.requests) == (73, [])
    assert (
        "The output file out is being written by another run. Wait for it, or name another file."
        in second.stderr
    )
    assert (resumed.exit_code, users_of(tmp_path / "out")) == (0, ["31", "32"])


def test_output_file__grows_user_by_user(
    environ: dict[str, str], start_sandbox: StartSandbox, reaching: Reaching, tmp_path: Path
) -> None:
    """Users are written as they finish, while others are still being read; the file's own name comes last."""
    server = start_sandbox("user=33:stall", **UNLIMITED)
    line = [
        sys.executable,
        "-m",
        "connector",
        "--user-id",
        "31,32,33",
        *ALL,
        "--format",
        "ndjson",
        "--output-file",
        "out",
    ]
    process = subprocess.Popen(
        line,
        env={**environ, **reaching(server)},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )

    wait_for(
        lambda: (
            (tmp_path / "out.users").exists()
            and len((tmp_path / "out.users").read_bytes().splitlines()) == 3
        )
    )

    assert users_of(tmp_path / "out.part") == ["31", "32"]
    assert names(tmp_path) == ["out.part", "out.users"]
    process.kill()
    process.communicate()


def test_output_file__no_secret_in_it(
    command: RunCommand, start_sandbox: StartSandbox, reaching: Reaching, tmp_path: Path
) -> None:
    """A secret that is part of what ALM sends stands in none of the files."""
    server = start_sandbox(**UNLIMITED)
    environ = reaching(
        server,
        ALM_CLIENT_SECRET="ADMIN_ENROLL",
        ALM_CLIENT_ID="some-client",
        ALM_REFRESH_TOKEN="some-refresh-token",
    )

    finished = command(
        "--user-id", "31", *ALL, "--format", "ndjson", "--output-file", "out", environ=environ
    )

    written = (tmp_path / "out").read_bytes() + (tmp_path / "out.users").read_bytes()
    assert finished.exit_code == 0
    assert (b"ADMIN_ENROLL" in written, b'"enrollment_source":"***"' in written) == (False, True)


def test_standard_output__no_room_for_temporary_files(environ: dict[str, str]) -> None:
    """Parquet is made in a temporary file: where there is no room for it the run ends with 73 and says so."""
    flags = "--user-id 31,32,33 --lo-types all --base-url sandbox --format parquet"

    finished = subprocess.run(
        ["bash", "-c", f"{UNMEASURED} ulimit -f 8; exec {sys.executable} -m connector {flags}"],
        env={**environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        check=False,
    )

    assert (finished.returncode, finished.stdout) == (73, b"")
    assert finished.stderr == (
        b"alm-enrollments: error: Records on their way to standard output cannot be kept in a temporary file: File too large."
        b" Make room for them, or name an output_file.\n"
    )


def test_progress__a_bar_on_a_terminal(
    environ: dict[str, str], start_sandbox: StartSandbox, reaching: Reaching, tmp_path: Path
) -> None:
    """On a terminal a bar tells how far the run is, and is gone when it has ended."""
    server = start_sandbox(**UNLIMITED)
    ours, its = pty.openpty()
    termios.tcsetwinsize(its, (24, 200))
    users = ",".join(map(str, range(1000, 1020)))

    subprocess.run(
        [sys.executable, "-m", "connector", "--user-id", users, "--output-file", "out"],
        env={**environ, **reaching(server)},
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=its,
        check=True,
    )

    shown = os.read(ours, 100_000).decode().split("\r")
    os.close(ours)
    os.close(its)
    assert re.fullmatch(
        r"█{20} 20 of 20 users, [0-9]+ enrollments; [0-9]+ requests, [0-9]+ a minute of 600000; about 0 s left *",
        shown[-3],
    )
    assert shown[-2].strip() == ""
    assert shown[-1] == ""


def test_progress__no_bar_elsewhere(command: RunCommand) -> None:
    """Where nobody looks there is no bar."""
    assert (
        command("--user-id", "31,32", "--base-url", "sandbox", "--output-file", "out").stderr == ""
    )


# As `python -m connector`, and at its end the most memory that it had.
_MEASURED = r"""
import re, sys
from pathlib import Path
from connector.__main__ import run_command
try:
    run_command()
finally:
    print(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1], file=sys.stderr)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's peak so")
def test_users__a_million_ids_take_no_memory(
    environ: dict[str, str], start_sandbox: StartSandbox, reaching: Reaching, tmp_path: Path
) -> None:
    """A million ids in a pipe, most of them another shard's, take no more memory than a thousand."""
    server = start_sandbox(enrollments_per_user=0, **UNLIMITED)
    line = [
        sys.executable,
        "-c",
        _MEASURED,
        "--user-ids-file",
        "-",
        "--format",
        "ndjson",
        "--output-file",
        "out",
        "--shard",
    ]
    thousand, million = (
        "".join(f"{10_000_000 + number}\n" for number in range(count))
        for count in (1_000, 1_000_000)
    )

    few, many = (
        subprocess.run(
            [*line, shard],
            env={**environ, **reaching(server)},
            cwd=tmp_path,
            input=ids,
            capture_output=True,
            text=True,
            check=True,
        )
        for shard, ids in (("1/1", thousand), ("1/1000", million))
    )

    assert json.loads(few.stdout)["users"]["read"] == 1_000
    assert 900 < json.loads(many.stdout)["users"]["read"] < 1_100
    assert int(many.stderr) < 1.05 * int(few.stderr)
