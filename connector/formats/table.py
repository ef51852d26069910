"""A table for people: what fits a terminal's line, nothing that a terminal would obey."""

from __future__ import annotations

from typing import TYPE_CHECKING

from connector.formats.interface import Format
from connector.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from connector.alm.records import Enrollment

# Each column's heading, and its width in characters.
_COLUMNS = {
    "id": 40,
    "state": 16,
    "progress_percent": 8,
    "has_passed": 6,
    "score": 6,
    "date_enrolled": 24,
}
_HEADINGS = {
    "id": "enrollment",
    "progress_percent": "progress",
    "has_passed": "passed",
    "date_enrolled": "enrolled",
}


def _line(cells: Iterable[str]) -> str:
    return (
        "  ".join(
            _fitted(cell, width) for cell, width in zip(cells, _COLUMNS.values(), strict=True)
        ).rstrip()
        + "\n"
    )


def _fitted(text: str, width: int) -> str:
    return text.ljust(width) if len(text) <= width else f"{text[: width - 1]}…"


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else one_line(str(value))


class Table(Format):
    """Headings, then a line an enrollment; what is longer than its column ends in an ellipsis."""

    begin = _line(_HEADINGS.get(name, name) for name in _COLUMNS) + _line(
        "-" * width for width in _COLUMNS.values()
    )

    def rows(self, enrollments: Sequence[Enrollment]) -> str:
        """Return a line for each enrollment."""
        return "".join(
            [_line(_cell(getattr(one, name)) for name in _COLUMNS) for one in enrollments]
        )
