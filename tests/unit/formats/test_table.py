"""The table for people: it fits a line, and a terminal executes nothing in it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from connector.formats.table import Table
from tests.support.records import HOSTILE, enrollment


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
        "enrollment                                state             progress  passed  score   "
        "enrolled\n"
        "----------------------------------------  ----------------  --------  ------  ------  "
        "------------------------\n"
        "course:6511020_2_31                       COMPLETED         100       yes     87.5    "
        "2023-06-29T12:34:33.000Z\n"
        "learningProgram:1234567_12345678_209413…  COMPLETED         100       no\n"
    )


def test_columns__selected() -> None:
    """Selected columns have their heading in words, and a width for their kind of value."""
    table = Table(["lo_name", "rating", "date_completed", "id"])

    text = table.begin + table.rows([enrollment(lo_name="x" * 40, rating=5)])

    assert text == (
        "lo name                           rating    date completed            enrollment\n"
        "--------------------------------  --------  ------------------------"
        "  ----------------------------------------\n"
        f"{'x' * 31}…  5                                   course:1_2_31\n"
    )


@given(texts=st.lists(HOSTILE, max_size=3))
def test_rows__are_visible_text(texts: list[str]) -> None:
    """Whatever a terminal or a CI system would obey is made visible, and each line fits."""
    rows = Table().rows(
        [enrollment(id=text, state=f"\x1b[31m{text}", date_enrolled=text) for text in texts]
    )

    lines = rows.splitlines()
    assert len(lines) == rows.count("\n") == len(texts)
    assert [line for line in lines if not line.isprintable() or len(line) > 110] == []
    assert "##" not in rows
