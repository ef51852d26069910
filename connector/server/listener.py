"""waitress, for callers that are slow, many, or speak no HTTP: none of them keeps the others waiting. Knows no paths."""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, WSGITask

from connector.clock import SystemClock
from connector.server.app import ARRIVED_AT, new_request_id
from connector.server.log import log_request
from connector.server.request import MAX_BODY_BYTES, too_large
from connector.server.response import HttpError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

#: Threads that are left to answer what needs no reading, a liveness probe above all.
SPARE_THREADS = 4
_LARGEST_HEAD = 16 * 1024
# Well below the 1,024 descriptors that processes are commonly allowed: those towards ALM come on top.
_MOST_CONNECTIONS = 400
_PATIENCE_SECONDS = 30.0
# What is still taken in, and thrown away, from who was refused.
_MOST_UNHEARD = 1024 * 1024
_clock = SystemClock()


class Serveable(Protocol):
    """A WSGI application that answers within a deadline of so many seconds."""

    deadline: float

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        ...


class _Parser(HTTPRequestParser):  # type: ignore[misc] # waitress has no types
    arrived_at = 0.0

    def received(self, data: bytes) -> int:
        taken: int = super().received(data)
        if self.completed:
            self.arrived_at = _clock.monotonic()
        return taken


class _Task(WSGITask):  # type: ignore[misc]
    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        environ[ARRIVED_AT] = self.request.arrived_at
        return environ


class _Refusal(ErrorTask):  # type: ignore[misc]
    """Answers what is no HTTP, or too much of it, with the same document as everything else."""

    def execute(self) -> None:
        status = HTTPStatus(self.request.error.code)
        if status is HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            answer = too_large().answer
        else:
            answer = HttpError(
                status,
                f"The request is not understood: {status.phrase}.",
                hint="Nothing was sent to ALM.",
            ).answer
        request_id = new_request_id()
        self.status = answer.status_line
        self.response_headers.extend(answer.head(request_id))
        self.set_close_on_finish()
        self.content_length = len(answer.body)
        self.channel.lingers = True
        log_request("", "", answer, _clock.monotonic() - self.request.arrived_at, request_id)
        self.write(answer.body)


class _Channel(HTTPChannel):  # type: ignore[misc]
    parser_class = _Parser
    task_class = _Task
    error_task_class = _Refusal

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - handed on
        self.waiting_since = _clock.monotonic()
        self.lingers = False
        self.unheard = 0
        super().__init__(*args, **kwargs)

    def write_soon(self, data: bytes) -> int:
        self.waiting_since = _clock.monotonic()
        written: int = super().write_soon(data)
        return written

    def handle_close(self) -> None:
        """Hang up; on who may still be sending what was refused, only when he has heard why: a reset would take that from him."""
        if not self.lingers:
            super().handle_close()
            return
        self.lingers, self.will_close, self.unheard = False, False, _MOST_UNHEARD
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def handle_read(self) -> None:
        if not self.unheard:
            super().handle_read()
            return
        data = b""
        with contextlib.suppress(OSError):
            data = self.recv(self.adj.recv_bytes)
        self.unheard -= min(len(data), self.unheard)
        if not data or not self.unheard:
            super().handle_close()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being answered, and all that was answered is on its way."""
        return not self.requests and not self.total_outbufs_len


class Server(TcpWSGIServer):  # type: ignore[misc]
    """Serves *application* on *listening*, a socket that is bound. Whoever keeps it waiting for *patience* seconds is hung up on."""

    channel_class = _Channel

    def __init__(
        self,
        application: Serveable,
        listening: socket.socket,
        threads: int,
        patience: float = _PATIENCE_SECONDS,
    ) -> None:
        # It quotes paths, and tells what every request's own line tells.
        logging.getLogger("waitress").setLevel(logging.CRITICAL)
        self._grace = application.deadline
        self._patience = patience
        self._is_stopping = False
        adjustments = Adjustments(
            sockets=[listening],
            threads=threads,
            ident=None,
            connection_limit=2 * _MOST_CONNECTIONS,
            cleanup_interval=1,
            max_request_header_size=_LARGEST_HEAD,
            # It refuses what has as many bytes as this.
            max_request_body_size=MAX_BODY_BYTES + 1,
            # The document is in memory as it is: learners' records go into no temporary file, and need no place for one.
            outbuf_overflow=sys.maxsize,
            log_socket_errors=False,
            asyncore_use_poll=True,
        )
        told = (listening.family, listening.type, listening.proto, listening.getsockname())
        super().__init__(
            application, {}, True, listening, adj=adjustments, sockinfo=told, bind_socket=False
        )

    def handle_accept(self) -> None:
        """Take in a connection; where there are too many, the one goes that has kept the server waiting for longest."""
        super().handle_accept()
        waiting = [channel for channel in self.active_channels.values() if not channel.requests]
        if len(self.active_channels) > _MOST_CONNECTIONS and waiting:
            min(waiting, key=lambda channel: channel.waiting_since).handle_close()

    def maintenance(self, now: float) -> None:  # noqa: ARG002 - the system's time may be set
        """Hang up on those who send, or take, a byte now and then, as on those who do nothing."""
        latest = _clock.monotonic() - self._patience
        for channel in list(self.active_channels.values()):
            if not channel.requests and channel.waiting_since < latest:
                channel.handle_close()

    def stop(self) -> None:
        """Have ``run`` finish what is being answered, and return; may be called by a signal's handler."""
        if not self._is_stopping:
            self._is_stopping = True
            self.pull_trigger()

    def run(self) -> None:
        """Serve until ``stop`` is called, then take no connection any more, and return when the last answer has left."""
        while not self._is_stopping:
            self._turn()
        self.accepting = False
        self.del_channel()
        self.socket.close()
        ends_at = _clock.monotonic() + self._grace
        self._close_idle()
        while self.active_channels and _clock.monotonic() < ends_at:
            self._turn()
            self._close_idle()
        self.task_dispatcher.set_thread_count(0)
        if not self.active_channels:
            # A thread that still answers would write to it, or to whatever has its number by then.
            self.trigger.close()

    def _close_idle(self) -> None:
        for channel in list(self.active_channels.values()):
            if channel.is_idle:
                channel.handle_close()

    def _turn(self) -> None:
        wasyncore.loop(
            timeout=self.adj.asyncore_loop_timeout, use_poll=True, map=self._map, count=1
        )
