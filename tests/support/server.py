"""A raw-socket HTTP server on loopback that plays a script of byte-exact responses and faults."""

from __future__ import annotations

import contextlib
import functools
import re
import socket
import struct
import threading
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Self
from urllib.parse import parse_qsl, urlsplit

from tests.support.pages import letter_of, respond

if TYPE_CHECKING:
    from collections.abc import Iterable

_THREAD_SECONDS = 5.0


class Hang(Enum):
    """How the server closes the connection."""

    FIN = "as after a response"
    RESET = "with a reset, which discards unread data"


class Pause(NamedTuple):
    """Send nothing for *seconds*."""

    seconds: float


class Drip(NamedTuple):
    """Send *data* in pieces of *size* bytes, one piece *every* so many seconds."""

    data: bytes
    every: float = 0.1
    size: int = 1


class Flood(NamedTuple):
    """Send *data* so many *times*, or until the client closes the connection."""

    data: bytes
    times: int


class Request(NamedTuple):
    """A request as it arrived; header names are lower-case."""

    connection: int
    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def user_id(self) -> str:
        """The user whose enrollments are requested; empty for a refresh of the token."""
        match = re.search(r"/users/([^/]+)/", self.target)
        return match[1] if match else ""

    @property
    def cursor(self) -> str | None:
        """The cursor of the requested page; ``None`` for the first page."""
        return dict(parse_qsl(urlsplit(self.target).query)).get("page[cursor]")


Action = bytes | Hang | Pause | Drip | Flood
Actions = tuple[Action, ...]
Step = Actions | Callable[[Request], Actions]


class OnConnect(NamedTuple):
    """A step that the server takes when a client connects, before it reads a request."""

    actions: Actions


def healthy(request: Request) -> Actions:
    """Return the response of an ALM without faults: a page, or a fresh token."""
    return (respond(request.method, request.user_id, request.cursor),)


def actions_of(step: Step, request: Request) -> Actions:
    """Return the actions with which *step* answers *request*."""
    return step(request) if callable(step) else step


def only_for(user_id: str, step: Step) -> Step:
    """Return a step that is *step* for *user_id*, and without faults for everybody else."""
    return lambda request: actions_of(step if request.user_id == user_id else healthy, request)


class FaultServer:
    """Takes one step of *script* per request, in the order of arrival; then *otherwise*."""

    def __init__(self, script: Iterable[Step | OnConnect] = (), otherwise: Step = healthy) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self._script = list(script)
        self._otherwise = otherwise
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def order(self) -> str:
        """The requests in their order: ``A`` and ``B`` for pages, ``R`` for a refresh."""
        return "".join(letter_of(request.method, request.cursor) for request in self.requests)

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        for opened in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
            opened.close()
        for thread in self._threads:
            thread.join(_THREAD_SECONDS)

    def _start(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while not self._closing.is_set():
                connection, _ = self._listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.connections += 1
                self._open.append(connection)
                number, on_connect = self.connections, self._actions_on_connect()
                self._start(functools.partial(self._serve, connection, number, on_connect))

    def _actions_on_connect(self) -> Actions:
        with self._lock:
            if self._script and isinstance(self._script[0], OnConnect):
                return self._script.pop(0).actions  # type: ignore[union-attr] # just checked
        return ()

    def _serve(self, connection: socket.socket, number: int, on_connect: Actions) -> None:
        with (
            contextlib.suppress(OSError, ValueError),
            connection,
            connection.makefile("rb") as stream,
        ):
            if self._act(connection, on_connect):
                return
            while request := _read_request(stream, number):
                if self._act(connection, self._next_actions(request)):
                    return

    def _next_actions(self, request: Request) -> Actions:
        with self._lock:
            self.requests.append(request)
            step = self._script.pop(0) if self._script else self._otherwise
        return step.actions if isinstance(step, OnConnect) else actions_of(step, request)

    def _act(self, connection: socket.socket, actions: Actions) -> bool:
        """Do *actions* and return whether they closed the connection."""
        for action in actions:
            match action:
                case bytes():
                    connection.sendall(action)
                case Pause(seconds):
                    self._closing.wait(seconds)
                case Drip(data, every, size):
                    for start in range(0, len(data), size):
                        connection.sendall(data[start : start + size])
                        self._closing.wait(every)
                case Flood(data, times):
                    for _ in range(times):
                        connection.sendall(data)
                case Hang.FIN:
                    connection.shutdown(socket.SHUT_RDWR)
                    return True
                case Hang.RESET:
                    no_linger = struct.pack("ii", 1, 0)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
                    return True
        return False


def _read_request(stream: BinaryIO, number: int) -> Request | None:
    method, target, _ = stream.readline().decode("latin-1").split(" ", 2)
    headers = {}
    while line := stream.readline().decode("latin-1").strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = stream.read(int(headers.get("content-length", "0")))
    return Request(number, method, target, headers, body)
