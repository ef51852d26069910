"""``alm-enrollments diff``: what changed between two files, or a refusal that changes nothing."""

from __future__ import annotations

import csv
import json
import re
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

import connector
from connector.errors import UsageError
from connector.sandbox.days import enrollments_on
from connector.schemas import load_schema
from tests.support.files import text_of
from tests.support.sandbox import reaching

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.process import Command, Finished
    from tests.support.sandbox import StartSandbox

USERS = [str(user) for user in range(1, 7)]
KINDS = ("ndjson", "json.gz", "csv.zst", "parquet", "xlsx", "document.json")
EMPTY = {"not_comparable_users": [], "not_comparable_count": 0, "output_file": None}
_VALIDATOR = jsonschema.Draft202012Validator(load_schema("diff"))


class Fetch:
    """Fetch users on days of the sandbox into files."""

    def __init__(self, command: Command, start_sandbox: StartSandbox) -> None:
        self._command = command
        self._start_sandbox = start_sandbox

    def __call__(
        self, file: str, day: int, flags: str = "", users: str = ",".join(USERS), *faults: str
    ) -> Finished:
        """Fetch *users* on *day*, all types, in the format of the file's name."""
        server = self._start_sandbox(*faults, day=day)
        kind = file.split(".")[1]
        line = f"--user-id {users} {flags}"
        if "--lo-types" not in flags:
            line += " --lo-types all"
        if kind != "document":
            line += f" --format {kind} --output-file {file}"
        finished = self._command(line, **reaching(server))
        if kind == "document":
            (self._command.folder / file).write_text(finished.stdout, encoding="utf-8")
        return finished


@pytest.fixture
def fetch(command: Command, start_sandbox: StartSandbox) -> Fetch:
    """Return a function that fetches users into files."""
    return Fetch(command, start_sandbox)


def document_of(finished: Finished) -> dict[str, Any]:
    """Return the document that a comparison printed as one line, validated by its schema."""
    assert finished.stdout.count("\n") == 1
    document: dict[str, Any] = json.loads(finished.stdout)
    _VALIDATOR.validate(document)
    return document


def expected(day: int, next_day: int, users: list[str] = USERS) -> dict[str, set[str]]:
    """Return the ids of what happens in the sandbox from one day to the next."""
    before, after = (
        {
            enrollment["id"]: enrollment["attributes"]
            for user in users
            for enrollment in enrollments_on(number, user)
        }
        for number in (day, next_day)
    )
    ignored = {"lastAccessDate": None}
    changed = {
        enrollment_id
        for enrollment_id in before.keys() & after.keys()
        if before[enrollment_id] | ignored != after[enrollment_id] | ignored
    }
    completed = {
        enrollment_id
        for enrollment_id, attributes in after.items()
        if "dateCompleted" in attributes and "dateCompleted" not in before.get(enrollment_id, {})
    }
    return {
        "added": after.keys() - before.keys(),
        "removed": before.keys() - after.keys(),
        "changed": changed,
        "completed": completed,
    }


def found(document: dict[str, Any]) -> dict[str, set[str]]:
    """Return the ids that a document lists."""
    kinds = ("added", "removed", "changed", "completed")
    for kind in kinds:
        assert len(document[f"{kind}_ids"]) == document[f"{kind}_count"]
    return {kind: set(document[f"{kind}_ids"]) for kind in kinds}


@pytest.mark.parametrize("new", KINDS)
@pytest.mark.parametrize("old", KINDS)
def test_diff__of_any_two_formats(old: str, new: str, command: Command, fetch: Fetch) -> None:
    """The difference of two days is the same whatever formats their files have."""
    fetch(f"old.{old}", 1)
    fetch(f"new.{new}", 2)

    finished = command(f"diff old.{old} new.{new}")

    assert (finished.exit_code, finished.stderr) == (0, "")
    document = document_of(finished)
    assert found(document) == expected(1, 2)
    assert document.items() >= EMPTY.items()
    assert document["completed_count"] > 0


