"""Runs joined by ``next_since`` deliver every enrollment at least once."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.alm import FakeAlm, Quota
from tests.support.clock import VirtualClock

if TYPE_CHECKING:
    from tests.long_runs.conftest import Run

USERS = ["31", "32", "33"]
HOUR = 3_600.0
START = datetime(2026, 1, 1, tzinfo=UTC)
# An enrollment appears in the API at most so much later.
MAX_LAG_SECONDS = 299.0


@dataclass(frozen=True, slots=True)
class Enrollment:
    """An enrollment of *user*, made so many seconds after the start, *visible_at* in the API."""

    number: int
    user: str
    made_at: float
    visible_at: float


@dataclass(frozen=True, slots=True)
class Step:
    """A run *after* so many seconds, in which each request takes *latency*; *fault* of a user."""

    after: float
    latency: float = 0.0
    fault: str | None = None
    faulty: str = "32"
    inputs: dict[str, Any] = field(default_factory=dict)


FAULTS = {"busy": (503, ""), "denied": (403, ""), "refused": (400, "")}
STEPS = st.builds(
    Step,
    after=st.floats(0, 4 * HOUR),
    latency=st.sampled_from([0.0, 1.0, 400.0, 4_000.0]),
    fault=st.sampled_from([None, None, *FAULTS]),
    faulty=st.sampled_from(USERS),
    inputs=st.sampled_from(
        [
            *({"sort": sort} for sort in ("dateEnrolled", "-dateEnrolled")),
            {"sort": "-dateEnrolled", "lo_types": "course,jobAid"},
            {"allow_incomplete": True},
            {"max_enrollments": 1},
            {"sort": "-dateEnrolled", "max_enrollments": 2},
            {"deadline": 1_000},
            {"deadline": 5_000, "allow_incomplete": True},
        ]
    ),
)
MADE = st.tuples(st.sampled_from(USERS), st.floats(0, 20 * HOUR), st.floats(0, MAX_LAG_SECONDS))


class Account:
    """Learners who are created, and who enroll, while the runs go on."""

    def __init__(
        self, made: list[tuple[str, float, float]], created_at: float, skew: timedelta
    ) -> None:
        self.enrollments = [
            Enrollment(number, user, moment, moment + lag)
            for number, (user, moment, lag) in enumerate(made)
            # The last learner does not exist before this moment.
            if user != USERS[-1] or moment >= created_at
        ]
        self.created_at = created_at
        self.clock = VirtualClock(START)
        #: ALM's clock is not this machine's.
        self.skew = skew

    def enrollments_of(self, user_id: str) -> list[tuple[str, str]]:
        """Return what the API has of a user now, oldest first."""
        now = self.clock.monotonic()
        found = sorted(
            (made.made_at, made.number)
            for made in self.enrollments
            if made.user == user_id and made.visible_at <= now
        )
        return [
            (f"course:{number}_2_{user_id}", f"{self.alm_time(moment):%Y-%m-%dT%H:%M:%S.000Z}")
            for moment, number in found
        ]

    def alm_time(self, seconds: float | None = None) -> datetime:
        """Return the time of ALM's clock, now or so many seconds after the start."""
        if seconds is None:
            seconds = self.clock.monotonic()
        return START + timedelta(seconds=seconds) + self.skew

    def alm(self, step: Step) -> FakeAlm:
        """Return the ALM of one run."""

        def fault(user_id: str) -> tuple[int, str] | None:
            if user_id == USERS[-1] and self.clock.monotonic() < self.created_at:
                return 404, ""
            return FAULTS[step.fault] if step.fault and user_id == step.faulty else None

        return FakeAlm(
            self.clock,
            self.enrollments_of,
            latency_of=lambda _: step.latency,
            fault=fault,
            now=self.alm_time,
            page_size=2,
            quota=Quota(per_minute=6_000, burst=1_000),
        )


@given(
    made=st.lists(MADE, max_size=14),
    steps=st.lists(STEPS, min_size=1, max_size=6),
    created_at=st.sampled_from([0.0, 0.0, 2 * HOUR]),
    skew=st.sampled_from([timedelta(0), timedelta(hours=-3), timedelta(hours=2)]),
)
# The learner who was read first enrolls while the others are read.
@example(
    made=[("31", 2 * HOUR, 0.0), ("33", 2.5 * HOUR, 0.0)],
    steps=[Step(HOUR, latency=4_000.0), Step(HOUR)],
    created_at=0.0,
    skew=timedelta(0),
)
# A learner is created, and enrolls, before the run's first page.
@example(
    made=[("33", 2 * HOUR + 10, 0.0)],
    steps=[Step(2 * HOUR - 3_999, latency=4_000.0), Step(HOUR)],
    created_at=2 * HOUR,
    skew=timedelta(0),
)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_next_since__loses_nothing(
    made: list[tuple[str, float, float]],
    steps: list[Step],
    created_at: float,
    skew: timedelta,
    run: Run,
) -> None:
    """For any enrollments, failures and runs, each enrollment is delivered by some run."""
    account = Account(made, created_at, skew)
    users, since = USERS[::-1], None
    delivered: set[str] = set()

    # In the end one run, after all enrollments, without a failure.
    for step in [*steps, Step(100 * HOUR)]:
        account.clock.sleep(step.after)
        inputs = {"user_id": users, "concurrency": 1, "deadline": 31_536_000, **step.inputs}
        document = run(account.alm(step), **inputs, since=since).document
        delivered |= set(document["enrollment_ids"])
        since = document["next_since"] or since

    wanted = {f"course:{made.number}_2_{made.user}" for made in account.enrollments}
    assert delivered == wanted


@pytest.mark.parametrize("sort", ["dateEnrolled", "-dateEnrolled"])
def test_next_since__delivers_little_twice(sort: str, run: Run) -> None:
    """A loop of runs delivers again what was made in the five minutes before each run."""
    made = [("31", 600.0 * number, 0.0) for number in range(24 * 6)]
    account = Account(made, 0.0, timedelta(0))
    since, delivered, requests = None, 0, 0

    for _ in range(24):
        account.clock.sleep(HOUR)
        alm = account.alm(Step(0.0))
        document = run(alm, user_id="31", since=since, sort=sort).document
        since = document["next_since"]
        delivered += document["enrollment_count"]
        requests += len(alm.requests)

    # One is made just when a run begins.
    assert delivered == 144 + 23
    assert document["complete"]
    # Newest first, a run reads the pages of an hour and one more.
    assert (requests <= 24 * (6 / 2 + 1)) is (sort == "-dateEnrolled")
