"""Requests as they leave, links as they are judged, pages and errors as they are read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from connector.alm.protocol import (
    Page,
    PageRequest,
    Query,
    error_for,
    first_request,
    next_request,
    parse_message,
    read_page,
    shown,
)
from connector.errors import (
    AuthenticationError,
    ConnectorError,
    PermissionDeniedError,
    ProtocolError,
    TemporaryError,
    UnreachableError,
    UntrustedHostError,
    UsageError,
    UserNotFoundError,
)

if TYPE_CHECKING:
    from pathlib import Path

HOST = "https://learningmanager.adobe.com"
URL = f"{HOST}/primeapi/v2/users/20941371/enrollments"
EVERY_TYPE = ("course", "learningProgram", "jobAid", "certification")
DEFAULT = Query(("course",), "dateEnrolled", None, (), 10)
FIRST = PageRequest("20941371", URL, DEFAULT.parameters())
OWN = "page%5Blimit%5D=10&filter.loTypes=course&sort=dateEnrolled"
CURSOR = "eyJqb2JBaWQiOjAsImNvdXJzZSI6MywibGVhcm5pbmdQcm9ncmFtIjowLCJjZXJ0aWZpY2F0aW9uIjowfQ=="
NOT_FOLLOWED = "It was not followed, so that the token goes nowhere else; check that base_url is ALM's own host for this account."


def facts(error: ConnectorError) -> tuple[object, ...]:
    """Return all that an error tells."""
    return (
        type(error),
        error.code,
        error.message,
        error.hint,
        error.http_status,
        error.request_id,
        error.retry_after,
    )


@pytest.mark.parametrize(
    ("query", "parameters"),
    [
        (DEFAULT, OWN),
        (
            Query(EVERY_TYPE, "dateEnrolled", None, (), 3),
            "page%5Blimit%5D=3&filter.loTypes={}&sort=dateEnrolled",
        ),
        (
            Query(("course",), "-dateEnrolled", None, (), 1),
            "page%5Blimit%5D=1&filter.loTypes=course&sort=-dateEnrolled",
        ),
        (
            Query(("jobAid",), "dateEnrolled", "active", (), 10),
            "page%5Blimit%5D=10&filter.loTypes=jobAid&filter.states=active&sort=dateEnrolled",
        ),
        (Query(("course",), "dateEnrolled", None, ("learner",), 10), f"{OWN}&include=learner"),
        (
            Query(
                ("course",),
                "dateEnrolled",
                None,
                ("loResourceGrades", "loInstance.learningObject"),
                10,
            ),
            f"{OWN}&include=loResourceGrades%2CloInstance.learningObject",
        ),
        (
            Query(EVERY_TYPE, "-dateEnrolled", "active", ("learner",), 10),
            "page%5Blimit%5D=10&filter.loTypes={}&filter.states=active&sort=-dateEnrolled&include=learner",
        ),
    ],
)
def test_first_request__address(query: Query, parameters: str) -> None:
    """Every input stands in the address, percent-encoded, in the documented order, and nothing else does."""
    request = first_request(HOST, "20941371", query)

    every_type = "course%2ClearningProgram%2CjobAid%2Ccertification"
    assert request.address == f"{URL}?{parameters.format(every_type)}"
    assert request.cursor is None


@pytest.mark.parametrize(
    "base_url",
    ["http://127.0.0.1:8080", "https://learningmanagereu.adobe.com", "https://proxy.example/alm"],
)
def test_first_request__base_url(base_url: str) -> None:
    """The path is appended to whatever base URL is given, a path of its own included."""
    request = first_request(base_url, "1", DEFAULT)

    assert request.address == f"{base_url}/primeapi/v2/users/1/enrollments?{OWN}"


def test_next_request__last_page() -> None:
    """No link, no request: the walk is over."""
    assert next_request(FIRST, None) is None


@pytest.mark.parametrize(
    ("link", "added", "cursor"),
    [
        pytest.param(
            f"{URL}?page[limit]=10&sort=dateEnrolled&page[cursor]={CURSOR}",
            CURSOR,
            CURSOR,
            id="documented",
        ),
        pytest.param(
            f"/primeapi/v2/users/20941371/enrollments?page[cursor]={CURSOR}",
            CURSOR,
            CURSOR,
            id="absolute path",
        ),
        pytest.param(f"enrollments?page[cursor]={CURSOR}", CURSOR, CURSOR, id="relative path"),
        pytest.param(
            f"//learningmanager.adobe.com/primeapi/v2/users/20941371/enrollments?page[cursor]={CURSOR}",
            CURSOR,
            CURSOR,
            id="host",
        ),
        pytest.param(f"?page[cursor]={CURSOR}", CURSOR, CURSOR, id="query alone"),
        pytest.param(
            f"?page%5Bcursor%5D={CURSOR.replace('=', '%3D')}", CURSOR, CURSOR, id="percent-encoded"
        ),
        pytest.param(
            f"?page%5bcursor%5d={CURSOR.replace('=', '%3d')}", CURSOR, CURSOR, id="in lower case"
        ),
        pytest.param("?page[cursor]=a+b/c==", "a+b/c==", "a+b/c==", id="a plus is no space"),
        pytest.param("?page[cursor]=a%20b%26c", "a b&c", "a b&c", id="a space and an ampersand"),
        pytest.param("?page[cursor]=%C3%A9", "é", "é", id="UTF-8"),
        pytest.param(f"?page[cursor]={CURSOR}#top", CURSOR, CURSOR, id="a fragment is not sent"),
        pytest.param(
            "HTTPS://LearningManager.Adobe.COM:443/primeapi/v2/users/20941371/enrollments?page[cursor]=x",
            "x",
            "x",
            id="case, port",
        ),
        pytest.param(
            "/primeapi/v2/users/%32%30941371/enrollments?page[cursor]=x",
            "x",
            "x",
            id="encoded path",
        ),
    ],
)
def test_next_request__followed(link: str, added: str, cursor: str) -> None:
    """However a link to the same resource is written, its cursor comes back unchanged, behind the run's own parameters."""
    request = next_request(FIRST, link)

    assert request == PageRequest(
        "20941371", URL, (*DEFAULT.parameters(), ("page[cursor]", added)), cursor
    )


