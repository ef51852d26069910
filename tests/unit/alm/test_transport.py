"""What is sent, what is read of a response, and what every failure of a connection means."""

from __future__ import annotations

import contextlib
import errno
import gzip
import http.client
import io
import socket
import ssl
import threading
from typing import TYPE_CHECKING

import certifi
import pytest
import requests
from pydantic import SecretStr
from requests import exceptions as of_requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse, HTTPSConnectionPool
from urllib3 import exceptions as of_urllib3
from urllib3.connection import HTTPSConnection

from connector import __version__
from connector.alm.transport import MAX_BODY_BYTES, RunEndedError, Transport, translate_errors
from connector.clock import Deadline
from connector.errors import (
    ConnectorError,
    DeadlineError,
    ProtocolError,
    TemporaryError,
    UnreachableError,
    UntrustedHostError,
    UsageError,
)
from tests.support.errors import facts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.clock import VirtualClock

    OpenTransport = Callable[..., Transport]
    Sent = list[requests.PreparedRequest]
    Serve = Callable[..., str]

URL = "https://alm.example/primeapi/v2/users/5/enrollments"
TOKEN = SecretStr("the-token")
FORM = {"client_id": SecretStr("an id/+"), "refresh_token": SecretStr("a&b")}
HEADERS = {
    "Accept": "application/vnd.api+json",
    "Accept-Encoding": "gzip",
    "User-Agent": f"alm-enrollments/{__version__}",
}


@pytest.fixture
def open_transport(
    clock: VirtualClock, scripted: Callable[..., HTTPAdapter]
) -> Callable[..., Transport]:
    """Return a function that opens a transport with the given steps."""
    return lambda *script: Transport(
        "https://alm.example", Deadline(clock, 600), str, scripted(*script)
    )


def test_send__page(open_transport: OpenTransport, sent: Sent) -> None:
    """These four headers are sent, and no other; the response is returned as it came."""
    transport = open_transport((404, {"x-request-id": "trace"}, b"body"))

    response = transport.send("GET", URL, "user 5", token=TOKEN)

    assert (response.status, response.headers["X-Request-Id"], response.body) == (
        404,
        "trace",
        b"body",
    )
    assert [(request.method, request.url, request.body) for request in sent] == [("GET", URL, None)]
    assert sent[0].headers == {**HEADERS, "Authorization": "oauth the-token"}


def test_send__form(open_transport: OpenTransport, sent: Sent) -> None:
    """A form's secrets are sent in the body, not in the address, and without a token."""
    open_transport((200, {}, b"")).send("POST", URL, "the refresh", form=FORM)

    body = "client_id=an+id%2F%2B&refresh_token=a%26b"
    assert [(request.method, request.url, request.body) for request in sent] == [
        ("POST", URL, body)
    ]
    assert sent[0].headers == {
        **HEADERS,
        "Content-Length": str(len(body)),
        "Content-Type": "application/x-www-form-urlencoded",
    }


