"""An adapter that plays a script of responses, and clients that use it."""

from __future__ import annotations

import io
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

    # The next response, as status, headers and body, or the failure of the connection.
    Step = tuple[int, dict[str, str], bytes | io.IOBase] | Exception


class ScriptedAdapter(HTTPAdapter):
    """Plays *script*, one step per request, and records what was sent."""

    def __init__(self, script: tuple[Step, ...], sent: list[requests.PreparedRequest]) -> None:
        super().__init__()
        self._steps = iter(script)
        self._sent = sent

    def send(
        self, request: requests.PreparedRequest, *_args: object, **_kwargs: object
    ) -> requests.Response:
        """Return or raise the script's next step; one request too many is an error."""
        self._sent.append(request.copy())
        step = next(self._steps)
        if isinstance(step, Exception):
            raise step
        status, headers, body = step
        stream = io.BytesIO(body) if isinstance(body, bytes) else body
        raw = HTTPResponse(body=stream, headers=headers, status=status, preload_content=False)
        return self.build_response(request, raw)


@pytest.fixture
def sent() -> list[requests.PreparedRequest]:
    """Return the requests sent so far."""
    return []


@pytest.fixture
def scripted(sent: list[requests.PreparedRequest]) -> Callable[..., HTTPAdapter]:
    """Return a function that makes an adapter with the given steps."""
    return lambda *script: ScriptedAdapter(script, sent)


@pytest.fixture
def rate_limiter() -> RateLimiter:
    """Return the rate limiter of the test's clients."""
    return RateLimiter()


@pytest.fixture
def redactor() -> Redactor:
    """Return the redactor of the test's clients."""
    return Redactor()


@pytest.fixture
def has_started(rate_limiter: RateLimiter) -> None:
    """Let the limiter be that of a run that has had some responses."""
    for _ in range(5):
        rate_limiter.update({}, 0.0)


@pytest.fixture
def open_client(
    clock: Clock,
    scripted: Callable[..., HTTPAdapter],
    rate_limiter: RateLimiter,
    redactor: Redactor,
) -> Callable[..., Client]:
    """Return a function that opens a client with the given steps and settings."""

    def open_scripted(
        *script: Step,
        credentials: Credentials | None = None,
        deadline: float = 600.0,
        jitter: float = 0.5,
        clock: Clock = clock,
    ) -> Client:
        return Client(
            "https://alm.example",
            TokenSource(credentials or Credentials(SecretStr("the-token")), redactor),
            rate_limiter,
            Deadline(clock, deadline),
            adapter=scripted(*script),
            jitter=lambda: jitter,
        )

    return open_scripted
