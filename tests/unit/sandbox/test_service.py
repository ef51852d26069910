"""Requests to responses: the documented exchange, refusals, tokens, the quota and the faults."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
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
from connector.sandbox.pages import encode_cursor

if TYPE_CHECKING:
    from tests.support.clock import VirtualClock

ORIGIN = "https://learningmanager.adobe.com"
JSON_API = "application/vnd.api+json"
HEADERS = {"accept": JSON_API, "authorization": f"oauth {ACCESS_TOKEN}"}
USER_7 = "/primeapi/v2/users/7/enrollments"
QUERY_ALL = f"page[limit]=8&filter.loTypes={','.join(LO_TYPES)}"
SECOND_OF_7 = f"{USER_7}?{QUERY_ALL}&page[cursor]={encode_cursor(enrollments_of('7')[:8])}"
REFRESH = "/oauth/token/refresh"
FORM = urlencode(
    {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "refresh_token": REFRESH_TOKEN}
).encode()
COMMON = (
    ("date", "Thu, 29 Jun 2023 12:00:00 GMT"),
    ("server", "openresty"),
    ("x-request-id", "mock-1"),
    ("x-rate-limit", "100r/m"),
    ("x-burst", "100"),
)
NO_TOKEN = "the access token is missing, wrong or expired"
NO_ACCEPT = f"Accept is not {JSON_API}"


def get(target: str = USER_7, **headers: str) -> Request:
    """Return a valid request for *target*, except for *headers*."""
    return Request("GET", target, {**HEADERS, **headers}, ORIGIN)


def refresh(query: str = "", body: bytes = FORM, method: str = "POST") -> Request:
    """Return a request for a refresh."""
    return Request(method, REFRESH + query, {}, ORIGIN, body)


def user(user_id: str, query: str = "") -> Request:
    """Return a valid request for the enrollments of *user_id*."""
    return get(f"/primeapi/v2/users/{user_id}/enrollments{query}")


def faulty(script: str, clock: VirtualClock) -> Sandbox:
    """Return a sandbox with the faults of *script*."""
    return Sandbox(Settings(faults=parse_faults([script])), clock)


def statuses(sandbox: Sandbox, *requests: Request) -> list[int]:
    """Return the status of each response."""
    return [sandbox.answer(request).status for request in requests]


def fresh_token(sandbox: Sandbox) -> str:
    """Return the token of a refresh."""
    return str(json.loads(sandbox.answer(refresh()).body)["access_token"])


def test_answer__documented(clock: VirtualClock, documented: dict[str, Any]) -> None:
    """The documented request gets the documented body and ALM's headers."""
    url = urlsplit(documented["links"]["self"])

    response = Sandbox(Settings(), clock).answer(get(f"{url.path}?{url.query}"))

    headers = (*COMMON, ("content-type", f"{JSON_API};charset=UTF-8"))
    body = json.dumps(documented, separators=(",", ":")).encode()
    assert response == Response(200, headers, body)


@pytest.mark.parametrize(
    ("request_", "status", "title", "info"),
    [
        *((get(authorization=header), 401, "UNAUTHORIZED", NO_TOKEN) for header in ("", "oauth x")),
        (Request("GET", USER_7, {}, ORIGIN), 401, "UNAUTHORIZED", NO_TOKEN),
        *((get(accept=header), 406, "NOT_ACCEPTABLE", NO_ACCEPT) for header in ("", "*/*")),
        (user("7", "?sort=name"), 400, "BAD_REQUEST", "sort name is not known"),
        *(
            (user(name), 404, "NOT_FOUND", f"no user {name}")
            for name in ("4041", "me", "-7", "7.0")
        ),
        (user("4031"), 403, "FORBIDDEN", "the scope does not reach this user"),
        (get(f"{USER_7}/"), 404, "NOT_FOUND", f"no such path: {USER_7}/"),
        (get("/oauth/token/check"), 404, "NOT_FOUND", "no such path: /oauth/token/check"),
        (replace(get(), method="PUT"), 405, "METHOD_NOT_ALLOWED", "PUT"),
        (refresh(method="GET"), 405, "METHOD_NOT_ALLOWED", "GET"),
        (refresh("?client_id=x"), 400, "BAD_REQUEST", "credentials belong into the body"),
        (
            refresh(body=b""),
            401,
            "UNAUTHORIZED",
            "client_id, client_secret or refresh_token is wrong",
        ),
    ],
)
def test_answer__refusal(
    request_: Request, status: int, title: str, info: str, clock: VirtualClock
) -> None:
    """A refusal has ALM's JSON body, which says why."""
    body = f'{{"status":"{title}","title":"{title}","source":{{"info":"{info}"}}}}'.encode()
    headers = (*COMMON, ("content-type", f"{JSON_API};charset=UTF-8"))

    assert Sandbox(Settings(), clock).answer(request_) == Response(status, headers, body)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get(f"{USER_7}?sort=x", accept="x", authorization="x"), 401),
        (get(f"{USER_7}?sort=x", accept="x"), 406),
        (user("4041", "?sort=x"), 400),
        (user("4031", "?sort=x"), 400),
        (get(accept=f"application/json, {JSON_API};charset=UTF-8"), 200),
        (get(authorization=f"Bearer {ACCESS_TOKEN}"), 200),
    ],
)
def test_answer__order_of_checks(request_: Request, status: int, clock: VirtualClock) -> None:
    """ALM checks the quota, then token, header, parameters and user."""
    sandbox = Sandbox(Settings(rate_per_minute=60, burst=0), clock)

    assert statuses(sandbox, request_, request_) == [status, 429]