def test_send__ignores_netrc(
    open_transport: OpenTransport, sent: Sent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credentials in a .netrc never replace the token or accompany a refresh."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine alm.example login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    transport = open_transport((200, {}, b""), (200, {}, b""))

    transport.send("POST", URL, "the refresh", form=FORM)
    transport.send("GET", URL, "user 5", token=TOKEN)

    assert [request.headers.get("Authorization") for request in sent] == [None, "oauth the-token"]


class CookieAdapter(HTTPAdapter):
    """Responds with a cookie each time, as a proxy does that tracks sessions."""

    def __init__(self, sent: Sent) -> None:
        super().__init__()
        self._sent = sent

    def send(
        self, request: requests.PreparedRequest, *_args: object, **_kwargs: object
    ) -> requests.Response:
        """Return an empty response and a cookie."""
        self._sent.append(request)
        raw = HTTPResponse(body=io.BytesIO(b""), status=200, preload_content=False)
        original = http.client.HTTPMessage()
        original["Set-Cookie"] = "session=x; Path=/"
        # requests looks here for the cookies of a response.
        vars(raw)["_original_response"] = _OriginalResponse(original)
        return self.build_response(request, raw)


class _OriginalResponse:
    """The part of http.client's response that requests and urllib3 use."""

    def __init__(self, msg: http.client.HTTPMessage) -> None:
        self.msg = msg

    def isclosed(self) -> bool:
        """Return that it is complete."""
        return True

    def close(self) -> None:
        """Do nothing."""


def test_send__keeps_no_cookie(clock: VirtualClock, sent: Sent) -> None:
    """A cookie in one response is not sent with the next request."""
    transport = Transport(URL, Deadline(clock, 600), str, CookieAdapter(sent))

    for _ in range(2):
        transport.send("GET", URL, "user 5", token=TOKEN)

    assert [request.headers.get("Cookie") for request in sent] == [None, None]


@pytest.mark.parametrize(
    ("status", "location"),
    [
        *((status, "https://evil.example/") for status in (301, 302, 303, 307, 308)),
        *((302, location) for location in (URL, "/login", "", "https://", "http://[", "/caf\xe9")),
        (302, "javascript:alert(1)"),
    ],
)
def test_send__follows_no_redirect(
    open_transport: OpenTransport, sent: Sent, status: int, location: str
) -> None:
    """A redirect to anywhere, however broken its address is, is returned and not followed."""
    transport = open_transport((status, {"location": location}, b"moved"))

    response = transport.send("GET", URL, "user 5", token=TOKEN)

    assert (response.status, response.body, len(sent)) == (status, b"moved", 1)


class Endless(io.RawIOBase):
    """A body without end that counts what was read of it."""

    def __init__(self) -> None:
        self.size = 0

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return as much as requested; the entire body would be too much even for a test."""
        if size < 0 or self.size > 2 * MAX_BODY_BYTES:
            raise AssertionError("the body was read without end")
        self.size += size
        return b" " * size

    read1 = read


@pytest.mark.parametrize("status", [200, 302, 404, 500])
def test_send__endless_body(open_transport: OpenTransport, status: int) -> None:
    """At most 8 MB of a body are read, whatever the status."""
    body = Endless()
    headers = {"location": "https://evil.example/", "x-request-id": "trace"}

    with pytest.raises(ProtocolError) as caught:
        open_transport((status, headers, body)).send("GET", URL, "user 5")

    text = (
        "ALM's response for user 5 is larger than 8 MB. The response was discarded. A page of 10"
        " enrollments has about 10 KB. Check `base_url`, or request less with `include`."
        " (request id trace)"
    )
    assert facts(caught.value) == (ProtocolError, text, status, None)
    assert body.size <= MAX_BODY_BYTES + 64 * 1024


def test_send__largest_body(open_transport: OpenTransport) -> None:
    """A body of exactly 8 MB is read."""
    transport = open_transport((200, {}, bytes(MAX_BODY_BYTES)))

    assert len(transport.send("GET", URL, "user 5").body) == MAX_BODY_BYTES


def test_send__decompressed_body(open_transport: OpenTransport) -> None:
    """The limit holds for the decompressed body."""
    bomb = gzip.compress(bytes(MAX_BODY_BYTES + 1))
    transport = open_transport((200, {"content-encoding": "gzip"}, bomb))

    with pytest.raises(ProtocolError, match="is larger than 8 MB"):
        transport.send("GET", URL, "user 5")


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip"])
def test_send__gzip(open_transport: OpenTransport, encoding: str) -> None:
    """A compressed body is decompressed."""
    transport = open_transport((200, {"content-encoding": encoding}, gzip.compress(b"body")))

    assert transport.send("GET", URL, "user 5").body == b"body"


def test_send__broken_gzip(open_transport: OpenTransport) -> None:
    """A body with broken compression is a temporary failure."""
    transport = open_transport((200, {"content-encoding": "gzip"}, b"no gzip"))

    with pytest.raises(TemporaryError, match="sent a body whose compression is broken"):
        transport.send("GET", URL, "user 5")


class Dripping(io.BytesIO):
    """A body of which each byte takes 300 s."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(b"body")
        self._clock = clock

    def read1(self, _size: int | None = -1, /) -> bytes:
        """Return one byte, late."""
        self._clock.sleep(300)
        return super().read1(1)


def test_send__deadline_in_a_body(open_transport: OpenTransport, clock: VirtualClock) -> None:
    """The deadline ends a slow body at the piece that crosses it."""
    transport = open_transport((200, {"x-request-id": "trace"}, Dripping(clock)))

    with pytest.raises(TemporaryError) as caught:
        transport.send("GET", URL, "user 5")

    text = (
        "The deadline of 600 s passed while ALM's response for user 5 was arriving."
        " Run again with a longer `deadline`. (request id trace)"
    )
    assert facts(caught.value) == (DeadlineError, text, 200, "2023-06-29T12:10:00Z")
    assert clock.slept == [300, 300]


def test_send__after_the_deadline(
    open_transport: OpenTransport, clock: VirtualClock, sent: Sent
) -> None:
    """After the deadline nothing is sent."""
    transport = open_transport()
    clock.sleep(600)

    with pytest.raises(TemporaryError) as caught:
        transport.send("GET", URL, "user 5")

    text = (
        "The deadline of 600 s leaves no time for the next request, due in 0.0 s. Run again after"
        " 2023-06-29 12:10:00 UTC, or set a longer `deadline`."
    )
    assert facts(caught.value) == (DeadlineError, text, None, "2023-06-29T12:10:00Z")
    assert sent == []


def test_send__after_close(open_transport: OpenTransport, sent: Sent) -> None:
    """After the run nothing is sent, by threads that still read for it either."""
    transport = open_transport()
    transport.close()

    with pytest.raises(RunEndedError):
        transport.send("GET", URL, "user 5")
    assert sent == []


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Return a function that serves loopback connections and returns their URL."""
    threads: list[threading.Thread] = []

    def start(respond: Callable[[socket.socket], object], connections: int = 1) -> str:
        listener = socket.create_server(("127.0.0.1", 0))

        def accept() -> None:
            with listener:
                for _ in range(connections):
                    connection, _ = listener.accept()
                    # The client closes the connection as soon as it has failed.
                    with connection, contextlib.suppress(OSError):
                        connection.settimeout(10)
                        respond(connection)

        threads.append(threading.Thread(target=accept))
        threads[-1].start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for thread in threads:
        thread.join(timeout=20)


def test_send__deadline_in_a_head(serve: Serve, clock: VirtualClock) -> None:
    """The deadline ends a head that drips, though each byte comes in time."""

    def drip(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        clock.sleep(700)
        connection.sendall(b"a")
        connection.recv(1)

    url = serve(drip)

    with pytest.raises(TemporaryError, match=r"127\.0\.0\.1:[0-9]+ stopped answering"):
        Transport(url, Deadline(clock, 600), str).send("GET", url, "user 5")


@pytest.mark.parametrize(
    ("head", "body", "reused"),
    [
        ("200 OK", b"{}", True),
        ("200 OK", b"", True),
        ("404 Not Found", b"{}", True),
        ("404 Not Found", b"", False),
        ("204 No Content", b"", False),
    ],
)
def test_send__reuses_connections(
    serve: Serve, clock: VirtualClock, head: str, body: bytes, *, reused: bool
) -> None:
    """A connection is used again, but not after an error without a body.

    What a server sends after such a head would be taken for the next response.
    """
    page = f"HTTP/1.1 {head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    used: list[socket.socket] = []

    def respond(connection: socket.socket) -> None:
        while connection.recv(65_536):
            used.append(connection)
            connection.sendall(page)

    url = serve(respond, connections=1 if reused else 2)
    transport = Transport(url, Deadline(clock, 600), str)
    responses = [transport.send("GET", url, "user 5") for _ in range(2)]
    transport.close()

    assert [response.body for response in responses] == [body] * 2
    assert (used[0] is used[1]) == reused


@pytest.mark.parametrize("codes", [[], [103], [102, 103, 199]])
def test_send__interim_responses(serve: Serve, clock: VirtualClock, codes: list[int]) -> None:
    """Interim responses come before the response, and are skipped with their headers."""
    interim = b"".join(b"HTTP/1.1 %d Wait\r\nLink: </x>\r\n\r\n" % code for code in codes)

    def respond(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(interim + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    url = serve(respond)
    response = Transport(url, Deadline(clock, 600), str).send("GET", url, "user 5")

    assert (response.status, response.body, response.headers.get("Link")) == (200, b"{}", None)


def test_send__switched_protocol(serve: Serve, clock: VirtualClock) -> None:
    """A change of the protocol is the response itself: no other follows."""

    def respond(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nContent-Length: 0\r\n\r\n")

    url = serve(respond)

    assert Transport(url, Deadline(clock, 600), str).send("GET", url, "user 5").status == 101


def test_send__pause_longer_than_allowed(serve: Serve, clock: VirtualClock) -> None:
    """A pause longer than *read_seconds* ends the request, long before the deadline."""

    def pause(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{")
        connection.settimeout(3)
        connection.recv(1)

    url = serve(pause)

    with pytest.raises(TemporaryError, match="stopped answering"):
        Transport(url, Deadline(clock, 600), str).send("GET", url, "user 5", read_seconds=0.2)


def test_send__just_before_the_deadline(serve: Serve, clock: VirtualClock) -> None:
    """A response half a second before the deadline is in time."""

    def respond(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    url = serve(respond)
    transport = Transport(url, Deadline(clock, 600), str)
    clock.sleep(599.5)

    assert transport.send("GET", url, "user 5").body == b"{}"


@pytest.mark.parametrize("url", ["https://alm.example", "HTTPS://alm.example"])
def test_send__unusable_proxy(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """A proxy for https that is no address ends the request, by its variable."""
    monkeypatch.setenv("HTTPS_PROXY", "ftp://proxy:3128")

    with pytest.raises(UntrustedHostError, match="HTTPS_PROXY is not the address of a proxy"):
        Transport(url, Deadline(clock, 600), str).send("GET", url, "user 5")


def test_send__uses_the_proxy(
    serve: Serve, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A usable proxy is asked to connect to the host."""
    received: list[bytes] = []

    def refuse(connection: socket.socket) -> None:
        received.append(connection.recv(65_536))
        connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    monkeypatch.setenv("HTTPS_PROXY", serve(refuse))

    with pytest.raises(UntrustedHostError, match="refuses to connect"):
        Transport("https://alm.example", Deadline(clock, 600), str).send("GET", URL, "user 5")

    assert received[0].startswith(b"CONNECT alm.example:443 ")


def test_send__authorities(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The file of certificate authorities is checked before the first request only."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing.pem"))
    url = "https://127.0.0.1:9"
    transport = Transport(url, Deadline(clock, 600), str)
    with pytest.raises(UntrustedHostError, match="No such file"):
        transport.send("GET", url, "user 5")

    checked: list[str] = []
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certifi.where())
    monkeypatch.setattr("connector.alm.transport.find_authorities_fault", checked.append)
    for _ in range(2):
        with pytest.raises(UnreachableError, match="cannot be reached"):
            transport.send("GET", url, "user 5")

    assert checked == [certifi.where()]


