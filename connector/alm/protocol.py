"""The ALM API's language: requests out, answers in, statuses to errors. Values only, no I/O."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn
from urllib.parse import quote, urlencode

import msgspec

from connector.alm.refusals import Meaning, find_messages, meaning_of, read_messages
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
    from collections.abc import Callable, Mapping

# "Adobe Learning Manager developer manual", API usage: requests need this header; others get 406.
ACCEPT = "application/vnd.api+json"
REFRESH_PATH = "/oauth/token/refresh"
_REPORT = "The response was discarded. Report this with the request id."
_PAGE_SCHEMA = "enrollments-page"
_ERROR_MEMBERS = frozenset({"errors", "error", "status", "code", "title", "detail", "message"})
# Far above anything that ALM sends. They bound memory and time; the schema bounds texts.
MAX_VALUES = 500_000
MAX_RECORDS = 1_000
MAX_INCLUDED = 10_000
MAX_DEPTH = 32
MAX_TEXT_CHARACTERS = 1_000_000
# A `Date` outside of these years is no clock's.
_MIN_YEAR, _MAX_YEAR = 2000, 2200
_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class Query:
    """Which enrollments to read, in which order, with which related resources."""

    lo_types: tuple[str, ...]
    sort: str
    state: str | None
    include: tuple[str, ...]
    page_limit: int
    #: Further parameters, which only ALM knows.
    further: tuple[tuple[str, str], ...] = ()

    def parameters(self) -> tuple[tuple[str, str], ...]:
        """Return the query's names and values, in the order of the documented request."""
        parameters = (
            ("page[limit]", str(self.page_limit)),
            ("filter.loTypes", ",".join(self.lo_types)),
            ("filter.states", self.state or ""),
            ("sort", self.sort),
            ("include", ",".join(self.include)),
        )
        return (*((name, value) for name, value in parameters if value), *self.further)


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A request for one page of one user's enrollments; the first page has no cursor."""

    user_id: str
    url: str
    parameters: tuple[tuple[str, str], ...]
    cursor: str | None = None
    #: What ALM's link consists of, except for the run's own parameters.
    link_parts: tuple[str, ...] = field(default=(), compare=False)

    @property
    def address(self) -> str:
        """The URL with its percent-encoded query."""
        return f"{self.url}?{urlencode(self.parameters, quote_via=quote, safe='')}"

    @property
    def subject(self) -> str:
        """What is requested, for messages."""
        return f"user {self.user_id}"

    @property
    def has_include(self) -> bool:
        """Whether ALM sends related resources along, which takes it longer."""
        return "include" in dict(self.parameters)


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


def read_page(
    request: PageRequest, response: Response, check_deadline: Callable[[], None] = lambda: None
) -> Page:
    """Return the page in the 200 *response* to *request*.

    Calls *check_deadline* after each step that takes long if the page is large. Raises
    TemporaryError if the body is not JSON (cut, garbled, a proxy's page: a retry may help),
    ProtocolError if it breaks the schema of pages, or exceeds a limit.
    """
    document = read_document(
        response, _PAGE_SCHEMA, request.subject, "a page of enrollments", check_deadline
    )
    next_link = (document.get("links") or {}).get("next") or ""
    return Page(
        request.user_id,
        request.cursor,
        enrollments=document["data"],
        included=document.get("included") or [],
        # The last page has an empty link, or none.
        next_link=next_link.strip() or None,
        request_id=read_request_id(response.headers),
    )


