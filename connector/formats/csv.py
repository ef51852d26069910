"""CSV (RFC 4180) whose cells no spreadsheet takes for formulas."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from msgspec.structs import asdict

from connector.formats.interface import COLUMNS, SCALARS, Format
from connector.text import to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from connector.alm.records import Enrollment

# What makes a spreadsheet compute a cell (OWASP, CSV Injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Csv(Format):
    """A header, then one line per enrollment; null is an empty cell, nested values are JSON."""

    begin = ",".join(COLUMNS) + "\r\n"

    def rows(self, enrollments: Sequence[Enrollment]) -> str:
        """Return one line for each enrollment."""
        text = io.StringIO()
        csv.writer(text).writerows(map(_cells, enrollments))
        return text.getvalue()


def _cells(enrollment: Enrollment) -> list[object]:
    cells = [cell(getattr(enrollment, name)) for name in SCALARS]
    grades = enrollment.resource_grades
    cells.append(cell(" ".join([grade.id for grade in grades])))
    cells.append(to_json([asdict(grade) for grade in grades]) if grades else None)
    cells.append(to_json(enrollment.included) if enrollment.included is not None else None)
    return cells


def cell(value: object) -> object:
    """Return *value* as a cell that no spreadsheet computes."""
    if isinstance(value, bool):
        return str(value).lower()
    # An apostrophe makes a spreadsheet show what follows as text.
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
