"""waitress and its limits: slow, broken and pipelining clients, and the end."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from connector.errors import UsageError
from connector.server.app import ARRIVED_AT
from connector.server.listener import Server, bind
from tests.support.process import PATIENCE_SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
TIMEOUT = 0.3


class Application:
    """Responds with *body* when it may, and keeps the environ of each request."""

    def __init__(self, body: bytes = b"hello", *, may_respond: bool = True) -> None:
        self.environs: list[dict[str, Any]] = []
        self.may_respond = threading.Event()
        if may_respond:
            self.may_respond.set()
        self._body = body

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        """Respond."""
        self.environs.append(environ)
        self.may_respond.wait(PATIENCE_SECONDS)
        start_response("200 OK", [("Content-Length", str(len(self._body)))])
        return [self._body]


@contextmanager
def serving(application: Any, **options: float) -> Iterator[Server]:
    """Run a server on any free port inside, and stop it afterwards."""
    limits: dict[str, Any] = {"threads": 2, "grace": PATIENCE_SECONDS, **options}
    with bind("127.0.0.1", 0) as listening:
        server = Server(application, listening, **limits)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            yield server
        finally:
            server.stop()
            thread.join()


def connect(server: Server) -> socket.socket:
    """Return a connection with *server*."""
    return socket.create_connection(address_of(server), timeout=PATIENCE_SECONDS)


def address_of(server: Server) -> tuple[str, int]:
    """Return the address on which *server* listens."""
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    return host, int(port)


def count_requests(server: Server) -> list[int]:
    """Return how many requests each connection has."""
    return [len(connection.requests) for connection in server.connections]


def receive(connection: socket.socket) -> bytes:
    """Return everything that comes on *connection* until the server closes it."""
    received = b""
    while piece := connection.recv(65_536):
        received += piece
    return received


@pytest.mark.parametrize(
    "version",
    [b"GET / HTTP/1.0\r\n", b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n", b"GET / HTTP/1.1\r\n"],
)
def test_response__closes_the_connection(version: bytes) -> None:
    """Every response announces that it closes its connection, and does."""
    with serving(Application()) as server, connect(server) as connection:
        connection.sendall(version + b"Host: x\r\n\r\n")
        head, _, body = receive(connection).partition(b"\r\n\r\n")

    lines = [line for line in head.splitlines() if not line.startswith(b"Date: ")]
    assert lines == [version[6:14] + b" 200 OK", b"Connection: close", b"Content-Length: 5"]
    assert body == b"hello"


def test_response__to_the_first_of_pipelined_requests() -> None:
    """Only the first request of a connection gets a response, however many a client sends."""
    chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    application = Application()
    with serving(application) as server, connect(server) as connection:
        connection.sendall((chunked + GET) * 200)
        received = receive(connection)

    assert received.count(b"HTTP/1.1 200 OK") == len(application.environs) == 1


def test_request__of_the_limit() -> None:
    """A body of exactly 64 KB reaches the application."""
    application = Application()
    with serving(application) as server, connect(server) as connection:
        connection.sendall(POST + b"Content-Length: 65536\r\n\r\n" + b" " * 65_536)
        assert receive(connection).endswith(b"hello")

    assert [environ["CONTENT_LENGTH"] for environ in application.environs] == ["65536"]


MALFORMED = {
    "no HTTP": (b"hello\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "a malformed header on a kept connection": (
        b"GET / HTTP/1.0\r\nConnection: keep-alive\r\nno header\r\n\r\n",
        400,
    ),
    "two lengths": (POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
    "a negative length": (POST + b"Content-Length: -1\r\n\r\n", 400),
    "a space before the colon": (POST + b"Content-Length : 2\r\n\r\n{}", 400),
    "a bare line feed": (b"POST / HTTP/1.1\r\nHost: x\nX: x\r\n\r\n", 400),
    "a chunk without size": (
        POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        400,
    ),
    "an unknown coding": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    "a coding and a length": (
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}",
        400,
    ),
    "a length and an unknown coding": (
        POST + b"content-length: 2\r\ntransfer-encoding: xchunked\r\n\r\n{}",
        400,
    ),
    "a length and an empty coding": (
        b"POST / HTTP/1.0\r\nContent-Length: 2\r\nTransfer-Encoding:\r\n\r\n{}",
        400,
    ),
    "a length of 5,000 digits": (POST + b"Content-Length: " + b"1" * 5_000 + b"\r\n\r\n", 400),
    "a long path": (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", 431),
    "a long header": (POST + b"X-A: " + b"a" * 20_000 + b"\r\n\r\n", 431),
    "a large body": (POST + b"Content-Length: 65537\r\n\r\n", 413),
    "a huge body": (POST + b"Content-Length: 99999999999999999999\r\n\r\n", 413),
    "large chunks": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n10001\r\n" + b" " * 65_537,
        413,
    ),
    "a large body that is sent": (POST + b"Content-Length: 900000\r\n\r\n" + b" " * 900_000, 413),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_refusal__has_a_document(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A malformed or too large request gets a document, though the client still sends."""
    sent, status = MALFORMED[name]
    application = Application()
    with serving(application) as server, connect(server) as connection:
        connection.sendall(sent)
        head, _, body = receive(connection).partition(b"\r\n\r\n")

    lines = head.decode("ascii").splitlines()
    assert lines[0].startswith(("HTTP/1.0", "HTTP/1.1"))
    assert lines[0].split()[1] == str(status)
    assert [line for line in lines if line.startswith("Connection")] == ["Connection: close"]
    assert "Cache-Control: no-store" in lines
    assert json.loads(body)["error"]["code"] == 64
    assert application.environs == []
    log = rf"alm-enrollments: - - {status} \d\.\d{{3}} s, request id [0-9a-f]{{16}} error 64\n"
    assert re.fullmatch(log, capsys.readouterr().err)


