"""The WSGI application: which path, whose key, one answer and one line in the log. Reads nothing itself."""

from __future__ import annotations

import secrets
import threading
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from connector.clock import SystemClock
from connector.errors import ConnectorError
from connector.schemas import read_file
from connector.server.log import ENROLLMENTS, PATHS, log_defect, log_request
from connector.server.request import check_key, read_body, read_query, read_token
from connector.server.response import Answer, HttpError, answer_error, defect, too_busy
from connector.server.service import Reader
from connector.server.settings import load_settings
from connector.settings.sources import SECRETS_DIR

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path
    from wsgiref.types import StartResponse, WSGIEnvironment

    from connector.clock import Clock
    from connector.server.settings import Settings

#: Where a server that knows it says when the request had arrived, in monotonic seconds: waiting for a thread counts.
ARRIVED_AT = "connector.arrived_at"
#: How many requests read at once, unless whoever serves knows better.
MOST_READS = 60


def make_application(
    environ: Mapping[str, str],
    *,
    secrets_dir: Path | None = SECRETS_DIR,
    most_reads: int = MOST_READS,
    clock: Clock | None = None,
) -> Application:
    """Return the application that *environ* configures. Raises UsageError for settings that cannot be used."""
    return Application(
        load_settings(environ, secrets_dir=secrets_dir), most_reads, clock or SystemClock()
    )


class Application:
    """Answers each request with one document by its deadline; at most *most_reads* of them read at once."""

    def __init__(self, settings: Settings, most_reads: int, clock: Clock) -> None:
        self.deadline = settings.deadline
        self.reader = Reader(settings, clock)
        self._key = settings.key
        self._clock = clock
        self._reads = threading.BoundedSemaphore(most_reads)
        self._public = {
            "/healthz": Answer(HTTPStatus.OK, b"ok\n", content_type="text/plain; charset=utf-8"),
            "/openapi.json": Answer(HTTPStatus.OK, read_file("openapi.json")),
            "/swagger.json": Answer(HTTPStatus.OK, read_file("swagger.json")),
        }

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        arrived_at: float = environ.get(ARRIVED_AT, self._clock.monotonic())
        request_id = new_request_id()
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
        try:
            answer = self._answer(method, path, environ, arrived_at)
        except HttpError as refused:
            answer = refused.answer
        except ConnectorError as error:
            answer = answer_error(error)
        except Exception as error:  # noqa: BLE001 - the one place where a defect becomes an answer
            answer = defect(error)
            log_defect(error, request_id)
        log_request(method, path, answer, self._clock.monotonic() - arrived_at, request_id)
        start_response(answer.status_line, answer.head(request_id))
        return [] if method == "HEAD" else [answer.body]

    def _answer(
        self, method: str, path: str, environ: Mapping[str, Any], arrived_at: float
    ) -> Answer:
        if path not in PATHS:
            raise HttpError(
                HTTPStatus.NOT_FOUND,
                "There is nothing at this path.",
                hint=f"What there is: {', '.join(PATHS)}.",
            )
        methods = ("GET", "POST") if path == ENROLLMENTS else ("GET", "HEAD")
        if method not in methods:
            raise HttpError(
                HTTPStatus.METHOD_NOT_ALLOWED,
                f"{path} is not to be asked in this way.",
                hint=f"Use {' or '.join(methods)}.",
                headers=(("Allow", ", ".join(methods)),),
            )
        return self._public.get(path) or self._enrollments(method, environ, arrived_at)

    def _enrollments(self, method: str, environ: Mapping[str, Any], arrived_at: float) -> Answer:
        check_key(environ, self._key)
        token = read_token(environ)
        given = read_body(environ) if method == "POST" else read_query(environ)
        # Who has to wait for others to be read is told so at once: threads that wait are none that answer.
        if not self._reads.acquire(blocking=False):
            return too_busy(self._clock.now())
        try:
            return self.reader.read(given, token, arrived_at)
        finally:
            self._reads.release()


def new_request_id() -> str:
    """Return an id that no other request has had."""
    return secrets.token_hex(8)
