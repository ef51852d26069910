"""One user: which enrollments are kept, when reading stops, and when a user is read again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.alm.completeness import Completeness, Status
from connector.alm.protocol import Page
from connector.errors import ConnectorError, ProtocolError, TemporaryError
from connector.output.sinks import open_sink
from connector.redact import Redactor
from connector.runner.one_user import MAX_READINGS, Selection, _can_prefetch, read_user
from tests.support.clock import VirtualClock
from tests.support.inputs import inputs_of
from tests.support.pages import ANSWERED_AT
from tests.support.recorded import RecordingSink
from tests.support.records import enrollment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from connector.alm.client import Client
    from connector.alm.protocol import PageRequest
    from connector.alm.records import Enrollment
    from connector.output.results import UserResult
    from connector.output.sinks import Sink
    from connector.settings import Inputs

SINCE = "2023-06-15"
OLD, OLDER = "2023-06-10T00:00:00.000Z", "2023-06-01T00:00:00.000Z"
NEW, NEWER = "2023-06-20T00:00:00.000Z", "2023-06-25T00:00:00.000Z"
PAST_SINCE = "stopped at the first enrollment older than since, on page 1"
AFTER_2 = "stopped after 2 enrollments, the limit of max_enrollments"
NEWEST_FIRST = {"since": "2023-07-01", "sort": "-dateEnrolled"}
BUSY = TemporaryError("ALM failed.", hint="Run again.")


@cache
def rules(
    since: str | None = None,
    most: int | None = None,
    *,
    newest_first: bool,
    lo_types: str = "course",
) -> Inputs:
    """Return the inputs of a selection."""
    sort = "-dateEnrolled" if newest_first else "dateEnrolled"
    return inputs_of(since=since, max_enrollments=most, sort=sort, lo_types=lo_types)


def select(inputs: Inputs, *pages: Sequence[str | None]) -> tuple[list[str | None], Selection]:
    """Return the dates that a selection keeps of *pages* of dates, and the selection."""
    selection = Selection(inputs)
    kept: list[Enrollment] = []
    for dates in pages:
        kept += selection.take([enrollment(date_enrolled=date) for date in dates])
    return [record.date_enrolled for record in kept], selection


@pytest.mark.parametrize("newest_first", [False, True])
def test_selection__without_rules(*, newest_first: bool) -> None:
    """Without ``since`` and ``max_enrollments`` every enrollment is kept in ALM's order."""
    kept, selection = select(rules(newest_first=newest_first), [OLD, None, NEW], ["x", OLDER])

    assert kept == [OLD, None, NEW, "x", OLDER]
    assert [selection.reason_to_stop(has_next=has_next) for has_next in (True, False)] == [None] * 2


@pytest.mark.parametrize(
    ("pages", "kept", "has_all"),
    [
        pytest.param([[]], [], False, id="empty page"),
        pytest.param([[NEWER, NEW]], [NEWER, NEW], False, id="all are newer"),
        pytest.param([[NEWER, NEW], [OLD, OLDER]], [NEWER, NEW], True, id="an older one"),
        pytest.param([[NEW, NEW, OLD, OLD]], [NEW, NEW], True, id="equal dates"),
        pytest.param([[OLD, NEW]], [NEW], False, id="ascending"),
        pytest.param([[NEW, OLD, NEWER]], [NEW, NEWER], False, id="not sorted"),
        pytest.param([[NEW], [NEWER, OLD]], [NEW, NEWER], False, id="not sorted across pages"),
        pytest.param([[NEW, None, OLD]], [NEW, None], False, id="no date"),
        pytest.param([[NEW, OLD, None]], [NEW, None], False, id="no date after an older one"),
        pytest.param([[NEW, "x", OLD]], [NEW, "x"], False, id="unreadable date"),
    ],
)
def test_since__stops_only_if_dates_descend(
    *, pages: list[list[str | None]], kept: list[str | None], has_all: bool
) -> None:
    """Newest first, an older date ends the reading, unless ALM's dates do not really descend."""
    dates, selection = select(rules(SINCE, newest_first=True), *pages)

    assert (dates, selection.has_all) == (kept, has_all)
    assert selection.reason_to_stop(has_next=True) is None


