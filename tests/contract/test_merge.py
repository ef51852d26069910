"""``alm-enrollments merge``: shards' files to the file that one run would have made, or a refusal that leaves everything as it was."""

from __future__ import annotations

import gzip
import importlib
import json
import re
import sys
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from connector.sandbox.server import SandboxServer

    from .conftest import Finished, Reaching, RunCommand, StartSandbox

UNLIMITED = {"rate_per_minute": 600_000, "burst": 100_000}
USERS = ",".join(map(str, range(1000, 1010)))
FILES = (
    "out.ndjson",
    "out.json",
    "out.csv",
    "out.table",
    "out.parquet",
    "out.json.gz",
    "out.csv.zst",
    "out.ndjson.gz",
)


@pytest.fixture
def server(start_sandbox: StartSandbox) -> SandboxServer:
    """Return a sandbox that slows nobody down."""
    return start_sandbox(**UNLIMITED)


class Fetch:
    """Fetches users to a file."""

    def __init__(self, command: RunCommand, environ: dict[str, str]) -> None:
        self._command = command
        self._environ = environ

    def __call__(self, file: str, *flags: str, users: str = USERS) -> Finished:
        """Fetch them, all types, in the format of the file's suffix."""
        kind = ("--lo-types", "all", "--format", file.split(".")[1])
        return self._command(
            "--user-id", users, "--output-file", file, *kind, *flags, environ=self._environ
        )

    def shards(self, *files: str) -> list[dict[str, Any]]:
        """Fetch each shard to one of *files* and return their documents."""
        return [
            self(file, "--shard", f"{number}/{len(files)}").document
            for number, file in enumerate(files, 1)
        ]


@pytest.fixture
def fetch(command: RunCommand, server: SandboxServer, reaching: Reaching) -> Fetch:
    """Return what fetches users to a file."""
    return Fetch(command, reaching(server))


