"""Sends HTTP requests: bounded in time and size, no redirects, no cookies, errors translated."""

from __future__ import annotations

import http.client
import io
import re
import ssl
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.utils import select_proxy
from urllib3 import exceptions as urllib3

from connector import __version__
from connector.alm.protocol import ACCEPT, Response, read_request_id
from connector.alm.retry import out_of_time
from connector.errors import (
    ConnectorError,
    DeadlineError,
    ProtocolError,
    TemporaryError,
    UnreachableError,
    UntrustedHostError,
)
from connector.settings.network import (
    Fault,
    find_authorities_fault,
    find_proxy_fault,
    proxy_variable,
)

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Mapping

    from pydantic import SecretStr
    from urllib3 import HTTPConnectionPool

    from connector.clock import Deadline

CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
#: How long ALM may take if resources are included: Adobe reports 45 to 60 s of long paths.
INCLUDE_READ_SECONDS = 120.0
MAX_BODY_BYTES = 8 * 1024 * 1024
MAX_CONNECTIONS = 32
_CHUNK_BYTES = 64 * 1024
#: Opens the connections; the sandbox and tests have their own.
Adapter = BaseAdapter


class RunEndedError(Exception):
    """The run has ended: nothing waits for this response."""


class _FaultyVariableError(Exception):
    """A variable of the network cannot be used; nothing was sent."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.happened)
        self.fault = fault


class Transport:
    """Sends requests to ALM before the *deadline*; threads share its connections."""

    def __init__(
        self,
        base_url: str,
        deadline: Deadline,
        clean: Callable[[str], str],
        adapter: Adapter | None = None,
    ) -> None:
        self._deadline = deadline
        self._clean = clean
        self._is_closed = False
        self._session = _Session()
        self._session.headers = requests.structures.CaseInsensitiveDict(
            {
                "Accept": ACCEPT,
                "Accept-Encoding": "gzip",
                "User-Agent": f"alm-enrollments/{__version__}",
            }
        )
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        # The inputs schema allows http on loopback only: a proxy there would see the token.
        self._session.trust_env = base_url.lower().startswith("https:")
        self._session.mount(base_url, adapter or TimedAdapter(deadline.left))

    def send(
        self,
        method: str,
        url: str,
        subject: str,
        *,
        token: SecretStr | None = None,
        form: Mapping[str, SecretStr] | None = None,
        read_seconds: float = READ_SECONDS,
    ) -> Response:
        """Send a request and return the response, of any status.

        *subject* is what is requested, for messages; each piece of the response may take
        *read_seconds*. Raises a ConnectorError if the connection fails, the response is too large,
        or the deadline passes.
        """
        if self._is_closed:
            raise RunEndedError
        left = self._deadline.left()
        if left <= 0:
            raise out_of_time(self._deadline.seconds, 0, now=self._deadline.clock.now())
        with (
            translate_errors(subject, urlsplit(url).netloc, self._clean),
            self._session.request(
                method,
                url,
                auth=_Authorization(token),
                data={name: secret.get_secret_value() for name, secret in (form or {}).items()},
                timeout=(min(CONNECT_SECONDS, left), min(read_seconds, left)),
                allow_redirects=False,
                stream=True,
            ) as raw,
        ):
            return Response(raw.status_code, raw.headers, self._read_body(raw, subject))

    def _read_body(self, raw: requests.Response, subject: str) -> bytes:
        body = bytearray()
        # read1 returns what has arrived; read would wait for a slow body past the deadline.
        while chunk := raw.raw.read1(_CHUNK_BYTES, decode_content=True):
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise ProtocolError(
                    f"ALM's response for {subject} is larger than {MAX_BODY_BYTES // 1024**2} MB.",
                    hint="The response was discarded. A page of 10 enrollments has about 10 KB."
                    " Check `base_url`, or request less with `include`.",
                    http_status=raw.status_code,
                    request_id=read_request_id(raw.headers),
                )
            if self._deadline.left() <= 0:
                raise DeadlineError(
                    f"The deadline of {self._deadline.seconds:g} s passed"
                    f" while ALM's response for {subject} was arriving.",
                    hint="Run again with a longer `deadline`.",
                    http_status=raw.status_code,
                    request_id=read_request_id(raw.headers),
                    retry_at=self._deadline.moment(),
                )
        return bytes(body)

    def close(self) -> None:
        """Close the connections; a thread that still reads for an ended run sends nothing more."""
        self._is_closed = True
        self._session.close()


class _Authorization(requests.auth.AuthBase):
    """Puts the token into the request at the last moment, so no traceback's locals show it.

    With it, even without a token, requests does not look for credentials in a ``.netrc``.
    """

    def __init__(self, token: SecretStr | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"oauth {self._token.get_secret_value()}"
        return request


class _Session(requests.Session):
    """Finds no redirect: requests would read its body, of any size, and fail on its address."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return ``None``: the response does not lead elsewhere."""


