"""Every exception that a connection fails with, nested as the libraries nest them, and what it means."""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
from traceback import TracebackException
from typing import TYPE_CHECKING

import pytest
import requests
from pydantic import SecretStr
from requests import exceptions as of_requests
from urllib3 import HTTPSConnectionPool
from urllib3 import exceptions as of_urllib3
from urllib3.connection import HTTPSConnection

from connector.alm.auth import TokenSource
from connector.alm.client import Client
from connector.alm.protocol import Query, first_request
from connector.alm.rate_limit import RateLimiter
from connector.alm.transport import translated
from connector.clock import Deadline
from connector.errors import (
    ConnectorError,
    ProtocolError,
    TemporaryError,
    UnreachableError,
    UntrustedHostError,
    UsageError,
)
from connector.settings import Credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from connector.clock import Clock
    from connector.redact import Redactor

HOST = "alm.example"
URL = "/primeapi/v2/users/5/enrollments"
POOL, CONNECTION = HTTPSConnectionPool(HOST), HTTPSConnection(HOST)
CANARY = "canary-7f3a9c"
RUN_AGAIN = "Run again."
LOOK_FOR_PROXY = "Run again; if it stays so, look for a proxy between here and ALM."
CHECK_NETWORK = "Check base_url, the network and its proxies."
BROKE = (
    TemporaryError,
    75,
    "The connection with alm.example broke, asked for user 5.",
    LOOK_FOR_PROXY,
)
STOPPED = (TemporaryError, 75, "alm.example stopped answering, asked for user 5.", RUN_AGAIN)
UNREACHED = (
    UnreachableError,
    69,
    "alm.example cannot be reached, asked for user 5.",
    CHECK_NETWORK,
)
TOO_SLOW = (
    UnreachableError,
    69,
    "alm.example does not accept a connection in time, asked for user 5.",
    CHECK_NETWORK,
)
NO_ADDRESS = (
    UnreachableError,
    69,
    "alm.example is no address, asked for user 5.",
    "Check base_url.",
)
NO_PROXY = (
    UnreachableError,
    69,
    "The proxy in front of alm.example does not answer as one, asked for user 5.",
    "Check HTTPS_PROXY and NO_PROXY.",
)
GARBLED = (
    TemporaryError,
    75,
    "alm.example sent a body whose compression is broken, asked for user 5.",
    LOOK_FOR_PROXY,
)


def exhausted(reason: Exception) -> of_urllib3.MaxRetryError:
    """Return what urllib3 makes of *reason* when it has no retry left."""
    return of_urllib3.MaxRetryError(POOL, URL, reason)


def aborted(reason: Exception) -> of_requests.ConnectionError:
    """Return what requests makes of a connection that ended before the answer's headers."""
    return of_requests.ConnectionError(of_urllib3.ProtocolError("Connection aborted.", reason))


def facts(error: ConnectorError) -> tuple[object, ...]:
    """Return class, exit code, message and hint."""
    return type(error), error.code, error.message, error.hint


