"""CSV (RFC 4180) whose cells no spreadsheet takes for formulas, and no CI runner for commands."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from msgspec.structs import asdict

from connector.formats.interface import COLUMNS, SCALARS, Format
from connector.text import escape_cell, to_json, without_formulas

if TYPE_CHECKING:
    from collections.abc import Sequence

    from connector.alm.records import Enrollment


class Csv(Format):
    """A header, then one line per enrollment; null is an empty cell, nested values are JSON."""

    begin = ",".join(COLUMNS) + "\r\n"

    def rows(self, enrollments: Sequence[Enrollment]) -> str:
        """Return one line for each enrollment."""
        text = io.StringIO()
        csv.writer(text).writerows(map(_cells, enrollments))
        return text.getvalue()


def _cells(enrollment: Enrollment) -> list[object]:
    cells = [_cell(getattr(enrollment, name)) for name in SCALARS]
    grades = enrollment.resource_grades
    cells.append(_cell(" ".join([grade.id for grade in grades])))
    cells.append(_json([asdict(grade) for grade in grades] or None))
    cells.append(_json(enrollment.included))
    return cells


def _json(value: object) -> str | None:
    return None if value is None else without_formulas(to_json(value))


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return escape_cell(value) if isinstance(value, str) else value