def records(path: Path) -> list[str]:
    """Return the records of a file as text, sorted, its headings among them."""
    if path.suffix == ".parquet":
        return sorted(map(str, pq.read_table(path).to_pylist()))
    zstd = importlib.import_module(
        "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    )
    text = {".gz": gzip.decompress, ".zst": zstd.decompress}.get(path.suffix, bytes)(
        path.read_bytes()
    ).decode()
    return sorted(
        map(str, json.loads(text)) if path.name.split(".")[1] == "json" else text.splitlines()
    )


def found(folder: Path) -> dict[str, bytes]:
    """Return every file in *folder* with what is in it."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def sums(document: dict[str, Any]) -> dict[str, Any]:
    """Return what does not depend on who finished first, nor on the file's name."""
    ordered = {name: sorted(document[name]) for name in ("enrollment_ids", "resource_grade_ids")}
    return {**document, **ordered, "output_file": None}


@pytest.mark.parametrize("name", FILES)
def test_merge__as_one_run_would_have_written(
    name: str, command: RunCommand, fetch: Fetch, tmp_path: Path
) -> None:
    """The shards' files are joined to the records of an undivided run, and their documents to its document."""
    parts = [f"{number}.{name.split('.', 1)[1]}" for number in (1, 2, 3)]
    shards = fetch.shards(*parts)
    whole = fetch(f"whole.{name.split('.', 1)[1]}").document

    merged = command("merge", name, *parts)

    assert (merged.exit_code, merged.stderr) == (0, "")
    assert records(tmp_path / name) == records(tmp_path / f"whole.{name.split('.', 1)[1]}")
    assert sums(merged.document) == sums(whole)
    assert sum(shard["enrollment_count"] for shard in shards) == merged.document["enrollment_count"]


@pytest.mark.parametrize("name", ["out.ndjson", "out.json.gz", "out.csv", "out.parquet"])
def test_merge__can_be_resumed(
    name: str, command: RunCommand, fetch: Fetch, server: SandboxServer, tmp_path: Path
) -> None:
    """A merged file is as good as any other: resume asks for nobody that it has, and appends who is new."""
    parts = [f"{number}.{name.split('.', 1)[1]}" for number in (1, 2)]
    fetch.shards(*parts)
    command("merge", name, *parts)
    before = (tmp_path / name).read_bytes()
    server.requests.clear()

    same = fetch(name, "--resume")
    unchanged, asked = (tmp_path / name).read_bytes() == before, len(server.requests)
    more = fetch(name, "--resume", users=f"{USERS},31")

    assert (same.exit_code, asked, unchanged) == (0, 0, True)
    assert {re.findall(r"/users/(\d+)/", request["target"])[0] for request in server.requests} == {
        "31"
    }
    fetch(f"whole.{name.split('.', 1)[1]}", users=f"{USERS},31")
    assert records(tmp_path / name) == records(tmp_path / f"whole.{name.split('.', 1)[1]}")
    assert more.document["users"] == {"requested": 11, "read": 11, "failed": []}


def test_merge__again_with_another(command: RunCommand, fetch: Fetch, tmp_path: Path) -> None:
    """A merged file can be merged with another one of the same inputs, which is no shard."""
    fetch.shards("1.ndjson", "2.ndjson")
    command("merge", "first.ndjson", "1.ndjson", "2.ndjson")
    fetch("other.ndjson", users="31,32")

    merged = command("merge", "out.ndjson", "first.ndjson", "other.ndjson")

    assert (merged.exit_code, merged.document["users"]) == (
        0,
        {"requested": 12, "read": 12, "failed": []},
    )
    fetch("whole.ndjson", users=f"{USERS},31,32")
    assert records(tmp_path / "out.ndjson") == records(tmp_path / "whole.ndjson")


def test_merge__users_who_failed(command: RunCommand, fetch: Fetch, tmp_path: Path) -> None:
    """Who failed in a shard is told by the joined document, which ends with 65, and by the joined journal."""
    for number in (1, 2):
        fetch(f"{number}.ndjson", "--shard", f"{number}/2", users=f"{USERS},4041")

    merged = command("merge", "out.ndjson", "1.ndjson", "2.ndjson")

    document = merged.document
    assert (merged.exit_code, document["complete"], document["completeness"]["status"]) == (
        65,
        False,
        "incomplete",
    )
    assert (document["users"]["requested"], document["users"]["read"]) == (11, 10)
    assert [failed["user_id"] for failed in document["users"]["failed"]] == ["4041"]
    assert document["error"]["message"] == "1 of 11 users could not be read: 4041 (exit code 67)."
    assert b'{"user_id":"4041","error":' in (tmp_path / "out.ndjson.users").read_bytes()


def test_merge__who_was_read_later(
    command: RunCommand, start_sandbox: StartSandbox, reaching: Reaching, tmp_path: Path
) -> None:
    """Who failed in one file and was read into another one is not missing."""
    fetch = Fetch(command, reaching(start_sandbox("user=32:404", **UNLIMITED)))
    first = fetch("1.ndjson", users="31,32")
    second = fetch("2.ndjson", users="32")

    merged = command("merge", "out.ndjson", "1.ndjson", "2.ndjson")

    assert (first.exit_code, second.exit_code, merged.exit_code) == (65, 0, 0)
    assert merged.document["users"] == {"requested": 2, "read": 2, "failed": []}
    assert merged.document["enrollment_count"] == len(
        (tmp_path / "out.ndjson").read_bytes().splitlines()
    )


def test_merge__incomplete_as_allowed(command: RunCommand, fetch: Fetch) -> None:
    """What a shard stopped short of on purpose, the joined document does not call complete."""
    for number in (1, 2):
        fetch(f"{number}.ndjson", "--shard", f"{number}/2", "--max-enrollments", "2")

    document = command("merge", "out.ndjson", "1.ndjson", "2.ndjson").document

    assert (document["complete"], document["completeness"]["status"], document["error"]) == (
        False,
        "incomplete",
        None,
    )


def test_merge__an_empty_shard(command: RunCommand, fetch: Fetch) -> None:
    """A shard that no user fell into is joined like the others."""
    fetch.shards("1.json", "2.json")
    only = {"1.json": "1000", "2.json": "1000"}
    documents = [
        fetch(file, "--shard", f"{number}/2", users=users).document
        for number, (file, users) in enumerate(only.items(), 1)
    ]

    merged = command("merge", "out.json", "1.json", "2.json")

    assert sorted(document["users"]["requested"] for document in documents) == [0, 1]
    assert (merged.exit_code, merged.document["users"]["read"]) == (0, 1)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            (),
            "merge is without its files (allowed: the file to write, then each shard's output file)",
        ),
        (
            ("out.ndjson",),
            "merge is without its files (allowed: the file to write, then each shard's output file)",
        ),
        (
            ("out.ndjson", "1.ndjson"),
            "merge is without shard 2/2 (allowed: each of the 2 shards once)",
        ),
        (
            ("out.ndjson", "1.ndjson", "1.ndjson"),
            "merge is without shard 2/2 and given shard 1/2 twice (allowed: each of the 2 shards once)",
        ),
        (
            ("out.ndjson", "1.ndjson", "2.ndjson", "1.ndjson"),
            "merge is given shard 1/2 twice (allowed: each of the 2 shards once)",
        ),
        (
            ("out.ndjson", "1.ndjson", "third.ndjson"),
            "merge is given shards 1/2, 2/3 (allowed: shards of one division)",
        ),
        (
            ("out.ndjson", "1.ndjson", "undivided.ndjson"),
            "merge is given shards 1/2, None (allowed: shards of one division)",
        ),
        (
            ("out.ndjson", "1.ndjson", "active.ndjson"),
            'merge is given other inputs: state is active in "active.ndjson", not None (allowed: shards of one run)',
        ),
        (
            ("out.ndjson", "undivided.ndjson", "undivided.ndjson"),
            'merge is given user 1000 twice, again in "undivided.ndjson" (allowed: files without a common user)',
        ),
        (
            ("1.ndjson", "1.ndjson", "2.ndjson"),
            'merge is given "1.ndjson" to be read and to be written (allowed: a file to write that is none of the shards\')',
        ),
        (
            ("out.ndjson.gz", "1.ndjson", "2.ndjson"),
            'merge is given "1.ndjson", which is not compressed as "out.ndjson.gz" is to be (allowed: names that end alike)',
        ),
        (
            ("out.ndjson", "1.ndjson", "nowhere.ndjson"),
            'merge is given "nowhere.ndjson", which has no journal beside it (allowed: an output file with its nowhere.ndjson.users)',
        ),
        (
            ("out.ndjson", "--format", "csv", "1.ndjson", "2.ndjson"),
            "format is not for merge (allowed: the file to write, then each shard's output file)",
        ),
    ],
)
def test_merge__refused(
    given: tuple[str, ...], told: str, command: RunCommand, fetch: Fetch, tmp_path: Path
) -> None:
    """What is not the whole shards of one run, each once, is refused with a word for why, and nothing is written."""
    fetch.shards("1.ndjson", "2.ndjson")
    fetch("third.ndjson", "--shard", "2/3")
    fetch("active.ndjson", "--shard", "2/2", "--state", "active")
    fetch("undivided.ndjson", users="1000")
    before = found(tmp_path)

    finished = command("merge", *given)

    assert finished.exit_code == 64
    assert (
        finished.stderr
        == f"alm-enrollments: error: 1 input is not valid: {told}. Nothing was written.\n"
    )
    assert found(tmp_path) == before


