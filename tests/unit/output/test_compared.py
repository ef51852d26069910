"""Which users a file has completely, by its journal or by the document itself."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from connector.errors import OutputError, UsageError
from connector.output.compared import check_inputs, later_moments, open_compared
from connector.output.diff import diff
from connector.output.document import failed_document
from tests.support.compared import ERROR, read, records, write_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def write_document(path: Path, users: Sequence[str], **changes: Any) -> Path:
    """Write the document of a run that has read *users*, with *changes*."""
    document = failed_document(UsageError("?", hint="?"))
    document |= {"enrollments": records(*users), "complete": True, "error": None}
    reasons = changes.pop("reasons", [])
    failed = changes.pop("failed", [])
    document["completeness"]["reasons"] = reasons
    document["users"]["failed"] = [{"user_id": user, "error": ERROR} for user in failed]
    path.write_text(json.dumps(document | changes), encoding="utf-8")
    return path


def not_comparable(path: Path, users: Sequence[str]) -> list[str]:
    """Return who is not comparable with a file that has all *users* in another state."""
    rows = records(*users, state="COMPLETED")
    other = write_file(path.with_name("other.ndjson"), rows, [read(user) for user in users])
    document = diff(path, other)
    changed = {enrollment_id.rpartition("_")[2] for enrollment_id in document["changed_ids"]}
    assert changed == set(users) - set(document["not_comparable_users"])
    return list(document["not_comparable_users"])


PARTIAL = {"complete": False, "error": {**ERROR, "code": 65}}
DOCUMENTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "complete": ({}, []),
    "complete, with a remark": ({"reasons": ["user 31: 3 ids could not be decoded"]}, []),
    "some users failed": ({**PARTIAL, "failed": ["32"]}, ["32"]),
    "forgiven": ({**PARTIAL, "failed": ["31", "33"]}, ["31", "33"]),
    "some failed, another was cut short": (
        {**PARTIAL, "failed": ["32"], "reasons": ["user 33: stopped by max_enrollments", "x"]},
        ["32", "33"],
    ),
    "users asked for by address": (
        {
            **PARTIAL,
            "failed": ["32"],
            "reasons": [
                "user 31 (ada@example.com): stopped by max_enrollments",
                "user 33@example.com: ALM has no such user",
            ],
        },
        ["31", "32"],
    ),
    "too many reasons": (
        {**PARTIAL, "failed": ["32"], "reasons": ["user 31: ?", "and 7 more reasons"]},
        ["32", "31", "33"],
    ),
    "cut short": ({"complete": False, "reasons": ["stopped"]}, ["31", "32", "33"]),
    "out of time": ({"complete": False, "error": {**ERROR, "code": 75}}, ["31", "32", "33"]),
}


@pytest.mark.parametrize(("changes", "expected"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_document__users(changes: dict[str, Any], expected: list[str], tmp_path: Path) -> None:
    """A document has a user completely if nothing in it says otherwise; doubt counts as no."""
    users = ["31", "32", "33"]

    path = write_document(tmp_path / "document.json", users, **changes)

    assert sorted(not_comparable(path, users)) == sorted(expected)


def test_document__users_without_records(tmp_path: Path) -> None:
    """A document does not say whether it has a user who has no record in it."""
    path = write_document(tmp_path / "document.json", ["31"])

    assert not_comparable(path, ["31", "32"]) == ["32"]


def test_journal__last_word(tmp_path: Path) -> None:
    """A user who failed first and was read later is complete; leading zeros do not matter."""
    failed = {"user_id": "031", "error": ERROR}
    entries = [failed, read("31"), failed, read("0032"), {"user_id": "33", "error": ERROR}]

    rows = [*records("31"), {**records("32")[0], "user_id": "032"}]
    path = write_file(tmp_path / "x.ndjson", rows, entries)

    assert not_comparable(path, ["31", "32", "33"]) == ["33"]


@pytest.mark.parametrize(
    ("status", "expected"),
    [("verified", []), ("consistent", []), ("incomplete", ["31"]), ("inconsistent", ["31"])],
)
def test_journal__status(status: str, expected: list[str], tmp_path: Path) -> None:
    """A user whose reading was cut short or contradicted itself is not complete."""
    path = write_file(tmp_path / "x.ndjson", records("31"), [read("31", status)])

    assert not_comparable(path, ["31"]) == expected


def test_journal__unknown_address(tmp_path: Path) -> None:
    """An address that no user has is listed as it is."""
    unknown = {"user_id": None, "user_email": "0a@example.com", "error": ERROR}

    path = write_file(tmp_path / "x.ndjson", records("31"), [read("31"), unknown])

    assert not_comparable(path, ["31"]) == ["0a@example.com"]


def test_journal__address_that_was_looked_up_later(tmp_path: Path) -> None:
    """An address that failed first is not listed if its user was read later, by it."""
    failed = {"user_id": None, "user_email": "Ada@example.com", "error": ERROR}
    later = {**read("31"), "user_email": "ada@example.com"}

    path = write_file(tmp_path / "x.ndjson", records("31"), [failed, later])

    assert not_comparable(path, ["31"]) == []


def test_check_inputs__order_of_lists(tmp_path: Path) -> None:
    """The order in a list of inputs does not matter, nor does an input that a journal lacks."""
    first: dict[str, Any] = {"lo_types": ["course", "jobAid"]}
    old, new = (
        open_compared(
            write_file(tmp_path / f"{name}.ndjson", [], [], **inputs), assume_complete=False
        )
        for name, inputs in {
            "old": first,
            "new": {"lo_types": ["jobAid", "course"], "completed_since": None, "sort": "x"},
        }.items()
    )

    check_inputs(old, new)


def test_check_inputs__other_inputs(tmp_path: Path) -> None:
    """Every input that differs is named, with both values; a file without a journal has none."""
    old, new = (
        open_compared(
            write_file(tmp_path / f"{state}.ndjson", [], [], state=state, since=since),
            assume_complete=False,
        )
        for state, since in (("active", None), ("rejected", "2024-01-01"))
    )
    other = tmp_path / "other.ndjson"
    other.write_text("", encoding="utf-8")

    with pytest.raises(UsageError) as raised:
        check_inputs(old, new)

    differing = 'state was "active" and is "rejected"; since was null and is "2024-01-01"'
    assert f" inputs: {differing} (" in raised.value.message
    assert " two full runs with the same inputs" in raised.value.message
    check_inputs(open_compared(other, assume_complete=True), new)


def test_later_moments__of_relative_inputs(tmp_path: Path) -> None:
    """Of runs with the same relative moment the later one counts, by the field that it filters."""
    moments = ("2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00")
    old, new = (
        open_compared(
            write_file(
                tmp_path / f"{moment[:10]}.ndjson",
                [],
                [],
                since="7d",
                completed_since="2026-01-01T00:00:00Z",
                moments={"since": moment},
            ),
            assume_complete=False,
        )
        for moment in moments
    )

    expected = {"date_enrolled": datetime(2026, 1, 2, tzinfo=UTC)}
    assert later_moments(old, new) == later_moments(new, old) == expected


def test_diff__a_window_needs_its_field(tmp_path: Path) -> None:
    """Runs with relative moments are not compared in files without the field that they filter."""
    old, new = (
        write_file(
            tmp_path / f"{day}.ndjson",
            records("31"),
            [read("31")],
            since="7d",
            moments={"since": f"2026-01-0{day}T00:00:00Z"},
        )
        for day in (1, 2)
    )

    with pytest.raises(UsageError) as raised:
        diff(old, new)

    assert raised.value.message == (
        f'1 input is not valid: "{old}" has no column date_enrolled, which runs from different'
        " moments need (allowed: files with date_enrolled, or runs with the same moment)."
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "cannot be read: "),
        ('{"users": 1, "output_file": null}', "is JSON of another program"),
        ('{"output_file": null, "error": null, "completeness": []}', "is JSON of another"),
    ],
)
def test_open__other_json(text: str, problem: str, tmp_path: Path) -> None:
    """JSON that is neither an output file nor a document is refused."""
    path = tmp_path / "x.json"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(UsageError) as raised:
        open_compared(path, assume_complete=True)

    assert f'"{path}" {problem}' in raised.value.message
    assert " an output file or a document" in raised.value.message


def test_open__no_file(tmp_path: Path) -> None:
    """A path that is no file is refused, by name."""
    with pytest.raises(UsageError) as raised:
        open_compared(tmp_path, assume_complete=True)

    assert f'"{tmp_path}" does not exist, or is not a file' in raised.value.message
    assert " an output file)" in raised.value.message


def test_open__no_journal(tmp_path: Path) -> None:
    """A file without a journal is refused; the message names the journal and the way around it."""
    path = tmp_path / "x.ndjson"
    path.write_text("", encoding="utf-8")

    with pytest.raises(UsageError) as raised:
        open_compared(path, assume_complete=False)

    named = (str(path), " x.ndjson.users ", " a file with its journal; or `assume_complete`, ")
    assert all(part in raised.value.message for part in named)


def test_open__of_another_end(tmp_path: Path) -> None:
    """A file that is not as its run left it is refused, and resume is recommended."""
    path = write_file(tmp_path / "x.ndjson", records("31"), [read("31")])
    path.write_bytes(path.read_bytes() + b"\n")

    with pytest.raises(UsageError) as raised:
        open_compared(path, assume_complete=True)

    named = (str(path), " a file as its run left it; `resume` ends a run")
    assert all(part in raised.value.message for part in named)


@pytest.mark.parametrize(
    ("entries", "inputs", "problem"),
    [
        ([read("31", "proved")], {}, "does not match its journal"),
        ([read("31")], {"format": "yaml"}, "has no journal x.ndjson.users"),
    ],
)
def test_open__of_a_broken_journal(
    entries: Sequence[dict[str, Any]], inputs: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    """A journal with a line or a value that is not one of a journal's is refused."""
    path = write_file(tmp_path / "x.ndjson", records("31"), entries, **inputs)

    with pytest.raises(UsageError, match=problem):
        open_compared(path, assume_complete=False)


