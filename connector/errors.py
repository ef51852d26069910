"""What can end a run. One class per exit code (sysexits), each with a message and a way out.

ConnectorError
 ├── UsageError            64  the inputs are invalid, or credentials are missing
 ├── PartialError          65  some users failed, the others were read
 ├── UserNotFoundError     67  ALM has no such user
 ├── UnreachableError      69  the host cannot be resolved or reached
 │    └── UntrustedHostError       TLS is not trusted, or a proxy refuses the connection
 ├── InternalError         70  an internal error
 ├── OutputError           73  an output cannot be written
 ├── TemporaryError        75  quota, 5xx, timeouts, broken bodies: after retries
 │    ├── DeadlineError            the deadline of the run has passed
 │    └── LateRetryError           one user's next attempt would come after the deadline
 ├── ProtocolError         76  ALM's response breaks the contract of its API
 ├── AuthenticationError   77  ALM refuses the token, or to refresh it
 │    └── PermissionDeniedError    the token may not read this user
 └── InterruptedRun       130  SIGINT; 143 for SIGTERM
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from connector.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

Kind = TypeVar("Kind", bound="ConnectorError")


@dataclass(frozen=True, slots=True)
class Details:
    """What an error says; the fields are those of ``ConnectorError``."""

    message: str
    hint: str
    http_status: int | None = None
    request_id: str | None = None
    retry_at: datetime | None = None
    retry_after: str | None = None
    document: dict[str, Any] | None = None


class ConnectorError(Exception):
    """The run, or one user's part of it, failed. Read-only: ``replaced`` returns a changed copy.

    *message* says what happened, and to which user or input; *hint* what to do next.
    *http_status*, *request_id* and *retry_after* (a header) come from ALM's last answer, if there
    was one. From *retry_at* on another run can succeed, if that is known.
    """

    exit_code: ClassVar[int] = 70

    def __init__(
        self,
        message: str,
        *,
        hint: str,
        http_status: int | None = None,
        request_id: str | None = None,
        retry_at: datetime | None = None,
        retry_after: str | None = None,
    ) -> None:
        super().__init__(message)
        self._details = Details(message, hint, http_status, request_id, retry_at, retry_after)

    def __str__(self) -> str:
        """Return message, hint and request id as one line."""
        return one_line(f"{self.message} {self.hint}{self.quoted_request_id}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by state: keyword-only arguments are lost otherwise, and process pools break."""
        return _rebuilt, (type(self), self.args, self.__dict__)

    @property
    def message(self) -> str:
        """What happened, and to which user or input."""
        return self._details.message

    @property
    def hint(self) -> str:
        """What to do next."""
        return self._details.hint

    @property
    def http_status(self) -> int | None:
        """The status of ALM's last answer."""
        return self._details.http_status

    @property
    def request_id(self) -> str | None:
        """The ``x-request-id`` of ALM's last answer."""
        return self._details.request_id

    @property
    def retry_at(self) -> datetime | None:
        """The moment from which another run can succeed."""
        return self._details.retry_at

    @property
    def retry_after(self) -> str | None:
        """``Retry-After`` of ALM's last answer, as sent, or in seconds from its ``Date``."""
        return self._details.retry_after

    @property
    def document(self) -> dict[str, Any] | None:
        """The output document of the failed run, if ``connector.run`` raised the error."""
        return self._details.document

    @property
    def quoted_request_id(self) -> str:
        """The request id in brackets, to append to a message; empty without an answer."""
        return f" (request id {self.request_id})" if self.request_id else ""

    @property
    def code(self) -> int:
        """The exit code of a run that ends with this error."""
        return self.exit_code

    def replaced(self, **changes: Any) -> Self:  # noqa: ANN401 - the fields of Details
        """Return the same error with *changes* to its details, its cause, and no traceback."""
        details = replace(self._details, **changes)
        state = {**self.__dict__, "_details": details}
        copy = _rebuilt(type(self), (details.message,), state)
        copy.__cause__ = self.__cause__
        return copy

    def converted(self, kind: type[Kind]) -> Kind:
        """Return the same error as one of another *kind*, its cause, and no traceback."""
        copy = _rebuilt(kind, (self.message,), self.__dict__)
        copy.__cause__ = self.__cause__
        return copy