def test_diff__writes_each_change(command: Command, fetch: Fetch) -> None:
    """The file has a line for each change, with its fields and the record before and after."""
    for day in (1, 2):
        fetch(f"{day}.ndjson", day)

    finished = command("diff 1.ndjson 2.ndjson --output-file changes.ndjson")

    files = command.files()
    before, after = (
        {record["id"]: record for record in map(json.loads, files[f"{day}.ndjson"].splitlines())}
        for day in (1, 2)
    )
    lines = [json.loads(line) for line in files["changes.ndjson"].splitlines()]
    ids = expected(1, 2)
    assert {(line["change"], line["id"]) for line in lines} == {
        (kind, enrollment_id)
        for kind in ("added", "removed", "changed")
        for enrollment_id in ids[kind]
    }
    for line in lines:
        enrollment_id = line["id"]
        old, new = before.get(enrollment_id), after.get(enrollment_id)
        fields = []
        if old and new:
            fields = [name for name in new if old[name] != new[name] and name != "last_access_date"]
        assert line == {
            "change": line["change"],
            "user_id": (new or old or {})["user_id"],
            "id": enrollment_id,
            "completed": enrollment_id in ids["completed"],
            "fields": fields,
            "before": old,
            "after": new,
        }
    assert document_of(finished)["output_file"] == "changes.ndjson"


