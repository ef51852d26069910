"""A request in, ALM's answer out: the documented exchange, every refusal, the tokens, the quota and the faults."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import pytest

from connector.sandbox import (
    ACCESS_TOKEN,
    CLIENT_ID,
    CLIENT_SECRET,
    REFRESH_TOKEN,
    Request,
    Response,
    Sandbox,
    Settings,
)
from connector.sandbox.faults import IN_THE_ANSWER, ON_THE_WAY, Fault, parse_faults
from connector.sandbox.learners import LO_TYPES, enrollments_of
from connector.sandbox.pages import encode_cursor, lo_type_of

if TYPE_CHECKING:
    from connector.clock import Clock

ORIGIN = "https://learningmanager.adobe.com"
JSON_API = "application/vnd.api+json"
HEADERS = {"accept": JSON_API, "authorization": f"oauth {ACCESS_TOKEN}"}
USER_7 = "/primeapi/v2/users/7/enrollments"
USER_7_ALL = f"{USER_7}?page[limit]=10&filter.loTypes={','.join(LO_TYPES)}"
DOCUMENTED = (
    "/primeapi/v2/users/20941371/enrollments?page[limit]=3&filter.loTypes=course&sort=dateEnrolled"
)
CURSOR = "eyJqb2JBaWQiOjAsImNvdXJzZSI6MywibGVhcm5pbmdQcm9ncmFtIjowLCJjZXJ0aWZpY2F0aW9uIjowfQ=="
SECOND_OF_7 = f"{USER_7}?page[limit]=8&filter.loTypes={','.join(LO_TYPES)}&page[cursor]={encode_cursor(enrollments_of('7')[:8])}"
REFRESH = "/oauth/token/refresh"
FORM = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "refresh_token": REFRESH_TOKEN}
DATE = "Sun, 09 Jun 2024 13:05:09 GMT"
QUOTA = (("x-rate-limit", "100r/m"), ("x-burst", "100"))
# A request that is wrong in everything; each row of the doors' test mends one thing more.
WRONG = {"accept": "text/html", "authorization": "oauth wrong"}


def get(target: str, **headers: str) -> Request:
    """Return a request for *target* that is right in everything but *headers*."""
    return Request("GET", target, {**HEADERS, **headers}, ORIGIN)


def refresh(form: dict[str, str], *, query: str = "", method: str = "POST") -> Request:
    """Return a request for a refresh with *form* as its body."""
    return Request(method, REFRESH + query, {}, ORIGIN, urlencode(form).encode())


def refusal(number: int, status: int, title: str, info: str) -> Response:
    """Return the whole answer with which a sandbox of default settings refuses its request *number*."""
    body = f'{{"status":"{status}","title":"{title}","source":{{"info":"{info}"}}}}'.encode()
    kind = ("content-type", f"{JSON_API};charset=UTF-8")
    return Response(
        status,
        (
            ("date", DATE),
            ("server", "openresty"),
            ("x-request-id", f"sandbox-{number}"),
            *QUOTA,
            kind,
        ),
        body,
    )


def faulty(script: str, clock: Clock) -> Sandbox:
    """Return a sandbox in which *script* happens."""
    return Sandbox(Settings(faults=parse_faults([script])), clock)


def data_of(response: Response) -> Any:
    """Return the enrollments in *response*."""
    return json.loads(response.body)["data"]


def test_answer__documented_exchange(clock: Clock, documented: list[dict[str, Any]]) -> None:
    """The documented request gets the documented body to the letter, and the documented headers that matter."""
    sandbox = Sandbox(Settings(), clock)

    response = sandbox.answer(get(DOCUMENTED))

    address = f"{ORIGIN}{DOCUMENTED}"
    document = {
        "links": {"self": address, "next": f"{address}&page[cursor]={CURSOR}"},
        "data": documented,
    }
    kind = ("content-type", "application/vnd.api+json;charset=UTF-8")
    headers = (("date", DATE), ("server", "openresty"), ("x-request-id", "sandbox-1"), *QUOTA, kind)
    assert response == Response(200, headers, json.dumps(document, separators=(",", ":")).encode())


def test_answer__empty_page_behind_the_documented_one(clock: Clock) -> None:
    """The documented next link leads to an empty page without one."""
    sandbox = Sandbox(Settings(), clock)

    response = sandbox.answer(get(f"{DOCUMENTED}&page[cursor]={CURSOR}"))

    document = {"links": {"self": f"{ORIGIN}{DOCUMENTED}&page[cursor]={CURSOR}"}, "data": []}
    assert (response.status, json.loads(response.body)) == (200, document)


@pytest.mark.parametrize(
    "origin",
    [
        "https://learningmanagereu.adobe.com",
        "https://captivateprime.adobe.com",
        "http://127.0.0.1:8484",
        "https://sandbox.invalid",
    ],
)
def test_answer__links_on_the_asked_host(origin: str, clock: Clock) -> None:
    """Links are on the host that was asked, port and scheme included."""
    sandbox = Sandbox(Settings(), clock)

    response = sandbox.answer(Request("GET", DOCUMENTED, HEADERS, origin))

    links = {"self": f"{origin}{DOCUMENTED}", "next": f"{origin}{DOCUMENTED}&page[cursor]={CURSOR}"}
    assert json.loads(response.body)["links"] == links


def test_answer__the_way_py_adobe_captivate_prime_api_calls(clock: Clock) -> None:
    """That client's ``Bearer`` and repeated types get what ``oauth`` and commas get."""
    sandbox = Sandbox(Settings(), clock)
    repeated = "&".join(f"filter.loTypes={lo_type}" for lo_type in LO_TYPES)

    response = sandbox.answer(
        get(f"{USER_7}?page[limit]=10&{repeated}", authorization=f"Bearer {ACCESS_TOKEN}")
    )

    usual = sandbox.answer(get(USER_7_ALL))
    assert (response.status, response.body) == (200, usual.body)
    assert data_of(response) == list(enrollments_of("7")[:10])


