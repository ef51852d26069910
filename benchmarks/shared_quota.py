"""Simulate runs that share a bucket and do not know of each other, on a virtual clock: a minute.

The table of docs/PERFORMANCE.md is the mean of several seeds.
"""

from __future__ import annotations

import heapq
import itertools
import random
import statistics
from functools import partial
from typing import TYPE_CHECKING, Any

from connector.alm.client import POLL_SECONDS
from connector.alm.rate_limit import Quota, RateLimiter
from connector.sandbox.account import Limiter

if TYPE_CHECKING:
    from collections.abc import Callable

THREADS = 8
SEEDS = 10


class Simulation:
    """One bucket, and *runs* of *requests* through it, each with its own limiter and threads."""

    def __init__(  # noqa: PLR0913 - the rows of the table differ in these
        self,
        runs: int,
        requests: int,
        *,
        per_minute: float = 1_200,
        burst: float = 20,
        share: float = 1.0,
        seed: int = 1,
        latency: float = 0.006,
    ) -> None:
        self.accepted = self.refused = 0
        self.ended_at = 0.0
        self._runs = runs
        self._share = share
        self._random = random.Random(seed)  # noqa: S311 - nothing is secret here
        self._requests = requests
        self._latency_seconds = latency
        self._quota = Quota(per_minute / 60, burst)
        self._headers = {"x-rate-limit": f"{per_minute:g}r/m", "x-burst": f"{burst:g}"}
        self._bucket = Limiter(per_minute, burst)
        self._limiters = [RateLimiter(share) for _ in range(runs)]
        self._unsent = [requests] * runs
        self._order = itertools.count()
        self._events: list[tuple[float, int, Callable[[float], None]]] = []

    def run(self) -> None:
        """Let every run send all its requests."""
        for run in range(self._runs):
            started_at = run and self._random.random() * 0.3
            for _ in range(THREADS):
                self._at(started_at, partial(self._start, run=run))
        while self._events:
            now, _, happen = heapq.heappop(self._events)
            happen(now)

    @property
    def part_of_the_bound(self) -> float:
        """The speed, as a part of what the bucket allows."""
        quota = self._quota.share(self._share)
        least = self._requests * self._latency_seconds / THREADS
        bound = max(quota.seconds_for(self._runs * self._requests), least)
        return bound / self.ended_at

    @property
    def refused_part(self) -> float:
        """The refused requests, as a part of all."""
        return self.refused / (self.accepted + self.refused)

    def _at(self, moment: float, happen: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (moment, next(self._order), happen))

    def _start(self, now: float, run: int) -> None:
        if self._unsent[run]:
            self._unsent[run] -= 1
            self._acquire(now, run)

    def _acquire(self, now: float, run: int) -> None:
        wait = self._limiters[run].acquire(now, self._random.random())
        if wait is None:
            self._at(now + POLL_SECONDS, partial(self._acquire, run=run))
        else:
            self._at(now + wait, lambda later: self._send(later, run, now))

    def _send(self, now: float, run: int, booked_at: float) -> None:
        if self._limiters[run].was_blocked_since(booked_at):
            self._limiters[run].release(booked_at)
            self._acquire(now, run)
        else:
            self._at(self._latency(now), lambda later: self._arrive(later, run))

    def _arrive(self, now: float, run: int) -> None:
        wait = self._bucket.retry_after(now)
        self._at(self._latency(now), lambda later: self._respond(later, run, wait))

    def _respond(self, now: float, run: int, wait: float | None) -> None:
        self._limiters[run].update(self._headers, now)
        if wait is None:
            self.accepted += 1
            self.ended_at = now
            self._start(now, run)
        else:
            self.refused += 1
            self._limiters[run].block_until(now + round(wait, 3), now)
            self._acquire(now, run)

    def _latency(self, now: float) -> float:
        return now + self._latency_seconds * self._random.uniform(0.3, 0.7)


def main() -> None:
    """Print the table."""
    print("| what | of the bound | refused (429) | aimed at |\n|---|---|---|---|")
    row("one run of 20 requests, 50 ms per response", "0.2 s more", 1, 20, latency=0.05)
    row("one run of 600 requests", "at least 98 %, none", 1, 600)
    for runs, aim in ((2, ""), (4, "at least 88 %, at most 4 %"), (8, "")):
        row(f"{runs} runs of 150 requests", aim, runs, 150)
    for runs in (2, 4, 8):
        row(f"{runs} runs of 600 requests", "", runs, 600)
    for runs in (2, 4, 8):
        what = f"{runs} runs of 150 requests, 100 per minute, burst 100"
        row(what, "", runs, 150, per_minute=100, burst=100)
    what = "one run of 150 requests, 600 per minute, burst 0"
    row(what, "at least 67 %", 1, 150, per_minute=600, burst=0)


def row(what: str, aim: str, runs: int, requests: int, **limits: Any) -> None:  # noqa: ANN401 - those of Simulation
    """Print the line of *runs* at once."""
    simulations = [Simulation(runs, requests, seed=seed, **limits) for seed in range(SEEDS)]
    for simulation in simulations:
        simulation.run()
    bound = statistics.mean(simulation.part_of_the_bound for simulation in simulations)
    refused = statistics.mean(simulation.refused_part for simulation in simulations)
    print(f"| {what} | {bound:.0%} | {refused:.1%} | {aim} |", flush=True)


if __name__ == "__main__":
    main()