def read_document(
    response: Response,
    schema_name: str,
    subject: str,
    expected: str,
    check_deadline: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Return the JSON:API document of a 200 *response*, which always has ``data``.

    Raises TemporaryError and ProtocolError, as ``read_page`` does.
    """
    request_id = read_request_id(response.headers)
    if has_too_many_values(response.body):
        raise _invalid_page(subject, f"has more than {MAX_VALUES:,} values.", request_id)
    try:
        document: dict[str, Any] = _read_json(response.body)  # validated below
    except (ValueError, RecursionError):
        raise TemporaryError(
            f"ALM answered for {subject} with {_describe_body(response.body)}"
            f" instead of {expected}.",
            hint="Run again. If it happens again, look for a proxy between this machine and ALM.",
            http_status=HTTPStatus.OK,
            request_id=request_id,
        ) from None
    check_deadline()
    if _is_without_data(document):
        document = {**document, "data": []}
    try:
        problem = _find_excess(document) or _find_problem(schema_name, document)
    except UnicodeEncodeError:
        problem = "has a name that is no Unicode text."
    check_deadline()
    if problem:
        raise _invalid_page(subject, problem, request_id)
    return document


def _is_without_data(document: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Return whether *document* has links and no data, and reports no error: an empty page.

    Adobe's own clients read a learner without enrollments from it.
    """
    return (
        isinstance(document, dict)
        and document.get("data") is None
        and isinstance(document.get("links"), dict)
        and _ERROR_MEMBERS.isdisjoint(document)
        and not find_messages(document)
    )


def _invalid_page(subject: str, problem: str, request_id: str | None) -> ProtocolError:
    return ProtocolError(
        f"ALM's page for {subject} {problem}",
        hint=_REPORT,
        http_status=HTTPStatus.OK,
        request_id=request_id,
    )


def read_date(headers: Mapping[str, str], name: str = "date") -> datetime | None:
    """Return the server's time (RFC 9110, 6.6.1); ``None`` if the headers do not have it."""
    try:
        moment = parsedate_to_datetime(headers.get(name, ""))
        moment = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment if _MIN_YEAR <= moment.year <= _MAX_YEAR else None


def read_retry_after(headers: Mapping[str, str]) -> str | None:
    """Return ``Retry-After`` as sent, but a date as the seconds from the server's own time.

    This machine's clock may be wrong. ``None`` if the headers do not have it.
    """
    moment, answered_at = read_date(headers, "retry-after"), read_date(headers)
    if moment and answered_at:
        return str((moment - answered_at).total_seconds())
    return headers.get("retry-after")


def has_too_many_values(body: bytes) -> bool:
    """Return whether the JSON in *body* has more than ``MAX_VALUES``, before it fills memory."""
    # Each value but the first is behind one of these; within a text they do not matter much.
    return len(body) > MAX_VALUES and sum(map(body.count, (b",", b"[", b"{"))) >= MAX_VALUES


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
            hint="The response was discarded. Report this with the time of this run.",
            http_status=HTTPStatus.OK,
        )
    return number


def _describe_body(body: bytes) -> str:
    stripped = body.strip()
    if not stripped:
        return "an empty body"
    return "an HTML page" if stripped.startswith(b"<") else "a body that is not JSON"


def _find_excess(document: Any) -> str | None:  # noqa: ANN401 - any JSON value
    """Return which limit the *document* of a page exceeds, in words; ``None`` if it keeps all."""
    if not isinstance(document, dict):
        return None
    for name, maximum in (("data", MAX_RECORDS), ("included", MAX_INCLUDED)):
        resources = document.get(name)
        if isinstance(resources, list) and len(resources) > maximum:
            return f"has more than {maximum:,} resources in {name}."
    # Included resources are passed on as they are; of the others only documented fields are used.
    level: list[Any] = [document.get("included")]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            if isinstance(value, str) and len(value) > MAX_TEXT_CHARACTERS:
                return f"has a text of more than {MAX_TEXT_CHARACTERS:,} characters."
            if isinstance(value, dict):
                below += value.values()
            elif isinstance(value, list):
                below += value
        level = below
        if not level:
            return None
    return f"is nested more deeply than {MAX_DEPTH} levels."


def _find_problem(schema_name: str, document: Any) -> str | None:  # noqa: ANN401 - any JSON value
    if is_valid(schema_name, document):
        return None
    path, message = first_error(schema_name, document)
    return f"is not of the documented shape, at {path or 'the document'}: {quoted(message)}."


def read_request_id(headers: Mapping[str, str]) -> str | None:
    """Return ALM's id of this exchange, fit for a message; ``None`` if the headers have none."""
    request_id = headers.get("x-request-id")
    if request_id is None or re.fullmatch(r"(?!.*##)[!-~]{1,200}", request_id):
        return request_id
    return quoted(request_id)