def test_merge__a_common_user(command: RunCommand, fetch: Fetch, tmp_path: Path) -> None:
    """Files that share a user would have him twice: they are refused."""
    fetch("1.ndjson", users="31,32")
    fetch("2.ndjson", users="32,33")
    before = found(tmp_path)

    finished = command("merge", "out.ndjson", "1.ndjson", "2.ndjson")

    assert finished.exit_code == 64
    assert 'merge is given user 32 twice, again in "2.ndjson"' in finished.stderr
    assert found(tmp_path) == before


@pytest.mark.parametrize(
    "change",
    [lambda data: data[:-1], lambda data: data + b"\n", lambda _: b""],
    ids=["cut", "longer", "empty"],
)
def test_merge__a_file_that_was_changed(
    change: Any, command: RunCommand, fetch: Fetch, tmp_path: Path
) -> None:
    """A file that is not as its run left it is refused."""
    fetch.shards("1.ndjson", "2.ndjson")
    (tmp_path / "2.ndjson").write_bytes(change((tmp_path / "2.ndjson").read_bytes()))

    finished = command("merge", "out.ndjson", "1.ndjson", "2.ndjson")

    assert finished.exit_code == 64
    assert 'merge is given "2.ndjson", which no run has finished as it is' in finished.stderr
    assert not (tmp_path / "out.ndjson").exists()


@pytest.mark.parametrize("cut", [1, 30])
def test_merge__an_unfinished_file(
    cut: int, command: RunCommand, fetch: Fetch, tmp_path: Path
) -> None:
    """A file whose journal does not tell that its run came to an end is refused."""
    fetch.shards("1.ndjson", "2.ndjson")
    journal = tmp_path / "2.ndjson.users"
    journal.write_bytes(journal.read_bytes()[:-cut])

    finished = command("merge", "out.ndjson", "1.ndjson", "2.ndjson")

    assert finished.exit_code == 64
    assert 'merge is given "2.ndjson", which no run has finished as it is' in finished.stderr


def test_merge__a_run_that_did_not_reach_everybody(
    command: RunCommand, start_sandbox: StartSandbox, reaching: Reaching, tmp_path: Path
) -> None:
    """A file whose run ended before it had reached all its users is not joined as if it were whole."""
    server = start_sandbox("user=33:401x2", **UNLIMITED)
    fetch = Fetch(command, reaching(server))
    first = fetch("1.ndjson", "--allow-incomplete", "--concurrency", "1", users="31,32,33,34")
    fetch("2.ndjson", users="35")

    finished = command("merge", "out.ndjson", "1.ndjson", "2.ndjson")

    assert (first.exit_code, first.document["complete"]) == (0, False)
    assert finished.exit_code == 64
    assert 'merge is given "1.ndjson", which lacks 1 of its 4 users' in finished.stderr
    assert not (tmp_path / "out.ndjson").exists()


def test_merge__without_network_or_credentials(
    command: RunCommand, fetch: Fetch, server: SandboxServer
) -> None:
    """Joining asks for nothing."""
    fetch.shards("1.ndjson", "2.ndjson")
    server.requests.clear()

    assert command("merge", "out.ndjson", "1.ndjson", "2.ndjson").exit_code == 0
    assert server.requests == []


def test_merge__a_folder_that_is_not_there(command: RunCommand, fetch: Fetch) -> None:
    """Where the joined file cannot be written, the command ends with 73."""
    fetch.shards("1.ndjson", "2.ndjson")

    finished = command("merge", "nowhere/out.ndjson", "1.ndjson", "2.ndjson")

    assert finished.exit_code == 73
    assert finished.stderr == (
        "alm-enrollments: error: The output file nowhere/out.ndjson cannot be written: No such file or directory. Mend it and run again.\n"
    )
