"""The adapter responds to a session as the server does over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
import requests
from urllib3.exceptions import DecodeError

from connector.sandbox import (
    ACCESS_TOKEN,
    CLIENT_ID,
    CLIENT_SECRET,
    REFRESH_TOKEN,
    Sandbox,
    Settings,
)
from connector.sandbox.adapter import SandboxAdapter
from connector.sandbox.faults import IN_THE_ANSWER, parse_faults
from connector.sandbox.server import SandboxServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.clock import VirtualClock

BASE = "https://sandbox.invalid"
USER_7 = "/primeapi/v2/users/7/enrollments?page[limit]=10&include=learningObject"
REFRESH = "/oauth/token/refresh"
FORM = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "refresh_token": REFRESH_TOKEN}


@pytest.fixture
def session() -> Iterator[requests.Session]:
    """Return a session with the connector's headers."""
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Accept"] = "application/vnd.api+json"
        session.headers["Accept-Encoding"] = "gzip"
        session.headers["Authorization"] = f"oauth {ACCESS_TOKEN}"
        yield session


def mount(
    session: requests.Session, clock: VirtualClock, *faults: str, base: str = BASE, **settings: Any
) -> None:
    """Mount a sandbox at *base*."""
    sandbox = Sandbox(Settings(faults=parse_faults(faults), **settings), clock)
    session.mount(base, SandboxAdapter(sandbox))


def sent(session: requests.Session, method: str, url: str, data: str | None) -> tuple[object, ...]:
    """Return all of a response except its date: status, reason, URL, headers, body as sent."""
    with session.request(
        method, url, data=data, stream=True, allow_redirects=False, timeout=10
    ) as response:
        headers = {name.lower(): value for name, value in response.headers.items()}
        del headers["date"]
        body = response.raw.read(decode_content=False)
        return response.status_code, response.reason, response.url, headers, body


@pytest.mark.parametrize(
    ("method", "target", "data", "fault"),
    [
        ("GET", USER_7, None, ""),
        ("GET", "/primeapi/v2/users/%37/enrollments?page%5Blimit%5D=2", None, ""),
        ("GET", "/primeapi/v2/users/404/enrollments", None, ""),
        ("PUT", USER_7, "{}", ""),
        ("HEAD", USER_7, None, ""),
        ("POST", REFRESH, urlencode(FORM), ""),
        ("POST", f"{REFRESH}?{urlencode(FORM)}", None, ""),
        *(("GET", USER_7, None, fault) for fault in sorted(IN_THE_ANSWER)),
        *(("GET", USER_7, None, fault) for fault in ("403", "429/0.42", "503", "599")),
    ],
)
def test_send__as_the_server(
    method: str,
    target: str,
    data: str | None,
    fault: str,
    session: requests.Session,
    clock: VirtualClock,
) -> None:
    """Adapter and server respond with the same status, headers and bytes, faults included."""
    faults = [f"*:{fault}"] * bool(fault)
    with SandboxServer(Settings(faults=parse_faults(faults))) as server:
        expected = sent(session, method, server.url + target, data)

    mount(session, clock, *faults, base=server.url)

    assert sent(session, method, server.url + target, data) == expected


def test_send__body_is_read_late(session: requests.Session, clock: VirtualClock) -> None:
    """A streamed body comes in pieces of the requested size; bad gzip fails when it is read."""
    mount(session, clock, "request=1:bomb", "request=2:bad-gzip")

    with session.get(BASE + USER_7, stream=True) as response:
        assert response.raw.read1(1_000, decode_content=True) == b" " * 1_000
    with session.get(BASE + USER_7, stream=True) as response, pytest.raises(DecodeError):
        response.raw.read1(1_000, decode_content=True)


@pytest.mark.parametrize("data", [urlencode(FORM), urlencode(FORM).encode(), FORM])
def test_send__bodies(
    data: str | bytes | dict[str, str], session: requests.Session, clock: VirtualClock
) -> None:
    """A form may be text, bytes or fields."""
    mount(session, clock)

    assert session.post(BASE + REFRESH, data=data).json()["access_token"] == ACCESS_TOKEN


def test_send__one_sandbox(session: requests.Session, clock: VirtualClock) -> None:
    """All requests reach the same sandbox: numbers continue, the quota is used up."""
    mount(session, clock, rate_per_minute=60, burst=1)

    responses = [session.get(BASE + USER_7) for _ in range(3)]

    assert [response.status_code for response in responses] == [200, 200, 429]
    assert responses[2].headers["x-request-id"] == "mock-3"
