"""Parquet: typed columns, real timestamps, and back to the lines that it was made of."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connector.formats.interface import SCALARS
from connector.formats.parquet import SCHEMA, Parquet
from tests.support.records import DATE, HOSTILE, enrollment, enrollments, included_grade

if TYPE_CHECKING:
    from collections.abc import Sequence

    from connector.alm.records import Enrollment

OFFSETS = st.builds(
    timezone, st.integers(-720, 720).map(lambda minutes: timedelta(minutes=minutes))
)
MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=OFFSETS)  # noqa: DTZ001 - hypothesis adds the offsets


def finish(folder: Path, served: Sequence[Enrollment]) -> Path:
    """Return the Parquet file of *served*, in *folder*."""
    growing = folder / "growing"
    growing.write_bytes(Parquet().rows(served).encode())
    return Parquet().finish(growing, folder / "finished", "x.parquet")


def round_trip(*served: Enrollment) -> list[dict[str, Any]]:
    """Return the records that are read back from the Parquet file of *served*."""
    with TemporaryDirectory() as folder:
        path = finish(Path(folder), served)
        return [json.loads(line) for line in lines_of(path, len(served))]


def lines_of(path: Path, *counts: int) -> list[bytes]:
    """Return the rows of the first users in *path*, who have so many records."""
    entries = [{"enrollments": count} for count in counts]
    lines: list[bytes] = []
    for _, pieces in Parquet().read_users(path, 0, entries):
        lines += pieces
    return lines


def test_finish__typed_columns(tmp_path: Path) -> None:
    """Numbers, booleans and moments in UTC have their types; ``included`` is JSON text."""
    included = {"learner": {"id": "31", "attributes": {"name": "Jörg"}}}

    path = finish(
        tmp_path,
        [
            enrollment(resource_grades=(included_grade(),), included=included),
            enrollment(has_passed=None),
        ],
    )

    moment = datetime(2023, 6, 29, 12, 34, 33, tzinfo=UTC)
    first, second = pq.read_table(path).to_pylist()
    assert pq.read_schema(path).equals(SCHEMA)
    assert [
        first[name] for name in ("date_enrolled", "has_passed", "score", "progress_percent")
    ] == [moment, True, 87.5, 100.0]
    grade = first["resource_grades"][0]
    assert (grade["duration"], grade["date_started"]) == (61.0, moment)
    assert json.loads(first["included"]) == included
    assert [second[name] for name in ("has_passed", "date_completed", "included")] == [None] * 3


def test_schema__is_stable() -> None:
    """The columns, their types and their order stay: readers of the files rely on them."""
    types = {
        **dict.fromkeys(SCALARS, "string"),
        **dict.fromkeys(("progress_percent", "score", "rating", "purchased_price"), "double"),
        **dict.fromkeys(
            (
                "date_enrolled",
                "date_started",
                "date_completed",
                "completion_deadline",
                "last_access_date",
            ),
            "timestamp[us, tz=UTC]",
        ),
        "has_passed": "bool",
    }
    grades = (
        "list<item: struct<id: string, module_id: string, module_version: int64,"
        " progress_percent: double, has_passed: bool, score: double, highest_score: double,"
        " max_score: double, duration: double, date_started: timestamp[us, tz=UTC],"
        " date_completed: timestamp[us, tz=UTC], date_success: timestamp[us, tz=UTC],"
        " completed: bool>>"
    )

    assert [(field.name, str(field.type)) for field in SCHEMA] == [
        *types.items(),
        ("resource_grades", grades),
        ("included", "string"),
    ]


@given(text=HOSTILE, number=st.none() | st.floats(allow_nan=False, allow_infinity=False))
@example(text="a\ud800b\udfff", number=0.0)
@example(text="\U0001f600", number=None)
@settings(max_examples=25)
def test_read_users__as_they_were_written(text: str, number: float | None) -> None:
    """Records read back as they were; half a surrogate pair reads back as its JSON escape."""
    served = enrollment(
        url=text,
        score=number,
        resource_grades=(included_grade(module_id=text),),
        included={"learner": {text: text}},
    )

    (record,) = round_trip(served)

    visible = text.encode(errors="backslashreplace").decode()
    expected = served.as_dict()
    expected["resource_grades"][0]["module_id"] = visible
    assert record == {**expected, "url": visible}


@given(moment=MOMENTS)
@settings(max_examples=25)
def test_read_users__moments(moment: datetime) -> None:
    """A date with any offset reads back as the same moment, to the microsecond."""
    (record,) = round_trip(enrollment(date_enrolled=moment.isoformat()))

    assert datetime.fromisoformat(record["date_enrolled"]) == moment


def test_read_users__dates_as_alm_writes_them() -> None:
    """Dates in ALM's notation read back letter by letter."""
    dates = [DATE, "2023-06-29T12:34:33.123Z", "2023-06-29T12:34:33.123456Z"]

    records = round_trip(*[enrollment(date_enrolled=date) for date in dates])

    assert [record["date_enrolled"] for record in records] == dates


def test_finish__unreadable_dates(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A date that Parquet cannot hold is null there, and one warning counts all of them."""
    dates = ["soon", "", "2023-13-01", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]
    grades = (included_grade(date_success="later"),)

    path = finish(
        tmp_path,
        [
            *[enrollment(date_enrolled=date) for date in dates],
            enrollment(resource_grades=grades),
        ],
    )

    assert pq.read_table(path).column("date_enrolled").null_count == len(dates)
    assert caplog.messages == ["6 dates are none, and are null in x.parquet"]


def test_finish__without_records(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file without records has its columns all the same."""
    path = finish(tmp_path, [])

    assert (pq.read_table(path).num_rows, pq.read_schema(path).names) == (0, SCHEMA.names)
    assert lines_of(path, 0) == []
    assert caplog.messages == []


def test_finish__in_order_beyond_one_batch(tmp_path: Path) -> None:
    """The records of a long file keep their order, though only some are in memory at once."""
    path = finish(tmp_path, enrollments(5_001))

    assert pq.read_table(path).column("lo_id").to_pylist() == [
        f"course:{number}" for number in range(5_001)
    ]


@pytest.mark.parametrize(
    ("count", "users"), [(3, [1, 2]), (3, [2]), (3, [0]), (5_003, [4_999, 0, 2])]
)
def test_read_users__each_with_the_own_rows(count: int, users: list[int], tmp_path: Path) -> None:
    """Each user has the rows that follow those of the users before, as lines; others are left."""
    path = finish(tmp_path, enrollments(count)).rename(tmp_path / "x.parquet")
    entries = [{"enrollments": rows} for rows in users]

    read = [(entry, list(pieces)) for entry, pieces in Parquet().read_users(path, 0, entries)]

    assert [entry for entry, _ in read] == entries
    assert [len(lines) for _, lines in read] == users
    growing = tmp_path / "growing"
    growing.write_bytes(b"".join([line for _, lines in read for line in lines]))
    again = Parquet().finish(growing, tmp_path / "again", "x.parquet")
    assert pq.read_table(again).equals(pq.read_table(path).slice(0, sum(users)))
