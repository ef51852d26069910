"""How text and Python values become JSON values."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.settings import read_boolean, read_value
from connector.settings.values import parse_parameter, parse_shard

ARRAY, NUMBER = {"type": "array"}, {"type": "number"}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(), st.lists
)


@pytest.mark.parametrize(
    "value",
    [
        "7,8",
        "7 8",
        "7\n8",
        " 7 ,\r\n\t8, ",
        ",7,,8,",
        '["7","8"]',
        ' [7, "8"]\n',
        ["7", "8"],
        [7, 8],
        ("7", 8),
        [" 7 ", "8\n"],
        "7,8,7,8",
        ["7", 7, "8"],
    ],
)
def test_read_value__list(value: Any) -> None:
    """A list is text by comma or white space, a JSON array or Python's own; each item once."""
    assert read_value(value, ARRAY) == ["7", "8"]


@pytest.mark.parametrize("value", ["20941371", 20941371, ["20941371"], "[20941371]", " 20941371\n"])
def test_read_value__list_of_one(value: Any) -> None:
    """A single id may be text, a number or a list."""
    assert read_value(value, ARRAY) == ["20941371"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("[1, 2", "[1, 2"),
        ("[" * 100_000, "[" * 100_000),
        ("[[1]]", [[1]]),
        ("[null, 1]", [None, "1"]),
        ("[true]", [True]),
        (",", []),
        ([""], [""]),
        (1.5, [1.5]),
        ({"1"}, [{"type": "set"}]),
        ([{("a",): 1}, 1], [{"type": "dict"}, "1"]),
    ],
)
def test_read_value__no_list(value: Any, expected: object) -> None:
    """A value that is no list of text stays as it is, or becomes an object that has its type."""
    assert read_value(value, ARRAY) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1", 1),
        ("+3", 3),
        (" -3\n", -3),
        ("10.0", 10),
        (10.0, 10),
        ("1e1", 10),
        ("6E+2", 600),
        ("0.5", 0.5),
        (".25", 0.25),
        (0.001, 0.001),
        ("1" * 300, int("1" * 300)),
        ("1_0", "1_0"),
        ("0x5", "0x5"),
        ("\uff11", "\uff11"),
        ("ten", "ten"),
        ("50%", "50%"),
        ("nan", "nan"),
        ("inf", "inf"),
        ("1e400", "1e400"),
        ("1" * 310, "1" * 310),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (True, True),
        (["3"], ["3"]),
        (Decimal("nan"), {"type": "Decimal"}),
        pytest.param(10**5000, {"type": "int"}, id="too many digits for JSON"),
    ],
)
def test_read_value__number(value: Any, expected: object) -> None:
    """A number is decimal digits; whole ones become int, and nan and inf text, as no input is."""
    number = read_value(value, NUMBER)

    assert (number, type(number)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("true", True),
        ("True", True),
        ("1", True),
        ("YES", True),
        ("on", True),
        (True, True),
        ("false", False),
        ("0", False),
        ("no", False),
        (" Off ", False),
        (False, False),
        ("maybe", "maybe"),
        ("y", "y"),
        (1, 1),
    ],
)
def test_read_boolean(value: object, expected: object) -> None:
    """Four words are true, their opposites false, in any case; any other value stays."""
    assert read_boolean(value) is expected
    assert read_value(value, {"type": "boolean"}) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (" -dateEnrolled\n", "-dateEnrolled"),
        (Path("learners.txt"), "learners.txt"),
        (5, 5),
        (1.0, 1),
        (b"1", {"type": "bytes"}),
        (1j, {"type": "complex"}),
    ],
)
def test_read_value__text(value: Any, expected: object) -> None:
    """Text loses the white space around it, and a path becomes text."""
    assert read_value(value, {"type": "string"}) == expected


@given(value=ANYTHING, kind=st.sampled_from(["array", "integer", "number", "boolean", "string"]))
def test_read_value__any_value(value: Any, kind: str) -> None:
    """No value of any type is a crash, and reading the result again changes nothing."""
    result = read_value(value, {"type": kind})

    assert read_value(result, {"type": kind}) == result


@pytest.mark.parametrize(
    ("text", "shard"),
    [
        ("1/1", (1, 1)),
        ("2/8", (2, 8)),
        ("999999/999999", (999_999, 999_999)),
        ("9/8", None),
        ("0/8", None),
        ("1/0", None),
        ("1", None),
        ("-1/8", None),
        ("1/8/8", None),
        ("1/1000000", None),
    ],
)
def test_parse_shard(text: str, shard: tuple[int, int] | None) -> None:
    """A shard is its number and how many there are, and not above that."""
    assert parse_shard(text) == shard


@pytest.mark.parametrize(
    ("text", "parameter"),
    [
        ("includeHierarchicalEnrollments=true", ("includeHierarchicalEnrollments", "true")),
        ("filter.hasDeadline=", ("filter.hasDeadline", "")),
        ("ids[]=a=b&c d/ß", ("ids[]", "a=b&c d/ß")),
        ("pages=1", ("pages", "1")),
        *((text, None) for text in ("", "x", "=x", "1=x", "a b=x", "a&b=x", "a%5B=x", "é=x")),
        *((f"{name}=x", None) for name in ("page[cursor]", "page", "PAGE[limit]", "page[")),
        *((f"{name}=x", None) for name in ("filter.loTypes", "filter.LOTYPES", "filter.states")),
        *((f"{name}=x", None) for name in ("sort", "Include", "access_token", "client_secret")),
        *((f"a={value}", None) for value in ("\n", "\0", "\x7f", "\ud800", "x" * 1_001)),
        ("a" * 101 + "=x", None),
    ],
)
def test_parse_parameter(text: str, parameter: tuple[str, str] | None) -> None:
    """A parameter has a plain name that no input has, no page and no credential, and a value."""
    assert parse_parameter(text) == parameter
