"""What is answered: the contract's document under a status that says the same. Reads no request."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from connector.clock import parse_moment
from connector.errors import (
    AuthenticationError,
    ConnectorError,
    InternalError,
    PartialError,
    ProtocolError,
    TemporaryError,
    UnreachableError,
    UsageError,
    UserNotFoundError,
)
from connector.output.document import build_document
from connector.text import to_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from connector.output.document import Document

JSON = "application/json"
_STATUS_FOR_CODE = {
    UsageError.exit_code: HTTPStatus.BAD_REQUEST,
    UserNotFoundError.exit_code: HTTPStatus.NOT_FOUND,
    UnreachableError.exit_code: HTTPStatus.BAD_GATEWAY,
    ProtocolError.exit_code: HTTPStatus.BAD_GATEWAY,
    AuthenticationError.exit_code: HTTPStatus.BAD_GATEWAY,
}
# Of several learners' failures the one decides that another request is the likeliest to mend.
_LIKELIEST_LAST = (
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.GATEWAY_TIMEOUT,
    HTTPStatus.TOO_MANY_REQUESTS,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; *code* is the error's exit code, for the log."""

    status: HTTPStatus
    body: bytes
    code: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = JSON

    def head(self, request_id: str) -> list[tuple[str, str]]:
        """Return the headers: nobody keeps what is in it, or takes it for anything else."""
        return [
            ("Content-Type", self.content_type),
            ("Content-Length", str(len(self.body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Request-Id", request_id),
            *self.headers,
        ]

    @property
    def status_line(self) -> str:
        """The status as WSGI wants it."""
        return f"{self.status.value} {self.status.phrase}"


def answer_document(
    document: Document, text: str, error: ConnectorError | None, now: datetime
) -> Answer:
    """Return the answer that a run's *document* is, *text* being it without secrets; *error* is what the run fails with."""
    if error is None:
        return Answer(HTTPStatus.OK, _line(text))
    return Answer(
        status_of(document),
        _line(text),
        error.code,
        _retry_after(document["error"]["retry_at"], now),
    )


def answer_error(
    error: ConnectorError,
    status: HTTPStatus | None = None,
    headers: tuple[tuple[str, str], ...] = (),
) -> Answer:
    """Return the answer to a request that came to no run, its *status* that of the error where none is named."""
    document = build_document([], error, requested=0, requests=0, allow_incomplete=False)
    waits = _retry_after(document["error"]["retry_at"], datetime.now(UTC))
    return Answer(
        status or status_of(document), _line(to_json(document)), error.code, (*headers, *waits)
    )


def _line(text: str) -> bytes:
    return f"{text}\n".encode()


def status_of(document: Document) -> HTTPStatus:
    """Return the status of a *document* that has an error.

    Where some learners were read and others were not (65), the list looks whole and is
    not: the status is that of the failures.
    """
    error = document["error"]
    alike = [
        one["error"]
        for one in document["users"]["failed"]
        if error["code"] in (PartialError.exit_code, one["error"]["code"])
    ]
    return max(map(_status_of_error, alike or [error]), key=_LIKELIEST_LAST.index)


def _status_of_error(error: Mapping[str, Any]) -> HTTPStatus:
    if error["code"] != TemporaryError.exit_code:
        return _STATUS_FOR_CODE.get(error["code"], HTTPStatus.INTERNAL_SERVER_ERROR)
    if error["http_status"] == HTTPStatus.TOO_MANY_REQUESTS:
        return HTTPStatus.TOO_MANY_REQUESTS
    # Without an error of ALM's own no whole answer of ALM's came in time.
    return (
        HTTPStatus.BAD_GATEWAY
        if (error["http_status"] or 0) >= HTTPStatus.BAD_REQUEST
        else HTTPStatus.GATEWAY_TIMEOUT
    )


def _retry_after(retry_at: str | None, now: datetime) -> tuple[tuple[str, str], ...]:
    moment = parse_moment(retry_at) if retry_at else None
    return (
        (("Retry-After", str(max(math.ceil((moment - now).total_seconds()), 1))),) if moment else ()
    )


class HttpError(Exception):
    """A request that is refused before any run: the *error* to tell, under which *status*, with which *headers*."""

    def __init__(
        self,
        status: HTTPStatus,
        message: str,
        *,
        hint: str,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.answer = answer_error(UsageError(message, hint=hint), status, headers)


def too_busy(now: datetime) -> Answer:
    """Return the answer where as many reads are under way as the server takes."""
    error = TemporaryError(
        "This server answers as many requests as it can.",
        hint="Ask again in a moment.",
        retry_at=now + timedelta(seconds=1),
    )
    return answer_error(error, HTTPStatus.TOO_MANY_REQUESTS)


def defect(error: Exception) -> Answer:
    """Return the answer where this program is wrong; it tells the kind of *error*, and not what it holds."""
    told = InternalError(
        f"A defect in alm-enrollments: {type(error).__name__}.",
        hint="Please report it, with the request id's line of the log.",
    )
    return answer_error(told)
