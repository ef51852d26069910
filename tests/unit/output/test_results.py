"""The totals of a run: added up as users finish, listed in the order of the request."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from connector.alm.completeness import Completeness, Status
from connector.errors import (
    ConnectorError,
    DeadlineError,
    TemporaryError,
    UserNotFoundError,
    error_as_dict,
)
from connector.formats.interface import Report
from connector.output.results import (
    MAX_LISTED_IDS,
    Delivered,
    RunTotals,
    UserResult,
)
from connector.redact import Redactor
from connector.text import MAX_SUMMARY_RECORDS
from tests.support.records import VERIFIED

BUSY = TemporaryError("ALM failed.", hint="Run again.")
UNKNOWN = UserNotFoundError("ALM has no user 2.", hint="Check the id.")
OUT_OF_TIME = DeadlineError("The deadline has passed.", hint="Run again.")
NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
ENTRY: dict[str, Any] = {
    "user_id": "7",
    "enrollments": 2,
    "answered_at": NOON.isoformat(),
    "status": "consistent",
    "reasons": ["opaque"],
    "pages": 3,
    "counts": [["course", "COMPLETED", 1], ["jobAid", None, 1]],
    "enrollment_ids": ["a", "b"],
}

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
    totals.add_result(0, result("1", count=2), Delivered(2, ["a", "b"], []))
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
    totals = RunTotals(is_of_many=True)
    totals.add_result(0, result(), Delivered(1, ["c"], ["g"]))

    totals.add_from_journal(ENTRY)
    before = (totals.in_file, totals.read, totals.kept, totals.delivered_users)
    totals.add_kept()

    assert before == (1, 1, 0, 2)
    assert (totals.read, totals.kept, totals.delivered_users) == (2, 1, 2)
    assert (totals.status, totals.pages, totals.reasons) == ("consistent", 4, ["user 7: opaque"])
    assert (totals.delivered, totals.counts) == (
        3,
        {("course", "COMPLETED"): 1, ("jobAid", None): 1},
    )
    assert (totals.enrollment_ids, totals.resource_grade_ids) == (["c", "a", "b"], None)


@pytest.mark.parametrize(("count", "fits"), [(MAX_LISTED_IDS - 1, True), (MAX_LISTED_IDS, False)])
def test_add_delivered__ids_as_long_as_they_fit(*, count: int, fits: bool) -> None:
    """Up to 2,000 ids are listed, equal ones each time; one more, and there is no list of them."""
    ids = ["course:1_2_3"] * count
    listed = [*ids, "course:1_2_3"] if fits else None

    records = totals_of(Delivered(count, ids, ["g"]), Delivered(1, ids[:1], ["g"]))
    grades = totals_of(Delivered(count, ["e"], ids), Delivered(1, ["e"], ids[:1]))

    assert (records.enrollment_ids, records.resource_grade_ids) == (listed, ["g", "g"])
    assert (grades.enrollment_ids, grades.resource_grade_ids) == (["e", "e"], listed)


def test_add_delivered__for_a_summary() -> None:
    """A summary gets the counts of all records, and the first fifty records."""
    parts = [
        Delivered(30, [], [], {("course", "A"): 30}, [{"id": number}] * 30) for number in range(3)
    ]

    totals = totals_of(*parts)

    assert totals.counts == {("course", "A"): 90}
    assert totals.first == [{"id": 0}] * 30 + [{"id": 1}] * (MAX_SUMMARY_RECORDS - 30)


def answered(minutes: int, completeness: Completeness = VERIFIED, **values: Any) -> UserResult[Any]:
    """Return the result of a user who was answered so many *minutes* after noon."""
    moment = NOON + timedelta(minutes=minutes)
    return UserResult("1", Counted(0), completeness, answered_at=moment, **values)


def ended(*results: UserResult[Any], requested: int | None = None, **values: Any) -> RunTotals:
    """Return the totals of a run that came to its end with *results*."""
    totals = RunTotals()
    for place, part in enumerate(results):
        totals.add_result(place, part, None)
    totals.end(requested=len(results) if requested is None else requested, requests=1, **values)
    return totals


def test_next_since__five_minutes_before_the_first_answer() -> None:
    """The next run starts five minutes before the first answer of this one, in UTC."""
    behind = timezone(timedelta(hours=-5))
    other = UserResult("2", Counted(0), VERIFIED, answered_at=NOON.astimezone(behind))

    assert ended(answered(5), answered(3), answered(9)).next_since == "2024-01-01T11:58:00.000Z"
    assert ended(answered(5), other).next_since == "2024-01-01T11:55:00.000Z"
    unknown = result("2", Completeness(Status.INCOMPLETE, ("ALM has no user 2.",), 0), UNKNOWN)
    assert ended(answered(5), unknown).next_since == "2024-01-01T12:00:00.000Z"


# ALM had pages of the user before it said so.
GONE = result("2", Completeness(Status.INCOMPLETE, ("ALM has no user 2.",), 3), UNKNOWN)
CUT_SHORT = answered(6, Completeness(Status.INCOMPLETE, ("stopped",), 1))


@pytest.mark.parametrize(
    ("results", "values"),
    [
        ((), {}),
        ((result("1", error=UNKNOWN),), {}),
        ((answered(5), result("2", error=BUSY)), {}),
        ((answered(5), result("2", error=BUSY), result("3", error=UNKNOWN)), {}),
        ((answered(5), result("2", error=OUT_OF_TIME)), {}),
        ((answered(5), GONE), {}),
        ((answered(5),), {"requested": 2}),
        ((answered(5),), {"is_list_complete": False}),
        ((answered(5), CUT_SHORT), {}),
        ((CUT_SHORT, answered(5)), {}),
        ((answered(5), answered(6, Completeness(Status.INCONSISTENT, ("twice",), 1))), {}),
    ],
)
def test_next_since__of_a_run_that_missed_something(
    results: tuple[UserResult[Any], ...], values: dict[str, Any]
) -> None:
    """A run that read nobody, or not everything that was asked for, gives no moment."""
    assert ended(*results, **values).next_since is None


def test_next_since__of_an_earlier_run() -> None:
    """What a file has from an earlier run was answered then: the earliest moment counts."""
    totals = RunTotals()
    totals.add_from_journal({**ENTRY, "answered_at": "2024-01-01T11:30:00+00:00"})
    totals.add_kept()
    totals.add_result(1, answered(5), None)
    totals.end(requested=2, requests=1)

    assert totals.next_since == "2024-01-01T11:25:00.000Z"


def test_add_result__out_of_time() -> None:
    """A user for whom the time was too short was not reached: neither read nor failed."""
    totals = ended(answered(5), result("2", error=OUT_OF_TIME), requested=3)

    assert (totals.read, totals.failed, totals.finished, totals.missing) == (1, [], 1, 2)
    assert totals.reasons == ["2 of 3 users were not reached"]


def test_end__list_that_was_not_read_to_its_end() -> None:
    """If the list of users has no end yet, further users are missing that nobody has counted."""
    totals = ended(answered(5), is_list_complete=False)

    assert (totals.missing, totals.requested) == (1, 1)
    assert totals.reasons == ["the list of users was not read to its end"]


def test_end__reasons_of_the_run_come_last() -> None:
    """Deleted users, users who were not reached and the end of the list follow users' reasons."""
    totals = ended(CUT_SHORT, requested=3, deleted=2, is_list_complete=False)

    assert totals.missing == 3
    assert [reason.split()[0] for reason in totals.reasons] == ["stopped", "skipped", "2", "the"]
    assert "skipped 2 users" in totals.reasons[1]