@pytest.mark.parametrize(
    ("settings", "quota"),
    [
        (Settings(rate_per_minute=0.5, burst=2), ["0.5r/m", "2"]),
        (Settings(has_excess_header=True), ["100r/m", "100", "0.000"]),
        (Settings(rate_per_minute=0, has_excess_header=True), []),
    ],
)
@pytest.mark.parametrize("target", [USER_7, "/", REFRESH])
def test_answer__quota_headers(
    settings: Settings, quota: list[str], target: str, clock: VirtualClock
) -> None:
    """Every response names the limits; without a limiter no response does."""
    headers = dict(Sandbox(settings, clock).answer(get(target)).headers)

    names = ("x-rate-limit", "x-burst", "x-excess-requests-per-second")
    assert [headers[name] for name in names if name in headers] == quota


def test_answer__limiter(clock: VirtualClock) -> None:
    """Over the quota the response is ALM's 429, whose wait has a fraction; a refresh is free."""
    settings = Settings(rate_per_minute=90, burst=1, has_excess_header=True)
    sandbox = Sandbox(settings, clock)
    assert statuses(sandbox, get(), refresh(), get(), refresh()) == [200] * 4

    refused = sandbox.answer(get())

    assert (refused.status, refused.body) == (429, b'{"message":"429 Too many requests"}')
    assert refused.headers[-3:] == (
        ("x-excess-requests-per-second", "1.000"),
        ("content-type", "application/json"),
        ("retry-after", "1.333"),
    )
    clock.sleep(0.5)
    assert statuses(sandbox, get()) == [429]
    clock.sleep(0.2)
    assert statuses(sandbox, get()) == [200]


def test_answer__refresh(clock: VirtualClock) -> None:
    """A refresh gets ALM's documented fields."""
    response = Sandbox(Settings(), clock).answer(refresh())

    assert (response.status, response.headers[-1]) == (200, ("content-type", "application/json"))
    assert json.loads(response.body) == {
        "access_token": ACCESS_TOKEN,
        "refresh_token": REFRESH_TOKEN,
        "token_type": "oauth2",
        "expires_in": 604_800,
        "user_role": "ADMIN",
        "account_id": "1000",
        "user_id": "1",
    }


def test_answer__token_lifetime(clock: VirtualClock) -> None:
    """After its lifetime in requests a token is refused; a refresh brings a new one."""
    sandbox = Sandbox(Settings(token_lifetime=2), clock)
    assert statuses(sandbox, *[get()] * 4) == [200, 200, 401, 401]

    token = fresh_token(sandbox)

    requests = [get(), *[get(authorization=f"oauth {token}")] * 2]
    assert token == f"{ACCESS_TOKEN}-2"
    assert statuses(sandbox, *requests) == [401, 200, 401]


@pytest.mark.parametrize(
    ("fault", "token", "after"),
    [
        ("dead-token", f"{ACCESS_TOKEN}-2", [401, 200]),
        ("same-token", ACCESS_TOKEN, [401, 401]),
    ],
)
def test_answer__token_faults(
    fault: str, token: str, after: list[int], clock: VirtualClock
) -> None:
    """A dead token is replaced by a refresh; a refused one comes back, and is refused again."""
    sandbox = faulty(f"page=2:{fault}", clock)
    assert statuses(sandbox, get(), get(SECOND_OF_7), get()) == [200, 401, 401]

    assert fresh_token(sandbox) == token
    assert statuses(sandbox, get(), get(authorization=f"oauth {token}")) == after


