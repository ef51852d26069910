"""The limiter against an independent model of ALM's: no request that it allows is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.alm.rate_limit import ASSUMED, MAX_WAIT_SECONDS, Quota, RateLimiter, read_quota

ADMIN = {"x-rate-limit": "100r/m", "x-burst": "100"}
GAPS = st.lists(st.one_of(st.just(0.0), st.floats(0, 120)), min_size=1, max_size=150)


class Bucket:
    """nginx's limiter in the strictest reading: the first request counts too."""

    def __init__(self, rate_per_minute: float, burst: float, excess: float = 0.0) -> None:
        self._rate, self._burst = rate_per_minute / 60, burst
        self._excess, self._at = excess, 0.0

    def refuses(self, moment: float) -> bool:
        """Add a request at *moment*; a rounding error is not a refusal."""
        excess = max(self._excess - self._rate * (moment - self._at) + 1, 0)
        if excess > self._burst + 1e-6:
            return True
        self._excess, self._at = excess, moment
        return False


def refused(
    limiter: RateLimiter, bucket: Bucket, gaps: list[float], jitter: float = 0.0
) -> list[float]:
    """Return the refused ones of requests that are acquired *gaps* seconds after each other."""
    now, moments = 0.0, []
    for gap in gaps:
        now += gap
        moments.append(now + (limiter.acquire(now, jitter) or 0.0))
    return [moment for moment in moments if bucket.refuses(moment)]


def waits(limiter: RateLimiter, count: int, now: float = 0.0, jitter: float = 0.0) -> list[Any]:
    """Return the waits of *count* requests at the same moment."""
    return [limiter.acquire(now, jitter) for _ in range(count)]


def limiter_of(headers: dict[str, str] = ADMIN, share: float = 1.0, now: float = 0) -> RateLimiter:
    """Return a limiter that has learned from *headers*, of a run that began an hour ago."""
    limiter = RateLimiter(share)
    limiter.acquire(now - 3_600)
    for _ in range(200):
        limiter.update(headers, now)
    return limiter


@pytest.mark.parametrize(
    ("rate", "burst", "quota"),
    [
        ("100r/m", "100", Quota(100 / 60, 100)),
        ("5r/s", "30", Quota(5, 30)),
        ("500r/h", "20", Quota(500 / 3_600, 20)),
        ("10000r/d", "5", Quota(10_000 / 86_400, 5)),
        ("0.5r/s", "0", Quota(0.5, 0)),
        (" 100 r/m ", " 30 ", Quota(100 / 60, 30)),
        *((rate, "100", None) for rate in ("", "100", "r/m", "0r/m", "0.0r/s", "-1r/m", "100r/w")),
        *((rate, "100", None) for rate in ("nanr/m", "infr/m", "1e3r/m", "٣r/m", "1r/m, 1r/m")),
        *(("100r/m", burst, None) for burst in ("", "-1", "1.5", "many", "nan", "٣", "1" * 10)),
    ],
)
def test_read_quota__forms(rate: str, burst: str, quota: Quota | None) -> None:
    """Both headers together name rate and burst; an unusable one names nothing."""
    assert read_quota({"x-rate-limit": rate, "x-burst": burst}) == quota


@pytest.mark.parametrize("headers", [{}, {"x-rate-limit": "100r/m"}, {"x-burst": "100"}])
def test_read_quota__half(headers: dict[str, str]) -> None:
    """One header without the other names nothing."""
    assert read_quota(headers) is None


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        ("100r/m", "100 requests per minute, burst 9"),
        ("0.5r/s", "0.5 requests per second, burst 9"),
        ("500r/h", "500 requests per hour, burst 9"),
        ("10000r/d", "10000 requests per day, burst 9"),
    ],
)
def test_quota__words(rate: str, words: str) -> None:
    """A quota is described in ALM's own unit."""
    assert str(read_quota({"x-rate-limit": rate, "x-burst": "9"})) == words


