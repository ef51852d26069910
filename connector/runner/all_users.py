"""All users: their order, threads, early stops, and the error that their failures add up to."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from connector import signals
from connector.errors import (
    AuthenticationError,
    ConnectorError,
    InterruptedRun,
    PermissionDeniedError,
    TemporaryError,
    UnreachableError,
    UsageError,
)
from connector.output.document import build_document, list_users, partial_error
from connector.output.results import RunTotals
from connector.output.sinks import open_sink
from connector.redact import redacted_logs
from connector.runner.connection import open_client
from connector.runner.one_user import read_user
from connector.runner.threads import as_finished
from connector.settings.users import read_user_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from typing import TextIO

    from connector.alm.client import Client
    from connector.clock import Clock
    from connector.output.document import Document
    from connector.output.results import UserResult
    from connector.output.sinks import Sink
    from connector.redact import Redactor
    from connector.runner.connection import Account
    from connector.settings import Credentials, Inputs

# A filter sees the records of its own logger only, not those of the loggers below it.
_LOGGERS = (
    "connector.runner.one_user",
    "connector.alm.client",
    "connector.formats.parquet",
    "urllib3.connectionpool",
    "urllib3.connection",
)
_MAX_LISTED_USERS = 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to: its document, the error that it failed with, and its totals.

    Document and error are without the run's secrets.
    """

    document: Document
    error: ConnectorError | None
    totals: RunTotals


@dataclass(frozen=True, slots=True)
class Progress:
    """A run under way; *total* users, ``None`` if only the end of a pipe tells how many."""

    totals: RunTotals
    client: Client
    total: int | None
    clock: Clock


@dataclass(frozen=True, slots=True)
class RunHooks:
    """What a caller adds to a run.

    *write* receives the records of a format that has no file; *on_progress* is called after each
    user and every half second; with *has_tally* the totals count records for a step summary; an
    *account* is shared with other runs.
    """

    write: Callable[[bytes], None] | None = None
    on_progress: Callable[[Progress], None] = lambda _: None
    has_tally: bool = False
    account: Account | None = None


NO_HOOKS = RunHooks()


def execute(
    inputs: Inputs,
    credentials: Credentials,
    redactor: Redactor,
    *,
    clock: Clock,
    stdin: TextIO,
    hooks: RunHooks = NO_HOOKS,
) -> Outcome:
    """Read every user and return the outcome.

    Raises UsageError if the file of users, or the output file, cannot be used, and OutputError if
    the records cannot be written.
    """
    users = read_user_ids(inputs, stdin)
    client = open_client(inputs, credentials, redactor, clock, hooks.account)
    sink = open_sink(inputs, redactor, hooks.write, has_tally=hooks.has_tally)
    totals = RunTotals(is_of_many=users.total != 1)
    for entry in sink.prepare():
        totals.add_from_journal(entry)
    pending = PendingUsers(users.ids, sink, totals)
    failures = _Failures()
    interruption: ConnectorError | None = None
    progress = Progress(totals, client, users.total, clock)
    try:
        with redacted_logs(redactor, _LOGGERS):
            for place, result in as_finished(
                lambda user_id: read_user(user_id, inputs, client, sink),
                pending,
                concurrency=min(inputs.concurrency, users.total or inputs.concurrency),
                is_last=_stops_the_run,
                idle=lambda: hooks.on_progress(progress),
            ):
                with signals.deferred() if sink.is_durable else contextlib.nullcontext():
                    totals.add_result(place, result, sink.take(place, result))
                failures.add(place, result)
                hooks.on_progress(progress)
    except InterruptedRun as interrupted:
        interruption = interrupted
    except BaseException:
        sink.abandon()
        raise
    finally:
        client.close()
    requested = pending.count if users.total is None else users.total
    totals.end(requested=requested, requests=client.requests)
    error = interruption or failures.error(requested)
    is_forgiven = inputs.allow_incomplete and totals.pages > 0 and interruption is None
    delivery = sink.close(totals, error, is_forgiven=is_forgiven)
    if error:
        error = redactor.clean_error(error.replaced(hint=error.hint + delivery.hint))
    document = redactor.clean_value(build_document(totals, delivery, error))
    return Outcome(document, None if is_forgiven else error, totals)


class PendingUsers:
    """The users to ask for, one at a time, without those that the output file has."""

    def __init__(self, ids: Iterator[str], sink: Sink[Any], totals: RunTotals) -> None:
        self._ids = ids
        self._sink = sink
        self._totals = totals
        self.count = 0

    def __iter__(self) -> Iterator[str]:
        """Yield each id that must be read, and count the others as kept."""
        for user_id in self._ids:
            self.count += 1
            if self._sink.has(user_id):
                self._totals.add_kept()
            else:
                yield user_id


def affects_all_users(error: ConnectorError) -> bool:
    """Return whether *error* would meet every other user, too."""
    if isinstance(error, PermissionDeniedError):
        return False
    return isinstance(error, UnreachableError | UsageError | AuthenticationError | InterruptedRun)


def _stops_the_run(result: UserResult[Any]) -> bool:
    return result.error is not None and affects_all_users(result.error)


class _Failures:
    """The failures of single users, and the error of the run that they add up to."""

    def __init__(self) -> None:
        self._count = 0
        self._first: list[tuple[int, str, int]] = []
        self._affecting_all: ConnectorError | None = None
        self._most_retryable: ConnectorError | None = None
        self._retry_at: datetime | None = None

    def add(self, place: int, result: UserResult[Any]) -> None:
        """Add the failure of the user at *place*, if the result is one."""
        error = result.error
        if error is None:
            return
        self._count += 1
        # The first of those asked for, in whatever order they failed.
        entries = [*self._first, (place, result.user_id, error.code)]
        self._first = sorted(entries)[:_MAX_LISTED_USERS]
        if affects_all_users(error):
            self._affecting_all = error
        # If one of the failures is temporary, another run may succeed.
        if self._most_retryable is None or (
            isinstance(error, TemporaryError)
            and not isinstance(self._most_retryable, TemporaryError)
        ):
            self._most_retryable = error
        if error.retry_at:
            self._retry_at = max(error.retry_at, self._retry_at or error.retry_at)

    def error(self, requested: int) -> ConnectorError | None:
        """Return the error of a run of *requested* users, ``None`` if nobody failed."""
        if self._most_retryable is None:
            return None
        if self._affecting_all or requested == 1:
            return self._affecting_all or self._most_retryable
        listed = [(user_id, code) for _, user_id, code in self._first]
        if self._count < requested:
            return partial_error(listed, self._count, requested, self._retry_at)
        kind = type(self._most_retryable)
        return kind(
            f"None of the {requested} users could be read: {list_users(listed, self._count)}.",
            hint=self._most_retryable.hint,
            retry_at=self._retry_at,
        )