class TimedAdapter(HTTPAdapter):
    """Makes connections that wait at most *seconds_left* for each piece of a response."""

    def __init__(self, seconds_left: Callable[[], float]) -> None:
        super().__init__(pool_maxsize=MAX_CONNECTIONS)
        self._seconds_left = seconds_left
        self._usable_authorities: set[str] = set()

    def send(
        self,
        request: requests.PreparedRequest,
        *args: Any,  # noqa: ANN401 - passed through
        **kwargs: Any,  # noqa: ANN401 - passed through
    ) -> requests.Response:
        """Send *request*, if the variables of the network that requests has read are usable."""
        proxy, authorities = select_proxy(request.url or "", kwargs["proxies"]), kwargs["verify"]
        if proxy and (fault := find_proxy_fault(proxy)):
            raise _FaultyVariableError(fault)
        if isinstance(authorities, str) and authorities not in self._usable_authorities:
            if fault := find_authorities_fault(authorities):
                raise _FaultyVariableError(fault)
            self._usable_authorities.add(authorities)
        return super().send(request, *args, **kwargs)

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> HTTPConnectionPool:  # noqa: ANN401 - passed through
        """Return the pool of requests, with timed connections."""
        pool = cast("HTTPConnectionPool", super().get_connection_with_tls_context(*args, **kwargs))
        # A recorder of cassettes sets its own connections, which stay.
        if pool.ConnectionCls.__module__.startswith("urllib3."):
            timed = partial(_TimedResponse, seconds_left=self._seconds_left)
            attributes = {"response_class": staticmethod(timed)}
            pool.ConnectionCls = type("TimedConnection", (pool.ConnectionCls,), attributes)
        return pool


class _TimedResponse(http.client.HTTPResponse):
    def __init__(
        self,
        sock: socket.socket,
        *args: Any,  # noqa: ANN401 - passed through
        seconds_left: Callable[[], float],
        **kwargs: Any,  # noqa: ANN401 - passed through
    ) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_TimedStream(sock, self.fp.detach(), seconds_left))

    def _read_status(self) -> tuple[str, int, str]:
        """Skip every interim response (RFC 9110, 15.2); http.client skips 100 only."""
        status: tuple[str, int, str] = super()._read_status()  # type: ignore[misc] # not in typeshed
        while status[1] // 100 == 1 and status[1] != HTTPStatus.SWITCHING_PROTOCOLS:
            http.client.parse_headers(self.fp)
            status = super()._read_status()  # type: ignore[misc] # the same
        return status

    def begin(self) -> None:
        """Read the head; without a body, close the connection.

        Whatever a server sends after such a head would be taken for the next response.
        """
        super().begin()
        if self.length == 0 and not HTTPStatus.OK <= self.status < HTTPStatus.NO_CONTENT:
            self.will_close = True


class _TimedStream(io.RawIOBase):
    """A socket's stream; the socket's own timeout would start again with each byte that arrives."""

    def __init__(
        self, sock: socket.socket, stream: io.RawIOBase, seconds_left: Callable[[], float]
    ) -> None:
        self._socket, self._stream, self._seconds_left = sock, stream, seconds_left
        # The request's own limit, which urllib3 has set.
        self._read_seconds = sock.gettimeout() or READ_SECONDS

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401 - a writable buffer has no type
        seconds = self._seconds_left()
        if seconds <= 0:
            raise TimeoutError
        self._socket.settimeout(min(self._read_seconds, seconds))
        return self._stream.readinto(buffer)

    def close(self) -> None:
        self._stream.close()
        super().close()


