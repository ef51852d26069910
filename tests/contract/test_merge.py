"""``alm-enrollments merge``: one file from those of shards, or a refusal that changes nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from tests.support.completeness import INCOMPLETE
from tests.support.files import text_of, without_order
from tests.support.sandbox import reaching, requested_users

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from connector.sandbox.server import SandboxServer
    from tests.support.process import Command, Finished
    from tests.support.sandbox import StartSandbox

USERS = ",".join(map(str, range(1000, 1010)))
# Each format and each compression once.
KINDS = ("ndjson", "json.gz", "csv.zst", "table", "parquet")


class Fetch:
    """Fetch users of a sandbox into files."""

    def __init__(self, command: Command, server: SandboxServer) -> None:
        self._command = command
        self._server = server

    def __call__(self, file: str, flags: str = "", users: str = USERS) -> Finished:
        """Fetch *users*, all types, in the format of the file's name."""
        kind = file.split(".")[1]
        line = f"--user-id {users} --lo-types all --format {kind} --output-file {file} {flags}"
        return self._command(line, **reaching(self._server))

    def shards(self, kind: str, count: int = 2) -> str:
        """Fetch *count* shards and return the names of their files."""
        files = [f"{number}.{kind}" for number in range(1, count + 1)]
        for number, file in enumerate(files, 1):
            assert self(file, f"--shard {number}/{count}").exit_code == 0
        return " ".join(files)


@pytest.fixture
def fetch(command: Command, sandbox: SandboxServer) -> Fetch:
    """Return a function that fetches users into files."""
    return Fetch(command, sandbox)


def records(path: Path) -> list[str]:
    """Return the lines or records of a file, sorted."""
    if path.suffix == ".parquet":
        return sorted(map(str, pq.read_table(path).to_pylist()))
    text = text_of(path)
    is_json = path.name.split(".")[1] == "json"
    return sorted(map(str, json.loads(text)) if is_json else text.splitlines())