def test_since__of_several_types_reads_to_the_end() -> None:
    """ALM may serve type after type: after an old course, a new job aid may follow."""
    inputs = rules(SINCE, newest_first=True, lo_types="course,jobAid")

    kept, selection = select(inputs, [NEWER, NEW, OLD], [NEWER])

    assert (kept, selection.has_all) == ([NEWER, NEW, NEWER], False)


@pytest.mark.parametrize(
    ("inputs", "has_all"),
    [
        ({}, True),
        ({"lo_types": "course,jobAid"}, False),
        ({"lo_types": "all"}, False),
        ({"query": "includeHierarchicalEnrollments=true"}, False),
    ],
)
def test_since__ends_early_only_in_a_known_order(inputs: dict[str, str], *, has_all: bool) -> None:
    """After an older enrollment nothing newer follows, if one type comes in its own order."""
    newest_first = inputs_of(since=SINCE, sort="-dateEnrolled", **inputs)

    _, selection = select(newest_first, [NEWER, NEW, OLD])

    assert selection.has_all is has_all


def test_since__oldest_first_reads_to_the_end() -> None:
    """Oldest first, older enrollments are left out and the reading goes on."""
    kept, selection = select(rules(SINCE, newest_first=False), [OLDER, OLD], [NEW, NEWER])

    assert (kept, selection.has_all) == ([NEW, NEWER], False)


def test_since__includes_the_moment_itself() -> None:
    """``since`` means at that moment or later, whatever offsets the moments have."""
    since = datetime(2023, 6, 15, tzinfo=UTC).astimezone(timezone(timedelta(hours=-7)))
    wanted = ["2023-06-15T00:00:00.000Z", "2023-06-15T02:00:00+02:00", "2023-06-15"]
    older = ["2023-06-14T23:59:59.999Z", "0001-01-01T00:00:00+23:59"]

    newest_first = rules(since.isoformat(), newest_first=True)
    kept, _ = select(newest_first, [*wanted, *older])
    _, without_older = select(newest_first, wanted)

    assert kept == wanted
    assert not without_older.has_all


@given(
    pages=st.lists(
        st.lists(st.sampled_from([None, OLDER, OLD, NEW, NEWER]), max_size=5), max_size=5
    ),
    newest_first=st.booleans(),
)
def test_since__keeps_whatever_may_be_newer(
    *, newest_first: bool, pages: list[list[str | None]]
) -> None:
    """In any order, every enrollment is kept that is not certainly older, in ALM's order."""
    kept, _ = select(rules(SINCE, newest_first=newest_first), *pages)

    served = [date for dates in pages for date in dates]
    assert kept == [date for date in served if date not in (OLD, OLDER)]


@pytest.mark.parametrize(
    ("counts", "has_next", "kept", "reason"),
    [
        ([1], True, 1, None),
        ([1], False, 1, None),
        ([2], True, 2, AFTER_2),
        ([2], False, 2, None),
        ([3], True, 2, AFTER_2),
        ([3], False, 2, AFTER_2),
        ([1, 1], False, 2, None),
        ([1, 2], False, 2, AFTER_2),
    ],
)
def test_max_enrollments__says_if_there_are_more(
    *, counts: list[int], has_next: bool, kept: int, reason: str | None
) -> None:
    """No more than ``max_enrollments`` are kept; if there are more, the result is incomplete."""
    pages = [[NEW] * count for count in counts]

    dates, selection = select(rules(most=2, newest_first=False), *pages)

    assert (len(dates), selection.reason_to_stop(has_next=has_next)) == (kept, reason)