def test_update__unusable_rate() -> None:
    """A rate that cannot be used is kept as text, until another comes; no header is neither."""
    limiter = limiter_of({"x-rate-limit": "500r/week", "x-burst": "9"})
    known = [(RateLimiter().unread_rate, None), (limiter.unread_rate, limiter.seen)]
    for headers in ({}, {"x-rate-limit": "500r/w"}, ADMIN, {"x-rate-limit": "5r/h"}):
        limiter.update(headers, 0)
        known.append((limiter.unread_rate, limiter.seen))

    assert known == [
        (None, None),
        ("500r/week", None),
        (None, None),
        ("500r/w", None),
        (None, Quota(5 / 3, 100)),
        ("5r/h", Quota(5 / 3, 100)),
    ]


def test_quota__share() -> None:
    """A share is that part of rate and burst, in the same unit."""
    assert Quota(2, 100).share(0.25) == Quota(0.5, 25)
    assert Quota(2, 100, "h").share(0.25).unit == "h"


@pytest.mark.parametrize(("requests", "seconds"), [(0, 0), (100, 0), (101, 0.6), (1_100, 600)])
def test_quota__seconds_for(requests: int, seconds: float) -> None:
    """Requests within the burst take no time, each further one its part of the minute."""
    assert Quota(100 / 60, 100).seconds_for(requests) == pytest.approx(seconds)


def test_acquire__burst_then_rate() -> None:
    """As many requests as the burst allows are sent at once, then one every 0.6 s."""
    assert waits(limiter_of(), 103) == pytest.approx([*[0.0] * 100, 0.6, 1.2, 1.8])


def test_acquire__before_any_header() -> None:
    """Before the first response the lower of the documented limits holds, the learner's."""
    limiter = limiter_of({})

    assert waits(limiter, 32) == pytest.approx([*[0.0] * 30, 0.6, 1.2])
    assert (limiter.seen, ASSUMED) == (None, Quota(100 / 60, 30))


def test_start__one_request_then_as_many_as_responses() -> None:
    """A run begins with one request, and has one more under way per response."""
    limiter = RateLimiter()
    first = waits(limiter, 2)
    limiter.update(ADMIN, 0.0)
    second = waits(limiter, 3)
    limiter.update(ADMIN, 0.0)

    assert (first, second) == ([0.0, None], [0.0, 0.0, None])
    assert waits(limiter, 3) == [0.0, 0.0, None]


@pytest.mark.parametrize("end", ["abandon", "release"])
def test_start__request_without_response(end: str) -> None:
    """If a request is not sent, or fails, another one takes its place, also of the first."""
    limiter = RateLimiter()

    def end_one() -> None:
        if end == "abandon":
            limiter.abandon()
        else:
            limiter.release(0.0)

    assert waits(limiter, 2) == [0.0, None]
    end_one()
    assert waits(limiter, 2) == [0.0, None]
    limiter.update(ADMIN, 0.0)
    assert waits(limiter, 3) == [0.0, 0.0, None]
    end_one()
    assert waits(limiter, 2) == [0.0, None]


def test_start__silence() -> None:
    """If ALM does not respond, one more request per quarter of a second is under way."""
    limiter = RateLimiter()
    limiter.acquire(0.0)

    assert [limiter.acquire(now) for now in (0.2, 0.25, 0.45, 0.5)] == [None, 0.0, None, 0.0]


def test_start__refused() -> None:
    """A run that ALM refuses at its start sends at 6/10 of the part of the bucket that it had."""
    limiter = RateLimiter()
    limiter.acquire(0.0)
    for _ in range(25):
        limiter.update(ADMIN, 0.0)

    limiter.block_until(0.0, 0.0)

    # A quarter of the burst of 100, at 100 requests a minute.
    got = waits(limiter, 2)
    assert got[1] - got[0] == pytest.approx(0.6 / 0.15, rel=0.002)


