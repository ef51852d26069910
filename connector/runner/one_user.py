"""One user: pages to records to a verdict, reading again what contradicts itself."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING, Generic

from msgspec import structs

from connector.alm.completeness import Completeness, CompletenessTracker, Status
from connector.alm.pagination import read_pages
from connector.alm.prefetch import Prefetcher
from connector.alm.records import find_missing, read_enrollments, without_repeats
from connector.clock import parse_moment
from connector.errors import ConnectorError, ProtocolError
from connector.output.results import Collected, UserResult
from connector.runner.connection import request_for
from connector.text import counted, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from connector.alm.client import Client
    from connector.alm.protocol import Page, PageRequest
    from connector.alm.records import Enrollment
    from connector.output.sinks import Sink
    from connector.settings import Inputs
    from connector.settings.users import Users

MAX_READINGS = 3
#: How many users have to show that ALM counts rows that it does not serve, until it is known.
MAX_CONFIRMED_USERS = 3
_id_and_type = attrgetter("id", "lo_type")
_log = logging.getLogger(__name__)


class HiddenRows:
    """Whether ALM counts rows that it does not serve, as the users of a run show. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._confirmed = 0

    def explain(self, tracker: CompletenessTracker, earlier: CompletenessTracker | None) -> str:
        """Return how the surplus of a reading is explained, by an *earlier* one or other users."""
        if not tracker.has_surplus:
            return ""
        with self._lock:
            if self._confirmed >= MAX_CONFIRMED_USERS:
                return "as for other users of this run"
            if earlier is None or not tracker.confirms(earlier):
                return ""
            self._confirmed += 1
        return "in two complete readings"


def read_user(
    user_id: str,
    inputs: Inputs,
    client: Client,
    sink: Sink[Collected],
    *,
    email: str | None = None,
    hidden_rows: HiddenRows | None = None,
) -> UserResult[Collected]:
    """Return what was read of *user_id*, with the error that ended it early if there was one.

    *email* is the address by which the run was asked for the user. Pages that contradict one
    another are read again from the start, as are those of whom ALM counts more than it serves,
    unless *hidden_rows* explain it.
    """
    hidden_rows = hidden_rows or HiddenRows()
    inconsistent: list[UserResult[Collected]] = []
    earlier: CompletenessTracker | None = None
    fetch: Callable[[PageRequest], Page] = client.fetch
    if _can_prefetch(inputs):
        fetch = Prefetcher(client, inputs.page_limit, inputs.max_enrollments).fetch
    for number in range(1, MAX_READINGS + 1):
        reading = Reading(user_id, inputs, client, sink.new_records(), email)
        reading.read(fetch)
        fetch = client.fetch
        result = reading.result(hidden_rows.explain(reading.tracker, earlier))
        if result.error:
            return _largest([*inconsistent, result], result.error)
        if result.completeness.status is not Status.INCONSISTENT:
            for other in inconsistent:
                other.records.close()
            return result
        # Not all of them in memory: the larger one is what a run that allows it gets.
        inconsistent = [_largest([*inconsistent, result])]
        reasons = "; ".join(result.completeness.reasons)
        _log.warning("reading %d of user %s contradicts itself: %s", number, user_id, reasons)
        if reading.tracker.has_surplus:
            earlier = reading.tracker
    error = ProtocolError(
        f"ALM's pages for user {user_id} contradict themselves in each of {MAX_READINGS} readings:"
        f" {result.completeness.reasons[0]}.",
        hint="Enrollments that appear or disappear during the run cause this. Run again, or set"
        " `allow_incomplete` to get the largest reading.",
    )
    return replace(inconsistent[0], error=client.redacted(error))


def _can_prefetch(inputs: Inputs) -> bool:
    """Return whether the next cursors can be predicted, and their pages are likely needed."""
    stops_early = inputs.since is not None and inputs.sort == "-dateEnrolled"
    return inputs.prefetch and len(inputs.lo_types) == 1 and not stops_early