@pytest.mark.parametrize("name", ["changes.csv", "changes.csv.gz", "changes.jsonl.zst"])
def test_diff__formats_of_the_file(name: str, command: Command, fetch: Fetch) -> None:
    """CSV has the same lines, its records as JSON; both formats can be compressed."""
    for day in (1, 2):
        fetch(f"{day}.ndjson", day)
    command("diff 1.ndjson 2.ndjson --output-file lines.ndjson")

    command(f"diff 1.ndjson 2.ndjson --output-file {name}")

    text = text_of(command.folder / name)
    expected_lines = [json.loads(line) for line in command.files()["lines.ndjson"].splitlines()]
    if ".csv" not in name:
        assert [json.loads(line) for line in text.splitlines()] == expected_lines
        return
    rows = list(csv.DictReader(text.splitlines()))
    assert rows == [
        {
            **{column: str(line[column]) for column in ("change", "user_id", "id")},
            "completed": str(line["completed"]).lower(),
            "fields": " ".join(line["fields"]),
            **{
                column: json.dumps(line[column], separators=(",", ":")) if line[column] else ""
                for column in ("before", "after")
            },
        }
        for line in expected_lines
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", ["old", "new"])
def test_diff__a_failed_user_is_not_compared(
    side: str, kind: str, command: Command, fetch: Fetch
) -> None:
    """A user who failed in one of the runs is named, and none of their enrollments changed."""
    for name, day in (("old", 1), ("new", 2)):
        fetch(f"{name}.{kind}", day, "", ",".join(USERS), *["user=3:404x*"] * (name == side))

    document = document_of(command(f"diff old.{kind} new.{kind}"))

    assert found(document) == expected(1, 2, [user for user in USERS if user != "3"])
    assert (document["not_comparable_users"], document["not_comparable_count"]) == (["3"], 1)


def test_diff__a_user_of_one_run_is_not_compared(command: Command, fetch: Fetch) -> None:
    """Users of only one of the runs are named: nobody enrolled or unenrolled them."""
    fetch("old.ndjson", 1, users="1,2,3")
    fetch("new.ndjson", 2, users="4,3,2")

    document = document_of(command("diff old.ndjson new.ndjson"))

    assert found(document) == expected(1, 2, ["2", "3"])
    assert document["not_comparable_users"] == ["1", "4"]


def test_diff__a_user_who_was_cut_short_is_not_compared(command: Command, fetch: Fetch) -> None:
    """Users of whom max_enrollments left out enrollments are not compared."""
    fetch("old.ndjson", 1, "--max-enrollments 30")
    fetch("new.ndjson", 2)
    sizes = {user: len(enrollments_on(1, user)) for user in USERS}

    document = document_of(command("diff old.ndjson new.ndjson"))

    complete = [user for user in USERS if sizes[user] <= 30]
    assert found(document) == expected(1, 2, complete)
    assert set(document["not_comparable_users"]) == set(USERS) - set(complete)


def test_diff__partial_records_are_not_compared(command: Command, fetch: Fetch) -> None:
    """With allow_incomplete, the records of a user who failed in the middle are not compared."""
    fetch("old.ndjson", 1)
    fetch("new.ndjson", 2, "--allow-incomplete", ",".join(USERS), "user=5+page=2:404x*")
    assert '"user_id":"5"' in command.files()["new.ndjson"]

    document = document_of(command("diff old.ndjson new.ndjson"))

    assert found(document) == expected(1, 2, [user for user in USERS if user != "5"])
    assert document["not_comparable_users"] == ["5"]


def test_diff__every_enrollment_gone(command: Command, fetch: Fetch) -> None:
    """A user who was read and has no enrollment any more has lost all of them."""
    fetch("old.ndjson", 1, users="1")
    fetch("new.ndjson", 2, "--since 2040-01-01", users="1")
    journal = command.folder / "new.ndjson.users"
    journal.write_text(
        journal.read_text().replace('"since":"2040-01-01T00:00:00+00:00"', '"since":null')
    )

    document = document_of(command("diff old.ndjson new.ndjson"))

    assert document["removed_count"] == len(enrollments_on(1, "1"))
    assert document["not_comparable_users"] == []


def test_diff__of_a_window_that_moves(command: Command, fetch: Fetch) -> None:
    """What only fell out of a relative window is not gone."""
    fetch("old.ndjson", 1, "--since 2023-01-01")
    fetch("new.ndjson", 2, "--since 2023-06-01")
    for name, moment in (("old", "2023-01-01"), ("new", "2023-06-01")):
        journal = command.folder / f"{name}.ndjson.users"
        text = journal.read_text()
        since = f'"since":"{moment}T00:00:00+00:00"'
        assert since in text
        relative = f'"since":"7d","moments":{{{since}}}'
        journal.write_text(text.replace(since, relative))

    document = document_of(command("diff old.ndjson new.ndjson"))

    inside = {
        enrollment["id"]
        for user in USERS
        for day in (1, 2)
        for enrollment in enrollments_on(day, user)
        if enrollment["attributes"]["dateEnrolled"] >= "2023-06-01"
    }
    assert found(document) == {kind: ids & inside for kind, ids in expected(1, 2).items()}


@pytest.mark.parametrize(
    ("flags", "exit_code"), [("", 0), ("--exit-code", 1), ("--exit-code --output-dir o", 1)]
)
def test_diff__exit_code(flags: str, exit_code: int, command: Command, fetch: Fetch) -> None:
    """Changes are no failure, and end with 1 only if that is asked for."""
    for day in (1, 2):
        fetch(f"{day}.ndjson", day)

    assert command(f"diff 1.ndjson 2.ndjson {flags}").exit_code == exit_code
    assert command(f"diff 1.ndjson 1.ndjson {flags}").exit_code == 0


def test_diff__ignores_fields(command: Command, fetch: Fetch) -> None:
    """Ignored fields change nothing; last_access_date is ignored unless others are named."""
    for day in (1, 2):
        fetch(f"{day}.ndjson", day)
    fields = "state,progress_percent score,has_passed --ignore date_started"

    some = document_of(command(f"diff 1.ndjson 2.ndjson --ignore {fields.replace(' s', ',s')}"))
    usual = document_of(command("diff 1.ndjson 2.ndjson --ignore ''"))

    assert some["changed_count"] > some["completed_count"] > 0
    assert found(usual) == expected(1, 2)


def test_diff__assumes_complete_files(command: Command, fetch: Fetch) -> None:
    """Without a journal a file is compared only if it is said to have every user completely."""
    fetch("old.ndjson", 1, users="1,2")
    fetch("new.ndjson", 2, users="2,3")
    (command.folder / "new.ndjson.users").unlink()
    before = command.files()

    refused = command("diff old.ndjson new.ndjson")
    document = document_of(command("diff --assume-complete old.ndjson new.ndjson"))

    assert refused.exit_code == 64
    assert refused.stderr == (
        'alm-enrollments: error: 1 input is not valid: "new.ndjson" has no'
        " journal new.ndjson.users next to it, so its complete users are unknown (allowed: a file"
        " with its journal; or --assume-complete, if the file has every user completely). Nothing"
        " was written.\n"
    )
    gone = {enrollment["id"] for enrollment in enrollments_on(1, "1")}
    assert found(document)["removed"] == expected(1, 2, ["2"])["removed"] | gone
    assert document["not_comparable_users"] == ["3"]
    assert command.files() == before


TWO_FILES = "(allowed: two output files, the older one first)"
FULL_RUNS = "(allowed: two full runs with the same inputs)"
OWN = (
    "(allowed: a file that nothing else uses; FILE.part and FILE.users next to an output file"
    " belong to it)"
)
REFUSED = {
    "": f"diff got 0 files {TWO_FILES}",
    "old.ndjson": f"diff got 1 file {TWO_FILES}",
    "old.ndjson old.ndjson old.ndjson": f"diff got 3 files {TWO_FILES}",
    "old.ndjson nowhere": '"nowhere" does not exist, or is not a file (allowed: an output file)',
    "old.ndjson courses.ndjson": (
        'the runs had different inputs: lo_types was ["course","learningProgram",'
        f'"jobAid","certification"] and is ["course"] {FULL_RUNS}'
    ),
    "courses.ndjson other.ndjson": (
        'the runs had different inputs: lo_types was ["course"] and is ["jobAid"];'
        ' state was null and is "active"; since was null and is "2023-01-01T00:00:00+00:00";'
        f' include was [] and is ["learner"] {FULL_RUNS}'
    ),
    "old.ndjson old.ndjson --output-file ./old.ndjson": (
        '--output-file is "old.ndjson", which is also read (allowed: another file)'
    ),
    "old.ndjson old.ndjson --output-file old.ndjson.users": (
        '--output-file is "old.ndjson.users" (allowed: a name that ends in .ndjson, .jsonl or .csv,'
        " also with .gz or .zst)"
    ),
    "old.ndjson old.ndjson --dotenv old.ndjson": f"--dotenv is also the file of OLD or NEW {OWN}",
    "old.ndjson old.ndjson --dotenv ./old.ndjson.users": (
        f"--dotenv is also the file of OLD or NEW {OWN}"
    ),
    "old.ndjson old.ndjson --output-file x.csv --dotenv ./x.csv": (
        f"--dotenv is also the file of output_file {OWN}"
    ),
    "old.ndjson old.ndjson --output-file x.parquet --ignore id,stat": (
        '--ignore is "id" (allowed: fields of an enrollment);'
        ' --ignore is "stat" (allowed: fields of an enrollment; did you mean state?);'
        ' --output-file is "x.parquet" (allowed: a name that ends in .ndjson, .jsonl or .csv, also'
        " with .gz or .zst)"
    ),
    "old.ndjson table.table": (
        '"table.table" cannot be read after record 0: files in the format table cannot'
        " be read back (allowed: an output file in json, ndjson, csv, parquet or xlsx)"
    ),
    "--assume-complete old.ndjson ids.ndjson": (
        'record 1 of "ids.ndjson" has no id, or no user_id in digits'
        " (allowed: an output file with the columns id and user_id)"
    ),
    "--assume-complete old.ndjson twice.ndjson": (
        '"twice.ndjson" has enrollment a of user 01 twice (allowed: each enrollment once)'
    ),
    "--assume-complete twice.ndjson old.ndjson": (
        '"twice.ndjson" has enrollment a of user 01 twice (allowed: each enrollment once)'
    ),
    "old.ndjson foreign.json": (
        '"foreign.json" is JSON of another program (allowed: an output file or a document)'
    ),
    "old.ndjson elsewhere.json": (
        '"elsewhere.json" is a document whose records are in "courses.ndjson" (allowed: that file)'
    ),
}


@pytest.mark.parametrize(("line", "problems"), REFUSED.items(), ids=REFUSED)
def test_diff__refuses(line: str, problems: str, command: Command, fetch: Fetch) -> None:
    """What cannot be compared is refused with every reason, and nothing is written."""
    fetch("old.ndjson", 1, users="1")
    elsewhere = fetch("courses.ndjson", 1, "--lo-types course", users="1")
    flags = "--lo-types jobAid --state active --since 2023-01-01 --include learner"
    fetch("other.ndjson", 1, flags, users="1")
    fetch("table.table", 1, users="1")
    for name, text in {
        "ids.ndjson": '{"id": "a", "user_id": 1}\n',
        "twice.ndjson": '{"id": "a", "user_id": "1"}\n{"id": "a", "user_id": "01"}\n',
        "foreign.json": '{"users": []}',
        "elsewhere.json": elsewhere.stdout,
    }.items():
        (command.folder / name).write_text(text, encoding="utf-8")
    before = command.files()

    finished = command(f"diff {line}")

    message = document_of(finished)["error"]["message"]
    assert re.sub("^(1 input is|3 inputs are) not valid: ", "", message) == f"{problems}."
    assert (finished.exit_code, command.files()) == (64, before)


CHANGES: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "cut": ("new.ndjson", lambda data: data[:-1]),
    "edited": ("new.ndjson", lambda data: data.replace(b"STARTED", b"WAITING")),
    "journal without its end": ("new.ndjson.users", lambda data: data[:-30]),
}