def test_answer__default_types(clock: Clock) -> None:
    """The API's default is courses alone, 10 a page."""
    sandbox = Sandbox(Settings(), clock)

    response = sandbox.answer(get(USER_7))

    assert (
        data_of(response)
        == [one for one in enrollments_of("7") if lo_type_of(one) == "course"][:10]
    )


def test_answer__percent_encoded_path_and_query(clock: Clock) -> None:
    """An encoded request is the same request; its links keep the path as it came."""
    sandbox = Sandbox(Settings(), clock)

    response = sandbox.answer(get("/primeapi/v2/users/%37/enrollments?page%5Blimit%5D=2"))

    assert (
        data_of(response) == [one for one in enrollments_of("7") if lo_type_of(one) == "course"][:2]
    )
    assert (
        json.loads(response.body)["links"]["self"]
        == f"{ORIGIN}/primeapi/v2/users/%37/enrollments?page[limit]=2"
    )


def test_answer__settings_of_the_data(clock: Clock) -> None:
    """Count and type of a learner's enrollments can be set."""
    sandbox = Sandbox(Settings(enrollments_per_user=4, only_type="jobAid"), clock)

    response = sandbox.answer(get(USER_7_ALL))

    assert data_of(response) == list(enrollments_of("7", 4, "jobAid"))


@pytest.mark.parametrize(
    ("query", "info"),
    [
        ("page[limit]=11", "page[limit] 11 is not from 1 to 10"),
        ("filter.loTypes=lesson", "filter.loTypes lesson is not known"),
        ("filter.states=completed", "filter.states is not active"),
        ("sort=name", "sort name is not known"),
        ("include=author", "include author is not known"),
        ("page[cursor]=x", "page[cursor] is none of this API's"),
    ],
)
def test_answer__400(query: str, info: str, clock: Clock) -> None:
    """Each bad parameter is a 400 that says which."""
    sandbox = Sandbox(Settings(), clock)

    response = sandbox.answer(get(f"{USER_7}?{query}"))

    assert response == refusal(1, 400, "BAD_REQUEST", info)


