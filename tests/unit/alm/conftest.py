"""A clock that jumps, a transport that plays a script, and a client between the two."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse

from connector.alm.auth import TokenSource
from connector.alm.client import Client
from connector.alm.rate_limit import RateLimiter
from connector.clock import Clock, Deadline
from connector.redact import Redactor
from connector.settings import Credentials

if TYPE_CHECKING:
    from collections.abc import Callable

    import requests

    # What the transport answers next: status, headers and body, or what it fails with.
    Step = tuple[int, dict[str, str], bytes | io.BufferedIOBase] | Exception


class VirtualClock:
    """Stands still but for ``sleep``, which jumps and is written down."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self._passed = 0.0

    def monotonic(self) -> float:
        """Return seconds since long before the test."""
        return 1_000_000 + self._passed

    def now(self) -> datetime:
        """Return the moment of the documented exchange, and what has passed since."""
        return datetime(2024, 6, 9, 13, 5, 9, tzinfo=UTC) + timedelta(seconds=self._passed)

    def sleep(self, seconds: float) -> None:
        """Jump by *seconds*."""
        self.slept.append(seconds)
        self._passed += seconds


class ScriptedAdapter(HTTPAdapter):
    """Plays *script*, one step a request, and keeps what was sent; a request too many is an error."""

    def __init__(self, script: tuple[Step, ...], sent: list[requests.PreparedRequest]) -> None:
        super().__init__()
        self._steps = iter(script)
        self._sent = sent

    def send(
        self, request: requests.PreparedRequest, *_args: object, **_kwargs: object
    ) -> requests.Response:
        """Return or raise the script's next step."""
        self._sent.append(request.copy())
        step = next(self._steps)
        if isinstance(step, Exception):
            raise step
        status, headers, body = step
        stream = io.BytesIO(body) if isinstance(body, bytes) else body
        return self.build_response(
            request,
            HTTPResponse(body=stream, headers=headers, status=status, preload_content=False),
        )


@pytest.fixture
def virtual_clock() -> VirtualClock:
    """Return the test's clock, with what it slept."""
    return VirtualClock()


@pytest.fixture
def clock(virtual_clock: VirtualClock) -> Clock:
    """Return the test's clock."""
    return virtual_clock


@pytest.fixture
def slept(virtual_clock: VirtualClock) -> list[float]:
    """Return the waits so far, in seconds."""
    return virtual_clock.slept


@pytest.fixture
def sent() -> list[requests.PreparedRequest]:
    """Return the requests that reached the transport so far."""
    return []


@pytest.fixture
def gate() -> RateLimiter:
    """Return the quota gate of the test's client."""
    return RateLimiter()


@pytest.fixture
def redactor() -> Redactor:
    """Return the redactor of the test's client."""
    return Redactor()


@pytest.fixture
def open_client(
    clock: Clock, sent: list[requests.PreparedRequest], gate: RateLimiter, redactor: Redactor
) -> Callable[..., Client]:
    """Return what opens a client whose transport plays the steps given."""

    def open_scripted(
        *script: Step,
        credentials: Credentials | None = None,
        deadline: float = 600.0,
        jitter: float = 0.5,
    ) -> Client:
        tokens = TokenSource(credentials or Credentials(SecretStr("the-token")), redactor)
        adapter = ScriptedAdapter(script, sent)
        return Client(
            "https://alm.example",
            tokens,
            gate,
            Deadline(clock, deadline),
            adapter=adapter,
            jitter=lambda: jitter,
        )

    return open_scripted