def test_send__no_proxy_for_loopback(
    serve: Serve, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy is never used for plain http, which is loopback: it would see the token."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    def respond(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")

    url = serve(respond)

    assert Transport(url, Deadline(clock, 600), str).send("GET", url, "user 5").body == b"{}"


HOST = "alm.example"
PATH = "/primeapi/v2/users/5/enrollments"
POOL, CONNECTION = HTTPSConnectionPool(HOST), HTTPSConnection(HOST)
LOOK_FOR_PROXY = "Run again. If it happens again, look for a proxy between this machine and ALM."
CHECK_NETWORK = "Check `base_url`, the network and its proxies."
CHECK_PROXY = "Check HTTPS_PROXY and NO_PROXY."
Meaning = tuple[type[ConnectorError], str, str]
BROKE = (TemporaryError, "The connection with alm.example broke", LOOK_FOR_PROXY)
STOPPED = (TemporaryError, "alm.example stopped answering", "Run again.")
UNREACHED = (UnreachableError, "alm.example cannot be reached", CHECK_NETWORK)
TOO_SLOW = (UnreachableError, "alm.example does not accept a connection in time", CHECK_NETWORK)
NO_ADDRESS = (UntrustedHostError, "alm.example is not a valid address", "Check `base_url`.")
NO_PROXY = (
    UnreachableError,
    "The proxy for alm.example cannot be used",
    CHECK_PROXY,
)
BAD_PROXY = (
    UntrustedHostError,
    "The address of the proxy for alm.example is not valid",
    CHECK_PROXY,
)
GARBLED = (
    TemporaryError,
    "alm.example sent a body whose compression is broken",
    LOOK_FOR_PROXY,
)
UNTRUSTED = (
    UntrustedHostError,
    "The certificate of alm.example is not trusted",
    "Set REQUESTS_CA_BUNDLE to the file of your network's certificate authorities.",
)
UNRESOLVED = (
    UnreachableError,
    "The name alm.example cannot be resolved",
    "Check `base_url`, and the network's name server.",
)
LONG_LINE = (
    ProtocolError,
    "alm.example sent a header that is too long",
    "Look for a proxy between this machine and ALM.",
)
TUNNEL_REFUSED = (
    UntrustedHostError,
    "The proxy for alm.example refuses to connect to it",
    "Set the proxy's credentials in HTTPS_PROXY, or allow this host in the proxy.",
)
NO_AUTHORITIES = (
    UntrustedHostError,
    "The certificate authorities that come with Python's requests are missing",
    "Install the package certifi again, or name a file of them in REQUESTS_CA_BUNDLE.",
)
MANY_HEADERS = (
    ProtocolError,
    "alm.example sent too many headers",
    "Look for a proxy between this machine and ALM.",
)
NO_TLS = (
    UntrustedHostError,
    "The port of alm.example does not speak TLS",
    "Check the port in `base_url`. It may be a port of plain HTTP.",
)
PROXY_WITHOUT_TLS = (
    UntrustedHostError,
    "The proxy for alm.example does not speak TLS",
    "Write http:// in HTTPS_PROXY. Only a proxy that speaks TLS has an address with https://.",
)
TLS_REFUSED = (
    UntrustedHostError,
    "alm.example refuses the TLS of this machine",
    "Check `base_url`, and look for a proxy between this machine and ALM.",
)
UNVERIFIED = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] self-signed")
REFUSED = of_urllib3.NewConnectionError(CONNECTION, "refused")
UNKNOWN = of_urllib3.NameResolutionError(HOST, CONNECTION, socket.gaierror(-2, "not known"))
SLOW = of_urllib3.ConnectTimeoutError(CONNECTION, "timed out")
SILENT = of_urllib3.ReadTimeoutError(POOL, PATH, "Read timed out.")