def test_open__document_of_a_file(tmp_path: Path) -> None:
    """A document whose records are in a file is refused, and the file is named."""
    path = write_document(tmp_path / "x.json", [], output_file="out.csv")

    with pytest.raises(UsageError) as raised:
        open_compared(path, assume_complete=True)

    named = (f'"{path}" is a document', '"out.csv"', " that file)")
    assert all(part in raised.value.message for part in named)


def test_open__count_of_records(tmp_path: Path) -> None:
    """The number of records is known from the document, or from the journal."""
    document = write_document(tmp_path / "x.json", ["31", "32"], enrollment_count=2)
    file = write_file(tmp_path / "x.ndjson", records("31"), [read("31")])

    counts = [open_compared(path, assume_complete=False).count for path in (document, file)]

    assert counts == [2, 1]


def test_document__address_that_failed(tmp_path: Path) -> None:
    """A failure without an id is listed by its address."""
    unknown = {"user_id": None, "user_email": "ada@example.com", "error": ERROR}
    users = {"requested": 2, "read": 1, "failed": [unknown]}
    path = write_document(tmp_path / "x.json", ["31"], **PARTIAL)
    document = json.loads(path.read_text("utf-8")) | {"users": users}
    path.write_text(json.dumps(document), encoding="utf-8")

    assert list(open_compared(path, assume_complete=False).users) == [("ada@example.com", False)]