@pytest.mark.parametrize(("name", "change"), CHANGES.values(), ids=CHANGES)
def test_diff__refuses_a_changed_or_unfinished_file(
    name: str, change: Callable[[bytes], bytes], command: Command, fetch: Fetch
) -> None:
    """A file that is not as a finished run left it is refused."""
    fetch("old.ndjson", 1)
    fetch("new.ndjson", 2)
    path = command.folder / name
    path.write_bytes(change(path.read_bytes()))

    finished = command("diff old.ndjson new.ndjson")

    assert finished.exit_code == 64
    assert '"new.ndjson" does not match its journal' in finished.stderr


def test_diff__long_lists_are_in_the_file(command: Command, fetch: Fetch) -> None:
    """With a file, a list of more than 2,000 is null; without one, lists are complete."""
    users = ",".join(map(str, range(1, 80)))
    fetch("old.ndjson", 1, "--max-enrollments 1", "1")
    fetch("new.ndjson", 2, users=users)
    for name in ("old", "new"):
        (command.folder / f"{name}.ndjson.users").unlink()

    listed = document_of(command("diff --assume-complete old.ndjson new.ndjson"))
    line = "diff --assume-complete old.ndjson new.ndjson --output-file changes.csv"
    unlisted = document_of(command(line))

    assert listed["added_count"] == len(listed["added_ids"]) > 2_000
    lists = ("added_ids", "removed_ids")
    assert [unlisted[name] for name in lists] == [None, listed["removed_ids"]]
    assert unlisted["added_count"] == listed["added_count"]