_Explanation = tuple[type[ConnectorError], str, str]
_NO_SUCH_USER: _Explanation = (
    UserNotFoundError,
    "ALM has no {subject}",
    "Check the id, and that `base_url` is the region of this account.",
)
_DENIED = "ALM does not let this token read {subject}"
_ANOTHERS_TOKEN: _Explanation = (
    PermissionDeniedError,
    _DENIED,
    "This is another learner's token. Use a token with the scope admin:read.",
)
# "Adobe Learning Manager developer manual", error codes.
_ERRORS: dict[int, _Explanation] = {
    400: (
        UsageError,
        "ALM refuses the request for {subject}",
        "Fix the input that ALM's message names.",
    ),
    401: (
        AuthenticationError,
        "ALM refuses the access token while reading {subject}",
        (
            "Tokens live seven days. Create a new one, or set `ALM_CLIENT_ID`,"
            " `ALM_CLIENT_SECRET` and `ALM_REFRESH_TOKEN`: the connector then refreshes it."
        ),
    ),
    403: (PermissionDeniedError, _DENIED, "Use a token with the scope admin:read."),
    404: _NO_SUCH_USER,
    406: (
        ProtocolError,
        f"ALM does not accept the header Accept: {ACCEPT} while reading {{subject}}",
        "Look for a proxy that changes headers.",
    ),
    407: (
        UntrustedHostError,
        "The proxy for ALM requires credentials while reading {subject}",
        "Set HTTPS_PROXY to http://USER:PASSWORD@HOST:PORT.",
    ),
    408: (TemporaryError, "ALM timed out while reading {subject}", "Run again."),
    429: (
        TemporaryError,
        "ALM's quota is used up while reading {subject}",
        "Run again later, or with a smaller `quota_share` if other runs use the account.",
    ),
}
_ERRORS_BY_CLASS: dict[int, _Explanation] = {
    3: (
        ProtocolError,
        "ALM's address redirects while reading {subject}",
        (
            "The connector did not follow it, to keep the token on this host."
            " Set `base_url` to ALM's own host for this account."
        ),
    ),
    5: (
        TemporaryError,
        "ALM failed while reading {subject}",
        "Run again. If it happens again, report it with the request id.",
    ),
}
_UNDOCUMENTED: _Explanation = (
    ProtocolError,
    "ALM's response has a status that its API does not document while reading {subject}",
    "Check `base_url`. Report this with the request id.",
)


def error_for(response: Response, subject: str) -> ConnectorError:
    """Return the error for a *response* other than 200, with ALM's own message if it has one.

    *subject* is what was requested, as ``user 31``.
    """
    by_class = _ERRORS_BY_CLASS.get(response.status // 100, _UNDOCUMENTED)
    kind, happened, hint = _ERRORS.get(response.status, by_class)
    if response.status == HTTPStatus.BAD_REQUEST:
        kind, happened, hint = _explain_bad_request(response.body)
    return kind(
        f"{happened.format(subject=subject)} ({describe_status(response)}).",
        hint=hint,
        http_status=response.status,
        request_id=read_request_id(response.headers),
        retry_after=read_retry_after(response.headers),
    )


def _explain_bad_request(body: bytes) -> _Explanation:
    messages = read_messages(body)
    meaning = meaning_of(messages)
    if meaning is Meaning.NO_SUCH_USER:
        return _NO_SUCH_USER
    if meaning is Meaning.ANOTHERS_TOKEN:
        return _ANOTHERS_TOKEN
    kind, happened, hint = _ERRORS[HTTPStatus.BAD_REQUEST]
    if re.search(r"include|relationship", str(messages).lower()):
        hint = "Fix `include`, or the input that ALM's message names."
    elif not messages and body.strip().startswith(b"<"):
        hint = "The response is not ALM's own. Look for a proxy between this machine and ALM."
    elif not messages:
        hint = "ALM gives no reason. Check the inputs, first `query` and `include`."
    return kind, happened, hint


def describe_status(response: Response) -> str:
    """Return the status, and ALM's own message if the body has one: ``404: "NOT_FOUND"``."""
    message = parse_message(response.body)
    return f"{response.status}: {quoted(message)}" if message else str(response.status)


def parse_message(body: bytes) -> str | None:
    """Return the message in an error's *body*, in any of ALM's shapes; ``None`` without one."""
    return ": ".join(read_messages(body)) or None
