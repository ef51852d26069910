"""Output files and formats: what remains when the command ends, however it ends."""

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
import time
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from tests.support.process import (
    CHECKOUT,
    PATIENCE_SECONDS,
    UNMEASURED,
    needed_variables,
    wait_until,
)
from tests.support.sandbox import NOTE, ids_of, reaching, requested_users

if TYPE_CHECKING:
    from pathlib import Path

    from connector.sandbox.server import SandboxServer
    from tests.support.process import Command
    from tests.support.sandbox import StartSandbox

FORMATS = ("json", "ndjson", "csv", "table", "parquet")
TWO = "--user-id 31,32 --lo-types all"
# One user at a time, so that their order in the file is known.
TO_NDJSON = "--lo-types all --concurrency 1 --format ndjson --output-file out"


def users_of(path: Path) -> list[str]:
    """Return the users of an NDJSON file, by their first record."""
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return list(dict.fromkeys(record["user_id"] for record in records))


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return content and time of every file in *folder*, by its name."""
    paths = sorted(folder.iterdir())
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@pytest.mark.parametrize("kind", FORMATS[:4])
def test_output_file__has_the_records(
    kind: str, suffix: str, command: Command, sandbox: SandboxServer
) -> None:
    """The file has the records, the document has the ids, and no other file remains."""
    flags = f"--format {kind} --output-file out{suffix}"

    document = command(f"{TWO} {flags}", **reaching(sandbox)).document

    assert sorted(document["enrollment_ids"]) == sorted(ids_of(["31", "32"]))
    assert document["enrollment_count"] == len(document["enrollment_ids"])
    assert (document["output_file"], document["complete"]) == (f"out{suffix}", True)
    assert list(content(command.folder)) == [f"out{suffix}", f"out{suffix}.users"]


@pytest.mark.parametrize("kind", FORMATS[1:4])
def test_stdout__has_the_bytes_of_the_file(kind: str, command: Command) -> None:
    """In a format other than JSON, standard output has the bytes of the file, and no document."""
    line = f"--user-id 31 --lo-types all --base-url sandbox --format {kind}"

    finished = command(line)

    assert command(f"{line} --output-file out").error is None
    assert (finished.exit_code, finished.stderr) == (0, NOTE)
    assert finished.stdout.encode() == (command.folder / "out").read_bytes()


def test_stdout__parquet_is_readable(command: Command) -> None:
    """Parquet on standard output is a complete file with the records of every user."""
    line = "--user-id 20941371,31 --lo-types all --base-url sandbox --format parquet"

    command.shell(f"alm-enrollments {line} > out")

    ids = pq.read_table(command.folder / "out").column("id").to_pylist()
    assert sorted(ids) == sorted(ids_of(["20941371", "31"]))


def test_stdout__some_users_failed(command: Command) -> None:
    """Standard output has the others' records; exit code and standard error report the failure."""
    finished = command("--user-id 4041,31 --base-url sandbox --format csv")

    rows = csv.DictReader(io.StringIO(finished.stdout, newline=""))
    assert (finished.exit_code, {row["user_id"] for row in rows}) == (65, {"31"})
    assert "1 of 2 users could not be read: 4041 (exit code 67)." in finished.stderr


@pytest.mark.parametrize("kind", ["json", "ndjson", "parquet"])
def test_stdout__closed_pipe_is_no_error(
    kind: str, command: Command, sandbox: SandboxServer
) -> None:
    """A reader that closes the pipe, as `| head` does, causes no error and no traceback."""
    # More than the pipe holds.
    users = ",".join(map(str, range(1000, 1060)))
    line = f"alm-enrollments --user-id {users} --lo-types all --format {kind}"

    finished = command.shell(
        f"{line} | head -c 4 >&2; echo ${{PIPESTATUS[0]}}", **reaching(sandbox)
    )

    assert (finished.stdout, len(finished.stderr)) == ("0\n", 4)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_stdout__full_disk_ends_with_73(kind: str, command: Command) -> None:
    """Records that cannot be written end the run with 73 and one line that says why."""
    line = f"alm-enrollments --user-id 31 --base-url sandbox --format {kind}"

    finished = command.shell(f"{line} > /dev/full")

    assert finished.exit_code == 73
    assert finished.stderr == (
        f"{NOTE}alm-enrollments: error: Standard output cannot be written: No space left on device."
        " What it has ends in the middle. Fix this and run again.\n"
    )


