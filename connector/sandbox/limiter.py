"""ALM's limiter, openresty's leaky bucket, as ALM_API.md tells it. Takes the time as a value."""

from __future__ import annotations

# nginx counts thousandths of a request: less than one is no excess, and what rounding leaves behind refuses nobody.
_LEAST = 0.001


class Limiter:
    """Lets *rate_per_minute* requests a minute through, and *burst* at once beyond that."""

    def __init__(self, rate_per_minute: float, burst: float) -> None:
        self.rate_per_minute = rate_per_minute
        self.burst = burst
        self.excess = 0.0
        self._at: float | None = None

    def retry_after(self, now: float) -> float | None:
        """Take in a request at *now* and return ``None``, or the seconds to wait where it is refused. A refused one fills nothing."""
        rate = self.rate_per_minute / 60
        drained = 0.0 if self._at is None else rate * (now - self._at)
        excess = 0.0 if self._at is None else max(self.excess - drained + 1, 0.0)
        if excess - self.burst >= _LEAST:
            return excess / rate
        self.excess, self._at = excess, now
        return None