@pytest.mark.parametrize(
    ("responses", "now", "share", "part"),
    [
        # The burst of 20, and ten requests that drained in a second: 6/10 of 10 of these 30.
        (10, 101, 1.0, 0.2),
        (10, 101, 0.5, 0.4),
        (2, 101, 1.0, 0.15),
        (60, 101, 1.0, 1.0),
        # Too little is known: one response only, or a start that took as long as a burst drains.
        (1, 100, 1.0, 0.5),
        (10, 102, 1.0, 0.5),
    ],
)
def test_start__part_of_the_bucket(responses: int, now: float, share: float, part: float) -> None:
    """What ALM accepted until the first refusal decides how fast the run goes on."""
    limiter = RateLimiter(share)
    limiter.acquire(100)
    for _ in range(responses):
        limiter.update({"x-rate-limit": "600r/m", "x-burst": "20"}, now)

    limiter.block_until(now, now)

    assert limiter.acquire(now) == pytest.approx(1 / (10 * share * part))


def test_burst_of_none__leaves_time_between() -> None:
    """If there is no burst, requests keep a quarter more than their distance, without jitter."""
    limiter = limiter_of({"x-rate-limit": "600r/m", "x-burst": "0"})

    assert waits(limiter, 3, jitter=0.9) == pytest.approx([0.0, 0.125, 0.25])


def test_acquire__drains() -> None:
    """As many requests as have drained meanwhile are sent at once, and no more."""
    limiter = limiter_of()
    waits(limiter, 100)

    assert waits(limiter, 11, now=6.0) == pytest.approx([*[0.0] * 10, 0.6])


def test_acquire__time_never_runs_backwards() -> None:
    """A thread that read the clock before another one gains nothing."""
    limiter = limiter_of(now=60.0)
    waits(limiter, 100, now=60.0)

    assert limiter.acquire(0.0) == pytest.approx(0.6)


def test_acquire__share() -> None:
    """Half the quota is half the burst, and twice the time for each further request."""
    assert waits(limiter_of(share=0.5), 52) == pytest.approx([*[0.0] * 50, 1.2, 2.4])


def test_try_acquire__only_what_may_be_sent_at_once() -> None:
    """It books what the burst allows, as ``acquire`` does, and nothing that would have to wait."""
    limiter = limiter_of()

    assert [limiter.try_acquire(0) for _ in range(101)] == [True] * 100 + [False]
    assert limiter.acquire(0) == pytest.approx(60 / 100)
    assert not limiter.try_acquire(1)
    assert limiter.try_acquire(2)


def test_try_acquire__nothing_while_blocked() -> None:
    """It books nothing before the end of a block, though the bucket has drained."""
    limiter = limiter_of()
    limiter.block_until(300, now=0)

    assert not limiter.try_acquire(MAX_WAIT_SECONDS - 1)
    assert limiter.try_acquire(MAX_WAIT_SECONDS)


def test_acquire__jitter() -> None:
    """A request that has to wait is delayed by up to one more; others are sent at once."""
    assert waits(limiter_of(), 102, jitter=0.5) == pytest.approx([*[0.0] * 100, 0.9, 1.5])


def test_acquire__threads() -> None:
    """200 requests of 8 threads get the same moments as those of one thread, each once."""
    limiter = limiter_of()

    with ThreadPoolExecutor(8) as threads:
        got = sorted(wait or 0.0 for wait in threads.map(limiter.acquire, [0.0] * 200))

    assert got == pytest.approx([*[0.0] * 100, *[0.6 * number for number in range(1, 101)]])


@given(GAPS, st.integers(1, 6_000), st.integers(1, 200))
def test_acquire__never_refused(gaps: list[float], rate: int, burst: int) -> None:
    """With any limits, ALM refuses no request of any sequence."""
    limiter = limiter_of({"x-rate-limit": f"{rate}r/m", "x-burst": str(burst)})

    assert refused(limiter, Bucket(rate, burst), gaps) == []