def test_stdout__no_space_for_temporary_files(command: Command) -> None:
    """If a temporary file for Parquet cannot be written, the run ends with 73 and says so."""
    line = "alm-enrollments --user-id 31,32,33 --lo-types all --base-url sandbox --format parquet"

    finished = command.shell(f"ulimit -f 8; {line}", **UNMEASURED)

    assert (finished.exit_code, finished.stdout) == (73, "")
    assert finished.stderr == (
        f"{NOTE}alm-enrollments: error: Records for standard output cannot be written to"
        " a temporary file: File too large. Free space in that folder, or set --output-file.\n"
    )


def test_refused_token__keeps_the_finished_users(
    command: Command, start_sandbox: StartSandbox
) -> None:
    """A failure for all users keeps the finished ones, and resume requests only the others."""
    server = start_sandbox("user=33:401")
    line = f"--user-id 31,32,33,34 {TO_NDJSON} --resume"

    first = command(line, **reaching(server))
    kept = list(content(command.folder))
    server.requests.clear()
    second = command(line, **reaching(server))

    assert (first.exit_code, kept) == (77, ["out.part", "out.users"])
    assert (first.document["output_file"], first.document["enrollment_count"]) == (None, 0)
    assert "2 users are kept in out.part: run again with --resume." in first.stderr
    # The first run may still have requested the next user when it ended.
    assert (second.exit_code, sorted(requested_users(server))) == (0, ["33", "34"])
    assert list(content(command.folder)) == ["out", "out.users"]
    assert users_of(command.folder / "out") == ["31", "32", "33", "34"]
    assert second.document["users"] == {"requested": 4, "read": 4, "failed": []}
    lines = (command.folder / "out").read_bytes().splitlines()
    assert second.document["enrollment_count"] == len(lines)


def test_failed_user__leaves_files_as_they_were(command: Command) -> None:
    """If no user was read there is no file, and an earlier one stays as it was."""
    command("--user-id 31 --base-url sandbox --output-file out.json")
    before = content(command.folder)

    runs = [
        command(f"--user-id 4041 --base-url sandbox --output-file {name}")
        for name in ("new.json", "out.json")
    ]

    assert [finished.exit_code for finished in runs] == [67, 67]
    assert content(command.folder) == before


def test_failed_user__is_requested_again_by_resume(
    command: Command, start_sandbox: StartSandbox
) -> None:
    """The file has the others, the document the failed user, and resume requests only them."""
    server = start_sandbox("user=32:404")
    line = f"--user-id 31,32,33 {TO_NDJSON} --resume"

    first = command(line, **reaching(server))
    in_first = users_of(command.folder / "out")
    server.requests.clear()
    second = command(line, **reaching(server))

    failed = [user["user_id"] for user in first.document["users"]["failed"]]
    assert (first.exit_code, in_first, failed) == (65, ["31", "33"], ["32"])
    assert (second.exit_code, requested_users(server)) == (0, ["32"])
    assert users_of(command.folder / "out") == ["31", "33", "32"]


