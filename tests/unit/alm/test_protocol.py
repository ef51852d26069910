"""Requests as they are sent, pages as they are read, and what every status means."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from connector.alm.protocol import (
    Page,
    PageRequest,
    Query,
    Response,
    error_for,
    first_request,
    has_too_many_values,
    parse_message,
    read_date,
    read_page,
    read_request_id,
)
from connector.errors import (
    AuthenticationError,
    ConnectorError,
    DeadlineError,
    PermissionDeniedError,
    ProtocolError,
    TemporaryError,
    UntrustedHostError,
    UserNotFoundError,
)
from tests.support.errors import facts

if TYPE_CHECKING:
    from pathlib import Path

HOST = "https://learningmanager.adobe.com"
URL = f"{HOST}/primeapi/v2/users/20941371/enrollments"
ALL_TYPES = ("course", "learningProgram", "jobAid", "certification")
COURSES = Query(("course",), "dateEnrolled", None, (), 10)
FIRST = PageRequest("20941371", URL, COURSES.parameters())
INCLUDE = ("learner", "loInstance.learningObject")
EVERYTHING = Query(ALL_TYPES, "-dateEnrolled", "active", INCLUDE, 3)
EVERY_PARAMETER = (
    "page%5Blimit%5D=3&filter.loTypes=course%2ClearningProgram%2CjobAid%2Ccertification"
    "&filter.states=active&sort=-dateEnrolled&include=learner%2CloInstance.learningObject"
)
PARAMETERS = "page%5Blimit%5D=10&filter.loTypes=course&sort=dateEnrolled"
REPORT = "The response was discarded. Report this with the request id. (request id trace)"


def response(body: bytes | object) -> Response:
    """Return a 200 response with this body, or this JSON document."""
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(200, {"x-request-id": "trace"}, encoded)


@pytest.mark.parametrize(
    ("query", "parameters"),
    [
        (COURSES, PARAMETERS),
        (EVERYTHING, EVERY_PARAMETER),
    ],
)
def test_first_request__address(query: Query, parameters: str) -> None:
    """The address has every input, percent-encoded, in the documented order."""
    request = first_request(HOST, "20941371", query)

    assert (request.address, request.cursor) == (f"{URL}?{parameters}", None)


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:8080", "https://proxy.example/alm"])
def test_first_request__base_url(base_url: str) -> None:
    """The path is appended to any base URL, which may have a path of its own."""
    request = first_request(base_url, "1", COURSES)

    assert request.address == f"{base_url}/primeapi/v2/users/1/enrollments?{PARAMETERS}"


def test_read_page__documented(request: pytest.FixtureRequest) -> None:
    """The documented page has three enrollments, a next link and a request id."""
    path: Path = request.path.with_name("documented_page.json")
    document = json.loads(path.read_bytes())

    page = read_page(FIRST, response(path.read_bytes()))

    link = document["links"]["next"]
    assert len(document["data"]) == 3
    assert page == Page("20941371", None, document["data"], [], link, "trace")


@pytest.mark.parametrize(
    "body",
    [
        *(b'{"data":[]}', b'\xef\xbb\xbf{"data":[]}', b'{"data":[],"included":null}'),
        *(b'{"data":[],"links":null}', b'{"data":[],"links":{"next":null}}'),
        *(b'{"data":[],"links":{"next":""}}', b'{"data":[],"links":{"next":" "}}'),
        *(b'{"links":{}}', b'{"links":{"self":"x","next":""},"data":null,"meta":{"count":0}}'),
    ],
)
def test_read_page__empty(body: bytes) -> None:
    """A page without enrollments is a page, however it says that no other follows."""
    assert read_page(FIRST, response(body)) == Page("20941371", None, [], [], None, "trace")


def test_read_page__of_its_request() -> None:
    """A page has user and cursor of its request; an empty page may have a next link."""
    body = {"data": [], "links": {"next": "?page[cursor]=x"}}

    page = read_page(
        PageRequest("7", URL, (), "a-cursor"),
        Response(200, {}, json.dumps(body).encode()),
    )

    assert page == Page("7", "a-cursor", [], [], "?page[cursor]=x", None)


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("Sun, 09 Jun 2024 13:05:19 GMT", datetime(2024, 6, 9, 13, 5, 19, tzinfo=UTC)),
        ("Sun, 09 Jun 2024 15:05:19 +0200", datetime(2024, 6, 9, 13, 5, 19, tzinfo=UTC)),
        ("Sun Jun  9 13:05:19 2024", datetime(2024, 6, 9, 13, 5, 19, tzinfo=UTC)),
        ("Sat, 01 Jan 2000 00:00:00 GMT", datetime(2000, 1, 1, tzinfo=UTC)),
        ("Wed, 31 Dec 2200 00:00:00 GMT", datetime(2200, 12, 31, tzinfo=UTC)),
        *((date, None) for date in ("Fri, 31 Dec 1999 23:59:59 GMT", "1 Jan 2201 00:00:00 GMT")),
        *((date, None) for date in ("", "soon", "Sun, 32 Jun 2024 13:05:19 GMT")),
        ("Fri, 31 Dec 9999 23:59:59 -0100", None),
        ("Fri, 31 Dec 1999 23:59:59 GMT", None),
        ("Wed, 31 Dec 2200 23:59:59 GMT", datetime(2200, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("Thu, 01 Jan 2201 00:00:00 GMT", None),
        ("Sun, 09 Jun 2024 13:05:19 +99999999999999999999", None),
    ],
)
def test_read_date__in_utc(date: str, expected: datetime | None) -> None:
    """The server's time is read in UTC; no other text, and no absurd year, is believed."""
    moment = read_date({"date": date})

    assert moment == expected
    assert moment is None or moment.tzinfo is UTC
    assert read_date({}) is None


