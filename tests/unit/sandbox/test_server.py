"""The sandbox over HTTP: its responses, their faults in transit, and the log without secrets."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from contextlib import ExitStack
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import pytest

from connector.sandbox import ACCESS_TOKEN, CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN, Settings
from connector.sandbox.faults import parse_faults
from connector.sandbox.learners import enrollments_of
from connector.sandbox.server import SandboxServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Serve = Callable[..., SandboxServer]

CANARY = "canary-c4n4ry"
HEADERS = {"Accept": "application/vnd.api+json", "Authorization": f"oauth {ACCESS_TOKEN}"}
USER_7 = "/primeapi/v2/users/7/enrollments?page[limit]=5"
REFRESH = "/oauth/token/refresh"
FORM = urlencode(
    {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "refresh_token": REFRESH_TOKEN}
)
SECRETS = (ACCESS_TOKEN, CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN, CANARY)
# This much silence is a stall.
STALL_SECONDS = 0.4


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Return a function that starts servers with a fault script and keywords."""
    with ExitStack() as stack:

        def start(script: str = "", **keywords: Any) -> SandboxServer:
            faults = parse_faults([script] if script else [])
            settings = Settings(faults=faults, enrollments_per_user=20)
            return stack.enter_context(SandboxServer(settings, **keywords))

        yield start


def fetch(
    server: SandboxServer,
    target: str = USER_7,
    method: str = "GET",
    body: str | None = None,
    **headers: str,
) -> tuple[int, bytes]:
    """Return status and body of one request over a connection of its own."""
    connection = HTTPConnection(urlsplit(server.url).netloc, timeout=10)
    try:
        connection.request(method, target, body=body, headers={**HEADERS, **headers})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def exchange(server: SandboxServer) -> tuple[bytes, bytes, str]:
    """Return head, body and end of a raw response: closed, reset, silent or dripping."""
    lines = [f"GET {USER_7} HTTP/1.1", f"Host: {urlsplit(server.url).netloc}"]
    lines += [f"{name}: {value}" for name, value in HEADERS.items()]
    received = b""
    address = ("127.0.0.1", urlsplit(server.url).port)
    with socket.create_connection(address, timeout=STALL_SECONDS) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        ends_at, end = time.monotonic() + 2 * STALL_SECONDS, ""
        while not end:
            try:
                piece = connection.recv(65_536)
            except ConnectionResetError:
                end = "reset"
            except TimeoutError:
                end = "silent"
            else:
                received += piece
                if not piece:
                    end = "closed"
                elif time.monotonic() > ends_at:
                    end = "dripping"
    head, _, body = received.partition(b"\r\n\r\n")
    return head, body, end


def page(url: str) -> bytes:
    """Return the first page of learner 7 with links to *url*."""
    data = [
        enrollment
        for enrollment in enrollments_of("7", 20)
        if enrollment["id"].startswith("course:")
    ]
    cursor = "eyJqb2JBaWQiOjAsImNvdXJzZSI6NSwibGVhcm5pbmdQcm9ncmFtIjowLCJjZXJ0aWZpY2F0aW9uIjowfQ=="
    links = {"self": f"{url}{USER_7}", "next": f"{url}{USER_7}&page[cursor]={cursor}"}
    return json.dumps({"links": links, "data": data[:5]}, separators=(",", ":")).encode()


def test_server__full_response(serve: Serve) -> None:
    """The head has ALM's headers and the body's length, and nothing of Python's."""
    server = serve()

    head, body, _ = exchange(server)

    lines = [line for line in head.decode().split("\r\n") if not line.startswith("date: ")]
    assert body == page(server.url)
    assert lines == [
        "HTTP/1.1 200 OK",
        "server: openresty",
        "x-request-id: mock-1",
        "x-rate-limit: 100r/m",
        "x-burst: 100",
        "content-type: application/vnd.api+json;charset=UTF-8",
        f"content-length: {len(body)}",
    ]


def test_server__host_and_absolute_url(serve: Serve) -> None:
    """Links have the request's host; an absolute URL, as sent to a proxy, is the same request."""
    server = serve()

    assert fetch(server, Host="alm.example:81") == (200, page("http://alm.example:81"))
    assert fetch(server, f"{server.url}{USER_7}") == (200, page(server.url))


def test_server__keeps_the_connection(serve: Serve) -> None:
    """Requests share a connection, refusals and bodies that the sandbox ignores included."""
    connection = HTTPConnection(urlsplit(serve().url).netloc, timeout=10)
    connection.connect()
    opened, statuses = connection.sock, []

    for method, target, body in (
        ("GET", USER_7, None),
        ("PUT", USER_7, "x" * 9_000),
        ("POST", REFRESH, FORM),
        ("GET", "/", None),
    ):
        connection.request(method, target, body=body, headers=HEADERS)
        response = connection.getresponse()
        response.read()
        statuses.append(response.status)

    assert statuses == [200, 405, 200, 404]
    assert connection.sock is opened
    connection.close()


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "HEAD"])
def test_server__every_method(method: str, serve: Serve) -> None:
    """ALM refuses other methods, not http.server; a response to HEAD has no body."""
    status, body = fetch(serve(), method=method)

    assert status == 405
    assert (f'"info":"{method}"'.encode() in body) == (method != "HEAD")


def test_server__latency(serve: Serve) -> None:
    """Responses are late by the latency, and connections are served concurrently."""
    server = serve(latency_seconds=0.2)
    threads = [threading.Thread(target=fetch, args=(server,)) for _ in range(20)]
    started_at = time.monotonic()

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 0.2 <= time.monotonic() - started_at < 20 * 0.2
    assert sorted(entry["n"] for entry in server.requests) == list(range(1, 21))


