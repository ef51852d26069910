"""Every format of one run has the same records, and read back it has the values of NDJSON."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connector.formats import FORMATS, make_format, read_records
from connector.formats.interface import COLUMNS, DATES, NESTED
from tests.support.formats import finished, values_of
from tests.support.records import DATE, HOSTILE, enrollment, included_grade

if TYPE_CHECKING:
    from connector.alm.records import Enrollment

READABLE = sorted(name for name in FORMATS if make_format(name).is_readable)
TEXTS = HOSTILE | st.sampled_from(
    ["=1+1", "+", "-2", "@x", "'=", "''", "\t=", "\r=1", "<r>x</r>", "<r>", "_x0041_", " ", "∞"]
)
# What a double holds in the sixteen digits that a spreadsheet writes.
NUMBERS = st.integers(-(10**15), 10**15) | st.integers(-(10**9), 10**9).map(lambda n: n / 1_000)
MOMENTS = st.sampled_from([DATE, "2024-02-29T23:59:59.999Z", "1950-01-01T00:00:00.000Z"])
RECORDS = st.builds(
    enrollment,
    id=TEXTS,
    state=st.none() | TEXTS,
    score=st.none() | NUMBERS,
    has_passed=st.none() | st.booleans(),
    date_completed=st.none() | MOMENTS,
    url=st.none() | TEXTS,
    lo_name=st.none() | TEXTS,
    user_name=st.none() | TEXTS,
    user_email=st.none() | TEXTS,
    resource_grades=st.just(())
    | st.builds(included_grade, id=TEXTS, module_name=TEXTS).map(lambda grade: (grade,)),
    included=st.none() | st.dictionaries(st.just("learner"), st.none() | TEXTS, min_size=1),
)


def in_any_format(record: dict[str, Any]) -> dict[str, Any]:
    """Return the values that every format can tell apart: no empty text, no half of a pair."""
    values: dict[str, Any] = json.loads(json.dumps(record), object_hook=lambda found: found)
    for name, value in values.items():
        if isinstance(value, str):
            values[name] = value.encode(errors="backslashreplace").decode() or None
        elif name in NESTED:
            # CSV and xlsx have nested values as JSON, Parquet as structs with every field.
            values[name] = value or None
    return values


@pytest.mark.parametrize("name", READABLE)
@given(served=st.lists(RECORDS, max_size=3))
@example(served=[enrollment(user_name="<r><t>x</t></r>", lo_name="<r>" + "x" * 40)])
@example(served=[enrollment(id="x\ud800", url="\U0001f600", included={"learner": "\udfff"})])
@settings(max_examples=40, deadline=None)
def test_read_records__the_values_of_ndjson(name: str, served: list[Enrollment]) -> None:
    """Each format reads back as the values of NDJSON, whatever the texts are."""
    columns = [column for column in COLUMNS if name != "parquet" or column not in NESTED]
    with TemporaryDirectory() as folder:
        read = list(read_records(finished(Path(folder), name, served, columns)))

    expected = [in_any_format(record) for record in values_of(served, columns)]
    if name in ("json", "ndjson"):
        read = [
            {column: value for column, value in record.items() if column in columns}
            for record in read
        ]
        expected = [in_any_format(enrollment.as_dict()) for enrollment in served]
    assert [in_any_format(record) for record in read] == expected


@pytest.mark.parametrize("name", ["csv", "parquet", "xlsx"])
@given(moment=st.datetimes(datetime(1900, 3, 1), datetime(2200, 1, 1)))  # noqa: DTZ001 - written as UTC
@settings(max_examples=25, deadline=None)
def test_read_records__moments(name: str, moment: datetime) -> None:
    """A date reads back as the same moment, to the microsecond."""
    date = f"{moment.isoformat()}Z"
    with TemporaryDirectory() as folder:
        path = finished(Path(folder), name, [enrollment(date_enrolled=date)], ["date_enrolled"])
        (record,) = read_records(path)

    assert datetime.fromisoformat(record["date_enrolled"]) == datetime.fromisoformat(date)


@pytest.mark.parametrize("name", ["csv", "xlsx"])
def test_read_records__dates_that_are_none(name: str, tmp_path: Path) -> None:
    """A text in place of a date stays as it is."""
    served = [enrollment(date_enrolled="soon", date_started="9999-12-31T23:59:59-14:00")]

    path = finished(tmp_path, name, served, DATES)

    assert list(read_records(path)) == values_of(served, DATES)