@pytest.mark.parametrize(
    "authorization",
    ["", "oauth", ACCESS_TOKEN, "oauth wrong", f"Basic {ACCESS_TOKEN}", f"oauth {ACCESS_TOKEN}-2"],
)
def test_answer__401(authorization: str, clock: Clock) -> None:
    """No token, another word, another token: 401."""
    sandbox = Sandbox(Settings(), clock)

    response = sandbox.answer(get(USER_7, authorization=authorization))

    assert response == refusal(
        1, 401, "UNAUTHORIZED", "the access token is missing, wrong or expired"
    )


def test_answer__401_without_the_header(clock: Clock) -> None:
    """A request without headers is refused for its token first."""
    sandbox = Sandbox(Settings(), clock)

    response = sandbox.answer(Request("GET", USER_7, {}, ORIGIN))

    assert response == refusal(
        1, 401, "UNAUTHORIZED", "the access token is missing, wrong or expired"
    )


@pytest.mark.parametrize("user", ["403", "4031", "403000"])
def test_answer__403(user: str, clock: Clock) -> None:
    """Users whose id begins with 403 are out of the token's scope."""
    sandbox = Sandbox(Settings(), clock)

    response = sandbox.answer(get(f"/primeapi/v2/users/{user}/enrollments"))

    assert response == refusal(1, 403, "FORBIDDEN", "the scope does not reach this user")


@pytest.mark.parametrize("user", ["404", "4041", "abc", "-7", "7.0", "me"])
def test_answer__404_user(user: str, clock: Clock) -> None:
    """Ids that begin with 404, or are no decimal number, are nobody's."""
    sandbox = Sandbox(Settings(), clock)

    response = sandbox.answer(get(f"/primeapi/v2/users/{user}/enrollments"))

    assert response == refusal(1, 404, "NOT_FOUND", f"no user {user}")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/primeapi/v2/users/7",
        "/primeapi/v2/users/7/enrollments/",
        "/primeapi/v2/users//enrollments",
        "/primeapi/v1/users/7/enrollments",
    ],
)
def test_answer__404_path(path: str, clock: Clock) -> None:
    """There is nothing at any other path, whatever the method and the token."""
    sandbox = Sandbox(Settings(), clock)

    responses = [sandbox.answer(get(path)), sandbox.answer(Request("POST", path, {}, ORIGIN))]

    assert responses == [
        refusal(number, 404, "NOT_FOUND", f"no such path: {path}") for number in (1, 2)
    ]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "HEAD"])
def test_answer__405(method: str, clock: Clock) -> None:
    """Enrollments can be read, not written."""
    sandbox = Sandbox(Settings(), clock)

    response = sandbox.answer(Request(method, USER_7, HEADERS, ORIGIN))

    assert response == refusal(1, 405, "METHOD_NOT_ALLOWED", method)


@pytest.mark.parametrize("accept", ["", "*/*", "application/json", "application/vnd.api"])
def test_answer__406(accept: str, clock: Clock) -> None:
    """Who does not accept JSON:API by name gets a 406."""
    sandbox = Sandbox(Settings(), clock)

    response = sandbox.answer(get(USER_7, accept=accept))

    assert response == refusal(1, 406, "NOT_ACCEPTABLE", "Accept is not application/vnd.api+json")


@pytest.mark.parametrize(
    "accept", [JSON_API, f"{JSON_API};charset=UTF-8", f"application/json, {JSON_API}"]
)
def test_answer__accepted(accept: str, clock: Clock) -> None:
    """JSON:API may stand among others."""
    sandbox = Sandbox(Settings(), clock)

    assert sandbox.answer(get(USER_7, accept=accept)).status == 200


