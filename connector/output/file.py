"""The output file: grows user by user, none of them torn, and gets its name when the run ends."""

from __future__ import annotations

import contextlib
import errno
import gzip
import importlib
import os
import sys
import tempfile
from typing import TYPE_CHECKING, Any

from connector.errors import OutputError, Problem, UsageError
from connector.formats import make_format
from connector.output.buffer import RecordBuffer
from connector.output.journal import (
    Journal,
    journal_of,
    open_to_append,
    read_entries,
    read_state,
    write_all,
)
from connector.output.results import MAX_LISTED_IDS
from connector.text import to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from connector.alm.completeness import Completeness
    from connector.output.journal import Entry, JournalState
    from connector.redact import Redactor

_IDS = ("enrollment_ids", "resource_grade_ids")


class OutputFile:
    """Grows as ``FILE.part`` next to its journal ``FILE.users``, and becomes ``FILE`` at the end.

    A user's records are appended first and entered in the journal then: after a kill at any
    moment, what the journal does not mention is cut off, and read again. An earlier file is not
    touched before the first user is complete. The run that has locked the journal has the file.
    """

    def __init__(
        self, path: Path, format_name: str, inputs: Mapping[str, Any], redactor: Redactor
    ) -> None:
        self.path = path
        self.part = path.parent / f"{path.name}.part"
        self._scratch = path.parent / f"{path.name}.part.new"
        self._format = make_format(format_name)
        self._journal = Journal(journal_of(path), redactor)
        self._inputs = {"format": format_name, **inputs}
        self._redactor = redactor
        self._compress = compressor_for(path)
        self._state: JournalState | None = None
        self._handle = -1
        self._end = 0
        self._has_rows = False
        self._listed_ids = dict.fromkeys(_IDS, 0)
        self._failed: list[Entry] = []
        self._partial: list[RecordBuffer] = []

    def prepare(self, *, resume: bool) -> Iterator[Entry]:
        """Check that the file can be written and yield the journal's users, if to *resume*.

        Raises UsageError if the earlier run had other inputs, and OutputError.
        """
        with self._translated():
            if self.path.exists() and not self.path.is_file():
                raise OSError(errno.EINVAL, "It is no regular file")
            tempfile.TemporaryFile(dir=self.path.parent).close()
            if self._journal.path.is_file():
                self._journal.lock()
            state = read_state(self._journal.path) if resume else None
        try:
            if state is None or not self._has_records_of(state):
                return
            self._check_inputs(state)
        except UsageError:
            self.abandon()
            raise
        self._state = state
        for entry, _ in read_entries(self._journal.path):
            if "enrollments" in entry:
                for name in _IDS:
                    ids = entry.get(name)
                    self._listed_ids[name] += MAX_LISTED_IDS + 1 if ids is None else len(ids)
                yield entry

    @property
    def location(self) -> Path:
        """Where the complete users are while the run goes on."""
        return self.part if self.part.is_file() else self.path

    def has(self, user_id: str) -> bool:
        """Return whether an earlier run has read *user_id* completely."""
        return self._state is not None and user_id in self._state.finished

    def new_buffer(self, *, has_tally: bool) -> RecordBuffer:
        """Return a buffer for one user's records."""
        return RecordBuffer(self._format, self._redactor, self.path.parent, has_tally=has_tally)

    def append(self, user_id: str, buffer: RecordBuffer, completeness: Completeness) -> None:
        """Append all records of a user. Raises OutputError."""
        delivered = buffer.delivered
        listed = {
            "enrollment_ids": delivered.enrollment_ids or (),
            "resource_grade_ids": delivered.resource_grade_ids or (),
        }
        for name, ids in listed.items():
            self._listed_ids[name] += len(ids)
        with self._translated():
            self._open()
            self._copy(buffer)
            entry = {
                "user_id": user_id,
                "enrollments": delivered.count,
                "end": self._end,
                "latest_date_enrolled": delivered.latest_date_enrolled,
                "status": completeness.status,
                "reasons": completeness.reasons,
                "pages": completeness.pages,
            }
            # No more ids than a document lists; the records have all of them.
            entry |= {n: ids for n, ids in listed.items() if self._listed_ids[n] <= MAX_LISTED_IDS}
            self._journal.write(entry)

    def join(self, path: Path, state: JournalState, entries: Iterator[Entry]) -> None:
        """Append the complete users of another file of the same format. Raises OutputError.

        *state* and *entries* are what that file's journal says.
        """
        with self._translated():
            self._open()
            if state.records:
                self._write(self._format.between if self._has_rows else "")
                for piece in self._format.read_rows(path, state.complete_rows):
                    self._write_bytes(piece)
                self._has_rows = True
            moved = self._end - state.end
            for entry in entries:
                self._journal.write({**entry, "end": entry["end"] + moved})

    def fail(self, user_id: str, error: Mapping[str, Any], buffer: RecordBuffer | None) -> None:
        """Note a user who failed; the records in *buffer* come behind all complete users."""
        self._failed.append({"user_id": user_id, "error": error})
        if buffer:
            self._partial.append(buffer)

    def finish(self, requested: int, requests: int) -> str:
        """Give the file its name and return it. Raises OutputError."""
        if self._is_unchanged():
            self.abandon()
            return str(self.path)
        with self._translated():
            self._open()
            end = self._end
            for buffer in self._partial:
                self._copy(buffer)
            self._write(self._format.end)
            os.fsync(self._handle)
            for failed in self._failed:
                self._journal.write(failed)
            with self._scratch_file():
                finished = self._format.finish(self.part, self._scratch, str(self.path))
            size = finished.stat().st_size
            self._journal.write(
                {"end": end, "size": size, "requested": requested, "requests": requests}
            )
            # Windows does not rename an open file.
            self._close_part()
            finished.replace(self.path)
            self.part.unlink(missing_ok=True)
            self._scratch.unlink(missing_ok=True)
            self.abandon()
        return str(self.path)

    def abandon(self) -> None:
        """Leave the complete users where the same run with ``resume`` finds them."""
        self._close_part()
        self._journal.close()

    def _is_unchanged(self) -> bool:
        """Return whether the finished file of an earlier run has received nothing new."""
        had_ended = self._state is not None and self._state.size is not None
        is_unopened = self._handle < 0 and not self.part.is_file()
        return had_ended and is_unopened and not self._failed

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
            self._handle = open_to_append(self.part)
            os.ftruncate(self._handle, 0)
            self._write(self._format.begin)
            self._journal.begin({**self._inputs, "end": self._end})
            return
        if not self.part.is_file():
            self._reopen(self._state)
        self._handle = open_to_append(self.part)
        self._end = self._state.end
        os.ftruncate(self._handle, self._end)
        self._has_rows = self._state.records > 0
        self._journal.cut(self._state.length)

    def _reopen(self, state: JournalState) -> None:
        """Make the growing file of the finished one."""
        with self._scratch_file():
            end = self._format.reopen(self.path, self._scratch, state.complete_rows)
            if end != state.end:
                # The finished file counts until the growing one has its name.
                self._journal.cut(state.length)
                entry = {"end": end, "size": state.size}
                entry |= {"requested": state.requested, "requests": state.requests}
                self._journal.write(entry)
                state.end, state.length = end, self._journal.path.stat().st_size
            self._scratch.replace(self.part)

    def _has_records_of(self, state: JournalState) -> bool:
        if self.part.is_file():
            # Behind the journal's end there may be a user that was being written.
            self._check_unchanged(self.part, is_as_left=self.part.stat().st_size >= state.end)
            return True
        if state.size is None or not self.path.is_file():
            return False
        self._check_unchanged(self.path, is_as_left=self.path.stat().st_size == state.size)
        return True

    def _check_unchanged(self, path: Path, *, is_as_left: bool) -> None:
        if not is_as_left:
            problem = Problem(
                "output_file",
                f'"{path}", which was changed since its journal was written',
                "the file as the earlier run left it",
            )
            raise UsageError.of(
                [problem], hint="Nothing was sent. Without resume it is written anew."
            )

    def _check_inputs(self, state: JournalState) -> None:
        changed = [
            f"{name} was {to_json(state.inputs.get(name))} and is {to_json(value)}"
            for name, value in self._inputs.items()
            if state.inputs.get(name) != value
        ]
        if changed:
            problem = Problem(
                "resume",
                f"asked for other inputs than those of the earlier run ({', '.join(changed)})",
                "the same inputs",
            )
            raise UsageError.of(
                [problem], hint="Nothing was sent. Without resume the file is written anew."
            )

    @contextlib.contextmanager
    def _scratch_file(self) -> Iterator[None]:
        """Remove the scratch file if it could not be completed."""
        try:
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

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn what the file system refuses into an OutputError."""
        try:
            yield
        except BlockingIOError as error:
            raise OutputError(
                f"The output file {self.path} is being written by another run.",
                hint="Wait for it, or name another file.",
            ) from error
        except OSError as error:
            self.abandon()
            hint = "Mend it and run again."
            if self.part.is_file():
                hint = "What is whole is kept: mend it, and run again with resume."
            raise OutputError(
                f"The output file {self.path} cannot be written: {error.strerror or error}.",
                hint=hint,
            ) from error


def compressor_for(path: Path) -> Callable[[bytes], bytes]:
    """Return what compresses a piece of the file *path*, by its suffix.

    Each piece is complete in itself, so that a file can be cut between any two of them.
    """
    compression = compression_of(path)
    if compression == ".gz":
        # Without a time in it, the same records make the same file.
        return lambda piece: gzip.compress(piece, compresslevel=6, mtime=0)
    if compression == ".zst":
        name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
        compress: Callable[[bytes], bytes] = importlib.import_module(name).compress
        return compress
    return bytes


def compression_of(path: Path) -> str:
    """Return the suffix by which the file *path* is compressed; empty if it is not."""
    return path.suffix if path.suffix in (".gz", ".zst") else ""
