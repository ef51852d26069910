"""The totals of a run: added up as users finish, listed in the order of the request."""

from __future__ import annotations

from typing import Any

import pytest

from connector.alm.completeness import Completeness, Status
from connector.errors import ConnectorError, TemporaryError, error_as_dict
from connector.output.results import (
    MAX_LISTED_IDS,
    Delivered,
    RunTotals,
    UserResult,
    latest_date,
)
from connector.text import MAX_SUMMARY_RECORDS
from tests.support.records import VERIFIED

BUSY = TemporaryError("ALM failed.", hint="Run again.")

# From the most certain to the least.
CERTAINTY = [Status.VERIFIED, Status.CONSISTENT, Status.INCOMPLETE, Status.INCONSISTENT]


class Counted:
    """Records of which only the number is known."""

    def __init__(self, count: int) -> None:
        self.count = count

    def add(self, _: object) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def result(
    user_id: str = "1",
    completeness: Completeness = VERIFIED,
    error: ConnectorError | None = None,
    count: int = 0,
) -> UserResult[Counted]:
    """Return the result of a user with *count* records."""
    return UserResult(user_id, Counted(count), completeness, error)


def totals_of(*delivered: Delivered) -> RunTotals:
    """Return the totals of a run in which users' records were delivered."""
    totals = RunTotals(is_of_many=True)
    for place, part in enumerate(delivered):
        totals.add_result(place, result(str(place)), part)
    return totals


@pytest.mark.parametrize("first", Status)
@pytest.mark.parametrize("second", Status)
def test_add_result__the_least_certain_status_counts(first: Status, second: Status) -> None:
    """The status of a run is the least certain of its users', in any order; pages add up."""
    totals = RunTotals(is_of_many=True)
    totals.add_result(0, result("1", Completeness(first, (), 1)), None)
    totals.add_result(1, result("2", Completeness(second, (), 2)), None)

    assert totals.status == CERTAINTY[max(CERTAINTY.index(first), CERTAINTY.index(second))]
    assert totals.pages == 3


def test_add_result__counts_users_and_records() -> None:
    """Read users, failed users and all received records are counted."""
    totals = RunTotals(is_of_many=True)
    totals.add_result(0, result("1", count=2), Delivered(2, None, ["a", "b"], []))
    totals.add_result(1, result("2", error=BUSY, count=3), None)

    assert (totals.read, totals.finished, totals.records, totals.delivered) == (1, 2, 5, 2)
    assert totals.failed == [{"user_id": "2", "error": error_as_dict(BUSY)}]


def test_add_result__by_place() -> None:
    """Failures and reasons are listed in the order of the request, not in that of finishing."""
    totals = RunTotals(is_of_many=True)
    for place in (2, 0, 1):
        verdict = Completeness(Status.INCOMPLETE, (f"first of {place}", "second"), 1)
        totals.add_result(place, result(f"u{place}", verdict, BUSY), None)

    assert [failed["user_id"] for failed in totals.failed] == ["u0", "u1", "u2"]
    assert totals.reasons == [
        "user u0: first of 0",
        "user u0: second",
        "user u1: first of 1",
        "user u1: second",
        "user u2: first of 2",
        "user u2: second",
    ]


def test_add_result__the_only_user_is_not_named() -> None:
    """In a run of one user, reasons need not name the user."""
    totals = RunTotals(is_of_many=False)
    totals.add_result(0, result("1", Completeness(Status.INCOMPLETE, ("a", "b"), 1)), None)

    assert totals.reasons == ["a", "b"]


def test_reasons__are_limited() -> None:
    """The first thousand reasons are listed and the others counted: nobody reads a million."""
    totals = RunTotals(is_of_many=True)
    for place in range(1_003):
        verdict = Completeness(Status.CONSISTENT, ("opaque",), 1)
        totals.add_result(place, result(str(place), verdict), None)

    assert len(totals.reasons) == 1_001
    assert totals.reasons[-2:] == ["user 999: opaque", "and 3 more reasons"]