def test_refusal__to_a_client_that_sends_forever() -> None:
    """A client that goes on sending after a refusal is disconnected after a megabyte."""
    with serving(Application()) as server, connect(server) as connection:
        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            connection.sendall(b" " * 64_000_000)
        wait_until(lambda: not server.connections)


@pytest.mark.parametrize(
    "drip",
    [b"", b"a", b"GET / HTTP/1.1\r\nX-A: b\r\n"],
    ids=["nothing", "a byte now and then", "headers now and then"],
)
def test_timeout__of_a_request(drip: bytes) -> None:
    """A client that does not complete its request in time is disconnected, however busy it is."""
    with serving(Application(), timeout=TIMEOUT) as server, connect(server) as connection:
        connection.settimeout(0.1)

        def is_closed() -> bool:
            try:
                connection.sendall(drip)
                return connection.recv(1) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        wait_until(is_closed)


def test_timeout__of_a_response() -> None:
    """A client that reads its response a byte now and then is disconnected."""
    with (
        serving(Application(b"x" * 20_000_000), timeout=TIMEOUT) as server,
        connect(server) as connection,
    ):
        connection.sendall(GET)
        wait_until(lambda: connection.recv(1) and not server.connections)


def test_timeout__of_a_response_in_pieces() -> None:
    """No thread waits for a client that does not read, however many pieces the response has."""

    def application(_environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield from [b"x" * 1_000_000] * 40
        written.set()

    written = threading.Event()
    with serving(application) as server, connect(server) as connection:
        connection.sendall(GET)
        assert written.wait(PATIENCE_SECONDS)


def test_unread__only_so_many_bytes() -> None:
    """Of more unread bytes than allowed, those of the connections that wait longest are dropped."""
    application = Application(b"x" * 20_000_000)

    def unread(server: Server) -> int:
        return sum(connection.total_outbufs_len for connection in server.connections)

    with (
        serving(application, max_unread_bytes=30_000_000) as server,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(5):
            stack.enter_context(connect(server)).sendall(GET)
        wait_until(
            lambda: (
                len(application.environs) == 5
                and 1 <= len(server.connections) < 5
                and unread(server) <= 30_000_000
            )
        )


def test_unread__a_single_response_of_any_size() -> None:
    """A response that is larger than what may wait is sent all the same."""
    application = Application(b"x" * 20_000_000)
    with (
        serving(application, max_unread_bytes=1_000_000) as server,
        connect(server) as connection,
    ):
        connection.sendall(GET)

        assert len(receive(connection)) > 20_000_000


def test_timeout__of_a_client_that_stays() -> None:
    """A client that has its response and stays connected is disconnected."""
    with serving(Application(), timeout=TIMEOUT) as server, connect(server) as connection:
        connection.sendall(GET)
        assert receive(connection).endswith(b"hello")
        wait_until(lambda: not server.connections)


def test_timeout__is_not_for_the_application() -> None:
    """The application may take longer than the timeout."""
    application = Application(may_respond=False)
    with serving(application, timeout=TIMEOUT) as server, connect(server) as connection:
        connection.sendall(GET)
        threading.Timer(3, application.may_respond.set).start()

        assert receive(connection).endswith(b"hello")


def test_arrival__is_before_the_wait_for_a_thread() -> None:
    """The application learns when a request arrived, not when a thread was free for it."""
    application = Application(may_respond=False)
    with serving(application, threads=1) as server, connect(server) as first:
        first.sendall(GET)
        wait_until(lambda: application.environs)
        with connect(server) as second:
            second.sendall(GET)
            wait_until(lambda: count_requests(server) == [1, 1])
            released_at = time.monotonic()
            application.may_respond.set()
            receive(second)

    arrivals = [environ[ARRIVED_AT] for environ in application.environs]
    assert arrivals[0] < arrivals[1] < released_at


def test_response__stays_in_memory() -> None:
    """A large response is in no temporary file: it has learners' records."""

    def unlinked_files() -> set[str]:
        paths = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
        return {str(path) for path in paths if str(path).endswith("(deleted)")}

    before = unlinked_files()
    with serving(Application(b"x" * 20_000_000)) as server, connect(server) as connection:
        connection.sendall(GET)
        # The head comes first: a part of the body shows that the server holds all of it.
        received = len(connection.recv(100, socket.MSG_WAITALL))
        opened = unlinked_files() - before
        received += len(receive(connection))

    assert opened == set()
    assert received > 20_000_000


def test_stop__twice() -> None:
    """A second signal of another kind does no harm, even at the end."""
    with serving(Application()) as server:
        server.stop()
        server.stop()
    server.stop()


def test_stop__finishes_running_requests() -> None:
    """A server that is stopped refuses new connections, closes idle ones, and sends responses."""
    application = Application(may_respond=False)
    with serving(application) as server, connect(server) as running, connect(server) as idle:
        running.sendall(GET)
        wait_until(lambda: application.environs and len(server.connections) == 2)
        server.stop()

        assert receive(idle) == b""
        with pytest.raises(OSError, match="refused"):
            connect(server)
        application.may_respond.set()
        assert receive(running).endswith(b"hello")


def test_stop__after_the_grace() -> None:
    """A server that is stopped does not wait longer for the application than its grace."""
    application = Application(may_respond=False)
    with serving(application, grace=0.2) as server, connect(server) as connection:
        connection.sendall(GET)
        wait_until(lambda: application.environs)
        server.stop()

        assert receive(connection) == b""
        assert server.connections == []
    application.may_respond.set()


@pytest.mark.parametrize(
    ("host", "port", "reason"),
    [
        ("127.0.0.1", None, "Address already in use"),
        ("192.0.2.1", 0, "Cannot assign requested address"),
        ("a" * 64, 0, "that is no host's name"),
    ],
)
def test_bind__is_refused(host: str, port: int | None, reason: str) -> None:
    """An address that cannot be served is a usage error that says why."""
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1] if port is None else port
        with pytest.raises(UsageError) as caught:
            bind(host, port)

    assert re.fullmatch(
        rf"1 input is not valid: --port is {port}, where the server cannot listen on --host"
        rf" {host}: {reason}.* \(allowed: a free port, and an address of this machine\)\.",
        caught.value.message,
    )


def test_url__of_ipv6() -> None:
    """The URL of an IPv6 address has brackets."""
    with contextlib.suppress(UsageError), bind("::1", 0) as listening:
        server = Server(Application(), listening, threads=1, grace=1)
        port = listening.getsockname()[1]
        server.stop()
        server.run()

        assert server.url == f"http://[::1]:{port}"
