"""Parquet (pyarrow): typed columns and real timestamps. The growing file is NDJSON."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from connector.alm.records import IncludedResourceGrade
from connector.clock import parse_moment
from connector.formats.interface import SCALARS
from connector.formats.lines import Ndjson
from connector.text import to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

_ROWS_AT_ONCE = 5_000
# Half a surrogate pair, which JSON can express and UTF-8 cannot, begins like a complete one.
_SURROGATE = b"\\ud"
_MOMENT = pa.timestamp("us", tz="UTC")
_DATES = (
    "date_enrolled",
    "date_started",
    "date_completed",
    "date_success",
    "completion_deadline",
    "last_access_date",
)
_TYPES = {
    "progress_percent": pa.float64(),
    "completed": pa.bool_(),
    "has_passed": pa.bool_(),
    "score": pa.float64(),
    "rating": pa.float64(),
    "purchased_price": pa.float64(),
    "highest_score": pa.float64(),
    "max_score": pa.float64(),
    "duration": pa.float64(),
    "module_version": pa.int64(),
    **dict.fromkeys(_DATES, _MOMENT),
}
_log = logging.getLogger(__name__)


def _field(name: str) -> pa.Field:
    return pa.field(name, _TYPES.get(name, pa.string()))


_GRADE = pa.struct([_field(name) for name in IncludedResourceGrade.__struct_fields__])
SCHEMA = pa.schema(
    [
        *map(_field, SCALARS),
        pa.field("resource_grades", pa.list_(_GRADE)),
        pa.field("included", pa.string()),
    ]
)


class Parquet(Ndjson):
    """Grows as NDJSON; finishing converts it."""

    is_streamed = False

    def finish(self, growing: Path, scratch: Path, name: str) -> Path:
        """Return *scratch*, the Parquet file made of *growing*; warn of unreadable dates."""
        unreadable = 0
        with (
            growing.open("rb") as lines,
            pq.ParquetWriter(scratch, SCHEMA, compression="zstd") as writer,
        ):
            while chunk := list(islice(lines, _ROWS_AT_ONCE)):
                rows = [_typed(line) for line in chunk]
                unreadable += sum(count for _, count in rows)
                writer.write_table(pa.Table.from_pylist([row for row, _ in rows], schema=SCHEMA))
        if unreadable:
            _log.warning("%d dates are none, and are null in %s", unreadable, name)
        return scratch

    def read_users(
        self,
        path: Path,
        start: int,  # noqa: ARG002 - rows have no place in this file
        entries: Iterable[Mapping[str, Any]],
    ) -> Iterator[tuple[Mapping[str, Any], Iterator[bytes]]]:
        """Yield each of a journal's *entries* with the user's rows as lines of NDJSON."""
        lines = self._lines(path)
        for entry in entries:
            yield entry, islice(lines, entry["enrollments"])

    def _lines(self, path: Path) -> Iterator[bytes]:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_ROWS_AT_ONCE):
                for row in batch.to_pylist():
                    yield (to_json(_untyped(row)) + "\n").encode()


def _untyped(row: dict[str, Any]) -> dict[str, Any]:
    record = _with_text(row)
    record["resource_grades"] = list(map(_with_text, row["resource_grades"]))
    included = record.pop("included")
    return record if included is None else {**record, "included": json.loads(included)}


def _with_text(record: dict[str, Any]) -> dict[str, Any]:
    texts = dict(record)
    for name, value in record.items():
        if isinstance(value, datetime):
            # Milliseconds, as ALM writes them, unless they lose something.
            precision = "microseconds" if value.microsecond % 1_000 else "milliseconds"
            texts[name] = value.isoformat(timespec=precision).replace("+00:00", "Z")
    return texts


def _typed(line: bytes) -> tuple[dict[str, Any], int]:
    """Return the row of a *line*, and how many of its dates are unreadable, and null in the row."""
    row = json.loads(line)
    unreadable = 0
    for record in (row, *row["resource_grades"]):
        if _SURROGATE in line:
            _replace_surrogates(record)
        for name in _DATES:
            if record.get(name) is not None:
                record[name] = _in_utc(record[name])
                unreadable += record[name] is None
    row["included"] = json.dumps(row["included"]) if "included" in row else None
    return row, unreadable


def _replace_surrogates(record: dict[str, Any]) -> None:
    for name, value in record.items():
        if isinstance(value, str):
            record[name] = value.encode(errors="backslashreplace").decode()


def _in_utc(text: str) -> datetime | None:
    moment = parse_moment(text)
    try:
        return moment and moment.astimezone(UTC)
    except OverflowError:
        # In the year 0 or 10,000, which Python cannot represent.
        return None