def test_next_request__address_of_documented_link() -> None:
    """The documented link leads to this very address."""
    request = next_request(
        FIRST, f"{URL}?page[limit]=10&filter.loTypes=course&sort=dateEnrolled&page[cursor]={CURSOR}"
    )

    assert request is not None
    assert request.address == f"{URL}?{OWN}&page%5Bcursor%5D={CURSOR.replace('=', '%3D')}"


def test_next_request__own_parameters_stay() -> None:
    """A link cannot change what the run asked for, however it writes the names."""
    link = (
        "?page[limit]=100&filter.loTypes=jobAid&sort=-dateEnrolled&page%5Blimit%5D=7&page[cursor]=x"
    )

    request = next_request(FIRST, link)

    assert request == PageRequest(
        "20941371", URL, (*DEFAULT.parameters(), ("page[cursor]", "x")), "x"
    )


def test_next_request__extra_parameters_kept() -> None:
    """What the server adds to its link, beside the cursor, is sent back: it may be part of the position."""
    request = next_request(FIRST, "?page[cursor]=x&snapshot=2024&empty=")

    assert request is not None
    assert request.parameters[3:] == (("page[cursor]", "x"), ("snapshot", "2024"), ("empty", ""))


@pytest.mark.parametrize(
    ("link", "cursor"),
    [("?page[offset]=10", "page%5Boffset%5D=10"), ("?page[limit]=10", ""), ("?", "")],
)
def test_next_request__without_cursor(link: str, cursor: str) -> None:
    """Where a link has no cursor, all that it adds stands for one, so that a loop is still seen."""
    request = next_request(FIRST, link)

    assert request is not None
    assert request.cursor == cursor


def test_next_request__from_later_page() -> None:
    """Links are held against the first request, so one cursor never drags the one before along."""
    second = next_request(FIRST, "?page[cursor]=one")
    third = next_request(FIRST, "?page[cursor]=two")

    assert second is not None
    assert third == PageRequest(
        "20941371", URL, (*DEFAULT.parameters(), ("page[cursor]", "two")), "two"
    )


