"""Runs that share a bucket without knowing of each other, on a virtual clock: nobody starves, and little is refused."""

from __future__ import annotations

import heapq
import itertools
import random
from dataclasses import dataclass, field

import pytest

from connector.alm.rate_limit import RateLimiter
from connector.sandbox.account import Limiter

PER_MINUTE, BURST = 1_200.0, 20.0
HEADERS = {"x-rate-limit": f"{PER_MINUTE:.0f}r/m", "x-burst": f"{BURST:.0f}"}
THREADS = 8
REQUESTS = 600
LATENCY_SECONDS = 0.006


@dataclass
class Account:
    """One bucket, and the runs that send through it, each with its own gate and its own threads."""

    runs: int
    share: float = 1.0
    seed: int = 1
    accepted: int = 0
    refused: int = 0
    ended_at: float = 0.0
    _bucket: Limiter = field(default_factory=lambda: Limiter(PER_MINUTE, BURST))
    _events: list[tuple[float, int, str, int, float]] = field(default_factory=list)

    def run(self) -> None:
        """Let every run send all its requests."""
        self._chance = random.Random(self.seed)  # noqa: S311 - nothing is secret here
        self._order = itertools.count()
        self._gates = [RateLimiter(self.share) for _ in range(self.runs)]
        self._left = [REQUESTS] * self.runs
        for run in range(self.runs):
            begun_at = self._chance.random() * 0.3
            for _ in range(THREADS):
                self._at(begun_at, "begin", run)
        while self._events:
            now, _, step, run, booked_at = heapq.heappop(self._events)
            getattr(self, f"_{step}")(now, run, booked_at)

    def _at(self, moment: float, step: str, run: int, booked_at: float = 0.0) -> None:
        heapq.heappush(self._events, (moment, next(self._order), step, run, booked_at))

    def _begin(self, now: float, run: int, _: float) -> None:
        if self._left[run]:
            self._left[run] -= 1
            self._book(now, run, now)

    def _book(self, now: float, run: int, _: float) -> None:
        self._at(now + self._gates[run].reserve(now, self._chance.random()), "leave", run, now)

    def _leave(self, now: float, run: int, booked_at: float) -> None:
        if self._gates[run].was_blocked_since(booked_at):
            self._book(now, run, now)
        else:
            self._at(now + LATENCY_SECONDS * self._chance.uniform(0.3, 0.7), "arrive", run)

    def _arrive(self, now: float, run: int, _: float) -> None:
        wait = self._bucket.retry_after(now)
        self._at(
            now + LATENCY_SECONDS * self._chance.uniform(0.3, 0.7),
            "accept" if wait is None else "refuse",
            run,
            wait or 0.0,
        )

    def _accept(self, now: float, run: int, _: float) -> None:
        self._gates[run].learn(HEADERS, now)
        self.accepted += 1
        self.ended_at = now
        self._begin(now, run, now)

    def _refuse(self, now: float, run: int, wait: float) -> None:
        self._gates[run].learn(HEADERS, now)
        self.refused += 1
        self._gates[run].block_until(now + round(wait, 3), now)
        self._book(now, run, now)

    @property
    def part_of_the_bound(self) -> float:
        """How fast it went, as a part of what the bucket allows."""
        return (self.runs * REQUESTS - BURST) / (PER_MINUTE / 60 * self.share) / self.ended_at


@pytest.mark.parametrize("seed", range(3))
def test_gate__one_run(seed: int) -> None:
    """A run alone on its bucket is never refused, and loses next to nothing of it."""
    account = Account(runs=1, seed=seed)

    account.run()

    assert (account.accepted, account.refused) == (REQUESTS, 0)
    assert 0.97 < account.part_of_the_bound <= 1


@pytest.mark.parametrize("seed", range(3))
def test_gate__half_a_share(seed: int) -> None:
    """Half a share takes half the rate, and is never refused."""
    account = Account(runs=1, share=0.5, seed=seed)

    account.run()

    assert (account.accepted, account.refused) == (REQUESTS, 0)
    assert 0.95 < account.part_of_the_bound < 1.02


@pytest.mark.parametrize("seed", range(5))
def test_gate__four_runs(seed: int) -> None:
    """Four runs on one bucket all get through, use most of it, and few of the answers are refusals."""
    account = Account(runs=4, seed=seed)

    account.run()

    assert account.accepted == 4 * REQUESTS
    assert account.part_of_the_bound > 0.8
    assert account.refused / (account.accepted + account.refused) < 0.05


def test_gate__four_quarters() -> None:
    """Four runs that each take a quarter are never refused once they know the bucket."""
    account = Account(runs=4, share=0.25)

    account.run()

    assert account.accepted == 4 * REQUESTS
    assert account.refused < THREADS * 4
