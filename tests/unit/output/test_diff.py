"""What a comparison finds, what it refuses, and what it says of both, to the letter."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from connector.errors import InternalError, UsageError
from connector.output import diff as module
from connector.output.diff import DiffOptions, Scan, compare, diff, failed_difference
from connector.output.diff_store import DiffStore
from connector.redact import Redactor
from tests.support.compared import read, write_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from connector.output.compared import ComparedFile
    from connector.output.diff import Difference

HINT = "Nothing was written."
TWO_FILES = "(allowed: two output files, the older one first)"
NAMES = "(allowed: a name that ends in .ndjson, .jsonl or .csv, also with .gz or .zst)"
FIELDS = "(allowed: fields of an enrollment"


def record(number: int, user: str = "31", **values: Any) -> dict[str, Any]:
    """Return a record with *values*."""
    return {"id": f"course:{number}_{user}", "user_id": user, "lo_type": "course", **values}


def pair(
    folder: Path, old: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]], **inputs: Any
) -> list[str]:
    """Write two files with complete users and return their names."""
    names = []
    for name, rows in (("old", old), ("new", new)):
        users = dict.fromkeys(row["user_id"] for row in [*old, *new])
        path = write_file(folder / f"{name}.ndjson", rows, [read(user) for user in users], **inputs)
        names.append(str(path))
    return names


def compared(names: Sequence[str], redactor: Redactor | None = None, **options: Any) -> Difference:
    """Return the difference of two files."""
    return compare(names, DiffOptions(**options), redactor or Redactor())


PROBLEMS: dict[str, tuple[list[str], dict[str, Any], str]] = {
    "no file": ([], {}, f"1 input is not valid: diff got 0 files {TWO_FILES}."),
    "one file": (["a"], {}, f"1 input is not valid: diff got 1 file {TWO_FILES}."),
    "three files": (["a"] * 3, {}, f"1 input is not valid: diff got 3 files {TWO_FILES}."),
    "other fields": (
        ["a", "b"],
        {"ignore": ["id", "user_id", "module_names", "score", "stat", 7]},
        (
            f'4 inputs are not valid: ignore is "id" {FIELDS});'
            f' ignore is "user_id" {FIELDS}; did you mean user_email?);'
            f' ignore is "stat" {FIELDS}; did you mean state?);'
            f" ignore is 7 {FIELDS})."
        ),
    ),
    "several near": (
        ["a", "b"],
        {"ignore": ["date_complete"]},
        f'1 input is not valid: ignore is "date_complete" {FIELDS}; did you mean date_completed?).',
    ),
    "another format": (
        ["a", "b"],
        {"output_file": "x.parquet"},
        f'1 input is not valid: output_file is "x.parquet" {NAMES}.',
    ),
    "all": (
        ["a"],
        {"ignore": ["id"], "output_file": "x"},
        (
            f'3 inputs are not valid: diff got 1 file {TWO_FILES}; ignore is "id" {FIELDS});'
            f' output_file is "x" {NAMES}.'
        ),
    ),
}


@pytest.mark.parametrize(("names", "options", "message"), PROBLEMS.values(), ids=PROBLEMS)
def test_compare__problems(names: list[str], options: dict[str, Any], message: str) -> None:
    """Every problem of the inputs is named at once, before anything is read."""
    with pytest.raises(UsageError) as raised:
        compared(names, **options)

    assert (raised.value.message, raised.value.hint) == (message, HINT)


def test_compare__everything(tmp_path: Path) -> None:
    """The document, the lines, the counts and the completions of a small comparison."""
    old = [
        record(1, state="STARTED", date_completed=None, score=1),
        record(2, state="STARTED"),
        record(3, state="STARTED"),
        record(4, last_access_date="2026-01-01T00:00:00Z"),
    ]
    new = [
        record(1, state="COMPLETED", date_completed="2026-01-01T00:00:00Z", score=2),
        record(3, state="STARTED"),
        record(5, state="ENROLLED", lo_type="jobAid"),
        record(4, last_access_date="2026-01-02T00:00:00Z"),
        record(6, date_completed="2026-01-01T00:00:00Z"),
    ]
    path = str(tmp_path / "changes.ndjson")

    found = compared(pair(tmp_path, old, new, names=True), output_file=path)

    ids = [row["id"] for row in new]
    assert found.document == {
        "added_ids": [ids[2], ids[4]],
        "removed_ids": [old[1]["id"]],
        "changed_ids": [ids[0]],
        "completed_ids": [ids[0], ids[4]],
        "added_count": 2,
        "removed_count": 1,
        "changed_count": 1,
        "completed_count": 2,
        "not_comparable_users": [],
        "not_comparable_count": 0,
        "output_file": path,
        "error": None,
    }
    fields = ["state", "date_completed", "score"]
    lines = [
        change_of("changed", old[0], new[0], completed=True, fields=fields),
        change_of("added", None, new[2]),
        change_of("added", None, new[4], completed=True),
        change_of("removed", old[1], None),
    ]
    text = (tmp_path / "changes.ndjson").read_text(encoding="utf-8")
    assert [json.loads(line) for line in text.splitlines()] == lines
    assert list(json.loads(text.splitlines()[0])) == list(lines[0])
    assert found.counts == Counter(
        {
            ("course", "changed"): 1,
            ("jobAid", "added"): 1,
            ("course", "added"): 1,
            ("course", "removed"): 1,
        }
    )
    assert found.completions == [lines[0], lines[2]]
    assert found.has_names is True


def change_of(
    kind: str,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
    *,
    completed: bool = False,
    fields: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the line of a change."""
    row = after or before or {}
    return {
        "change": kind,
        "user_id": row["user_id"],
        "id": row["id"],
        "completed": completed,
        "fields": list(fields),
        "before": before,
        "after": after,
    }


