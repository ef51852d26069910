"""ALM's language: requests out, answers in. No I/O here: values in, values out."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote, unquote, urlencode, urljoin, urlsplit

import jsonschema_rs
import msgspec

from connector.errors import (
    AuthenticationError,
    ConnectorError,
    PermissionDeniedError,
    ProtocolError,
    TemporaryError,
    UntrustedHostError,
    UsageError,
    UserNotFoundError,
)
from connector.schemas import load_schema

if TYPE_CHECKING:
    from collections.abc import Mapping
    from urllib.parse import SplitResult


# Anything else may get 406 (ALM_API.md, Request).
ACCEPT = "application/vnd.api+json"
REFRESH_PATH = "/oauth/token/refresh"
CURSOR = "page[cursor]"
_SHOWN_CHARACTERS = 200
# Longer than any proxy lets a request line be: sending it on could only fail.
_LONGEST_LINK = 16_384
_DEFAULT_PORTS = {"http": 80, "https": 443}

_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class Query:
    """Which enrollments, in which order, with what beside them."""

    lo_types: tuple[str, ...]
    sort: str
    state: str | None
    include: tuple[str, ...]
    page_limit: int

    def parameters(self) -> tuple[tuple[str, str], ...]:
        """Return the query's names and values, in the order of the documented request."""
        every = (
            ("page[limit]", str(self.page_limit)),
            ("filter.loTypes", ",".join(self.lo_types)),
            ("filter.states", self.state or ""),
            ("sort", self.sort),
            ("include", ",".join(self.include)),
        )
        return tuple((name, value) for name, value in every if value)


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A request for one page of one user's enrollments; the first page has no cursor."""

    user_id: str
    url: str
    parameters: tuple[tuple[str, str], ...]
    cursor: str | None = None

    @property
    def address(self) -> str:
        """The URL with its percent-encoded query."""
        return f"{self.url}?{urlencode(self.parameters, quote_via=quote, safe='')}"


@dataclass(frozen=True, slots=True)
class Page:
    """One page as ALM sent it, its shape judged: JSON:API resources, and where the next page is."""

    user_id: str
    cursor: str | None
    enrollments: list[dict[str, Any]]
    included: list[dict[str, Any]]
    next_link: str | None
    request_id: str | None


def first_request(base_url: str, user_id: str, query: Query) -> PageRequest:
    """Return the request for the first page of *user_id*."""
    return PageRequest(
        user_id, f"{base_url}/primeapi/v2/users/{user_id}/enrollments", query.parameters()
    )


def next_request(first: PageRequest, link: str | None) -> PageRequest | None:
    """Return the request that *link* stands for; ``None`` where there is no link.

    The link is data, not an order: its origin and path must be those of *first*,
    and of it only the query is used, in which the run's own parameters stay as
    they were. Raises ProtocolError for a link to anywhere else.
    """
    if link is None:
        return None
    if len(link) > _LONGEST_LINK:
        _refuse_link(link, f"is longer than {_LONGEST_LINK} characters")
    # urlsplit silently drops control characters; half a surrogate pair cannot be sent.
    if not link.isprintable() and re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", link):
        _refuse_link(link, "is no URL")
    try:
        target, own = (
            urlsplit(link if link.startswith(first.url) else urljoin(first.url, link)),
            urlsplit(first.url),
        )
        # As a rule they are written alike.
        is_same = (target.scheme, target.netloc) == (own.scheme, own.netloc) or _origin(
            target
        ) == _origin(own)
        foreign = not is_same or "@" in target.netloc
    except ValueError:
        _refuse_link(link, "is no URL")
    if foreign:
        _refuse_link(link, "leads to another host")
    if unquote(target.path) != unquote(own.path):
        _refuse_link(link, "leads to another path")
    kept = dict(first.parameters)
    added = tuple((name, value) for name, value in _parse_query(target.query) if name not in kept)
    cursor = dict(added).get(CURSOR) or urlencode(added)
    return PageRequest(first.user_id, first.url, (*first.parameters, *added), cursor)


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return (
        parts.scheme,
        parts.hostname,
        _DEFAULT_PORTS.get(parts.scheme) if parts.port is None else parts.port,
    )


def _parse_query(query: str) -> list[tuple[str, str]]:
    # ALM writes base64 into its links as it is: a plus there is a plus, not a form's space.
    pairs = [part.partition("=") for part in query.split("&") if part]
    if "%" not in query:
        return [(name, value) for name, _, value in pairs]
    return [(unquote(name), unquote(value)) for name, _, value in pairs]


def _refuse_link(link: str, why: str) -> NoReturn:
    raise ProtocolError(
        f"ALM's link to the next page {why}: {shown(link)}.",
        hint="It was not followed, so that the token goes nowhere else; check that base_url is ALM's own host for this account.",
    )


def read_page(request: PageRequest, headers: Mapping[str, str], body: bytes) -> Page:
    """Return the page that a 200 answer to *request* brought.

    Raises TemporaryError where *body* is no JSON (cut, garbled, a proxy's page: asking
    again may mend it), ProtocolError where it breaks the page's schema.
    """
    request_id = read_request_id(headers)
    try:
        document = _read_json(body)
    except (ValueError, RecursionError):
        what = (
            "an empty body"
            if not body.strip()
            else "an HTML page"
            if body.lstrip()[:1] == b"<"
            else "a body that is not JSON"
        )
        raise TemporaryError(
            f"ALM answered for user {request.user_id} with {what} where a page of enrollments was due.",
            hint="Run again; if it stays so, look for a proxy between here and ALM.",
            http_status=200,
            request_id=request_id,
        ) from None
    try:
        _judge_page(document, request, request_id)
    except UnicodeEncodeError:
        raise ProtocolError(
            f"ALM's page for user {request.user_id} has a name that is no Unicode text.",
            hint="Nothing of it was used; report it with the request id.",
            http_status=200,
            request_id=request_id,
        ) from None
    links = document.get("links") or {}
    return Page(
        request.user_id,
        request.cursor,
        document["data"],
        document.get("included") or [],
        links.get("next"),
        request_id,
    )


