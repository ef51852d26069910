"""Requests to responses, as ALM makes them, without sockets and without waiting."""

from __future__ import annotations

import gzip
import json
import re
import threading
from dataclasses import dataclass, field, replace
from email.utils import format_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from connector.sandbox.account import REFRESH_TOKEN, Limiter, Tokens
from connector.sandbox.days import enrollments_on
from connector.sandbox.faults import ON_THE_WAY, Fault, FaultScript
from connector.sandbox.learners import enrollments_of
from connector.sandbox.pages import (
    LOOK_UP_PAGE,
    BadParameterError,
    build_page,
    build_users_page,
    parse_query,
)

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
_BIG_BODY = 33 * 1024 * 1024
_BOMB_BODY = 40 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Settings:
    """Behaviour of the sandbox: ALM's limits for admin scope by default; rate 0 is no limiter.

    With a *day*, the learners' enrollments are those of that day.
    """

    rate_per_minute: float = 100
    burst: float = 100
    faults: tuple[Fault, ...] = ()
    enrollments_per_user: int | None = None
    only_type: str | None = None
    has_excess_header: bool = False
    token_lifetime: int | None = None
    day: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A request; header names in lower case. *origin* is the scheme and host of its URL."""

    method: str
    target: str
    headers: Mapping[str, str]
    origin: str
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    """A response, and the fault that it meets in transit."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    fault: Fault | None = None
    number: int = field(default=0, compare=False)


class Sandbox:
    """An account of ALM: rate limiter, tokens, learners, and the faults still to happen."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._limiter: Limiter | None = None
        if settings.rate_per_minute:
            self._limiter = Limiter(settings.rate_per_minute, settings.burst)
        self._tokens = Tokens()
        self._faults = FaultScript(settings.faults)
        self._number = 0
        self._requests_since_refresh = 0

    def answer(self, request: Request) -> Response:
        """Return ALM's response to *request*, or the one of the fault script."""
        with self._lock:
            self._number += 1
            return self._with_headers(request, self._route(request))

    def _route(self, request: Request) -> Response:
        parts = urlsplit(request.target)
        path = unquote(parts.path)
        if path.endswith("/oauth/token/refresh"):
            return self._refresh(request, parts.query)
        match = re.search(r"/primeapi/v2/users(?:/([^/]+)/enrollments)?$", path)
        if match is None:
            return _refusal(404, f"no such path: {path}")
        if request.method != "GET":
            return _refusal(405, request.method)
        return self._resources(request, match[1] or "", parts.query)

    def _refresh(self, request: Request, query: str) -> Response:
        if request.method != "POST":
            return _refusal(405, request.method)
        if query:
            return _refusal(400, "credentials belong into the body")
        token = self._tokens.refresh(request.body)
        if token is None:
            return _refusal(401, "client_id, client_secret or refresh_token is wrong")
        self._requests_since_refresh = 0
        document = {
            "access_token": token,
            "refresh_token": REFRESH_TOKEN,
            "token_type": "oauth2",
            "expires_in": 604_800,
            "user_role": "ADMIN",
            "account_id": "1000",
            "user_id": "1",
        }
        return _json(200, document, "application/json")

    def _resources(self, request: Request, user: str, query_text: str) -> Response:
        """Return a page of the enrollments of *user*; without one, the users with an address."""
        if self._limiter:
            wait = self._limiter.retry_after(self._clock.monotonic())
            if wait is not None:
                # Refused before faults: one for this request still waits for the next.
                return _too_many_requests(f"{wait:.3f}")
        query, problem = parse_query(""), ""
        try:
            # The look-up of an address has other parameters.
            query = parse_query(query_text if user else "")
        except BadParameterError as error:
            problem = str(error)
        number = query.number if user else LOOK_UP_PAGE
        fault = self._faults.take(request=self._number, page=number, user=user)
        name, value = (fault.name, fault.value or "") if fault else ("", "")
        if name == "429":
            return _too_many_requests(value)
        if name.isdigit():
            return _refusal(int(name), value)
        self._expire_token(name)
        if refusal := self._refused(request, user, problem):
            return refusal
        if replacement := _replacement(name):
            return replacement
        if name == "next-secret":
            value = self._tokens.current
        url = f"{request.origin}{urlsplit(request.target).path}"
        if user:
            enrollments = self._enrollments_of(user)
            document = build_page(enrollments, query, url, user, f"{name}/{value}")
        else:
            document = build_users_page(query_text, url)
        response = _json(200, document)
        return replace(response, fault=fault if name in ON_THE_WAY else None)

    def _enrollments_of(self, user: str) -> tuple[dict[str, Any], ...]:
        settings = self._settings
        if settings.day is None:
            return enrollments_of(user, settings.enrollments_per_user, settings.only_type)
        return enrollments_on(settings.day, user, settings.enrollments_per_user, settings.only_type)

    def _expire_token(self, fault_name: str) -> None:
        self._requests_since_refresh += 1
        lifetime = self._settings.token_lifetime
        is_over = lifetime is not None and self._requests_since_refresh > lifetime
        if is_over or fault_name == "dead-token":
            self._tokens.expire()
        if fault_name == "same-token":
            self._tokens.refuse()

    def _refused(self, request: Request, user: str, problem: str) -> Response | None:
        """Return ALM's refusal, if any, in ALM's order: token, header, parameters, user."""
        if not self._tokens.accepts(request.headers.get("authorization", "")):
            return _refusal(401, "the access token is missing, wrong or expired")
        if JSON_API not in request.headers.get("accept", ""):
            return _refusal(406, f"Accept is not {JSON_API}")
        if problem:
            return _refusal(400, problem)
        if user and not (user.isascii() and user.isdigit() and not user.startswith("404")):
            return _refusal(404, f"no user {user}")
        if user.startswith("403"):
            return _refusal(403, "the scope does not reach this user")
        return None

    def _with_headers(self, request: Request, response: Response) -> Response:
        headers = {
            "date": format_datetime(self._clock.now(), usegmt=True),
            "server": "openresty",
            "x-request-id": f"mock-{self._number}",
        }
        if self._limiter:
            headers["x-rate-limit"] = f"{self._limiter.rate_per_minute:.10g}r/m"
            headers["x-burst"] = f"{self._limiter.burst:.10g}"
        if self._limiter and self._settings.has_excess_header:
            headers["x-excess-requests-per-second"] = f"{self._limiter.excess:.3f}"
        headers.update(response.headers)
        body = response.body
        is_compressible = body and "content-encoding" not in headers
        if is_compressible and "gzip" in request.headers.get("accept-encoding", ""):
            headers["content-encoding"] = "gzip"
            body = gzip.compress(body, compresslevel=1, mtime=0)
        return replace(response, headers=tuple(headers.items()), body=body, number=self._number)


