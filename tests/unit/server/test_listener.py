"""The server's patience, which the process has half a minute of, and its threads."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from connector.sandbox import ACCESS_TOKEN, Settings
from connector.sandbox.faults import parse_faults
from connector.sandbox.server import SandboxServer
from connector.server.app import make_application
from connector.server.listener import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 1.0
KEY = "0123456789abcdef"


@contextmanager
def serving(environ: dict[str, str], *, threads: int, patience: float) -> Iterator[tuple[str, int]]:
    """Serve inside, and yield where."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = Server(make_application(environ, secrets_dir=None), listening, threads, patience)
        thread = threading.Thread(target=server.run)
        thread.start()
        yield server.effective_host, int(server.effective_port)
        server.stop()
        thread.join()


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    """Return where a server with little patience listens."""
    with serving(
        {"ALM_SERVE_KEY": KEY, "ALM_BASE_URL": "sandbox"}, threads=8, patience=PATIENCE
    ) as found:
        yield found


@pytest.mark.parametrize(
    "drip",
    [b"", b"a", b"GET / HTTP/1.1\r\nX-A: b\r\n"],
    ids=["nothing", "a byte now and then", "headers now and then"],
)
def test_patience__ends(drip: bytes, address: tuple[str, int]) -> None:
    """Who has sent no whole request in time is hung up on, however busily he sends."""
    with socket.create_connection(address, timeout=5) as connection:
        began = time.monotonic()
        while time.monotonic() - began < 4 * PATIENCE:
            try:
                connection.sendall(drip)
                connection.settimeout(0.1)
                if not connection.recv(1):
                    break
            except TimeoutError:
                continue
            except OSError:
                break

    assert PATIENCE < time.monotonic() - began < 3 * PATIENCE


def test_patience__is_for_each_request(address: tuple[str, int]) -> None:
    """Who sends whole requests is served for as long as he does."""
    connection = http.client.HTTPConnection(*address, timeout=5)
    for _ in range(6):
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b"ok\n"
        first = connection.sock
        time.sleep(0.4 * PATIENCE)
    assert connection.sock is first
    connection.close()


def test_deadline__of_those_that_wait_for_a_thread() -> None:
    """Waiting for a thread counts: who came while the only one was held up is answered by his own deadline."""
    with SandboxServer(
        Settings(rate_per_minute=0, faults=parse_faults(["*:stall-headersx*"]))
    ) as alm:
        environ = {
            "ALM_SERVE_KEY": KEY,
            "ALM_BASE_URL": alm.url,
            "ALM_ACCESS_TOKEN": ACCESS_TOKEN,
            "ALM_SERVE_DEADLINE": "1",
        }
        with serving(environ, threads=1, patience=30) as address, ThreadPoolExecutor(4) as callers:
            began = time.monotonic()
            statuses = list(callers.map(lambda _: status_of(address), range(4)))

    assert statuses == [504] * 4
    assert time.monotonic() - began < 1.5


def status_of(address: tuple[str, int]) -> int:
    """Return the status that a whole request is answered with."""
    connection = http.client.HTTPConnection(*address, timeout=10)
    connection.request("GET", "/v1/enrollments?user_id=31", headers={"X-API-Key": KEY})
    status = connection.getresponse().status
    connection.close()
    return status


class Stuck:
    """An application that keeps to no deadline."""

    deadline = 0.5

    def __init__(self) -> None:
        self.is_asked, self.may_end = threading.Event(), threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:  # noqa: ARG002 - WSGI's
        """Answer when it may."""
        self.is_asked.set()
        self.may_end.wait(10)
        start_response("200 OK", [("Content-Length", "0")])
        return []


def test_stop__heeds_the_deadline() -> None:
    """Who stops it waits no longer than the deadline, whatever still goes on."""
    stuck = Stuck()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = Server(stuck, listening, 1)
        thread = threading.Thread(target=server.run)
        thread.start()
        with socket.create_connection(listening.getsockname()) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            stuck.is_asked.wait(5)
            server.stop()
            thread.join(3)
            has_ended = not thread.is_alive()
            stuck.may_end.set()
            thread.join()
            while server.active_channels:
                for channel in list(server.active_channels.values()):
                    channel.handle_close()
            server.trigger.close()

    assert has_ended


def test_answers__stay_in_memory() -> None:
    """An answer of megabytes that is slowly taken is in no temporary file: it has learners' records, and the disk may be read-only."""
    body = b"x" * 8_000_000

    class Large:
        deadline = 5.0

        def __call__(self, environ: Any, start_response: Any) -> list[bytes]:  # noqa: ARG002 - as WSGI names it
            start_response("200 OK", [("Content-Length", str(len(body)))])
            return [body]

    def nameless() -> set[str]:
        paths = [
            str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()
        ]
        return {path for path in paths if path.endswith("(deleted)")}

    before = nameless()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = Server(Large(), listening, 1)
        thread = threading.Thread(target=server.run)
        thread.start()
        with socket.create_connection(listening.getsockname(), timeout=5) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            # The head goes first: something of the body says that all of it is kept by now.
            taken = 0
            while taken < 10_000:
                taken += len(connection.recv(1_000))
            opened = nameless() - before
            while piece := connection.recv(1_000_000):
                taken += len(piece)
        server.stop()
        thread.join()

    assert opened == set()
    assert taken > len(body)