def _read_json(body: bytes) -> Any:  # noqa: ANN401 - the schema judges it
    try:
        return _decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        # Python's own reader takes more: a byte order mark, half a surrogate pair. And it says what is wrong with a number.
        return json.loads(body, parse_constant=_refuse_constant, parse_float=_parse_finite)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _parse_finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ProtocolError(
            f"ALM's page has a number that is too large to be one: {shown(text)}.",
            hint="Nothing of it was used; report it, with the time of this run.",
            http_status=200,
        )
    return number


@cache
def _page_validator() -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(load_schema("enrollments-page"))


def _judge_page(document: Any, request: PageRequest, request_id: str | None) -> None:  # noqa: ANN401 - whatever JSON it is
    validator = _page_validator()
    if validator.is_valid(document):
        return
    error = next(iter(validator.iter_errors(document)))
    place = "/".join(map(str, error.instance_path)) or "the document"
    raise ProtocolError(
        f"ALM's page for user {request.user_id} is not of the documented shape, at {place}: {shown(error.message)}.",
        hint="Nothing of it was used; report it with the request id.",
        http_status=200,
        request_id=request_id,
    )


def read_request_id(headers: Mapping[str, str]) -> str | None:
    """Return what ALM calls this exchange, fit for a message; ``None`` where it does not say."""
    given = headers.get("x-request-id")
    return given if given is None or re.fullmatch(r"(?!.*##)[!-~]{1,200}", given) else shown(given)


def shown(text: str) -> str:
    """Return text from the server fit for a message: quoted, cut, its control characters visible."""
    cut = text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
    # GitHub and Azure obey ##[…] and ##vso[…] in mid-line (CONTRACT.md, Output).
    return json.dumps(cut).replace("##", "#\\u0023")


_ERROR_FOR_STATUS: dict[int, tuple[type[ConnectorError], str, str]] = {
    400: (
        UsageError,
        "ALM refuses the request for {asked_for}",
        "Check include and the other inputs against what ALM's message names.",
    ),
    401: (
        AuthenticationError,
        "ALM refuses the access token, asked for {asked_for}",
        "Tokens live seven days: make a new one, or set ALM_CLIENT_ID, ALM_CLIENT_SECRET and ALM_REFRESH_TOKEN to have it refreshed.",
    ),
    403: (
        PermissionDeniedError,
        "ALM does not let this token read {asked_for}",
        "It needs the scope admin:read, or learner:read for the learner's own enrollments.",
    ),
    404: (
        UserNotFoundError,
        "ALM knows no {asked_for}",
        "Check the id, and that base_url is the region of this account.",
    ),
    406: (
        ProtocolError,
        f"ALM does not accept the header Accept: {ACCEPT}, asked for {{asked_for}}",
        "Look for a proxy that changes headers.",
    ),
    407: (
        UntrustedHostError,
        "The proxy in front of ALM wants credentials of its own, asked for {asked_for}",
        "Set them in HTTPS_PROXY.",
    ),
    408: (TemporaryError, "ALM timed out, asked for {asked_for}", "Run again."),
    429: (
        TemporaryError,
        "ALM's quota is used up, asked for {asked_for}",
        "Run again later, or with a smaller quota_share beside other runs.",
    ),
}
_SERVER_ERROR = (
    TemporaryError,
    "ALM failed, asked for {asked_for}",
    "Run again; if it stays so, report it with the request id.",
)
_REDIRECT = (
    ProtocolError,
    "ALM's address redirects, asked for {asked_for}",
    "It was not followed, so that the token goes nowhere else; set base_url to ALM's own host for this account.",
)
_UNFORESEEN = (
    ProtocolError,
    "ALM's answer is none that its API documents, asked for {asked_for}",
    "Check base_url; report it with the request id.",
)


def error_for(
    status: int, headers: Mapping[str, str], body: bytes, *, asked_for: str
) -> ConnectorError:
    """Return what an answer other than 200 means, in the words of ALM's own message where it has one."""
    by_class = {3: _REDIRECT, 5: _SERVER_ERROR}
    kind, happened, hint = _ERROR_FOR_STATUS.get(status, by_class.get(status // 100, _UNFORESEEN))
    said = parse_message(body)
    detail = f"{status}: {shown(said)}" if said else str(status)
    return kind(
        f"{happened.format(asked_for=asked_for)} ({detail}).",
        hint=hint,
        http_status=status,
        request_id=read_request_id(headers),
        retry_after=headers.get("retry-after"),
    )


def parse_message(body: bytes) -> str | None:
    """Return what ALM's error *body* says, in any of its shapes (ALM_API.md, Errors); ``None`` where it says nothing readable."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    listed = document.get("errors")
    error = (
        listed[0]
        if isinstance(listed, list) and listed and isinstance(listed[0], dict)
        else document
    )
    source = error.get("source")
    info = source.get("info") if isinstance(source, dict) else None
    parts = (error.get("title"), error.get("detail"), error.get("message"), info)
    return ": ".join(part for part in parts if isinstance(part, str) and part) or None
