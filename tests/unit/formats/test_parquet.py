"""Parquet: typed columns, real timestamps, and the lines that it was made of."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connector.formats.interface import SCALARS
from connector.formats.lines import to_lines
from connector.formats.parquet import SCHEMA, read_lines, write_parquet
from tests.unit.formats.made import HOSTILE, enrollment, included_grade

DATE = "2023-06-29T12:34:33.000Z"
MOMENT = datetime(2023, 6, 29, 12, 34, 33, tzinfo=UTC)
OFFSETS = st.builds(
    timezone, st.integers(-720, 720).map(lambda minutes: timedelta(minutes=minutes))
)
MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=OFFSETS)  # noqa: DTZ001 - the offsets are drawn apart


def line(**values: Any) -> bytes:
    """Return the line of an enrollment."""
    return to_lines([enrollment(**values)]).encode()


def round_trip(*lines: bytes) -> list[dict[str, Any]]:
    """Return the records that come back of *lines*."""
    with TemporaryDirectory() as folder:
        write_parquet(lines, Path(folder, "x"))
        return [json.loads(one) for one in read_lines(Path(folder, "x"))]


def test_write_parquet__typed(tmp_path: Path) -> None:
    """Columns have types: text, numbers, truths and moments in UTC; grades are nested, what was included is JSON."""
    included = {"learner": {"id": "31", "attributes": {"name": "J\u00f6rg"}}}

    unread = write_parquet(
        [line(resource_grades=(included_grade(),), included=included), line(has_passed=None)],
        tmp_path / "x",
    )

    table = pq.read_table(tmp_path / "x")
    first, second = table.to_pylist()
    assert unread == 0
    assert table.schema.equals(SCHEMA)
    assert (
        first["date_enrolled"],
        first["has_passed"],
        first["score"],
        first["progress_percent"],
    ) == (MOMENT, True, 87.5, 100.0)
    assert (
        first["resource_grades"][0]["duration"],
        first["resource_grades"][0]["date_started"],
    ) == (61.0, MOMENT)
    assert json.loads(first["included"]) == included
    assert (second["has_passed"], second["date_completed"], second["included"]) == (
        None,
        None,
        None,
    )


def test_schema__stable() -> None:
    """The columns and their types are these, in this order: who reads the files relies on them."""
    numbers = {"progress_percent", "score", "rating", "purchased_price"}
    dates = {
        "date_enrolled",
        "date_started",
        "date_completed",
        "completion_deadline",
        "last_access_date",
    }
    types = {
        **dict.fromkeys(numbers, "double"),
        **dict.fromkeys(dates, "timestamp[us, tz=UTC]"),
        "has_passed": "bool",
    }

    assert [(field.name, str(field.type)) for field in SCHEMA] == [
        *[(name, types.get(name, "string")) for name in SCALARS],
        (
            "resource_grades",
            (
                "list<item: struct<id: string, module_id: string, module_version: int64, progress_percent: double, has_passed: bool,"
                " score: double, highest_score: double, max_score: double, duration: double, date_started: timestamp[us, tz=UTC],"
                " date_completed: timestamp[us, tz=UTC], date_success: timestamp[us, tz=UTC]>>"
            ),
        ),
        ("included", "string"),
    ]


@given(text=HOSTILE, number=st.none() | st.floats(allow_nan=False, allow_infinity=False))
@example(text="a\ud800b\udfff", number=0.0)
@example(text="\U0001f600", number=None)
@settings(max_examples=50)
def test_read_lines__what_was_written(text: str, number: float | None) -> None:
    """The lines that come back say what was written, whatever text ALM sent; half a surrogate pair as JSON escapes it."""
    written = line(
        url=text,
        score=number,
        resource_grades=(included_grade(module_id=text),),
        included={"learner": {text: text}},
    )

    (record,) = round_trip(written)

    plain = text.encode(errors="backslashreplace").decode()
    expected = json.loads(written)
    assert record == {
        **expected,
        "url": plain,
        "resource_grades": [{**expected["resource_grades"][0], "module_id": plain}],
    }


@given(moment=MOMENTS)
@settings(max_examples=50)
def test_read_lines__the_moments(moment: datetime) -> None:
    """A date comes back as the same moment, to the microsecond."""
    (record,) = round_trip(line(date_enrolled=moment.isoformat()))

    assert datetime.fromisoformat(record["date_enrolled"]) == moment


@pytest.mark.parametrize("date", [DATE, "2023-06-29T12:34:33.123Z", "2023-06-29T12:34:33.123456Z"])
def test_read_lines__dates_as_alm_writes_them(date: str) -> None:
    """Dates in ALM's own writing come back letter by letter."""
    (record,) = round_trip(line(date_enrolled=date))

    assert record["date_enrolled"] == date


@pytest.mark.parametrize(
    "date",
    [
        "yesterday",
        "",
        "2023-13-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
    ],
)
def test_write_parquet__dates_that_are_none(date: str, tmp_path: Path) -> None:
    """What is no date, or none that a reader could hold, is null, and counted; the others stay."""
    unread = write_parquet([line(date_enrolled=date), line()], tmp_path / "x")

    assert unread == 1
    assert [json.loads(one)["date_enrolled"] for one in read_lines(tmp_path / "x")] == [None, DATE]


def test_write_parquet__nothing(tmp_path: Path) -> None:
    """A file without records has its columns all the same."""
    assert write_parquet([], tmp_path / "x") == 0

    assert (pq.read_table(tmp_path / "x").num_rows, pq.read_schema(tmp_path / "x").names) == (
        0,
        SCHEMA.names,
    )
    assert list(read_lines(tmp_path / "x")) == []


def test_write_parquet__more_than_are_held_at_once(tmp_path: Path) -> None:
    """Beyond what is held at once the order stays."""
    write_parquet((line(number=number) for number in range(10_001)), tmp_path / "x")

    assert pq.read_table(tmp_path / "x").column("lo_id").to_pylist() == [
        f"course:{number}" for number in range(10_001)
    ]
    assert pa.types.is_timestamp(pq.read_schema(tmp_path / "x").field("date_enrolled").type)
