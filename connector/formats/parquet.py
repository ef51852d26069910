"""Parquet, by pyarrow: typed columns, real timestamps. Made of lines of NDJSON when all of them are there."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from connector.alm.records import IncludedResourceGrade
from connector.clock import parse_moment
from connector.formats.interface import SCALARS
from connector.text import to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_ROWS_AT_ONCE = 5_000
# Half a surrogate pair, which JSON can say and UTF-8 cannot, begins as a whole one does.
_HALF_A_PAIR = b"\\ud"
_MOMENT = pa.timestamp("us", tz="UTC")
_TYPES = {
    "progress_percent": pa.float64(),
    "has_passed": pa.bool_(),
    "score": pa.float64(),
    "rating": pa.float64(),
    "purchased_price": pa.float64(),
    "highest_score": pa.float64(),
    "max_score": pa.float64(),
    "duration": pa.float64(),
    "module_version": pa.int64(),
    **dict.fromkeys(
        (
            "date_enrolled",
            "date_started",
            "date_completed",
            "date_success",
            "completion_deadline",
            "last_access_date",
        ),
        _MOMENT,
    ),
}


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


def write_parquet(lines: Iterable[bytes], path: Path) -> int:
    """Write *lines* of NDJSON to *path*; return how many dates in them are none, and null in the file. Raises OSError."""
    waiting, unread = iter(lines), 0
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        while chunk := list(islice(waiting, _ROWS_AT_ONCE)):
            rows, missed = _typed(chunk)
            unread += missed
            writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
    return unread


def read_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of NDJSON that *path* was made of. Raises OSError."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_ROWS_AT_ONCE):
            for row in batch.to_pylist():
                yield (to_json(_plain(row)) + "\n").encode()


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    plain = _with_text(row)
    plain["resource_grades"] = list(map(_with_text, row["resource_grades"]))
    included = plain.pop("included")
    return plain if included is None else {**plain, "included": json.loads(included)}


def _with_text(record: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _text(value) if isinstance(value, datetime) else value
        for name, value in record.items()
    }


def _text(moment: datetime) -> str:
    # As ALM writes them, if that says all of it.
    return moment.isoformat(
        timespec="microseconds" if moment.microsecond % 1_000 else "milliseconds"
    ).replace("+00:00", "Z")


def _typed(lines: Iterable[bytes]) -> tuple[list[dict[str, Any]], int]:
    rows, unread = [], 0
    for line in lines:
        row = json.loads(line)
        for record in (row, *row["resource_grades"]):
            if _HALF_A_PAIR in line:
                record.update(
                    {
                        name: _sayable(value)
                        for name, value in record.items()
                        if isinstance(value, str)
                    }
                )
            for name, moment in _moments(record):
                unread += moment is None
                record[name] = moment
        row["included"] = json.dumps(row["included"]) if "included" in row else None
        rows.append(row)
    return rows, unread


def _sayable(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


def _moments(record: dict[str, Any]) -> Iterator[tuple[str, datetime | None]]:
    for name, value in list(record.items()):
        if _TYPES.get(name) is _MOMENT and value is not None:
            yield name, _in_utc(value)


def _in_utc(text: str) -> datetime | None:
    moment = parse_moment(text)
    try:
        return moment and moment.astimezone(UTC)
    except OverflowError:
        # Of the year 0 or 10,000, which nobody could read back.
        return None