def test_records__format_of_the_journal(tmp_path: Path) -> None:
    """A file is read in the format that its journal names, whatever its suffix."""
    path = write_file(tmp_path / "x.csv", records("31"), [read("31")])

    assert list(open_compared(path, assume_complete=False).records()) == records("31")


@pytest.mark.parametrize(
    "record",
    [
        ["31"],
        {"id": 1, "user_id": "31"},
        {"id": "course:1_2_31", "user_id": 31},
        {"id": "course:1_2_31", "user_id": "x31"},
        {"id": "course:1_2_31", "user_id": "\u0663\u0661"},
    ],
)
def test_records__without_id_or_user(record: object, tmp_path: Path) -> None:
    """A record without the ids that a comparison needs is refused, and its number is named."""
    path = tmp_path / "x.ndjson"
    rows = [*records("31"), record]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")

    with pytest.raises(UsageError) as raised:
        tuple(open_compared(path, assume_complete=True).records())

    named = (str(path), " record 2 ", " an output file with the columns id and ")
    assert all(part in raised.value.message for part in named)


def test_records__broken_in_the_middle(tmp_path: Path) -> None:
    """A file that is broken in the middle is refused, with the number of records before."""
    path = tmp_path / "x.ndjson"
    path.write_text(f"{json.dumps(records('31')[0])}\n{{\n", encoding="utf-8")

    with pytest.raises(UsageError, match=r"read after record 1.* an output file in json, "):
        tuple(open_compared(path, assume_complete=True).records())


def test_files__that_cannot_be_read(tmp_path: Path) -> None:
    """What the file system refuses is an OutputError that names the file."""
    path = tmp_path / "x.ndjson.gz"
    path.write_bytes(b"no gzip")

    with pytest.raises(OutputError) as raised:
        tuple(open_compared(path, assume_complete=True).records())

    assert raised.value.message == f"The file {path} cannot be read: Not a gzipped file (b'no')."
    assert raised.value.hint == "Nothing was written."


@pytest.mark.parametrize("is_open", [False, True])
def test_files__journal_that_cannot_be_read(*, is_open: bool, tmp_path: Path) -> None:
    """A journal that the file system refuses is an OutputError that names a file."""
    path = write_file(tmp_path / "x.ndjson", records("31"), [read("31")])
    journal = tmp_path / "x.ndjson.users"
    file = open_compared(path, assume_complete=False) if is_open else None
    journal.unlink()
    # Reading this file's beginning is an error for any user.
    journal.symlink_to("/proc/self/mem")

    with pytest.raises(OutputError) as raised:
        tuple(file.users) if file else open_compared(path, assume_complete=False)

    named = journal if is_open else path
    assert raised.value.message == f"The file {named} cannot be read: Input/output error."
