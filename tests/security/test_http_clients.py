"""Hostile clients of the HTTP API: they take neither its memory nor its threads."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from connector.clock import SystemClock
from connector.server.listener import Server, bind
from connector.server.service import EnrollmentService
from connector.server.settings import ServerSettings
from connector.settings import Credentials
from tests.contract.http.conftest import KEY
from tests.security.conftest import MEGABYTE
from tests.support.process import PATIENCE_SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.contract.http.conftest import RunningServer, StartServer

DESCRIPTION = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /v1/enrollments HTTP/1.1\r\nHost: x\r\n"


def connect(api: RunningServer) -> socket.socket:
    """Return a connection with *api*, whose client takes little at a time."""
    host, _, port = api.url.removeprefix("http://").partition(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    connection.settimeout(PATIENCE_SECONDS)
    connection.connect((host, int(port)))
    return connection


def exchange(api: RunningServer, request: bytes) -> bytes:
    """Return everything that comes until the server closes the connection."""
    received = b""
    with connect(api) as connection:
        connection.sendall(request)
        while piece := connection.recv(65_536):
            received += piece
    return received


def peak_of(api: RunningServer) -> int:
    """Return the most memory that the server's process has had, in bytes (Linux: proc(5))."""
    status = Path(f"/proc/{api.process.pid}/status").read_text(encoding="utf-8")
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024


def test_pipelining__takes_no_memory(start_server: StartServer) -> None:
    """Connections without a key that pipeline requests and never read take no memory."""
    api = start_server()
    exchange(api, DESCRIPTION)
    before = peak_of(api)

    with contextlib.ExitStack() as stack:
        for _ in range(50):
            connection = stack.enter_context(connect(api))
            connection.settimeout(0)
            with contextlib.suppress(BlockingIOError, ConnectionError):
                connection.sendall(DESCRIPTION * 5_000)
        assert api.path("GET", "/healthz").text == "ok\n"
        time.sleep(1)
        assert api.path("GET", "/healthz").text == "ok\n"

    assert peak_of(api) - before < 50 * MEGABYTE


def test_slow_readers__block_no_thread() -> None:
    """Clients that never read their responses take no thread from the others."""

    def application(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        large = environ["PATH_INFO"] == "/large"
        yield from [b"x" * MEGABYTE] * (24 if large else 0)
        yield b"ok"

    with bind("127.0.0.1", 0) as listening, contextlib.ExitStack() as stack:
        server = Server(application, listening, threads=2, grace=1)
        thread = threading.Thread(target=server.run)
        thread.start()
        stack.callback(thread.join)
        stack.callback(server.stop)
        address = listening.getsockname()
        for _ in range(6):
            slow = stack.enter_context(socket.create_connection(address))
            slow.sendall(b"GET /large HTTP/1.0\r\n\r\n")

        with socket.create_connection(address, timeout=PATIENCE_SECONDS) as other:
            other.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            received = other.recv(65_536)
            while piece := other.recv(65_536):
                received += piece

        assert received.endswith(b"ok")
        wait_until(
            lambda: sum(one.total_outbufs_len for one in server.connections) <= 64 * MEGABYTE
        )


def test_slow_readers__are_disconnected() -> None:
    """A client that reads a byte now and then keeps its connection for a bounded time."""

    def application(_environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"x" * 20 * MEGABYTE]

    with bind("127.0.0.1", 0) as listening, contextlib.ExitStack() as stack:
        server = Server(application, listening, threads=2, grace=1, timeout=0.5)
        thread = threading.Thread(target=server.run)
        thread.start()
        stack.callback(thread.join)
        stack.callback(server.stop)
        slow = stack.enter_context(socket.create_connection(listening.getsockname()))
        slow.sendall(b"GET / HTTP/1.0\r\n\r\n")

        wait_until(lambda: slow.recv(1) and not server.connections)


MALFORMED = {
    "both lengths": POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both lengths, the other way": POST
    + b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nX",
    "both lengths in lower case": POST
    + b"transfer-encoding: identity\r\ncontent-length: 2\r\n\r\n{}",
    "a length of 5,000 digits": POST + b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\n",
    "a length of 5,000 zeros": POST + b"Content-Length: " + b"0" * 5_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", MALFORMED.values(), ids=MALFORMED)
def test_lengths__are_refused(request_bytes: bytes, start_server: StartServer) -> None:
    """Two lengths, or one of thousands of digits, get 400, and the connection is closed."""
    api = start_server()

    received = exchange(api, request_bytes + DESCRIPTION)

    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert b"Connection: close" in head.splitlines()
    assert received.count(b"HTTP/1.") == 1
    assert b'"code":64' in body
    assert api.path("GET", "/healthz").text == "ok\n"


@pytest.mark.parametrize("length", [7, 16_385, 100_000])
def test_token__is_bounded(length: int, start_server: StartServer) -> None:
    """A token of fewer than 8 or more than 16,384 characters is refused before a run begins."""
    api = start_server()
    headers = {"Host": "x", "X-API-Key": KEY, "X-ALM-Token": "a" * length}
    lines = "\r\n".join(f"{name}: {value}" for name, value in headers.items())

    received = exchange(api, f"GET /v1/enrollments?user_id=31 HTTP/1.1\r\n{lines}\r\n\r\n".encode())

    # The head of a request has at most 16 KB.
    assert received.startswith(b"HTTP/1.1 400 " if length < 10_000 else b"HTTP/1.0 431 ")


def test_tokens__of_many_callers_are_not_kept_as_patterns(tmp_path: Path) -> None:
    """However many callers bring long tokens, little more than the tokens is kept."""
    settings = ServerSettings(SecretStr(KEY), 25.0, None, tmp_path)
    service = EnrollmentService(settings, SystemClock())
    text = 'an error of "the server"'

    def serve(number: int) -> None:
        token = SecretStr(f"{number:04}" + "aB3-" * 4_000)
        _, redactor = service.account(Credentials(token), 1.0, is_own=False)
        assert redactor.clean(f"{text} {token.get_secret_value()}") == f"{text} ***"
        assert redactor.clean_value({"a": token.get_secret_value()}) == {"a": "***"}

    for number in range(40):
        serve(number)
    tracemalloc.start()
    for number in range(40, 240):
        serve(number)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert grown < 200 * 16_384 * 4
