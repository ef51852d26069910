"""One user's records on their way to a file: text, page by page, in memory while it is small."""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from connector.formats.interface import COPY_BYTES
from connector.output.results import MAX_LISTED_IDS, Delivered
from connector.text import MAX_SUMMARY_RECORDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from connector.alm.records import Enrollment
    from connector.formats.interface import Format
    from connector.redact import Redactor

_type_and_state = attrgetter("lo_type", "state")
_MAX_IN_MEMORY = 512 * 1024


class RecordBuffer:
    """The rows of one reading of one user, and what a document and a summary say of them."""

    def __init__(
        self, written_as: Format, redactor: Redactor, folder: Path | None, *, has_tally: bool
    ) -> None:
        self._format = written_as
        self._redactor = redactor
        self._folder = folder
        self._has_tally = has_tally
        self._pieces: list[bytes] = []
        self._size = 0
        self._file: BinaryIO | None = None
        self._refusal: OSError | None = None
        self._enrollment_ids: list[str] = []
        self._grade_ids: list[str] = []
        self._counts: Counter[tuple[str | None, str | None]] = Counter()
        self._first: list[dict[str, Any]] = []
        self.count = 0

    def add(self, enrollments: Sequence[Enrollment]) -> None:
        """Append *enrollments*; if the disk is full, ``pieces`` says so."""
        if not enrollments:
            return
        rows = self._format.rows(enrollments)
        if not self._redactor.is_clean(rows):
            rows = self._format.rows(self._redactor.clean_value(list(enrollments)))
        between = self._format.between if self.count else ""
        # JSON can express half a surrogate pair, UTF-8 cannot: it is escaped as in JSON.
        self._write((between + rows).encode(errors="backslashreplace"))
        self.count += len(enrollments)
        self._add_to_summary(enrollments)

    @property
    def delivered(self) -> Delivered:
        """What whoever receives ``pieces`` has then."""
        return Delivered(
            self.count,
            self._enrollment_ids,
            self._grade_ids,
            self._counts,
            self._first,
        )

    def pieces(self) -> Iterator[bytes]:
        """Yield all rows, some at a time. Raises OSError if there was no room for them."""
        if self._refusal:
            raise self._refusal
        if self._file is None:
            yield b"".join(self._pieces)
            return
        self._file.seek(0)
        while piece := self._file.read(COPY_BYTES):
            yield piece

    def close(self) -> None:
        """Release the memory, or the temporary file."""
        self._pieces = []
        if self._file is not None:
            # On a full disk, closing fails to write what is buffered.
            with contextlib.suppress(OSError):
                self._file.close()

    def _add_to_summary(self, enrollments: Sequence[Enrollment]) -> None:
        self._counts.update(map(_type_and_state, enrollments))
        if self._has_tally:
            shown = enrollments[: MAX_SUMMARY_RECORDS - len(self._first)]
            self._first += [enrollment.as_dict() for enrollment in shown]
        if len(self._enrollment_ids) <= MAX_LISTED_IDS:
            self._enrollment_ids += [enrollment.id for enrollment in enrollments]
        if len(self._grade_ids) <= MAX_LISTED_IDS:
            self._grade_ids += [
                grade.id for enrollment in enrollments for grade in enrollment.resource_grades
            ]

    def _write(self, piece: bytes) -> None:
        # A full disk is not this user's failure: `pieces` raises it to the writer.
        try:
            if self._refusal is None:
                self._keep(piece)
        except OSError as error:
            self._refusal = error

    def _keep(self, piece: bytes) -> None:
        if self._file is None and self._size + len(piece) > _MAX_IN_MEMORY:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - see close
            self._file.writelines(self._pieces)
            self._pieces = []
        if self._file is None:
            self._pieces.append(piece)
            self._size += len(piece)
        else:
            self._file.write(piece)
