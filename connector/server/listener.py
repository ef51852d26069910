"""Serve a WSGI application with waitress: slow clients and floods keep nobody else waiting."""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import sys
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import create_server
from waitress.task import ErrorTask, WSGITask

from connector import signals
from connector.errors import Problem, UsageError
from connector.runner.threads import no_thread_error
from connector.server.app import ARRIVED_AT, finish, new_request_id
from connector.server.request import MAX_BODY_BYTES
from connector.server.response import refusal

if TYPE_CHECKING:
    from collections.abc import Callable
    from wsgiref.types import WSGIApplication

    from connector.server.app import Application

_BACKLOG = 1024
_MAX_HEAD_BYTES = 16 * 1024
# Processes may commonly have 1,024 open files, and connections to ALM need some of them.
_MAX_CONNECTIONS = 400
_TIMEOUT_SECONDS = 30
_MAX_DRAINED_BYTES = 1024 * 1024
#: What all clients together may leave unread, unless a single response is larger.
MAX_UNREAD_BYTES = 64 * 1024 * 1024
_TWO_LENGTHS = re.compile(
    rb"(?=.*^transfer-encoding[ \t]*:)(?=.*^content-length[ \t]*:)",
    re.DOTALL | re.IGNORECASE | re.MULTILINE,
)


class _Parser(HTTPRequestParser):  # type: ignore[misc] # waitress has no types
    """Refuses what clients and proxies could read in different ways."""

    def parse_header(self, header_plus: bytes) -> None:
        # A proxy that takes the other length sees another request behind this one (RFC 9112, 6.3).
        if _TWO_LENGTHS.match(header_plus):
            raise ParsingError("Two lengths")
        try:
            super().parse_header(header_plus)
        except ValueError:
            # Python reads no number of more than 4,300 digits.
            raise ParsingError("Content-Length is invalid") from None


class _Task(WSGITask):  # type: ignore[misc]
    """Passes the time at which the request arrived to the application."""

    def get_environment(self) -> dict[str, Any]:
        return {**super().get_environment(), ARRIVED_AT: self.channel.arrived_at}


class _RefusalTask(ErrorTask):  # type: ignore[misc]
    """Responds with a document to what waitress refuses: malformed or too large requests."""

    def execute(self) -> None:
        response = refusal(HTTPStatus(self.request.error.code))
        finish(response, new_request_id(), time.monotonic() - self.channel.arrived_at)
        self.status = response.status
        self.response_headers.extend(response.headers)
        self.write(response.get_data())


class _Channel(HTTPChannel):  # type: ignore[misc]
    """A connection for one request."""

    parser_class = _Parser
    task_class = _Task
    error_task_class = _RefusalTask
    arrived_at = 0.0
    has_responded = False
    is_draining = False
    drained_bytes = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - waitress's own
        self.waiting_since = time.monotonic()
        super().__init__(*args, **kwargs)

    def received(self, data: bytes) -> bool:
        if self.is_draining:
            self.drained_bytes += len(data)
            if self.drained_bytes > _MAX_DRAINED_BYTES:
                self.close_now()
            return False
        self.arrived_at = time.monotonic()
        return bool(super().received(data))

    def service(self) -> None:
        # No keep-alive and no pipelining: a client that never reads would make responses pile up.
        self.requests[0].headers["CONNECTION"] = "close"
        super().service()

    def write_soon(self, data: bytes) -> int:
        self.has_responded, self.waiting_since = True, time.monotonic()
        return int(super().write_soon(data))

    def handle_close(self) -> None:
        """Close the connection; after a response, first the sending half only.

        A reset could take the response from a client that is still sending (RFC 9112, 9.6).
        """
        if self.is_draining or not self.has_responded:
            self.close_now()
            return
        self.is_draining, self.will_close = True, False
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def close_now(self) -> None:
        """Close the connection."""
        super().handle_close()


