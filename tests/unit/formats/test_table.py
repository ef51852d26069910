"""The table for people: it fits a line, and a terminal executes nothing in it."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from connector.formats.table import Table
from tests.support.records import HOSTILE, enrollment

UNSAFE = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u202e\\ud800-\\udfff]|##|^ *::")


def test_rows__the_complete_text() -> None:
    """One line per enrollment under the headings; a value that is too long ends in an ellipsis."""
    long_id = "learningProgram:1234567_12345678_20941371"

    text = Table().begin + Table().rows(
        [
            enrollment(number=6511020),
            enrollment(id=long_id, has_passed=False, score=None, date_enrolled=None),
        ]
    )

    assert text == (
        "enrollment                              state       %    passed  enrolled\n"
        "--------------------------------------  ----------  ---  ------  ----------\n"
        "course:6511020_2_31                     COMPLETED   100  yes     2023-06-29\n"
        "learningProgram:1234567_12345678_2094…  COMPLETED   100  no\n"
    )


def test_default_columns__of_names() -> None:
    """With names the table shows them in place of ids, and each line fits 80 columns."""
    columns = Table.default_columns(["learner", "learningObject"])
    table = Table(columns)

    text = table.begin + table.rows(
        [enrollment(user_name="Ada " * 9, lo_name="Safety " * 9, date_completed=None)]
    )

    assert text == (
        "learner           learning object        state       %    enrolled    completed\n"
        "----------------  ---------------------  ----------  ---  ----------  ----------\n"
        "Ada Ada Ada Ada…  Safety Safety Safety…  COMPLETED   100  2023-06-29\n"
    )


def test_columns__selected() -> None:
    """Selected columns have their heading in words, and a width for their kind of value."""
    table = Table(["lo_name", "rating", "date_completed", "id"])

    text = table.begin + table.rows([enrollment(lo_name="x" * 40, rating=5)])

    assert text == (
        "learning object        rating    completed   enrollment\n"
        "---------------------  --------  ----------"
        "  --------------------------------------\n"
        f"{'x' * 20}…  5                     course:1_2_31\n"
    )


@given(texts=st.lists(HOSTILE, max_size=3))
def test_rows__are_visible_text(texts: list[str]) -> None:
    """Whatever a terminal or a CI system would obey is made visible, and each line fits."""
    rows = Table().rows(
        [enrollment(id=text, state=f"\x1b[31m{text}", date_enrolled=text) for text in texts]
    )

    lines = rows.splitlines()
    assert len(lines) == rows.count("\n") == len(texts)
    assert [line for line in lines if UNSAFE.search(line) or len(line) > 80] == []
