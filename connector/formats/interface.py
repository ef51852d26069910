"""What a format is: enrollments to text, a few at a time, so that a file can grow user by user."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

from connector.alm.records import FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from connector.alm.records import Enrollment

#: An enrollment's fields that every record has, except lists, in the order of the document.
SCALARS = FIELDS[: FIELDS.index("user_email")]
#: Every column of formats with columns: those, then the grades' ids, and nested values as JSON.
COLUMNS = (*SCALARS, "resource_grade_ids", "resource_grades", "included")
COPY_BYTES = 1024 * 1024


class Format(ABC):
    """A growing file is ``begin``, rows with ``between`` between any two of them, and ``end``.

    The finished file is the growing one itself, unless a format makes another one of it.
    """

    begin: ClassVar[str] = ""
    between: ClassVar[str] = ""
    end: ClassVar[str] = ""
    #: Whether the growing file becomes the finished one, and rows can leave user by user.
    is_streamed: ClassVar[bool] = True

    @abstractmethod
    def rows(self, enrollments: Sequence[Enrollment]) -> str:
        """Return *enrollments* as text, ``between`` between them."""

    def finish(self, growing: Path, scratch: Path, name: str) -> Path:  # noqa: ARG002 - see Parquet
        """Return the finished file: *growing*, or *scratch* made of it.

        Messages call it *name*. Raises OSError.
        """
        return growing

    def read_users(
        self, path: Path, start: int, entries: Iterable[Mapping[str, Any]]
    ) -> Iterator[tuple[Mapping[str, Any], Iterator[bytes]]]:
        """Yield each of a journal's *entries* with the user's rows in the finished file *path*.

        The first rows begin at *start*. Consume a user's pieces before the next user. Raises
        OSError.
        """
        with path.open("rb") as file:
            file.seek(start)
            for entry in entries:
                yield entry, read_pieces(file, entry["end"] - start)
                start = entry["end"]


def read_pieces(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield the next *size* bytes of *file*, some at a time. Raises OSError."""
    while size > 0 and (piece := file.read(min(size, COPY_BYTES))):
        size -= len(piece)
        yield piece
