"""One user: pages to records to a verdict, reading again what contradicts itself."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING

from connector.alm.completeness import CompletenessTracker, Status
from connector.alm.pagination import read_pages
from connector.alm.records import find_missing, read_enrollments
from connector.clock import parse_moment
from connector.errors import ConnectorError, ProtocolError
from connector.output.results import Collected, UserResult
from connector.runner.connection import request_for
from connector.text import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from connector.alm.client import Client
    from connector.alm.protocol import Page
    from connector.alm.records import Enrollment
    from connector.output.sinks import Sink
    from connector.settings import Inputs

MAX_READINGS = 3
_id_and_type = attrgetter("id", "lo_type")
_log = logging.getLogger(__name__)


def read_user(
    user_id: str, inputs: Inputs, client: Client, sink: Sink[Collected]
) -> UserResult[Collected]:
    """Return what was read of *user_id*, with the error that ended it early if there was one."""
    for reading in range(1, MAX_READINGS + 1):
        result = _read_once(user_id, inputs, client, sink)
        completeness = result.completeness
        if completeness.status is not Status.INCONSISTENT:
            return result
        reasons = "; ".join(completeness.reasons)
        _log.warning("reading %d of user %s contradicts itself: %s", reading, user_id, reasons)
        if reading < MAX_READINGS:
            result.records.close()
    error = ProtocolError(
        f"ALM's pages for user {user_id} contradict themselves, {MAX_READINGS} readings over:"
        f" {completeness.reasons[0]}.",
        hint="Enrollments that come or go during the run do this; run again, or take what there is"
        " with allow_incomplete.",
    )
    return replace(result, error=client.redacted(error))


def _read_once(
    user_id: str, inputs: Inputs, client: Client, sink: Sink[Collected]
) -> UserResult[Collected]:
    tracker = CompletenessTracker()
    selection = Selection(inputs)
    undecoded, missing = _UndecodedIds(), _MissingResources()
    records = sink.new_records()
    doubts: list[str] = []
    stopped, failed = None, None
    try:
        for page, following in read_pages(client, request_for(user_id, inputs)):
            served = read_enrollments(
                page, inputs.include, related=inputs.related, locale=inputs.locale
            )
            missing.add(page, inputs.related)
            cursor = following.cursor if following else None
            are_new = tracker.add_page(map(_id_and_type, served), cursor)
            undecoded.add(served)
            if not all(are_new):
                pairs = zip(served, are_new, strict=True)
                served = [enrollment for enrollment, is_new in pairs if is_new]
            records.add(selection.take(served))
            if following and selection.has_all:
                doubts.append(
                    f"stopped at the first enrollment older than since, on page {tracker.pages}"
                )
                break
            stopped = selection.reason_to_stop(has_next=following is not None)
            if stopped or tracker.is_inconsistent:
                break
    except ConnectorError as error:
        failed = client.redacted(error)
        stopped = failed.message
    doubts += missing.reasons
    completeness = tracker.result(stopped, doubts=doubts, remarks=undecoded.remarks)
    return UserResult(user_id, records, completeness, failed, client.answered_at)


class Selection:
    """What the moments, ``max_enrollments`` and the order make of one reading of one user."""

    def __init__(self, inputs: Inputs) -> None:
        self._since = inputs.since
        self._completed_since = inputs.completed_since
        self._max = inputs.max_enrollments
        # ALM may serve one type after the other, each in this order.
        self._is_descending = inputs.sort == "-dateEnrolled" and len(inputs.lo_types) == 1
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
            return f"stopped after {self._max} enrollments, as max_enrollments asks"
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
            f"ALM left out {count} of the resources that include asked for as {path},"
            f" the first: {quoted(self._first[path])}"
            for path, count in self._counts.items()
        ]


class _UndecodedIds:
    """Counts the ids of another shape than ALM documents."""

    def __init__(self) -> None:
        self._count = 0
        self._first = ""

    def add(self, enrollments: Iterable[Enrollment]) -> None:
        for enrollment in enrollments:
            if not enrollment.is_decoded:
                self._first = self._first or enrollment.id
                self._count += 1

    @property
    def remarks(self) -> tuple[str, ...]:
        if not self._count:
            return ()
        first = quoted(self._first)
        return (f"{self._count} ids of another shape were handed on undecoded, the first: {first}",)