@given(GAPS, st.floats(0, 1))
def test_acquire__never_refused_with_jitter(gaps: list[float], jitter: float) -> None:
    """The same holds if the requests that wait are delayed."""
    assert refused(limiter_of({}), Bucket(100, 30), gaps, jitter) == []


@given(GAPS, st.floats(0, 300))
def test_acquire__never_refused_after_a_refusal(gaps: list[float], blocked: float) -> None:
    """The same holds after a refusal, from the moment that ALM named on."""
    limiter = RateLimiter()
    limiter.block_until(blocked, 0)

    assert refused(limiter, Bucket(100, 30, excess=30), gaps) == []


@given(GAPS, st.floats(0.01, 1))
def test_acquire__never_refused_in_a_share(gaps: list[float], share: float) -> None:
    """A share fits a bucket of that size; one request may always be sent."""
    bucket = Bucket(100 * share, max(100 * share, 1))

    assert refused(limiter_of(share=share), bucket, gaps) == []


def test_update__other_limits() -> None:
    """The account's own limits replace the assumed ones from then on."""
    limiter = limiter_of({"x-rate-limit": "10r/s", "x-burst": "2"})

    assert limiter.seen == Quota(10, 2)
    assert waits(limiter, 4) == pytest.approx([0, 0, 0.1, 0.2])


def test_update__without_usable_headers() -> None:
    """A response without usable headers changes nothing."""
    limiter = limiter_of()

    limiter.update({"x-rate-limit": "soon", "x-burst": "100"}, 1)

    assert limiter.seen == Quota(100 / 60, 100)


@pytest.mark.parametrize(
    ("excess", "share", "expected"),
    [
        ("98.5", 1.0, [0, 0.3, 0.9]),
        ("120", 1.0, [12.6, 13.2]),
        ("80", 0.5, [*[0.0] * 10, 1.2]),
    ],
)
def test_update__excess_of_others(excess: str, share: float, expected: list[float]) -> None:
    """Requests of other clients count too, in a share their part."""
    limiter = limiter_of({**ADMIN, "x-excess-requests-per-second": excess}, share)

    assert waits(limiter, len(expected)) == pytest.approx(expected)


@pytest.mark.parametrize("excess", ["0", "0.000", "-50", "nan", "inf", "much", "", "٣", "1e9"])
def test_update__excess_never_forgives(excess: str) -> None:
    """A smaller or unusable excess does not undo the requests of this side."""
    limiter = limiter_of()
    waits(limiter, 100)

    limiter.update({**ADMIN, "x-excess-requests-per-second": excess}, 0)

    assert limiter.acquire(0) == pytest.approx(0.6)


@pytest.mark.parametrize(("now", "seconds"), [(0, 10.752), (10, 0.752), (10.752, 0), (20, 0)])
def test_block_until__moment(now: float, seconds: float) -> None:
    """Nothing is sent until the named moment; of two refusals the later moment holds."""
    limiter = RateLimiter()

    limiter.block_until(10.752, 0)
    limiter.block_until(5, 0)

    assert limiter.blocked_for(now) == pytest.approx(seconds)
    assert limiter.acquire(now) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("refused_at", "now", "seconds"),
    [
        pytest.param([], 0, 0.6, id="never"),
        pytest.param([0], 0, 1.2, id="once"),
        pytest.param([0, 0, 1, 2], 2, 1.1888, id="in flight together"),
        pytest.param([0, 10], 10, 2.2912, id="twice"),
        pytest.param([10.0 * number for number in range(100)], 990, 30, id="always"),
        pytest.param([0], 60, 0.6 / 0.6767772, id="a minute ago"),
        pytest.param([0], 3_600, 0.6, id="an hour ago"),
    ],
)
def test_block_until__slows_down(refused_at: list[float], now: float, seconds: float) -> None:
    """Each refusal halves the pace, down to a fiftieth; it recovers, in an hour completely."""
    limiter = limiter_of()
    for moment in refused_at:
        limiter.block_until(moment, moment)

    got = waits(limiter, 300, now=now)

    assert got[-1] - got[-2] == pytest.approx(seconds, rel=0.002)


