"""Build responses: the document of a run or of a refusal, and the status that says the same."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from flask import Response as FlaskResponse

from connector.errors import (
    AuthenticationError,
    PartialError,
    ProtocolError,
    TemporaryError,
    UnreachableError,
    UsageError,
    UserNotFoundError,
)
from connector.output.document import failed_document
from connector.server.request import MAX_BODY_BYTES
from connector.settings.surfaces import Surface
from connector.text import to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from connector.errors import ConnectorError
    from connector.output.document import Document

ENROLLMENTS = "/v1/enrollments"
#: The formats that have a path of their own, for programs that load a table from a URL.
FILES = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
#: The methods of each path.
METHODS = {
    ENROLLMENTS: ("GET", "POST"),
    **{f"{ENROLLMENTS}.{name}": ("GET",) for name in FILES},
    "/healthz": ("GET", "HEAD"),
    "/openapi.json": ("GET", "HEAD"),
    "/swagger.json": ("GET", "HEAD"),
}
_STATUSES = {
    UsageError.exit_code: HTTPStatus.BAD_REQUEST,
    UserNotFoundError.exit_code: HTTPStatus.NOT_FOUND,
    UnreachableError.exit_code: HTTPStatus.BAD_GATEWAY,
    ProtocolError.exit_code: HTTPStatus.BAD_GATEWAY,
    AuthenticationError.exit_code: HTTPStatus.BAD_GATEWAY,
}
# Of the failures of several users, the last in this list decides: another request may succeed.
_LEAST_RETRYABLE_FIRST = (
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.GATEWAY_TIMEOUT,
    HTTPStatus.TOO_MANY_REQUESTS,
)
_REFUSALS = {
    HTTPStatus.UNAUTHORIZED: (
        "The request has no key of this server, or a wrong one.",
        (
            "Send it as Authorization: Bearer KEY, as Basic's password, or as X-API-Key."
            " Nothing was sent to ALM."
        ),
    ),
    HTTPStatus.NOT_FOUND: (
        "This server has no such path.",
        f"Available paths: {', '.join(METHODS)}.",
    ),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: (
        f"The body is larger than {MAX_BODY_BYTES // 1024} KB.",
        "Request fewer learners at once.",
    ),
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: (
        "The body is not declared as JSON.",
        "Send it as Content-Type: application/json.",
    ),
}
_CHALLENGES = (
    ("WWW-Authenticate", 'Bearer realm="alm-enrollments"'),
    ("WWW-Authenticate", 'Basic realm="alm-enrollments", charset="UTF-8"'),
)


class Response(FlaskResponse):
    """A response, and the exit code of the error that it reports."""

    default_mimetype = "application/json"
    exit_code: int | None = None


def document_response(
    document: Document,
    error: ConnectorError | None,
    now: datetime,
    status: HTTPStatus | None = None,
) -> Response:
    """Return the response to a run that produced *document* and failed with *error*, if it failed.

    The *status* follows from the document if it is not given.
    """
    if error is None:
        status = HTTPStatus.OK
    elif status is None:
        status = status_of(document)
    document = Surface.SERVER.document(document)
    response = Response(f"{to_json(document)}\n", f"{status.value} {status.phrase}")
    if error is not None:
        response.exit_code = error.code
        if retry_at := document["error"]["retry_at"]:
            seconds = (datetime.fromisoformat(retry_at) - now).total_seconds()
            response.headers["Retry-After"] = str(max(math.ceil(seconds), 1))
    return response


def file_response(name: str, pieces: Iterable[bytes], *, is_complete: bool) -> Response:
    """Return the response with a file in the format *name*.

    Only what a request allows to be incomplete can be so: a header says it.
    """
    response = Response(b"".join(pieces), content_type=FILES[name])
    response.headers["Content-Disposition"] = f"attachment; filename=enrollments.{name}"
    response.headers["X-Complete"] = str(is_complete).lower()
    return response


def error_response(error: ConnectorError, status: HTTPStatus | None = None) -> Response:
    """Return the response to a request that led to no run."""
    return document_response(failed_document(error), error, datetime.now(UTC), status)


def refusal(status: HTTPStatus, path: str = "") -> Response:
    """Return the response that refuses a request with *status*, before its inputs are read."""
    methods = METHODS.get(path, ())
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        message = f"{path} does not support this method."
        hint = f"Use {' or '.join(methods)}."
    else:
        message, hint = _REFUSALS.get(
            status,
            (f"The request is not valid: {status.phrase}.", "Nothing was sent to ALM."),
        )
    response = error_response(UsageError(message, hint=hint), status)
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        response.headers["Allow"] = ", ".join(methods)
    if status is HTTPStatus.UNAUTHORIZED:
        response.headers.extend(_CHALLENGES)
    return response


def status_of(document: Document) -> HTTPStatus:
    """Return the status of a *document* that has an error.

    If only some users were read (65), the list looks complete and is not: the status is that of
    the failures.
    """
    error = document["error"]
    errors = [
        failed["error"]
        for failed in document["users"]["failed"]
        if error["code"] in (PartialError.exit_code, failed["error"]["code"])
    ]
    return max(map(_status_of_error, errors or [error]), key=_LEAST_RETRYABLE_FIRST.index)


def _status_of_error(error: Mapping[str, Any]) -> HTTPStatus:
    if error["code"] != TemporaryError.exit_code:
        return _STATUSES.get(error["code"], HTTPStatus.INTERNAL_SERVER_ERROR)
    if error["http_status"] == HTTPStatus.TOO_MANY_REQUESTS:
        return HTTPStatus.TOO_MANY_REQUESTS
    if (error["http_status"] or 0) >= HTTPStatus.BAD_REQUEST:
        return HTTPStatus.BAD_GATEWAY
    # ALM reported no error: it did not answer, or not completely, in time.
    return HTTPStatus.GATEWAY_TIMEOUT