def content(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file in *folder*."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("kind", KINDS)
def test_merge__gives_what_one_run_would(kind: str, command: Command, fetch: Fetch) -> None:
    """The merged file and document are those of a run without shards."""
    files = fetch.shards(kind, 3)
    undivided = fetch(f"undivided.{kind}").document

    merged = command(f"merge out.{kind} {files}")

    assert (merged.exit_code, merged.stderr) == (0, "")
    folder = command.folder
    assert records(folder / f"out.{kind}") == records(folder / f"undivided.{kind}")
    assert without_order(merged.document) == without_order(undivided)


@pytest.mark.parametrize("kind", KINDS)
def test_merge__can_be_resumed(
    kind: str, command: Command, fetch: Fetch, sandbox: SandboxServer
) -> None:
    """A merged file can be resumed: only users that it lacks are requested, and appended."""
    command(f"merge out.{kind} {fetch.shards(kind)}")
    before = (command.folder / f"out.{kind}").read_bytes()
    sandbox.requests.clear()

    same = fetch(f"out.{kind}", "--resume")
    after = (command.folder / f"out.{kind}").read_bytes()
    requests = len(sandbox.requests)
    more = fetch(f"out.{kind}", "--resume", users=f"{USERS},31")

    assert (same.exit_code, requests, after == before) == (0, 0, True)
    assert requested_users(sandbox) == ["31"]
    assert more.document["users"] == {"requested": 11, "read": 11, "failed": []}
    fetch(f"undivided.{kind}", users=f"{USERS},31")
    folder = command.folder
    assert records(folder / f"out.{kind}") == records(folder / f"undivided.{kind}")


def test_merge__accepts_a_merged_file(command: Command, fetch: Fetch) -> None:
    """A merged file can be merged with another one of the same inputs that is no shard."""
    command(f"merge first.ndjson {fetch.shards('ndjson')}")
    fetch("other.ndjson", users="31,32")

    merged = command("merge out.ndjson first.ndjson other.ndjson")

    assert merged.document["users"] == {"requested": 12, "read": 12, "failed": []}
    fetch("undivided.ndjson", users=f"{USERS},31,32")
    folder = command.folder
    assert records(folder / "out.ndjson") == records(folder / "undivided.ndjson")


def test_merge__reports_failed_users(command: Command, fetch: Fetch) -> None:
    """A user who failed in a shard fails in the merged document and journal, with exit code 65."""
    for number in (1, 2):
        fetch(f"{number}.ndjson", f"--shard {number}/2", users=f"{USERS},4041")

    merged = command("merge out.ndjson 1.ndjson 2.ndjson")

    document = merged.document
    assert (merged.exit_code, document["complete"]) == (65, False)
    assert document["completeness"]["status"] == INCOMPLETE
    assert (document["users"]["requested"], document["users"]["read"]) == (11, 10)
    assert [user["user_id"] for user in document["users"]["failed"]] == ["4041"]
    assert document["error"]["message"] == "1 of 11 users could not be read: 4041 (exit code 67)."
    assert '{"user_id":"4041","error":' in command.files()["out.ndjson.users"]


def test_merge__takes_a_user_from_the_file_that_has_them(
    command: Command, start_sandbox: StartSandbox
) -> None:
    """A user who failed in one file and was read into another one is not missing."""
    fetch = Fetch(command, start_sandbox("user=32:404"))
    codes = [fetch("1.ndjson", users="31,32").exit_code, fetch("2.ndjson", users="32").exit_code]

    merged = command("merge out.ndjson 1.ndjson 2.ndjson")

    assert (codes, merged.exit_code) == ([65, 0], 0)
    assert merged.document["users"] == {"requested": 2, "read": 2, "failed": []}
    assert merged.document["enrollment_count"] == len(records(command.folder / "out.ndjson"))


def test_merge__of_incomplete_shards_is_incomplete(command: Command, fetch: Fetch) -> None:
    """A shard that max_enrollments stopped makes the merged document incomplete."""
    for number in (1, 2):
        fetch(f"{number}.ndjson", f"--shard {number}/2 --max-enrollments 2")

    document = command("merge out.ndjson 1.ndjson 2.ndjson").document

    assert (document["complete"], document["error"]) == (False, None)
    assert document["completeness"]["status"] == INCOMPLETE


def test_merge__accepts_an_empty_shard(command: Command, fetch: Fetch) -> None:
    """A shard without users is merged like any other."""
    documents = [fetch(f"{n}.json", f"--shard {n}/2", users="1000").document for n in (1, 2)]

    merged = command("merge out.json 1.json 2.json")

    assert sorted(document["users"]["requested"] for document in documents) == [0, 1]
    assert (merged.exit_code, merged.document["users"]["read"]) == (0, 1)


NO_FILES = "merge got no files (allowed: the file to write, then each shard's output file)"
EACH_ONCE = "(allowed: each of the 2 shards once)"
ONE_DIVISION = "(allowed: shards of one division)"
REFUSED = {
    "": NO_FILES,
    "out.ndjson": NO_FILES,
    "out.ndjson 1.ndjson": f"shard 2/2 is missing {EACH_ONCE}",
    "out.ndjson 1.ndjson 1.ndjson": (f"shard 2/2 is missing and shard 1/2 comes twice {EACH_ONCE}"),
    "out.ndjson 1.ndjson 2.ndjson 1.ndjson": f"shard 1/2 comes twice {EACH_ONCE}",
    "out.ndjson 1.ndjson third.ndjson": f"the files are the shards 1/2, 2/3 {ONE_DIVISION}",
    "out.ndjson 1.ndjson undivided.ndjson": f"the files are the shards 1/2, none {ONE_DIVISION}",
    "out.ndjson 1.ndjson active.ndjson": (
        '"active.ndjson" was read with state "active", "1.ndjson" with null'
        " (allowed: shards of one run)"
    ),
    "out.ndjson undivided.ndjson common.ndjson": (
        'user 1000 comes twice, the second time in "common.ndjson"'
        " (allowed: files without a common user)"
    ),
    "1.ndjson 1.ndjson 2.ndjson": (
        '"1.ndjson" is a file to read and the file to write'
        " (allowed: a file to write that is not one of the shards)"
    ),
    "out.ndjson.gz 1.ndjson 2.ndjson": (
        '"1.ndjson" and "out.ndjson.gz" are compressed in different ways'
        " (allowed: names with the same suffix)"
    ),
    "out.ndjson 1.ndjson nowhere.ndjson": (
        '"nowhere.ndjson" does not exist, or is not a file (allowed: an output file)'
    ),
}


@pytest.mark.parametrize(("files", "problem"), REFUSED.items(), ids=REFUSED)
def test_merge__refuses_other_files(
    files: str, problem: str, command: Command, fetch: Fetch
) -> None:
    """Anything but all shards of one run, each once, is refused, and nothing is written."""
    fetch.shards("ndjson")
    fetch("third.ndjson", "--shard 2/3")
    fetch("active.ndjson", "--shard 2/2 --state active")
    fetch("undivided.ndjson", users="1000")
    fetch("common.ndjson", users="1000,1001")
    before = content(command.folder)

    finished = command(f"merge {files}")

    assert finished.exit_code == 64
    line = f"alm-enrollments: error: 1 input is not valid: {problem}. Nothing was written.\n"
    assert finished.stderr == line
    assert content(command.folder) == before


CHANGES: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "cut": ("2.ndjson", lambda data: data[:-1]),
    "longer": ("2.ndjson", lambda data: data + b"\n"),
    "empty": ("2.ndjson", lambda _: b""),
    "unfinished journal": ("2.ndjson.users", lambda data: data[:-1]),
    "journal without its end": ("2.ndjson.users", lambda data: data[:-30]),
}


