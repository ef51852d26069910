"""Time, the deadline, and the only sleep of the program; a signal ends a sleep."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """The time that decisions depend on; tests pass a clock that jumps."""

    def monotonic(self) -> float:
        """Return seconds since some moment; never runs backwards."""
        ...

    def now(self) -> datetime:
        """Return the present moment, in UTC."""
        ...

    def sleep(self, seconds: float) -> None:
        """Return after *seconds*, or earlier with the exception that a signal handler raises."""
        ...


class SystemClock:
    """The machine's own clock."""

    def monotonic(self) -> float:
        """Return the system's monotonic seconds."""
        return time.monotonic()

    def now(self) -> datetime:
        """Return the system's time, in UTC."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Wait for *seconds*."""
        time.sleep(seconds)


_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:[0-9]{2})?)?"
)


def parse_moment(text: str) -> datetime | None:
    """Return the moment of ``YYYY-MM-DD`` or ``YYYY-MM-DDThh:mm[:ss[.f]][Z or ±hh:mm]``.

    UTC if it has no offset; ``None`` for any other text, other forms of ISO 8601 included.
    """
    if not _MOMENT.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def parse_utc(text: str) -> datetime | None:
    """Return the moment that ``parse_moment`` reads, in UTC; ``None`` if UTC has no such moment."""
    moment = parse_moment(text)
    try:
        return moment and moment.astimezone(UTC)
    except OverflowError:
        # In the year 0 or 10,000, which Python cannot represent.
        return None


_RELATIVE = re.compile(r"yesterday|([1-9][0-9]{0,3})([dh])")


def parse_relative(text: str, now: datetime) -> datetime | None:
    """Return the moment that *text* names relative to *now*; ``None`` for any other text.

    ``7d`` and ``12h`` are so many days or hours before; ``yesterday`` began at midnight, UTC.
    """
    match = _RELATIVE.fullmatch(text)
    if match is None:
        return None
    if match[1] is None:
        midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return midnight - timedelta(days=1)
    return now.replace(microsecond=0) - timedelta(hours=int(match[1]) * {"d": 24, "h": 1}[match[2]])


def format_moment(moment: datetime) -> str:
    """Return *moment* as ALM writes moments: UTC, in milliseconds unless they lose something."""
    utc = moment.astimezone(UTC)
    precision = "microseconds" if utc.microsecond % 1_000 else "milliseconds"
    return utc.isoformat(timespec=precision).replace("+00:00", "Z")


class Deadline:
    """The moment by which a run must have ended: *seconds* from now."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.clock = clock
        self.seconds = seconds
        self._ends_at = clock.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds left; negative once the deadline has passed."""
        return self._ends_at - self.clock.monotonic()

    def moment(self) -> datetime:
        """Return the moment of the deadline, in UTC."""
        return self.clock.now() + timedelta(seconds=self.left())