@pytest.mark.parametrize(
    ("newest_first", "dates", "kept", "has_all", "reason"),
    [
        (False, [OLDER, OLD, NEW], [NEW], False, None),
        (False, [OLD, NEW, NEWER, NEWER], [NEW, NEWER], False, AFTER_2),
        (True, [NEWER, NEW, OLD], [NEWER, NEW], True, AFTER_2),
        (True, [NEWER, NEW, NEW, OLD], [NEWER, NEW], False, AFTER_2),
        (True, [NEW, OLD], [NEW], True, None),
    ],
)
def test_max_enrollments__counts_what_since_keeps(
    *, newest_first: bool, dates: list[str], kept: list[str], has_all: bool, reason: str | None
) -> None:
    """``max_enrollments`` counts the enrollments that ``since`` keeps, and cuts only those.

    If none of those was cut, and no other can follow, nothing is missing.
    """
    found, selection = select(rules(SINCE, 2, newest_first=newest_first), dates)

    assert (found, selection.has_all) == (kept, has_all)
    assert selection.reason_to_stop(has_next=True) == reason


class ScriptedClient:
    """Answers each request with the next page of ids, or fails with the next error.

    A page links to another one unless its last id is the empty text.
    """

    def __init__(self, *script: str | ConnectorError, host: str = "", grade: str = "") -> None:
        self._script = iter(script)
        self._host = host
        self._grade = grade
        self.requests = 0
        self.answered_at = ANSWERED_AT

    def fetch(self, request: PageRequest) -> Page:
        """Return the next page."""
        self.requests += 1
        step = next(self._script)
        if isinstance(step, ConnectorError):
            raise step
        ids, has_next = step.removesuffix(" …").split(), step.endswith(" …")
        attributes = {"dateEnrolled": NEW}
        grades = {"data": [{"id": self._grade, "type": "grade"}] if self._grade else []}
        resources: list[dict[str, Any]] = [
            {
                "type": "enrollment",
                "id": enrollment_id,
                "attributes": attributes,
                "relationships": {"loResourceGrades": grades},
            }
            for enrollment_id in ids
        ]
        link = f"{self._host or request.url}?page[cursor]={self.requests}"
        return Page("31", request.cursor, resources, [], link if has_next else None, "r-1")

    def redacted(self, error: ConnectorError) -> ConnectorError:
        """Return *error*, marked as redacted."""
        return error.replaced(message=f"redacted: {error.message}")


def read(client: ScriptedClient, **inputs: Any) -> tuple[list[str], UserResult[Any]]:
    """Return the ids that were read of user 31, and the result."""
    loaded = inputs_of(**inputs)
    sink = open_sink(loaded, Redactor(), VirtualClock(), None)
    result = read_user("31", loaded, cast("Client", client), sink)
    return [record.id for record in result.records.enrollments], result


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({}, True),
        ({"prefetch": False}, False),
        ({"lo_types": "course,certification"}, False),
        ({"sort": "-dateEnrolled"}, True),
        ({"since": SINCE}, True),
        (NEWEST_FIRST, False),
    ],
)
def test_can_prefetch__if_the_pages_are_likely_needed(
    inputs: dict[str, Any], *, expected: bool
) -> None:
    """Cursors of one type are predictable; newest first with ``since`` ends before the last."""
    assert _can_prefetch(inputs_of(**inputs)) is expected


def test_read_user__all_pages() -> None:
    """All pages are read in order; undecodable cursors make the result consistent."""
    client = ScriptedClient("course:1_2_31 course:2_2_31 …", "course:3_2_31")

    ids, result = read(client)

    assert ids == ["course:1_2_31", "course:2_2_31", "course:3_2_31"]
    assert (result.user_id, result.error, client.requests) == ("31", None, 2)
    assert (result.completeness.status, result.completeness.pages) == (Status.CONSISTENT, 2)
    assert result.answered_at == ANSWERED_AT


def test_read_user__failed() -> None:
    """If a page fails, what was read before stays; the user is not read again."""
    client = ScriptedClient("course:1_2_31 …", BUSY)

    ids, result = read(client)

    opaque = result.completeness.reasons[0]
    assert (ids, client.requests) == (["course:1_2_31"], 2)
    assert str(result.error) == "redacted: ALM failed. Run again."
    reasons = (opaque, "redacted: ALM failed.")
    assert result.completeness == Completeness(Status.INCOMPLETE, reasons, 1)