@pytest.mark.parametrize(
    ("link", "why"),
    [
        (
            "http://learningmanager.adobe.com/primeapi/v2/users/20941371/enrollments?page[cursor]=x",
            "leads to another host",
        ),
        (
            "http://learningmanager.adobe.com:443/primeapi/v2/users/20941371/enrollments?page[cursor]=x",
            "leads to another host",
        ),
        (
            "https://evil.example/primeapi/v2/users/20941371/enrollments?page[cursor]=x",
            "leads to another host",
        ),
        (
            "https://learningmanager.adobe.com.evil.example/primeapi/v2/users/20941371/enrollments",
            "leads to another host",
        ),
        (
            "https://learningmanager.adobe.com./primeapi/v2/users/20941371/enrollments",
            "leads to another host",
        ),
        (
            "https://learningmanager.adobe.com:8443/primeapi/v2/users/20941371/enrollments?page[cursor]=x",
            "leads to another host",
        ),
        (
            "https://learningmanager.adobe.com:0/primeapi/v2/users/20941371/enrollments?page[cursor]=x",
            "leads to another host",
        ),
        (
            "https://user:pw@learningmanager.adobe.com/primeapi/v2/users/20941371/enrollments",
            "leads to another host",
        ),
        (
            "https://@learningmanager.adobe.com/primeapi/v2/users/20941371/enrollments",
            "leads to another host",
        ),
        (
            "https://learningmanager.adobe.com@evil.example/primeapi/v2/users/20941371/enrollments",
            "leads to another host",
        ),
        (
            "https://learningmanager.adobe.com\\@evil.example/primeapi/v2/users/20941371/enrollments",
            "leads to another host",
        ),
        (
            "//evil.example/primeapi/v2/users/20941371/enrollments?page[cursor]=x",
            "leads to another host",
        ),
        ("javascript:alert(1)", "leads to another host"),
        ("file:///etc/passwd", "leads to another host"),
        ("/primeapi/v2/users/20941372/enrollments?page[cursor]=x", "leads to another path"),
        ("/primeapi/v2/users/20941371/badges", "leads to another path"),
        ("/primeapi/v2/users/20941371/enrollments/", "leads to another path"),
        ("/primeapi/v2/users/1/../20941371/../20941372/enrollments", "leads to another path"),
        ("https:///primeapi/v2/users/20941371/badges", "leads to another path"),
        (
            "https://learningmanager.adobe.com:port/primeapi/v2/users/20941371/enrollments",
            "is no URL",
        ),
        (
            "https://learningmanager.adobe.com:99999/primeapi/v2/users/20941371/enrollments",
            "is no URL",
        ),
        ("https://[::1/primeapi/v2/users/20941371/enrollments", "is no URL"),
        ("https://[garbage]/primeapi/v2/users/20941371/enrollments", "is no URL"),
        ("?page[cursor]=a\r\nb", "is no URL"),
        ("?page[cursor]=a\tb", "is no URL"),
        ("\x00?page[cursor]=a", "is no URL"),
        ("?page[cursor]=\ud800", "is no URL"),
    ],
)
def test_next_request__refused(link: str, why: str) -> None:
    """A link to anywhere but the same origin and path is refused, and one that is no URL; nothing of it is used."""
    with pytest.raises(ProtocolError) as caught:
        next_request(FIRST, link)

    assert facts(caught.value) == (
        ProtocolError,
        76,
        f"ALM's link to the next page {why}: {json.dumps(link)}.",
        NOT_FOLLOWED,
        None,
        None,
        None,
    )


def test_next_request__too_long() -> None:
    """A link that no proxy would let through is refused, and its message cut."""
    link = "?page[cursor]=" + "x" * 16_384

    with pytest.raises(ProtocolError) as caught:
        next_request(FIRST, link)

    assert (
        caught.value.message
        == f'ALM\'s link to the next page is longer than 16384 characters: "{link[:200]}\\u2026".'
    )


def test_next_request__longest_is_followed() -> None:
    """The longest link that is allowed is followed."""
    cursor = "x" * (16_384 - len("?page[cursor]="))

    request = next_request(FIRST, f"?page[cursor]={cursor}")

    assert request is not None
    assert request.cursor == cursor