@pytest.mark.parametrize(
    ("target", "mended", "status"),
    [
        ("/primeapi/v2/users/4041/enrollments?page[limit]=11", {}, 401),
        (
            "/primeapi/v2/users/4041/enrollments?page[limit]=11",
            {"authorization": HEADERS["authorization"]},
            406,
        ),
        ("/primeapi/v2/users/4041/enrollments?page[limit]=11", HEADERS, 400),
        ("/primeapi/v2/users/4031/enrollments?page[limit]=11", HEADERS, 400),
        ("/primeapi/v2/users/4041/enrollments", HEADERS, 404),
        ("/primeapi/v2/users/4031/enrollments", HEADERS, 403),
        ("/primeapi/v2/users/7/enrollments", HEADERS, 200),
    ],
)
def test_answer__order_of_the_doors(
    target: str, mended: dict[str, str], status: int, clock: Clock
) -> None:
    """The limiter's door comes first, then those of the token, the header, the parameters and the user."""
    sandbox = Sandbox(Settings(rate_per_minute=60, burst=0), clock)

    statuses = [sandbox.answer(get(target, **{**WRONG, **mended})).status for _ in range(2)]

    assert statuses == [status, 429]


def test_answer__request_ids_count(clock: Clock) -> None:
    """Every answer has the next number as its request id, whatever it is."""
    sandbox = Sandbox(Settings(), clock)
    requests = [
        get(USER_7),
        get("/"),
        refresh(FORM),
        get(USER_7, authorization=""),
        refresh({}),
        get(DOCUMENTED),
    ]

    responses = [sandbox.answer(request) for request in requests]

    told = [
        (response.status, dict(response.headers)["x-request-id"], response.number)
        for response in responses
    ]
    statuses = [200, 404, 200, 401, 401, 200]
    assert told == [
        (status, f"sandbox-{number}", number) for number, status in enumerate(statuses, 1)
    ]


@pytest.mark.parametrize(
    ("settings", "quota"),
    [
        (Settings(), {"x-rate-limit": "100r/m", "x-burst": "100"}),
        (Settings(burst=30), {"x-rate-limit": "100r/m", "x-burst": "30"}),
        (Settings(rate_per_minute=0.5, burst=2), {"x-rate-limit": "0.5r/m", "x-burst": "2"}),
        (
            Settings(has_excess_header=True),
            {"x-rate-limit": "100r/m", "x-burst": "100", "x-excess-requests-per-second": "0.000"},
        ),
        (Settings(rate_per_minute=0), {}),
        (Settings(rate_per_minute=0, has_excess_header=True), {}),
    ],
)
@pytest.mark.parametrize("target", [USER_7, "/primeapi/v2/users/404/enrollments", "/", REFRESH])
def test_answer__quota_headers(
    settings: Settings, quota: dict[str, str], target: str, clock: Clock
) -> None:
    """Every response tells the limits, refusals too; without a limiter none does."""
    sandbox = Sandbox(settings, clock)

    response = sandbox.answer(get(target))

    assert {
        name: value
        for name, value in response.headers
        if name.startswith("x-") and name != "x-request-id"
    } == quota


def test_answer__limiter(clock: Clock) -> None:
    """Over the quota it is 429 until the bucket has drained; the answer is ALM's, not JSON:API, and its wait has a fraction."""
    sandbox = Sandbox(Settings(rate_per_minute=90, burst=1), clock)
    admitted = [sandbox.answer(get(USER_7)).status for _ in range(2)]

    refused = sandbox.answer(get(USER_7))

    quota = (("x-rate-limit", "90r/m"), ("x-burst", "1"))
    headers = (
        ("date", DATE),
        ("server", "openresty"),
        ("x-request-id", "sandbox-3"),
        *quota,
        ("content-type", "application/json"),
    )
    assert admitted == [200, 200]
    assert refused == Response(
        429, (*headers, ("retry-after", "1.333")), b'{"message":"429 Too many requests"}'
    )


