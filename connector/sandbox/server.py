"""The sandbox as a real HTTP server, on loopback alone. Answers come from ``answer``; here they travel, or fail to."""

from __future__ import annotations

import json
import re
import socket
import struct
import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from connector.clock import SystemClock
from connector.errors import InterruptedRun
from connector.sandbox.answer import Request, Response, Sandbox, Settings

if TYPE_CHECKING:
    from typing import Self, TextIO

    from connector.clock import Clock

HOST = "127.0.0.1"
_DRIP_SECONDS = 0.05
_LONGEST_STALL_SECONDS = 3_600.0
_LOGGED_HEADERS = (
    "accept",
    "accept-encoding",
    "authorization",
    "content-type",
    "host",
    "user-agent",
)
_SCHEMES = ("oauth", "bearer", "basic")
# A parameter that the API does not have may be a credential in the wrong place.
_FOREIGN_VALUE = re.compile(
    r"(?<=[?&])(?!page(?:\[|%5B)|filter\.|sort=|include=)([^=&]*)=[^&]*", re.IGNORECASE
)


class SandboxServer:
    """Serves one sandbox on a port of loopback; port 0 is any free one. A context manager, which serves in a thread of its own.

    ``requests`` are those seen, each as the request log has it: number, method,
    target, status and headers, the secrets in them replaced.
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
        handler = type("Handler", (_Handler,), {"shell": self})
        self._server = _Server((HOST, port), handler)
        self.url = f"http://{HOST}:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        """Begin to serve."""
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop serving and give the port back."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def serve(self) -> None:
        """Serve until the process is told to stop."""
        self._server.serve_forever(poll_interval=0.05)

    def close(self) -> None:
        """Give the port back, where ``serve`` has ended."""
        self.closing.set()
        self._server.server_close()

    def record(self, request: Request, response: Response) -> None:
        """Note a request and what it was answered; never a secret."""
        headers = {
            name: request.headers[name] for name in _LOGGED_HEADERS if name in request.headers
        }
        if "authorization" in headers:
            scheme = headers["authorization"].partition(" ")[0]
            # Without a scheme that is known, the word may be the token itself.
            headers["authorization"] = (
                f"{scheme} <ACCESS_TOKEN>" if scheme.lower() in _SCHEMES else "<ACCESS_TOKEN>"
            )
        target = _FOREIGN_VALUE.sub(r"\1=<VALUE>", request.target)
        entry = {
            "n": response.number,
            "method": request.method,
            "target": target,
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

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 - as in the class above
        """Say nothing of a client that went away; let through a signal that came while it was taken in."""
        error = sys.exception()
        if isinstance(error, InterruptedRun):
            raise error


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    shell: SandboxServer
    # Status line, headers and body leave as one packet: in several, Nagle's algorithm and delayed acks make 40 ms of it.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_GET  # noqa: N815 - http.server's names

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        length = headers.get("content-length", "0")
        body = self.rfile.read(int(length)) if length.isdigit() else b""
        # A proxy's client names the whole address (RFC 9112, 3.2.2).
        target = (
            self.path
            if self.path.startswith("/")
            else urlsplit(self.path)._replace(scheme="", netloc="").geturl()
        )
        request = Request(
            self.command, target, headers, f"http://{headers.get('host', HOST)}", body
        )
        response = self.shell.sandbox.answer(request)
        self.shell.record(request, response)
        if self.shell.latency_seconds:
            self.shell.clock.sleep(self.shell.latency_seconds)
        with suppress(OSError):
            _SENDERS[response.fault.what if response.fault else ""](self, response)

    def _send_whole(self, response: Response) -> None:
        self._send_head(response)
        if self.command != "HEAD":
            self.wfile.write(response.body)
        self.wfile.flush()

    def _send_head(self, response: Response, *, is_chunked: bool = False) -> None:
        self.send_response_only(response.status)
        for name, value in response.headers:
            self.send_header(name, value)
        if is_chunked:
            self.send_header("transfer-encoding", "chunked")
        else:
            self.send_header("content-length", str(len(response.body)))
        self.end_headers()

    def _send_late(self, response: Response) -> None:
        self.shell.closing.wait(float(response.fault.value or 0) if response.fault else 0)
        self._send_whole(response)

    def _send_cut(self, response: Response) -> None:
        self._send_head(response)
        self.wfile.write(response.body[: len(response.body) // 2])
        self.wfile.flush()
        self.close_connection = True

    def _send_cut_chunked(self, response: Response) -> None:
        self._send_head(response, is_chunked=True)
        half = response.body[: len(response.body) // 2]
        self.wfile.write(f"{len(response.body):x}\r\n".encode() + half)
        self.wfile.flush()
        self.close_connection = True

    def _send_drop_by_drop(self, response: Response) -> None:
        self._send_head(response)
        for byte in response.body:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            if self.shell.closing.wait(_DRIP_SECONDS):
                return

    def _send_head_and_stall(self, response: Response) -> None:
        self._send_head(response)
        self.wfile.flush()
        self._stall(response)

    def _stall(self, _: Response) -> None:
        self.shell.closing.wait(_LONGEST_STALL_SECONDS)
        self.close_connection = True

    def _close(self, _: Response) -> None:
        self.close_connection = True

    def _reset(self, _: Response) -> None:
        # Closing with nothing left to linger for sends RST in place of FIN.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True


_SENDERS = {
    "": _Handler._send_whole,  # noqa: SLF001 - the table belongs to the class above
    "close": _Handler._close,  # noqa: SLF001
    "cut": _Handler._send_cut,  # noqa: SLF001
    "cut-chunked": _Handler._send_cut_chunked,  # noqa: SLF001
    "drip": _Handler._send_drop_by_drop,  # noqa: SLF001
    "reset": _Handler._reset,  # noqa: SLF001
    "slow": _Handler._send_late,  # noqa: SLF001
    "stall": _Handler._send_head_and_stall,  # noqa: SLF001
    "stall-headers": _Handler._stall,  # noqa: SLF001
}
