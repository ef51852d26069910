"""Connections on which no wait outlasts the run, not even for a single byte. Knows nothing of what the bytes mean."""

from __future__ import annotations

import http.client
import io
from typing import TYPE_CHECKING, Any, cast

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from urllib3 import HTTPConnectionPool

READ_SECONDS = 60.0
_OK = 200
_NO_CONTENT = 204


class TimedAdapter(HTTPAdapter):
    """Its connections wait for every piece of an answer, down to single bytes, no longer than *seconds_left* tells."""

    def __init__(self, seconds_left: Callable[[], float], pool_size: int) -> None:
        super().__init__(pool_maxsize=pool_size)
        timed = {
            "response_class": type(
                "TimedResponse", (_TimedResponse,), {"seconds_left": staticmethod(seconds_left)}
            )
        }
        self._connections = {
            "http": type("Timed", (HTTPConnection,), timed),
            "https": type("TimedTls", (HTTPSConnection,), timed),
        }

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> HTTPConnectionPool:  # noqa: ANN401 - handed on
        """Return requests' own pool, which makes connections of the kind above."""
        pool = cast("HTTPConnectionPool", super().get_connection_with_tls_context(*args, **kwargs))
        # Whoever has put connections of his own there, as a recorder of cassettes does, keeps them.
        if pool.ConnectionCls in (HTTPConnection, HTTPSConnection):
            pool.ConnectionCls = self._connections[str(pool.scheme)]
        return pool


class _TimedResponse(http.client.HTTPResponse):
    seconds_left: Callable[[], float]

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - handed on
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_TimedStream(sock, self.fp.detach(), self.seconds_left))

    def begin(self) -> None:
        """Read the head; where that is all, a server that sends more would have it taken for the next request's answer."""
        super().begin()
        if self.length == 0 and not _OK <= self.status < _NO_CONTENT:
            self.will_close = True


class _TimedStream(io.RawIOBase):
    """A socket's stream; a timeout of the socket itself would begin anew with each byte that drips in."""

    def __init__(
        self, sock: socket.socket, stream: io.RawIOBase, seconds_left: Callable[[], float]
    ) -> None:
        self._socket, self._stream, self._seconds_left = sock, stream, seconds_left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401 - a writable buffer has no type of its own
        seconds = self._seconds_left()
        if seconds <= 0:
            raise TimeoutError
        self._socket.settimeout(min(READ_SECONDS, seconds))
        return self._stream.readinto(buffer)

    def close(self) -> None:
        self._stream.close()
        super().close()
