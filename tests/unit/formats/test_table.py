"""The table for people: it fits, and a terminal obeys nothing in it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from connector.formats.table import Table
from tests.unit.formats.made import HOSTILE, enrollment


def test_rows__whole_text() -> None:
    """Headings, then a line an enrollment; what is too long ends in an ellipsis, and nothing is nothing."""
    text = Table.begin + Table().rows(
        [
            enrollment(number=6511020),
            enrollment(
                id="learningProgram:1234567_12345678_20941371",
                has_passed=False,
                score=None,
                date_enrolled=None,
            ),
        ]
    )

    assert text == (
        "enrollment                                state             progress  passed  score   enrolled\n"
        "----------------------------------------  ----------------  --------  ------  ------  ------------------------\n"
        "course:6511020_2_31                       COMPLETED         100       yes     87.5    2023-06-29T12:34:33.000Z\n"
        "learningProgram:1234567_12345678_209413…  COMPLETED         100       no\n"
    )


@given(text=HOSTILE)
def test_rows__obeys_nothing(text: str) -> None:
    """Escapes, new lines and whatever else a terminal or a CI system obeys are visible, and each line fits."""
    written = Table().rows([enrollment(id=text, state=f"\x1b[31m{text}", date_enrolled=text)])

    assert written.count("\n") == 1
    assert written[:-1].isprintable()
    assert "##" not in written
    assert len(written) <= 111


@given(count=st.integers(0, 5))
def test_rows__a_line_each(count: int) -> None:
    """Each enrollment is one line."""
    assert Table().rows([enrollment()] * count).count("\n") == count
