"""CSV: reads back as it was written; no spreadsheet computes it, and no CI runner obeys it."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connector.formats import read_records
from connector.formats.csv import Csv
from connector.formats.interface import COLUMNS, SCALARS
from connector.text import unescape_cell
from tests.support.formats import finished
from tests.support.records import HOSTILE, enrollment, included_grade

if TYPE_CHECKING:
    from pathlib import Path

ALL = Csv(COLUMNS)
FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def read(text: str) -> list[dict[str, str]]:
    """Return the rows of CSV *text*, each by column, as a strict reader has them."""
    return list(csv.DictReader(io.StringIO(ALL.begin + text, newline=""), strict=True))


def test_rows__the_complete_text() -> None:
    """CSV is one line per enrollment as in RFC 4180: null is empty, nested values are JSON."""
    grade = included_grade(id="g1", module_name="Ä")

    text = ALL.begin + ALL.rows(
        [
            enrollment(number=7, url='a "b", c', lo_name="First aid"),
            enrollment(resource_grades=(grade, grade), included={"learner": {"id": "##"}}),
        ]
    )

    json_grade = (
        '{""id"":""g1"",""module_id"":""7"",""module_version"":0,""progress_percent"":50,'
        '""has_passed"":false,""score"":-1.5,""highest_score"":3,""max_score"":10,""duration"":61,'
        '""date_started"":""2023-06-29T12:34:33.000Z"",""date_completed"":null,'
        '""date_success"":null,""completed"":null,""module_name"":""\\u00c4""}'
    )
    assert text == (
        "id,user_id,lo_id,lo_type,lo_instance_id,state,progress_percent,has_passed,score,"
        "enrollment_source,date_enrolled,date_started,date_completed,completion_deadline,"
        "last_access_date,rating,purchased_price,url,lo_name,user_name,user_email,"
        "resource_grade_ids,module_names,resource_grades,included\r\n"
        "course:7_2_31,31,course:7,course,course:7_2,COMPLETED,100,true,87.5,SELF_ENROLL,"
        '2023-06-29T12:34:33.000Z,2023-06-29T12:34:33.000Z,,,,,,"a ""b"", c",First aid,,,'
        'course:7_2_7_0_31,,"[{""id"":""course:7_2_7_0_31"",""module_id"":""7"",""module_version"":0}]",\r\n'
        "course:1_2_31,31,course:1,course,course:1_2,COMPLETED,100,true,87.5,SELF_ENROLL,"
        "2023-06-29T12:34:33.000Z,2023-06-29T12:34:33.000Z,,,,,,,,,,g1 g1,Ä; Ä,"
        f'"[{json_grade},{json_grade}]","{{""learner"":{{""id"":""#\\u0023""}}}}"\r\n'
    )


@given(texts=st.lists(st.tuples(HOSTILE, HOSTILE), max_size=4))
@example(texts=[("\\u0023", "\\u0023"), ("'=1", "''=1"), ("\r\n=1", ";=1;'@x"), ("'", "##")])
def test_rows__read_back(texts: list[tuple[str, str]]) -> None:
    """Any text reads back, in its row and column; nested text reads back as JSON."""
    rows = ALL.rows(
        [enrollment(url=url, included={"learner": {"name": name}}) for url, name in texts]
    )

    read_back = [(unescape_cell(row["url"]), json.loads(row["included"])) for row in read(rows)]
    assert read_back == [(url, {"learner": {"name": name}}) for url, name in texts]


@given(
    text=HOSTILE, beginning=st.sampled_from(["", *FORMULA, " =", "\n=", "\u3000\uff1d", "\t", ";="])
)
@example(text="", beginning="=")
def test_rows__no_formula(text: str, beginning: str) -> None:
    """No cell begins like a formula, whether a comma or a semicolon separates cells."""
    hostile = beginning + text
    grades = (included_grade(id=hostile),)

    line = ALL.rows([enrollment(id=hostile, url=hostile, resource_grades=grades)])

    (row,) = read(line)
    assert [cell for cell in row.values() if cell.lstrip().startswith(FORMULA)] == []
    assert not re.search(r";[\s'\"]*[=+@\uff1d\uff0b\uff0d\uff20-]", line)
    assert line.splitlines() == [line.removesuffix("\r\n")]


@pytest.mark.parametrize("value", [-1, -0.5, 1e300])
def test_rows__a_negative_number_is_a_number(value: float) -> None:
    """A number keeps its sign and gets no apostrophe."""
    (row,) = read(ALL.rows([enrollment(score=value)]))

    assert float(row["score"]) == value


def test_columns__in_the_order_selected() -> None:
    """A selection of columns decides which there are, and their order."""
    written_as = Csv(["state", "user_name", "id"])

    text = written_as.begin + written_as.rows([enrollment(user_name="Ada", id="x")])

    assert text == "state,user_name,id\r\nCOMPLETED,Ada,x\r\n"


def test_columns__no_json_unless_selected() -> None:
    """By default no cell is JSON, and there is no column for names that were not requested."""
    assert Csv().begin == ",".join((*SCALARS, "resource_grade_ids")) + "\r\n"


def test_read__long_cells(tmp_path: Path) -> None:
    """Cells of any length are read, and the limit of the process stays as it was."""
    limit = csv.field_size_limit()
    served = [enrollment(included={"learner": {"name": "x" * limit}})]
    path = finished(tmp_path, "csv", served, ["id", "included"])

    (record,) = read_records(path)

    assert record == {"id": "course:1_2_31", "included": served[0].included}
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize("row", ["x", "x,y,z", 'x,"y', 'x,"y"z'])
def test_read__a_damaged_line(row: str, tmp_path: Path) -> None:
    """A file with a line that does not fit its header, or with an open quote, is refused."""
    (tmp_path / "x.csv").write_text(f"id,state\r\n{row}\r\n")

    with pytest.raises(ValueError, match=r".+"):
        list(read_records(tmp_path / "x.csv"))
