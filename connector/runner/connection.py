"""What several runs share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from connector.alm.auth import TokenSource
    from connector.alm.rate_limit import RateLimiter


@dataclass(frozen=True, slots=True)
class Account:
    """The token and the rate limiter of one credential, shared by every run that uses it."""

    tokens: TokenSource
    rate_limiter: RateLimiter