def test_block_until__fills_the_bucket() -> None:
    """After a refusal the next request waits, though this side has sent nothing."""
    limiter = limiter_of()

    limiter.block_until(0, 0)

    assert limiter.acquire(0) == pytest.approx(1.2)


def test_was_blocked_since__moments() -> None:
    """A request that was booked before a refusal sees it; one booked since does not."""
    limiter = RateLimiter()
    before = limiter.was_blocked_since(0)

    limiter.block_until(20, 10)

    assert before is False
    assert {moment: limiter.was_blocked_since(moment) for moment in (0, 9.9, 10, 15, 25)} == {
        0: True,
        9.9: True,
        10: False,
        15: False,
        25: False,
    }


def test_release__returns_one_booking() -> None:
    """A booking that is released is the next request's, and only one."""
    limiter = limiter_of({})
    while (wait := limiter.acquire(0.0) or 0.0) == 0:
        pass

    limiter.release(0.0)

    assert limiter.acquire(0.0) == pytest.approx(wait)
    assert (limiter.acquire(0.0) or 0.0) > wait


def test_release__of_an_empty_bucket() -> None:
    """A booking that is released twice counts once: the bucket is never less than empty."""
    released, untouched = limiter_of({}), limiter_of({})
    released.acquire(0.0)
    released.release(0.0)
    released.release(0.0)

    assert waits(released, 102) == waits(untouched, 102)


@pytest.mark.parametrize(("booked_at", "is_returned"), [(0.5, False), (1.0, True)])
def test_release__around_a_refusal(booked_at: float, *, is_returned: bool) -> None:
    """A refusal voids the bookings before it; those at its moment are returned."""
    released, untouched = RateLimiter(), RateLimiter()
    for limiter in (released, untouched):
        limiter.block_until(5.0, 1.0)
    if is_returned:
        released.acquire(booked_at)

    released.release(booked_at)

    assert waits(released, 20, now=10.0) == waits(untouched, 20, now=10.0)


@pytest.mark.parametrize(
    ("rate", "burst", "quota"),
    [
        ("0.000000001r/m", "0", Quota(1 / 60, 0)),
        ("999999999r/s", "999999999", Quota(10_000, 100_000)),
    ],
)
def test_read_quota__implausible(rate: str, burst: str, quota: Quota) -> None:
    """Implausible limits become the nearest plausible ones."""
    assert read_quota({"x-rate-limit": rate, "x-burst": burst}) == quota


@pytest.mark.parametrize("share", [1.0, 0.1, 0.001])
@pytest.mark.parametrize("rate", ["0.000000001r/m", "100r/m", "999999999r/s"])
@pytest.mark.parametrize("burst", ["0", "100", "999999999"])
def test_update__a_minute_at_the_latest(share: float, rate: str, burst: str) -> None:
    """Whatever the headers say, a request may be tried after a minute."""
    headers = {"x-rate-limit": rate, "x-burst": burst, "x-excess-requests-per-second": "999999999"}

    assert (limiter_of(headers, share).acquire(0) or 0.0) <= 60 + 1e-6


def test_block_until__a_minute_at_the_latest() -> None:
    """Whatever wait ALM names, and however often it refuses, a request is tried each minute."""
    limiter = limiter_of({"x-rate-limit": "0.000000001r/m", "x-burst": "0"})
    now = 0.0
    for _ in range(20):
        limiter.block_until(now + 86_400, now)
        wait = limiter.acquire(now) or 0.0
        assert wait <= 60 + 1e-6
        now += wait
