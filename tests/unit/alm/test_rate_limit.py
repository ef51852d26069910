"""The gate against an independent model of ALM's limiter: a request that it lets go is never refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.alm.rate_limit import ASSUMED, Quota, RateLimiter, read_quota

ADMIN = {"x-rate-limit": "100r/m", "x-burst": "100"}
SECONDS_EACH = 0.6
GAPS = st.lists(st.one_of(st.just(0.0), st.floats(0, 120)), min_size=1, max_size=150)


class Bucket:
    """openresty's limiter, as ALM_API.md infers it, in the strictest reading: the first request counts as well."""

    def __init__(self, rate_per_minute: float, burst: float) -> None:
        self.rate, self.burst = rate_per_minute / 60, burst
        self.excess, self.at = 0.0, 0.0

    def refuses(self, moment: float) -> bool:
        """Take in a request at *moment*; time lost to floating point is not held against it."""
        excess = max(self.excess - self.rate * (moment - self.at) + 1, 0)
        if excess > self.burst + 1e-6:
            return True
        self.excess, self.at = excess, moment
        return False


def leave(gate: RateLimiter, gaps: list[float], jitter: float = 0.0) -> list[float]:
    """Return the moments at which requests leave that are reserved *gaps* seconds after each other."""
    now, moments = 0.0, []
    for gap in gaps:
        now += gap
        moments.append(now + gate.reserve(now, jitter))
    return moments


@pytest.mark.parametrize(
    ("rate", "burst", "quota"),
    [
        ("100r/m", "100", Quota(100 / 60, 100)),
        ("5r/s", "30", Quota(5, 30)),
        ("0.5r/s", "0", Quota(0.5, 0)),
        (" 100 r/m ", " 30 ", Quota(100 / 60, 30)),
    ],
)
def test_read_quota__forms(rate: str, burst: str, quota: Quota) -> None:
    """Both headers together tell requests a second and the burst."""
    assert read_quota({"x-rate-limit": rate, "x-burst": burst}) == quota


@pytest.mark.parametrize(
    "rate",
    [
        "",
        "100",
        "r/m",
        "0r/m",
        "0.0r/s",
        "-1r/m",
        "100r/h",
        "nanr/m",
        "infr/m",
        "1e3r/m",
        "٣r/m",
        "100r/m, 100r/m",
    ],
)
def test_read_quota__unusable_rate(rate: str) -> None:
    """A rate that cannot be used tells nothing; none is made up."""
    assert read_quota({"x-rate-limit": rate, "x-burst": "100"}) is None


@pytest.mark.parametrize("burst", ["", "-1", "1.5", "many", "nan", "٣", "1" * 10])
def test_read_quota__unusable_burst(burst: str) -> None:
    """The same holds for the burst."""
    assert read_quota({"x-rate-limit": "100r/m", "x-burst": burst}) is None


@pytest.mark.parametrize("headers", [{}, {"x-rate-limit": "100r/m"}, {"x-burst": "100"}])
def test_read_quota__half(headers: dict[str, str]) -> None:
    """One header without the other tells nothing."""
    assert read_quota(headers) is None


def test_quota__assumed() -> None:
    """Until the headers tell, the lower of the documented limits holds: the learner scope's."""
    assert Quota(100 / 60, 30) == ASSUMED


def test_quota__share() -> None:
    """A share is that part of rate and burst."""
    assert Quota(2, 100).share(0.25) == Quota(0.5, 25)


@pytest.mark.parametrize(("requests", "seconds"), [(0, 0), (100, 0), (101, 0.6), (1_100, 600)])
def test_quota__seconds_for(requests: int, seconds: float) -> None:
    """Requests within the burst take no time, each beyond it its part of the minute."""
    assert Quota(100 / 60, 100).seconds_for(requests) == pytest.approx(seconds)


def test_quota_gate__burst_then_rate() -> None:
    """At once as many leave as the burst allows, then one each 0.6 s."""
    gate = RateLimiter()
    gate.learn(ADMIN, 0)

    waits = [gate.reserve(0) for _ in range(103)]

    assert waits == pytest.approx([*[0.0] * 100, 0.6, 1.2, 1.8])


def test_quota_gate__before_any_header() -> None:
    """Before the first answer no more leave at once than a learner's token may."""
    gate = RateLimiter()

    waits = [gate.reserve(0) for _ in range(32)]

    assert gate.seen is None
    assert waits == pytest.approx([*[0.0] * 30, 0.6, 1.2])


def test_quota_gate__drains() -> None:
    """What drained in the meantime may leave at once again, and no more than that."""
    gate = RateLimiter()
    gate.learn(ADMIN, 0)
    leave(gate, [0.0] * 100)

    waits = [gate.reserve(6.0) for _ in range(11)]

    assert waits == pytest.approx([*[0.0] * 10, 0.6])