@pytest.mark.parametrize(("name", "change"), CHANGES.values(), ids=CHANGES)
def test_merge__refuses_a_changed_or_unfinished_file(
    name: str, change: Callable[[bytes], bytes], command: Command, fetch: Fetch
) -> None:
    """A file that is not as a finished run left it is refused."""
    fetch.shards("ndjson")
    path = command.folder / name
    path.write_bytes(change(path.read_bytes()))

    finished = command("merge out.ndjson 1.ndjson 2.ndjson")

    assert finished.exit_code == 64
    assert '"2.ndjson" is not finished, or was changed after its run' in finished.stderr
    assert not (command.folder / "out.ndjson").exists()


def test_merge__refuses_a_run_that_did_not_reach_every_user(
    command: Command, start_sandbox: StartSandbox
) -> None:
    """A file whose run ended before it had reached all its users is refused."""
    fetch = Fetch(command, start_sandbox("user=33:401x2"))
    flags = "--allow-incomplete --concurrency 1"
    first = fetch("1.ndjson", flags, users="31,32,33,34")
    fetch("2.ndjson", users="35")

    finished = command("merge out.ndjson 1.ndjson 2.ndjson")

    assert (first.exit_code, first.document["complete"]) == (0, False)
    assert finished.exit_code == 64
    assert '"1.ndjson" lacks users (1 of 4)' in finished.stderr
    assert not (command.folder / "out.ndjson").exists()


def test_merge__sends_nothing(command: Command, fetch: Fetch, sandbox: SandboxServer) -> None:
    """Merging needs neither network nor credentials."""
    fetch.shards("ndjson")
    sandbox.requests.clear()

    assert command("merge out.ndjson 1.ndjson 2.ndjson").exit_code == 0
    assert sandbox.requests == []


def test_merge__into_a_missing_folder_ends_with_73(command: Command, fetch: Fetch) -> None:
    """If the merged file cannot be written, the command ends with 73."""
    fetch.shards("ndjson")

    finished = command("merge nowhere/out.ndjson 1.ndjson 2.ndjson")

    assert finished.exit_code == 73
    assert finished.stderr == (
        "alm-enrollments: error: The output file nowhere/out.ndjson cannot be written:"
        " No such file or directory. Create the folder and run again.\n"
    )
