"""A request in, ALM's answer out. No socket and no waiting here: the two shells around it have those."""

from __future__ import annotations

import gzip
import json
import re
import threading
from dataclasses import dataclass, field
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from connector.sandbox.faults import ON_THE_WAY, Fault, FaultScript
from connector.sandbox.learners import enrollments_of
from connector.sandbox.limiter import Limiter
from connector.sandbox.pages import BadParameterError, PageQuery, build_page, parse_query
from connector.sandbox.tokens import REFRESH_TOKEN, Tokens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from connector.clock import Clock

JSON_API = "application/vnd.api+json"
_TITLES = {
    400: "BAD_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    406: "NOT_ACCEPTABLE",
}
_BIG = 33 * 1024 * 1024
_BOMB = 40 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Settings:
    """How the sandbox behaves. Limits as ALM documents them for admin scope; a rate of 0 is no limiter and no quota headers."""

    rate_per_minute: float = 100
    burst: float = 100
    faults: tuple[Fault, ...] = ()
    enrollments_per_user: int | None = None
    only_type: str | None = None
    has_excess_header: bool = False
    token_lifetime: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came; header names in lower case. *origin* is the scheme and host that it was sent to."""

    method: str
    target: str
    headers: Mapping[str, str]
    origin: str
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer, and the fault that its bytes are to meet on the way."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    fault: Fault | None = None
    number: int = field(default=0, compare=False)


class Sandbox:
    """One account of ALM: its limiter, its tokens, its learners and the faults that are yet to happen."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._limiter = (
            Limiter(settings.rate_per_minute, settings.burst) if settings.rate_per_minute else None
        )
        self._tokens = Tokens()
        self._faults = FaultScript(settings.faults)
        self._number = 0
        self._since_refresh = 0

    def answer(self, request: Request) -> Response:
        """Return what ALM would answer, or what the fault script says."""
        with self._lock:
            self._number += 1
            status, headers, body, fault = self._route(request)
            return self._with_headers(request, status, headers, body, fault)

    def _route(self, request: Request) -> tuple[int, dict[str, str], bytes, Fault | None]:
        parts = urlsplit(request.target)
        path = unquote(parts.path)
        if path.endswith("/oauth/token/refresh"):
            return self._refresh(request, parts.query)
        match = re.search(r"/primeapi/v2/users/([^/]+)/enrollments$", path)
        if match is None:
            return _refusal(404, f"no such path: {path}")
        if request.method != "GET":
            return _refusal(405, request.method)
        return self._enrollments(request, match[1], parts.query, f"{request.origin}{parts.path}")

    def _refresh(
        self, request: Request, query: str
    ) -> tuple[int, dict[str, str], bytes, Fault | None]:
        if request.method != "POST":
            return _refusal(405, request.method)
        if query:
            return _refusal(400, "credentials belong into the body")
        token = self._tokens.refresh(request.body)
        if token is None:
            return _refusal(401, "client_id, client_secret or refresh_token is wrong")
        self._since_refresh = 0
        answer = {
            "access_token": token,
            "refresh_token": REFRESH_TOKEN,
            "token_type": "oauth2",
            "expires_in": 604_800,
        }
        return _json(
            200,
            {**answer, "user_role": "ADMIN", "account_id": "1000", "user_id": "1"},
            kind="application/json",
        )

    def _enrollments(
        self, request: Request, user: str, query: str, address: str
    ) -> tuple[int, dict[str, str], bytes, Fault | None]:
        wait = self._limiter.retry_after(self._clock.monotonic()) if self._limiter else None
        if wait is not None:
            # What the limiter refuses gets no further: a fault that waits for this request still does.
            return _too_many(f"{wait:.3f}")
        asked, wrong = _asked(query)
        fault = self._faults.take(request=self._number, page=asked.number, user=user)
        what = fault.what if fault else ""
        refused = self._refused(request, user, wrong, fault)
        if refused:
            return refused
        if fault and what in _REPLACED:
            return (*_faulty(what), fault)
        settings = self._settings
        enrollments = enrollments_of(user, settings.enrollments_per_user, settings.only_type)
        status, headers, body, _ = _json(200, build_page(enrollments, asked, address, user, what))
        return status, headers, body, fault

    def _refused(
        self, request: Request, user: str, wrong: str | None, fault: Fault | None
    ) -> tuple[int, dict[str, str], bytes, Fault | None] | None:
        """Return the refusal where the request gets one, in the order of ALM's own doors: token, header, parameters, user."""
        what = fault.what if fault else ""
        if fault and what.isdigit():
            return (
                _too_many(fault.value)
                if what == "429"
                else _refusal(int(what), "by the fault script")
            )
        self._expire_token(what)
        doors = (
            (
                not self._tokens.accepts(request.headers.get("authorization", "")),
                401,
                "the access token is missing, wrong or expired",
            ),
            (JSON_API not in request.headers.get("accept", ""), 406, f"Accept is not {JSON_API}"),
            (wrong is not None, 400, wrong),
            (
                not (user.isascii() and user.isdigit()) or user.startswith("404"),
                404,
                f"no user {user}",
            ),
            (user.startswith("403"), 403, "the scope does not reach this user"),
        )
        return next(
            (_refusal(status, str(info)) for is_closed, status, info in doors if is_closed), None
        )

    def _expire_token(self, what: str) -> None:
        self._since_refresh += 1
        lifetime = self._settings.token_lifetime
        if what == "dead-token" or (lifetime is not None and self._since_refresh > lifetime):
            self._tokens.kill()
        if what == "same-token":
            self._tokens.refuse()

    def _with_headers(
        self,
        request: Request,
        status: int,
        headers: dict[str, str],
        body: bytes,
        fault: Fault | None,
    ) -> Response:
        common = {
            "date": format_datetime(self._clock.now(), usegmt=True),
            "server": "openresty",
            "x-request-id": f"sandbox-{self._number}",
        }
        if self._limiter:
            common |= {
                "x-rate-limit": f"{self._limiter.rate_per_minute:.10g}r/m",
                "x-burst": f"{self._limiter.burst:.10g}",
            }
        if self._limiter and self._settings.has_excess_header:
            common["x-excess-requests-per-second"] = f"{self._limiter.excess:.3f}"
        if (
            body
            and "content-encoding" not in headers
            and "gzip" in request.headers.get("accept-encoding", "")
        ):
            headers, body = (
                {**headers, "content-encoding": "gzip"},
                gzip.compress(body, compresslevel=1, mtime=0),
            )
        on_the_way = fault if fault and fault.what in ON_THE_WAY else None
        return Response(
            status, tuple({**common, **headers}.items()), body, on_the_way, self._number
        )


