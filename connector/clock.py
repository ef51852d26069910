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
