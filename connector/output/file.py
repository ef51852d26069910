"""The output file: users' records as they finish, none of them torn, and under its own name only when the run has ended."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import tempfile
from typing import TYPE_CHECKING, Any

from connector.errors import OutputError, Problem, UsageError
from connector.formats import FORMATS
from connector.output.buffer import MAX_LISTED_IDS, RecordBuffer
from connector.output.compression import compressor_for
from connector.output.journal import (
    Journal,
    JournalState,
    journal_of,
    open_to_append,
    read_entries,
    read_known,
    write_all,
)
from connector.text import to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from connector.alm.completeness import Completeness
    from connector.output.journal import Entry

_COPIED_AT_ONCE = 1024 * 1024
_IDS = ("enrollment_ids", "resource_grade_ids")
_log = logging.getLogger(__name__)


class OutputFile:
    """Grows as ``FILE.part`` beside ``FILE.users``, its journal, and becomes ``FILE`` at the end.

    A user's records are appended first and told in the journal then: after a kill at
    any moment, what the journal does not tell is cut off, and asked for again.
    Nothing of an earlier file is touched before a first user is whole. Who has locked
    the journal has the file.
    """

    def __init__(
        self,
        path: Path,
        format_name: str,
        made_with: Mapping[str, Any],
        clean: Callable[[str], str],
    ) -> None:
        self.path = path
        self.part = path.parent / f"{path.name}.part"
        self._new = path.parent / f"{path.name}.part.new"
        self._format = FORMATS[format_name]()
        self._journal = Journal(journal_of(path), clean)
        self._is_parquet = format_name == "parquet"
        self._made_with = {"format": format_name, **made_with}
        self._clean = clean
        self._compress = compressor_for(path)
        self._known: JournalState | None = None
        self._handle = -1
        self._end = 0
        self._has_rows = False
        self._ids_told = dict.fromkeys(_IDS, 0)
        self._failed: list[Entry] = []
        self._partial: list[RecordBuffer] = []
        #: Whether a summary is to tell of the records.
        self.has_tally = True

    def prepare(self, *, resume: bool) -> Iterator[Entry]:
        """Find out whether the file can be written and, to *resume*, yield what its journal tells of each user that is whole.

        Raises UsageError where the earlier run was told other things, OutputError.
        """
        with self._told():
            if self.path.exists() and not self.path.is_file():
                raise OSError(errno.EINVAL, "It is no regular file")
            tempfile.TemporaryFile(dir=self.path.parent).close()
            if self._journal.path.is_file():
                self._journal.lock()
            known = read_known(self._journal.path) if resume else None
        try:
            if known is None or not self._has_records_of(known):
                return
            self._check_same(known)
        except UsageError:
            self.abandon()
            raise
        self._known = known
        for entry, _ in read_entries(self._journal.path):
            if "enrollments" in entry:
                for name in _IDS:
                    self._ids_told[name] += (
                        len(entry[name]) if name in entry else MAX_LISTED_IDS + 1
                    )
                yield entry

    @property
    def kept_in(self) -> Path:
        """Where users that are whole are, while it has not been given its name."""
        return self.part if self.part.is_file() else self.path

    def has(self, user_id: str) -> bool:
        """Return whether *user_id* is whole in it since an earlier run."""
        return self._known is not None and user_id in self._known.finished

    def new_chunk(self) -> RecordBuffer:
        """Return what a user's records are collected in."""
        return RecordBuffer(self._format, self._clean, self.path.parent, has_tally=self.has_tally)

    def append(self, user_id: str, chunk: RecordBuffer, completeness: Completeness) -> None:
        """Append a user's records, all of them. Raises OutputError."""
        with self._told():
            self._open()
            self._copy(chunk)
            ids = {
                "enrollment_ids": chunk.enrollment_ids,
                "resource_grade_ids": list(chunk.resource_grade_ids),
            }
            for name in _IDS:
                self._ids_told[name] += len(ids[name])
            self._journal.write(
                {
                    "user_id": user_id,
                    "enrollments": chunk.count,
                    "end": self._end,
                    "latest_date_enrolled": chunk.latest_date_enrolled,
                    "status": completeness.status,
                    "reasons": completeness.reasons,
                    "pages": completeness.pages,
                    # As many as a document can hold; beyond that they are in the records alone.
                    **{name: ids[name] for name in _IDS if self._ids_told[name] <= MAX_LISTED_IDS},
                }
            )

    def join(self, path: Path, known: JournalState, entries: Iterator[Entry]) -> None:
        """Append all whole users of another file of the same format, of which *known* and *entries* tell. Raises OutputError."""
        with self._told():
            self._open()
            if known.records:
                self._write(self._format.between if self._has_rows else "")
                for piece in self._records_of(path, known):
                    self._write_bytes(piece)
                self._has_rows = True
            moved = self._end - known.end
            for entry in entries:
                self._journal.write({**entry, "end": entry["end"] + moved})

    def _records_of(self, path: Path, known: JournalState) -> Iterator[bytes]:
        if self._is_parquet:
            from connector.formats.parquet import read_lines  # noqa: PLC0415 - pyarrow, which only this format wants

            yield from read_lines(path)
            return
        with path.open("rb") as file:
            file.seek(known.made_with["end"])
            left = known.end - known.made_with["end"]
            while left > 0 and (piece := file.read(min(left, _COPIED_AT_ONCE))):
                left -= len(piece)
                yield piece

    def fail(self, user_id: str, error: Mapping[str, Any], chunk: RecordBuffer | None) -> None:
        """Note a user who failed; his *chunk*, where an incomplete answer is wanted, comes behind all whole users at the end."""
        self._failed.append({"user_id": user_id, "error": error})
        if chunk:
            self._partial.append(chunk)

    def finish(self, requested: int, requests: int) -> str:
        """Give the file its name and return it. Raises OutputError."""
        if (
            self._known
            and self._known.size is not None
            and self._handle < 0
            and not self._failed
            and not self.part.is_file()
        ):
            # Nothing has come to the whole file that is there.
            self.abandon()
            return str(self.path)
        with self._told():
            self._open()
            end = self._end
            for chunk in self._partial:
                self._copy(chunk)
            self._write(self._format.end)
            os.fsync(self._handle)
            for failed in self._failed:
                self._journal.write(failed)
            whole = self._as_parquet() if self._is_parquet else self.part
            self._journal.write(
                {
                    "end": end,
                    "size": whole.stat().st_size,
                    "requested": requested,
                    "requests": requests,
                }
            )
            # Windows gives no file a new name that is open.
            self._close_part()
            whole.replace(self.path)
            self.part.unlink(missing_ok=True)
            self._new.unlink(missing_ok=True)
            self.abandon()
        return str(self.path)

    def abandon(self) -> None:
        """Leave what is whole where the same run with ``resume`` finds it."""
        self._close_part()
        self._journal.close()

    def _close_part(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _open(self) -> None:
        """Open the growing file, behind what is kept of an earlier one."""
        if self._handle >= 0:
            return
        if self._known is None:
            # In this order no journal ever speaks of another file's records.
            self._journal.clear()
            self._handle = open_to_append(self.part)
            os.ftruncate(self._handle, 0)
            self._write(self._format.begin)
            self._journal.begin({**self._made_with, "end": self._end})
            return
        if not self.part.is_file():
            self._grow_from(self._known)
        self._handle = open_to_append(self.part)
        self._end = self._known.end
        os.ftruncate(self._handle, self._end)
        self._has_rows = self._known.records > 0
        self._journal.resume(self._known)

    def _has_records_of(self, known: JournalState) -> bool:
        if self.part.is_file():
            # Beyond the end there may be more, which was not told yet; what was told is there.
            self._check_unchanged(self.part, is_as_left=self.part.stat().st_size >= known.end)
            return True
        if known.size is None or not self.path.is_file():
            return False
        self._check_unchanged(self.path, is_as_left=self.path.stat().st_size == known.size)
        return True

    def _check_unchanged(self, path: Path, *, is_as_left: bool) -> None:
        if not is_as_left:
            raise UsageError.of(
                [
                    Problem(
                        "output_file",
                        f'"{path}", which was changed since its journal was written',
                        "the file as the earlier run left it",
                    )
                ],
                hint="Nothing was sent. Without resume it is written anew.",
            )

    def _check_same(self, known: JournalState) -> None:
        changed = [
            name for name, value in self._made_with.items() if known.made_with.get(name) != value
        ]
        if changed:
            told = ", ".join(
                f"{name} was {to_json(known.made_with.get(name))} and is {to_json(self._made_with[name])}"
                for name in changed
            )
            raise UsageError.of(
                [
                    Problem(
                        "resume",
                        f"asked for other inputs than those of the earlier run ({told})",
                        "the same inputs",
                    )
                ],
                hint="Nothing was sent. Without resume the file is written anew.",
            )

    def _grow_from(self, known: JournalState) -> None:
        """Make the growing file of the whole one."""
        with self._scratch() as new:
            if not self._is_parquet:
                shutil.copyfile(self.path, new)
                new.replace(self.part)
                return
            from connector.formats.parquet import read_lines  # noqa: PLC0415 - pyarrow, which only this format wants

            with new.open("wb") as file:
                file.writelines(read_lines(self.path))
            known.end = new.stat().st_size
            self._journal.resume(known)
            # The whole file is still what the journal tells of, until the growing one is there.
            self._journal.write(
                {
                    "end": known.end,
                    "size": known.size,
                    "requested": known.requested,
                    "requests": known.requests,
                }
            )
            known.length = self._journal.path.stat().st_size
            new.replace(self.part)

    def _as_parquet(self) -> Path:
        from connector.formats.parquet import write_parquet  # noqa: PLC0415

        with self._scratch() as new, self.part.open("rb") as lines:
            unread = write_parquet(lines, new)
        if unread:
            _log.warning("%d dates are none, and are null in %s", unread, self.path)
        return new

    @contextlib.contextmanager
    def _scratch(self) -> Iterator[Path]:
        """Give a name to what is being made of another file; half of it would only take room."""
        try:
            yield self._new
        except BaseException:
            self._new.unlink(missing_ok=True)
            raise

    def _copy(self, chunk: RecordBuffer) -> None:
        try:
            if chunk.count:
                self._write(self._format.between if self._has_rows else "")
                for piece in chunk.pieces():
                    self._write_bytes(self._compress(piece))
                self._has_rows = True
        finally:
            chunk.close()

    def _write(self, text: str) -> None:
        if text:
            self._write_bytes(self._compress(text.encode()))

    def _write_bytes(self, data: bytes) -> None:
        write_all(self._handle, data)
        self._end += len(data)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Tell what the file system refuses in the words of an OutputError."""
        try:
            yield
        except BlockingIOError as error:
            raise OutputError(
                f"The output file {self.path} is being written by another run.",
                hint="Wait for it, or name another file.",
            ) from error
        except OSError as error:
            self.abandon()
            hint = (
                "What is whole is kept: mend it, and run again with resume."
                if self.part.is_file()
                else "Mend it and run again."
            )
            raise OutputError(
                f"The output file {self.path} cannot be written: {error.strerror or error}.",
                hint=hint,
            ) from error
