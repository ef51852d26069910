"""What can end a run, and what the user should do then. One class an exit code (sysexits).

ConnectorError
 ├── UsageError        64  inputs invalid, credentials missing
 ├── PartialError      65  some users failed, the others were read
 ├── UserNotFoundError  67  ALM knows no such user
 ├── UnreachableError  69  the host cannot be resolved or reached
 │    └── UntrustedHostError   TLS is not trusted, or a proxy refuses
 ├── InternalError       70  a defect of this program
 ├── OutputError       73  an output cannot be written
 ├── TemporaryError    75  quota, 5xx, timeouts, broken bodies, the deadline: after retries
 ├── ProtocolError     76  the answer breaks the API's contract
 ├── AuthenticationError      77  the token, or its refresh, is refused
 │    └── PermissionDeniedError      the token does not reach this user
 └── InterruptedRun   130  SIGINT; 143 for SIGTERM
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Self

from connector.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


class ConnectorError(Exception):
    """The run, or one user's part of it, ends here.

    *message* says what happened, and to which user or input; *hint* what to do next.
    *http_status* and *request_id* are those of ALM's last answer, where there was one.
    *retry_at* is the moment from which another run can succeed, where it is known;
    *retry_after* is that answer's header of the name, as it was sent.
    """

    exit_code: ClassVar[int] = 70
    #: The output document of the run that it ended, where ``connector.run`` raises it.
    document: dict[str, Any] | None = None

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
        self.message = message
        self.hint = hint
        self.http_status = http_status
        self.request_id = request_id
        self.retry_at = retry_at
        self.retry_after = retry_after

    def __str__(self) -> str:
        """Return message, hint and request id as one line."""
        return one_line(f"{self.message} {self.hint}{self.quoted_request_id}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by state: exceptions are rebuilt from their arguments alone, and a pool of processes breaks on what that refuses."""
        return _rebuilt, (type(self), self.args, self.__dict__)

    @property
    def quoted_request_id(self) -> str:
        """The request id in brackets, to follow a message; empty where nothing answered."""
        return f" (request id {self.request_id})" if self.request_id else ""

    @property
    def code(self) -> int:
        """The exit code that the run ends with."""
        return self.exit_code


def _rebuilt(
    kind: type[ConnectorError], args: tuple[Any, ...], state: dict[str, Any]
) -> ConnectorError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with the inputs: which input, what was given, what is allowed, and what was perhaps meant."""

    name: str
    given: str
    allowed: str = ""
    near: str = ""

    def __str__(self) -> str:
        """Return the problem as part of a sentence."""
        allowed = f"allowed: {self.allowed}" if self.allowed else ""
        near = f"did you mean {self.near}?" if self.near else ""
        advice = "; ".join(filter(None, (allowed, near)))
        return (
            f"{self.name} is {self.given} ({advice})" if advice else f"{self.name} is {self.given}"
        )


class UsageError(ConnectorError):
    """The inputs cannot be used.

    *problems* are those that were found before anything was sent; none where ALM
    itself refused the request.
    """

    exit_code = 64
    problems: tuple[Problem, ...] = ()

    @classmethod
    def of(cls, problems: Sequence[Problem], *, hint: str) -> Self:
        """Build the one error that tells all *problems*."""
        count = "1 input is" if len(problems) == 1 else f"{len(problems)} inputs are"
        error = cls(f"{count} not valid: {'; '.join(map(str, problems))}.", hint=hint)
        error.problems = tuple(problems)
        return error


class PartialError(ConnectorError):
    """Some users failed, the others were read."""

    exit_code = 65


class UserNotFoundError(ConnectorError):
    """ALM knows no such user."""

    exit_code = 67


class UnreachableError(ConnectorError):
    """The host cannot be resolved or reached at all, or its certificate is not trusted."""

    exit_code = 69


class UntrustedHostError(UnreachableError):
    """The host's certificate is not trusted, or a proxy refuses the way to it: asking again would not mend it."""


class InternalError(ConnectorError):
    """This program is wrong."""

    exit_code = 70


class OutputError(ConnectorError):
    """An output cannot be written."""

    exit_code = 73


class TemporaryError(ConnectorError):
    """Another run can succeed: quota, 5xx, timeouts, broken bodies, the deadline."""

    exit_code = 75


class ProtocolError(ConnectorError):
    """The answer breaks the API's contract, and asking again would not mend it."""

    exit_code = 76


class AuthenticationError(ConnectorError):
    """ALM refuses the token, or to refresh it, or what the token may read."""

    exit_code = 77


class PermissionDeniedError(AuthenticationError):
    """The token is accepted, but does not reach this user: others it may."""


class InterruptedRun(ConnectorError):  # noqa: N818 - what happened is an interruption, by the user's own will
    """A signal ended the run: 128 and the signal's number, as shells count it."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(
            "The run was stopped by a signal.", hint="Nothing was half-written; run it again."
        )
        self.signal_number = signal_number

    @property
    def code(self) -> int:
        """130 for SIGINT, 143 for SIGTERM."""
        return 128 + self.signal_number


def error_as_dict(error: ConnectorError) -> dict[str, Any]:
    """Return *error* by the contract's names; ``retry_at`` in ISO 8601, UTC."""
    return {
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "http_status": error.http_status,
        "request_id": error.request_id,
        "retry_at": _whole_seconds(error.retry_at) if error.retry_at else None,
    }


def _whole_seconds(moment: datetime) -> str:
    # Never before the moment itself: who comes back then must not come too early.
    later = moment.astimezone(UTC) + timedelta(microseconds=999_999)
    return f"{later:%Y-%m-%dT%H:%M:%SZ}"