@pytest.mark.parametrize(
    ("status", "error", "reported"),
    [
        (Status.VERIFIED, None, Status.VERIFIED),
        (Status.VERIFIED, UNKNOWN, Status.INCOMPLETE),
        (Status.INCONSISTENT, UNKNOWN, Status.INCONSISTENT),
    ],
)
def test_report__without_secrets(
    status: Status, error: ConnectorError | None, reported: Status
) -> None:
    """A file may say all of its run but secrets; if a user failed, the run is incomplete."""
    redactor = Redactor()
    redactor.add("a-secret-0042")
    totals = RunTotals("https://a-secret-0042.example", is_of_many=True)
    totals.add_result(0, result("1", Completeness(status, ("of a-secret-0042",), 1)), None)
    failed = [{"user_id": "***", "error": error_as_dict(error)}] if error else []
    if error:
        totals.add_failure(1, "a-secret-0042", error_as_dict(error))
    totals.end(requested=1 + len(failed), requests=1)

    assert totals.report("out.html", NOON, redactor) == Report(
        name="out.html",
        source="https://***.example",
        finished_at=NOON,
        status=reported,
        reasons=["user 1: of ***"],
        requested=1 + len(failed),
        read=1,
        failed=failed,
    )


def test_report__of_users_who_were_not_reached() -> None:
    """A run that did not reach all users is incomplete."""
    report = ended(answered(5), requested=2).report("out.html", NOON, Redactor())

    assert (report.status, report.requested, report.read) == (Status.INCOMPLETE, 2, 1)


def test_only_user__of_a_run_of_one() -> None:
    """The only user of a run is known by name once it was read; of many users none is."""
    one, many = RunTotals(), RunTotals(is_of_many=True)
    before = (one.only_user, one.missing)
    for totals in (one, many):
        totals.add_result(0, result("31"), None)

    assert before == (None, 0)
    assert (one.only_user, many.only_user) == ("31", None)


def test_add_from_journal__of_several_users() -> None:
    """Users of an earlier run come first, by id and address; their ids are listed."""
    totals = RunTotals(is_of_many=True)
    totals.add_result(0, result("1", Completeness(Status.CONSISTENT, ("new",), 1)), None)
    totals.add_from_journal({**ENTRY, "user_email": "ada@x", "resource_grade_ids": ["g"]})
    totals.add_from_journal({**ENTRY, "reasons": [], "resource_grade_ids": ["h"]})

    assert totals.in_file == 2
    assert totals.reasons == ["user 7 (ada@x): opaque", "user 1: new"]
    assert totals.resource_grade_ids == ["g", "h"]