@pytest.mark.parametrize(
    ("base_url", "link"),
    [(HOST, f"{HOST}:443"), (f"{HOST}:443", HOST), ("http://127.0.0.1:80", "http://127.0.0.1")],
)
def test_next_request__default_port(base_url: str, link: str) -> None:
    """A scheme's own port is the same whether it is written or not."""
    first = first_request(base_url, "1", DEFAULT)

    request = next_request(first, f"{link}/primeapi/v2/users/1/enrollments?page[cursor]=x")

    assert request is not None
    assert request.url == first.url


def test_next_request__path_of_base_url() -> None:
    """Behind a gateway with a path of its own, links are held against that path."""
    first = first_request("https://gateway.example/alm", "1", DEFAULT)

    with pytest.raises(ProtocolError, match="leads to another path"):
        next_request(
            first, "https://gateway.example/primeapi/v2/users/1/enrollments?page[cursor]=x"
        )


def test_read_page__documented(request: pytest.FixtureRequest) -> None:
    """The documented answer is read whole: three enrollments, the next link, the request id."""
    path: Path = request.path.with_name("documented_page.json")
    document = json.loads(path.read_bytes())

    page = read_page(FIRST, {"x-request-id": "csvbscitrace"}, path.read_bytes())

    link = f"{URL}?page[limit]=3&filter.loTypes=course&sort=dateEnrolled&page[cursor]={CURSOR}"
    assert page == Page("20941371", None, document["data"], [], link, "csvbscitrace")


@pytest.mark.parametrize(
    "body",
    [
        b'{"data":[]}',
        b'{"data":[],"links":null}',
        b'{"data":[],"links":{"next":null}}',
        b'\xef\xbb\xbf{"data":[]}',
    ],
)
def test_read_page__empty(body: bytes) -> None:
    """A page without enrollments is a page, whichever way it says that none follows."""
    assert read_page(FIRST, {}, body) == Page("20941371", None, [], [], None, None)


@pytest.mark.parametrize("number", ["1e400", "-1e400"])
def test_read_page__a_number_that_no_float_holds(number: str) -> None:
    """A number that could not be written out again is refused by name, not asked for again."""
    body = (
        b'{"data":[],"included":[{"id":"1","type":"user","attributes":{"points":%s}}]}'
        % number.encode()
    )

    with pytest.raises(ProtocolError) as caught:
        read_page(FIRST, {}, body)

    assert (
        caught.value.message == f'ALM\'s page has a number that is too large to be one: "{number}".'
    )
    assert caught.value.hint == "Nothing of it was used; report it, with the time of this run."
    assert caught.value.http_status == 200


def test_read_page__fractions_stay_themselves() -> None:
    """Other numbers with a fraction arrive as they were."""
    body = b'{"data":[],"included":[{"id":"1","type":"user","attributes":{"points":-1.25e2}}]}'

    assert read_page(FIRST, {}, body).included[0]["attributes"] == {"points": -125.0}


@pytest.mark.parametrize(
    "beside", [{"included": None}, {"links": None}, {"included": []}, {"links": {"next": None}}]
)
def test_read_page__null_is_nothing(beside: dict[str, Any]) -> None:
    """Where ALM writes null, it is taken as if nothing stood there."""
    enrollment = {
        "id": "course:1_2_3",
        "type": "learningObjectInstanceEnrollment",
        "attributes": None,
        "relationships": {"learner": None},
    }

    page = read_page(FIRST, {}, json.dumps({"data": [enrollment], **beside}).encode())

    assert page == Page("20941371", None, [enrollment], [], None, None)


