"""What a format is: enrollments to text, a few at a time, so that a file can grow user by user."""

from __future__ import annotations

import gzip
import importlib
import io
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

from connector.alm.records import FIELDS
from connector.settings import COMPRESSIONS, NAME_FIELDS, is_named

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from connector.alm.records import Enrollment

#: An enrollment's fields that are neither names nor nested, in the order of the output document.
SCALARS = FIELDS[: FIELDS.index("lo_name")]
#: The columns of records without a value of their own kind: flat texts made of the grades.
_GRADE_COLUMNS = {"resource_grade_ids": ("id", " "), "module_names": ("module_name", "; ")}
#: The columns whose values are nested; CSV and xlsx have them as JSON.
NESTED = ("resource_grades", "included")
#: Every column, in order.
COLUMNS = (*SCALARS, "lo_name", "user_name", "user_email", *_GRADE_COLUMNS, *NESTED)
DATES = (
    "date_enrolled",
    "date_started",
    "date_completed",
    "completion_deadline",
    "last_access_date",
)
NUMBERS = ("progress_percent", "score", "rating", "purchased_price")
BOOLEANS = ("has_passed",)
COPY_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Report:
    """What a finished file may say about its run; *name* is the file's, as messages call it."""

    name: str
    source: str | None
    finished_at: datetime
    status: str
    reasons: Sequence[str]
    requested: int
    read: int
    failed: Sequence[Mapping[str, Any]]


class Format(ABC):
    """A growing file is ``begin``, rows with ``between`` between any two of them, and ``end``.

    The finished file is the growing one itself, unless a format makes another one of it.
    """

    begin: str = ""
    between: ClassVar[str] = ""
    end: ClassVar[str] = ""
    #: Whether the growing file becomes the finished one, and rows can leave user by user.
    is_streamed: ClassVar[bool] = True
    #: Whether ``read`` gets the records back from a finished file.
    is_readable: ClassVar[bool] = True

    def __init__(self, columns: Sequence[str] = ()) -> None:
        self.columns = tuple(columns) or self.default_columns(())

    @property
    def can_grow_again(self) -> bool:
        """Whether the growing file can be made of the finished one."""
        return self.is_streamed or self.is_readable

    @classmethod
    def default_columns(cls, related: Iterable[str]) -> tuple[str, ...]:  # noqa: ARG003 - for formats with columns
        """Return the columns of records that are read with the paths *related*."""
        return ()

    @abstractmethod
    def rows(self, enrollments: Sequence[Enrollment]) -> str:
        """Return *enrollments* as text, ``between`` between them."""

    @abstractmethod
    def read(self, path: Path) -> Iterator[dict[str, Any]]:
        """Yield the records of a finished file. Raises OSError, and ValueError if it is damaged."""

    def finish(self, growing: Path, scratch: Path, report: Report) -> Path:  # noqa: ARG002 - for formats that are not streamed
        """Return the finished file: *growing*, or *scratch* made of it.

        Raises OSError, and OutputError if the format cannot hold the records.
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


def flat_columns(related: Iterable[str]) -> tuple[str, ...]:
    """Return the columns without nested values, and without names that *related* do not bring."""
    names = {name for name in NAME_FIELDS if not is_named(name, related)}
    left_out = {*NESTED, *names, "module_names" if "module_name" in names else ""}
    return tuple(column for column in COLUMNS if column not in left_out)


def read_pieces(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield the next *size* bytes of *file*, some at a time. Raises OSError."""
    while size > 0 and (piece := file.read(min(size, COPY_BYTES))):
        size -= len(piece)
        yield piece


def open_text(path: Path) -> io.TextIOWrapper:
    """Open the text of a finished file, decompressed if its suffix says so. Raises OSError."""
    if path.suffix == COMPRESSIONS[0]:
        stream: Any = gzip.open(path)  # noqa: SIM115 - the caller closes it
    elif path.suffix == COMPRESSIONS[1]:
        stream = zstd().ZstdFile(path)
    else:
        stream = path.open("rb")
    return io.TextIOWrapper(stream, encoding="utf-8", newline="")


def zstd() -> Any:  # noqa: ANN401 - a module
    """Return the module for ``.zst``, which is a part of Python from 3.14 on."""
    is_included = sys.version_info >= (3, 14)
    return importlib.import_module("compression.zstd" if is_included else "backports.zstd")


def value_of(record: Mapping[str, Any], column: str) -> Any:  # noqa: ANN401 - a column's own type
    """Return the value of *column* in a record, ``None`` if the record has none."""
    if column in record or column not in _GRADE_COLUMNS:
        return record.get(column)
    field, separator = _GRADE_COLUMNS[column]
    grades = record.get("resource_grades") or ()
    return separator.join([grade[field] for grade in grades if grade.get(field)]) or None