UNVERIFIED = ssl.SSLCertVerificationError(
    1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate"
)
UNTRUSTED = (
    UntrustedHostError,
    69,
    "The certificate of alm.example is not trusted, asked for user 5.",
    "Give the file of your own certificate authority in REQUESTS_CA_BUNDLE.",
)
UNRESOLVED = (
    UnreachableError,
    69,
    "The name alm.example cannot be resolved, asked for user 5.",
    "Check base_url, and the network's name server.",
)
LONG_LINE = (
    ProtocolError,
    76,
    "The answer of alm.example has a header longer than HTTP clients take, asked for user 5.",
    "Look for a proxy between here and ALM.",
)


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        pytest.param(
            of_requests.SSLError(exhausted(of_urllib3.SSLError(UNVERIFIED))),
            UNTRUSTED,
            id="certificate",
        ),
        pytest.param(UNVERIFIED, UNTRUSTED, id="certificate, bare"),
        pytest.param(
            of_requests.ConnectionError(
                exhausted(
                    of_urllib3.NameResolutionError(
                        HOST, CONNECTION, socket.gaierror(-2, "not known")
                    )
                )
            ),
            UNRESOLVED,
            id="name",
        ),
        pytest.param(
            of_requests.ConnectionError(
                exhausted(of_urllib3.NewConnectionError(CONNECTION, "refused"))
            ),
            UNREACHED,
            id="port",
        ),
        pytest.param(
            of_requests.ConnectTimeout(
                exhausted(of_urllib3.ConnectTimeoutError(CONNECTION, "timed out"))
            ),
            TOO_SLOW,
            id="connect timeout",
        ),
        pytest.param(
            of_requests.ReadTimeout(of_urllib3.ReadTimeoutError(POOL, URL, "Read timed out.")),
            STOPPED,
            id="headers' timeout",
        ),
        pytest.param(
            of_urllib3.ReadTimeoutError(POOL, URL, "Read timed out."), STOPPED, id="body's timeout"
        ),
        pytest.param(
            of_requests.ConnectionError(of_urllib3.ReadTimeoutError(POOL, URL, "Read timed out.")),
            STOPPED,
            id="body's, by requests",
        ),
        pytest.param(
            aborted(http.client.RemoteDisconnected("closed without response")),
            BROKE,
            id="disconnected",
        ),
        pytest.param(
            aborted(ConnectionResetError(errno.ECONNRESET, "reset by peer")), BROKE, id="reset"
        ),
        pytest.param(aborted(BrokenPipeError(errno.EPIPE, "Broken pipe")), BROKE, id="pipe"),
        pytest.param(aborted(http.client.BadStatusLine("garbage")), BROKE, id="status line"),
        pytest.param(
            aborted(http.client.HTTPException("got more than 100 headers")),
            BROKE,
            id="too many headers",
        ),
        pytest.param(aborted(http.client.LineTooLong("header line")), LONG_LINE, id="long header"),
        pytest.param(of_urllib3.IncompleteRead(5, 5), BROKE, id="cut body"),
        pytest.param(
            of_urllib3.ProtocolError(
                "Connection broken: IncompleteRead", http.client.IncompleteRead(b"", 5)
            ),
            BROKE,
            id="cut chunk",
        ),
        pytest.param(
            of_requests.ChunkedEncodingError(of_urllib3.ProtocolError("Connection broken")),
            BROKE,
            id="cut, by requests",
        ),
        pytest.param(
            of_urllib3.SSLError(ssl.SSLEOFError(8, "EOF occurred in violation of protocol")),
            BROKE,
            id="TLS ends",
        ),
        pytest.param(
            of_requests.SSLError(
                exhausted(of_urllib3.SSLError(ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]")))
            ),
            BROKE,
            id="no TLS",
        ),
        pytest.param(of_urllib3.DecodeError("failed to decode it."), GARBLED, id="gzip"),
        pytest.param(
            of_requests.ContentDecodingError(of_urllib3.DecodeError("failed")),
            GARBLED,
            id="gzip, by requests",
        ),
        pytest.param(
            of_requests.InvalidHeader(
                of_urllib3.InvalidHeader("Content-Length contained multiple values")
            ),
            BROKE,
            id="length",
        ),
        pytest.param(
            of_requests.InvalidURL("Invalid URL 'https://': No host supplied"),
            NO_ADDRESS,
            id="no host",
        ),
        pytest.param(
            of_requests.InvalidURL(of_urllib3.LocationParseError("[::1")), NO_ADDRESS, id="no URL"
        ),
        pytest.param(
            of_urllib3.LocationParseError("'a..b', label empty or too long"),
            NO_ADDRESS,
            id="no host name",
        ),
        pytest.param(
            of_requests.ProxyError(
                exhausted(
                    of_urllib3.ProxyError(
                        "Unable to connect to proxy",
                        of_urllib3.NewConnectionError(CONNECTION, "refused"),
                    )
                )
            ),
            NO_PROXY,
            id="proxy's port",
        ),
        pytest.param(TimeoutError("timed out"), BROKE, id="socket's timeout"),
        pytest.param(OSError(errno.ENETDOWN, "Network is down"), BROKE, id="network"),
    ],
)
def test_translated__meaning(error: Exception, meaning: tuple[object, ...]) -> None:
    """Each failure has its class, its words and its advice, however deep the libraries wrapped its cause."""
    with pytest.raises(ConnectorError) as caught, translated("user 5", HOST):
        raise error

    assert facts(caught.value) == meaning
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("status", ["403 Forbidden", "407 Proxy Authentication Required"])
def test_translated__proxy_refuses_tunnel(status: str) -> None:
    """A proxy that refuses the way does answer as one: asking it again would not mend it."""
    refusal = of_urllib3.ProxyError(
        "Unable to connect to proxy", OSError(f"Tunnel connection failed: {status}")
    )

    with pytest.raises(ConnectorError) as caught, translated("user 5", HOST):
        raise of_requests.ProxyError(exhausted(refusal))

    assert facts(caught.value) == (
        UntrustedHostError,
        69,
        "The proxy in front of alm.example refuses the way to it, asked for user 5.",
        "Set the proxy's own credentials in HTTPS_PROXY, or have it let this host through.",
    )