def test_read_page__empty_with_next_link() -> None:
    """An empty page may still have a next one."""
    page = read_page(FIRST, {}, b'{"data":[],"links":{"next":"?page[cursor]=x"}}')

    assert page == Page("20941371", None, [], [], "?page[cursor]=x", None)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"", "an empty body"),
        (b" \r\n", "an empty body"),
        (b"<!DOCTYPE html><title>Sign in</title>", "an HTML page"),
        (b"\n  <html>", "an HTML page"),
        (b"upstream connect error", "a body that is not JSON"),
        (b'{"data":[', "a body that is not JSON"),
        (b'{"data":[]}{', "a body that is not JSON"),
        (b'{"data":[],"x":NaN}', "a body that is not JSON"),
        (b'{"data":[],"x":-Infinity}', "a body that is not JSON"),
        (b'{"data":[],"x":"\xff"}', "a body that is not JSON"),
        (b"\x1f\x8b\x08", "a body that is not JSON"),
        (b"\x00", "a body that is not JSON"),
        (b'{"data":' + b"[" * 100_000, "a body that is not JSON"),
        (b'{"data":[],"x":' + b"9" * 5_000 + b"}", "a body that is not JSON"),
    ],
)
def test_read_page__no_json(body: bytes, what: str) -> None:
    """A body that is no JSON may be mended by asking again, and the message says what it was."""
    with pytest.raises(TemporaryError) as caught:
        read_page(FIRST, {"x-request-id": "trace"}, body)

    assert facts(caught.value) == (
        TemporaryError,
        75,
        f"ALM answered for user 20941371 with {what} where a page of enrollments was due.",
        "Run again; if it stays so, look for a proxy between here and ALM.",
        200,
        "trace",
        None,
    )


@pytest.mark.parametrize(
    "body",
    [
        b'{"data":[{"id":"x","type":"learningObjectInstanceEnrollment","attributes":{"\\ud800":1}}]}',
        b'{"data":[{"id":"x","type":"learningObjectInstanceEnrollment","relationships":{"\\udfff":{}}}]}',
    ],
)
def test_read_page__half_a_character(body: bytes) -> None:
    """A name that is no Unicode text ends in an error of the tree, not in a defect of ours."""
    with pytest.raises(ProtocolError) as caught:
        read_page(FIRST, {"x-request-id": "trace"}, body)

    assert (
        caught.value.message
        == f"ALM's page for user {FIRST.user_id} has a name that is no Unicode text."
    )
    assert caught.value.hint == "Nothing of it was used; report it with the request id."
    assert (caught.value.http_status, caught.value.request_id) == (200, "trace")


ENROLLMENT: dict[str, Any] = {"id": "course:1_2_3", "type": "learningObjectInstanceEnrollment"}
RESOURCE: dict[str, Any] = {"id": "1", "type": "user"}
GRADE: dict[str, Any] = {"id": "1", "type": "learningObjectResourceGrade"}
TEXTS = (
    "completionDeadline",
    "dateCompleted",
    "dateEnrolled",
    "dateStarted",
    "enrollmentSource",
    "lastAccessDate",
    "state",
    "url",
)
NUMBERS = ("progressPercent", "purchasedPrice", "rating", "score")
GRADE_TEXTS = ("dateCompleted", "dateStarted", "dateSuccess")
GRADE_NUMBERS = ("duration", "highestScore", "maxScore", "progressPercent", "score")
TO_ONE = ("learner", "learnerBadge", "learningObject", "loInstance")


