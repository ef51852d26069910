"""Clocks that jump instead of waiting: for one thread, and for several."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
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


class SimulatedClock:
    """A ``connector.clock.Clock`` for several threads: time moves on when all of them sleep.

    Only threads that have slept before count; until *threads* of them have, time stands still.
    """

    # A thread that sleeps may hold what another one waits for: then time moves on all the same.
    _STALLED_SECONDS = 1.0
    _POLL_SECONDS = 0.005

    def __init__(
        self, threads: int = 1, started_at: datetime = datetime(2023, 6, 29, 12, tzinfo=UTC)
    ) -> None:
        self._started_at = started_at
        self._seconds = 0.0
        self._awaited = threads
        self._threads: set[threading.Thread] = set()
        self._sleepers: list[tuple[float, int, threading.Event]] = []
        self._number = itertools.count()
        self._lock = threading.Lock()
        self._changed_at = time.monotonic()

    def monotonic(self) -> float:
        """Return the seconds since the clock started."""
        return self._seconds

    def now(self) -> datetime:
        """Return the moment that the clock has reached."""
        return self._started_at + timedelta(seconds=self._seconds)

    def sleep(self, seconds: float) -> None:
        """Return when the clock has moved *seconds* on."""
        woken = threading.Event()
        with self._lock:
            self._threads.add(threading.current_thread())
            wakes_at = self._seconds + max(seconds, 0.0)
            heapq.heappush(self._sleepers, (wakes_at, next(self._number), woken))
            self._changed_at = time.monotonic()
            self._move_on()
        while not woken.wait(self._POLL_SECONDS):
            with self._lock:
                self._threads = {thread for thread in self._threads if thread.is_alive()}
                self._move_on()

    def _move_on(self) -> None:
        """Wake the thread that sleeps shortest, if all threads sleep."""
        now = time.monotonic()
        is_stalled = now - self._changed_at > self._STALLED_SECONDS
        if len(self._sleepers) >= max(len(self._threads), self._awaited) or is_stalled:
            wakes_at, _, woken = heapq.heappop(self._sleepers)
            self._seconds = max(self._seconds, wakes_at)
            self._changed_at = now
            self._awaited = 0
            woken.set()
