"""Parquet: typed columns, real timestamps, and back to the records that it was made of."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connector.formats import read_records
from connector.formats.interface import COLUMNS, SCALARS
from connector.formats.parquet import Parquet, schema_of
from tests.support.formats import finished
from tests.support.records import DATE, HOSTILE, enrollment, enrollments, included_grade

if TYPE_CHECKING:
    import pytest

    from connector.alm.records import Enrollment

OFFSETS = st.builds(
    timezone, st.integers(-720, 720).map(lambda minutes: timedelta(minutes=minutes))
)
MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=OFFSETS)  # noqa: DTZ001 - hypothesis adds the offsets


def round_trip(*served: Enrollment) -> list[dict[str, Any]]:
    """Return the records that are read back from the Parquet file of *served*."""
    with TemporaryDirectory() as folder:
        return list(read_records(finished(Path(folder), "parquet", served, COLUMNS)))


def test_finish__typed_columns(tmp_path: Path) -> None:
    """Numbers, booleans and moments in UTC have their types; ``included`` is JSON text."""
    included = {"learner": {"id": "31", "attributes": {"name": "Jörg"}}}
    served = [
        enrollment(resource_grades=(included_grade(),), included=included),
        enrollment(has_passed=None),
    ]

    path = finished(tmp_path, "parquet", served, COLUMNS)

    moment = datetime(2023, 6, 29, 12, 34, 33, tzinfo=UTC)
    first, second = pq.read_table(path).to_pylist()
    assert pq.read_schema(path).equals(schema_of(COLUMNS))
    assert [
        first[name] for name in ("date_enrolled", "has_passed", "score", "progress_percent")
    ] == [moment, True, 87.5, 100.0]
    grade = first["resource_grades"][0]
    assert (grade["duration"], grade["date_started"]) == (61.0, moment)
    assert json.loads(first["included"]) == included
    assert [second[name] for name in ("has_passed", "date_completed", "included")] == [None] * 3


def test_schema__is_stable() -> None:
    """The columns' types stay: readers of the files rely on them."""
    dates = (
        *("date_enrolled", "date_started", "date_completed", "completion_deadline"),
        "last_access_date",
    )
    grades = (
        "list<item: struct<id: string, module_id: string, module_version: int64,"
        " progress_percent: double, has_passed: bool, score: double, highest_score: double,"
        " max_score: double, duration: double, date_started: timestamp[us, tz=UTC],"
        " date_completed: timestamp[us, tz=UTC], date_success: timestamp[us, tz=UTC],"
        " completed: bool, module_name: string>>"
    )

    assert {field.name: str(field.type) for field in schema_of(COLUMNS)} == {
        **dict.fromkeys(COLUMNS, "string"),
        **dict.fromkeys(("progress_percent", "score", "rating", "purchased_price"), "double"),
        **dict.fromkeys(dates, "timestamp[us, tz=UTC]"),
        "has_passed": "bool",
        "resource_grades": grades,
    }


def test_columns__selected_or_flat(tmp_path: Path) -> None:
    """A file has the selected columns in their order, or else the flat ones."""
    selected = finished(tmp_path, "parquet", enrollments(1), ["state", "id"])

    assert pq.read_schema(selected).names == ["state", "id"]
    assert Parquet().columns == (*SCALARS, "resource_grade_ids")


@given(text=HOSTILE, number=st.none() | st.floats(allow_nan=False, allow_infinity=False))
@example(text="a\ud800b\udfff", number=0.0)
@example(text="\U0001f600", number=None)
@settings(max_examples=25)
def test_read__nested_values(text: str, number: float | None) -> None:
    """Grades and included resources read back; half a surrogate pair reads back as its escape."""
    grade = included_grade(module_id=text, module_name=None)
    served = enrollment(
        url=text, score=number, resource_grades=(grade,), included={"learner": {text: text}}
    )

    (record,) = round_trip(served)

    visible = text.encode(errors="backslashreplace").decode()
    expected = served.as_dict()
    expected["resource_grades"][0]["module_id"] = visible
    names = ("lo_name", "user_name", "user_email", "module_names")
    ids = {"resource_grade_ids": grade.id, **dict.fromkeys(names)}
    assert record == {**expected, **ids, "url": visible}


@given(moment=MOMENTS)
@settings(max_examples=25)
def test_read__moments(moment: datetime) -> None:
    """A date with any offset reads back as the same moment, to the microsecond."""
    (record,) = round_trip(enrollment(date_enrolled=moment.isoformat()))

    assert datetime.fromisoformat(record["date_enrolled"]) == moment


def test_read__dates_as_alm_writes_them() -> None:
    """Dates in ALM's notation read back letter by letter."""
    dates = [DATE, "2023-06-29T12:34:33.123Z", "2023-06-29T12:34:33.123456Z"]

    records = round_trip(*[enrollment(date_enrolled=date) for date in dates])

    assert [record["date_enrolled"] for record in records] == dates


def test_finish__unreadable_dates(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A date that Parquet cannot hold is null there, and one warning counts all of them."""
    dates = ["soon", "", "2023-13-01", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]
    served = [enrollment(date_enrolled=date) for date in dates]
    served.append(enrollment(resource_grades=(included_grade(date_success="later"),)))

    path = finished(tmp_path, "parquet", served, COLUMNS)

    assert pq.read_table(path).column("date_enrolled").null_count == len(dates)
    assert caplog.messages == ["null in x instead of a date: 6 values"]


def test_finish__without_records(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file without records has its columns all the same."""
    path = finished(tmp_path, "parquet", [], COLUMNS)

    assert (pq.read_table(path).num_rows, pq.read_schema(path).names) == (0, list(COLUMNS))
    assert list(read_records(path)) == []
    assert caplog.messages == []


def test_finish__in_order_beyond_one_batch(tmp_path: Path) -> None:
    """The records of a long file keep their order, though only some are in memory at once."""
    path = finished(tmp_path, "parquet", enrollments(5_001))

    assert pq.read_table(path).column("lo_id").to_pylist() == [
        f"course:{number}" for number in range(5_001)
    ]