def read_address(
    email: str,
    inputs: Inputs,
    client: Client,
    sink: Sink[Collected],
    users: Users,
    hidden_rows: HiddenRows,
) -> UserResult[Collected]:
    """Return what was read of the user who has the address *email*, as ``read_user``.

    Nothing is read of a user whom another entry of *users* names, or whom the sink has.
    """
    try:
        user_id = client.find_user(email)
    except ConnectorError as raised:
        error = client.redacted(raised)
        completeness = Completeness(Status.INCOMPLETE, (error.message,), 0)
        return UserResult(None, sink.new_records(), completeness, error, user_email=email)
    is_repeat = not users.claim(user_id)
    if is_repeat or sink.has(user_id):
        nothing = Completeness(Status.VERIFIED, (), 0)
        records = sink.new_records()
        return UserResult(
            user_id, records, nothing, user_email=email, is_repeat=is_repeat, is_kept=not is_repeat
        )
    return read_user(user_id, inputs, client, sink, email=email, hidden_rows=hidden_rows)


def _largest(
    results: Sequence[UserResult[Collected]], error: ConnectorError | None = None
) -> UserResult[Collected]:
    """Return the reading with the most records, the last of equals, and close the others.

    *error* ended the last reading, and so all of them.
    """
    largest = max(reversed(results), key=lambda result: result.records.count)
    for result in results:
        if result is not largest:
            result.records.close()
    if error is None or largest is results[-1]:
        return largest
    reasons = (*largest.completeness.reasons, error.message)
    completeness = replace(largest.completeness, reasons=reasons)
    return replace(largest, error=error, completeness=completeness)


class Reading(Generic[Collected]):
    """One reading of one user, from the first page to the last, or to where it ends early."""

    def __init__(
        self,
        user_id: str,
        inputs: Inputs,
        client: Client,
        records: Collected,
        email: str | None = None,
    ) -> None:
        self._user_id = user_id
        self._inputs = inputs
        self._client = client
        self._records = records
        self._email = email
        self._selection = Selection(inputs)
        self._undecoded, self._repeated = _Ids(), _Ids()
        self._missing = _MissingResources()
        self._doubts: list[str] = []
        self._stopped: str | None = None
        self._error: ConnectorError | None = None
        self.tracker = CompletenessTracker()

    def read(self, fetch: Callable[[PageRequest], Page]) -> None:
        """Read to the last page, unless an input or an error ends it, or the pages have no end.

        *fetch* returns the page for a request.
        """
        first = request_for(self._user_id, self._inputs)
        try:
            for page, following in read_pages(fetch, first):
                self._add(page, following)
                if following and self._selection.has_all:
                    self._doubts.append(
                        "stopped at the first enrollment older than since,"
                        f" on page {self.tracker.pages}"
                    )
                    break
                self._stopped = self._selection.reason_to_stop(has_next=following is not None)
                if self._stopped or self.tracker.is_looping:
                    break
        except ConnectorError as error:
            self._error = self._client.redacted(error)
            self._stopped = self._error.message

    def _add(self, page: Page, following: PageRequest | None) -> None:
        page, repeated_ids = without_repeats(page)
        served = read_enrollments(
            page,
            self._inputs.include,
            related=self._inputs.related,
            locale=self._inputs.locale,
        )
        self._missing.add(page, self._inputs.related)
        types = dict(map(_id_and_type, served)) if repeated_ids else {}
        are_new = self.tracker.add_page(
            map(_id_and_type, served),
            following.cursor if following else None,
            [types[enrollment_id] for enrollment_id in repeated_ids],
        )
        self._repeated.add(repeated_ids)
        self._undecoded.add([record.id for record in served if not record.is_decoded])
        if not all(are_new):
            pairs = zip(served, are_new, strict=True)
            served = [enrollment for enrollment, is_new in pairs if is_new]
        if self._email:
            served = [_with_email(record, self._email) for record in served]
        self._records.add(self._selection.take(served))

    def result(self, explanation: str = "") -> UserResult[Collected]:
        """Return what was read; an *explanation* is that of what ALM counts beyond it."""
        remarks = [
            *self._repeated.described(
                "enrollments that came twice on one page, and are kept once: {}"
            ),
            *self._undecoded.described("ids in an unknown form, returned as they are: {}"),
        ]
        completeness = self.tracker.result(
            self._stopped,
            doubts=[*self._doubts, *self._missing.reasons],
            remarks=remarks,
            explanation=explanation,
        )
        return UserResult(
            self._user_id,
            self._records,
            completeness,
            self._error,
            self._client.answered_at,
            self._email,
        )


