"""Runs that share a bucket unknowingly, on a virtual clock: none starves, few are refused."""

from __future__ import annotations

import heapq
import itertools
import random
from functools import partial
from typing import TYPE_CHECKING

import pytest

from connector.alm.rate_limit import RateLimiter
from connector.sandbox.account import Limiter

if TYPE_CHECKING:
    from collections.abc import Callable

PER_MINUTE, BURST = 1_200.0, 20.0
HEADERS = {"x-rate-limit": f"{PER_MINUTE:.0f}r/m", "x-burst": f"{BURST:.0f}"}
THREADS = 8
REQUESTS = 600
LATENCY_SECONDS = 0.006


class Simulation:
    """One bucket, and *runs* that send through it, each with its own limiter and threads."""

    def __init__(self, runs: int, share: float = 1.0, seed: int = 1) -> None:
        self.accepted = self.refused = 0
        self.ended_at = 0.0
        self._runs = runs
        self._share = share
        self._random = random.Random(seed)  # noqa: S311 - nothing is secret here
        self._bucket = Limiter(PER_MINUTE, BURST)
        self._limiters = [RateLimiter(share) for _ in range(runs)]
        self._unsent = [REQUESTS] * runs
        self._order = itertools.count()
        self._events: list[tuple[float, int, Callable[[float], None]]] = []

    def run(self) -> None:
        """Let every run send all its requests."""
        for run in range(self._runs):
            started_at = self._random.random() * 0.3
            for _ in range(THREADS):
                self._at(started_at, partial(self._start, run=run))
        while self._events:
            now, _, happen = heapq.heappop(self._events)
            happen(now)

    @property
    def part_of_the_bound(self) -> float:
        """The speed, as a part of what the bucket allows."""
        bound = PER_MINUTE / 60 * self._share
        return (self._runs * REQUESTS - BURST) / bound / self.ended_at

    def _at(self, moment: float, happen: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (moment, next(self._order), happen))

    def _start(self, now: float, run: int) -> None:
        if self._unsent[run]:
            self._unsent[run] -= 1
            self._acquire(now, run)

    def _acquire(self, now: float, run: int) -> None:
        wait = self._limiters[run].acquire(now, self._random.random())
        self._at(now + wait, lambda later: self._send(later, run, now))

    def _send(self, now: float, run: int, booked_at: float) -> None:
        if self._limiters[run].was_blocked_since(booked_at):
            self._acquire(now, run)
        else:
            self._at(self._latency(now), lambda later: self._arrive(later, run))

    def _arrive(self, now: float, run: int) -> None:
        wait = self._bucket.retry_after(now)
        self._at(self._latency(now), lambda later: self._respond(later, run, wait))

    def _respond(self, now: float, run: int, wait: float | None) -> None:
        self._limiters[run].update(HEADERS, now)
        if wait is None:
            self.accepted += 1
            self.ended_at = now
            self._start(now, run)
        else:
            self.refused += 1
            self._limiters[run].block_until(now + round(wait, 3), now)
            self._acquire(now, run)

    def _latency(self, now: float) -> float:
        return now + LATENCY_SECONDS * self._random.uniform(0.3, 0.7)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_simulation__one_run(share: float, seed: int) -> None:
    """A run that has its bucket for itself is never refused and uses nearly all of its share."""
    simulation = Simulation(runs=1, share=share, seed=seed)

    simulation.run()

    assert (simulation.accepted, simulation.refused) == (REQUESTS, 0)
    assert 0.95 < simulation.part_of_the_bound < 1.02


@pytest.mark.parametrize("seed", range(3))
def test_simulation__four_runs(seed: int) -> None:
    """Four runs on one bucket all finish, use most of it, and are rarely refused."""
    simulation = Simulation(runs=4, seed=seed)

    simulation.run()

    assert simulation.accepted == 4 * REQUESTS
    assert simulation.part_of_the_bound > 0.8
    assert simulation.refused / (simulation.accepted + simulation.refused) < 0.05


def test_simulation__four_quarters() -> None:
    """Four runs with a quarter each are never refused after they have learned the limits."""
    simulation = Simulation(runs=4, share=0.25)

    simulation.run()

    assert simulation.accepted == 4 * REQUESTS
    assert simulation.refused < THREADS * 4