def test_incomplete_user__is_read_again_by_resume(
    command: Command, start_sandbox: StartSandbox
) -> None:
    """With allow_incomplete an unfinished user's pages come last, and resume reads them again."""
    server = start_sandbox("user=31+page=2:403")
    line = f"--user-id 31,32 {TO_NDJSON} --resume"

    first = command(f"{line} --allow-incomplete", **reaching(server))
    in_first = users_of(command.folder / "out")
    second = command(line, **reaching(server))

    assert (first.exit_code, first.document["complete"], in_first) == (0, False, ["32", "31"])
    assert (second.exit_code, second.document["complete"]) == (0, True)
    assert users_of(command.folder / "out") == ["32", "31"]
    lines = (command.folder / "out").read_bytes().splitlines()
    assert second.document["enrollment_count"] == len(lines)


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal__keeps_the_finished_users(
    number: signal.Signals, exit_code: int, command: Command, start_sandbox: StartSandbox
) -> None:
    """A signal leaves no file but the finished users next to it, and resume completes it."""
    server = start_sandbox("user=33:stall")
    line = f"--user-id 31,32,33 {TO_NDJSON} --resume"
    process = command.start(line, **reaching(server))
    wait_until(lambda: requested_users(server) == ["31", "32", "33"])
    time.sleep(0.1)

    process.send_signal(number)
    document = json.loads(process.communicate(timeout=PATIENCE_SECONDS)[0])
    kept = (list(content(command.folder)), users_of(command.folder / "out.part"))
    server.requests.clear()
    resumed = command(line, **reaching(server))

    assert (process.returncode, document["output_file"]) == (exit_code, None)
    assert document["error"]["hint"] == (
        "No output was replaced. 2 users are kept in out.part: run again with --resume."
    )
    assert kept == (["out.part", "out.users"], ["31", "32"])
    assert (resumed.exit_code, requested_users(server)) == (0, ["33"])
    assert users_of(command.folder / "out") == ["31", "32", "33"]


@pytest.mark.parametrize("name", [*FORMATS, "ndjson.gz", "csv.zst"])
def test_resume__with_nothing_left_changes_nothing(
    name: str, command: Command, sandbox: SandboxServer
) -> None:
    """If the file has every user, resume sends nothing, and the document is the same."""
    flags = f"--format {name.partition('.')[0]} --output-file out.{name} --resume"
    first = command(f"{TWO} {flags}", **reaching(sandbox)).document
    before = content(command.folder)
    sandbox.requests.clear()

    second = command(f"{TWO} {flags}", **reaching(sandbox)).document

    assert (sandbox.requests, content(command.folder)) == ([], before)
    assert second == {**first, "completeness": {**first["completeness"], "requests": 0}}


CHANGES = (
    "--lo-types jobAid",
    "--format csv",
    "--since 2024-01-01",
    "--state active",
    "--sort -dateEnrolled",
    "--include learner",
    "--max-enrollments 5",
    "--shard 1/2",
)


@pytest.mark.parametrize("change", CHANGES)
def test_resume__with_other_inputs_is_refused(
    change: str, command: Command, sandbox: SandboxServer
) -> None:
    """Resume with other inputs is refused before anything is sent, and the file stays."""
    # Pages that were requested ahead may arrive after the run.
    line = "--user-id 31 --format ndjson --output-file out --no-prefetch"
    command(line, **reaching(sandbox))
    before = content(command.folder)
    sandbox.requests.clear()

    finished = command(f"{line} --resume {change}", **reaching(sandbox))

    assert (finished.exit_code, sandbox.requests) == (64, [])
    message = "--resume is set, but the inputs differ from the earlier run: "
    assert message in finished.stderr
    assert content(command.folder) == before


def test_pipe__is_read_as_it_arrives(command: Command, sandbox: SandboxServer) -> None:
    """Users are requested while ids still arrive, each of them once."""
    process = command.start("--user-ids-file -", **reaching(sandbox))
    assert process.stdin is not None

    process.stdin.write("31\n32\n31\n")
    process.stdin.flush()
    wait_until(lambda: {"31", "32"} <= set(requested_users(sandbox)))
    stdout, _ = process.communicate("33\n31\n", timeout=PATIENCE_SECONDS)

    assert sorted(requested_users(sandbox)) == ["31", "32", "33"]
    assert json.loads(stdout)["users"] == {"requested": 3, "read": 3, "failed": []}


