"""Limits how fast requests are sent: a copy of ALM's own limiter, learned from its headers."""

from __future__ import annotations

import math
import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_UNITS = {"s": "per second", "m": "per minute", "h": "per hour", "d": "per day"}
_RATE = re.compile(r"\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*r/([smhd])\s*")
# What a server says of its limits is believed within these bounds, in requests per second: one a
# minute is the least, so that a limiter lets a request try again after a minute at the latest.
MAX_WAIT_SECONDS = 60.0
_MIN_RATE, _MAX_RATE = 1 / MAX_WAIT_SECONDS, 10_000.0
_MAX_BURST = 100_000.0


@dataclass(frozen=True, slots=True)
class Quota:
    """The limiter's rules: *rate* requests per second, and *burst* more at once.

    *unit* is the one in which ALM's header has the rate. *is_bounded* is whether the header has
    other, implausible numbers.
    """

    rate: float
    burst: float
    unit: str = field(default="m", compare=False)
    is_bounded: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        """Return it in ALM's own unit."""
        rate = self.rate * _SECONDS[self.unit]
        return f"{rate:g} requests {_UNITS[self.unit]}, burst {self.burst:g}"

    def share(self, part: float) -> Quota:
        """Return *part* of it."""
        return Quota(self.rate * part, self.burst * part, self.unit)

    def seconds_for(self, requests: int) -> float:
        """Return the least time that *requests* take, starting with an empty bucket."""
        return max(requests - self.burst, 0) / self.rate


# "Adobe Learning Manager developer manual", API rate limits: the learner's, the lower of the two.
ASSUMED = Quota(rate=100 / 60, burst=30)

# How the pace drops when ALM refuses a request, and recovers while it does not, counted in
# requests at the full rate. In simulations of two to eight runs on buckets of 100 and 1,200
# requests per minute, runs that do not know of each other settle at equal parts of the bucket.
_SLOWDOWN = 0.5
_MIN_PACE = 0.02
_REQUESTS_PER_REFUSAL = 5
_RECOVERY = 0.002
_QUIET_REQUESTS = 200

# Runs that start together have one burst. Each begins with one request, and has one more under way
# per response, and after each time of silence. An early refusal shows the run's part of the bucket.
_SECONDS_OF_SILENCE = 0.25
_CAUTION = 0.6
_MIN_PART = 0.15
# If there is no burst, ALM refuses a request that arrives a little early.
_SPACING_WITHOUT_BURST = 1.25


def read_quota(headers: Mapping[str, str]) -> Quota | None:
    """Return the quota in ``x-rate-limit: 100r/m`` and ``x-burst: 100``; ``None`` if unusable.

    Implausible values become the nearest plausible ones.
    """
    rate = _RATE.fullmatch(headers.get("x-rate-limit", ""))
    burst = re.fullmatch(r"\s*([0-9]{1,9})\s*", headers.get("x-burst", ""))
    if not rate or not burst or float(rate[1]) == 0:
        return None
    named = float(rate[1]) / _SECONDS[rate[2]], float(burst[1])
    believed = min(max(named[0], _MIN_RATE), _MAX_RATE), min(named[1], _MAX_BURST)
    return Quota(*believed, rate[2], is_bounded=believed != named)