@pytest.mark.parametrize(
    ("seconds", "status"), [(0, 429), (0.5, 429), (0.7, 200), (1.333, 200), (60, 200)]
)
def test_answer__limiter_drains(seconds: float, status: int, clock: Clock) -> None:
    """Time drains the bucket, refusals fill nothing: who waits long enough for one request gets one."""
    sandbox = Sandbox(Settings(rate_per_minute=90, burst=1), clock)
    before = [sandbox.answer(get(USER_7)).status for _ in range(5)]

    clock.sleep(seconds)
    after = sandbox.answer(get(USER_7)).status

    assert (before, after) == ([200, 200, 429, 429, 429], status)


def test_answer__excess_header(clock: Clock) -> None:
    """The bucket's fill is told with every answer, a refusal's included, and drains with time."""
    sandbox = Sandbox(Settings(rate_per_minute=60, burst=2, has_excess_header=True), clock)
    at_once = [
        dict(sandbox.answer(get(USER_7)).headers)["x-excess-requests-per-second"] for _ in range(4)
    ]

    clock.sleep(1.75)
    later = dict(sandbox.answer(get(USER_7)).headers)["x-excess-requests-per-second"]

    assert (at_once, later) == (["0.000", "1.000", "2.000", "2.000"], "1.250")


def test_answer__no_limiter(clock: Clock) -> None:
    """At a rate of 0 nothing is refused."""
    sandbox = Sandbox(Settings(rate_per_minute=0, burst=0), clock)

    statuses = {sandbox.answer(get(USER_7)).status for _ in range(300)}

    assert statuses == {200}


def test_answer__refresh_costs_no_quota(clock: Clock) -> None:
    """Refreshing a token takes nothing from the bucket, and a full bucket does not stop it."""
    sandbox = Sandbox(Settings(rate_per_minute=60, burst=0), clock)
    requests = [refresh(FORM), get(USER_7), refresh(FORM), get(USER_7), refresh(FORM)]

    statuses = [sandbox.answer(request).status for request in requests]

    assert statuses == [200, 200, 200, 429, 200]


def test_answer__refresh(clock: Clock) -> None:
    """A refresh answers what ALM documents; while the token lives, that token again."""
    sandbox = Sandbox(Settings(), clock)

    response = sandbox.answer(refresh(FORM))

    assert json.loads(response.body) == {
        "access_token": ACCESS_TOKEN,
        "refresh_token": REFRESH_TOKEN,
        "token_type": "oauth2",
        "expires_in": 604_800,
        "user_role": "ADMIN",
        "account_id": "1000",
        "user_id": "1",
    }
    assert (response.status, dict(response.headers)["content-type"]) == (200, "application/json")


@pytest.mark.parametrize("name", FORM)
def test_answer__refresh_with_wrong_credentials(name: str, clock: Clock) -> None:
    """Each wrong credential is a 401."""
    sandbox = Sandbox(Settings(), clock)

    response = sandbox.answer(refresh({**FORM, name: "wrong"}))

    assert response == refusal(
        1, 401, "UNAUTHORIZED", "client_id, client_secret or refresh_token is wrong"
    )


def test_answer__refresh_with_credentials_in_the_query(clock: Clock) -> None:
    """Credentials in the query are a 400, even where the body has them too."""
    sandbox = Sandbox(Settings(), clock)

    responses = [
        sandbox.answer(refresh({}, query=f"?{urlencode(FORM)}")),
        sandbox.answer(refresh(FORM, query="?client_id=x")),
    ]

    assert responses == [
        refusal(number, 400, "BAD_REQUEST", "credentials belong into the body") for number in (1, 2)
    ]


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "HEAD"])
def test_answer__refresh_by_another_method(method: str, clock: Clock) -> None:
    """A refresh is a POST."""
    sandbox = Sandbox(Settings(), clock)

    response = sandbox.answer(refresh(FORM, method=method))

    assert response == refusal(1, 405, "METHOD_NOT_ALLOWED", method)


def test_answer__no_other_way_to_a_token(clock: Clock) -> None:
    """Neither ``/oauth/token`` nor the check that puts the token in a URL is there."""
    sandbox = Sandbox(Settings(), clock)

    statuses = [
        sandbox.answer(get(path)).status
        for path in ("/oauth/token", f"/oauth/token/check?access_token={ACCESS_TOKEN}")
    ]

    assert statuses == [404, 404]