def test_pipe__with_an_invalid_line_ends_there(command: Command, sandbox: SandboxServer) -> None:
    """An invalid line of a pipe ends the run, and keeps the users before it for resume."""
    line = f"--user-ids-file - {TO_NDJSON} --resume"

    first = command.as_process(line, stdin="31\n32\nx\n33\n", **reaching(sandbox))
    kept = list(content(command.folder))
    second = command(line, stdin="31\n32\n33\n", **reaching(sandbox))

    assert (first.exit_code, kept) == (64, ["out.part", "out.users"])
    assert first.stderr == (
        "alm-enrollments: error: 1 input is not valid: --user-ids-file is without an id"
        " in line 3 of standard input (allowed: one ALM user id, decimal digits,"
        " or e-mail address in each line)."
        " The users before it were read. With --output-file, --resume keeps them.\n"
    )
    assert (second.exit_code, users_of(command.folder / "out")) == (0, ["31", "32", "33"])


def test_pipe__with_an_invalid_line_is_not_read_to_its_end(
    command: Command, sandbox: SandboxServer
) -> None:
    """An invalid line ends the run although the pipe stays open."""
    process = command.start("--user-ids-file -", **reaching(sandbox))
    assert process.stdin is not None

    process.stdin.write("31\nx\n")
    process.stdin.flush()

    assert process.wait(timeout=PATIENCE_SECONDS) == 64
    process.communicate()


def test_user_file__is_validated_before_anything_is_sent(
    command: Command, sandbox: SandboxServer
) -> None:
    """An invalid line of a file ends the run before the first request."""
    (command.folder / "users").write_text("31\n32\nx\n33\n", encoding="utf-8")

    finished = command("--user-ids-file users --output-file out.json", **reaching(sandbox))

    assert (finished.exit_code, sandbox.requests) == (64, [])
    assert list(content(command.folder)) == ["users"]
    assert finished.stderr.endswith("in each line). Nothing was sent.\n")


@pytest.mark.parametrize(("kind", "kilobytes"), [("ndjson", 80), ("json", 60), ("parquet", 60)])
def test_disk__that_fills_up_keeps_the_finished_users(
    kind: str, kilobytes: int, command: Command, start_sandbox: StartSandbox
) -> None:
    """A full disk ends the run with 73 and one line; with space again, resume completes it."""
    server = start_sandbox(enrollments_per_user=50)
    flags = f"--lo-types all --concurrency 1 --format {kind} --output-file out --resume"
    line = f"--user-id 31,32,33,34 {flags}"

    # As large as the system lets a file grow: two of the users fit.
    script = f"ulimit -f {kilobytes}; alm-enrollments {line}"
    first = command.shell(script, **reaching(server, **UNMEASURED))
    kept = list(content(command.folder))
    server.requests.clear()
    second = command(line, **reaching(server))

    assert (first.exit_code, first.error["code"]) == (73, 73)
    assert kept == ["out.part", "out.users"]
    assert first.stderr == (
        "alm-enrollments: error: The output file out cannot be written: File too large."
        " Complete users are kept. Fix this and run again with --resume.\n"
    )
    assert (second.exit_code, second.document["enrollment_count"]) == (0, 200)
    assert "31" not in requested_users(server)
    assert list(content(command.folder)) == ["out", "out.users"]


def test_disk__too_small_for_one_user(command: Command, start_sandbox: StartSandbox) -> None:
    """A user who fits neither memory nor disk ends the run with 73, and leaves no file."""
    server = start_sandbox(enrollments_per_user=2_000)
    line = "--user-id 31 --lo-types all --output-file out --format ndjson"

    finished = command.shell(
        f"ulimit -f 300; alm-enrollments {line}", **reaching(server, **UNMEASURED)
    )

    assert finished.exit_code == 73
    assert "The output file out cannot be written: File too large." in finished.stderr
    assert "out" not in content(command.folder)


def test_output_file__is_written_by_one_run_at_a_time(
    command: Command, start_sandbox: StartSandbox
) -> None:
    """A second run on the same file ends with 73 before it sends anything."""
    server, idle = start_sandbox("user=32:drip"), start_sandbox()
    line = f"--user-id 31,32 {TO_NDJSON}"
    process = command.start(line, **reaching(server))
    # The journal is the lock: it exists from the first complete user on.
    wait_until((command.folder / "out.users").exists)

    second = command(line, **reaching(idle))
    process.kill()
    process.communicate()
    resumed = command(f"{line} --resume", **reaching(server))

    message = "The output file out is in use by another run. Wait until it ends, or use"
    assert (second.exit_code, idle.requests) == (73, [])
    assert message in second.stderr
    assert (resumed.exit_code, users_of(command.folder / "out")) == (0, ["31", "32"])


