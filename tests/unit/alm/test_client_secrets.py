"""After a failed fetch neither a traceback nor an exception of its chain holds a secret."""

from __future__ import annotations

import errno
import socket
import ssl
from traceback import TracebackException
from typing import TYPE_CHECKING

import pytest
import requests
from pydantic import SecretStr
from requests import exceptions as of_requests
from urllib3 import exceptions as of_urllib3

from connector.alm.auth import TokenSource
from connector.alm.client import Client
from connector.alm.protocol import Query, first_request
from connector.alm.rate_limit import RateLimiter
from connector.clock import Deadline
from connector.errors import ConnectorError, UnreachableError
from connector.settings import Credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from connector.clock import Clock
    from connector.redact import Redactor

CANARY = "canary-7f3a9c"
QUERY = Query(("course",), "dateEnrolled", None, (), 10)
TOKEN = Credentials(SecretStr(CANARY))
TRIO = Credentials(None, SecretStr("an-id"), SecretStr(f"{CANARY}-s"), SecretStr(f"{CANARY}-r"))
ALL_FOUR = Credentials(*(SecretStr(CANARY) for _ in range(4)))


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """Yield *error*, its causes and its contexts."""
    if error is not None:
        yield error
        yield from chain_of(error.__cause__)
        yield from chain_of(error.__context__ if error.__context__ is not error.__cause__ else None)


def exposed_by(error: BaseException) -> str:
    """Return what a traceback with its locals shows, and what the exceptions hold."""
    frames = TracebackException.from_exception(error, capture_locals=True).format()
    chain = list(chain_of(error))
    headers = [getattr(getattr(link, "request", None), "headers", "") for link in chain]
    return "\n".join(
        [*frames, *(f"{vars(link)} {link.args}" for link in chain), *map(str, headers)]
    )


def failure_of(client: Client, base_url: str = "https://alm.example") -> ConnectorError:
    """Return the error that a fetch ends with."""
    with pytest.raises(ConnectorError) as caught:
        client.fetch(first_request(base_url, "5", QUERY))
    return caught.value


def with_request() -> of_requests.ReadTimeout:
    """Return a failure that has its request, headers included."""
    headers = {"Authorization": f"oauth {CANARY}"}
    request = requests.Request("GET", "https://alm.example", headers=headers).prepare()
    return of_requests.ReadTimeout(request=request)


@pytest.mark.parametrize(
    "error",
    [
        of_requests.ConnectionError("broke"),
        of_requests.SSLError(of_urllib3.SSLError(ssl.SSLCertVerificationError(1, "self-signed"))),
        of_requests.ConnectionError(
            of_urllib3.ProtocolError("aborted", ConnectionResetError(errno.ECONNRESET, "reset"))
        ),
        OSError(errno.ENETDOWN, "Network is down"),
        with_request(),
    ],
)
def test_fetch__failed_connection(open_client: Callable[..., Client], error: Exception) -> None:
    """A failed connection shows no token, though requests keeps the request with its headers."""
    client = open_client(*[error] * 5, credentials=TOKEN)

    assert CANARY not in exposed_by(failure_of(client))


@pytest.mark.parametrize("credentials", [TOKEN, TRIO, ALL_FOUR])
def test_fetch__closed_port(clock: Clock, redactor: Redactor, credentials: Credentials) -> None:
    """A real port that nothing listens on shows none either, for a page and for a refresh."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        base_url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    tokens = TokenSource(credentials, redactor)
    client = Client(base_url, tokens, RateLimiter(), Deadline(clock, 600))

    error = failure_of(client, base_url)
    client.close()

    assert isinstance(error, UnreachableError)
    assert CANARY not in exposed_by(error)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 418, 500])
def test_fetch__error_status(open_client: Callable[..., Client], status: int) -> None:
    """An error status shows no token."""
    client = open_client(*[(status, {}, b"{}")] * 5, credentials=TOKEN)

    assert CANARY not in exposed_by(failure_of(client))


# By name, as an argument of a test would be in the traceback itself.
REFRESHES = {
    "token with a space": (200, b'{"access_token":"%s x","refresh_token":"%s"}'),
    "cut": (200, b'{"access_token":"%s","refresh_token":"%s"'),
    "refused": (400, b'{"access_token":"%s","refresh_token":"%s"}'),
    "busy": (503, b'{"access_token":"%s","refresh_token":"%s"}'),
}


@pytest.mark.parametrize("name", REFRESHES)
def test_fetch__unusable_refresh(open_client: Callable[..., Client], name: str) -> None:
    """An unusable response to a refresh shows none of the tokens in it."""
    status, body = REFRESHES[name]
    body %= (CANARY.encode(), CANARY.encode())
    client = open_client(*[(status, {}, body)] * 5, credentials=TRIO)
    del body

    assert CANARY not in exposed_by(failure_of(client))