def exhausted(reason: Exception) -> of_urllib3.MaxRetryError:
    """Return *reason* as urllib3 raises it after its last retry."""
    return of_urllib3.MaxRetryError(POOL, PATH, reason)


def aborted(reason: Exception) -> of_requests.ConnectionError:
    """Return *reason* as requests raises it before a response's headers."""
    return of_requests.ConnectionError(of_urllib3.ProtocolError("Connection aborted.", reason))


def of_proxy(reason: Exception) -> of_requests.ProxyError:
    """Return *reason* as requests raises it if a proxy causes it."""
    return of_requests.ProxyError(exhausted(of_urllib3.ProxyError("Unable to connect", reason)))


FAILURES: list[tuple[Exception, Meaning]] = [
    (of_requests.SSLError(exhausted(of_urllib3.SSLError(UNVERIFIED))), UNTRUSTED),
    (UNVERIFIED, UNTRUSTED),
    (of_requests.ConnectionError(exhausted(UNKNOWN)), UNRESOLVED),
    (of_requests.ConnectionError(exhausted(REFUSED)), UNREACHED),
    (of_requests.ConnectTimeout(exhausted(SLOW)), TOO_SLOW),
    (of_requests.ReadTimeout(SILENT), STOPPED),
    (of_requests.ConnectionError(SILENT), STOPPED),
    (SILENT, STOPPED),
    (aborted(http.client.RemoteDisconnected("closed without response")), BROKE),
    (aborted(ConnectionResetError(errno.ECONNRESET, "reset by peer")), BROKE),
    (aborted(BrokenPipeError(errno.EPIPE, "Broken pipe")), BROKE),
    (aborted(http.client.BadStatusLine("garbage")), BROKE),
    (aborted(http.client.HTTPException("got more than 100 headers")), MANY_HEADERS),
    (aborted(http.client.LineTooLong("header line")), LONG_LINE),
    (of_urllib3.IncompleteRead(5, 5), BROKE),
    (of_urllib3.ProtocolError("Connection broken", http.client.IncompleteRead(b"", 5)), BROKE),
    (of_requests.ChunkedEncodingError(of_urllib3.ProtocolError("Connection broken")), BROKE),
    (of_urllib3.SSLError(ssl.SSLEOFError(8, "EOF occurred in violation of protocol")), BROKE),
    (of_requests.SSLError(exhausted(of_urllib3.SSLError(ssl.SSLError(1, "[SSL]")))), BROKE),
    *(
        (of_requests.SSLError(exhausted(of_urllib3.SSLError(ssl.SSLError(1, text)))), meaning)
        for text, meaning in {
            "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)": NO_TLS,
            "[SSL: HTTP_REQUEST] http request (_ssl.c:1006)": NO_TLS,
            "[SSL: PACKET_LENGTH_TOO_LONG] packet length too long (_ssl.c:1032)": NO_TLS,
            "[SSL] record layer failure (_ssl.c:1032)": NO_TLS,
            "[SSL: TLSV1_ALERT_PROTOCOL_VERSION] tlsv1 alert protocol version": TLS_REFUSED,
            "[SSL: SSLV3_ALERT_HANDSHAKE_FAILURE] sslv3 alert handshake failure": TLS_REFUSED,
            "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate": TLS_REFUSED,
            "[SSL: UNSUPPORTED_PROTOCOL] unsupported protocol (_ssl.c:1006)": TLS_REFUSED,
            "[SSL: TLSV1_ALERT_INTERNAL_ERROR] tlsv1 alert internal error": BROKE,
            "[SSL: SSLV3_ALERT_BAD_RECORD_MAC] sslv3 alert bad record mac": BROKE,
        }.items()
    ),
    (of_proxy(of_urllib3.SSLError(ssl.SSLError(1, "wrong version number"))), PROXY_WITHOUT_TLS),
    (of_urllib3.DecodeError("failed to decode it."), GARBLED),
    (of_requests.ContentDecodingError(of_urllib3.DecodeError("failed")), GARBLED),
    (of_requests.InvalidHeader(of_urllib3.InvalidHeader("Content-Length")), BROKE),
    (of_requests.InvalidURL("Invalid URL 'https://': No host supplied"), NO_ADDRESS),
    (of_requests.InvalidURL(of_urllib3.LocationParseError("[::1")), NO_ADDRESS),
    (of_urllib3.LocationParseError("'a..b', label empty or too long"), NO_ADDRESS),
    (of_requests.InvalidProxyURL("Please check proxy URL."), BAD_PROXY),
    (of_proxy(REFUSED), NO_PROXY),
    (of_proxy(OSError("Tunnel connection failed: 403 Forbidden")), TUNNEL_REFUSED),
    (of_proxy(OSError("Tunnel connection failed: 407 Proxy Authentication")), TUNNEL_REFUSED),
    (of_proxy(OSError("Tunnel connection failed: 503 Service Unavailable")), NO_PROXY),
    (TimeoutError("timed out"), BROKE),
    (OSError(errno.ENETDOWN, "Network is down"), BROKE),
]


