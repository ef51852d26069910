"""A table for people: fits a terminal's line, and holds nothing that a terminal would execute."""

from __future__ import annotations

from typing import TYPE_CHECKING

from connector.clock import parse_utc
from connector.formats.interface import DATES, NUMBERS, Format, value_of
from connector.settings import is_named
from connector.text import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path
    from typing import Any

    from connector.alm.records import Enrollment

# The columns of a table that names none, each with its heading and its width in characters.
# A line of them has at most 80.
_COLUMNS = {
    "id": ("enrollment", 38),
    "user_name": ("learner", 16),
    "lo_name": ("learning object", 21),
    "state": ("state", 10),
    "progress_percent": ("%", 3),
    "has_passed": ("passed", 6),
    "date_enrolled": ("enrolled", 10),
    "date_completed": ("completed", 10),
}
_NAMES = ("user_name", "lo_name", "state", "progress_percent", "date_enrolled", "date_completed")
_IDS = ("id", "state", "progress_percent", "has_passed", "date_enrolled")
_DATE_WIDTH, _NUMBER_WIDTH, _TEXT_WIDTH = 10, 8, 32


class Table(Format):
    """Headings, then one line per enrollment; what exceeds its column ends in an ellipsis."""

    is_readable = False

    def __init__(self, columns: Sequence[str] = ()) -> None:
        super().__init__(columns)
        self._layout = [_COLUMNS.get(column) or _layout(column) for column in self.columns]
        headings = self._line(heading for heading, _ in self._layout)
        self.begin = headings + self._line("-" * width for _, width in self._layout)

    @classmethod
    def default_columns(cls, related: Iterable[str]) -> tuple[str, ...]:
        """Return the columns that fit a terminal: names, or ids without names."""
        related = tuple(related)
        has_names = is_named("user_name", related) and is_named("lo_name", related)
        return _NAMES if has_names else _IDS

    def rows(self, enrollments: Sequence[Enrollment]) -> str:
        """Return one line for each enrollment."""
        lines = []
        for enrollment in enrollments:
            record = enrollment.as_dict()
            lines.append(
                self._line(_cell(column, value_of(record, column)) for column in self.columns)
            )
        return "".join(lines)

    def read(self, path: Path) -> Iterator[dict[str, Any]]:
        """Raise ValueError: cells are cut."""
        raise ValueError(path)

    def _line(self, cells: Iterable[str]) -> str:
        fitted = []
        for cell, (_, width) in zip(cells, self._layout, strict=True):
            fitted.append(cell.ljust(width) if len(cell) <= width else f"{cell[: width - 1]}…")
        return "  ".join(fitted).rstrip() + "\n"


def _layout(column: str) -> tuple[str, int]:
    width = _TEXT_WIDTH
    if column in DATES:
        width = _DATE_WIDTH
    if column in NUMBERS:
        width = _NUMBER_WIDTH
    heading = column.replace("_", " ")
    return heading, max(width, len(heading))


def _cell(column: str, value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if column in DATES and isinstance(value, str) and (moment := parse_utc(value)):
        return f"{moment:%Y-%m-%d}"
    return "" if value is None else escape(str(value))
