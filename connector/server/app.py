"""The WSGI application: routes, refusals, and one line in the log for each request."""

from __future__ import annotations

import contextlib
import secrets
import sys
import threading
import traceback
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Flask, g, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from connector.clock import SystemClock
from connector.errors import ConnectorError, InternalError, TemporaryError
from connector.runner import warnings_of
from connector.schemas import read_file
from connector.server.request import (
    FILE_INPUTS,
    MAX_BODY_BYTES,
    check_key,
    read_body,
    read_query,
    read_token,
)
from connector.server.response import (
    ENROLLMENTS,
    FILES,
    METHODS,
    Response,
    document_response,
    error_response,
    file_response,
    refusal,
)
from connector.server.service import EnrollmentService
from connector.server.settings import load_settings
from connector.settings import SANDBOX, SECRETS_DIR, Credentials

if TYPE_CHECKING:
    from connector.clock import Clock
    from connector.server.settings import ServerSettings

#: The environ key for the monotonic time at which a server that knows it received the request.
ARRIVED_AT = "connector.arrived_at"
#: Requests that read at once, unless the caller knows how many threads there are.
MAX_READS = 60
_LOGGED_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")


def make_application(
    *,
    secrets_dir: Path | None = SECRETS_DIR,
    max_reads: int = MAX_READS,
    clock: Clock | None = None,
) -> Application:
    """Return the application that the environment configures. Raises UsageError."""
    settings = load_settings(secrets_dir)
    inputs, credentials = settings.load_own()
    if inputs.get("base_url") == SANDBOX:
        _log("reading the sandbox: learners and enrollments are made up")
        for text in warnings_of(SANDBOX, Credentials(**credentials)):
            _log(f"warning: {text}")
    return Application(settings, max_reads, clock or SystemClock())


class Application(Flask):
    """Responds to each request with one document within its deadline.

    At most *max_reads* requests read at once; the others get 429 without waiting.
    """

    response_class = Response

    def __init__(self, settings: ServerSettings, max_reads: int, clock: Clock) -> None:
        super().__init__(__name__, static_folder=None)
        self.deadline = settings.deadline
        self.service = EnrollmentService(settings, clock)
        self._key = settings.key
        self._clock = clock
        self._reads = threading.BoundedSemaphore(max_reads)
        # werkzeug cuts a chunked body here: one byte more shows that it is too large.
        self.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES + 1
        self.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
        self.url_map.merge_slashes = False
        self.add_url_rule(ENROLLMENTS, view_func=self.read_enrollments, methods=["GET", "POST"])
        self.add_url_rule(f"{ENROLLMENTS}.<any({', '.join(FILES)}):name>", view_func=self.read_file)
        self.add_url_rule("/healthz", view_func=self.report_health)
        self.add_url_rule("/<any(openapi, swagger):name>.json", view_func=self.describe_api)
        self.before_request(self.begin)
        self.after_request(self.end)
        self.register_error_handler(HTTPException, self.refuse)
        self.register_error_handler(ConnectorError, error_response)
        self.register_error_handler(Exception, self.report_defect)

    def begin(self) -> None:
        """Note when the request arrived, and give it an id."""
        g.arrived_at = request.environ.get(ARRIVED_AT, self._clock.monotonic())
        g.request_id = new_request_id()

    def read_enrollments(self) -> Response:
        """Run the request and return its document."""
        # Flask adds HEAD to GET.
        if request.method == "HEAD":
            raise MethodNotAllowed
        check_key(request, self._key)
        is_post = request.method == "POST"
        return self._run("json", read_body(request) if is_post else read_query(request))

    def read_file(self, name: str) -> Response:
        """Run the request and return its records in the format *name*, or its error's document."""
        if request.method == "HEAD":
            raise MethodNotAllowed
        check_key(request, self._key)
        return self._run(name, read_query(request, FILE_INPUTS))

    def _run(self, format_name: str, values: dict[str, Any]) -> Response:
        token = read_token(request)
        pieces: list[bytes] = []
        # A request that would wait here would take a thread from those that can be answered.
        if not self._reads.acquire(blocking=False):
            error = TemporaryError(
                "This server is busy: it answers as many requests as it can.",
                hint="Send the request again in a second.",
                retry_at=self._clock.now() + timedelta(seconds=1),
            )
            return error_response(error, HTTPStatus.TOO_MANY_REQUESTS)
        try:
            outcome = self.service.read(
                {**values, "format": format_name}, token, g.arrived_at, pieces.append
            )
        finally:
            self._reads.release()
        if format_name in FILES and outcome.error is None:
            is_complete = outcome.document["complete"]
            return file_response(format_name, pieces, is_complete=is_complete)
        return document_response(outcome.document, outcome.error, self._clock.now())

    def report_health(self) -> Response:
        """Respond to a liveness probe."""
        return Response(b"ok\n", content_type="text/plain; charset=utf-8")

    def describe_api(self, name: str) -> Response:
        """Return an API document."""
        return Response(read_file(f"{name}.json"))

    def refuse(self, error: HTTPException) -> Response:
        """Respond to a request that Flask, or the parsing of a request, refuses."""
        return refusal(HTTPStatus(error.code or HTTPStatus.BAD_REQUEST), request.path)

    def report_defect(self, error: Exception) -> Response:
        """Respond to an internal error without its message, which may quote anything."""
        frame = traceback.extract_tb(error.__traceback__)[-1]
        kind = type(error).__name__
        _log(
            f"internal error, request id {g.request_id}:"
            f" {kind} in {Path(frame.filename).name}, line {frame.lineno}"
        )
        hint = "Please report it, with the request id's line of the log."
        return error_response(
            InternalError(f"Internal error in alm-enrollments: {kind}.", hint=hint)
        )

    def end(self, response: Response) -> Response:
        """Complete *response* and log the request."""
        seconds = self._clock.monotonic() - g.arrived_at
        return finish(response, g.request_id, seconds, request.method, request.path)


def new_request_id() -> str:
    """Return an id that no other request has had."""
    return secrets.token_hex(8)


def finish(
    response: Response, request_id: str, seconds: float, method: str = "", path: str = ""
) -> Response:
    """Add the headers that every response has, and log the request in one line.

    A method or path that the server does not know is logged as a dash: it may quote anything.
    """
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["X-Request-Id"] = request_id
    logged_method = method if method in _LOGGED_METHODS else "-"
    logged_path = path if path in METHODS else "-"
    code = "" if response.exit_code is None else f" error {response.exit_code}"
    _log(
        f"{logged_method} {logged_path} {response.status_code} {seconds:.3f} s,"
        f" request id {request_id}{code}"
    )
    return response


def _log(text: str) -> None:
    # Standard error may be closed.
    with contextlib.suppress(OSError, AttributeError):
        sys.stderr.write(f"alm-enrollments: {text}\n")
        sys.stderr.flush()
