"""The sandbox over HTTP: what travels, how it fails to, and what of it is written down."""

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
from connector.sandbox.faults import ON_THE_WAY, parse_faults
from connector.sandbox.learners import enrollments_of
from connector.sandbox.server import SandboxServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CANARY = "canary-c4n4ry"
HEADERS = {"Accept": "application/vnd.api+json", "Authorization": f"oauth {ACCESS_TOKEN}"}
USER_7 = "/primeapi/v2/users/7/enrollments?page[limit]=5"
REFRESH = "/oauth/token/refresh"
FORM = urlencode(
    {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "refresh_token": REFRESH_TOKEN}
)
# Silence as long as this counts as silence.
PATIENCE_SECONDS = 0.4
SECRETS = (ACCESS_TOKEN, CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN, CANARY)

# Whether a head comes, and how it ends.
ON_THE_WAY_TOLD = {
    "close": (False, "closed"),
    "cut": (True, "closed"),
    "cut-chunked": (True, "closed"),
    "drip": (True, "dripping"),
    "reset": (False, "reset"),
    "slow/0.1": (True, "silent"),
    "stall": (True, "silent"),
    "stall-headers": (False, "silent"),
}


@pytest.fixture
def serve() -> Iterator[Callable[..., SandboxServer]]:
    """Return what starts a server with a fault script, and keywords for the server itself; all are stopped in the end."""
    with ExitStack() as stack:
        yield lambda script="", **more: stack.enter_context(
            SandboxServer(
                Settings(faults=parse_faults([script] if script else []), enrollments_per_user=20),
                **more,
            )
        )


def connect(server: SandboxServer) -> HTTPConnection:
    """Return a connection to *server* that is not yet open."""
    return HTTPConnection(urlsplit(server.url).netloc, timeout=10)


def ask(
    server: SandboxServer,
    target: str = USER_7,
    method: str = "GET",
    body: str | None = None,
    **headers: str,
) -> tuple[int, bytes]:
    """Return status and body of one request over a connection of its own."""
    connection = connect(server)
    try:
        connection.request(method, target, body=body, headers={**HEADERS, **headers})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def exchange(server: SandboxServer, target: str = USER_7) -> tuple[bytes, bytes, str]:
    """Return what comes for a request in a while: head, body, and how it ended: closed, reset, silent or dripping."""
    lines = (
        f"GET {target} HTTP/1.1",
        "Host: sandbox.example",
        *(f"{name}: {value}" for name, value in HEADERS.items()),
    )
    came = bytearray()
    ending = ""
    with socket.create_connection(
        ("127.0.0.1", urlsplit(server.url).port), timeout=PATIENCE_SECONDS
    ) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        ends_at = time.monotonic() + 2 * PATIENCE_SECONDS
        while not ending:
            try:
                piece = connection.recv(65_536)
                came += piece
                ending = "closed" if not piece else "dripping" if time.monotonic() > ends_at else ""
            except ConnectionResetError:
                ending = "reset"
            except TimeoutError:
                ending = "silent"
    head, _, body = bytes(came).partition(b"\r\n\r\n")
    return head, body, ending


def status_of(connection: HTTPConnection, method: str, target: str, body: str | None) -> int:
    """Return the status of one of several requests over *connection*."""
    connection.request(method, target, body=body, headers=HEADERS)
    response = connection.getresponse()
    response.read()
    return response.status


def document(address: str) -> bytes:
    """Return the honest body of the first page of learner 7, asked for at *address*."""
    courses = [one for one in enrollments_of("7", 20) if one["id"].startswith("course:")]
    served = courses[:5]
    cursor = "eyJqb2JBaWQiOjAsImNvdXJzZSI6NSwibGVhcm5pbmdQcm9ncmFtIjowLCJjZXJ0aWZpY2F0aW9uIjowfQ=="
    links = {"self": f"{address}{USER_7}", "next": f"{address}{USER_7}&page[cursor]={cursor}"}
    return json.dumps({"links": links, "data": served}, separators=(",", ":")).encode()


