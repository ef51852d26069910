"""Limits of platforms: what is too large is left out and described."""

from __future__ import annotations

import pytest

from connector.channels.limits import Limit, environment_limit, select_within_limits

NAME = "latest_date_enrolled"
EACH = Limit(6, "six each", lambda _, value: len(value))
TOTAL = Limit(10, "ten in all", lambda _, value: len(value), is_total=True)


def test_select_within_limits__largest_first() -> None:
    """Of too much in total the largest outputs are left out, and no more than necessary."""
    outputs = {"a": "xxx", "b": "xxxxxx", "c": "xxxx", "d": "xxxxxx", "e": ""}

    selected = select_within_limits(outputs, None, TOTAL)

    assert selected == ({"a": "xxx", "c": "xxxx", "e": ""}, "b (6), d (6), for ten in all")
    assert select_within_limits({"a": "x" * 11}, TOTAL) == ({}, "a (11), for ten in all")


def test_select_within_limits__one_after_another() -> None:
    """Outputs over the limit of each are left out before the total is counted."""
    outputs = {"a": "x" * 7, "b": "xxxx", "c": "x" * 1_000, "d": "xxxxxx", "e": "x"}

    kept, left_out = select_within_limits(outputs, EACH, TOTAL)

    assert kept == {"b": "xxxx", "e": "x"}
    assert left_out == "a (7), c (1,000), for six each; d (6), for ten in all"


def test_select_within_limits__all_fit() -> None:
    """Outputs at the limits stay, and nothing is described."""
    outputs = {"a": "x" * 6, "b": "x" * 4}

    assert select_within_limits(outputs, EACH, TOTAL) == (outputs, "")


@pytest.mark.parametrize(
    ("system", "value", "size_with_one_more"),
    [
        ("Linux", "x" * (131_070 - len(NAME)), 131_072),
        ("Linux", "é" * (131_070 // 2 - len(NAME) // 2), 131_073),
        ("", "x" * (131_070 - len(NAME)), 131_072),
        ("Windows", "x" * (32_766 - len(NAME)), 32_768),
        ("Windows_NT", "😀" * ((32_766 - len(NAME)) // 2), 32_769),
    ],
    ids=["Linux", "Linux, é", "unknown system", "Windows", "Windows, emoji"],
)
def test_environment_limit__boundary(system: str, value: str, size_with_one_more: int) -> None:
    """A value may fill the variable, its name and the equals sign included, but not by one more."""
    limit = environment_limit(system)

    assert limit is not None
    assert limit.exceeding({NAME: value}) == {}
    assert limit.exceeding({NAME: value + value[-1]}) == {NAME: size_with_one_more}


@pytest.mark.parametrize("system", ["macOS", "Darwin"])
def test_environment_limit__none_on_macos(system: str) -> None:
    """macOS, by either name, limits no single variable."""
    assert environment_limit(system) is None