def with_enrollment(**members: object) -> dict[str, Any]:
    """Return a page whose one enrollment has *members*."""
    return {"data": [{**ENROLLMENT, **members}]}


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ([], "the document"),
        ("text", "the document"),
        (None, "the document"),
        ({}, "the document"),
        ({"errors": [{"title": "no"}]}, "the document"),
        ({"data": None}, "data"),
        ({"data": ENROLLMENT}, "data"),
        ({"data": [None]}, "data/0"),
        ({"data": [[]]}, "data/0"),
        ({"data": [{"type": "learningObjectInstanceEnrollment"}]}, "data/0"),
        ({"data": [{"id": "course:1_2_3"}]}, "data/0"),
        ({"data": [ENROLLMENT, {}]}, "data/1"),
        (with_enrollment(id=7), "data/0/id"),
        (with_enrollment(id=""), "data/0/id"),
        (with_enrollment(id=None), "data/0/id"),
        (with_enrollment(id="x" * 1_001), "data/0/id"),
        (with_enrollment(type="learningObject"), "data/0/type"),
        (with_enrollment(attributes=[]), "data/0/attributes"),
        *[(with_enrollment(attributes={name: 1}), f"data/0/attributes/{name}") for name in TEXTS],
        *[
            (with_enrollment(attributes={name: "1"}), f"data/0/attributes/{name}")
            for name in (*NUMBERS, "hasPassed")
        ],
        *[
            (with_enrollment(attributes={name: True}), f"data/0/attributes/{name}")
            for name in NUMBERS
        ],
        (with_enrollment(attributes={"hasPassed": 1}), "data/0/attributes/hasPassed"),
        (with_enrollment(relationships=[]), "data/0/relationships"),
        *[
            (
                with_enrollment(relationships={name: {"data": [RESOURCE]}}),
                f"data/0/relationships/{name}/data",
            )
            for name in TO_ONE
        ],
        *[
            (
                with_enrollment(relationships={name: {"data": {"id": "1"}}}),
                f"data/0/relationships/{name}/data",
            )
            for name in TO_ONE
        ],
        (
            with_enrollment(relationships={"loResourceGrades": {"data": GRADE}}),
            "data/0/relationships/loResourceGrades/data",
        ),
        (
            with_enrollment(relationships={"loResourceGrades": {"data": [{"id": "1"}]}}),
            "data/0/relationships/loResourceGrades/data/0",
        ),
        (
            with_enrollment(relationships={"other": {"data": "1"}}),
            "data/0/relationships/other/data",
        ),
        ({"data": [], "links": []}, "links"),
        ({"data": [], "links": {"next": 1}}, "links/next"),
        ({"data": [], "links": {"next": ""}}, "links/next"),
        ({"data": [], "links": {"next": {"href": "?x"}}}, "links/next"),
        ({"data": [], "included": {}}, "included"),
        ({"data": [], "included": [{"id": "1"}]}, "included/0"),
        ({"data": [], "included": [{**RESOURCE, "attributes": 1}]}, "included/0/attributes"),
        (
            {"data": [], "included": [{**RESOURCE, "relationships": {"manager": 1}}]},
            "included/0/relationships/manager",
        ),
        *[
            (
                {"data": [], "included": [{**GRADE, "attributes": {name: 1}}]},
                f"included/0/attributes/{name}",
            )
            for name in GRADE_TEXTS
        ],
        *[
            (
                {"data": [], "included": [{**GRADE, "attributes": {name: ""}}]},
                f"included/0/attributes/{name}",
            )
            for name in GRADE_NUMBERS
        ],
        (
            {"data": [], "included": [{**GRADE, "attributes": {"hasPassed": "no"}}]},
            "included/0/attributes/hasPassed",
        ),
    ],
)
def test_read_page__breach(document: object, place: str) -> None:
    """Whatever breaks a shape that is relied on is refused whole, and the message names the place."""
    with pytest.raises(ProtocolError) as caught:
        read_page(FIRST, {"x-request-id": "trace"}, json.dumps(document).encode())

    assert caught.value.message.startswith(
        f"ALM's page for user 20941371 is not of the documented shape, at {place}: "
    )
    assert facts(caught.value)[3:] == (
        "Nothing of it was used; report it with the request id.",
        200,
        "trace",
        None,
    )


def test_read_page__endless_number() -> None:
    """A number beyond what a float holds is not taken for infinity."""
    body = b'{"data":[{"id":"x","type":"learningObjectInstanceEnrollment","attributes":{"score":1e999}}]}'

    with pytest.raises((TemporaryError, ProtocolError)):
        read_page(FIRST, {}, body)


@pytest.mark.parametrize(
    "enrollment",
    [
        {**ENROLLMENT, "attributes": {"aNewOne": {"nested": [1, None]}}},
        {**ENROLLMENT, "attributes": {"state": "SOMETHING_NEW", "enrollmentSource": "OTHER"}},
        {**ENROLLMENT, "attributes": None, "relationships": None},
        {**ENROLLMENT, "attributes": dict.fromkeys((*TEXTS, *NUMBERS, "hasPassed"))},
        {
            **ENROLLMENT,
            "relationships": {name: {"data": None} for name in (*TO_ONE, "loResourceGrades")},
        },
        {**ENROLLMENT, "relationships": {name: {} for name in (*TO_ONE, "loResourceGrades")}},
        {
            **ENROLLMENT,
            "relationships": {
                "peers": {"data": [RESOURCE]},
                "coach": {"data": RESOURCE},
                "none": {"data": None},
            },
        },
        {
            **ENROLLMENT,
            "relationships": {"learner": {"data": {**RESOURCE, "meta": {}}, "links": {}}},
        },
        {**ENROLLMENT, "id": "of another shape", "links": {}, "meta": {}},
    ],
)
def test_read_page__drift(enrollment: dict[str, Any]) -> None:
    """Attributes, states and relationships that are not known yet pass as they are."""
    document = {
        "data": [enrollment],
        "included": [{**RESOURCE, "attributes": {"x": 1}}],
        "jsonapi": {"version": "1.0"},
        "meta": 1,
    }

    page = read_page(FIRST, {}, json.dumps(document).encode())

    assert page == Page("20941371", None, [enrollment], document["included"], None, None)  # type: ignore[arg-type] # a JSON list


