"""What a format is: enrollments to text, a few at a time, so that a file can grow user by user."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from connector.alm.records import FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from connector.alm.records import Enrollment

#: An enrollment's fields that are not lists, in the order of the output document.
SCALARS = FIELDS[: FIELDS.index("resource_grades")]
#: Every column of formats with columns: those, then the grades' ids, and nested values as JSON.
COLUMNS = (*SCALARS, "resource_grade_ids", "resource_grades", "included")
COPY_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class RowRange:
    """The rows of complete users: *count* of them, between two offsets of the growing file."""

    start: int
    end: int
    count: int


class Format(ABC):
    """A growing file is ``begin``, rows with ``between`` between any two of them, and ``end``.

    The finished file is the growing one itself, unless a format makes another one of it.
    """

    begin: ClassVar[str] = ""
    between: ClassVar[str] = ""
    end: ClassVar[str] = ""
    #: Whether rows can leave for standard output one user at a time.
    is_streamed: ClassVar[bool] = True

    @abstractmethod
    def rows(self, enrollments: Sequence[Enrollment]) -> str:
        """Return *enrollments* as text, ``between`` between them."""

    def finish(self, growing: Path, scratch: Path, name: str) -> Path:  # noqa: ARG002 - see Parquet
        """Return the finished file: *growing*, or *scratch* made of it.

        Messages call it *name*. Raises OSError.
        """
        return growing

    def reopen(self, path: Path, growing: Path, complete: RowRange) -> int:
        """Make the *growing* file of the finished one *path*, and return where its rows end.

        *complete* are the rows in the growing file that *path* was made of. Raises OSError.
        """
        shutil.copyfile(path, growing)
        return complete.end

    def read_rows(self, path: Path, complete: RowRange) -> Iterator[bytes]:
        """Yield the *complete* rows of the finished file *path*, as the growing file had them.

        Raises OSError.
        """
        with path.open("rb") as file:
            file.seek(complete.start)
            left = complete.end - complete.start
            while left > 0 and (piece := file.read(min(left, COPY_BYTES))):
                left -= len(piece)
                yield piece
