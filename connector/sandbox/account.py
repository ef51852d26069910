"""The sandbox's account: its credentials, its access token and its rate limiter."""

from __future__ import annotations

from urllib.parse import parse_qs

ACCESS_TOKEN = "sandbox-access-token"  # noqa: S105 - no secret: the sandbox has no data
CLIENT_ID = "sandbox-client-id"
CLIENT_SECRET = "sandbox-client-secret"  # noqa: S105 - as above
REFRESH_TOKEN = "sandbox-refresh-token"  # noqa: S105 - as above
_FORM = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "refresh_token": REFRESH_TOKEN}
# nginx (ngx_http_limit_req_module) counts in thousandths of a request.
_LEAST_EXCESS = 0.001


class Tokens:
    """The valid access token; a refresh returns the same one until it has expired, as ALM does."""

    def __init__(self) -> None:
        self._generation = 1
        self._is_expired = False
        self._is_refused = False

    @property
    def current(self) -> str:
        """The newest token, expired or not."""
        return ACCESS_TOKEN if self._generation == 1 else f"{ACCESS_TOKEN}-{self._generation}"

    def accepts(self, authorization: str) -> bool:
        """Return whether the header is ``oauth TOKEN`` or ``Bearer TOKEN`` with a valid token."""
        scheme, _, token = authorization.partition(" ")
        is_current = scheme.lower() in ("oauth", "bearer") and token.strip() == self.current
        return is_current and not self._is_expired and not self._is_refused

    def expire(self) -> None:
        """Refuse the token until it is refreshed."""
        self._is_expired = True

    def refuse(self) -> None:
        """Refuse the token although it is valid: a refresh returns the same one."""
        self._is_refused = True

    def refresh(self, body: bytes) -> str | None:
        """Return the token for the form *body*, or ``None`` if its credentials are wrong."""
        form = {
            name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()
        }
        if any(form.get(name) != value for name, value in _FORM.items()):
            return None
        if self._is_expired:
            self._generation += 1
            self._is_expired = False
        return self.current


class Limiter:
    """ALM's limiter, openresty's leaky bucket: a steady rate, and *burst* requests beyond it."""

    def __init__(self, rate_per_minute: float, burst: float) -> None:
        self.rate_per_minute = rate_per_minute
        self.burst = burst
        self.excess = 0.0
        self._updated_at: float | None = None

    def retry_after(self, now: float) -> float | None:
        """Count a request at *now*, or refuse it and return the seconds to wait."""
        excess = 0.0
        rate_per_second = self.rate_per_minute / 60
        if self._updated_at is not None:
            drained = rate_per_second * (now - self._updated_at)
            excess = max(self.excess - drained + 1, 0.0)
        if excess - self.burst >= _LEAST_EXCESS:
            return excess / rate_per_second
        self.excess, self._updated_at = excess, now
        return None
