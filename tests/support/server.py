"""A raw-socket server on loopback that plays a script of byte-exact answers and misdeeds, and writes down what it was asked."""

from __future__ import annotations

import contextlib
import functools
import re
import socket
import struct
import threading
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Self
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

_SECONDS_TO_WAIT_FOR_A_THREAD = 5.0


class Hang(Enum):
    """How the server hangs up."""

    FIN = "as at the end of an answer"
    RESET = "with a reset, what was not read yet thrown away"


class Pause(NamedTuple):
    """Nothing for *seconds*."""

    seconds: float


class Drip(NamedTuple):
    """*data*, a piece of *size* bytes every so often."""

    data: bytes
    every: float = 0.1
    size: int = 1


class Flood(NamedTuple):
    """*data* over and over, until *times* or until nobody takes it any more."""

    data: bytes
    times: int


class Seen(NamedTuple):
    """A request as it came in; header names are lower-case."""

    connection: int
    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def user_id(self) -> str:
        """Whose enrollments were asked for; empty for the token's refresh."""
        match = re.search(r"/users/([^/]+)/", self.target)
        return match[1] if match else ""

    @property
    def cursor(self) -> str | None:
        """The cursor of the page that was asked for; ``None`` for the first one."""
        return dict(parse_qsl(urlsplit(self.target).query)).get("page[cursor]")


Action = bytes | Hang | Pause | Drip | Flood
Actions = tuple[Action, ...]
Step = Actions | Callable[[Seen], Actions]


class OnConnect(NamedTuple):
    """A step that is taken as soon as somebody connects: no request is read."""

    actions: Actions


class FaultServer:
    """Takes one step of *script* a request, in the order in which they come in, and *otherwise* when the script is over."""

    def __init__(self, script: Iterable[Step | OnConnect], otherwise: Step) -> None:
        self.requests: list[Seen] = []
        self.connections = 0
        self._script = list(script)
        self._otherwise = otherwise
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(_SECONDS_TO_WAIT_FOR_A_THREAD)

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
                number, step = self.connections, self._step_on_connect()
                self._start(functools.partial(self._serve, connection, number, step))

    def _step_on_connect(self) -> OnConnect | None:
        with self._lock:
            if self._script and isinstance(self._script[0], OnConnect):
                step = self._script.pop(0)
                return step if isinstance(step, OnConnect) else None
        return None

    def _serve(self, connection: socket.socket, number: int, first: OnConnect | None) -> None:
        with (
            contextlib.suppress(OSError, ValueError),
            connection,
            connection.makefile("rb") as stream,
        ):
            if first and self._act(connection, first.actions):
                return
            while seen := _read_request(stream, number):
                with self._lock:
                    self.requests.append(seen)
                    step = self._script.pop(0) if self._script else self._otherwise
                actions = (
                    step.actions
                    if isinstance(step, OnConnect)
                    else step(seen)
                    if callable(step)
                    else step
                )
                if self._act(connection, actions):
                    return

    def _act(self, connection: socket.socket, actions: Actions) -> bool:
        """Do *actions* and return whether the connection is closed."""
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
                    connection.setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                    )
                    return True
        return False


def _read_request(stream: Iterable[bytes], number: int) -> Seen | None:
    lines = iter(stream)
    method, target, _ = next(lines, b"  ").decode("latin-1").rstrip("\r\n").split(" ", 2)
    if not method:
        return None
    headers = {}
    for line in lines:
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon:
            break
        headers[name.lower()] = value.strip()
    length = int(headers.get("content-length", "0"))
    body = stream.read(length) if length and hasattr(stream, "read") else b""
    return Seen(number, method, target, headers, body)
