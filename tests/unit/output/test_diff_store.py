"""What a comparison remembers: users, old records, changes, and nothing on the disk behind it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from connector.errors import OutputError
from connector.output.compared import ComparedFile
from connector.output.diff_store import NEW, OLD, DiffStore, Match

if TYPE_CHECKING:
    from collections.abc import Sequence

HINT = "Free space there, or set TMPDIR to another folder. Nothing was written."


def record(number: int, user_id: str = "31", **values: Any) -> dict[str, Any]:
    """Return a record."""
    return {"id": f"course:{number}", "user_id": user_id, **values}


def store_of(
    folder: Path,
    old: Sequence[tuple[str, bool]] = (),
    new: Sequence[tuple[str, bool]] = (),
    **flags: bool,
) -> DiffStore:
    """Return a store for two files with these users; *flags* are the old file's."""
    return DiffStore(
        ComparedFile(folder / "old", users=old, **flags),  # type: ignore[arg-type] # flags only
        ComparedFile(folder / "new", users=new),
        folder,
    )


def test_enter__leaves_no_file(tmp_path: Path) -> None:
    """The file has no name as soon as it is open."""
    with store_of(tmp_path) as store:
        assert list(tmp_path.iterdir()) == []
        assert store.add(record(1))

    assert list(tmp_path.iterdir()) == []


def test_enter__name_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is made in the given folder, with a name that says whose it is."""
    made: list[dict[str, Any]] = []
    make = tempfile.mkstemp

    def watched(**options: Any) -> tuple[int, str]:
        made.append(options)
        return make(**options)

    monkeypatch.setattr(tempfile, "mkstemp", watched)
    with store_of(tmp_path):
        pass

    assert made == [{"dir": tmp_path, "prefix": ".alm-enrollments-"}]


def test_enter__on_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no open file is deleted, it is deleted in the end, also if that was done already."""
    unlink = Path.unlink

    def refuse(path: Path, *, missing_ok: bool = False) -> None:
        if not missing_ok:
            raise PermissionError
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    with store_of(tmp_path) as store:
        assert len(list(tmp_path.iterdir())) == 1
        assert store.add(record(1))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("has_folder", [True, False])
def test_enter__failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, has_folder: bool
) -> None:
    """The error names the folder, or the system's own without one."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "system"))
    folder = tmp_path / "nowhere" if has_folder else None
    files = [ComparedFile(tmp_path / name) for name in ("old", "new")]

    with pytest.raises(OutputError) as raised, DiffStore(files[0], files[1], folder):
        pass

    where = folder or tmp_path / "system"
    assert raised.value.message.startswith(
        f"The comparison cannot be written to a temporary file in {where}: [Errno 2] No such file"
    )
    assert raised.value.hint == HINT


def test_exit__of_a_full_disk(tmp_path: Path) -> None:
    """What the file system says within is told as an OutputError; other errors pass."""
    with pytest.raises(OutputError) as raised, store_of(tmp_path):
        raise OSError(28, "No space left on device")
    with pytest.raises(LookupError, match="other"), store_of(tmp_path):
        raise LookupError("other")

    assert raised.value.message == (
        f"The comparison cannot be written to a temporary file in {tmp_path}:"
        " [Errno 28] No space left on device."
    )


def test_is_complete__as_stated(tmp_path: Path) -> None:
    """The last good word of a user counts, by the number, on each side apart."""
    old = [("31", False), ("031", True), ("32", True), ("0032", False), ("33", False)]

    with store_of(tmp_path, old, [("31", False), ("33", True)]) as store:
        asked = [(OLD, "31"), (OLD, "032"), (OLD, "33"), (NEW, "31"), (NEW, "33"), (NEW, "33")]
        found = [store.is_complete(side, user) for side, user in asked]

    assert found == [True, True, False, False, True, True]


def test_is_complete__by_the_file(tmp_path: Path) -> None:
    """Of a user without a word the file's own flags decide, and whether it has records."""
    with store_of(tmp_path, has_only_complete_users=True) as store:
        assert store.is_complete(OLD, "31", is_read=False) is False
        assert store.is_complete(OLD, "31") is True
        # From now on it is a user of whom the file says something.
        assert store.is_complete(OLD, "32", is_read=False) is False
        assert store.is_complete(OLD, "31", is_read=False) is True
        assert store.is_complete(NEW, "31") is False
        assert list(store.not_comparable()) == ["31"]
    with store_of(tmp_path, has_every_user=True) as store:
        assert store.is_complete(OLD, "31", is_read=False) is True
        assert store.is_complete(OLD, "31", is_read=False) is True
        assert store.is_complete(OLD, "31") is False
        assert store.is_complete(OLD, "31") is False