def test_quota_gate__time_never_runs_backwards() -> None:
    """A thread that read the clock earlier than another gains nothing by it."""
    gate = RateLimiter()
    gate.learn(ADMIN, 60.0)
    leave(gate, [60.0, *[0.0] * 99])

    assert gate.reserve(0.0) == pytest.approx(SECONDS_EACH)


def test_quota_gate__share() -> None:
    """Half the quota is half the burst, and twice the time for each request beyond it."""
    gate = RateLimiter(0.5)
    gate.learn(ADMIN, 0)

    waits = [gate.reserve(0) for _ in range(52)]

    assert waits == pytest.approx([*[0.0] * 50, 1.2, 2.4])


@given(GAPS, st.integers(1, 6_000), st.integers(1, 200))
def test_quota_gate__never_refused(gaps: list[float], rate: int, burst: int) -> None:
    """For any limits and any sequence of reservations ALM's limiter refuses none of them."""
    gate, bucket = RateLimiter(), Bucket(rate, burst)
    gate.learn({"x-rate-limit": f"{rate}r/m", "x-burst": str(burst)}, 0)

    assert [moment for moment in leave(gate, gaps) if bucket.refuses(moment)] == []


@given(GAPS, st.floats(0, 1))
def test_quota_gate__jitter_is_never_refused(gaps: list[float], jitter: float) -> None:
    """Nor where those who wait leave a little later."""
    gate, bucket = RateLimiter(), Bucket(100, 30)

    assert [moment for moment in leave(gate, gaps, jitter) if bucket.refuses(moment)] == []


@given(GAPS, st.floats(0, 300))
def test_quota_gate__slow_pace_is_never_refused(gaps: list[float], closed: float) -> None:
    """Nor after a refusal, from the moment that ALM named on."""
    gate, bucket = RateLimiter(), Bucket(100, 30)
    bucket.excess = 30
    gate.block_until(closed, 0)

    assert [moment for moment in leave(gate, gaps) if bucket.refuses(moment)] == []


@given(GAPS, st.floats(0.01, 1))
def test_quota_gate__share_is_never_refused(gaps: list[float], share: float) -> None:
    """A share of the quota keeps within a limiter that allows no more than that share; one request always may leave."""
    gate, bucket = RateLimiter(share), Bucket(100 * share, max(100 * share, 1))
    gate.learn(ADMIN, 0)

    assert [moment for moment in leave(gate, gaps) if bucket.refuses(moment)] == []


def test_quota_gate__learns_other_limits() -> None:
    """The account's own limits replace those assumed, for what is booked from then on."""
    gate = RateLimiter()

    gate.learn({"x-rate-limit": "10r/s", "x-burst": "2"}, 0)

    assert gate.seen == Quota(10, 2)
    assert [gate.reserve(0) for _ in range(4)] == pytest.approx([0, 0, 0.1, 0.2])


def test_quota_gate__keeps_what_it_learned() -> None:
    """An answer without usable headers takes nothing back."""
    gate = RateLimiter()
    gate.learn(ADMIN, 0)

    gate.learn({"x-rate-limit": "soon", "x-burst": "100"}, 1)

    assert gate.seen == Quota(100 / 60, 100)


def test_quota_gate__excess_of_others() -> None:
    """Requests of other clients that ALM counts are counted here too."""
    gate = RateLimiter()

    gate.learn({**ADMIN, "x-excess-requests-per-second": "98.5"}, 0)

    assert [gate.reserve(0) for _ in range(3)] == pytest.approx([0, 0.3, 0.9])


def test_quota_gate__excess_of_others_in_a_share() -> None:
    """Of what others have sent a share counts its part, as it does of the burst."""
    gate = RateLimiter(0.5)

    gate.learn({**ADMIN, "x-excess-requests-per-second": "80"}, 0)

    assert [gate.reserve(0) for _ in range(11)] == pytest.approx([*[0.0] * 10, 1.2])


@pytest.mark.parametrize("excess", ["0", "0.000", "-50", "nan", "inf", "much", "", "٣", "1e9"])
def test_quota_gate__excess_never_forgives(excess: str) -> None:
    """A smaller or unusable number never makes this side forget what it has sent."""
    gate = RateLimiter()
    gate.learn(ADMIN, 0)
    leave(gate, [0.0] * 100)

    gate.learn({**ADMIN, "x-excess-requests-per-second": excess}, 0)

    assert gate.reserve(0) == pytest.approx(SECONDS_EACH)


@pytest.mark.parametrize(("now", "seconds"), [(0, 10.752), (10, 0.752), (10.752, 0), (20, 0)])
def test_quota_gate__closed(now: float, seconds: float) -> None:
    """Until the moment named nothing leaves; from then on the next request may."""
    gate = RateLimiter()

    gate.block_until(10.752, 0)

    assert gate.reserve(now) == pytest.approx(seconds)