@pytest.mark.parametrize(("error", "meaning"), FAILURES)
def test_translate_errors__meaning(error: Exception, meaning: Meaning) -> None:
    """Each failure has its class, message and hint, however deep the libraries wrap it."""
    with pytest.raises(ConnectorError) as caught, translate_errors("user 5", HOST):
        raise error

    kind, happened, hint = meaning
    assert facts(caught.value) == (kind, f"{happened} while reading user 5. {hint}", None, None)
    assert caught.value.__cause__ is error


def test_translate_errors__missing_authorities() -> None:
    """Missing certificate authorities of requests itself are described; no retry helps."""
    with pytest.raises(ConnectorError) as caught, translate_errors("user 5", HOST):
        requests.get("https://127.0.0.1:1/", verify="/does/not/exist.pem", timeout=1)

    kind, happened, hint = NO_AUTHORITIES
    assert facts(caught.value) == (kind, f"{happened} while reading user 5. {hint}", None, None)


def subclasses(kind: type[BaseException]) -> set[type[BaseException]]:
    """Return *kind* and all classes below it."""
    return {kind, *(each for child in kind.__subclasses__() for each in subclasses(child))}


FOREIGN = sorted(
    subclasses(of_requests.RequestException)
    | subclasses(of_urllib3.HTTPError)
    | subclasses(http.client.HTTPException)
    | subclasses(ssl.SSLError),
    key=lambda kind: (kind.__module__, kind.__qualname__),
)


