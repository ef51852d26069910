"""Parquet (pyarrow): typed columns and real timestamps. The growing file is NDJSON."""

from __future__ import annotations

import json
import logging
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from connector.alm.records import IncludedResourceGrade
from connector.clock import format_moment, parse_utc
from connector.formats.interface import BOOLEANS, DATES, NUMBERS, value_of
from connector.formats.lines import ConvertedLines
from connector.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from connector.formats.interface import Report

_ROWS_AT_ONCE = 5_000
# Half a surrogate pair, which JSON can express and UTF-8 cannot, begins like a complete one.
_SURROGATE = b"\\ud"
_DATES = (*DATES, "date_success")
_TYPES = {
    **dict.fromkeys(NUMBERS, pa.float64()),
    **dict.fromkeys(BOOLEANS, pa.bool_()),
    **dict.fromkeys(_DATES, pa.timestamp("us", tz="UTC")),
    "completed": pa.bool_(),
    "highest_score": pa.float64(),
    "max_score": pa.float64(),
    "duration": pa.float64(),
    "module_version": pa.int64(),
}
_log = logging.getLogger(__name__)


def _field(name: str) -> pa.Field:
    return pa.field(name, _TYPES.get(name, pa.string()))


_TYPES["resource_grades"] = pa.list_(
    pa.struct([_field(name) for name in IncludedResourceGrade.__struct_fields__])
)


def schema_of(columns: Iterable[str]) -> pa.Schema:
    """Return the schema of a file with *columns*."""
    return pa.schema([_field(column) for column in columns])


class Parquet(ConvertedLines):
    """Grows as NDJSON; finishing converts it."""

    def finish(self, growing: Path, scratch: Path, report: Report) -> Path:
        """Return *scratch*, the Parquet file made of *growing*; warn of unreadable dates."""
        unreadable = 0
        schema = schema_of(self.columns)
        with (
            growing.open("rb") as lines,
            pq.ParquetWriter(scratch, schema, compression="zstd") as writer,
        ):
            while chunk := list(islice(lines, _ROWS_AT_ONCE)):
                rows = [_typed(line, self.columns) for line in chunk]
                unreadable += sum(count for _, count in rows)
                writer.write_table(pa.Table.from_pylist([row for row, _ in rows], schema=schema))
        if unreadable:
            _log.warning(
                "null in %s instead of a date: %s", report.name, counted(unreadable, "value")
            )
        return scratch

    def read(self, path: Path) -> Iterator[dict[str, Any]]:
        """Yield the record of each row, with dates as ALM writes them."""
        with pq.ParquetFile(path) as file:
            # pyarrow 19 refuses to iterate over a file without rows.
            batches = file.iter_batches(_ROWS_AT_ONCE) if file.metadata.num_rows else ()
            for batch in batches:
                for row in batch.to_pylist():
                    yield _untyped(row)


def _untyped(row: dict[str, Any]) -> dict[str, Any]:
    record = _with_text(row)
    if "resource_grades" in row:
        record["resource_grades"] = list(map(_with_text, row["resource_grades"] or ()))
    if row.get("included"):
        record["included"] = json.loads(row["included"])
    return record


def _with_text(record: dict[str, Any]) -> dict[str, Any]:
    return {
        name: format_moment(value) if isinstance(value, datetime) else value
        for name, value in record.items()
    }


def _typed(line: bytes, columns: Iterable[str]) -> tuple[dict[str, Any], int]:
    """Return the row of a *line*, and how many of its dates are unreadable, and null in the row."""
    record = json.loads(line)
    row = {column: value_of(record, column) for column in columns}
    unreadable = 0
    for part in (row, *(row.get("resource_grades") or ())):
        if _SURROGATE in line:
            _replace_surrogates(part)
        for name in _DATES:
            if part.get(name) is not None:
                part[name] = parse_utc(part[name])
                unreadable += part[name] is None
    if row.get("included") is not None:
        row["included"] = json.dumps(row["included"])
    return row, unreadable


def _replace_surrogates(record: dict[str, Any]) -> None:
    for name, value in record.items():
        if isinstance(value, str):
            record[name] = value.encode(errors="backslashreplace").decode()