@pytest.mark.parametrize(
    ("body", "description"),
    [
        *((body, "an empty body") for body in (b"", b" \r\n")),
        *((body, "an HTML page") for body in (b"<!DOCTYPE html><title>", b"\n  <html>")),
        *(
            (body, "a body that is not JSON")
            for body in (
                *(
                    b"upstream connect error",
                    b"\x1f\x8b\x08",
                    b"\x00",
                    b'{"data":[',
                    b'{"data":[]}{',
                ),
                *(b'{"data":[],"x":%s}' % value for value in (b"NaN", b"-Infinity", b'"\xff"')),
                *(b'{"data":' + b"[" * 100_000, b'{"data":[],"x":' + b"9" * 5_000 + b"}"),
            )
        ),
    ],
)
def test_read_page__no_json(body: bytes, description: str) -> None:
    """A body that is not JSON is temporary, and the message says what it was."""
    with pytest.raises(TemporaryError) as caught:
        read_page(FIRST, response(body))

    text = (
        f"ALM answered for user 20941371 with {description} instead of a page of enrollments."
        " Run again. If it happens again, look for a proxy between this machine and ALM."
        " (request id trace)"
    )
    assert facts(caught.value) == (TemporaryError, text, 200, None)


@pytest.mark.parametrize("number", ["1e400", "-1e400"])
def test_read_page__infinite_number(number: str) -> None:
    """A number that no float holds is refused, as it could not be written again."""
    attributes = b'{"x":%s}' % number.encode()
    body = b'{"data":[],"included":[{"id":"1","type":"user","attributes":%s}]}' % attributes

    with pytest.raises(ProtocolError) as caught:
        read_page(FIRST, response(body))

    text = (
        f'ALM\'s page has a number that is too large to be one: "{number}".'
        " The response was discarded. Report this with the time of this run."
    )
    assert facts(caught.value) == (ProtocolError, text, 200, None)


