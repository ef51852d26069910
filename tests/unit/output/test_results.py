"""What the users of a run come to, added up as they finish."""

from __future__ import annotations

from typing import Any

import pytest

from connector.alm.completeness import Completeness, Status
from connector.errors import PartialError, TemporaryError
from connector.output.buffer import MAX_LISTED_IDS
from connector.output.document import Totals

PARTIAL = PartialError("1 of 2 users could not be read: 2 (75).", hint="The others were.")
BUSY = TemporaryError("ALM failed.", hint="Run again.")


def document_of(totals: Totals, error: Any = None, **told: Any) -> dict[str, Any]:
    """Return the document of a file's run."""
    return totals.document(
        error,
        **{
            "requested": 2,
            "requests": 3,
            "output_file": "x.ndjson",
            "hands_on": error is None,
            **told,
        },
    )


@pytest.mark.parametrize("worst", Status)
@pytest.mark.parametrize("better", Status)
def test_add__the_least_sure_counts(better: Status, worst: Status) -> None:
    """Of several users the least sure verdict counts, whoever's it is."""
    totals = Totals(is_of_many=True)
    totals.add("1", Completeness(better, (), 1), None)
    totals.add("2", Completeness(worst, (), 2), None)

    told = document_of(totals)["completeness"]

    assert told == {
        "status": max(better, worst, key=list(Status).index),
        "reasons": [],
        "pages": 3,
        "requests": 3,
    }


@pytest.mark.parametrize(
    ("is_of_many", "reasons"), [(False, ["a", "b"]), (True, ["user 1: a", "user 1: b"])]
)
def test_add__reasons_name_their_user(is_of_many: bool, reasons: list[str]) -> None:  # noqa: FBT001 - a parameter
    """Of several users each reason names its user; of one there is no need to."""
    totals = Totals(is_of_many=is_of_many)
    totals.add("1", Completeness(Status.INCOMPLETE, ("a", "b"), 1), None)

    assert document_of(totals)["completeness"]["reasons"] == reasons


def test_document__of_nobody_is_complete() -> None:
    """Where there was nobody to read, nothing is missing."""
    assert document_of(Totals(is_of_many=True), requested=0)["complete"] is True


def test_document__lists_no_more_reasons_than_somebody_reads() -> None:
    """Of a million users' reasons the first thousand are listed, and the others counted."""
    totals = Totals(is_of_many=True)
    for user in range(1_003):
        totals.add(str(user), Completeness(Status.CONSISTENT, ("opaque",), 1), None)

    reasons = document_of(totals)["completeness"]["reasons"]

    assert len(reasons) == 1_001
    assert reasons[-1] == "and 3 more reasons"


def test_hand_on__ids_stay_while_they_fit() -> None:
    """2,000 ids stand in the document; with one more there are none, and the file has them."""
    totals = Totals(is_of_many=True)
    ids = [f"course:1_2_{number}" for number in range(MAX_LISTED_IDS)]
    totals.hand_on(MAX_LISTED_IDS, None, {"enrollment_ids": ids, "resource_grade_ids": []})
    fitting = document_of(totals)
    totals.hand_on(1, None, {"enrollment_ids": ["course:1_2_x"], "resource_grade_ids": []})
    too_many = document_of(totals)

    assert (fitting["enrollment_ids"], fitting["resource_grade_ids"]) == (ids, [])
    assert (
        too_many["enrollment_ids"],
        too_many["resource_grade_ids"],
        too_many["enrollment_count"],
    ) == (None, [], 2_001)


def test_hand_on__the_latest_date_by_its_moment() -> None:
    """The latest date is that of the latest moment, as it was written."""
    totals = Totals(is_of_many=True)
    for date in ("2024-01-01T00:00:00.000Z", "2024-01-01T01:30:00+02:00", None, "no date"):
        totals.hand_on(1, date, {"enrollment_ids": [], "resource_grade_ids": []})

    assert document_of(totals)["latest_date_enrolled"] == "2024-01-01T00:00:00.000Z"


def test_document__failed_as_a_whole_hands_on_nothing() -> None:
    """Where the run failed as a whole, the lists are empty, though whole users wait in the file for the next run."""
    totals = Totals(is_of_many=True)
    totals.add("1", Completeness(Status.PROVED, (), 1), None)
    totals.hand_on(
        1, "2024-01-01T00:00:00.000Z", {"enrollment_ids": ["a"], "resource_grade_ids": ["b"]}
    )

    document = document_of(totals, BUSY, output_file=None)

    assert (
        document["enrollment_ids"],
        document["resource_grade_ids"],
        document["enrollment_count"],
    ) == ([], [], 0)
    assert (document["latest_date_enrolled"], document["complete"]) == (None, False)


def test_document__some_failed_hands_on_the_others() -> None:
    """Where some users failed, what the others have is handed on."""
    totals = Totals(is_of_many=True)
    totals.hand_on(1, None, {"enrollment_ids": ["a"], "resource_grade_ids": ["b"]})

    document = document_of(totals, PARTIAL)

    assert (document["enrollment_ids"], document["enrollment_count"], document["complete"]) == (
        ["a"],
        1,
        False,
    )