def test_read_user__with_a_link_that_is_refused() -> None:
    """The page whose link must not be followed is kept, for runs that allow incomplete results."""
    ids, result = read(ScriptedClient("course:1_2_31 …", host="https://elsewhere.example/"))

    assert ids == ["course:1_2_31"]
    assert isinstance(result.error, ProtocolError)
    assert "leads to another path" in result.error.message


@pytest.mark.parametrize(
    ("inputs", "status", "reason"),
    [
        ({"max_enrollments": 2}, Status.INCOMPLETE, AFTER_2),
        (NEWEST_FIRST, Status.CONSISTENT, PAST_SINCE),
        ({**NEWEST_FIRST, "max_enrollments": 2}, Status.CONSISTENT, PAST_SINCE),
    ],
)
def test_read_user__stops_early(inputs: dict[str, Any], status: Status, reason: str) -> None:
    """When enough was read, no further page is requested; past ``since`` nothing is missing."""
    client = ScriptedClient("course:1_2_31 course:2_2_31 …", "course:3_2_31")

    _, result = read(client, **inputs)

    assert client.requests == 1
    assert result.completeness.status is status
    assert reason in result.completeness.reasons


def test_read_user__past_since_on_the_last_page() -> None:
    """On the last page there is nothing to stop: the reading is verified."""
    _, result = read(ScriptedClient("course:1_2_31"), **NEWEST_FIRST)

    assert result.completeness == Completeness(Status.VERIFIED, (), 1)


def test_read_user__resources_that_alm_left_out() -> None:
    """Linked resources that include asked for and ALM left out are counted by their path."""
    client = ScriptedClient("course:1_2_31 …", "course:2_2_31", grade="g##1")

    _, result = read(client, include="loResourceGrades,learningObject")

    reasons = [reason for reason in result.completeness.reasons if "decoded" not in reason]
    assert reasons == [
        (
            "ALM left out 2 resources at the path loResourceGrades of include,"
            ' the first: "g#\\u00231"'
        )
    ]
    assert result.completeness.status is Status.CONSISTENT


def test_read_user__again_after_a_contradiction(caplog: pytest.LogCaptureFixture) -> None:
    """A reading that contradicts itself is logged and done again; only the last one counts."""
    client = ScriptedClient("course:1_2_31 …", "course:1_2_31", "course:2_2_31")
    sink = RecordingSink()

    result = read_user("31", inputs_of(), cast("Client", client), cast("Sink[Any]", sink))

    assert (result.error, result.completeness.status) == (None, "verified")
    assert [records.is_closed for records in sink.made] == [True, False]
    assert result.records is sink.made[1]
    assert [record.id for record in sink.made[1].enrollments] == ["course:2_2_31"]
    assert caplog.messages == [
        (
            "reading 1 of user 31 contradicts itself:"
            ' page 2: enrollment "course:1_2_31" came twice;'
            " the cursors could not be decoded, so it is likely but not verified that no"
            " enrollment was skipped"
        )
    ]


def test_read_user__contradicts_itself_each_time() -> None:
    """After three contradictions the user fails; the last reading is kept without repeats."""
    reading = ("course:1_2_31 course:2_2_31 …", "course:2_2_31 course:3_2_31")
    client = ScriptedClient(*reading * MAX_READINGS)

    ids, result = read(client)

    assert ids == ["course:1_2_31", "course:2_2_31", "course:3_2_31"]
    assert (client.requests, result.completeness.status) == (6, Status.INCONSISTENT)
    assert str(result.error) == (
        "redacted: ALM's pages for user 31 contradict themselves in each of 3 readings:"
        ' page 2: enrollment "course:2_2_31" came twice. Enrollments that appear or disappear'
        " during the run cause this. Run again, or set `allow_incomplete` to get the largest"
        " reading."
    )


def test_read_user__with_undecoded_ids() -> None:
    """Ids of an undocumented shape are passed on, and one remark counts them."""
    ids, result = read(ScriptedClient("new-1 course:1_2_31 …", "new-2"))

    assert ids == ["new-1", "course:1_2_31", "new-2"]
    assert result.completeness.reasons[0] == (
        'ids in an unknown form, returned as they are: 2, the first: "new-1"'
    )
