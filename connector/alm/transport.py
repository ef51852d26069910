"""What a failed connection means: every exception of requests and of what it stands on, in the words of connector.errors."""

from __future__ import annotations

import http.client
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING

import requests
from urllib3 import exceptions as urllib3

from connector.errors import (
    ConnectorError,
    ProtocolError,
    TemporaryError,
    UnreachableError,
    UntrustedHostError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# The first line that has an exception of the chain decides: the cause stands before what it led to, a class before its own base.
_MEANINGS: tuple[tuple[type[BaseException], type[ConnectorError], str, str], ...] = (
    (
        ssl.SSLCertVerificationError,
        UntrustedHostError,
        "The certificate of {host} is not trusted",
        "Give the file of your own certificate authority in REQUESTS_CA_BUNDLE.",
    ),
    (
        http.client.LineTooLong,
        ProtocolError,
        "The answer of {host} has a header longer than HTTP clients take",
        "Look for a proxy between here and ALM.",
    ),
    (
        urllib3.ProxyError,
        UnreachableError,
        "The proxy in front of {host} does not answer as one",
        "Check HTTPS_PROXY and NO_PROXY.",
    ),
    (
        urllib3.NameResolutionError,
        UnreachableError,
        "The name {host} cannot be resolved",
        "Check base_url, and the network's name server.",
    ),
    (
        urllib3.NewConnectionError,
        UnreachableError,
        "{host} cannot be reached",
        "Check base_url, the network and its proxies.",
    ),
    (
        urllib3.ConnectTimeoutError,
        UnreachableError,
        "{host} does not accept a connection in time",
        "Check base_url, the network and its proxies.",
    ),
    (
        requests.exceptions.InvalidProxyURL,
        UnreachableError,
        "The proxy in front of {host} has no address",
        "Check HTTPS_PROXY and NO_PROXY.",
    ),
    (
        requests.exceptions.InvalidURL,
        UnreachableError,
        "{host} is no address",
        "Check base_url.",
    ),
    (
        urllib3.LocationValueError,
        UnreachableError,
        "{host} is no address",
        "Check base_url.",
    ),
    (
        urllib3.ReadTimeoutError,
        TemporaryError,
        "{host} stopped answering",
        "Run again.",
    ),
    (
        urllib3.DecodeError,
        TemporaryError,
        "{host} sent a body whose compression is broken",
        "Run again; if it stays so, look for a proxy between here and ALM.",
    ),
    (
        BaseException,
        TemporaryError,
        "The connection with {host} broke",
        "Run again; if it stays so, look for a proxy between here and ALM.",
    ),
)


_TUNNEL_REFUSED = (
    UntrustedHostError,
    "The proxy in front of {host} refuses the way to it",
    "Set the proxy's own credentials in HTTPS_PROXY, or have it let this host through.",
)
_NO_AUTHORITIES = (
    UntrustedHostError,
    "The certificate authorities to judge {host} by cannot be read",
    "Check the path in REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE.",
)


@contextmanager
def translated(asked_for: str, host: str, clean: Callable[[str], str] = str) -> Iterator[None]:
    """Raise a ConnectorError for whatever the connection with *host* fails with inside, its cause with it.

    The cause's frames are let go: their locals hold the request's headers, and so the
    token. What the causes quote of the answer goes through *clean*.
    """
    try:
        yield
    except (
        requests.RequestException,
        urllib3.HTTPError,
        http.client.HTTPException,
        OSError,
    ) as error:
        chain = list(_chain(error))
        kind, happened, hint = _meaning(chain)
        for link in chain:
            link.__traceback__ = None
            link.args = tuple(clean(one) if isinstance(one, str) else one for one in link.args)
            if isinstance(link, requests.RequestException):
                link.request = link.response = None
        raise kind(f"{happened.format(host=host)}, asked for {asked_for}.", hint=hint) from error


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield *error* and all that it came of, once each: causes, contexts, and what urllib3 hands on as arguments."""
    pending, seen = [error], set[int]()
    while pending:
        one = pending.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        handed_on = (*one.args, getattr(one, "reason", None), one.__cause__, one.__context__)
        pending += [other for other in handed_on if isinstance(other, BaseException)]


def _meaning(chain: list[BaseException]) -> tuple[type[ConnectorError], str, str]:
    # Two that no class of their own tells: http.client's refused CONNECT, and the file that requests does not find.
    if any(
        type(one) is OSError and str(one).startswith("Tunnel connection failed: 4") for one in chain
    ):
        return _TUNNEL_REFUSED
    if (
        type(chain[0]) is OSError
        and chain[0].errno is None
        and "CA certificate bundle" in str(chain[0])
    ):
        return _NO_AUTHORITIES
    return next(
        (kind, happened, hint)
        for cause, kind, happened, hint in _MEANINGS
        if any(isinstance(one, cause) for one in chain)
    )