def test_read_page__python_reads_the_rest() -> None:
    """A page that only Python's JSON reader accepts keeps its numbers and surrogates."""
    attributes = b'{"points":-1.25e2,"name":"\\ud800"}'
    body = b'{"data":[],"included":[{"id":"1","type":"user","attributes":%s}]}' % attributes

    page = read_page(FIRST, response(body))

    assert page.included[0]["attributes"] == {"points": -125.0, "name": "\ud800"}


@pytest.mark.parametrize(
    "member", [b'"attributes":{"\\ud800":1}', b'"relationships":{"\\udfff":{}}']
)
def test_read_page__name_with_half_a_character(member: bytes) -> None:
    """A name that is not Unicode text breaks the contract, and does not crash the validator."""
    body = b'{"data":[{"id":"x","type":"learningObjectInstanceEnrollment",%s}]}' % member

    with pytest.raises(ProtocolError) as caught:
        read_page(FIRST, response(body))

    text = f"ALM's page for user 20941371 has a name that is no Unicode text. {REPORT}"
    assert facts(caught.value) == (ProtocolError, text, 200, None)


ENROLLMENT: dict[str, Any] = {"id": "course:1_2_3", "type": "learningObjectInstanceEnrollment"}
RESOURCE: dict[str, Any] = {"id": "1", "type": "user"}
GRADE: dict[str, Any] = {"id": "1", "type": "learningObjectResourceGrade"}
DATES = ("dateCompleted", "dateStarted")
TEXTS = (*DATES, "completionDeadline", "dateEnrolled", "lastAccessDate", "state", "url")
NUMBERS = ("progressPercent", "purchasedPrice", "rating", "score")
GRADE_NUMBERS = ("duration", "highestScore", "maxScore", "progressPercent", "score")
TO_ONE = ("learner", "learnerBadge", "learningObject", "loInstance")
# A value of the wrong type, by where it is in an enrollment.
WRONG: list[tuple[str, object]] = [
    *(("id", value) for value in (7, "", None, "x" * 1_001)),
    *(("type", "learningObject"), ("attributes", []), ("relationships", [])),
    *((f"attributes/{name}", 1) for name in (*TEXTS, "enrollmentSource", "hasPassed")),
    *((f"attributes/{name}", "1") for name in (*NUMBERS, "hasPassed")),
    *((f"attributes/{name}", True) for name in NUMBERS),
    *((f"relationships/{name}/data", [RESOURCE]) for name in TO_ONE),
    *((f"relationships/{name}/data", {"id": "1"}) for name in TO_ONE),
    *(("relationships/loResourceGrades/data", GRADE), ("relationships/other/data", "1")),
    ("relationships/loResourceGrades/data/0", {"id": "1"}),
]
WRONG_GRADE: list[tuple[str, object]] = [
    *((f"attributes/{name}", 1) for name in (*DATES, "dateSuccess")),
    *((f"attributes/{name}", "") for name in GRADE_NUMBERS),
    *(("attributes/hasPassed", "no"), ("attributes", 1), ("relationships/manager", 1)),
]