def _with_email(record: Enrollment, email: str) -> Enrollment:
    """Return *record* with the address that led to it, unless it has the learner's own."""
    return record if record.user_email else structs.replace(record, user_email=email)


class Selection:
    """What the moments, ``max_enrollments`` and the order make of one reading of one user."""

    def __init__(self, inputs: Inputs) -> None:
        self._since = inputs.since
        self._completed_since = inputs.completed_since
        self._max = inputs.max_enrollments
        # ALM may serve one type after the other, each in this order; and nobody knows what further
        # parameters do to it.
        is_ordered = len(inputs.lo_types) == 1 and not inputs.query
        self._is_descending = inputs.sort == "-dateEnrolled" and is_ordered
        self._last: datetime | None = None
        self._has_passed_since = False
        self._is_cut = False
        self._count = 0

    def take(self, enrollments: Sequence[Enrollment]) -> Sequence[Enrollment]:
        """Return the wanted enrollments of one page, in the order served."""
        wanted = enrollments
        if self._since is not None:
            wanted = [
                enrollment for enrollment in enrollments if self._is_wanted(enrollment, self._since)
            ]
        if self._completed_since is not None:
            # After the older ones: `since` ends a reading by what was served.
            wanted = [
                enrollment for enrollment in wanted if self._is_completed(enrollment.date_completed)
            ]
        if self._max is not None and self._count + len(wanted) > self._max:
            self._is_cut = True
            wanted = wanted[: self._max - self._count]
        self._count += len(wanted)
        return wanted

    def _is_completed(self, date: str | None) -> bool:
        if date is None or self._completed_since is None:
            return False
        moment = parse_moment(date)
        # A completion at an unreadable date may be newer.
        return moment is None or moment >= self._completed_since

    @property
    def has_all(self) -> bool:
        """Whether no wanted enrollment can follow, and none was left out."""
        # Only if the dates really descend are all that follow an older one older, too.
        return self._has_passed_since and self._is_descending and not self._is_cut

    def reason_to_stop(self, *, has_next: bool) -> str | None:
        """Return why records are left out, or will be, for ``max_enrollments``; else ``None``."""
        if self._max is not None and self._count >= self._max and (has_next or self._is_cut):
            return f"stopped after {counted(self._max, 'enrollment')}, the limit of max_enrollments"
        return None

    def _is_wanted(self, enrollment: Enrollment, since: datetime) -> bool:
        moment = parse_moment(enrollment.date_enrolled or "")
        if moment is None:
            # An enrollment without a readable date may be newer: leaving it out could lose it.
            self._is_descending = False
            return True
        if self._last is not None and moment > self._last:
            self._is_descending = False
        self._last = moment
        if moment < since:
            self._has_passed_since = True
        return moment >= since


class _MissingResources:
    """Counts the resources that ``include`` asked for and ALM left out, by path."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, page: Page, include: Iterable[str]) -> None:
        for path, resource_id in find_missing(page, include):
            self._counts[path] += 1
            self._first.setdefault(path, resource_id)

    @property
    def reasons(self) -> list[str]:
        return [
            f"ALM left out {counted(count, 'resource')} at the path {path} of include,"
            f" the first: {quoted(self._first[path])}"
            for path, count in self._counts.items()
        ]


class _Ids:
    """Counts ids that a reading mentions, and remembers the first."""

    def __init__(self) -> None:
        self._count = 0
        self._first = ""

    def add(self, ids: Sequence[str]) -> None:
        if ids:
            self._first = self._first or ids[0]
            self._count += len(ids)

    def described(self, text: str) -> tuple[str, ...]:
        if not self._count:
            return ()
        return (f"{text.format(self._count)}, the first: {quoted(self._first)}",)
