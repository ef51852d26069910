"""The ALM API's language: requests out, answers in, statuses to errors. Values only, no I/O."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn
from urllib.parse import quote, urlencode

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
from connector.schemas import first_error, is_valid
from connector.text import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

# "Adobe Learning Manager developer manual", API usage: requests need this header; others get 406.
ACCEPT = "application/vnd.api+json"
REFRESH_PATH = "/oauth/token/refresh"
_REPORT = "Nothing of it was used; report it with the request id."
_PAGE_SCHEMA = "enrollments-page"
_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class Query:
    """Which enrollments to read, in which order, with which related resources."""

    lo_types: tuple[str, ...]
    sort: str
    state: str | None
    include: tuple[str, ...]
    page_limit: int

    def parameters(self) -> tuple[tuple[str, str], ...]:
        """Return the query's names and values, in the order of the documented request."""
        parameters = (
            ("page[limit]", str(self.page_limit)),
            ("filter.loTypes", ",".join(self.lo_types)),
            ("filter.states", self.state or ""),
            ("sort", self.sort),
            ("include", ",".join(self.include)),
        )
        return tuple((name, value) for name, value in parameters if value)


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


class Response(NamedTuple):
    """An HTTP response, its body read to the end; *headers* are case-insensitive."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """One page as ALM sent it, valid by its schema: JSON:API resources, and the next link."""

    user_id: str
    cursor: str | None
    enrollments: list[dict[str, Any]]
    included: list[dict[str, Any]]
    next_link: str | None
    request_id: str | None


def first_request(base_url: str, user_id: str, query: Query) -> PageRequest:
    """Return the request for the first page of *user_id*."""
    url = f"{base_url}/primeapi/v2/users/{user_id}/enrollments"
    return PageRequest(user_id, url, query.parameters())


def read_page(request: PageRequest, response: Response) -> Page:
    """Return the page in the 200 *response* to *request*.

    Raises TemporaryError if the body is not JSON (cut, garbled, a proxy's page: a retry may help),
    ProtocolError if it breaks the schema of pages.
    """
    request_id = read_request_id(response.headers)
    try:
        document = _read_json(response.body)
    except (ValueError, RecursionError):
        raise TemporaryError(
            f"ALM answered for user {request.user_id} with {_describe_body(response.body)}"
            " where a page of enrollments was due.",
            hint="Run again; if it stays so, look for a proxy between here and ALM.",
            http_status=HTTPStatus.OK,
            request_id=request_id,
        ) from None
    try:
        problem = _find_problem(document)
    except UnicodeEncodeError:
        problem = "has a name that is no Unicode text."
    if problem:
        raise ProtocolError(
            f"ALM's page for user {request.user_id} {problem}",
            hint=_REPORT,
            http_status=HTTPStatus.OK,
            request_id=request_id,
        )
    return Page(
        request.user_id,
        request.cursor,
        enrollments=document["data"],
        included=document.get("included") or [],
        next_link=(document.get("links") or {}).get("next"),
        request_id=request_id,
    )


def read_date(headers: Mapping[str, str]) -> datetime | None:
    """Return the server's time (RFC 9110, 6.6.1); ``None`` if the headers do not have it."""
    try:
        moment = parsedate_to_datetime(headers.get("date", ""))
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _read_json(body: bytes) -> Any:  # noqa: ANN401 - the schema validates it
    try:
        return _decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        # Python's own reader accepts more: a byte order mark, half a surrogate pair. And it names
        # the number that is wrong.
        return json.loads(body, parse_constant=_refuse_constant, parse_float=_parse_finite)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _parse_finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ProtocolError(
            f"ALM's page has a number that is too large to be one: {quoted(text)}.",
            hint="Nothing of it was used; report it, with the time of this run.",
            http_status=HTTPStatus.OK,
        )
    return number


def _describe_body(body: bytes) -> str:
    stripped = body.strip()
    if not stripped:
        return "an empty body"
    return "an HTML page" if stripped.startswith(b"<") else "a body that is not JSON"


def _find_problem(document: Any) -> str | None:  # noqa: ANN401 - any JSON value
    if is_valid(_PAGE_SCHEMA, document):
        return None
    path, message = first_error(_PAGE_SCHEMA, document)
    return f"is not of the documented shape, at {path or 'the document'}: {quoted(message)}."


def read_request_id(headers: Mapping[str, str]) -> str | None:
    """Return ALM's id of this exchange, fit for a message; ``None`` if the headers have none."""
    request_id = headers.get("x-request-id")
    if request_id is None or re.fullmatch(r"(?!.*##)[!-~]{1,200}", request_id):
        return request_id
    return quoted(request_id)


_ELSEWHERE = (
    "It was not followed, so that the token goes nowhere else; set base_url to ALM's own host"
)
# "Adobe Learning Manager developer manual", error codes.
_ERRORS: dict[int, tuple[type[ConnectorError], str, str]] = {
    400: (
        UsageError,
        "ALM refuses the request for {subject}",
        "Check include and the other inputs against what ALM's message names.",
    ),
    401: (
        AuthenticationError,
        "ALM refuses the access token, asked for {subject}",
        (
            "Tokens live seven days: make a new one, or set ALM_CLIENT_ID, ALM_CLIENT_SECRET"
            " and ALM_REFRESH_TOKEN to have it refreshed."
        ),
    ),
    403: (
        PermissionDeniedError,
        "ALM does not let this token read {subject}",
        "It needs the scope admin:read, or learner:read for the learner's own enrollments.",
    ),
    404: (
        UserNotFoundError,
        "ALM knows no {subject}",
        "Check the id, and that base_url is the region of this account.",
    ),
    406: (
        ProtocolError,
        f"ALM does not accept the header Accept: {ACCEPT}, asked for {{subject}}",
        "Look for a proxy that changes headers.",
    ),
    407: (
        UntrustedHostError,
        "The proxy in front of ALM wants credentials of its own, asked for {subject}",
        "Set them in HTTPS_PROXY.",
    ),
    408: (TemporaryError, "ALM timed out, asked for {subject}", "Run again."),
    429: (
        TemporaryError,
        "ALM's quota is used up, asked for {subject}",
        "Run again later, or with a smaller quota_share beside other runs.",
    ),
}
_ERRORS_BY_CLASS: dict[int, tuple[type[ConnectorError], str, str]] = {
    3: (
        ProtocolError,
        "ALM's address redirects, asked for {subject}",
        (
            "It was not followed, so that the token goes nowhere else;"
            " set base_url to ALM's own host for this account."
        ),
    ),
    5: (
        TemporaryError,
        "ALM failed, asked for {subject}",
        "Run again; if it stays so, report it with the request id.",
    ),
}
_UNDOCUMENTED = (
    ProtocolError,
    "ALM's answer is none that its API documents, asked for {subject}",
    "Check base_url; report it with the request id.",
)


def error_for(response: Response, subject: str) -> ConnectorError:
    """Return the error for a *response* other than 200, with ALM's own message if it has one.

    *subject* is what was requested, as ``user 31``.
    """
    by_class = _ERRORS_BY_CLASS.get(response.status // 100, _UNDOCUMENTED)
    kind, happened, hint = _ERRORS.get(response.status, by_class)
    return kind(
        f"{happened.format(subject=subject)} ({describe_status(response)}).",
        hint=hint,
        http_status=response.status,
        request_id=read_request_id(response.headers),
        retry_after=response.headers.get("retry-after"),
    )


def describe_status(response: Response) -> str:
    """Return the status, and ALM's own message if the body has one: ``404: "NOT_FOUND"``."""
    message = parse_message(response.body)
    return f"{response.status}: {quoted(message)}" if message else str(response.status)


def parse_message(body: bytes) -> str | None:
    """Return the message in an error's *body*, in any of ALM's shapes; ``None`` without one.

    JSON:API's ``errors``, a bare ``title`` with ``source.info``, or ``message``.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    error, errors = document, document.get("errors")
    if isinstance(errors, list) and errors and isinstance(errors[0], dict):
        error = errors[0]
    source = error.get("source")
    info = source.get("info") if isinstance(source, dict) else None
    parts = (error.get("title"), error.get("detail"), error.get("message"), info)
    return ": ".join(part for part in parts if isinstance(part, str) and part) or None
