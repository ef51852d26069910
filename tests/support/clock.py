"""A clock that jumps instead of waiting."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta


class VirtualClock:
    """A ``connector.clock.Clock``; ``sleep`` jumps ahead and is recorded in ``slept``."""

    def __init__(self, started_at: datetime = datetime(2023, 6, 29, 12, tzinfo=UTC)) -> None:
        self.slept: list[float] = []
        self._started_at = started_at
        self._seconds = 0.0
        self._lock = threading.Lock()

    def monotonic(self) -> float:
        """Return the seconds since the clock started."""
        return self._seconds

    def now(self) -> datetime:
        """Return the moment that the clock has reached."""
        return self._started_at + timedelta(seconds=self._seconds)

    def sleep(self, seconds: float) -> None:
        """Jump *seconds* ahead."""
        with self._lock:
            self.slept.append(seconds)
            self._seconds += seconds
