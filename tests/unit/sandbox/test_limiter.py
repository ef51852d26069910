"""The limiter is ALM_API.md's leaky bucket: excess = max(excess - rate * elapsed + 1, 0), refused above the burst."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.sandbox.limiter import Limiter

RATES = st.floats(1, 6_000)
BURSTS = st.integers(0, 50)
GAPS = st.lists(st.floats(0, 5), min_size=1, max_size=80)


def test_limiter__the_first_request_fills_nothing() -> None:
    """A bucket that nobody used lets a request through and stays empty, as openresty's does."""
    limiter = Limiter(60, 0)

    answer = limiter.retry_after(1_000.0)

    assert (answer, limiter.excess) == (None, 0.0)


@pytest.mark.parametrize(
    ("moments", "answers", "excess"),
    [
        ([0, 0, 0], [None, None, None], 2.0),
        ([0, 0, 0, 0], [None, None, None, 3.0], 2.0),
        ([0, 0, 0, 0, 0, 0], [None, None, None, 3.0, 3.0, 3.0], 2.0),
        ([0, 0, 0, 0.5], [None, None, None, 2.5], 2.0),
        ([0, 0, 0, 1], [None, None, None, None], 2.0),
        ([0, 0, 0, 0.5, 1], [None, None, None, 2.5, None], 2.0),
        ([0, 0, 0, 2.5], [None, None, None, None], 0.5),
        ([0, 0, 0, 500], [None, None, None, None], 0.0),
    ],
)
def test_limiter__one_a_second_and_two_at_once_beyond(
    moments: list[float], answers: list[float | None], excess: float
) -> None:
    """The bucket drains by the rate, a request fills it by one, a refused one by nothing; the wait is excess / rate."""
    limiter = Limiter(60, 2)

    given_answers = [limiter.retry_after(moment) for moment in moments]

    assert (given_answers, limiter.excess) == (answers, excess)


def test_limiter__admin_scope_as_documented() -> None:
    """At (100, 100) 101 requests go through at once; the next has to wait until its excess has drained."""
    limiter = Limiter(100, 100)

    answers = [limiter.retry_after(0) for _ in range(102)]

    assert answers == [*[None] * 101, pytest.approx(101 / 100 * 60)]


def test_limiter__documented_retry_after_is_possible() -> None:
    """The documented wait of 10.752 s is one that 100 requests a minute bring about."""
    limiter = Limiter(100, 17)
    admitted = [limiter.retry_after(0) for _ in range(18)]

    wait = limiter.retry_after(0.048)

    assert admitted == [None] * 18
    assert wait == pytest.approx(10.752)


@settings(deadline=None, database=None)
@given(rate=RATES, burst=BURSTS)
def test_limiter__who_waits_as_told_gets_in(rate: float, burst: int) -> None:
    """After the seconds that a refusal names, the next request is let through."""
    limiter = Limiter(rate, burst)
    admitted = [limiter.retry_after(0) for _ in range(burst + 1)]
    wait = limiter.retry_after(0) or 0

    after_waiting = limiter.retry_after(wait)

    assert admitted == [None] * (burst + 1)
    assert wait == pytest.approx((burst + 1) / rate * 60)
    assert after_waiting is None


@settings(deadline=None, database=None)
@given(rate=RATES, burst=BURSTS, gaps=GAPS)
def test_limiter__never_more_than_rate_and_burst(
    rate: float, burst: int, gaps: list[float]
) -> None:
    """Whatever the pace, no more get through than the time since the first, the burst and that first allow."""
    limiter = Limiter(rate, burst)
    moments = [sum(gaps[:end]) for end in range(len(gaps))]

    admitted = [limiter.retry_after(moment) for moment in moments].count(None)

    assert admitted <= 1 + burst + rate / 60 * moments[-1] + 0.001
