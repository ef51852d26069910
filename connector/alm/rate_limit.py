"""May the request leave now? ALM's limiter, mirrored on this side from the headers that it sends."""

from __future__ import annotations

import math
import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECONDS = {"s": 1, "m": 60}


@dataclass(frozen=True, slots=True)
class Quota:
    """What the limiter allows: *rate* requests a second, and *burst* at once beyond it."""

    rate: float
    burst: float

    def share(self, part: float) -> Quota:
        """Return *part* of it."""
        return Quota(self.rate * part, self.burst * part)

    def seconds_for(self, requests: int) -> float:
        """Return how long *requests* take at the least, from an empty bucket on."""
        return max(requests - self.burst, 0) / self.rate


# The lower of the documented limits (learner scope), until the headers tell the account's own.
ASSUMED = Quota(rate=100 / 60, burst=30)

# How the pace goes down when the limiter refuses, and up again while it does not. Runs that share a bucket without
# knowing of each other settle at equal parts of it; these figures came out of simulations of two to eight runs on
# buckets of 100 and 1,200 requests a minute. Counted in requests at the full rate, so that they fit any bucket.
_SLOWED = 0.5
_SLOWEST = 0.02
_ONE_REFUSAL = 5
_RECOVERY = 0.0005
_QUIET = 200


def read_quota(headers: Mapping[str, str]) -> Quota | None:
    """Return the limits that ``x-rate-limit: 100r/m`` and ``x-burst: 100`` tell; ``None`` where they tell nothing usable."""
    rate = re.fullmatch(
        r"\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*r/([sm])\s*", headers.get("x-rate-limit", "")
    )
    burst = re.fullmatch(r"\s*([0-9]{1,9})\s*", headers.get("x-burst", ""))
    if not rate or not burst or float(rate[1]) == 0:
        return None
    return Quota(float(rate[1]) / _SECONDS[rate[2]], float(burst[1]))


class RateLimiter:
    """One a credential: every thread asks it before a request leaves.

    A leaky bucket, as openresty's on the other side (ALM_API.md, Quota): each
    request fills it by one, it drains by the rate, and over the burst a request
    waits. *share* is the part of rate and burst that may be used. Moments are
    monotonic seconds.
    """

    def __init__(self, share: float = 1.0) -> None:
        self._lock = threading.Lock()
        self._share = share
        self._fill = 0.0
        self._drained_at = -math.inf
        self._closed_at = -math.inf
        self._closed_until = -math.inf
        self._slowed_at = -math.inf
        self._pace = 1.0
        self.seen: Quota | None = None

    @property
    def quota(self) -> Quota:
        """This gate's share of the limits seen, or of those assumed until some are."""
        shared = (self.seen or ASSUMED).share(self._share)
        # One place is left free for what is on its way while the two sides' clocks differ.
        return Quota(shared.rate, max(shared.burst - 1, 0))

    def reserve(self, now: float, jitter: float = 0.0) -> float:
        """Book the next request's place and return the seconds to wait before it may leave.

        A *jitter*, drawn evenly from 0 to 1, lets a request that has to wait leave up
        to one place later. Without it the first of several runs on a bucket, sending
        exactly as the bucket drains, would keep it full and be the only one to get through.
        """
        with self._lock:
            self._drain(now)
            self._fill += 1
            rate = self.quota.rate * self._pace
            for_place = (self._fill - 1 - self.quota.burst) / rate
            if for_place > 0:
                for_place += jitter / rate
            return max(for_place, self._closed_until - now, 0.0)

    def release(self, booked_at: float) -> None:
        """Free a place booked at that moment that is not used; where the limiter has refused since, it counts for nothing already."""
        with self._lock:
            if self._closed_at <= booked_at:
                self._fill = max(self._fill - 1, 0.0)

    def blocked_for(self, now: float) -> float:
        """Return the seconds for which nothing may leave at all."""
        with self._lock:
            return max(self._closed_until - now, 0.0)

    def was_blocked_since(self, moment: float) -> bool:
        """Return whether the limiter has refused since *moment*: places booked before that count for nothing."""
        with self._lock:
            return self._closed_at > moment

    def learn(self, headers: Mapping[str, str], now: float) -> None:
        """Take the limits over from an answer's *headers*, and the bucket's fill where they tell it."""
        with self._lock:
            self._drain(now)
            self.seen = read_quota(headers) or self.seen
            excess = re.fullmatch(
                r"\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*",
                headers.get("x-excess-requests-per-second", ""),
            )
            if excess:
                # Other clients' requests are in it too: never believe less than what this side has sent.
                self._fill = max(self._fill, float(excess[1]) * self._share)

    def block_until(self, moment: float, now: float) -> None:
        """Let nothing leave before *moment*, and then less at a time: the limiter has refused."""
        with self._lock:
            self._drain(now)
            self._closed_at = now
            self._closed_until = max(self._closed_until, moment)
            self._fill = self.quota.burst + 1
            # Requests that were on their way together are refused for one reason, not for several.
            if (now - self._slowed_at) * self.quota.rate > _ONE_REFUSAL:
                self._pace = max(self._pace * _SLOWED, _SLOWEST)
                self._slowed_at = now

    def _drain(self, now: float) -> None:
        if now <= self._drained_at:
            return
        drained = (now - self._drained_at) * self.quota.rate
        self._fill = max(self._fill - drained * self._pace, 0.0)
        self._drained_at = now
        if self._pace < 1:
            quiet = (now - self._slowed_at) * self.quota.rate / _QUIET
            self._pace = min(
                self._pace + drained * _RECOVERY * math.sqrt(self._pace) * (1 + quiet**2), 1.0
            )
