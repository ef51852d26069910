"""One user's records on their way to a file: written as text page by page, in memory while they are few."""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from connector.clock import parse_moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path
    from typing import BinaryIO

    from connector.alm.records import Enrollment
    from connector.formats.interface import Format

#: Ids that a document holds beside an output file (CONTRACT.md, Output).
MAX_LISTED_IDS = 2_000
#: Enrollments that a summary shows.
MAX_SUMMARY_RECORDS = 50
_KIND = attrgetter("lo_type", "state")
_IN_MEMORY = 512 * 1024
# Of 2023-06-29T12:34:33.000Z.
_USUAL_LENGTHS = {24}
_COPIED_AT_ONCE = 1024 * 1024


class RecordBuffer:
    """The rows of one reading of one user, and what a document tells of them; what a summary tells, where there is one (*has_tally*)."""

    def __init__(
        self,
        written_as: Format,
        clean: Callable[[str], str],
        folder: Path | None,
        *,
        has_tally: bool = True,
    ) -> None:
        self._format = written_as
        self._has_tally = has_tally
        self._clean = clean
        self._folder = folder
        self._pieces: list[bytes] = []
        self._size = 0
        self._file: BinaryIO | None = None
        self._refusal: OSError | None = None
        self._latest: datetime | None = None
        self.count = 0
        self.latest_date_enrolled: str | None = None
        #: The first of them; all where there are no more than MAX_LISTED_IDS.
        self.enrollment_ids: list[str] = []
        self._grade_ids: list[str] = []
        self.kinds: Counter[tuple[str | None, str | None]] = Counter()
        self.first: list[dict[str, Any]] = []

    def add(self, enrollments: Sequence[Enrollment]) -> None:
        """Append *enrollments*; that there was no room for them is told by ``pieces``."""
        if not enrollments:
            return
        between = self._format.between if self.count else ""
        # Half a surrogate pair, which JSON can say and UTF-8 cannot, is written as JSON would escape it.
        self._write(
            self._clean(between + self._format.rows(enrollments)).encode(errors="backslashreplace")
        )
        self.count += len(enrollments)
        if self._has_tally:
            self.first += [
                one.as_dict() for one in enrollments[: MAX_SUMMARY_RECORDS - len(self.first)]
            ]
            self.kinds.update(map(_KIND, enrollments))
        self._note_latest([one.date_enrolled for one in enrollments if one.date_enrolled])
        if len(self.enrollment_ids) <= MAX_LISTED_IDS:
            self.enrollment_ids += [one.id for one in enrollments]
        if len(self._grade_ids) <= MAX_LISTED_IDS:
            self._grade_ids += [grade.id for one in enrollments for grade in one.resource_grades]
            if len(self._grade_ids) > MAX_LISTED_IDS:
                self._grade_ids = list(self.resource_grade_ids)

    @property
    def resource_grade_ids(self) -> dict[str, None]:
        """Each grade's id once, in order; all of them where there are no more than MAX_LISTED_IDS."""
        return dict.fromkeys(self._grade_ids)

    def _note_latest(self, dates: list[str]) -> None:
        # Written alike, dates come in the order of their text: then the last of them says it for all.
        are_alike = (
            set(map(len, dates)) == _USUAL_LENGTHS
            and "".join([date[-1] for date in dates]).strip("Z") == ""
        )
        last = [max(dates)] if are_alike else []
        for date, moment in _moments(last) or _moments(dates):
            if self._latest is None or moment > self._latest:
                self._latest, self.latest_date_enrolled = moment, date

    def _write(self, piece: bytes) -> None:
        # What the disk refuses is no failure of the user's: who takes the records is told.
        try:
            if self._refusal is None:
                self._keep(piece)
        except OSError as error:
            self._refusal = error

    def _keep(self, piece: bytes) -> None:
        if self._file is None and self._size + len(piece) > _IN_MEMORY:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed by close
            self._file.writelines(self._pieces)
            self._pieces = []
        if self._file is None:
            self._pieces.append(piece)
            self._size += len(piece)
        else:
            self._file.write(piece)

    def pieces(self) -> Iterator[bytes]:
        """Yield all that was written, some of it at a time. Raises OSError where there was no room for it."""
        if self._refusal:
            raise self._refusal
        if self._file is None:
            yield b"".join(self._pieces)
            return
        self._file.seek(0)
        while piece := self._file.read(_COPIED_AT_ONCE):
            yield piece

    def close(self) -> None:
        """Give its memory, or its file, back."""
        self._pieces = []
        if self._file is not None:
            # What its buffer still has would be refused as well.
            with contextlib.suppress(OSError):
                self._file.close()


def _moments(dates: Sequence[str]) -> list[tuple[str, datetime]]:
    parsed = [(date, parse_moment(date)) for date in dates]
    return [(date, moment) for date, moment in parsed if moment]
