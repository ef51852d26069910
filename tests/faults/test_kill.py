"""Killed at any moment, the same command with --resume finishes: nothing lost, nothing twice, nobody whole asked again."""

from __future__ import annotations

import csv
import gzip
import importlib
import io
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from connector.sandbox import ACCESS_TOKEN, Settings
from connector.sandbox.server import SandboxServer

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = Path(__file__).parents[2]
USERS = tuple(str(user) for user in range(1000, 1040))
KILLS = 5
# From a run's first request to its end it takes more than half a second: each kill is in the middle.
LONGEST_SECONDS = 0.1
FILES = (
    "ndjson",
    "json",
    "csv",
    "table",
    "parquet",
    "ndjson.gz",
    "ndjson.zst",
    "json.gz",
    "json.zst",
    "csv.gz",
)


@pytest.fixture
def server() -> Iterator[SandboxServer]:
    """Return a sandbox that takes a little time for each answer."""
    with SandboxServer(
        Settings(rate_per_minute=600_000, burst=100_000, enrollments_per_user=12),
        latency_seconds=0.01,
    ) as started:
        yield started


def begin(server: SandboxServer, file: Path) -> subprocess.Popen[str]:
    """Start the command for all users, as it is started the first time and each time after."""
    flags = [
        "--lo-types",
        "all",
        "--page-limit",
        "5",
        "--concurrency",
        "3",
        "--format",
        file.name.split(".")[1],
        "--output-file",
        str(file),
        "--resume",
    ]
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return subprocess.Popen(
        [sys.executable, "-m", "connector", "--user-id", ",".join(USERS), *flags],
        env={
            **kept,
            "PYTHONPATH": str(CHECKOUT),
            "ALM_ACCESS_TOKEN": ACCESS_TOKEN,
            "ALM_BASE_URL": server.url,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(server: SandboxServer, file: Path) -> dict[str, Any]:
    """Run the command to its end and return its document."""
    with begin(server, file) as process:
        stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (0, "")
    document: dict[str, Any] = json.loads(stdout)
    return document


def kill(server: SandboxServer, file: Path, after_seconds: float) -> bool:
    """Run the command and kill it so many seconds after its first request; return whether it had not ended by then."""
    begun = len(server.requests)
    with begin(server, file) as process:
        while len(server.requests) == begun and process.poll() is None:
            threading.Event().wait(0.005)
        threading.Event().wait(after_seconds)
        process.kill()
    return process.returncode == -signal.SIGKILL


def whole_users(file: Path) -> set[str]:
    """Return the users whom the journal tells to be whole, by its whole lines."""
    journal = file.with_name(f"{file.name}.users")
    lines = (
        journal.read_text(encoding="utf-8").splitlines(keepends=True) if journal.exists() else []
    )
    entries = [json.loads(line) for line in lines if line.endswith("\n")]
    return {entry["user_id"] for entry in entries if "enrollments" in entry}


def asked_users(requests: list[dict[str, Any]]) -> set[str]:
    """Return the users who were asked for."""
    return {re.findall(r"/users/(\d+)/", request["target"])[0] for request in requests}


def plain_text(file: Path) -> str:
    """Return the text of a file, whatever it is compressed with."""
    zstd = importlib.import_module(
        "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    )
    decompress = {".gz": gzip.decompress, ".zst": zstd.decompress}.get(file.suffix, bytes)
    return str(decompress(file.read_bytes()).decode())


def records(file: Path) -> list[str]:
    """Return a file's records as text, its headings left out, each beginning with the enrollment's id."""
    kind = file.name.split(".")[1]
    if kind == "parquet":
        return [str(list(row.values())) for row in pq.read_table(file).to_pylist()]
    if kind == "json":
        return [str(list(row.values())) for row in json.loads(plain_text(file))]
    if kind == "ndjson":
        return [str(list(json.loads(line).values())) for line in plain_text(file).splitlines()]
    return [
        str(row)
        for row in list(csv.reader(io.StringIO(plain_text(file), newline="")))[
            {"csv": 1, "table": 2}[kind] :
        ]
    ]


def by_user(file: Path) -> list[list[str]]:
    """Return the records of each user, as they stand together."""
    return [
        list(group)
        for _, group in itertools.groupby(
            records(file), key=lambda record: re.findall(r"_(\d{4})[' ]", record)[0]
        )
    ]


@pytest.mark.parametrize("name", FILES)
def test_resume__after_kills_at_random_moments(
    name: str, server: SandboxServer, tmp_path: Path
) -> None:
    """However often a run is killed and begun again, the file has every user once, whole, and nobody whole was asked for again."""
    moments = random.Random(name)  # noqa: S311 - the same moments each time
    undisturbed, file = tmp_path / f"whole.{name}", tmp_path / f"killed.{name}"
    told = finish(server, undisturbed)
    asked_again: list[set[str]] = []
    killed: list[bool] = []

    for _ in range(KILLS):
        whole, seen = whole_users(file), len(server.requests)
        killed.append(kill(server, file, moments.uniform(0, LONGEST_SECONDS)))
        asked_again.append(whole & asked_users(server.requests[seen:]))
    whole, seen = whole_users(file), len(server.requests)
    document = finish(server, file)

    assert killed == [True] * KILLS
    assert [*asked_again, whole & asked_users(server.requests[seen:])] == [set()] * (KILLS + 1)
    assert sorted(by_user(file)) == sorted(by_user(undisturbed))
    assert len(by_user(file)) == len(USERS)
    assert document["users"] == told["users"]
    assert {name: sorted(document[name]) for name in ("enrollment_ids", "resource_grade_ids")} == {
        name: sorted(told[name]) for name in ("enrollment_ids", "resource_grade_ids")
    }
    assert [
        document[name] for name in ("enrollment_count", "latest_date_enrolled", "complete", "error")
    ] == [told[name] for name in ("enrollment_count", "latest_date_enrolled", "complete", "error")]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [file.name, f"{file.name}.users", undisturbed.name, f"{undisturbed.name}.users"]
    )
