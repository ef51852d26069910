"""Which of the enrollments that were read are wanted, and when enough was read. Knows nothing of pages to come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from connector.clock import parse_moment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from connector.alm.records import Enrollment


class Selection:
    """What ``since``, ``max_enrollments`` and the order make of one reading of one user."""

    def __init__(self, *, since: datetime | None, most: int | None, newest_first: bool) -> None:
        self._since = since
        self._most = most
        self._descends = newest_first
        self._last: datetime | None = None
        self._passed_since = False
        self._left_out = False
        self._kept = 0

    def take(self, enrollments: Sequence[Enrollment]) -> Sequence[Enrollment]:
        """Return what is wanted of one page, in the order served."""
        wanted = (
            enrollments
            if self._since is None
            else [one for one in enrollments if self._is_wanted(one, self._since)]
        )
        if self._most is not None and self._kept + len(wanted) > self._most:
            self._left_out = True
            wanted = wanted[: self._most - self._kept]
        self._kept += len(wanted)
        return wanted

    def _is_wanted(self, enrollment: Enrollment, since: datetime) -> bool:
        moment = parse_moment(enrollment.date_enrolled or "")
        if moment is None:
            # When it was is unknown: to leave it out could lose it.
            self._descends = False
            return True
        if self._last is not None and moment > self._last:
            self._descends = False
        self._last = moment
        if moment >= since:
            return True
        self._passed_since = True
        return False

    def why_stop(self, *, has_next: bool) -> str | None:
        """Return why nothing further need be read, or why not all that was read is kept; ``None`` where neither is so."""
        if self._most is not None and self._kept >= self._most and (has_next or self._left_out):
            return f"stopped after {self._most} enrollments, as max_enrollments asks"
        # Only while the dates really descend does an older one prove that all that follow are older too.
        if self._passed_since and self._descends and has_next:
            return "stopped at the first enrollment older than since"
        return None
