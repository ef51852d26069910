"""Killed at any moment, a run that is started again with --resume loses and repeats nothing."""

from __future__ import annotations

import csv
import io
import itertools
import json
import random
import re
import signal
import threading
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from tests.support.files import text_of, without_order
from tests.support.process import wait_until
from tests.support.sandbox import reaching, requested_users

if TYPE_CHECKING:
    from pathlib import Path

    from connector.sandbox.server import SandboxServer
    from tests.support.process import Command
    from tests.support.sandbox import StartSandbox

USERS = [str(user) for user in range(1000, 1040)]
KILLS = 3
# A run takes more than half a second from its first request on: each kill is in the middle.
MAX_SECONDS = 0.1
# Each format and each compression once.
FILES = ("ndjson", "json.gz", "csv.zst", "table", "parquet")


def line(file: str) -> str:
    """Return the command line, the same for the first run and for each later one."""
    kind = file.split(".")[1]
    return (
        f"--user-id {','.join(USERS)} --lo-types all --page-limit 5 --concurrency 3"
        f" --format {kind} --output-file {file} --resume"
    )


def kill(server: SandboxServer, command: Command, file: str, after_seconds: float) -> int:
    """Kill a run so many seconds after its first request; return its exit code."""
    server.requests.clear()
    with command.start(line(file), **reaching(server)) as process:
        wait_until(lambda: server.requests or process.poll() is not None)
        threading.Event().wait(after_seconds)
        process.kill()
    return process.returncode


def finished_users(file: Path) -> set[str]:
    """Return the users that the complete lines of the journal call finished."""
    journal = file.with_name(f"{file.name}.users")
    text = journal.read_text(encoding="utf-8") if journal.exists() else ""
    entries = [json.loads(entry) for entry in text.splitlines(keepends=True) if entry[-1] == "\n"]
    return {entry["user_id"] for entry in entries if "enrollments" in entry}


def records(file: Path) -> list[str]:
    """Return a file's records as text, without headings."""
    kind = file.name.split(".")[1]
    if kind == "parquet":
        return [str(list(row.values())) for row in pq.read_table(file).to_pylist()]
    text = text_of(file)
    if kind == "json":
        return [str(list(row.values())) for row in json.loads(text)]
    if kind == "ndjson":
        return [str(list(json.loads(entry).values())) for entry in text.splitlines()]
    rows = list(csv.reader(io.StringIO(text, newline="")))
    return [str(row) for row in rows[{"csv": 1, "table": 2}[kind] :]]


def by_user(file: Path) -> list[list[str]]:
    """Return the records of each user as they stand together, in the order of the users."""
    groups = itertools.groupby(
        records(file), key=lambda record: re.findall(r"_(\d{4})[' ]", record)[0]
    )
    return sorted(list(group) for _, group in groups)


@pytest.mark.parametrize("kind", FILES)
def test_resume__after_kills_loses_and_repeats_nothing(
    kind: str, start_sandbox: StartSandbox, command: Command
) -> None:
    """After any kills the file has each user once, and no finished user was requested again."""
    server = start_sandbox(latency_seconds=0.01, enrollments_per_user=12)
    moments = random.Random(kind)  # noqa: S311 - the same moments each time
    undisturbed = command(line(f"undisturbed.{kind}"), **reaching(server)).document
    file = command.folder / f"killed.{kind}"
    repeated: set[str] = set()

    for _ in range(KILLS):
        finished = finished_users(file)
        exit_code = kill(server, command, file.name, moments.uniform(0, MAX_SECONDS))
        assert exit_code == -signal.SIGKILL
        repeated |= finished & set(requested_users(server))
    finished = finished_users(file)
    server.requests.clear()
    resumed = command(line(file.name), **reaching(server))

    assert (resumed.exit_code, resumed.stderr) == (0, "")
    assert repeated | (finished & set(requested_users(server))) == set()
    assert by_user(file) == by_user(command.folder / f"undisturbed.{kind}")
    assert len(by_user(file)) == len(USERS)
    documents = [without_order(document) for document in (resumed.document, undisturbed)]
    for document in documents:
        del document["completeness"]["requests"]
    assert documents[0] == documents[1]
    names = [f"{name}.{kind}{end}" for name in ("killed", "undisturbed") for end in ("", ".users")]
    assert sorted(command.files()) == names
