"""Text that nothing obeys: one line for people, one line of JSON for programs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connector.text import escape, escape_cell, one_line, quoted, to_json, unescape, unescape_cell

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
    ("text", "line"),
    [
        ("##[error]x", "#\\u0023[error]x"),
        ("a ##vso[task.x]", "a #\\u0023vso[task.x]"),
        ("#1", "#1"),
        ("é\r\n\x1b[31m\u2028", "é\\r\\n\\x1b[31m\\u2028"),
    ],
)
def test_one_line__holds_no_command(text: str, line: str) -> None:
    """Line breaks, control characters and the commands of GitHub and Azure become escapes."""
    assert one_line(text) == line


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("José 山田\u3000太郎 😀 C:\\temp #1", "José 山田\u3000太郎 😀 C:\\temp #1"),
        ("##vso[task.x]###", r"#\u0023vso[task.x]#\u0023\u0023"),
        ("a\r\n\x1b[31m\x7f\x9b\u2028\u202e", r"a\u000d\u000a\u001b[31m\u007f\u009b\u2028\u202e"),
        ("::error::a::b", r":\u003aerror::a::b"),
        (" \u3000\u00a0::error::", " \u3000\u00a0:" + r"\u003aerror::"),
        ("\n::error::", r"\u000a::error::"),
        (r"\u0023 \\u0023 \u002", r"\u005cu0023 \\u005cu0023 \u002"),
        ("\ud800", r"\ud800"),
    ],
)
def test_escape__keeps_the_rest(text: str, escaped: str) -> None:
    """What a terminal or a CI system would obey becomes an escape; everything else stays."""
    assert escape(text) == escaped


@given(st.text() | st.text("#:\\u0023d8'=-;\n \t\x1b\u3000\uff1d"))
def test_escape__is_reversible(text: str) -> None:
    """Any text can be read back, from an escaped text and from a cell."""
    assert unescape(escape(text)) == text
    assert unescape_cell(escape_cell(text)) == text


@given(JSON)
@example({"##": "###", "####": ["#", "#####", '\\"##', "\\##", "\\u0023#", "#\\u0023"]})
def test_to_json__reads_back(document: Any) -> None:
    """Any document is one line of ASCII without ``##`` that reads back as the same document."""
    line = to_json(document)

    assert json.loads(line) == document
    assert "##" not in line
    assert line.isascii()
    assert line.isprintable()


def test_to_json__complete_line() -> None:
    r"""The line is compact, in the document's order, with ``##`` written ``#\u0023``."""
    document = {"b": ["é\n\u2028😀", "##vso[task.x]"], "a": {"n": None, "t": True, "f": 1.5}}

    assert to_json(document) == (
        r'{"b":["\u00e9\n\u2028\ud83d\ude00","#\u0023vso[task.x]"],"a":{"n":null,"t":true,"f":1.5}}'
    )


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_to_json__refuses_other_numbers(number: float) -> None:
    """A number that JSON does not have is refused."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json({"score": number})


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("a\n::error::b", r'"a\n::error::b"'),
        ("\x1b[31mred\x07\x7f", r'"\u001b[31mred\u0007\u007f"'),
        ("\u2028\u202e\u0085é", r'"\u2028\u202e\u0085\u00e9"'),
        ('quoted "so" \\', r'"quoted \"so\" \\"'),
        ("\ud800", r'"\ud800"'),
        ("##[error]x", '"#\\u0023[error]x"'),
        ("x" * 200, '"' + "x" * 200 + '"'),
        ("x" * 201, '"' + "x" * 200 + '\\u2026"'),
        ("\n" * 10_000, '"' + "\\n" * 200 + '\\u2026"'),
    ],
)
def test_quoted__hostile_text(text: str, literal: str) -> None:
    """Text from elsewhere is cut after 200 characters and stays one line without commands."""
    assert quoted(text) == literal
