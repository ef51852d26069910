"""Which users an output file has whole: JSON lines in a file beside it, readable, and good up to a torn last line.

The first line says what the file was made with. Each further one tells a user, with the place where his records
end or the error that he failed with; the last one that the run came to its end.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from connector.compact_set import UserIds
from connector.text import to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

Entry = dict[str, Any]
_VERSION = 1


@dataclass
class JournalState:
    """What a journal says of its file: with what it was made, which users are whole, and up to where both files are good."""

    made_with: Entry
    finished: UserIds = field(default_factory=UserIds)
    #: Where the last whole user's records end, in the file that is still growing.
    end: int = 0
    records: int = 0
    #: Bytes of the journal, and of the file as it was when the run had ended; None while it has not.
    length: int = 0
    size: int | None = None
    requested: int = 0
    requests: int = 0


class Journal:
    """Open to be continued; *clean* takes the run's secrets out of each line."""

    def __init__(self, path: Path, clean: Callable[[str], str]) -> None:
        self.path = path
        self._clean = clean
        self._handle = -1

    def lock(self) -> None:
        """Have it, and the output file with it, for this run alone. Raises BlockingIOError where another run has it, OSError."""
        if self._handle < 0:
            self._handle = _open_locked(self.path)

    def clear(self) -> None:
        """Let it say nothing. Raises OSError."""
        self.lock()
        os.ftruncate(self._handle, 0)

    def begin(self, made_with: Mapping[str, Any]) -> None:
        """Write what the file is made with, where it says nothing yet. Raises OSError."""
        self.write({"alm_enrollments": _VERSION, **made_with})

    def resume(self, known: JournalState) -> None:
        """Go on behind the last whole line. Raises OSError."""
        self.lock()
        os.ftruncate(self._handle, known.length)

    def write(self, entry: Mapping[str, Any]) -> None:
        """Append *entry*. Raises OSError."""
        write_all(self._handle, f"{self._clean(to_json(entry))}\n".encode())

    def close(self) -> None:
        """Close the file, where it is open."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def journal_of(path: Path) -> Path:
    """Return where the journal of the output file *path* is."""
    return path.parent / f"{path.name}.users"


def read_entries(path: Path) -> Iterator[tuple[Entry, int]]:
    """Yield each whole entry of the journal *path*, with the place where its line ends. Raises OSError."""
    place = 0
    with path.open("rb") as file:
        for line in file:
            entry = None
            with contextlib.suppress(ValueError):
                entry = json.loads(line) if line.endswith(b"\n") else None
            if not isinstance(entry, dict):
                return
            place += len(line)
            yield entry, place


def read_known(path: Path) -> JournalState | None:
    """Return what the journal *path* says; ``None`` where it is none. Raises OSError."""
    entries = read_entries(path) if path.is_file() else iter(())
    first, length = next(entries, ({}, 0))
    if first.get("alm_enrollments") != _VERSION:
        return None
    known = JournalState(first, end=first["end"], length=length)
    for entry, place in entries:
        if "end" in entry:
            known.end = entry["end"]
            known.size = entry.get("size")
            known.requested, known.requests = entry.get("requested", 0), entry.get("requests", 0)
        if "enrollments" in entry:
            known.finished.add(entry["user_id"])
            known.records += entry["enrollments"]
        known.length = place
    return known


def open_to_append(path: Path) -> int:
    """Open *path* so that whatever is written comes behind all that is there. Raises OSError."""
    # Windows would write two bytes for each new line.
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o644)


def _open_locked(path: Path) -> int:
    handle = open_to_append(path)
    # Windows and some network drives have no such lock; there a second run is the user's own care.
    with contextlib.suppress(ImportError):
        import fcntl  # noqa: PLC0415

        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise
        except OSError:
            pass
    return handle


def write_all(handle: int, data: bytes) -> None:
    """Write *data* to *handle*, all of it. Raises OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]