def test_answer__token_lifetime(clock: Clock) -> None:
    """After so many requests the token is dead until it is refreshed; then the new one lives as long."""
    sandbox = Sandbox(Settings(token_lifetime=2), clock)
    first = [sandbox.answer(get(USER_7)).status for _ in range(4)]

    fresh = json.loads(sandbox.answer(refresh(FORM)).body)["access_token"]

    old = sandbox.answer(get(USER_7)).status
    second = [sandbox.answer(get(USER_7, authorization=f"oauth {fresh}")).status for _ in range(2)]
    assert (first, fresh, old, second) == (
        [200, 200, 401, 401],
        f"{ACCESS_TOKEN}-2",
        401,
        [200, 401],
    )


def test_answer__dead_token(clock: Clock) -> None:
    """The token dies in the middle: 401 until a refresh brings a new one."""
    sandbox = faulty("page=2:dead-token", clock)
    before = [sandbox.answer(get(target)).status for target in (USER_7, SECOND_OF_7, USER_7)]

    fresh = json.loads(sandbox.answer(refresh(FORM)).body)["access_token"]

    after = [
        sandbox.answer(get(SECOND_OF_7, authorization=f"oauth {token}")).status
        for token in (ACCESS_TOKEN, fresh)
    ]
    assert (before, fresh, after) == ([200, 401, 401], f"{ACCESS_TOKEN}-2", [401, 200])


def test_answer__same_token(clock: Clock) -> None:
    """The token lives but is refused: a refresh gives it back, and it is refused again."""
    sandbox = faulty("page=2:same-token", clock)
    before = [sandbox.answer(get(target)).status for target in (USER_7, SECOND_OF_7)]

    same = json.loads(sandbox.answer(refresh(FORM)).body)["access_token"]

    after = [sandbox.answer(get(target)).status for target in (USER_7, SECOND_OF_7)]
    assert (before, same, after) == ([200, 401], ACCESS_TOKEN, [401, 401])


@pytest.mark.parametrize(
    ("what", "status", "headers", "body"),
    [
        (
            "html",
            200,
            {"content-type": "text/html"},
            b"<!DOCTYPE html><html><body>Please sign in to the network.</body></html>",
        ),
        ("empty", 200, {"content-type": JSON_API}, b""),
        ("garbage", 200, {"content-type": JSON_API}, b'{"data":[{"id":"course:1_2'),
        (
            "schema",
            200,
            {"content-type": JSON_API},
            b'{"data":[{"id":7,"type":"learningObjectInstanceEnrollment"}]}',
        ),
        ("redirect", 302, {"location": "https://evil.example/primeapi/v2"}, b""),
        (
            "bad-gzip",
            200,
            {"content-type": JSON_API, "content-encoding": "gzip"},
            b"this is no gzip",
        ),
    ],
)
def test_answer__replaced(
    what: str, status: int, headers: dict[str, str], body: bytes, clock: Clock
) -> None:
    """These faults put another answer in the page's place; date, request id and quota stay ALM's."""
    sandbox = faulty(f"*:{what}", clock)

    response = sandbox.answer(get(USER_7))

    common = (("date", DATE), ("server", "openresty"), ("x-request-id", "sandbox-1"), *QUOTA)
    assert response == Response(status, (*common, *headers.items()), body)


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_answer__big(encoding: str, clock: Clock) -> None:
    """A body of more than 32 MB, not compressed whatever is accepted."""
    sandbox = faulty("*:big", clock)

    response = sandbox.answer(get(USER_7, **{"accept-encoding": encoding}))

    assert (len(response.body), dict(response.headers)["content-encoding"]) == (
        33 * 1024**2,
        "identity",
    )