class RateLimiter:
    """One per credential, shared by its threads: each acquires before it sends a request.

    A leaky bucket, as nginx's ``limit_req`` on the server: a request fills it by one, it drains at
    the rate, and a request that exceeds the burst waits. *share* is the part of rate and burst to
    use. Moments are monotonic seconds.
    """

    def __init__(self, share: float = 1.0) -> None:
        self._lock = threading.Lock()
        self._share = share
        self._level = 0.0
        self._drained_at = -math.inf
        self._blocked_at = -math.inf
        self._blocked_until = -math.inf
        self._slowed_at = -math.inf
        self._pace = 1.0
        self._began_at: float | None = None
        self._under_way = 0
        self._responses = 0
        self._was_refused = False
        #: The limits that ALM's headers named; ``None`` until they did.
        self.seen: Quota | None = None
        #: The rate in ALM's last header, if the limits are not used as the headers name them.
        self.unread_rate: str | None = None

    @property
    def quota(self) -> Quota:
        """This limiter's share of the limits seen, or of the assumed ones until then."""
        shared = (self.seen or ASSUMED).share(self._share)
        # One less, for requests in flight while the clocks of both sides differ.
        return Quota(shared.rate, max(shared.burst - 1, 0))

    def acquire(self, now: float, jitter: float = 0.0) -> float | None:
        """Book the next request and return the seconds to wait before it may be sent.

        Returns ``None`` and books nothing while a run starts and waits for responses. After a
        booking, call ``update`` with the response, or ``abandon``, or ``release``.

        *jitter*, drawn evenly from 0 to 1, delays a request that has to wait by up to one more
        request. Without it the first of several runs on a bucket would send exactly as the bucket
        drains, keep it full, and starve the others.
        """
        with self._lock:
            self._drain(now)
            burst, rate = self.quota.burst, self._current_rate()
            if self._under_way >= self._most_under_way(now):
                return None
            seconds = (self._level - burst) / rate
            if seconds > 0 and burst:
                seconds += jitter / rate
            self._book()
            return max(seconds, self._blocked_until - now, 0.0)

    def try_acquire(self, now: float) -> bool:
        """Book a request and return ``True`` if it may be sent at once; else book nothing.

        While a run starts, it leaves one of the requests under way to ``acquire``.
        """
        with self._lock:
            self._drain(now)
            is_free = self._level <= self.quota.burst and self._blocked_until <= now
            if is_free and self._under_way + 1 < self._most_under_way(now):
                self._book()
                return True
            return False

    def abandon(self) -> None:
        """Note that a request got no response."""
        with self._lock:
            self._under_way -= 1

    def release(self, booked_at: float) -> None:
        """Return the booking of a request that is not sent; a block since then voided it."""
        with self._lock:
            self._under_way -= 1
            if self._blocked_at <= booked_at:
                self._level = max(self._level - self._cost, 0.0)

    def blocked_for(self, now: float) -> float:
        """Return the seconds during which nothing may be sent."""
        with self._lock:
            return max(self._blocked_until - now, 0.0)

    def was_blocked_since(self, moment: float) -> bool:
        """Return whether ALM has refused a request since *moment*, which voids older bookings."""
        with self._lock:
            return self._blocked_at > moment

    def update(self, headers: Mapping[str, str], now: float) -> None:
        """Learn the limits from a response's *headers*, and the bucket's level if they have it."""
        excess = re.fullmatch(
            r"\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*", headers.get("x-excess-requests-per-second", "")
        )
        with self._lock:
            self._drain(now)
            self._under_way -= 1
            self._responses += 1
            quota = read_quota(headers)
            self.seen = quota or self.seen
            is_unread = quota is None or quota.is_bounded
            self.unread_rate = headers.get("x-rate-limit") if is_unread else None
            if excess:
                # It includes other clients' requests; never assume less than this side has sent.
                level = min(float(excess[1]) * self._share, self._highest_level())
                self._level = max(self._level, level)

    def block_until(self, moment: float, now: float) -> None:
        """Let nothing be sent before *moment*, and send more slowly after: ALM has refused.

        After ``MAX_WAIT_SECONDS`` a request tries again, whatever the moment.
        """
        with self._lock:
            self._drain(now)
            self._blocked_at = now
            self._blocked_until = max(self._blocked_until, min(moment, now + MAX_WAIT_SECONDS))
            self._level = self.quota.burst + 1
            # Requests in flight at the same time are refused for one reason: slow down once.
            if (now - self._slowed_at) * self.quota.rate > _REQUESTS_PER_REFUSAL:
                slowdown = _SLOWDOWN if self._was_refused else self._part_of_bucket(now)
                self._pace = max(self._pace * slowdown, _MIN_PACE)
                self._slowed_at = now
                self._was_refused = True

    def _book(self) -> None:
        self._level += self._cost
        self._under_way += 1

    @property
    def _cost(self) -> float:
        if self.quota.burst:
            return 1.0
        return min(_SPACING_WITHOUT_BURST, self._current_rate() * MAX_WAIT_SECONDS)

    def _most_under_way(self, now: float) -> float:
        """Return how many requests may be under way at once."""
        if self._was_refused:
            return math.inf
        if self._began_at is None:
            self._began_at = now
        return 1 + self._responses + int((now - self._began_at) / _SECONDS_OF_SILENCE)

    def _part_of_bucket(self, now: float) -> float:
        """Return the part of this limiter in what ALM has accepted since the start, with care.

        As ALM refuses, its bucket is full: it has accepted the burst and what has drained since.
        """
        quota = self.seen or ASSUMED
        drained = (now - (self._began_at or now)) * quota.rate
        if self._responses <= 1 or drained >= quota.burst:
            return _SLOWDOWN
        part = _CAUTION * self._responses / (quota.burst + drained)
        return min(max(part, _MIN_PART) / self._share, 1.0)

    def _current_rate(self) -> float:
        # However slow refusals made the pace, a request a minute is left, as the share allows.
        return max(self.quota.rate * self._pace, min(self.quota.rate, _MIN_RATE))

    def _highest_level(self) -> float:
        return self.quota.burst + self._current_rate() * MAX_WAIT_SECONDS

    def _drain(self, now: float) -> None:
        if now <= self._drained_at:
            return
        seconds = now - self._drained_at
        self._level = max(self._level - seconds * self._current_rate(), 0.0)
        self._drained_at = now
        if self._pace < 1:
            drained = seconds * self.quota.rate
            quiet = (now - self._slowed_at) * self.quota.rate / _QUIET_REQUESTS
            recovered = drained * _RECOVERY * math.sqrt(self._pace) * (1 + quiet**2)
            self._pace = min(self._pace + recovered, 1.0)
