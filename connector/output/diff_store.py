"""What a comparison must remember, in a temporary SQLite file that ends with the process."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from connector.compact_set import canonical_id
from connector.errors import OutputError
from connector.text import to_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from connector.output.compared import ComparedFile

Record = dict[str, Any]
OLD, NEW = 0, 1
_CACHE_KIB = 16 * 1024
_TABLES = f"""
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA cache_size = -{_CACHE_KIB};
CREATE TABLE users (side INTEGER, user TEXT, shown TEXT, is_complete INTEGER, UNIQUE (side, user));
CREATE TABLE old (key BLOB UNIQUE, record BLOB);
CREATE TABLE added (key BLOB UNIQUE);
CREATE TABLE changes (change TEXT, completed INTEGER, id TEXT, line BLOB);
BEGIN;
"""
_ADD_USER = """
INSERT INTO users VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET is_complete = max(is_complete, excluded.is_complete)
"""
# A user of whom a file says nothing is not complete in it, unless it has every user.
_NOT_COMPARABLE = """
FROM users AS this
WHERE (side = 0 OR NOT EXISTS (SELECT 1 FROM users WHERE side = 0 AND user = this.user))
AND NOT (
    coalesce((SELECT is_complete FROM users WHERE side = 0 AND user = this.user), :old)
    AND coalesce((SELECT is_complete FROM users WHERE side = 1 AND user = this.user), :new)
)
"""


class Match(NamedTuple):
    """What the old file has for a new record.

    *kind* is ``added``, ``same`` or ``different``, or ``repeated`` if the new file has had the
    record already. *before* is the old record if it is different.
    """

    kind: str
    before: Record | None = None


class DiffStore:
    """The users of both files, the old records, and the changes found.

    A context manager, in which every failure of the temporary file is an OutputError.
    """

    def __init__(self, old: ComparedFile, new: ComparedFile, folder: Path | None) -> None:
        self._files = (old, new)
        self._folder = folder
        # Which of the old records are in the new file, too, by their row.
        self._taken = bytearray(b"\x01")
        # Records of one user stand together.
        self._known: dict[tuple[int, bool], tuple[str, bool]] = {}

    def __enter__(self) -> Self:
        """Create the file."""
        with self._translated():
            handle, name = tempfile.mkstemp(dir=self._folder, prefix=".alm-enrollments-")
            os.close(handle)
            self._path = Path(name)
            try:
                self._database = sqlite3.connect(name, isolation_level=None)
                self._database.executescript(_TABLES)
            finally:
                # Without a name, nothing is left of it even if the process is killed. Windows
                # deletes no open file.
                with contextlib.suppress(PermissionError):
                    self._path.unlink()
            for side, file in enumerate(self._files):
                rows = ((side, _canonical(user), user, complete) for user, complete in file.users)
                self._database.executemany(_ADD_USER, rows)
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        """Remove the file."""
        self._database.close()
        self._path.unlink(missing_ok=True)
        if isinstance(error, (sqlite3.Error, OSError)):
            with self._translated():
                raise error

    def is_complete(self, side: int, user_id: str, *, is_read: bool = True) -> bool:
        """Return whether the file on *side* has *user_id* completely.

        *is_read* if a record of the user was read from it.
        """
        known = self._known.get((side, is_read))
        if known and known[0] == user_id:
            return known[1]
        user = canonical_id(user_id)
        found = self._database.execute(
            "SELECT is_complete FROM users WHERE side = ? AND user = ?", (side, user)
        ).fetchone()
        if found:
            is_complete = bool(found[0])
        elif is_read:
            is_complete = self._files[side].has_only_complete_users
            self._database.execute(_ADD_USER, (side, user, user_id, is_complete))
        else:
            is_complete = self._files[side].has_every_user
        self._known[side, is_read] = (user_id, is_complete)
        return is_complete

    def add(self, record: Record) -> bool:
        """Keep an old record; return whether it is the first with its user and id."""
        with contextlib.suppress(sqlite3.IntegrityError):
            row = (_key(record), _encoded(record))
            self._database.execute("INSERT INTO old VALUES (?, ?)", row)
            self._taken.append(0)
            return True
        return False

    def take(self, record: Record) -> Match:
        """Return the old record of the new *record*, and remember that the new file has it."""
        key = _key(record)
        row = self._database.execute(
            "SELECT rowid, record FROM old WHERE key = ?", (key,)
        ).fetchone()
        if row is None:
            try:
                self._database.execute("INSERT INTO added VALUES (?)", (key,))
            except sqlite3.IntegrityError:
                return Match("repeated")
            return Match("added")
        number, before = row
        if self._taken[number]:
            return Match("repeated")
        self._taken[number] = 1
        if before == _encoded(record):
            return Match("same")
        return Match("different", json.loads(before))

    def rest(self) -> Iterator[Record]:
        """Yield the old records that no new record has taken."""
        number = self._taken.find(0)
        while number >= 0:
            row = self._database.execute(
                "SELECT record FROM old WHERE rowid = ?", (number,)
            ).fetchone()
            yield json.loads(row[0])
            number = self._taken.find(0, number + 1)

    def add_change(self, change: Record, *, has_line: bool) -> None:
        """Keep a change, with its line in the file of changes if it *has_line*."""
        line = None
        if has_line:
            line = f"{to_json(change)}\n".encode()
        row = (change["change"], change["completed"], to_json(change["id"]), line)
        self._database.execute("INSERT INTO changes VALUES (?, ?, ?, ?)", row)

    def ids(self, kind: str) -> Iterator[str]:
        """Yield the ids of the changes of a *kind*, ``completed`` among them."""
        rows = self._database.execute(
            "SELECT id FROM changes WHERE change = :kind OR (completed AND :kind = 'completed')"
            " ORDER BY rowid",
            {"kind": kind},
        )
        return (json.loads(row[0]) for row in rows)

    def lines(self) -> Iterator[bytes]:
        """Yield the line of each change."""
        return (row[0] for row in self._database.execute("SELECT line FROM changes ORDER BY rowid"))

    def count_not_comparable(self) -> int:
        """Return how many users not both files have completely."""
        (count,) = self._database.execute(
            f"SELECT count(*) {_NOT_COMPARABLE}", self._defaults
        ).fetchone()
        return int(count)

    def not_comparable(self) -> Iterator[str]:
        """Yield the users whom not both files have completely, those of the old file first."""
        query = f"SELECT shown {_NOT_COMPARABLE} ORDER BY rowid"
        return (row[0] for row in self._database.execute(query, self._defaults))

    @property
    def _defaults(self) -> dict[str, bool]:
        old, new = self._files
        return {"old": old.has_every_user, "new": new.has_every_user}

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            folder = self._folder or tempfile.gettempdir()
            raise OutputError(
                f"The comparison cannot be written to a temporary file in {folder}: {error}.",
                hint="Free space there, or set TMPDIR to another folder. Nothing was written.",
            ) from error


def _canonical(user: str) -> str:
    # An address is itself.
    return canonical_id(user) if user.isdecimal() else user


def _key(record: Record) -> bytes:
    text = f"{canonical_id(record['user_id'])}/{record['id']}"
    return text.encode(errors="surrogatepass")


def _encoded(record: Record) -> bytes:
    try:
        return msgspec.json.encode(record)
    except UnicodeEncodeError:
        # Half a surrogate pair.
        return to_json(record).encode()