@pytest.mark.parametrize("kind", FOREIGN)
def test_translate_errors__every_foreign_class(kind: type[BaseException]) -> None:
    """Every exception of requests, urllib3, http.client and ssl is translated."""
    with pytest.raises(ConnectorError) as caught, translate_errors("user 5", HOST):
        raise kind.__new__(kind)

    assert not isinstance(caught.value, UsageError)
    assert caught.value.message.endswith(" while reading user 5.")


@pytest.mark.parametrize(
    "error", [KeyError("x"), ValueError("x"), KeyboardInterrupt(), ProtocolError("a", hint="b")]
)
def test_translate_errors__passes_the_rest(error: BaseException) -> None:
    """Bugs, signals and our own errors pass unchanged."""
    with pytest.raises(type(error)) as caught, translate_errors("user 5", HOST):
        raise error

    assert caught.value is error


def test_translate_errors__cleans_its_causes() -> None:
    """The causes lose their frames, the request, and the secrets that they quote."""
    reset, failure = (
        ConnectionResetError(104, "the-token of http://a:b/c@proxy"),
        of_requests.ConnectionError("a"),
    )
    failure.request = requests.Request("GET", URL).prepare()
    failure.__context__ = reset

    with (
        pytest.raises(TemporaryError),
        translate_errors("user 5", HOST, lambda text: text.replace("the-token", "***")),
    ):
        raise failure

    assert (reset.args, reset.__traceback__) == ((104, "*** of http://***@proxy"), None)
    assert (vars(failure)["request"], vars(failure)["response"]) == (None, None)


def test_translate_errors__cause_reached_twice() -> None:
    """The causes behind one that is reached twice are found as well."""
    failure, both = of_requests.ConnectionError(UNVERIFIED), TimeoutError("timed out")
    failure.__cause__ = failure.__context__ = both

    with pytest.raises(UntrustedHostError, match="not trusted"), translate_errors("user 5", HOST):
        raise failure


def test_send__cleans_causes(clock: VirtualClock, scripted: Callable[..., HTTPAdapter]) -> None:
    """What a failure quotes is cleaned before the error is raised."""
    failure = ConnectionResetError(104, "the-token")
    adapter = scripted(failure)
    transport = Transport(URL, Deadline(clock, 600), lambda _: "***", adapter)

    with pytest.raises(TemporaryError):
        transport.send("GET", URL, "user 5")

    assert failure.args == (104, "***")


def test_translate_errors__loop_of_causes() -> None:
    """Exceptions that are each other's context do not make it loop."""
    first, second = of_urllib3.HTTPError("first"), of_urllib3.HTTPError("second")
    first.__context__, second.__context__ = second, first

    with pytest.raises(TemporaryError), translate_errors("user 5", HOST):
        raise first