def test_server__on_loopback_alone(serve: Callable[..., SandboxServer]) -> None:
    """Port 0 is any free port, of loopback; two servers do not meet."""
    servers = [serve(), serve()]

    addresses = [urlsplit(server.url) for server in servers]

    assert [(one.scheme, one.hostname) for one in addresses] == [("http", "127.0.0.1")] * 2
    assert len({one.port for one in addresses}) == 2


def test_server__page(serve: Callable[..., SandboxServer]) -> None:
    """A page travels whole, its links on the host that the request named."""
    server = serve()

    answer = ask(server, Host="alm.example:81")

    assert answer == (200, document("http://alm.example:81"))


def test_server__head_of_an_answer(serve: Callable[..., SandboxServer]) -> None:
    """The head has what ALM's has, the body's length, and nothing of Python's."""
    server = serve()
    connection = connect(server)
    connection.request("GET", USER_7, headers=HEADERS)

    response = connection.getresponse()

    body = response.read()
    connection.close()
    headers = {name: value for name, value in response.getheaders() if name != "date"}
    assert headers == {
        "server": "openresty",
        "x-request-id": "sandbox-1",
        "x-rate-limit": "100r/m",
        "x-burst": "100",
        "content-type": "application/vnd.api+json;charset=UTF-8",
        "content-length": str(len(body)),
    }
    assert (response.version, response.reason, body) == (11, "OK", document(server.url))


def test_server__keeps_the_connection(serve: Callable[..., SandboxServer]) -> None:
    """Requests share a connection, refusals and bodies that nobody reads included."""
    server = serve()
    requests = [
        ("GET", USER_7, None),
        ("PUT", USER_7, "x" * 9_000),
        ("POST", REFRESH, FORM),
        ("GET", "/", None),
        ("GET", USER_7, None),
    ]
    connection = connect(server)
    connection.connect()
    opened = connection.sock

    statuses = [status_of(connection, *request) for request in requests]

    is_the_same = connection.sock is opened
    connection.close()
    assert (statuses, is_the_same) == ([200, 405, 200, 404, 200], True)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_server__every_method_reaches_the_sandbox(
    method: str, serve: Callable[..., SandboxServer]
) -> None:
    """Another method is refused as ALM refuses it, not as http.server does."""
    server = serve()

    status, body = ask(server, method=method)

    assert (status, json.loads(body)) == (
        405,
        {"status": "405", "title": "METHOD_NOT_ALLOWED", "source": {"info": method}},
    )


def test_server__head_has_no_body(serve: Callable[..., SandboxServer]) -> None:
    """The answer to HEAD is a head."""
    server = serve()

    answer = ask(server, method="HEAD")

    assert answer == (405, b"")


def test_server__absolute_address(serve: Callable[..., SandboxServer]) -> None:
    """A request that names the whole address, as through a proxy, is the same request, its query included."""
    server = serve()

    answer = ask(server, f"{server.url}{USER_7}")

    assert answer == (200, document(server.url))


def test_server__latency(serve: Callable[..., SandboxServer]) -> None:
    """Every answer comes late by what was set."""
    server = serve(latency_seconds=0.15)
    began = time.monotonic()

    status, _ = ask(server)

    assert (status, time.monotonic() - began >= 0.15) == (200, True)


def test_server__many_at_once(serve: Callable[..., SandboxServer]) -> None:
    """Requests of many connections are answered beside each other, each with a number of its own."""
    server = serve(latency_seconds=0.2)
    threads = [threading.Thread(target=ask, args=(server,)) for _ in range(20)]
    began = time.monotonic()

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert time.monotonic() - began < 20 * 0.2
    assert sorted(entry["n"] for entry in server.requests) == list(range(1, 21))


def test_close(serve: Callable[..., SandboxServer]) -> None:
    """``close`` ends the connection before an answer."""
    server = serve("*:close")

    assert exchange(server) == (b"", b"", "closed")


def test_reset(serve: Callable[..., SandboxServer]) -> None:
    """``reset`` resets it before an answer."""
    server = serve("*:reset")

    assert exchange(server) == (b"", b"", "reset")


def test_stall_headers(serve: Callable[..., SandboxServer]) -> None:
    """``stall-headers`` is silence from the start."""
    server = serve("*:stall-headers")

    assert exchange(server) == (b"", b"", "silent")