def test_translated__proxy_out_of_order() -> None:
    """A proxy that fails with a status of its own may be mended by asking again."""
    failure = of_urllib3.ProxyError(
        "Unable to connect to proxy", OSError("Tunnel connection failed: 503 Service Unavailable")
    )

    with pytest.raises(ConnectorError) as caught, translated("user 5", HOST):
        raise of_requests.ProxyError(exhausted(failure))

    assert facts(caught.value) == NO_PROXY


def test_translated__authorities_missing() -> None:
    """A REQUESTS_CA_BUNDLE that names no file is told as such: asking again would not mend it."""
    with pytest.raises(ConnectorError) as caught, translated("user 5", HOST):
        requests.get("https://127.0.0.1:1/", verify="/does/not/exist.pem", timeout=1)

    assert facts(caught.value) == (
        UntrustedHostError,
        69,
        "The certificate authorities to judge alm.example by cannot be read, asked for user 5.",
        "Check the path in REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE.",
    )


def test_translated__malformed_proxy() -> None:
    """A malformed HTTPS_PROXY is not blamed on base_url."""
    with pytest.raises(ConnectorError) as caught, translated("user 5", HOST):
        raise of_requests.InvalidProxyURL(
            "Please check proxy URL. It is malformed and could be missing the host."
        )

    assert facts(caught.value) == (
        UnreachableError,
        69,
        "The proxy in front of alm.example has no address, asked for user 5.",
        "Check HTTPS_PROXY and NO_PROXY.",
    )


def kinds_of(kind: type[BaseException]) -> set[type[BaseException]]:
    """Return *kind* and all classes below it."""
    return {kind, *(each for child in kind.__subclasses__() for each in kinds_of(child))}


FOREIGN = sorted(
    kinds_of(of_requests.RequestException)
    | kinds_of(of_urllib3.HTTPError)
    | kinds_of(http.client.HTTPException)
    | kinds_of(ssl.SSLError),
    key=lambda kind: (kind.__module__, kind.__qualname__),
)


@pytest.mark.parametrize("kind", FOREIGN)
def test_translated__every_foreign_class(kind: type[BaseException]) -> None:
    """No exception of requests, urllib3, http.client or ssl gets through, and none is blamed on the inputs."""
    with pytest.raises(ConnectorError) as caught, translated("user 5", HOST):
        raise kind.__new__(kind)

    assert not isinstance(caught.value, UsageError)
    assert caught.value.message.endswith(", asked for user 5.")


@pytest.mark.parametrize(
    "error", [KeyError("x"), ValueError("x"), KeyboardInterrupt(), ProtocolError("a", hint="b")]
)
def test_translated__passes_the_rest(error: BaseException) -> None:
    """Defects, signals and errors of the tree pass as they are."""
    with pytest.raises(type(error)) as caught, translated("user 5", HOST):
        raise error

    assert caught.value is error


def test_translated__nothing_happened() -> None:
    """Without an exception it does nothing."""
    with translated("user 5", HOST):
        happened = "nothing"

    assert happened == "nothing"


def test_translated__loop_of_causes() -> None:
    """Exceptions that name each other as cause end the search all the same."""
    one, other = of_urllib3.HTTPError("one"), of_urllib3.HTTPError("other")
    one.__context__, other.__context__ = other, one

    with pytest.raises(TemporaryError), translated("user 5", HOST):
        raise one


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """Yield *error* and all that it came of."""
    if error is not None:
        yield error
        yield from chain_of(error.__cause__)
        yield from chain_of(error.__context__ if error.__context__ is not error.__cause__ else None)