def test_quota_gate__an_earlier_end_does_not_open_it() -> None:
    """Of two refusals the later moment holds."""
    gate = RateLimiter()
    gate.block_until(10, 0)

    gate.block_until(5, 0)

    assert gate.reserve(0) == 10


def leave_after_refusals(gate: RateLimiter, refused_at: list[float], now: float) -> float:
    """Return how far apart requests leave at *now*, when the gate was refused at these moments."""
    for moment in refused_at:
        gate.block_until(moment, moment)
    waits = [gate.reserve(now) for _ in range(300)]
    return waits[-1] - waits[-2]


@pytest.mark.parametrize(
    ("refused_at", "now", "seconds"),
    [
        pytest.param([], 0, 0.6, id="never"),
        pytest.param([0], 0, 1.2, id="once"),
        pytest.param([0, 0, 1, 2], 2, 1.2, id="on their way together"),
        pytest.param([0, 10], 10, 2.4, id="twice"),
        pytest.param([10.0 * number for number in range(100)], 990, 30, id="always"),
        pytest.param([0], 60, 0.6 / 0.5441942, id="a minute ago"),
        pytest.param([0], 3_600, 0.6, id="an hour ago"),
    ],
)
def test_quota_gate__slows_down(refused_at: list[float], now: float, seconds: float) -> None:
    """Each refusal halves the pace, to a fiftieth at the slowest, and a quiet hour gives it back."""
    gate = RateLimiter()
    gate.learn(ADMIN, 0)

    assert leave_after_refusals(gate, refused_at, now) == pytest.approx(seconds, rel=0.02)


def test_quota_gate__full_after_refusal() -> None:
    """A refusal says that the bucket is full: the next request waits, though nothing was sent from here."""
    gate = RateLimiter()
    gate.learn(ADMIN, 0)

    gate.block_until(0, 0)

    assert gate.reserve(0) == pytest.approx(1.2)


def test_quota_gate__has_closed_since() -> None:
    """Who booked before a refusal can see it, who booked after it has nothing to see."""
    gate = RateLimiter()
    before = gate.was_blocked_since(0)

    gate.block_until(20, 10)

    assert [before, *map(gate.was_blocked_since, (0, 9.9, 10, 15, 25))] == [
        False,
        True,
        True,
        False,
        False,
        False,
    ]


def test_quota_gate__jitter() -> None:
    """Who has to wait leaves up to one place later; who need not leaves at once."""
    gate = RateLimiter()
    gate.learn(ADMIN, 0)

    waits = [gate.reserve(0, 0.5) for _ in range(102)]

    assert waits == pytest.approx([*[0.0] * 100, 0.9, 1.5])


def test_quota_gate__open_at_first() -> None:
    """A gate that was never closed holds the first request back for nothing."""
    assert RateLimiter().reserve(0) == 0


def test_quota_gate__threads() -> None:
    """200 reservations of 8 threads get the very moments that one thread would have got, each once."""
    gate = RateLimiter()
    gate.learn(ADMIN, 0)

    with ThreadPoolExecutor(8) as threads:
        waits = sorted(threads.map(gate.reserve, [0.0] * 200))

    assert waits == pytest.approx(
        [*[0.0] * 100, *[SECONDS_EACH * number for number in range(1, 101)]]
    )


def test_give_back__frees_one_place() -> None:
    """A place that is given back is the next request's, and no more than one."""
    gate = RateLimiter()
    while (wait := gate.reserve(0.0)) == 0:
        pass

    gate.release(0.0)

    assert gate.reserve(0.0) == pytest.approx(wait)
    assert gate.reserve(0.0) > wait


def test_give_back__of_an_empty_bucket() -> None:
    """A bucket holds no less than nothing: what is given back twice frees one place."""
    given, untouched = RateLimiter(), RateLimiter()
    given.reserve(0.0)
    given.release(0.0)
    given.release(0.0)

    assert [given.reserve(0.0) for _ in range(102)] == [untouched.reserve(0.0) for _ in range(102)]


def test_give_back__after_a_refusal() -> None:
    """Places booked before the limiter refused count for nothing: none of them is to be given back."""
    refused, given = RateLimiter(), RateLimiter()
    for gate in (refused, given):
        gate.reserve(0.0)
        gate.block_until(5.0, 1.0)

    given.release(0.5)

    assert given.reserve(10.0) == refused.reserve(10.0)
    assert [given.reserve(10.0) for _ in range(20)] == [refused.reserve(10.0) for _ in range(20)]


def test_give_back__of_a_place_behind_a_refusal() -> None:
    """A place booked since, at the same moment too, is given back."""
    given, untouched = RateLimiter(), RateLimiter()
    for gate in (given, untouched):
        gate.block_until(5.0, 1.0)
    given.reserve(1.0)
    given.release(1.0)

    assert [given.reserve(6.0) for _ in range(20)] == [untouched.reserve(6.0) for _ in range(20)]