def test_diff__cannot_write(command: Command, fetch: Fetch) -> None:
    """A file that cannot be written ends the command with 73 before anything is read."""
    fetch("old.ndjson", 1)

    finished = command("diff old.ndjson old.ndjson --output-file nowhere/changes.csv")

    assert finished.exit_code == 73
    assert finished.stderr == (
        "alm-enrollments: error: The output file nowhere/changes.csv cannot be written:"
        " No such file or directory. Nothing was written. Create the folder and run again.\n"
    )


def test_diff__reaches_every_channel(command: Command, fetch: Fetch) -> None:
    """Each field is an output of every channel; the summary counts and names what was completed."""
    for day in (1, 2):
        fetch(f"{day}.ndjson", day, "--names")
    environ = {
        name: str(command.folder / name.lower())
        for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")
    }

    line = "diff 1.ndjson 2.ndjson --output-dir folder --dotenv report.env --output-file c.csv"
    finished = command(line, TF_BUILD="True", **environ)

    document, files = document_of(finished), command.files()
    assert finished.exit_code == 0
    assert json.loads(files["folder/completed_ids"]) == document["completed_ids"]
    names = {name.removeprefix("folder/") for name in files if name.startswith("folder/")}
    assert names == set(document)
    assert f"COMPLETED_COUNT={document['completed_count']}\n" in files["report.env"]
    assert "completed_count<<" in files["github_output"]
    assert "variable=completed_count;isoutput=true]" in finished.stderr
    assert f"**{document['completed_count']} completed**" in files["github_step_summary"]
    assert "| user | name | enrollment | learning object |" in files["github_step_summary"]


def test_diff__as_python(command: Command, fetch: Fetch) -> None:
    """connector.diff returns the document of the command, or raises its error."""
    for day in (1, 2):
        fetch(f"{day}.ndjson", day)
    old, new = (command.folder / f"{day}.ndjson" for day in (1, 2))
    changes = command.folder / "changes.ndjson"

    document = connector.diff(old, str(new), output_file=changes, ignore="last_access_date,score")

    line = "diff 1.ndjson 2.ndjson --ignore last_access_date,score --output-file again.ndjson"
    printed = document_of(command(line))
    assert document == {**printed, "output_file": str(changes)}
    assert changes.read_text() == command.files()["again.ndjson"]
    with pytest.raises(UsageError) as raised:
        connector.diff(old, new, ignore=["nothing"])
    assert raised.value.document is not None
    assert raised.value.document["error"]["code"] == 64


def test_diff__follows_a_link_and_keeps_the_mode(command: Command, fetch: Fetch) -> None:
    """The file that a link names is replaced at once, and keeps its mode."""
    fetch("1.ndjson", 1)
    target = command.folder / "target.ndjson"
    target.write_text("old\n")
    target.chmod(0o640)
    link = command.folder / "link.ndjson"
    link.symlink_to("target.ndjson")

    with target.open() as opened:
        command("diff 1.ndjson 1.ndjson --output-file link.ndjson")
        assert opened.read() == "old\n"

    assert (link.is_symlink(), target.read_text(), target.stat().st_mode & 0o777) == (
        True,
        "",
        0o640,
    )


def test_diff__leaves_no_secret(command: Command, tmp_path: Path) -> None:
    """A credential of the environment that is part of a record reaches no output."""
    secret = "course:7_8_1"
    for name, state in (("old", "STARTED"), ("new", "COMPLETED")):
        record = {"id": secret, "user_id": "1", "state": state, "url": f"x{secret}x"}
        (tmp_path / f"{name}.ndjson").write_text(json.dumps(record) + "\n")

    line = "diff --assume-complete old.ndjson new.ndjson --output-file c.ndjson"
    finished = command(line, ALM_ACCESS_TOKEN=secret)

    assert document_of(finished)["changed_ids"] == ["***"]
    assert secret not in finished.stdout + finished.stderr + command.files()["c.ndjson"]