def test_output_file__grows_user_by_user(command: Command, start_sandbox: StartSandbox) -> None:
    """Users are written as they finish; the file gets its name at the end."""
    server = start_sandbox("user=33:stall")
    process = command.start(f"--user-id 31,32,33 {TO_NDJSON}", **reaching(server))

    journal = command.folder / "out.users"
    wait_until(lambda: journal.exists() and len(journal.read_bytes().splitlines()) == 3)

    assert users_of(command.folder / "out.part") == ["31", "32"]
    assert list(content(command.folder)) == ["out.part", "out.users"]
    process.kill()
    process.communicate()


def test_output_file__holds_no_secret(command: Command, sandbox: SandboxServer) -> None:
    """A secret that is part of ALM's response is in no file."""
    secrets = {
        "ALM_CLIENT_SECRET": "ADMIN_ENROLL",
        "ALM_CLIENT_ID": "some-client",
        "ALM_REFRESH_TOKEN": "some-refresh-token",
    }

    finished = command(f"--user-id 31 {TO_NDJSON}", **reaching(sandbox, **secrets))

    written = "".join(command.files().values())
    assert finished.exit_code == 0
    assert ("ADMIN_ENROLL" in written, '"enrollment_source":"***"' in written) == (False, True)


def test_progress__is_a_bar_on_a_terminal(command: Command, sandbox: SandboxServer) -> None:
    """On a terminal a bar shows the progress of the run, and disappears at its end."""
    terminal, other_end = pty.openpty()
    termios.tcsetwinsize(other_end, (24, 200))
    users = ",".join(map(str, range(1000, 1020)))
    argv = [sys.executable, "-m", "connector", "--user-id", users, "--output-file", "out.json"]
    environ = {**needed_variables(), "PYTHONPATH": str(CHECKOUT), **reaching(sandbox)}

    subprocess.run(
        argv,
        env=environ,
        cwd=command.folder,
        stdout=subprocess.DEVNULL,
        stderr=other_end,
        check=True,
    )
    shown = os.read(terminal, 100_000).decode().split("\r")
    os.close(terminal)
    os.close(other_end)

    counts = r"20 of 20 users, \d+ enrollments; about 0 s left; \d+ requests, \d+ per minute"
    assert re.match(rf"100% █{{10}} {counts}", shown[-3])
    assert (shown[-2].strip(), shown[-1]) == ("", "")


def test_progress__is_not_shown_elsewhere(command: Command) -> None:
    """Without a terminal there is no bar."""
    assert command(f"{TWO} --base-url sandbox --output-file out.json").stderr == NOTE


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports the peak in /proc")
def test_users__a_hundred_thousand_take_no_memory(
    command: Command, start_sandbox: StartSandbox
) -> None:
    """Many ids in a pipe, most of them of other shards, take no more memory than few."""
    server = start_sandbox(enrollments_per_user=0)
    peak = (
        "import re, pathlib; from connector.cli.commands import main; import os, sys;"
        "main(sys.argv[1:], os.environ);"
        "status = pathlib.Path('/proc/self/status').read_text();"
        "print(re.findall(r'VmHWM:\\s+(\\d+)', status)[0])"
    )
    peaks = []

    for shard, count in (("1/1", 200), ("1/1000", 200_000)):
        flags = ["--user-ids-file", "-", "--format", "ndjson", "--output-file", "out", "--shard"]
        process = command.start_python(["-c", peak, *flags, shard], **reaching(server))
        ids = "".join(f"{10_000_000 + number}\n" for number in range(count))
        document, kilobytes = process.communicate(ids)[0].splitlines()
        assert 150 < json.loads(document)["users"]["read"] < 250
        peaks.append(int(kilobytes))

    assert peaks[1] < 1.05 * peaks[0]
