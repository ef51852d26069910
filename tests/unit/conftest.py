"""What every unit test may ask for: a clock that jumps in place of waiting, and hypothesis without chance or a database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings

settings.register_profile("unit", deadline=None, derandomize=True, database=None)
settings.load_profile("unit")


class VirtualClock:
    """Obeys connector.clock.Clock: begins at 2023-06-29 12:00 UTC, jumps when it is told to sleep, and remembers it in ``slept``."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self._began_at = datetime(2023, 6, 29, 12, 0, tzinfo=UTC)
        self._seconds = 0.0

    def monotonic(self) -> float:
        """Return the seconds since the clock began."""
        return self._seconds

    def now(self) -> datetime:
        """Return the moment to which the clock has jumped."""
        return self._began_at + timedelta(seconds=self._seconds)

    def sleep(self, seconds: float) -> None:
        """Jump *seconds* ahead."""
        self.slept.append(seconds)
        self._seconds += seconds


@pytest.fixture
def clock() -> VirtualClock:
    """Return a clock that jumps."""
    return VirtualClock()
