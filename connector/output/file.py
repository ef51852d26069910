"""The output file: grows user by user, none of them torn, and gets its name when the run ends."""

from __future__ import annotations

import contextlib
import errno
import gzip
import os
import shutil
import stat
import tempfile
import zlib
from typing import TYPE_CHECKING, Any

from connector import signals
from connector.errors import InterruptedRun, OutputError, Problem, UsageError
from connector.files import (
    CONVERTED,
    PART,
    advice_for,
    check_replaceable,
    files_of,
    mode_of_replaced,
    target_of,
)
from connector.formats import make_format
from connector.formats.interface import read_pieces, zstd
from connector.output.buffer import RecordBuffer
from connector.output.journal import (
    Journal,
    check_own,
    checksum_of_pieces,
    checksum_of_users,
    journal_of,
    open_to_append,
    read_entries,
    read_state,
    sync,
    write_all,
)
from connector.output.results import MAX_LISTED_IDS, failure_of
from connector.text import to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from connector.clock import Clock
    from connector.output.journal import Entry, JournalState
    from connector.output.results import RunTotals, UserResult
    from connector.redact import Redactor

_IDS = ("enrollment_ids", "resource_grade_ids")
# What a loss of power may cost.
_SYNC_SECONDS = 1.0


class OutputFile:
    """Grows as ``FILE.part`` next to its journal ``FILE.users``, and becomes ``FILE`` at the end.

    A user's records are appended first and entered in the journal then: after a kill at any
    moment, what the journal does not mention is cut off, and read again. An earlier file is not
    touched before the first user is complete. The run that has locked the journal has the file.
    """

    def __init__(
        self,
        path: Path,
        format_name: str,
        inputs: Mapping[str, Any],
        redactor: Redactor,
        clock: Clock,
    ) -> None:
        self._name = str(path)
        self.path = target_of(path)
        self.part = self.path.parent / f"{self.path.name}{PART}"
        self._scratch = self.path.parent / f"{self.path.name}{CONVERTED}"
        self._format = make_format(format_name, inputs.get("columns") or ())
        self._journal = Journal(journal_of(path), redactor)
        self._inputs = {"format": format_name, **inputs}
        self._redactor = redactor
        self._clock = clock
        self._compress = compressor_for(path)
        self._state: JournalState | None = None
        self._handle = -1
        self._end = 0
        self._checksum = 0
        self._synced_at = clock.monotonic()
        self._has_rows = False
        self._listed_ids = dict.fromkeys(_IDS, 0)
        self._failed: list[Entry] = []
        self._partial: list[RecordBuffer] = []

    def prepare(self, *, resume: bool) -> Iterator[Entry]:
        """Check that the file can be written and yield the journal's users, if to *resume*.

        Raises UsageError if the earlier run had other inputs, and OutputError.
        """
        with self._translated():
            tempfile.TemporaryFile(dir=self.path.parent).close()
            for file in files_of(self.path):
                check_replaceable(file)
            journal = self._journal
            for path in (self.part, self._scratch, journal.path, journal.rewritten_path):
                check_own(path)
            if self._journal.path.is_file():
                self._journal.lock()
            if self.part.is_file():
                os.close(open_to_append(self.part))
            state = self._resumable_state() if resume else None
        if state is None:
            return
        self._state = state
        for entry, place in read_entries(self._journal.path):
            if "enrollments" in entry and place <= state.length:
                for name in _IDS:
                    ids = entry.get(name)
                    self._listed_ids[name] += MAX_LISTED_IDS + 1 if ids is None else len(ids)
                yield entry

    @property
    def location(self) -> Path:
        """Where the complete users are while the run goes on."""
        return self.part if self.part.is_file() else self.path

    @property
    def earlier_moments(self) -> Mapping[str, str]:
        """The relative moments of the run that is resumed, by input."""
        return self._state.inputs.get("moments", {}) if self._state else {}

    def has(self, user_id: str) -> bool:
        """Return whether an earlier run has read *user_id* completely."""
        return self._state is not None and user_id in self._state.finished

    def new_buffer(self, *, has_tally: bool) -> RecordBuffer:
        """Return a buffer for one user's records."""
        return RecordBuffer(self._format, self._redactor, self.path.parent, has_tally=has_tally)

    def open(self) -> None:
        """Get ready for the first record, which may take long. Raises OutputError."""
        with self._translated():
            self._open()

    def append(self, result: UserResult[RecordBuffer]) -> None:
        """Append all records of a user. Raises OutputError."""
        delivered, completeness = result.records.delivered, result.completeness
        listed = {
            "enrollment_ids": delivered.enrollment_ids or (),
            "resource_grade_ids": delivered.resource_grade_ids or (),
        }
        for name, ids in listed.items():
            self._listed_ids[name] += len(ids)
        with self._translated():
            self._open()
            self._checksum = 0
            self._copy(result.records)
            entry: Entry = {
                "user_id": result.user_id,
                "enrollments": delivered.count,
                "end": self._end,
                "crc32": self._checksum,
                "answered_at": result.answered_at and result.answered_at.isoformat(),
                "status": completeness.status,
                "reasons": completeness.reasons,
                "pages": completeness.pages,
                "counts": [[*kind, count] for kind, count in delivered.counts.items()],
            }
            if result.user_email:
                entry["user_email"] = result.user_email
            # No more ids than a document lists; the records have all of them.
            entry |= {n: ids for n, ids in listed.items() if self._listed_ids[n] <= MAX_LISTED_IDS}
            self._journal.write(entry)
            self._sync_now_and_then()

    def join(self, path: Path, state: JournalState, entries: Iterable[Entry]) -> None:
        """Append the complete users of another file of the same format. Raises OutputError.

        *state* and *entries* are what that file's journal says.
        """
        with self._translated():
            self._open()
            is_first = True
            for entry, pieces in self._format.read_users(path, state.inputs["end"], entries):
                self._checksum = 0
                if entry["enrollments"]:
                    # Between the users of one file the separator is part of the rows.
                    self._write(self._format.between if self._has_rows and is_first else "")
                    is_first, self._has_rows = False, True
                for piece in pieces:
                    self._write_bytes(piece)
                self._journal.write({**entry, "end": self._end, "crc32": self._checksum})

    def add_failure(
        self, user_id: str | None, error: Mapping[str, Any], user_email: str | None = None
    ) -> None:
        """Enter a user who failed in the journal, when the run ends."""
        self._failed.append(failure_of(user_id, error, user_email))

    def add_partial(self, buffer: RecordBuffer) -> None:
        """Append the records of a user who was not read completely, behind all complete users."""
        self._partial.append(buffer)

    def finish(self, totals: RunTotals) -> str:
        """Give the file its name and return it. Raises OutputError."""
        if self._is_unchanged(totals):
            self.abandon()
            return self._name
        with self._translated():
            self._open()
            end = self._end
            for buffer in self._partial:
                self._copy(buffer)
            self._write(self._format.end)
            if not self._end:
                # Without a record, a compressed file is not empty.
                self._write_bytes(self._compress(b""))
            sync(self._handle)
            for failed in self._failed:
                self._journal.write(failed)
            with self._scratch_file():
                report = totals.report(self._name, self._clock.now(), self._redactor)
                finished = self._format.finish(self.part, self._scratch, report)
                _sync_path(finished)
            last = {
                "end": end,
                "size": finished.stat().st_size,
                "crc32": checksum_of(finished),
                "requested": totals.requested,
                "missing": totals.missing,
                "requests": totals.requests,
            }
            is_replaced = False
            try:
                with signals.deferred():
                    self._replace(finished, last)
                    is_replaced = True
            except InterruptedRun:
                # If the file has its name, the signal has come too late to stop the run.
                if not is_replaced:
                    raise
        return self._name

    def abandon(self) -> None:
        """Leave the complete users where the same run with ``resume`` finds them."""
        self._close_part()
        self._journal.close()

    def _replace(self, finished: Path, last: Entry) -> None:
        """Enter the end of the run in the journal, and give the *finished* file its name."""
        self._journal.end(last)
        self._journal.sync()
        # Windows does not rename an open file.
        self._close_part()
        if (mode := mode_of_replaced(self.path)) is not None:
            finished.chmod(mode)
        finished.replace(self.path)
        _sync_path(self.path.absolute().parent)
        self.part.unlink(missing_ok=True)
        self._scratch.unlink(missing_ok=True)
        self.abandon()

    def _is_unchanged(self, totals: RunTotals) -> bool:
        """Return whether all that an earlier run has left is still true."""
        return (
            self._state is not None
            and self._state.last.get("missing") == totals.missing
            and self._handle < 0
            and not self.part.is_file()
            and not self._failed
        )

    def _close_part(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _open(self) -> None:
        """Open the growing file, behind what is kept of an earlier one."""
        if self._handle >= 0:
            return
        if self._state is None:
            # In this order, no journal ever describes another file's records.
            self._journal.cut()
            self._handle = self._open_part()
            os.ftruncate(self._handle, 0)
            self._checksum = 0
            self._write(self._format.begin)
            self._journal.begin({**self._inputs, "end": self._end, "crc32": self._checksum})
            return
        if not self.part.is_file():
            self._state = self._reopen(self._state)
        self._handle = self._open_part()
        self._end = self._state.end
        os.ftruncate(self._handle, self._end)
        self._has_rows = self._state.records > 0
        self._journal.cut(self._state.length)

    def _open_part(self) -> int:
        """Open the growing file. Others may read it and its journal only if they may read FILE."""
        handle = open_to_append(self.part)
        for path in (self.part, self._journal.path):
            self._keep_mode(path)
        return handle

    def _keep_mode(self, path: Path) -> None:
        if (mode := mode_of_replaced(self.path)) is not None:
            path.chmod(mode | stat.S_IRUSR | stat.S_IWUSR)

    def _reopen(self, state: JournalState) -> JournalState:
        """Make the growing file of the finished one, and return what the journal says then."""
        with self._scratch_file():
            if self._format.is_streamed:
                shutil.copyfile(self.path, self._scratch)
                self._scratch.replace(self.part)
                return state
            entries = [entry for entry, _ in read_entries(state.path) if "user_id" in entry]
            users = [entry for entry in entries if "enrollments" in entry]
            rows = self._format.read_users(self.path, 0, users)
            end = 0
            with self._scratch.open("wb") as file:
                for entry, (_, pieces) in zip(users, rows, strict=True):
                    entry["crc32"] = 0
                    for piece in pieces:
                        entry["crc32"] = zlib.crc32(piece, entry["crc32"])
                        end += file.write(piece)
                    entry["end"] = end
            # The finished file counts until the growing one has its name.
            self._journal.rewrite(state, entries, end)
            self._scratch.replace(self.part)
        return read_state(self._journal.path) or state

    def _resumable_state(self) -> JournalState | None:
        """Return what an earlier run has left; ``None`` if there is nothing to resume.

        Raises UsageError if it had other inputs, or if its file was changed since.
        """
        state = read_state(self._journal.path)
        if state is None:
            return None
        try:
            self._check_inputs(state)
            if self.part.is_file():
                # After a loss of power the journal may know users whose rows were not kept.
                length = intact_length(self.part, state)
                return read_state(state.path, length) if length else None
            if not self.path.is_file() or not self._format.can_grow_again:
                return None
            if not is_intact(self.path, state):
                problem = Problem(
                    "output_file",
                    f'"{self.path}", which, or whose journal, was changed after its run',
                    "the file as the earlier run left it",
                )
                raise UsageError.of(
                    [problem], hint="Nothing was sent. Without `resume` the run writes a new file."
                )
        except UsageError:
            self.abandon()
            raise
        return state

    def _check_inputs(self, state: JournalState) -> None:
        changed = [
            f"{name} was {to_json(state.inputs.get(name))} and is {to_json(value)}"
            for name, value in self._inputs.items()
            if name != "moments" and state.inputs.get(name) != value
        ]
        if changed:
            problem = Problem(
                "resume",
                f"set, but the inputs differ from the earlier run: {'; '.join(changed)}",
                "the same inputs",
            )
            raise UsageError.of(
                [problem], hint="Nothing was sent. Without `resume` the run writes a new file."
            )

    @contextlib.contextmanager
    def _scratch_file(self) -> Iterator[None]:
        """Create the scratch file if it is needed, and remove it if it could not be completed."""
        try:
            if not self._format.is_streamed or not self.part.is_file():
                os.close(open_to_append(self._scratch))
                self._keep_mode(self._scratch)
            yield
        except BaseException:
            self._scratch.unlink(missing_ok=True)
            raise

    def _copy(self, buffer: RecordBuffer) -> None:
        try:
            if buffer.count:
                self._write(self._format.between if self._has_rows else "")
                for piece in buffer.pieces():
                    self._write_bytes(self._compress(piece))
                self._has_rows = True
        finally:
            buffer.close()

    def _write(self, text: str) -> None:
        if text:
            self._write_bytes(self._compress(text.encode()))

    def _write_bytes(self, data: bytes) -> None:
        write_all(self._handle, data)
        self._end += len(data)
        self._checksum = zlib.crc32(data, self._checksum)

    def _sync_now_and_then(self) -> None:
        """Write the users so far to the disk, at most once a second: each takes milliseconds."""
        now = self._clock.monotonic()
        if now - self._synced_at >= _SYNC_SECONDS:
            self._synced_at = now
            sync(self._handle)
            self._journal.sync()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn what the file system refuses into an OutputError."""
        try:
            yield
        except BlockingIOError as error:
            raise OutputError(
                f"The output file {self._name} is in use by another run.",
                hint="Wait until it ends, or use another file.",
            ) from error
        except OutputError:
            self.abandon()
            raise
        except OSError as error:
            self.abandon()
            hint = advice_for(error)
            if error.errno != errno.EPERM and self.part.is_file():
                hint = "Complete users are kept. Fix this and run again with `resume`."
            raise OutputError(
                f"The output file {self._name} cannot be written: {error.strerror or error}.",
                hint=hint,
            ) from error


def intact_length(path: Path, state: JournalState) -> int:
    """Return up to which place in its journal the rows in *path* are those that were written.

    Zero if not even the beginning of the file is. Raises OSError.
    """
    length = start = 0
    with path.open("rb") as file:
        for entry, place in read_entries(state.path):
            if place > state.length:
                break
            # Neither a user who failed nor the end of a run has rows.
            if "alm_enrollments" in entry or "enrollments" in entry:
                if checksum_of_pieces(read_pieces(file, entry["end"] - start)) != entry["crc32"]:
                    break
                start = entry["end"]
            length = place
    return length


def is_intact(path: Path, state: JournalState) -> bool:
    """Return whether the finished file *path*, and its journal, are as its run left them.

    Raises OSError.
    """
    last = state.last
    if path.stat().st_size != last.get("size") or checksum_of(path) != last["crc32"]:
        return False
    users_checksum = checksum_of_users(state.path, state.last_begin)
    return bool(last.get("users_crc32", users_checksum) == users_checksum)


def checksum_of(path: Path) -> int:
    """Return the checksum of the file *path*. Raises OSError."""
    with path.open("rb") as file:
        return checksum_of_pieces(read_pieces(file, path.stat().st_size))


def _sync_path(path: Path) -> None:
    """Have the disk keep the file, or the folder's names, through a loss of power."""
    try:
        # Windows syncs only what is open for writing, and opens no folder.
        handle = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    except PermissionError:
        return
    try:
        sync(handle)
    finally:
        os.close(handle)


def compressor_for(path: Path) -> Callable[[bytes], bytes]:
    """Return what compresses a piece of the file *path*, by its suffix.

    Each piece is complete in itself, so that a file can be cut between any two of them.
    """
    compression = compression_of(path)
    if compression == ".gz":
        # Without a time in it, the same records make the same file.
        return lambda piece: gzip.compress(piece, compresslevel=6, mtime=0)
    if compression == ".zst":
        compress: Callable[[bytes], bytes] = zstd().compress
        return compress
    return bytes


def compression_of(path: Path) -> str:
    """Return the suffix by which the file *path* is compressed; empty if it is not."""
    return path.suffix if path.suffix in (".gz", ".zst") else ""