@pytest.mark.parametrize(
    ("finished", "requested", "reasons"),
    [
        (0, 0, []),
        (0, 3, []),
        (2, 2, ["user 1: opaque"]),
        (2, 5, ["user 1: opaque", "3 of 5 users were not reached"]),
    ],
)
def test_end__users_not_reached(finished: int, requested: int, reasons: list[str]) -> None:
    """The last reason of a run that ended early counts the users that it did not reach."""
    totals = RunTotals(is_of_many=True)
    for place in range(finished):
        reason = ("opaque",) * (place == 1)
        totals.add_result(
            place, result(str(place), Completeness(Status.CONSISTENT, reason, 1)), None
        )

    totals.end(requested=requested, requests=7)

    assert (totals.requested, totals.requests, totals.reasons) == (requested, 7, reasons)


def test_add_from_journal__counts_as_delivered() -> None:
    """What a file has from an earlier run is delivered again; ``add_kept`` counts the user."""
    entry: dict[str, Any] = {
        "user_id": "7",
        "enrollments": 2,
        "latest_date_enrolled": "2024-01-01",
        "status": "consistent",
        "reasons": ["opaque"],
        "pages": 3,
        "enrollment_ids": ["a", "b"],
    }
    totals = RunTotals(is_of_many=True)
    totals.add_result(0, result(), Delivered(1, None, ["c"], ["g"]))

    totals.add_from_journal(entry)
    before = (totals.in_file, totals.read, totals.kept)
    totals.add_kept()

    assert (before, totals.read, totals.kept) == ((1, 1, 0), 2, 1)
    assert (totals.status, totals.pages, totals.reasons) == ("consistent", 4, ["user 7: opaque"])
    assert (totals.delivered, totals.latest_date_enrolled) == (3, "2024-01-01")
    assert (totals.enrollment_ids, totals.resource_grade_ids) == (["c", "a", "b"], None)


@pytest.mark.parametrize(("count", "fits"), [(MAX_LISTED_IDS - 1, True), (MAX_LISTED_IDS, False)])
def test_add_delivered__ids_as_long_as_they_fit(*, count: int, fits: bool) -> None:
    """Up to 2,000 ids are listed, equal ones each time; one more, and there is no list of them."""
    ids = ["course:1_2_3"] * count
    listed = [*ids, "course:1_2_3"] if fits else None

    records = totals_of(Delivered(count, None, ids, ["g"]), Delivered(1, None, ids[:1], ["g"]))
    grades = totals_of(Delivered(count, None, ["e"], ids), Delivered(1, None, ["e"], ids[:1]))

    assert (records.enrollment_ids, records.resource_grade_ids) == (listed, ["g", "g"])
    assert (grades.enrollment_ids, grades.resource_grade_ids) == (["e", "e"], listed)


def test_add_delivered__for_a_summary() -> None:
    """A summary gets the counts of all records, and the first fifty records."""
    parts = [
        Delivered(30, None, [], [], {("course", "A"): 30}, [{"id": number}] * 30)
        for number in range(3)
    ]

    totals = totals_of(*parts)

    assert totals.counts == {("course", "A"): 90}
    assert totals.first == [{"id": 0}] * 30 + [{"id": 1}] * (MAX_SUMMARY_RECORDS - 30)


@pytest.mark.parametrize(
    ("dates", "latest"),
    [
        ([], None),
        ([None, "garbage", ""], None),
        (["2023-06-29T12:34:33.000Z"], "2023-06-29T12:34:33.000Z"),
        (["2023-06-30T00:00:00.000Z", "2023-06-29T23:59:59.999Z"], "2023-06-30T00:00:00.000Z"),
        (["2023-06-30T01:00:00+02:00", "2023-06-29T23:30:00Z"], "2023-06-29T23:30:00Z"),
        (["2023-06-30T01:00:00+02:00", "2023-06-29T22:30:00Z"], "2023-06-30T01:00:00+02:00"),
        (["2023-06-29", "2023-06-28T23:59:59Z", None, "garbage"], "2023-06-29"),
        (["2023-06-29T12:00", "2023-06-29T11:59:59.999+00:00"], "2023-06-29T12:00"),
        (["9999-12-31T23:59:59-14:00", "2023-06-29"], "9999-12-31T23:59:59-14:00"),
    ],
)
def test_latest_date__by_its_moment(dates: list[str | None], latest: str | None) -> None:
    """The latest date is that of the latest moment, in ALM's notation, across users and runs."""
    totals = totals_of(*[Delivered(1, date, [], []) for date in dates])

    assert latest_date(dates) == latest
    assert totals.latest_date_enrolled == latest
