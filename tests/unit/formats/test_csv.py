"""CSV: read back as it was written, whatever is in it, and nothing that a spreadsheet computes."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connector.formats.csv import Csv
from connector.formats.interface import COLUMNS
from connector.output.buffer import RecordBuffer
from tests.unit.formats.made import HOSTILE, enrollment, included_grade

FORMULA = ("=", "+", "-", "@", "\t", "\r")


def written(text: str) -> list[list[str]]:
    """Return the cells of CSV with its header, which must be that of the columns."""
    header, *rows = csv.reader(io.StringIO(Csv.begin + text, newline=""), strict=True)
    assert header == list(COLUMNS)
    return rows


def test_rows__whole_text() -> None:
    """A line of RFC 4180 an enrollment: truths and numbers plain, nothing empty, what is nested JSON."""
    grade = included_grade(id="g1")

    text = Csv().rows(
        [
            enrollment(number=7, url='a "b", c'),
            enrollment(resource_grades=(grade, grade), included={"learner": {"id": "##"}}),
        ]
    )

    one_grade = (
        '{""id"":""g1"",""module_id"":""7"",""module_version"":0,""progress_percent"":50,""has_passed"":false,""score"":-1.5,'
        '""highest_score"":3,""max_score"":10,""duration"":61,""date_started"":""2023-06-29T12:34:33.000Z"",""date_completed"":null,'
        '""date_success"":null}'
    )
    assert text == (
        "course:7_2_31,31,course:7,course,course:7_2,COMPLETED,100,true,87.5,SELF_ENROLL,2023-06-29T12:34:33.000Z,"
        '2023-06-29T12:34:33.000Z,,,,,,"a ""b"", c",course:7_2_7_0_31,'
        '"[{""id"":""course:7_2_7_0_31"",""module_id"":""7"",""module_version"":0}]",\r\n'
        "course:1_2_31,31,course:1,course,course:1_2,COMPLETED,100,true,87.5,SELF_ENROLL,2023-06-29T12:34:33.000Z,"
        f'2023-06-29T12:34:33.000Z,,,,,,,g1 g1,"[{one_grade},{one_grade}]","{{""learner"":{{""id"":""#\\u0023""}}}}"\r\n'
    )


@given(rows=st.lists(st.tuples(HOSTILE, HOSTILE), max_size=5))
def test_rows__read_back(rows: list[tuple[str, str]]) -> None:
    """Whatever text ALM sends, a reader of CSV gets it back, each cell in its column, each enrollment in its row."""
    text = Csv().rows([enrollment(state=state, url=url, resource_grades=()) for state, url in rows])

    cells = [(row[COLUMNS.index("state")], row[COLUMNS.index("url")]) for row in written(text)]
    assert [
        tuple(cell.removeprefix("'") if cell[1:2] in FORMULA else cell for cell in pair)
        for pair in cells
    ] == [
        tuple(
            text.removeprefix("'") if text[1:2] in FORMULA and text[:1] == "'" else text
            for text in pair
        )
        for pair in rows
    ]


@given(text=HOSTILE, beginning=st.sampled_from(["", *FORMULA]))
def test_rows__no_formula(text: str, beginning: str) -> None:
    """No cell of text begins with what makes a spreadsheet compute it, a grade's id included."""
    hostile = beginning + text

    (row,) = written(
        Csv().rows(
            [enrollment(id=hostile, url=hostile, resource_grades=(included_grade(id=hostile),))]
        )
    )

    assert [cell for cell in row if cell.startswith(FORMULA)] == []


@pytest.mark.parametrize("value", [-1, -0.5, 1e300])
def test_rows__a_negative_number_is_a_number(value: float) -> None:
    """Numbers keep their sign: they are no text."""
    (row,) = written(Csv().rows([enrollment(score=value)]))

    assert float(row[COLUMNS.index("score")]) == value


@given(text=HOSTILE)
@example(text="a\ud800b")
def test_rows__as_bytes(text: str) -> None:
    """Whatever text ALM sends can be written: half a surrogate pair, which UTF-8 cannot say, stands as JSON escapes it."""
    chunk = RecordBuffer(Csv(), str, None)
    chunk.add([enrollment(url=f"x{text}")])

    (row,) = written(b"".join(chunk.pieces()).decode())

    assert row[COLUMNS.index("url")] == f"x{text}".encode(errors="backslashreplace").decode()


@given(text=HOSTILE)
def test_rows__nested_is_json(text: str) -> None:
    """What is nested is read back as JSON."""
    nested = {"learner": {"attributes": {text: [text, None]}}}

    (row,) = written(Csv().rows([enrollment(included=nested)]))

    assert json.loads(row[COLUMNS.index("included")]) == nested
