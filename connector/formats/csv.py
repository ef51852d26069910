"""CSV (RFC 4180) whose cells no spreadsheet takes for formulas, and no CI runner for commands."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from connector.formats.interface import (
    BOOLEANS,
    NESTED,
    NUMBERS,
    Format,
    flat_columns,
    open_text,
    value_of,
)
from connector.text import escape_cell, to_json, unescape_cell, without_formulas

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from connector.alm.records import Enrollment

# Python's own limit for a cell is 128 KB; a page of ALM's has at most 8 MB.
_MAX_CELL_CHARACTERS = 64 * 1024 * 1024
_JSON_COLUMNS = (*NUMBERS, *BOOLEANS, *NESTED)


class Csv(Format):
    """A header, then one line per enrollment; null is an empty cell, nested values are JSON."""

    def __init__(self, columns: Sequence[str] = ()) -> None:
        super().__init__(columns)
        self.begin = ",".join(self.columns) + "\r\n"

    @classmethod
    def default_columns(cls, related: Iterable[str]) -> tuple[str, ...]:
        """Return the flat columns."""
        return flat_columns(related)

    def rows(self, enrollments: Sequence[Enrollment]) -> str:
        """Return one line for each enrollment."""
        text = io.StringIO()
        writer = csv.writer(text)
        for enrollment in enrollments:
            record = enrollment.as_dict()
            writer.writerow([cell(value_of(record, column)) for column in self.columns])
        return text.getvalue()

    def read(self, path: Path) -> Iterator[dict[str, Any]]:
        """Yield the record of each line; an empty text reads back as ``None``."""
        # The limit is one of the process, in which files of users have a smaller one.
        limit = csv.field_size_limit(_MAX_CELL_CHARACTERS)
        try:
            with open_text(path) as lines:
                rows = csv.reader(lines, strict=True)
                columns = next(rows, [])
                for row in rows:
                    cells = zip(columns, row, strict=True)
                    yield {column: _value(column, text) for column, text in cells}
        except csv.Error as error:
            raise ValueError(str(error)) from error
        finally:
            csv.field_size_limit(limit)


def cell(value: object) -> object:
    """Return *value* as a cell that no spreadsheet computes."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | dict):
        return without_formulas(to_json(value)) if value else None
    return escape_cell(value) if isinstance(value, str) else value


def _value(column: str, text: str) -> Any:  # noqa: ANN401 - the column's own type
    if text and column in _JSON_COLUMNS:
        return json.loads(text)
    return unescape_cell(text) or None
