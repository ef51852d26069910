"""Which users an output file has completely: JSON lines in a file next to it.

The first line holds the inputs of the run. Each further line is about one user: where the user's
records end in the growing file, or the error that the user failed with. The last line says that
the run came to its end. A torn last line is ignored.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from connector.compact_set import UserIds
from connector.files import JOURNAL, target_of
from connector.formats import FORMATS
from connector.formats.interface import read_pieces
from connector.output.journal_lines import VERSION, parse_line
from connector.text import to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from connector.redact import Redactor

Entry = dict[str, Any]


@dataclass
class JournalState:
    """What a journal says of its output file.

    Up to *end*, the growing file has complete users only; up to *length*, the journal itself has
    complete lines, the first of which ends at *begin*. When the run has ended, *last* is the entry
    that says so, with the output file's size, and begins at *last_begin*; before, it is empty.
    """

    path: Path
    inputs: Entry
    begin: int
    finished: UserIds = field(default_factory=UserIds)
    end: int = 0
    records: int = 0
    length: int = 0
    last: Entry = field(default_factory=dict)
    last_begin: int = 0


class Journal:
    """A journal open for writing. Every line is without the run's secrets."""

    def __init__(self, path: Path, redactor: Redactor) -> None:
        self.path = path
        self._redactor = redactor
        self._handle = -1

    @property
    def rewritten_path(self) -> Path:
        """The file that ``rewrite`` writes first."""
        return self.path.with_name(f"{self.path.name}.new")

    def lock(self) -> None:
        """Reserve it, and the output file with it, for this run.

        Raises BlockingIOError if another run has it, and OSError.
        """
        if self._handle < 0:
            self._handle = _open_locked(self.path)

    def begin(self, inputs: Mapping[str, Any]) -> None:
        """Write the line about the run's *inputs*. Raises OSError."""
        self.write({"alm_enrollments": VERSION, **inputs})

    def cut(self, length: int = 0) -> None:
        """Remove everything behind the first *length* bytes. Raises OSError."""
        self.lock()
        os.ftruncate(self._handle, length)

    def write(self, entry: Mapping[str, Any]) -> None:
        """Append *entry*. Raises OSError."""
        line = to_json(self._redactor.clean_value(entry))
        write_all(self._handle, f"{line}\n".encode())

    def end(self, entry: Mapping[str, Any]) -> None:
        """Append the *entry* that ends a run, with the checksum of the users. Raises OSError."""
        checksum = checksum_of_users(self.path, self.path.stat().st_size)
        self.write({**entry, "users_crc32": checksum})

    def rewrite(self, state: JournalState, entries: Iterable[Mapping[str, Any]], end: int) -> None:
        """Replace it, at once or not at all, by *entries* of users whose rows are elsewhere now.

        All else stays as in *state*; *end* is where the last rows end. Raises OSError.
        """
        new = Journal(self.rewritten_path, self._redactor)
        try:
            new.cut()
            new.write({**state.inputs, "end": 0})
            for entry in entries:
                new.write(entry)
            new.end({**state.last, "end": end})
            new.sync()
            new.path.replace(self.path)
            self._handle, new._handle = new._handle, self._handle
        finally:
            new.path.unlink(missing_ok=True)
            new.close()

    def sync(self) -> None:
        """Have the disk keep what was written. Raises OSError."""
        sync(self._handle)

    def close(self) -> None:
        """Close the file and give up the lock."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def journal_of(path: Path) -> Path:
    """Return where the journal of the output file *path* is."""
    target = target_of(path)
    return target.parent / f"{target.name}{JOURNAL}"


def read_entries(path: Path) -> Iterator[tuple[Entry, int]]:
    """Yield each complete entry of a journal with the place where it ends. Raises OSError."""
    place = 0
    with path.open("rb") as file:
        for line in file:
            entry = parse_line(line, is_first=not place) if line.endswith(b"\n") else None
            if entry is None:
                return
            place += len(line)
            yield entry, place


def read_state(path: Path, length: int | None = None) -> JournalState | None:
    """Return what the journal *path* says, up to *length*; ``None`` if it is not one.

    Raises OSError.
    """
    entries = read_entries(path) if path.is_file() else iter(())
    first, begin = next(entries, ({}, 0))
    if first.get("format") not in FORMATS:
        return None
    state = JournalState(path, first, begin, end=first["end"], length=begin)
    for entry, place in entries:
        if length is not None and place > length:
            break
        if "end" in entry:
            state.end = entry["end"]
            state.last = {} if "user_id" in entry else entry
            state.last_begin = state.length
        if "enrollments" in entry:
            state.finished.add(entry["user_id"])
            if "user_email" in entry:
                state.finished.add(entry["user_email"])
            state.records += entry["enrollments"]
        state.length = place
    return state


def checksum_of_users(path: Path, end: int) -> int:
    """Return the checksum of the journal *path* from its second line to *end*. Raises OSError."""
    with path.open("rb") as file:
        file.readline()
        return checksum_of_pieces(read_pieces(file, end - file.tell()))


def checksum_of_pieces(pieces: Iterable[bytes]) -> int:
    """Return the checksum of *pieces* in a row."""
    checksum = 0
    for piece in pieces:
        checksum = zlib.crc32(piece, checksum)
    return checksum


def open_to_append(path: Path) -> int:
    """Open *path*, a file of this user's own, so that everything is written behind its end.

    Raises OSError, also for a link, a device, and a file of another user: its name is known
    beforehand, and it may be in a folder in which others may write.
    """
    # Without O_BINARY, Windows writes two bytes for each line end. A pipe must not be waited for.
    flags = os.O_RDWR | os.O_APPEND
    for name in ("O_BINARY", "O_NOFOLLOW", "O_NONBLOCK"):
        flags |= getattr(os, name, 0)
    with contextlib.suppress(FileExistsError):
        return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
    check_own(path)
    handle = os.open(path, flags)
    try:
        _check_own(os.fstat(handle), path)
    except OSError:
        os.close(handle)
        raise
    return handle


def check_own(path: Path) -> None:
    """Raise OSError if *path* exists and is not a regular file of this user's own."""
    with contextlib.suppress(FileNotFoundError):
        _check_own(path.lstat(), path)


def _check_own(status: os.stat_result, path: Path) -> None:
    # Network drives may give every file another owner: compare with a new one.
    with tempfile.TemporaryFile(dir=path.parent) as new:
        owner = os.fstat(new.fileno()).st_uid
    # Another name could belong to any other file of this user.
    is_own = stat.S_ISREG(status.st_mode) and status.st_uid == owner and status.st_nlink == 1
    if not is_own:
        raise OSError(
            errno.EPERM, f"{path.name} must be a regular file of this user's own, without links"
        )


def _open_locked(path: Path) -> int:
    handle = open_to_append(path)
    # Windows and some network drives lack this lock: there, users must not start two runs.
    with contextlib.suppress(ImportError):
        import fcntl  # noqa: PLC0415 - absent on Windows

        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise
        except OSError:
            pass
    return handle


def sync(handle: int) -> None:
    """Have the disk keep what was written to *handle* through a loss of power. Raises OSError."""
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network drives do not offer it.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def write_all(handle: int, data: bytes) -> None:
    """Write all of *data* to *handle*. Raises OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]