def with_value(resource: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """Return *resource* with *value* at *path*; a 0 is the only item of a list."""
    *parents, name = path.split("/")
    nested: Any = [value] if name == "0" else {name: value}
    for parent in reversed(parents):
        nested = {parent: nested}
    return {**resource, **nested}


# Without any of them, links without data are a page without enrollments.
ERROR_MEMBERS: tuple[tuple[str, object], ...] = (
    *(("errors", []), ("error", None), ("status", 500), ("message", "M"), ("title", "T")),
    *(("code", "C"), ("detail", "D"), ("meta", {"error": "E"}), ("meta", {"detail": "D"})),
)
BREACHES: list[tuple[Any, str]] = [
    *(([], "the document"), ("text", "the document"), (None, "the document")),
    *(({}, "the document"), ({"errors": []}, "the document"), ({"links": []}, "the document")),
    *(({"links": {}, member: value}, "the document") for member, value in ERROR_MEMBERS),
    *(({"data": None}, "data"), ({"data": ENROLLMENT}, "data"), ({"data": [None]}, "data/0")),
    *(({"data": [[]]}, "data/0"), ({"data": [{"type": ENROLLMENT["type"]}]}, "data/0")),
    *(({"data": [{"id": "x"}]}, "data/0"), ({"data": [ENROLLMENT, {}]}, "data/1")),
    *(({"data": [with_value(ENROLLMENT, path, value)]}, f"data/0/{path}") for path, value in WRONG),
    *(({"data": [], "links": []}, "links"), ({"data": [], "included": {}}, "included")),
    ({"data": [], "links": {"next": 1}}, "links/next"),
    ({"data": [], "links": {"next": {}}}, "links/next"),
    ({"data": [], "included": [{"id": "1"}]}, "included/0"),
    *(
        ({"data": [], "included": [with_value(GRADE, path, value)]}, f"included/0/{path}")
        for path, value in WRONG_GRADE
    ),
]


@pytest.mark.parametrize(("document", "path"), BREACHES)
def test_read_page__breach(document: object, path: str) -> None:
    """A page that breaks the schema is refused, and the message names the path."""
    with pytest.raises(ProtocolError) as caught:
        read_page(FIRST, response(document))

    happened = f"ALM's page for user 20941371 is not of the documented shape, at {path}: "
    assert caught.value.message.startswith(happened)
    assert str(caught.value).endswith(f". {REPORT}")
    assert caught.value.http_status == 200


@pytest.mark.parametrize(
    "members",
    [
        {"attributes": {"aNewOne": {"nested": [1, None]}, "state": "SOMETHING_NEW"}},
        {"attributes": None, "relationships": None},
        {"attributes": dict.fromkeys((*TEXTS, *NUMBERS, "hasPassed"))},
        {"relationships": {name: {"data": None} for name in (*TO_ONE, "loResourceGrades")}},
        {"relationships": {name: {} for name in (*TO_ONE, "loResourceGrades")}},
        {"relationships": {"peers": {"data": [RESOURCE]}, "coach": {"data": RESOURCE}}},
        {"relationships": {"learner": None, "badge": {"data": None}}},
        {"relationships": {"learner": {"data": {**RESOURCE, "meta": {}}, "links": {}}}},
        {"id": "of another shape", "links": {}, "meta": {}},
    ],
)
def test_read_page__drift(members: dict[str, Any]) -> None:
    """Unknown attributes, states, relationships and nulls pass unchanged."""
    enrollment = {**ENROLLMENT, **members}
    included = [{**RESOURCE, "attributes": {"x": 1}}]
    document = {
        "data": [enrollment],
        "included": included,
        "jsonapi": {"version": "1.0"},
        "meta": 1,
    }

    page = read_page(FIRST, response(document))

    assert page == Page("20941371", None, [enrollment], included, None, "trace")


def included(*attributes: object) -> dict[str, Any]:
    """Return a page whose included resources have *attributes*."""
    resources = [{**RESOURCE, "attributes": {"x": value, "y": []}} for value in attributes]
    return {"data": [], "included": [*resources, RESOURCE]}


def nested(depth: int) -> object:
    """Return an empty list in lists, *depth* of them in all."""
    value: list[object] = []
    for _ in range(depth - 1):
        value = [value, []]
    return value


LONG_TEXT = "x" * 1_000_000
LARGEST = {
    "records": {"data": [ENROLLMENT] * 1_000},
    "included": {"data": [], "included": [RESOURCE] * 10_000},
    "text": included(LONG_TEXT),
    "depth": included(nested(29)),
    "values": included([1] * 499_900),
}
TOO_LARGE = {
    "1,000 resources in data": {"data": [ENROLLMENT] * 1_001},
    "10,000 resources in included": {"data": [], "included": [RESOURCE] * 10_001},
    "1,000,000 characters": included(LONG_TEXT + "x"),
    "32 levels": included(nested(30)),
    "500,000 values": included([1] * 500_000),
}


@pytest.mark.parametrize("document", LARGEST.values(), ids=LARGEST)
def test_read_page__largest(document: dict[str, Any]) -> None:
    """A page that just keeps a limit is read; each is far above what ALM sends."""
    page = read_page(FIRST, response(document))

    assert (page.enrollments, page.included) == (document["data"], document.get("included", []))


@pytest.mark.parametrize(("limit", "document"), TOO_LARGE.items(), ids=TOO_LARGE)
def test_read_page__too_large(limit: str, document: dict[str, Any]) -> None:
    """A page above a limit is refused; the message names user, limit and request id."""
    with pytest.raises(ProtocolError) as caught:
        read_page(FIRST, response(document))

    happened = caught.value.message
    assert happened.startswith("ALM's page for user 20941371 ")
    assert limit in happened
    assert (caught.value.http_status, caught.value.request_id) == (200, "trace")


@pytest.mark.parametrize("value", [b"1", b"[]", b"{}"])
def test_has_too_many_values__kinds(value: bytes) -> None:
    """Lists and objects count as much as numbers do."""
    separators = 1 if value == b"1" else 2
    count = 500_000 // separators
    bodies = [b"[%s]" % b",".join([value] * number) for number in (count - 1, count)]

    assert [has_too_many_values(body) for body in bodies] == [False, True]


def test_read_page__deadline() -> None:
    """A page that takes long to read does not outlast the deadline."""

    def check_deadline() -> None:
        raise DeadlineError("The deadline has passed.", hint="Run again.")

    with pytest.raises(DeadlineError):
        read_page(FIRST, response({"data": []}), check_deadline)


ELSEWHERE = (
    "The connector did not follow it, to keep the token on this host. Set `base_url` to ALM's own"
    " host for this account."
)
SIGN_IN = (
    "Tokens live seven days. Create a new one, or set `ALM_CLIENT_ID`, `ALM_CLIENT_SECRET` and"
    " `ALM_REFRESH_TOKEN`: the connector then refreshes it."
)
REDIRECTED = (ProtocolError, "ALM's address redirects while reading user 5", ELSEWHERE)
FAILED = (
    TemporaryError,
    "ALM failed while reading user 5",
    "Run again. If it happens again, report it with the request id.",
)
UNDOCUMENTED = (
    ProtocolError,
    "ALM's response has a status that its API does not document while reading user 5",
    "Check `base_url`. Report this with the request id.",
)
MEANINGS: dict[int, tuple[type[ConnectorError], str, str]] = {
    401: (AuthenticationError, "ALM refuses the access token while reading user 5", SIGN_IN),
    403: (
        PermissionDeniedError,
        "ALM does not let this token read user 5",
        "Use a token with the scope admin:read.",
    ),
    404: (
        UserNotFoundError,
        "ALM has no user 5",
        "Check the id, and that `base_url` is the region of this account.",
    ),
    406: (
        ProtocolError,
        "ALM does not accept the header Accept: application/vnd.api+json while reading user 5",
        "Look for a proxy that changes headers.",
    ),
    407: (
        UntrustedHostError,
        "The proxy for ALM requires credentials while reading user 5",
        "Set HTTPS_PROXY to http://USER:PASSWORD@HOST:PORT.",
    ),
    408: (TemporaryError, "ALM timed out while reading user 5", "Run again."),
    429: (
        TemporaryError,
        "ALM's quota is used up while reading user 5",
        "Run again later, or with a smaller `quota_share` if other runs use the account.",
    ),
    **dict.fromkeys((300, 301, 302, 303, 304, 307, 308, 399), REDIRECTED),
    **dict.fromkeys((500, 501, 502, 503, 504, 505, 511, 520, 599), FAILED),
    **dict.fromkeys((201, 202, 204, 206, 402, 405, 409, 410, 413, 414, 415, 418), UNDOCUMENTED),
    **dict.fromkeys((422, 425, 431, 451, 499, 600, 999), UNDOCUMENTED),
}


@pytest.mark.parametrize("status", MEANINGS)
@pytest.mark.parametrize(
    ("body", "message"),
    [(b'{"title":"T","source":{"info":"I\\n##[x]"}}', r': "T: I\n#\u0023[x]"'), (b"<html>", "")],
)
def test_error_for__every_status(status: int, body: bytes, message: str) -> None:
    """Each status has its class, message and hint, and quotes ALM's own message if it has one.

    What a 400 means depends on the message.
    """
    headers = {"x-request-id": "trace", "retry-after": "10.752"}

    error = error_for(Response(status, headers, body), "user 5")

    kind, happened, hint = MEANINGS[status]
    assert (type(error), error.message, error.hint) == (
        kind,
        f"{happened} ({status}{message}).",
        hint,
    )
    assert (error.http_status, error.request_id, error.retry_after) == (status, "trace", "10.752")


DATE = "Sun, 09 Jun 2024 13:05:09 GMT"
TEN_SECONDS_LATER = "Sun, 09 Jun 2024 13:05:19 GMT"


@pytest.mark.parametrize(
    ("retry_after", "date", "read"),
    [
        (TEN_SECONDS_LATER, DATE, "10.0"),
        (DATE, TEN_SECONDS_LATER, "-10.0"),
        (TEN_SECONDS_LATER, None, TEN_SECONDS_LATER),
        (TEN_SECONDS_LATER, "yesterday", TEN_SECONDS_LATER),
        ("0.42", DATE, "0.42"),
        ("soon", DATE, "soon"),
    ],
)
def test_error_for__retry_after_by_the_servers_clock(
    retry_after: str, date: str | None, read: str
) -> None:
    """A date in Retry-After becomes seconds from the response's own Date, if it has one."""
    headers = {"retry-after": retry_after, **({"date": date} if date else {})}

    assert error_for(Response(503, headers, b""), "user 5").retry_after == read


def test_error_for__without_headers() -> None:
    """A response without headers leaves request id and retry-after empty."""
    error = error_for(Response(503, {}, b""), "user 5")

    assert (error.request_id, error.retry_after) == (None, None)


@pytest.mark.parametrize(
    ("header", "request_id"),
    [
        ("csvbscitrace", "csvbscitrace"),
        ("x" * 200, "x" * 200),
        ("#1", "#1"),
        (None, None),
        ("", '""'),
        ("a\r\n ::error::b", r'"a\r\n ::error::b"'),
        ("##[error]b", r'"#\u0023[error]b"'),
        ("\x1b[31m", r'"\u001b[31m"'),
        ("x" * 60_000, '"' + "x" * 200 + r'\u2026"'),
    ],
)
def test_read_request_id__hostile(header: str | None, request_id: str | None) -> None:
    """A request id is text from the server: one short line without commands, else quoted."""
    assert read_request_id({} if header is None else {"x-request-id": header}) == request_id


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"title":"T","detail":"D","message":"M","source":{"info":"I"}}', "T: D: M: I"),
        (b'{"errors":[{"source":{"info":"I"}}]}', "I"),
        (b'{"errors":[{"title":"T"},{"title":"Second"}],"message":"M"}', "T: Second: M"),
        (b'{"errors":[],"message":"M"}', "M"),
        (b'{"title":7,"message":null}', None),
        *((body, None) for body in (b'{"title":""}', b"{}", b"[]", b"null", b"")),
        *((body, None) for body in (b"plain text", b"\xff\xfe", b"[" * 100_000)),
    ],
)
def test_parse_message__shapes(body: bytes, message: str | None) -> None:
    """Readable text is found in any of ALM's shapes; nothing is made up without one."""
    assert parse_message(body) == message