def exposed_by(error: BaseException) -> str:
    """Return all that a traceback with its locals shows, and what the exceptions hold on to."""
    frames = "".join(TracebackException.from_exception(error, capture_locals=True).format())
    held = [f"{vars(one)} {one.args}" for one in chain_of(error)]
    headers = [
        str(getattr(request, "headers", ""))
        for one in chain_of(error)
        for request in (getattr(one, "request", None),)
    ]
    return "\n".join([frames, *held, *headers])


FIRST = first_request("https://alm.example", "5", Query(("course",), "dateEnrolled", None, (), 10))
TRIPLE = Credentials(None, SecretStr("an-id"), SecretStr(f"{CANARY}-s"), SecretStr(f"{CANARY}-r"))


@pytest.mark.parametrize(
    "error",
    [
        of_requests.ConnectionError("broke"),
        of_requests.SSLError(exhausted(of_urllib3.SSLError(UNVERIFIED))),
        aborted(ConnectionResetError(errno.ECONNRESET, "reset by peer")),
        OSError(errno.ENETDOWN, "Network is down"),
    ],
)
def test_fetch__failure_holds_no_token(
    open_client: Callable[..., Client], error: Exception
) -> None:
    """After a failed connection neither a frame nor an exception of the chain holds the token."""
    client = open_client(*[error] * 5, credentials=Credentials(SecretStr(CANARY)))

    with pytest.raises(ConnectorError) as caught:
        client.fetch(FIRST)

    assert CANARY not in exposed_by(caught.value)


def test_fetch__failure_with_request_holds_no_token(open_client: Callable[..., Client]) -> None:
    """The request that requests hangs onto its exceptions, headers and all, is let go."""
    prepared = requests.Request(
        "GET", "https://alm.example", headers={"Authorization": f"oauth {CANARY}"}
    ).prepare()
    client = open_client(
        *[of_requests.ReadTimeout(request=prepared)] * 5, credentials=Credentials(SecretStr(CANARY))
    )

    with pytest.raises(ConnectorError) as caught:
        client.fetch(FIRST)

    assert CANARY not in exposed_by(caught.value)


@pytest.mark.parametrize(
    "credentials",
    [
        Credentials(SecretStr(CANARY)),
        TRIPLE,
        Credentials(SecretStr(CANARY), *(SecretStr(CANARY) for _ in range(3))),
    ],
)
def test_fetch__closed_port_holds_no_token(
    clock: Clock, redactor: Redactor, credentials: Credentials
) -> None:
    """The same against a real port where nobody listens, for a page and for a refresh."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        base_url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    client = Client(
        base_url, TokenSource(credentials, redactor), RateLimiter(), Deadline(clock, 600)
    )

    with pytest.raises(UnreachableError) as caught:
        client.fetch(first_request(base_url, "5", Query(("course",), "dateEnrolled", None, (), 10)))
    client.close()

    assert CANARY not in exposed_by(caught.value)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 418, 500])
def test_fetch__error_answer_holds_no_token(
    open_client: Callable[..., Client], status: int
) -> None:
    """Nor after an answer that is an error."""
    client = open_client(*[(status, {}, b"{}")] * 5, credentials=Credentials(SecretStr(CANARY)))

    with pytest.raises(ConnectorError) as caught:
        client.fetch(FIRST)

    assert CANARY not in exposed_by(caught.value)


# By name: as a test's own argument an answer would stand in the traceback itself.
REFRESHES = {
    "token with a space": (
        200,
        f'{{"access_token":"{CANARY} x","refresh_token":"{CANARY}"}}'.encode(),
    ),
    "cut": (200, f'{{"access_token":"{CANARY}"'.encode()),
    "refused": (400, f'{{"refresh_token":"{CANARY}"}}'.encode()),
    "busy": (503, f'{{"refresh_token":"{CANARY}"}}'.encode()),
}


@pytest.mark.parametrize("name", REFRESHES)
def test_fetch__refresh_answer_holds_no_token(
    open_client: Callable[..., Client], name: str
) -> None:
    """Nor after a refresh whose answer holds a token but cannot be used."""
    client = open_client(*[(REFRESHES[name][0], {}, REFRESHES[name][1])] * 5, credentials=TRIPLE)

    with pytest.raises(ConnectorError) as caught:
        client.fetch(FIRST)

    assert CANARY not in exposed_by(caught.value)