def test_read_page__cursor_and_user() -> None:
    """A page remembers which request it answers."""
    request = PageRequest("7", URL, (), "a-cursor")

    page = read_page(request, {}, b'{"data":[]}')

    assert (page.user_id, page.cursor) == ("7", "a-cursor")


REPORT = "Run again; if it stays so, report it with the request id."
ELSEWHERE = "It was not followed, so that the token goes nowhere else; set base_url to ALM's own host for this account."
UNFORESEEN = "Check base_url; report it with the request id."
REDIRECTED = (ProtocolError, 76, "ALM's address redirects, asked for user 5", ELSEWHERE)
FAILED = (TemporaryError, 75, "ALM failed, asked for user 5", REPORT)
UNDOCUMENTED = (
    ProtocolError,
    76,
    "ALM's answer is none that its API documents, asked for user 5",
    UNFORESEEN,
)
MEANINGS: dict[int, tuple[type[ConnectorError], int, str, str]] = {
    400: (
        UsageError,
        64,
        "ALM refuses the request for user 5",
        "Check include and the other inputs against what ALM's message names.",
    ),
    401: (
        AuthenticationError,
        77,
        "ALM refuses the access token, asked for user 5",
        "Tokens live seven days: make a new one, or set ALM_CLIENT_ID, ALM_CLIENT_SECRET and ALM_REFRESH_TOKEN to have it refreshed.",
    ),
    403: (
        PermissionDeniedError,
        77,
        "ALM does not let this token read user 5",
        "It needs the scope admin:read, or learner:read for the learner's own enrollments.",
    ),
    404: (
        UserNotFoundError,
        67,
        "ALM knows no user 5",
        "Check the id, and that base_url is the region of this account.",
    ),
    406: (
        ProtocolError,
        76,
        "ALM does not accept the header Accept: application/vnd.api+json, asked for user 5",
        "Look for a proxy that changes headers.",
    ),
    407: (
        UntrustedHostError,
        69,
        "The proxy in front of ALM wants credentials of its own, asked for user 5",
        "Set them in HTTPS_PROXY.",
    ),
    408: (TemporaryError, 75, "ALM timed out, asked for user 5", "Run again."),
    429: (
        TemporaryError,
        75,
        "ALM's quota is used up, asked for user 5",
        "Run again later, or with a smaller quota_share beside other runs.",
    ),
    **dict.fromkeys((300, 301, 302, 303, 304, 307, 308, 399), REDIRECTED),
    **dict.fromkeys((500, 501, 502, 503, 504, 505, 511, 520, 599), FAILED),
    **dict.fromkeys(
        (
            201,
            202,
            204,
            206,
            402,
            405,
            409,
            410,
            413,
            414,
            415,
            418,
            422,
            425,
            431,
            451,
            499,
            600,
            999,
        ),
        UNDOCUMENTED,
    ),
}


@pytest.mark.parametrize("status", MEANINGS)
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            b'{"status":"400","title":"BAD_REQUEST","source":{"info":"Invalid loType"}}',
            ': "BAD_REQUEST: Invalid loType"',
        ),
        (
            b'{"errors":[{"title":"Forbidden","detail":"Out of scope"},{"title":"Second"}]}',
            ': "Forbidden: Out of scope"',
        ),
        (b'{"message":"429 Too many requests"}', ': "429 Too many requests"'),
        (b"<html><h1>Bad gateway</h1></html>", ""),
        (b"", ""),
    ],
    ids=["title and source", "errors", "message", "html", "empty"],
)
def test_error_for__every_status_and_body(status: int, body: bytes, said: str) -> None:
    """Each status has its class, its words and its advice, and quotes ALM's own message whatever the body's shape."""
    error = error_for(
        status, {"x-request-id": "trace", "retry-after": "10.752"}, body, asked_for="user 5"
    )

    kind, code, happened, hint = MEANINGS[status]
    assert facts(error) == (
        kind,
        code,
        f"{happened} ({status}{said}).",
        hint,
        status,
        "trace",
        "10.752",
    )


