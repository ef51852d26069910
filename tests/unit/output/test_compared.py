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


def test_check_inputs__order_of_lists(tmp_path: Path) -> None:
    """The order in a list of inputs does not matter, nor does an input that a journal lacks."""
    first: dict[str, Any] = {"lo_types": ["course", "jobAid"]}
    old, new = (
        open_compared(
            write_file(tmp_path / f"{name}.ndjson", [], [], **inputs), assume_complete=False
        )
        for name, inputs in {
            "old": first,
            "new": {"lo_types": ["jobAid", "course"], "query": None, "sort": "-dateEnrolled"},
        }.items()
    )

    check_inputs(old, new)


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


def test_records__broken_in_the_middle(tmp_path: Path) -> None:
    """A file that is broken in the middle is refused, with the number of records before."""
    path = tmp_path / "x.ndjson"
    path.write_text(f"{json.dumps(records('31')[0])}\n{{\n", encoding="utf-8")

    with pytest.raises(UsageError, match="cannot be read after record 1"):
        tuple(open_compared(path, assume_complete=True).records())


def test_files__that_cannot_be_read(tmp_path: Path) -> None:
    """What the file system refuses is an OutputError that names the file."""
    path = tmp_path / "x.ndjson.gz"
    path.write_bytes(b"no gzip")

    with pytest.raises(OutputError) as raised:
        tuple(open_compared(path, assume_complete=True).records())

    assert raised.value.message == f"The file {path} cannot be read: Not a gzipped file (b'no')."
