"""A table for people: fits a terminal's line, and holds nothing that a terminal would execute."""

from __future__ import annotations

from typing import TYPE_CHECKING

from connector.formats.interface import DATES, NUMBERS, Format, value_of
from connector.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path
    from typing import Any

    from connector.alm.records import Enrollment

# The columns of a table that names none, each with its heading and its width in characters.
_COLUMNS = {
    "id": ("enrollment", 40),
    "state": ("state", 16),
    "progress_percent": ("progress", 8),
    "has_passed": ("passed", 6),
    "score": ("score", 6),
    "date_enrolled": ("enrolled", 24),
}
_DATE_WIDTH, _NUMBER_WIDTH, _TEXT_WIDTH = 24, 8, 32


class Table(Format):
    """Headings, then one line per enrollment; what exceeds its column ends in an ellipsis."""

    is_readable = False

    def __init__(self, columns: Sequence[str] = ()) -> None:
        super().__init__(columns)
        self._layout = [_COLUMNS.get(column) or _layout(column) for column in self.columns]
        headings = self._line(heading for heading, _ in self._layout)
        self.begin = headings + self._line("-" * width for _, width in self._layout)

    @classmethod
    def default_columns(cls, related: Iterable[str]) -> tuple[str, ...]:  # noqa: ARG003 - the same for all
        """Return the columns that fit a terminal."""
        return tuple(_COLUMNS)

    def rows(self, enrollments: Sequence[Enrollment]) -> str:
        """Return one line for each enrollment."""
        lines = []
        for enrollment in enrollments:
            record = enrollment.as_dict()
            lines.append(self._line(_cell(value_of(record, column)) for column in self.columns))
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


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else one_line(str(value))