def test_error_for__without_headers() -> None:
    """An answer without headers is told without request id."""
    error = error_for(503, {}, b"", asked_for="user 5")

    assert str(error) == f"ALM failed, asked for user 5 (503). {REPORT}"
    assert facts(error)[4:] == (503, None, None)


def test_error_for__one_line_with_request_id() -> None:
    """As text an error is one line: what happened, what to do, and the id to quote."""
    error = error_for(404, {"x-request-id": "trace"}, b'{"title":"NOT_FOUND"}', asked_for="user 5")

    hint = "Check the id, and that base_url is the region of this account."
    assert str(error) == f'ALM knows no user 5 (404: "NOT_FOUND"). {hint} (request id trace)'


@pytest.mark.parametrize("status", [407])
def test_error_for__proxy_is_no_retry(status: int) -> None:
    """A proxy's refusal is of the class that is not asked again."""
    assert issubclass(MEANINGS[status][0], UnreachableError)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("a\r\nb", r'"a\r\nb"'),
        ("a\n::error::b", r'"a\n::error::b"'),
        ("\x1b[31mred\x07\x7f", r'"\u001b[31mred\u0007\u007f"'),
        ("\u2028\u202e\u0085é", r'"\u2028\u202e\u0085\u00e9"'),
        ('quoted "so" \\', r'"quoted \"so\" \\"'),
        ("\ud800", r'"\ud800"'),
        ("##[error]x", '"#\\u0023[error]x"'),
        ("##vso[task.setvariable variable=x]y", '"#\\u0023vso[task.setvariable variable=x]y"'),
        ("x" * 10_000, '"' + "x" * 200 + '\\u2026"'),
        ("\n" * 10_000, '"' + "\\n" * 200 + '\\u2026"'),
    ],
)
def test_error_for__hostile_text(said: str, told: str) -> None:
    """ALM's words are cut and made visible in one line, and no runner takes them for a command."""
    body = json.dumps({"title": said}).encode()

    error = error_for(400, {}, body, asked_for="user 5")

    assert error.message == f"ALM refuses the request for user 5 (400: {told})."


@pytest.mark.parametrize("request_id", ["a\r\n ::error::b", "##[error]b", "\x1b[31m", "x" * 60_000])
def test_error_for__hostile_request_id(request_id: str) -> None:
    """A request id is text from the server as any other: one line of it, cut, no command."""
    told = str(error_for(404, {"x-request-id": request_id}, b"", asked_for="user 5"))

    assert told.isprintable()
    assert "##" not in told
    assert len(told) < 500


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"title":"T","detail":"D","message":"M","source":{"info":"I"}}', "T: D: M: I"),
        (b'{"errors":[{"source":{"info":"I"}}]}', "I"),
        (b'{"errors":[],"message":"M"}', "M"),
        (b'{"errors":["text"],"message":"M"}', "M"),
        (b'{"errors":{"title":"T"},"message":"M"}', "M"),
        (b'{"errors":[{"title":"T"}],"message":"M"}', "T"),
        (b'{"title":7,"message":null,"source":"I"}', None),
        (b'{"source":{"info":["I"]}}', None),
        (b'{"title":""}', None),
        (b"{}", None),
        (b"[]", None),
        (b'"text"', None),
        (b"null", None),
        (b"plain text", None),
        (b"\xff\xfe", None),
        (b"[" * 100_000, None),
        (b"", None),
    ],
)
def test_parse_message__shapes(body: bytes, message: str | None) -> None:
    """Whatever readable text the body has is found; of a body without any, nothing is made up."""
    assert parse_message(body) == message


@pytest.mark.parametrize(("length", "told"), [(200, "x" * 200), (201, "x" * 200 + r"\u2026")])
def test_shown__cut(length: int, told: str) -> None:
    """Up to 200 characters stand whole; beyond that an ellipsis says that there was more."""
    assert shown("x" * length) == f'"{told}"'