@pytest.mark.parametrize(
    ("fault", "has_head", "length", "end"),
    [
        ("close", False, 0, "closed"),
        ("reset", False, 0, "reset"),
        ("stall-headers", False, 0, "silent"),
        ("stall", True, 0, "silent"),
        ("cut", True, 0.5, "closed"),
        ("slow/0.1", True, 1, "silent"),
    ],
)
def test_server__fault_in_transit(
    fault: str, length: float, end: str, *, has_head: bool, serve: Serve
) -> None:
    """Each fault ends the response in its own way; the next request is served, both are logged."""
    server = serve(f"page=1:{fault}")
    expected = page(server.url)

    head, body, ending = exchange(server)

    assert head.endswith(f"\r\ncontent-length: {len(expected)}".encode()) == has_head
    assert (body, ending) == (expected[: int(len(expected) * length)], end)
    assert fetch(server) == (200, expected)
    assert [entry["status"] for entry in server.requests] == [200, 200]


def test_server__cut_chunked_and_drip(serve: Serve) -> None:
    """``cut-chunked`` ends within a chunk; ``drip`` sends 20 bytes a second."""
    server = serve("request=1:cut-chunked,request=2:drip")
    expected = page(server.url)

    head, half, end = exchange(server)
    _, drops, dripping = exchange(server)

    assert head.endswith(b"\r\ntransfer-encoding: chunked")
    assert half == f"{len(expected):x}\r\n".encode() + expected[: len(expected) // 2]
    assert drops.startswith(b'{"lin')
    assert len(drops) < 40
    assert (end, dripping) == ("closed", "dripping")


@pytest.mark.parametrize("fault", ["stall", "stall-headers", "drip", "slow/60"])
def test_server__stops_during_a_fault(fault: str) -> None:
    """The server stops without waiting for a fault."""
    with SandboxServer(Settings(faults=parse_faults([f"*:{fault}"]))) as server:
        connection = HTTPConnection(urlsplit(server.url).netloc, timeout=10)
        connection.request("GET", USER_7, headers=HEADERS)
        started_at = time.monotonic()

    assert time.monotonic() - started_at < 5
    connection.close()


def test_server__port() -> None:
    """A port is on loopback, exclusive, and free again after its server has stopped."""
    with SandboxServer(Settings()) as first:
        port = urlsplit(first.url).port or 0
        assert first.url == f"http://127.0.0.1:{port}"
        with pytest.raises(OSError, match="Address already in use"):
            SandboxServer(Settings(), port=port)

    with SandboxServer(Settings(), port=port) as second:
        assert fetch(second)[0] == 200


def test_serve__releases_its_port() -> None:
    """What ends the server releases its port."""
    server = SandboxServer(Settings())
    server.closing.set()

    server.serve()

    with SandboxServer(Settings(), port=urlsplit(server.url).port or 0) as second:
        assert second.url == server.url


def test_record__entries(serve: Serve) -> None:
    """Each request is a line of JSON: number, method, target, status, and some headers."""
    log = io.StringIO()
    server = serve("page=1:503", log=log)

    fetch(server, **{"User-Agent": "tests/1", "Accept-Encoding": "gzip", "X-Other": "left out"})
    fetch(server, REFRESH, "POST", FORM, **{"Content-Type": "application/x-www-form-urlencoded"})

    common = {
        "accept": "application/vnd.api+json",
        "authorization": "oauth <ACCESS_TOKEN>",
        "host": urlsplit(server.url).netloc,
    }
    first = {**common, "accept-encoding": "gzip", "user-agent": "tests/1"}
    second = {**common, "accept-encoding": "identity"}
    second["content-type"] = "application/x-www-form-urlencoded"
    assert server.requests == [
        {"n": 1, "method": "GET", "target": USER_7, "status": 503, "headers": first},
        {"n": 2, "method": "POST", "target": REFRESH, "status": 200, "headers": second},
    ]
    assert [json.loads(line) for line in log.getvalue().splitlines()] == server.requests


@pytest.mark.parametrize(
    ("authorization", "logged"),
    [
        (f"Bearer {CANARY}", "Bearer <ACCESS_TOKEN>"),
        *((text, "<ACCESS_TOKEN>") for text in (CANARY, f"{CANARY} a", f"oauth\t{CANARY}")),
    ],
)
def test_record__no_token(authorization: str, logged: str, serve: Serve) -> None:
    """Of the authorization only a known scheme is logged."""
    server = serve()

    fetch(server, Authorization=authorization)

    assert server.requests[0]["headers"]["authorization"] == logged


@pytest.mark.parametrize(
    ("method", "target", "body", "logged"),
    [
        ("POST", REFRESH, FORM, REFRESH),
        ("POST", f"{REFRESH}?a={CANARY}&b={CANARY}", None, f"{REFRESH}?a=<VALUE>&b=<VALUE>"),
        (
            "GET",
            f"{USER_7}&token={CANARY}&sort=dateEnrolled",
            None,
            f"{USER_7}&token=<VALUE>&sort=dateEnrolled",
        ),
        ("PUT", USER_7, CANARY, USER_7),
        *(
            ("GET", f"/users/7/enrollments?{query}", None, f"/users/7/enrollments?{query}")
            for query in (
                "page%5Blimit%5D=3&page%5Bcursor%5D=x",
                "filter.loTypes=course,jobAid&filter.states=active",
                "include=learner&sort=-dateEnrolled",
            )
        ),
    ],
)
def test_record__no_secret(
    method: str, target: str, body: str | None, logged: str, serve: Serve
) -> None:
    """Bodies, and values of parameters that the API does not have, are not logged."""
    log = io.StringIO()
    server = serve(log=log)

    fetch(server, target, method, body)

    assert server.requests[0]["target"] == logged
    assert [secret for secret in SECRETS if secret in log.getvalue()] == []