@pytest.mark.parametrize(
    ("fault", "status", "headers", "body"),
    [
        ("empty", 200, {"content-type": JSON_API}, b""),
        ("garbage", 200, {"content-type": JSON_API}, b'{"data":[{"id":"course:1_2'),
        ("redirect", 302, {"location": "https://evil.example/primeapi/v2"}, b""),
        ("429/soon", 429, {"content-type": "application/json", "retry-after": "soon"}, None),
        ("503/5", 503, {"content-type": "text/html", "retry-after": "5"}, None),
        ("429", 429, {"content-type": "application/json"}, None),
        ("403", 403, {"content-type": f"{JSON_API};charset=UTF-8"}, None),
        ("599", 599, {"content-type": "text/html"}, b"<html><body><h1>599</h1></body></html>"),
    ],
)
def test_answer__replacement(
    fault: str, status: int, headers: dict[str, str], body: bytes | None, clock: VirtualClock
) -> None:
    """A fault replaces the page's status, type and body; ALM's own headers stay."""
    response = faulty(f"*:{fault}", clock).answer(get())

    assert (response.status, response.headers) == (status, (*COMMON, *headers.items()))
    assert response.body == body or body is None


def test_answer__big_bodies(clock: VirtualClock) -> None:
    """``big`` is more than 32 MB, never compressed; ``bomb`` is 40 KB that unpack to 40 MB."""
    sandbox = faulty("request=1:big,request=2:bomb", clock)

    big, bomb = (sandbox.answer(get(**{"accept-encoding": "gzip"})) for _ in range(2))

    assert len(big.body) == 33 * 1024**2
    assert len(bomb.body) // 1000 == 40
    assert len(gzip.decompress(bomb.body)) == 40 * 1024**2
    encodings = [dict(response.headers)["content-encoding"] for response in (big, bomb)]
    assert encodings == ["identity", "gzip"]


@pytest.mark.parametrize("fault", sorted(IN_THE_ANSWER))
def test_answer__every_fault_in_the_response(fault: str, clock: VirtualClock) -> None:
    """Every fault changes the response that it is for, and no other."""
    sandbox, honest = faulty(f"user=7+page=2:{fault}x*", clock), Sandbox(Settings(), clock)

    for request in (get(), user("8")):
        assert sandbox.answer(request) == honest.answer(request)
    assert sandbox.answer(get(SECOND_OF_7)) != honest.answer(get(SECOND_OF_7))


@pytest.mark.parametrize("fault", [*sorted(ON_THE_WAY.keys() - {"slow"}), "slow/2.5"])
def test_answer__every_fault_in_transit(fault: str, clock: VirtualClock) -> None:
    """The response is honest, and names the fault that the server is to cause once."""
    sandbox, honest = faulty(f"page=1:{fault}", clock), Sandbox(Settings(), clock)

    first, second = sandbox.answer(get()), sandbox.answer(get())

    name, _, value = fault.partition("/")
    assert first.fault == Fault(name, value or None, (("page", "1"),), 1)
    assert replace(first, fault=None) == honest.answer(get())
    assert (second.fault, second.body, clock.slept) == (None, first.body, [])


def test_answer__number_of_request(clock: VirtualClock) -> None:
    """The script counts every request; a request over the quota uses up no fault."""
    sandbox = faulty("request=1:503,request=2:502", clock)
    assert statuses(sandbox, refresh(), get(), get()) == [200, 502, 200]

    settings = Settings(rate_per_minute=60, burst=0, faults=parse_faults(["user=7:503"]))
    limited = Sandbox(settings, clock)
    assert statuses(limited, user("8"), get()) == [200, 429]
    clock.sleep(1)
    assert statuses(limited, get()) == [503]


def test_answer__gzip(clock: VirtualClock) -> None:
    """A client that accepts gzip gets it, always the same bytes, for pages and refusals."""
    sandbox = Sandbox(Settings(), clock)

    for target in (USER_7, f"{USER_7}?sort=name"):
        plain = sandbox.answer(get(target))
        first, second = (
            sandbox.answer(get(target, **{"accept-encoding": "gzip, deflate"})) for _ in range(2)
        )
        assert gzip.decompress(first.body) == plain.body
        assert first.headers[-1] == ("content-encoding", "gzip")
        assert first.body == second.body