def test_compare__without_type_and_names(tmp_path: Path) -> None:
    """A record without a type counts as of none; without a file there are no lines."""
    new = {"id": "a", "user_id": "31"}

    found = compared(pair(tmp_path, [], [new]))

    assert found.counts == Counter({("None", "added"): 1})
    assert (found.has_names, found.document["output_file"]) == (False, None)
    assert found.document["completed_ids"] == found.completions == []
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["new.ndjson", "new.ndjson.users", "old.ndjson", "old.ndjson.users"]


def test_compare__incomplete_users_between_others(tmp_path: Path) -> None:
    """A user who is incomplete in one of the files hides none of those behind."""
    users = ["31", "32", "33", "34"]
    old, new = ([record(number, user) for user in users] for number in (1, 2))
    paths = [
        write_file(
            tmp_path / f"{name}.ndjson",
            rows,
            [read(user, "incomplete" if user == cut else "verified") for user in users],
        )
        for name, rows, cut in (("old", old, "31"), ("new", new, "33"))
    ]

    document = compared(list(map(str, paths))).document

    assert document["added_ids"] == ["course:2_32", "course:2_34"]
    assert document["removed_ids"] == ["course:1_32", "course:1_34"]
    assert document["not_comparable_users"] == ["31", "33"]
    assert document["not_comparable_count"] == 2


def test_compare__users_of_one_file_only(tmp_path: Path) -> None:
    """A file that says nothing of a user has none, if it is assumed to be complete."""
    old, new = ([record(1, user), record(2, "33")] for user in ("31", "32"))
    complete = pair(tmp_path, old, new)
    for name in complete:
        (tmp_path / f"{name}.users").unlink()

    assumed = compared(complete, assume_complete=True).document
    write_file(tmp_path / "old.ndjson", old, [read("31"), read("33")])
    write_file(tmp_path / "new.ndjson", new, [read("32"), read("33")])
    stated = compared(complete).document

    assert (assumed["added_ids"], assumed["removed_ids"]) == (["course:1_32"], ["course:1_31"])
    assert assumed["not_comparable_users"] == []
    assert (stated["added_ids"], stated["removed_ids"]) == ([], [])
    assert stated["not_comparable_users"] == ["31", "32"]


