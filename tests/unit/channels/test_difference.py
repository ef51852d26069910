"""Comparisons in channels: the summary's counts and completions, and XCom's limit."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from connector.channels import RunOutputs, Tally
from connector.channels.github_summary import summary_of
from connector.channels.limits import MAX_XCOM_BYTES, fit_into_xcom
from connector.errors import UsageError, error_as_dict
from connector.output.diff import failed_difference
from tests.unit.channels.examples import hostile
from tests.unit.channels.test_github_summary import OWN_TAGS, Page, cell

ERROR = UsageError("It is not valid.", hint="Look again.")


def document(**fields: Any) -> dict[str, Any]:
    """Return the document of a comparison that found nothing, with *fields*."""
    return {**failed_difference(ERROR), "error": None, **fields}


def completion(**fields: Any) -> dict[str, Any]:
    """Return the change of an enrollment that was completed, with *fields* after it."""
    after = {
        "user_id": "31",
        "id": "a",
        "date_completed": "2026-01-02T03:04:05.000Z",
        "score": 7,
        **fields,
    }
    return {"change": "changed", "completed": True, "before": None, "after": after}


def test_summary_of__a_difference() -> None:
    """Counts come first, then a table by type and change, then what was completed."""
    counts = {("course", "added"): 2, ("jobAid", "changed"): 3}
    fields = {"added_count": 2, "changed_count": 1_003, "completed_count": 1}
    found = document(**fields, not_comparable_count=1, output_file="c.csv")
    named = completion(user_name="Ada", lo_name="Safety")

    text = summary_of(RunOutputs(found, tally=Tally(counts, [named]), shows_names=True))

    page = Page(text)
    assert text.startswith(
        "### What changed in Adobe Learning Manager\n\n**1 completed** · 2 added,"
    )
    assert "1 user not compared: not complete in both files" in text
    assert page.tables == [
        [
            ["type", "changed", "added", "all"],
            ["jobAid", "3", "", "3"],
            ["course", "", "2", "2"],
            ["all", "3", "2", "5"],
        ],
        [
            ["user", "name", "enrollment", "learning object", "completed", "score"],
            ["31", "Ada", "a", "Safety", "2026-01-02", "7"],
        ],
    ]


def test_summary_of__without_names() -> None:
    """Names are shown only if the run was asked for them, whatever its records have."""
    named = completion(user_name="Ada", lo_name="Safety")

    page = Page(summary_of(RunOutputs(document(), tally=Tally({}, [named]))))

    assert page.tables[0][0] == ["user", "enrollment", "completed", "score"]


def test_summary_of__no_difference() -> None:
    """Without a change there is one line."""
    text = summary_of(RunOutputs(document(), tally=Tally({}, ())))

    line = "**0 completed** · 0 added, 0 removed, 0 changed."
    assert text == f"### What changed in Adobe Learning Manager\n\n{line}\n"


def test_summary_of__no_comparison() -> None:
    """A comparison that failed is reported with what to do."""
    page = Page(summary_of(RunOutputs(document(error=error_as_dict(ERROR)), ERROR)))

    assert page.tables == [
        [
            ["user", "exit code", "what happened", "what to do", "request id"],
            ["the comparison", "64", "It is not valid.", "Look again.", ""],
        ]
    ]


@given(hostile, hostile, hostile)
@settings(max_examples=100)
def test_summary_of__hostile_difference(first: str, second: str, third: str) -> None:
    """Each text of a file is one line in its own cell, and neither markup nor a link."""
    found = document(output_file=third)
    named = completion(id=first, user_name=second)

    tally = Tally({(first, "added"): 1}, [named])
    page = Page(summary_of(RunOutputs(found, tally=tally, shows_names=True)))

    assert page.tags <= OWN_TAGS
    assert (page.attributes, page.links) == ([("open", None)], [])
    assert page.tables[0][1:] == [[cell(first), "1", "1"], ["all", "1", "1"]]
    assert page.tables[1][1:] == [["31", cell(second), cell(first), "2026-01-02", "7"]]


@pytest.mark.parametrize("count", [2_000, 9_000])
def test_fit_into_xcom__a_difference(count: int) -> None:
    """The largest lists of a comparison become null until the rest fits."""
    ids = ["course:1234567_1234567_12345678"] * count
    whole = document(changed_ids=ids, completed_ids=ids[:5_000], added_ids=ids[:50])

    fitted, left_out = fit_into_xcom(whole)

    assert len(str(fitted)) < MAX_XCOM_BYTES
    assert fitted == {**whole, **({"changed_ids": None} if count > 5_000 else {})}
    words = "changed_ids, for XCom takes at most 262,144 bytes"
    assert left_out == (words if count > 5_000 else "")
