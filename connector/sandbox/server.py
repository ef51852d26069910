"""The sandbox as an HTTP server on loopback: sends responses, or lets them fail in transit."""

from __future__ import annotations

import functools
import json
import re
import socket
import struct
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from connector.clock import SystemClock
from connector.sandbox.service import Request, Response, Sandbox, Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self, TextIO

    from connector.clock import Clock

HOST = "127.0.0.1"
_DRIP_SECONDS = 0.05
# Windows delivers a signal only between two waits.
_POLL_SECONDS = 0.5
_MAX_STALL_SECONDS = 3_600.0
_LOGGED_HEADERS = (
    "accept",
    "accept-encoding",
    "authorization",
    "content-type",
    "host",
    "user-agent",
)
_SCHEMES = ("oauth", "bearer", "basic")
# A parameter that the API does not have may be a misplaced credential.
_FOREIGN_VALUE = re.compile(
    r"(?<=[?&])(?!page(?:\[|%5B)|filter\.|sort=|include=|ids=)([^=&]*)=[^&]*", re.IGNORECASE
)


class SandboxServer:
    """Serves a sandbox on a loopback port; port 0 is any free one.

    A context manager that serves in a thread of its own. ``requests`` has the entries of the
    request log: number, method, target, status and headers, without secrets.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        port: int = 0,
        latency_seconds: float = 0.0,
        log: TextIO | None = None,
    ) -> None:
        self.requests: list[dict[str, Any]] = []
        self.clock: Clock = SystemClock()
        self.sandbox = Sandbox(settings, self.clock)
        self.latency_seconds = latency_seconds
        self.closing = threading.Event()
        self._log = log
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = _Server((HOST, port), handler)
        self.url = f"http://{HOST}:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        """Start serving."""
        serve = functools.partial(self._server.serve_forever, poll_interval=0.05)
        threading.Thread(target=serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop serving, and release the port."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def serve(self) -> None:
        """Serve until a signal's exception ends it."""
        # The exception comes in the main thread: there it must not meet the start of another.
        with self:
            while not self.closing.wait(_POLL_SECONDS):
                pass

    def record(self, request: Request, response: Response) -> None:
        """Log a request and its status, without secrets."""
        headers = {
            name: request.headers[name] for name in _LOGGED_HEADERS if name in request.headers
        }
        if "authorization" in headers:
            scheme = headers["authorization"].partition(" ")[0]
            # An unknown scheme may be the token itself.
            known_scheme = f"{scheme} " if scheme.lower() in _SCHEMES else ""
            headers["authorization"] = f"{known_scheme}<ACCESS_TOKEN>"
        entry = {
            "n": response.number,
            "method": request.method,
            "target": _FOREIGN_VALUE.sub(r"\1=<VALUE>", request.target),
            "status": response.status,
            "headers": headers,
        }
        with self._lock:
            self.requests.append(entry)
            if self._log:
                self._log.write(json.dumps(entry) + "\n")
                self._log.flush()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """Ignore clients that went away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: SandboxServer
    # Status line, headers and body leave as one packet: several would meet delayed ACKs of 40 ms.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = b""
        if (length := headers.get("content-length", "")).isdigit():
            body = self.rfile.read(int(length))
        target = self.path
        if not target.startswith("/"):
            # A client of a proxy sends the absolute URL (RFC 9112, 3.2.2).
            target = urlsplit(target)._replace(scheme="", netloc="").geturl()
        origin = f"http://{headers.get('host', HOST)}"
        request = Request(self.command, target, headers, origin, body)
        response = self.owner.sandbox.answer(request)
        self.owner.record(request, response)
        if self.owner.latency_seconds:
            self.owner.clock.sleep(self.owner.latency_seconds)
        send: Callable[[_Handler, Response], None] = _Handler.send_complete
        if response.fault:
            send = self.SENDERS[response.fault.name]
        with suppress(OSError):
            send(self, response)

    do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_GET  # noqa: N815 - http.server's names

    def log_message(self, *_: object) -> None:
        pass

    def send_complete(self, response: Response) -> None:
        self.send_head(response)
        if self.command != "HEAD":
            self.wfile.write(response.body)
        self.wfile.flush()

    def send_head(self, response: Response, *, is_chunked: bool = False) -> None:
        self.send_response_only(response.status)
        for name, value in response.headers:
            self.send_header(name, value)
        if is_chunked:
            self.send_header("transfer-encoding", "chunked")
        else:
            self.send_header("content-length", str(len(response.body)))
        self.end_headers()

    def send_late(self, response: Response) -> None:
        if response.fault:
            self.owner.closing.wait(float(response.fault.value or 0))
        self.send_complete(response)

    def send_half(self, response: Response) -> None:
        self.send_head(response)
        self.wfile.write(response.body[: len(response.body) // 2])
        self.wfile.flush()
        self.close()

    def send_half_chunked(self, response: Response) -> None:
        self.send_head(response, is_chunked=True)
        half = response.body[: len(response.body) // 2]
        self.wfile.write(f"{len(response.body):x}\r\n".encode() + half)
        self.wfile.flush()
        self.close()

    def send_byte_by_byte(self, response: Response) -> None:
        self.send_head(response)
        for byte in response.body:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            if self.owner.closing.wait(_DRIP_SECONDS):
                return

    def send_head_and_stall(self, response: Response) -> None:
        self.send_head(response)
        self.wfile.flush()
        self.stall()

    def stall(self, _: Response | None = None) -> None:
        self.owner.closing.wait(_MAX_STALL_SECONDS)
        self.close()

    def close(self, _: Response | None = None) -> None:
        self.close_connection = True

    def reset(self, _: Response) -> None:
        # Closing a socket that may not linger sends RST instead of FIN.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close()

    SENDERS: ClassVar[dict[str, Callable[[_Handler, Response], None]]] = {
        "close": close,
        "cut": send_half,
        "cut-chunked": send_half_chunked,
        "drip": send_byte_by_byte,
        "reset": reset,
        "slow": send_late,
        "stall": send_head_and_stall,
        "stall-headers": stall,
    }