@pytest.mark.parametrize(("count", "is_listed"), [(1, True), (2, True), (3, False)])
def test_compare__lists_up_to_a_limit(
    count: int, *, is_listed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer lists are null, but only if a file has them; the summary has a limit of its own."""
    monkeypatch.setattr(module, "MAX_LISTED_IDS", 2)
    monkeypatch.setattr(module, "MAX_SUMMARY_RECORDS", 2)
    rows = [record(number, date_completed="2026-01-01") for number in range(count)]
    names = pair(tmp_path, [], rows)

    in_file = compared(names, output_file=str(tmp_path / "c.csv"))
    alone = compared(names)

    ids = [row["id"] for row in rows]
    assert (alone.document["added_ids"], in_file.document["added_count"]) == (ids, count)
    assert in_file.document["added_ids"] == (ids if is_listed else None)
    assert in_file.document["completed_ids"] == (ids if is_listed else None)
    assert in_file.document["removed_ids"] == []
    assert [change["id"] for change in alone.completions] == ids[:2]


def test_compare__lists_no_unknown_users_beyond_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users who cannot be compared are listed up to the same limit."""
    monkeypatch.setattr(module, "MAX_LISTED_IDS", 1)
    for name in ("old", "new"):
        write_file(tmp_path / f"{name}.ndjson", [], [read(user, "incomplete") for user in "12"])

    names = [str(tmp_path / f"{name}.ndjson") for name in ("old", "new")]
    document = compared(names, output_file=str(tmp_path / "c.csv")).document

    assert (document["not_comparable_users"], document["not_comparable_count"]) == (None, 2)


def test_compare__progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every so many records, and at the end of each file, the records read are reported."""
    monkeypatch.setattr(module, "_RECORDS_PER_REPORT", 2)
    names = pair(tmp_path, [record(number) for number in range(5)], [])
    scans: list[Scan] = []

    compare(names, DiffOptions(), Redactor(), scans.append)

    old, new = tmp_path / "old.ndjson", tmp_path / "new.ndjson"
    assert scans == [*(Scan(old, done, 1) for done in (2, 4, 5)), Scan(new, 0, 1)]


@pytest.mark.parametrize("name", ["old", "new"])
def test_compare__repeated(name: str, tmp_path: Path) -> None:
    """An enrollment that a file has twice is refused, also if it is in the other file."""
    once, twice = [record(1)], [record(1), record(1)]
    names = pair(tmp_path, twice if name == "old" else once, twice if name == "new" else once)

    with pytest.raises(UsageError) as raised:
        compared(names)

    assert raised.value.message == (
        f'1 input is not valid: "{tmp_path / name}.ndjson" has enrollment'
        " course:1_31 of user 31 twice (allowed: each enrollment once)."
    )
    assert raised.value.hint == HINT


def test_compare__repeated_and_new(tmp_path: Path) -> None:
    """A new enrollment that the new file has twice is refused as well."""
    with pytest.raises(UsageError, match="has enrollment course:2_31 of user 31 twice"):
        compared(pair(tmp_path, [], [record(2), record(2)]))


def test_compare__windows(tmp_path: Path) -> None:
    """What is before the later window of both runs is left out; its own moment is within."""
    dates = {
        1: ("2026-01-01T23:59:59Z", None),
        2: ("2026-01-02T00:00:00Z", ""),
        3: (None, "2026-01-03T23:59:59Z"),
        4: ("2026-01-09T00:00:00Z", "2026-01-04T00:00:00Z"),
        5: ("2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
    }
    rows = [
        record(number, date_enrolled=enrolled, date_completed=completed)
        for number, (enrolled, completed) in dates.items()
    ]
    names = []
    for day, kept in ((1, rows), (2, [])):
        moments = {
            "since": f"2026-01-0{day}T00:00:00Z",
            "completed_since": f"2026-01-0{day + 2}T00:00:00Z",
        }
        inputs: dict[str, Any] = {"since": "7d", "completed_since": "5d", "moments": moments}
        path = tmp_path / f"{day}.ndjson"
        names.append(str(write_file(path, kept, [read("31")], **inputs)))

    document = compared(names).document

    assert document["removed_ids"] == ["course:2_31", "course:4_31"]


def test_compare__without_secrets(tmp_path: Path) -> None:
    """No secret is in the document, in the completions or in the file."""
    redactor = Redactor()
    redactor.add("course:9876_31")
    path = tmp_path / "c.ndjson"
    names = pair(tmp_path, [], [record(9876, date_completed="2026-01-01T00:00:00Z")])

    found = compared(names, redactor, output_file=str(path))

    assert found.document["added_ids"] == found.document["completed_ids"] == ["***"]
    assert found.completions[0]["after"]["id"] == "***"
    assert "9876" not in path.read_text(encoding="utf-8")


def test_compare__keeps_nothing_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The temporary file is in the folder of the file of changes, and in TMPDIR without one."""
    folders: list[Path | None] = []

    def watched(old: ComparedFile, new: ComparedFile, folder: Path | None) -> DiffStore:
        folders.append(folder)
        return DiffStore(old, new, folder)

    monkeypatch.setattr(module, "DiffStore", watched)
    names = pair(tmp_path, [], [])

    compared(names, output_file=str(tmp_path / "c.csv"))
    compared(names)

    assert folders == [tmp_path, None]


def test_diff__as_python(tmp_path: Path) -> None:
    """Paths, texts and lists are taken alike; an empty name of a file is none."""
    names = pair(tmp_path, [record(1, score=1, state="a")], [record(1, score=2, state="b")])
    old, new = (tmp_path / "old.ndjson", tmp_path / "new.ndjson")
    path = tmp_path / "c.csv"

    assert diff(old, new, output_file=path)["output_file"] == str(path)
    assert diff(*names, output_file="")["output_file"] is None
    assert diff(*names)["changed_count"] == 1
    assert diff(*names, ignore="score, state")["changed_count"] == 0
    assert diff(*names, ignore=["score"])["changed_count"] == 1
    (tmp_path / "old.ndjson.users").unlink()
    assert diff(old, new, assume_complete=True)["changed_count"] == 1
    with pytest.raises(UsageError, match="so its complete users are unknown"):
        diff(old, new)


def test_diff__error_with_its_document(tmp_path: Path) -> None:
    """The error has the document that the command prints, and its cause."""
    path = tmp_path / "x.json"
    path.write_text("{", encoding="utf-8")

    with pytest.raises(UsageError) as raised:
        diff(path, path)

    assert isinstance(raised.value.__cause__, ValueError)
    assert raised.value.document == failed_difference(raised.value)


def test_failed_difference() -> None:
    """The document of a comparison that failed has empty lists and the error."""
    document = failed_difference(UsageError("What?", hint="That."))

    kinds = ("added", "removed", "changed", "completed")
    assert document == {
        **{f"{kind}_ids": [] for kind in kinds},
        **{f"{kind}_count": 0 for kind in kinds},
        "not_comparable_users": [],
        "not_comparable_count": 0,
        "output_file": None,
        "error": {
            "code": 64,
            "message": "What?",
            "hint": "That.",
            "http_status": None,
            "request_id": None,
            "retry_at": None,
        },
    }


def test_failed_difference__that_breaks_its_schema() -> None:
    """A document that is not of its own schema is a fault of this program."""
    with pytest.raises(InternalError) as raised:
        failed_difference(UsageError("What?", hint=7))  # type: ignore[arg-type] # that is the fault

    assert raised.value.message == (
        "The document of the difference breaks its own schema at error."
    )
    assert raised.value.hint == "Please report it."