def _json(
    status: int, document: dict[str, Any], content_type: str = f"{JSON_API};charset=UTF-8"
) -> Response:
    body = json.dumps(document, separators=(",", ":")).encode()
    return Response(status, (("content-type", content_type),), body)


def _refusal(status: int, value: str) -> Response:
    """Return ALM's error with the text *value*, or a proxy's with this ``Retry-After``."""
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        # From the proxy in front of ALM.
        html = f"<html><body><h1>{status}</h1></body></html>"
        response = Response(status, (("content-type", "text/html"),), html.encode())
        return _with_retry_after(response, value)
    info = value or "by the fault script"
    title = _TITLES.get(status, "ERROR")
    return _json(status, {"status": title, "title": title, "source": {"info": info}})


def _too_many_requests(retry_after: str) -> Response:
    response = _json(429, {"message": "429 Too many requests"}, "application/json")
    return _with_retry_after(response, retry_after)


def _with_retry_after(response: Response, retry_after: str) -> Response:
    if not retry_after:
        return response
    return replace(response, headers=(*response.headers, ("retry-after", retry_after)))


def _replacement(fault_name: str) -> Response | None:
    """Return the response that the fault puts in place of the page, if it does."""
    json_api = ("content-type", JSON_API)
    # Built only when they happen: together they are 73 MB.
    if fault_name == "big":
        return Response(200, (json_api, ("content-encoding", "identity")), b" " * _BIG_BODY)
    if fault_name == "bomb":
        bomb = gzip.compress(b" " * _BOMB_BODY, mtime=0)
        return Response(200, (json_api, ("content-encoding", "gzip")), bomb)
    return _REPLACEMENTS.get(fault_name)


def _bad_request(title: str, info: str) -> Response:
    error = {"status": "BAD_REQUEST", "title": title, "source": {"info": info}}
    return _json(HTTPStatus.BAD_REQUEST, error)


_REPLACEMENTS = {
    "denied-token": _bad_request("BAD_REQUEST", "User mismatch"),
    "no-object": _bad_request("OBJECT_DOESNT_EXIST", "object doesn't exist"),
    "html": Response(
        200,
        (("content-type", "text/html"),),
        b"<!DOCTYPE html><html><body>Please sign in to the network.</body></html>",
    ),
    "empty": Response(200, (("content-type", JSON_API),), b""),
    "garbage": Response(200, (("content-type", JSON_API),), b'{"data":[{"id":"course:1_2'),
    "schema": Response(
        200,
        (("content-type", JSON_API),),
        b'{"data":[{"id":7,"type":"learningObjectInstanceEnrollment"}]}',
    ),
    "redirect": Response(302, (("location", "https://evil.example/primeapi/v2"),), b""),
    "bad-gzip": Response(
        200, (("content-type", JSON_API), ("content-encoding", "gzip")), b"this is no gzip"
    ),
}