class Server:
    """Serves *application* on *listening*, a bound socket, with waitress.

    Clients have *timeout* seconds to send a request, and as many to read the response, and may
    leave *max_unread_bytes* unread together, or a single response that is larger. ``stop``
    ends ``run`` when all running requests are finished, or after *grace* seconds.
    """

    def __init__(
        self,
        application: WSGIApplication,
        listening: socket.socket,
        *,
        threads: int,
        grace: float,
        timeout: float = _TIMEOUT_SECONDS,
        max_unread_bytes: int = MAX_UNREAD_BYTES,
    ) -> None:
        # It would quote paths; each request has a line in the log of its own.
        logging.getLogger("waitress").setLevel(logging.CRITICAL)
        self._grace = grace
        self._timeout = timeout
        self._max_unread_bytes = max_unread_bytes
        self._is_stopping = False
        self._sockets: dict[int, Any] = {}
        self._waitress = create_server(
            application,
            map=self._sockets,
            sockets=[listening],
            threads=threads,
            ident=None,
            connection_limit=2 * _MAX_CONNECTIONS,
            max_request_header_size=_MAX_HEAD_BYTES,
            # waitress refuses a body of this size.
            max_request_body_size=MAX_BODY_BYTES + 1,
            # The records of learners go into no temporary file.
            outbuf_overflow=sys.maxsize,
            # No thread waits for a client that does not read.
            outbuf_high_watermark=sys.maxsize,
            log_socket_errors=False,
            asyncore_use_poll=True,
        )
        self._waitress.channel_class = _Channel

    @property
    def url(self) -> str:
        """The URL of the server."""
        host, port = self._waitress.effective_host, self._waitress.effective_port
        if ":" in host:
            host = f"[{host}]"
        return f"http://{host}:{port}"

    @property
    def connections(self) -> list[Any]:
        """The open connections."""
        return list(self._waitress.active_channels.values())

    def stop(self) -> None:
        """Let ``run`` end. May be called in a signal handler, and more than once."""
        if not self._is_stopping:
            self._is_stopping = True
            # Another thread's run may see it, and close the trigger, at once.
            with contextlib.suppress(OSError):
                self._waitress.pull_trigger()

    def run(self) -> None:
        """Serve until ``stop`` is called, then refuse connections and finish running requests."""
        while not self._is_stopping:
            self._poll()
            self._close_overdue()
        # Only the listening socket: threads still wake the loop with the trigger.
        wasyncore.dispatcher.close(self._waitress)
        ends_at = time.monotonic() + self._grace
        self._close_idle()
        while self.connections and time.monotonic() < ends_at:
            self._poll()
            self._close_overdue()
            self._close_idle()
        for connection in self.connections:
            connection.close_now()
        self._waitress.task_dispatcher.set_thread_count(0)
        self._waitress.trigger.close()

    def _poll(self) -> None:
        wasyncore.loop(timeout=1, use_poll=True, map=self._sockets, count=1)

    def _close_overdue(self) -> None:
        """Close connections that wait too long for their client, and of too many the oldest.

        waitress's own timeout starts again with each byte, and does not close a connection whose
        client reads nothing. Of more unread bytes than allowed, too, the oldest go.
        """
        connections = self.connections
        waiting = [
            connection
            for connection in connections
            if connection.has_responded or not connection.requests
        ]
        waiting.sort(key=lambda connection: connection.waiting_since)
        excess = len(connections) - _MAX_CONNECTIONS
        unread = sum(connection.total_outbufs_len for connection in connections)
        overdue_since = time.monotonic() - self._timeout
        for position, connection in enumerate(waiting):
            is_too_much = unread > self._max_unread_bytes and connection is not waiting[-1]
            is_overdue = connection.waiting_since < overdue_since
            if position < excess or is_overdue or (is_too_much and connection.total_outbufs_len):
                unread -= connection.total_outbufs_len
                connection.close_now()

    def _close_idle(self) -> None:
        for connection in self.connections:
            if not connection.requests and not connection.total_outbufs_len:
                connection.close_now()


def serve(
    application: Application,
    listening: socket.socket,
    threads: int,
    on_ready: Callable[[str], object],
) -> None:
    """Serve *application* on *listening*, a bound socket, until SIGINT or SIGTERM.

    Calls *on_ready* with the server's URL. Returns when running requests are finished. Raises
    TemporaryError if the system does not start the *threads*.
    """
    log = logging.getLogger("connector")
    if log.level > logging.DEBUG:
        # The warnings of a run name learners; each request has a line of its own.
        log.setLevel(logging.ERROR)
    try:
        server = Server(application, listening, threads=threads, grace=application.deadline)
    except RuntimeError as error:
        raise no_thread_error() from error
    signals.call_on_first(server.stop)
    on_ready(server.url)
    server.run()


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens on *host* and *port*. Raises UsageError."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address, family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "that is no host's name"
        problem = Problem(
            "--port",
            f"{port}, where the server cannot listen on --host {host}: {reason}",
            "a free port, and an address of this machine",
        )
        raise UsageError.of([problem], hint="Nothing was started.") from error