def test_add__once(tmp_path: Path) -> None:
    """Only the first record of a user and an id is kept, leading zeros aside."""
    rows = [record(1), record(1, "32"), record(2), record(1), record(1, "031"), record(3)]

    with store_of(tmp_path) as store:
        assert [store.add(row) for row in rows] == [True, True, True, False, False, True]
        assert list(store.rest()) == [rows[0], rows[1], rows[2], rows[5]]


def test_take__every_kind(tmp_path: Path) -> None:
    """A new record is added, the same, different with the old one, or repeated."""
    olds = [record(1, score=1), record(2, score=1), record(3), record(4)]

    with store_of(tmp_path) as store:
        for row in olds:
            assert store.add(row)
        assert store.take(record(5)) == Match("added", None)
        assert store.take(record(1, score=1)) == Match("same", None)
        assert store.take(record(2, "031", score=1)) == Match("different", olds[1])
        assert store.take(record(5)) == Match("repeated", None)
        assert store.take(record(1, score=2)) == Match("repeated", None)
        assert store.take(record(4)) == Match("same", None)
        assert list(store.rest()) == [olds[2]]
        assert store.take(record(3)) == Match("same", None)
        assert list(store.rest()) == []


@pytest.mark.parametrize("value", ["\ud83d", 2**70, "\u00e9", 1.5])
def test_take__of_any_value(value: object, tmp_path: Path) -> None:
    """Half of a surrogate pair and a large number are kept as they are, also in an id."""
    row = record(1, name=value)
    row["id"] += str(value)

    with store_of(tmp_path) as store:
        assert store.add(row)
        assert store.add({**row, "id": "course:2"})
        assert next(store.rest()) == row
        assert store.take(row) == Match("same")
        assert store.take({**row, "id": "course:2", "name": 0}).before == {**row, "id": "course:2"}


def change(kind: str, number: int, *, completed: bool = False) -> dict[str, Any]:
    """Return a change."""
    return {"change": kind, "completed": completed, "id": f"course:{number}\ud83d"}


def test_changes(tmp_path: Path) -> None:
    """Ids are listed by kind, in order, ``completed`` being one, and lines are those asked for."""
    changes = [
        change("changed", 1, completed=True),
        change("added", 2),
        change("added", 3, completed=True),
        change("removed", 4),
        change("changed", 0),
    ]

    with store_of(tmp_path) as store:
        for row in changes:
            store.add_change(row, has_line=True)
        found = {
            kind: [text[7] for text in store.ids(kind)]
            for kind in ("added", "removed", "changed", "completed")
        }
        assert list(store.ids("added")) == [changes[1]["id"], changes[2]["id"]]
        lines = list(store.lines())

    assert found == {
        "added": ["2", "3"],
        "removed": ["4"],
        "changed": ["1", "0"],
        "completed": ["1", "3"],
    }
    assert [json.loads(line) for line in lines] == changes
    assert all(line.endswith(b"}\n") for line in lines)


def test_changes__without_lines(tmp_path: Path) -> None:
    """Without a file of changes no line is kept."""
    with store_of(tmp_path) as store:
        store.add_change(change("added", 1), has_line=False)
        assert list(store.lines()) == [None]


def test_not_comparable(tmp_path: Path) -> None:
    """Those of the old file come first, as they are written, and nobody twice."""
    old = [("031", False), ("32", True), ("33", True), ("a@b.c", False), ("34", True)]
    new = [("35", True), ("31", True), ("32", False), ("33", True), ("a@b.c", False)]
    expected = ["031", "32", "a@b.c", "34", "35"]

    with store_of(tmp_path, old, new) as store:
        assert list(store.not_comparable()) == expected
        assert store.count_not_comparable() == len(expected)
    with store_of(tmp_path, old, new, has_every_user=True) as store:
        assert list(store.not_comparable()) == expected[:-1]
        assert store.count_not_comparable() == len(expected) - 1