_Meaning = tuple[type[ConnectorError], str, str]
_CHECK_BASE_URL = "Check `base_url`."
_CHECK_NETWORK = "Check `base_url`, the network and its proxies."
_CHECK_PROXY = "Check {proxy} and NO_PROXY."
_LOOK_FOR_PROXY = "Look for a proxy between this machine and ALM."
_RUN_AGAIN = "Run again. If it happens again, look for a proxy between this machine and ALM."
# The first class that occurs in the chain of causes decides, so causes come before what they
# lead to, and classes before their bases.
_MEANINGS: dict[type[BaseException], _Meaning] = {
    ssl.SSLCertVerificationError: (
        UntrustedHostError,
        "The certificate of {host} is not trusted",
        "Set REQUESTS_CA_BUNDLE to the file of your network's certificate authorities.",
    ),
    http.client.LineTooLong: (
        ProtocolError,
        "{host} sent a header that is too long",
        _LOOK_FOR_PROXY,
    ),
    urllib3.ProxyError: (
        UnreachableError,
        "The proxy for {host} cannot be used",
        _CHECK_PROXY,
    ),
    urllib3.NameResolutionError: (
        UnreachableError,
        "The name {host} cannot be resolved",
        "Check `base_url`, and the network's name server.",
    ),
    urllib3.NewConnectionError: (
        UnreachableError,
        "{host} cannot be reached",
        _CHECK_NETWORK,
    ),
    urllib3.ConnectTimeoutError: (
        UnreachableError,
        "{host} does not accept a connection in time",
        _CHECK_NETWORK,
    ),
    requests.exceptions.InvalidProxyURL: (
        UntrustedHostError,
        "The address of the proxy for {host} is not valid",
        _CHECK_PROXY,
    ),
    requests.exceptions.InvalidURL: (
        UntrustedHostError,
        "{host} is not a valid address",
        _CHECK_BASE_URL,
    ),
    urllib3.LocationValueError: (
        UntrustedHostError,
        "{host} is not a valid address",
        _CHECK_BASE_URL,
    ),
    urllib3.ReadTimeoutError: (TemporaryError, "{host} stopped answering", "Run again."),
    urllib3.DecodeError: (
        TemporaryError,
        "{host} sent a body whose compression is broken",
        _RUN_AGAIN,
    ),
    BaseException: (TemporaryError, "The connection with {host} broke", _RUN_AGAIN),
}
# These failures have no class of their own: the first text that a cause's own matches decides.
# OpenSSL's words for a response without TLS differ from version to version.
_NO_TLS = "wrong version number|http request|packet length too long|record layer failure"
_MEANINGS_BY_TEXT: dict[tuple[type[BaseException], str], _Meaning] = {
    (OSError, "Tunnel connection failed: 4"): (
        UntrustedHostError,
        "The proxy for {host} refuses to connect to it",
        "Set the proxy's credentials in {proxy}, or allow this host in the proxy.",
    ),
    (OSError, "Could not find a suitable TLS CA certificate bundle"): (
        UntrustedHostError,
        "The certificate authorities that come with Python's requests are missing",
        "Install the package certifi again, or name a file of them in REQUESTS_CA_BUNDLE.",
    ),
    (urllib3.ProxyError, f"(?i).*({_NO_TLS}|appears to only use HTTP)"): (
        UntrustedHostError,
        "The proxy for {host} does not speak TLS",
        "Write http:// in {proxy}. Only a proxy that speaks TLS has an address with https://.",
    ),
    (ssl.SSLError, f"(?i).*({_NO_TLS})"): (
        UntrustedHostError,
        "The port of {host} does not speak TLS",
        "Check the port in `base_url`. It may be a port of plain HTTP.",
    ),
    (ssl.SSLError, "(?i).*(alert (?!internal|bad record)|unsupported protocol|no protocols)"): (
        UntrustedHostError,
        "{host} refuses the TLS of this machine",
        "Check `base_url`, and look for a proxy between this machine and ALM.",
    ),
    (http.client.HTTPException, "got more than [0-9]+ headers"): (
        ProtocolError,
        "{host} sent too many headers",
        _LOOK_FOR_PROXY,
    ),
}


@contextmanager
def translate_errors(subject: str, host: str, clean: Callable[[str], str] = str) -> Iterator[None]:
    """Raise a ConnectorError, from its cause, for any failure of the connection with *host*.

    The causes lose their frames, whose locals hold the request's headers and so the token, and
    *clean* removes secrets from what they quote of the response.
    """
    try:
        yield
    except (
        _FaultyVariableError,
        requests.RequestException,
        urllib3.HTTPError,
        http.client.HTTPException,
        OSError,
    ) as error:
        causes = list(_causes(error))
        kind, happened, hint = _meaning(causes, host)
        for cause in causes:
            cause.__traceback__ = None
            cause.args = tuple(
                # Addresses of proxies have passwords, which *clean* does not know.
                re.sub(r"//\S*@", "//***@", clean(arg)) if isinstance(arg, str) else arg
                for arg in cause.args
            )
            if isinstance(cause, requests.RequestException):
                cause.request = cause.response = None
        raise kind(f"{happened} while reading {subject}.", hint=hint) from error


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield *error* and all it came of, once each: causes, contexts, and urllib3's arguments."""
    pending, seen = [error], set[int]()
    while pending:
        cause = pending.pop()
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        linked = (*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__)
        pending += [other for other in linked if isinstance(other, BaseException)]


def _meaning(causes: list[BaseException], host: str) -> _Meaning:
    for cause in causes:
        if isinstance(cause, _FaultyVariableError):
            return UntrustedHostError, *cause.fault
    meanings = [
        meaning
        for (kind, text), meaning in _MEANINGS_BY_TEXT.items()
        if any(isinstance(cause, kind) and re.match(text, _text(cause)) for cause in causes)
    ]
    meanings += [
        meaning
        for kind, meaning in _MEANINGS.items()
        if any(isinstance(cause, kind) for cause in causes)
    ]
    kind, happened, hint = meanings[0]
    names = {"host": host, "proxy": proxy_variable()}
    return kind, happened.format(**names), hint.format(**names)


def _text(cause: BaseException) -> str:
    return " ".join(map(str, cause.args))