def _asked(query: str) -> tuple[PageQuery, str | None]:
    """Return what *query* asks for, or the default and what is wrong with it."""
    try:
        return parse_query(query), None
    except BadParameterError as error:
        return parse_query(""), str(error)


def _json(
    status: int, document: dict[str, Any], kind: str = f"{JSON_API};charset=UTF-8"
) -> tuple[int, dict[str, str], bytes, None]:
    return (
        status,
        {"content-type": kind},
        json.dumps(document, separators=(",", ":")).encode(),
        None,
    )


def _refusal(status: int, info: str) -> tuple[int, dict[str, str], bytes, None]:
    if status >= 500:  # noqa: PLR2004 - the proxy in front answers these, in HTML
        return (
            status,
            {"content-type": "text/html"},
            f"<html><body><h1>{status}</h1></body></html>".encode(),
            None,
        )
    return _json(
        status,
        {"status": str(status), "title": _TITLES.get(status, "ERROR"), "source": {"info": info}},
    )


def _too_many(retry_after: str | None) -> tuple[int, dict[str, str], bytes, None]:
    status, headers, body, _ = _json(
        429, {"message": "429 Too many requests"}, kind="application/json"
    )
    return status, {**headers, "retry-after": retry_after} if retry_after else headers, body, None


def _faulty(what: str) -> tuple[int, dict[str, str], bytes]:
    """Return the answer that the fault *what* puts in place of the page."""
    if what == "big":
        return 200, {"content-type": JSON_API, "content-encoding": "identity"}, b" " * _BIG
    if what == "bomb":
        return (
            200,
            {"content-type": JSON_API, "content-encoding": "gzip"},
            gzip.compress(b" " * _BOMB, mtime=0),
        )
    return _FAULTY[what]


_FAULTY: dict[str, tuple[int, dict[str, str], bytes]] = {
    "html": (
        200,
        {"content-type": "text/html"},
        b"<!DOCTYPE html><html><body>Please sign in to the network.</body></html>",
    ),
    "empty": (200, {"content-type": JSON_API}, b""),
    "garbage": (200, {"content-type": JSON_API}, b'{"data":[{"id":"course:1_2'),
    "schema": (
        200,
        {"content-type": JSON_API},
        b'{"data":[{"id":7,"type":"learningObjectInstanceEnrollment"}]}',
    ),
    "redirect": (302, {"location": "https://evil.example/primeapi/v2"}, b""),
    "bad-gzip": (200, {"content-type": JSON_API, "content-encoding": "gzip"}, b"this is no gzip"),
}
_REPLACED = frozenset({*_FAULTY, "big", "bomb"})
