"""CSV by RFC 4180, which no spreadsheet takes for formulas."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from msgspec.structs import asdict, astuple

from connector.formats.interface import COLUMNS, SCALARS, Format
from connector.text import to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from connector.alm.records import Enrollment

# What makes a spreadsheet compute a cell (OWASP, CSV Injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_GRADES = len(SCALARS)


class Csv(Format):
    """A header, then a line an enrollment; nothing is an empty cell, what is nested is JSON."""

    begin = ",".join(COLUMNS) + "\r\n"

    def rows(self, enrollments: Sequence[Enrollment]) -> str:
        """Return a line for each enrollment."""
        text = io.StringIO()
        csv.writer(text).writerows(map(_cells, enrollments))
        return text.getvalue()


def _cells(enrollment: Enrollment) -> list[object]:
    grades = enrollment.resource_grades
    return [
        *map(_cell, astuple(enrollment)[:_GRADES]),
        _cell(" ".join([grade.id for grade in grades])),
        to_json([asdict(grade) for grade in grades]) if grades else None,
        to_json(enrollment.included) if enrollment.included is not None else None,
    ]


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    # An apostrophe makes a spreadsheet show what follows as text.
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
