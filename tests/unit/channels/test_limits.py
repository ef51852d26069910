"""Limits of platforms: what is too large is left out and described."""

from __future__ import annotations

import pytest

from connector.channels.limits import (
    MAX_XCOM_BYTES,
    Limit,
    environment_limit,
    fit_into_xcom,
    select_within_limits,
)
from connector.text import to_json
from tests.unit.channels.examples import document

NAME = "resource_grade_ids"
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


IDS = ["course:1_2_3"] * 30_000
FAILED = [{"user_id": str(number), "error": {"message": "m" * 100}} for number in range(3_000)]
RECORDS = [{"id": "course:1_2_3", "state": "x" * 500}] * 1_000
REASONS = ["r" * 500] * 1_000
LACKS = {
    "ids": "enrollment_ids, resource_grade_ids",
    "failed": "users.failed",
    "records": "enrollments",
    "reasons": "completeness.reasons",
}


def large_document(*parts: str) -> dict[str, object]:
    """Return a document of which *parts* are too large for XCom."""
    completeness = document()["completeness"]
    users = document()["users"]
    return document(
        enrollment_ids=IDS if "ids" in parts else ["e"],
        resource_grade_ids=["g"],
        enrollments=RECORDS if "records" in parts else [{"id": "e"}],
        users={**users, "failed": FAILED if "failed" in parts else [{"user_id": "4"}]},
        completeness={**completeness, "reasons": REASONS if "reasons" in parts else ["r"]},
    )


@pytest.mark.parametrize(
    ("parts", "lacks"),
    [
        ([], []),
        (["ids"], ["ids"]),
        (["failed"], ["ids", "failed"]),
        (["ids", "failed"], ["ids", "failed"]),
        (["records"], ["ids", "failed", "records"]),
        (["reasons"], ["ids", "failed", "records", "reasons"]),
    ],
)
def test_fit_into_xcom__in_a_fixed_order(parts: list[str], lacks: list[str]) -> None:
    """The id arrays go first, then the failed users, the records and the reasons."""
    whole = large_document(*parts)
    before = to_json(whole)

    fitted, left_out = fit_into_xcom(whole)

    listed = ", ".join(LACKS[part] for part in lacks)
    assert left_out == (listed and f"{listed}, for XCom takes at most 262,144 bytes")
    expected = {**whole, "users": {**document()["users"], "failed": [{"user_id": "4"}]}}
    if "ids" in lacks:
        expected |= {"enrollment_ids": None, "resource_grade_ids": None}
    if "failed" in lacks:
        expected["users"] = {**document()["users"], "failed": None}
    if "records" in lacks:
        del expected["enrollments"]
    if "reasons" in lacks:
        reasons = ["1000 reasons are left out here"]
        expected["completeness"] = {**document()["completeness"], "reasons": reasons}
    assert fitted == expected
    assert len(to_json(fitted)) <= MAX_XCOM_BYTES
    assert to_json(whole) == before


def test_fit_into_xcom__to_the_last_byte() -> None:
    """A document that is exactly as large as the limit stays as it is."""
    spare = MAX_XCOM_BYTES - len(to_json(document(output_file="")))

    assert fit_into_xcom(document(output_file="x" * (spare + 0)))[1] == ""
    assert fit_into_xcom(document(output_file="x" * (spare + 1)))[1] != ""