def test_answer__bomb(clock: Clock) -> None:
    """Some 40 KB of gzip that unpack to 40 MB."""
    sandbox = faulty("*:bomb", clock)

    response = sandbox.answer(get(USER_7))

    assert (len(response.body) // 1000, len(gzip.decompress(response.body))) == (40, 40 * 1024**2)
    assert dict(response.headers)["content-encoding"] == "gzip"


@pytest.mark.parametrize("what", sorted(IN_THE_ANSWER))
def test_answer__every_fault_in_the_answer(what: str, clock: Clock) -> None:
    """Every fault of the table makes an answer that the honest sandbox does not give, and only where it is told to."""
    honest = Sandbox(Settings(), clock)
    sandbox = faulty(f"user=7+page=2:{what}x*", clock)
    elsewhere = [sandbox.answer(get(target)) for target in (USER_7, DOCUMENTED)]

    response = sandbox.answer(get(SECOND_OF_7))

    assert elsewhere == [honest.answer(get(target)) for target in (USER_7, DOCUMENTED)]
    assert response != honest.answer(get(SECOND_OF_7))


@pytest.mark.parametrize("what", sorted(ON_THE_WAY.keys() - {"slow"}))
def test_answer__every_fault_on_the_way(what: str, clock: Clock) -> None:
    """The answer itself is honest, and says which fault its bytes are to meet."""
    honest = Sandbox(Settings(), clock).answer(get(USER_7))
    sandbox = faulty(f"page=1:{what}", clock)

    responses = [sandbox.answer(get(USER_7)) for _ in range(2)]

    assert [(response.status, response.body) for response in responses] == [(200, honest.body)] * 2
    assert [response.fault for response in responses] == [
        Fault(what, None, (("page", "1"),), 1),
        None,
    ]


def test_answer__slow(clock: Clock) -> None:
    """How late it is to come is told with the answer; the sandbox itself does not wait."""
    sandbox = faulty("*:slow/2.5", clock)

    response = sandbox.answer(get(USER_7))

    assert (response.fault, clock.monotonic()) == (Fault("slow", "2.5", (), 1), 0)


@pytest.mark.parametrize(
    ("status", "title"),
    [
        (400, "BAD_REQUEST"),
        (401, "UNAUTHORIZED"),
        (403, "FORBIDDEN"),
        (404, "NOT_FOUND"),
        (406, "NOT_ACCEPTABLE"),
    ],
)
def test_answer__status_by_script(status: int, title: str, clock: Clock) -> None:
    """A status of the script has ALM's error body, once."""
    sandbox = faulty(f"page=1:{status}", clock)

    response = sandbox.answer(get(USER_7))

    assert response == refusal(1, status, title, "by the fault script")
    assert sandbox.answer(get(USER_7)).status == 200


@pytest.mark.parametrize("status", range(500, 600))
def test_answer__5xx_by_script(status: int, clock: Clock) -> None:
    """What the proxy in front answers is HTML."""
    sandbox = faulty(f"page=1:{status}", clock)

    response = sandbox.answer(get(USER_7))

    common = (("date", DATE), ("server", "openresty"), ("x-request-id", "sandbox-1"), *QUOTA)
    assert response == Response(
        status,
        (*common, ("content-type", "text/html")),
        f"<html><body><h1>{status}</h1></body></html>".encode(),
    )


@pytest.mark.parametrize(
    ("what", "retry_after"),
    [
        ("429", {}),
        ("429/", {}),
        ("429/3", {"retry-after": "3"}),
        ("429/0.42", {"retry-after": "0.42"}),
        ("429/soon", {"retry-after": "soon"}),
        ("429/Sun, 09 Jun 2024 13:05:19 GMT", {"retry-after": "Sun, 09 Jun 2024 13:05:19 GMT"}),
    ],
)
def test_answer__429_by_script(what: str, retry_after: dict[str, str], clock: Clock) -> None:
    """The script's 429 is ALM's, with the retry-after that it names: seconds, a date, garbage or none."""
    sandbox = faulty(f"page=1:{what}", clock)

    response = sandbox.answer(get(USER_7))

    common = (
        ("date", DATE),
        ("server", "openresty"),
        ("x-request-id", "sandbox-1"),
        *QUOTA,
        ("content-type", "application/json"),
    )
    assert response == Response(
        429, (*common, *retry_after.items()), b'{"message":"429 Too many requests"}'
    )


@pytest.mark.parametrize(
    ("script", "statuses"),
    [
        ("page=2:503x3", [200, 503, 503, 503, 200]),
        ("page=2:503x*", [200, 503, 503, 503, 503]),
        ("request=3:503x*", [200, 200, 503, 200, 200]),
        ("user=8:503x*", [200, 200, 200, 200, 200]),
        ("page=2:503,page=2:502", [200, 503, 502, 200, 200]),
        ("*:503x2", [503, 503, 200, 200, 200]),
    ],
)
def test_answer__script(script: str, statuses: list[int], clock: Clock) -> None:
    """Faults happen at their place, as often as told, one after another."""
    sandbox = faulty(script, clock)

    answered = [sandbox.answer(get(target)).status for target in (USER_7, *[SECOND_OF_7] * 4)]

    assert answered == statuses


def test_answer__every_request_has_a_number_for_the_script(clock: Clock) -> None:
    """A refresh is a request as well: it counts, though no fault happens to it."""
    sandbox = faulty("request=1:503,request=2:502", clock)

    statuses = [sandbox.answer(request).status for request in (refresh(FORM), get(USER_7))]

    assert statuses == [200, 502]


def test_answer__gzip(clock: Clock) -> None:
    """Who accepts gzip gets gzip, the same bytes every time; the content is the same."""
    sandbox = Sandbox(Settings(), clock)
    plain = sandbox.answer(get(USER_7))

    responses = [
        sandbox.answer(get(USER_7, **{"accept-encoding": "gzip, deflate"})) for _ in range(2)
    ]

    assert [gzip.decompress(response.body) for response in responses] == [plain.body, plain.body]
    assert responses[0].body == responses[1].body
    assert [dict(response.headers).get("content-encoding") for response in (plain, *responses)] == [
        None,
        "gzip",
        "gzip",
    ]


def test_answer__gzip_of_refusals(clock: Clock) -> None:
    """Refusals are compressed as well, as ALM's proxy does it."""
    sandbox = Sandbox(Settings(), clock)

    response = sandbox.answer(get(f"{USER_7}?sort=name", **{"accept-encoding": "gzip"}))

    assert (
        gzip.decompress(response.body)
        == refusal(1, 400, "BAD_REQUEST", "sort name is not known").body
    )


def test_answer__date_is_the_clocks(clock: Clock) -> None:
    """The date is that of the sandbox's clock."""
    sandbox = Sandbox(Settings(), clock)

    clock.sleep(86_400)
    response = sandbox.answer(get(USER_7))

    assert dict(response.headers)["date"] == "Mon, 10 Jun 2024 13:05:09 GMT"


def test_answer__include(clock: Clock) -> None:
    """What ``include`` asks for comes along, and the next link asks for it again."""
    sandbox = Sandbox(Settings(), clock)

    response = sandbox.answer(
        get("/primeapi/v2/users/20941371/enrollments?page[limit]=1&include=learner")
    )

    document = json.loads(response.body)
    assert document["included"] == [
        {"id": "20941371", "type": "user", "attributes": {"name": "Sandbox 20941371"}}
    ]
    assert "include=learner&page[cursor]=" in urlsplit(document["links"]["next"]).query


def test_answer__determined(clock: Clock) -> None:
    """Two sandboxes of the same settings give the same answers to the same requests."""
    requests = [
        get(USER_7),
        get(SECOND_OF_7),
        get(DOCUMENTED),
        refresh(FORM),
        get(f"{USER_7}?include=loInstance.loResources"),
    ]

    answers = [
        [sandbox.answer(request) for request in requests]
        for sandbox in (Sandbox(Settings(), clock), Sandbox(Settings(), clock))
    ]

    assert answers[0] == answers[1]