def test_stall(serve: Callable[..., SandboxServer]) -> None:
    """``stall`` is a whole head, then silence."""
    server = serve("*:stall")
    whole = document("http://sandbox.example")

    head, body, ending = exchange(server)

    assert (head.split(b"\r\n")[0], head.split(b"\r\n")[-1]) == (
        b"HTTP/1.1 200 OK",
        f"content-length: {len(whole)}".encode(),
    )
    assert (body, ending) == (b"", "silent")


def test_cut(serve: Callable[..., SandboxServer]) -> None:
    """``cut`` promises the whole body and ends in its middle."""
    server = serve("*:cut")
    whole = document("http://sandbox.example")

    head, body, ending = exchange(server)

    assert head.split(b"\r\n")[-1] == f"content-length: {len(whole)}".encode()
    assert (body, ending) == (whole[: len(whole) // 2], "closed")


def test_cut_chunked(serve: Callable[..., SandboxServer]) -> None:
    """``cut-chunked`` promises a chunk of the whole body and ends in its middle."""
    server = serve("*:cut-chunked")
    whole = document("http://sandbox.example")

    head, body, ending = exchange(server)

    assert head.split(b"\r\n")[-1] == b"transfer-encoding: chunked"
    assert b"content-length" not in head
    assert (body, ending) == (f"{len(whole):x}\r\n".encode() + whole[: len(whole) // 2], "closed")


def test_drip(serve: Callable[..., SandboxServer]) -> None:
    """``drip`` sends the body a byte every 50 ms."""
    server = serve("*:drip")
    connection = connect(server)
    connection.request("GET", USER_7, headers=HEADERS)
    response = connection.getresponse()
    began = time.monotonic()

    pieces = [response.read1(100), response.read(4)]

    seconds = time.monotonic() - began
    connection.close()
    assert b"".join(pieces).startswith(b'{"lin')
    assert 0.15 <= seconds < 5
    assert len(pieces[0]) < 10


def test_slow(serve: Callable[..., SandboxServer]) -> None:
    """``slow/SECONDS`` sends the whole answer late."""
    server = serve("*:slow/0.2")
    began = time.monotonic()

    answer = ask(server)

    assert (answer, time.monotonic() - began >= 0.2) == ((200, document(server.url)), True)


def test_on_the_way__every_fault_is_tried() -> None:
    """The table of this module has every fault of the sandbox's."""
    names = {what.partition("/")[0] for what in ON_THE_WAY_TOLD}

    assert names == ON_THE_WAY.keys()


@pytest.mark.parametrize(("what", "told"), ON_THE_WAY_TOLD.items())
def test_server__survives_every_fault_on_the_way(
    what: str, told: tuple[bool, str], serve: Callable[..., SandboxServer]
) -> None:
    """Each fault ends as it should, and the next request is answered; both are noted as the honest answers that they were."""
    server = serve(f"page=1:{what}")
    head, _, ending = exchange(server)

    answer = ask(server)

    assert (head.startswith(b"HTTP/1.1 200 OK\r\n"), ending) == told
    assert answer == (200, document(server.url))
    assert [entry["status"] for entry in server.requests] == [200, 200]


@pytest.mark.parametrize("what", ["stall", "stall-headers", "drip", "slow/60"])
def test_server__stops_in_the_middle_of_a_fault(what: str) -> None:
    """Stopping the server does not wait for what it holds back."""
    with SandboxServer(Settings(faults=parse_faults([f"*:{what}"]))) as server:
        connection = connect(server)
        connection.request("GET", USER_7, headers=HEADERS)
        began = time.monotonic()

    seconds = time.monotonic() - began
    connection.close()
    assert seconds < 5


def test_server__gives_the_port_back() -> None:
    """A port can be served again once its server has stopped."""
    with SandboxServer(Settings()) as first:
        port = urlsplit(first.url).port or 0

    with SandboxServer(Settings(), port=port) as second:
        status, _ = ask(second)

    assert (second.url, status) == (first.url, 200)


def test_server__port_in_use(serve: Callable[..., SandboxServer]) -> None:
    """A port that is served already cannot be had."""
    port = urlsplit(serve().url).port or 0

    with pytest.raises(OSError, match="Address already in use"):
        SandboxServer(Settings(), port=port)


def test_record__entries_and_log_are_the_same(serve: Callable[..., SandboxServer]) -> None:
    """Each request is one line of JSON: number, method, target, status and the headers that tell what was asked."""
    log = io.StringIO()
    server = serve("page=1:503", log=log)
    ask(server, **{"User-Agent": "tests/1", "Accept-Encoding": "gzip", "X-Other": "left out"})
    ask(server, REFRESH, "POST", FORM, **{"Content-Type": "application/x-www-form-urlencoded"})

    entries = [json.loads(line) for line in log.getvalue().splitlines()]

    common = {
        "accept": "application/vnd.api+json",
        "authorization": "oauth <ACCESS_TOKEN>",
        "host": urlsplit(server.url).netloc,
    }
    first = {**common, "accept-encoding": "gzip", "user-agent": "tests/1"}
    second = {
        **common,
        "accept-encoding": "identity",
        "content-type": "application/x-www-form-urlencoded",
    }
    expected: list[dict[str, Any]] = [
        {"n": 1, "method": "GET", "target": USER_7, "status": 503, "headers": first},
        {"n": 2, "method": "POST", "target": REFRESH, "status": 200, "headers": second},
    ]
    assert (entries, server.requests) == (expected, expected)


@pytest.mark.parametrize(
    ("authorization", "logged"),
    [
        (f"oauth {CANARY}", "oauth <ACCESS_TOKEN>"),
        (f"Bearer {CANARY}", "Bearer <ACCESS_TOKEN>"),
        (f"Basic {CANARY}", "Basic <ACCESS_TOKEN>"),
        (CANARY, "<ACCESS_TOKEN>"),
        (f"{CANARY} {CANARY}", "<ACCESS_TOKEN>"),
        (f"oauth\t{CANARY}", "<ACCESS_TOKEN>"),
        (f"oauth={CANARY}", "<ACCESS_TOKEN>"),
    ],
)
def test_record__no_token(
    authorization: str, logged: str, serve: Callable[..., SandboxServer]
) -> None:
    """Of the authorization only a known word is logged, whatever is sent in its place."""
    log = io.StringIO()
    server = serve(log=log)

    ask(server, Authorization=authorization)

    assert server.requests[0]["headers"]["authorization"] == logged
    assert CANARY not in log.getvalue()


@pytest.mark.parametrize(
    ("method", "target", "body", "logged"),
    [
        ("POST", REFRESH, FORM, REFRESH),
        ("POST", REFRESH, urlencode({"client_secret": CANARY}), REFRESH),
        (
            "POST",
            f"{REFRESH}?client_secret={CANARY}&x={CANARY}",
            None,
            f"{REFRESH}?client_secret=<VALUE>&x=<VALUE>",
        ),
        (
            "GET",
            f"/oauth/token/check?access_token={CANARY}",
            None,
            "/oauth/token/check?access_token=<VALUE>",
        ),
        (
            "GET",
            f"{USER_7}&access_token={CANARY}&sort=dateEnrolled",
            None,
            f"{USER_7}&access_token=<VALUE>&sort=dateEnrolled",
        ),
        ("PUT", USER_7, CANARY, USER_7),
    ],
)
def test_record__no_secret(
    method: str, target: str, body: str | None, logged: str, serve: Callable[..., SandboxServer]
) -> None:
    """Bodies are not logged, nor are the values of parameters that the API does not have."""
    log = io.StringIO()
    server = serve(log=log)

    ask(server, target, method, body)

    assert server.requests[0]["target"] == logged
    assert [secret for secret in SECRETS if secret in log.getvalue()] == []


@pytest.mark.parametrize(
    "query",
    [
        "page[limit]=3",
        "page%5Blimit%5D=3&page%5Bcursor%5D=x",
        "filter.loTypes=course,jobAid&filter.states=active",
        "include=learner&sort=-dateEnrolled",
    ],
)
def test_record__the_apis_own_parameters(query: str, serve: Callable[..., SandboxServer]) -> None:
    """What the API's own parameters say is logged as it came."""
    server = serve()

    ask(server, f"/primeapi/v2/users/7/enrollments?{query}")

    assert server.requests[0]["target"] == f"/primeapi/v2/users/7/enrollments?{query}"
