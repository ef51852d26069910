"""A table for people: fits a terminal's line, and holds nothing that a terminal would execute."""

from __future__ import annotations

from typing import TYPE_CHECKING

from connector.formats.interface import Format
from connector.text import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from connector.alm.records import Enrollment

# Each column's field, heading, and width in characters.
_COLUMNS = (
    ("id", "enrollment", 40),
    ("state", "state", 16),
    ("progress_percent", "progress", 8),
    ("has_passed", "passed", 6),
    ("score", "score", 6),
    ("date_enrolled", "enrolled", 24),
)


def _line(cells: Iterable[str]) -> str:
    fitted = []
    for cell, (_, _, width) in zip(cells, _COLUMNS, strict=True):
        fitted.append(cell.ljust(width) if len(cell) <= width else f"{cell[: width - 1]}…")
    return "  ".join(fitted).rstrip() + "\n"


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else escape(str(value))


class Table(Format):
    """Headings, then one line per enrollment; what exceeds its column ends in an ellipsis."""

    begin = _line(heading for _, heading, _ in _COLUMNS) + _line(
        "-" * width for _, _, width in _COLUMNS
    )

    def rows(self, enrollments: Sequence[Enrollment]) -> str:
        """Return one line for each enrollment."""
        return "".join(
            [
                _line([_cell(getattr(enrollment, name)) for name, _, _ in _COLUMNS])
                for enrollment in enrollments
            ]
        )