def _rebuilt(kind: type[Kind], args: tuple[Any, ...], state: dict[str, Any]) -> Kind:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with the inputs.

    *given* is what was passed for the input *name*, in words, or without a name the complete
    problem; *allowed* is what the input takes; *near* what was perhaps meant.
    """

    name: str
    given: str
    allowed: str = ""
    near: str = ""

    def __str__(self) -> str:
        """Return the problem as part of a sentence."""
        allowed = self.allowed and f"allowed: {self.allowed}"
        near = self.near and f"did you mean {self.near}?"
        advice = "; ".join(filter(None, (allowed, near)))
        text = f"{self.name} is {self.given}" if self.name else self.given
        return text + (f" ({advice})" if advice else "")


class UsageError(ConnectorError):
    """The inputs are invalid, or ALM refuses the request.

    *problems* are those found before anything was sent; empty if ALM refused the request itself.
    """

    exit_code = 64
    problems: tuple[Problem, ...] = ()

    @classmethod
    def of(cls, problems: Sequence[Problem], *, hint: str) -> Self:
        """Build the one error that reports all *problems*."""
        count = "1 input is" if len(problems) == 1 else f"{len(problems)} inputs are"
        error = cls(f"{count} not valid: {'; '.join(map(str, problems))}.", hint=hint)
        error.problems = tuple(problems)
        return error


class PartialError(ConnectorError):
    """Some users failed, the others were read."""

    exit_code = 65


class UserNotFoundError(ConnectorError):
    """ALM has no such user."""

    exit_code = 67


class UnreachableError(ConnectorError):
    """The host cannot be resolved or reached at all, or its certificate is not trusted."""

    exit_code = 69


class UntrustedHostError(UnreachableError):
    """The host's certificate is not trusted, or a proxy refuses to connect.

    A retry helps only if the host has answered in this run.
    """


class InternalError(ConnectorError):
    """Internal error."""

    exit_code = 70


class OutputError(ConnectorError):
    """An output cannot be written."""

    exit_code = 73


class TemporaryError(ConnectorError):
    """A temporary failure: quota, 5xx, timeouts, broken bodies, the deadline."""

    exit_code = 75


class DeadlineError(TemporaryError):
    """The deadline of the run has passed, or would pass before the next request."""


class LateRetryError(TemporaryError):
    """A user's request failed for now, and would be retried only after the deadline.

    It is a failure of this user, unless the deadline ends the run.
    """


class ProtocolError(ConnectorError):
    """ALM's response breaks the contract of its API, and no retry helps."""

    exit_code = 76


class AuthenticationError(ConnectorError):
    """ALM refuses the token, a refresh of it, or access to the user."""

    exit_code = 77


class PermissionDeniedError(AuthenticationError):
    """ALM accepts the token, which may not read this user; it may read others."""


class InterruptedRun(ConnectorError):  # noqa: N818 - an interruption, at the user's own request
    """A signal ended the run: 128 and the signal's number, as shells count it."""

    def __init__(self, signal_number: int) -> None:
        super().__init__("A signal stopped the run.", hint="No output was replaced.")
        self.signal_number = signal_number

    @property
    def code(self) -> int:
        """130 for SIGINT, 143 for SIGTERM."""
        return 128 + self.signal_number


def error_as_dict(error: ConnectorError) -> dict[str, Any]:
    """Return *error* under the names of the output document; ``retry_at`` in ISO 8601, UTC."""
    return {
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "http_status": error.http_status,
        "request_id": error.request_id,
        "retry_at": error.retry_at and _whole_seconds(error.retry_at),
    }


def _whole_seconds(moment: datetime) -> str:
    # Rounded up: a client that comes back at the second shown must not come too early.
    later = moment.astimezone(UTC) + timedelta(microseconds=999_999)
    return f"{later:%Y-%m-%dT%H:%M:%SZ}"
