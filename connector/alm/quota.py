"""May the request leave now? ALM's limiter, mirrored on this side from the headers that it sends."""

from __future__ import annotations

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


def read_quota(headers: Mapping[str, str]) -> Quota | None:
    """Return the limits that ``x-rate-limit: 100r/m`` and ``x-burst: 100`` tell; ``None`` where they tell nothing usable."""
    rate = re.fullmatch(r"\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*r/([sm])\s*", headers.get("x-rate-limit", ""))
    burst = re.fullmatch(r"\s*([0-9]{1,9})\s*", headers.get("x-burst", ""))
    if not rate or not burst or float(rate[1]) == 0:
        return None
    return Quota(float(rate[1]) / _SECONDS[rate[2]], float(burst[1]))


class QuotaGate:
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
        self._drained_at = float("-inf")
        self._closed_until = float("-inf")
        self.seen: Quota | None = None

    @property
    def quota(self) -> Quota:
        """This gate's share of the limits seen, or of those assumed until some are."""
        shared = (self.seen or ASSUMED).share(self._share)
        # One place is left free for what is on its way while the two sides' clocks differ.
        return Quota(shared.rate, max(shared.burst - 1, 0))

    def reserve(self, now: float) -> float:
        """Book the next request's place and return the seconds to wait before it may leave."""
        with self._lock:
            self._drain(now)
            self._fill += 1
            for_place = (self._fill - 1 - self.quota.burst) / self.quota.rate
            return max(for_place, self._closed_until - now, 0.0)

    def closed_for(self, now: float) -> float:
        """Return the seconds for which nothing may leave at all."""
        with self._lock:
            return max(self._closed_until - now, 0.0)

    def learn(self, headers: Mapping[str, str], now: float) -> None:
        """Take the limits over from an answer's *headers*, and the bucket's fill where they tell it."""
        with self._lock:
            self._drain(now)
            self.seen = read_quota(headers) or self.seen
            excess = re.fullmatch(r"\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*", headers.get("x-excess-requests-per-second", ""))
            if excess:
                # Other clients' requests are in it too: never believe less than what this side has sent.
                self._fill = max(self._fill, float(excess[1]) * self._share)

    def close_until(self, moment: float, now: float) -> None:
        """Let nothing leave before *moment*: the limiter has refused, so its bucket is full."""
        with self._lock:
            self._drain(now)
            self._closed_until = max(self._closed_until, moment)
            self._fill = max(self._fill, self.quota.burst)

    def _drain(self, now: float) -> None:
        if now > self._drained_at:
            self._fill = max(self._fill - (now - self._drained_at) * self.quota.rate, 0.0)
            self._drained_at = now
