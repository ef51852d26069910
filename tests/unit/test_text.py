"""Text that nobody obeys: one line for people, one line of JSON for programs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connector.text import one_line, to_json

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.text('#\\u023"'),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("#ab"), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("##[error]x", "#\\u0023[error]x"),
        ("a ##vso[task.x]", "a #\\u0023vso[task.x]"),
        ("#1", "#1"),
    ],
)
def test_one_line__obeyed_by_nobody(text: str, told: str) -> None:
    """What GitHub and Azure would obey in mid-line is written so that they do not."""
    assert one_line(text) == told


@given(JSON)
@example({"##": "###", "####": ["#", "#####", '\\"##', "\\##", "\\u0023#", "#\\u0023"]})
def test_to_json__reads_back_as_it_was(document: Any) -> None:
    """One line of ASCII without any `##`, which means what the document said."""
    line = to_json(document)

    assert json.loads(line) == document
    assert "##" not in line
    assert line.isascii()
    assert line.isprintable()


def test_to_json__whole_line() -> None:
    r"""Compact ASCII JSON, in the document's order, ``##`` written ``#\u0023``."""
    document = {"b": ["é\n\u2028😀", "##vso[task.x]"], "a": {"n": None, "t": True, "f": 1.5}}

    assert to_json(document) == (
        r'{"b":["\u00e9\n\u2028\ud83d\ude00","#\u0023vso[task.x]"],"a":{"n":null,"t":true,"f":1.5}}'
    )


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_to_json__numbers_that_json_has_not(number: float) -> None:
    """What JSON cannot say is refused rather than written in a way that few can read."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json({"score": number})
