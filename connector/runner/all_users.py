"""All users: their order, threads, early stops, and the error that their failures add up to."""

from __future__ import annotations

import contextlib
import re
import threading
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from connector import signals
from connector.clock import Deadline, format_moment
from connector.errors import (
    AuthenticationError,
    ConnectorError,
    DeadlineError,
    InterruptedRun,
    LateRetryError,
    PermissionDeniedError,
    ProtocolError,
    TemporaryError,
    UnreachableError,
    UsageError,
    UserNotFoundError,
)
from connector.output.document import NOTHING, build_document, list_users, partial_error
from connector.output.results import RunTotals
from connector.output.sinks import open_sink
from connector.redact import redacted_logs
from connector.runner.connection import open_client
from connector.runner.one_user import HiddenRows, read_address, read_user
from connector.runner.threads import as_finished
from connector.settings.users import is_address, read_user_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
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
    from connector.settings.users import Users

# A filter sees the records of its own logger only, not those of the loggers below it.
_LOGGERS = (
    "connector.runner.one_user",
    "connector.alm.client",
    "connector.formats.parquet",
    "connector.formats.xlsx",
    "urllib3.connectionpool",
    "urllib3.connection",
)
Result = TypeVar("Result")
_MAX_LISTED_USERS = 3
#: The run ends if the token may read none of the first so many users.
MAX_DENIED_USERS = 20
#: The run ends if ALM refuses the request with the same text for the first so many users.
MAX_REFUSED_USERS = 2
#: How long after the deadline threads may take to come back with what they have read: this part
#: of it, and at most so many seconds.
GRACE_SHARE, MAX_GRACE_SECONDS = 0.05, 0.5
# The exit code of a run in which nobody was read: the first of these that a user failed with.
_CODES = tuple(
    kind.exit_code
    for kind in (
        TemporaryError,
        AuthenticationError,
        UsageError,
        ProtocolError,
        UnreachableError,
        UserNotFoundError,
    )
)


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
    user and ten times a second; with *has_tally* the totals count records for a step summary; an
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
    deadline = Deadline(clock, inputs.deadline)
    client = open_client(inputs, credentials, redactor, deadline, hooks.account)
    sink = open_sink(inputs, redactor, clock, hooks.write, has_tally=hooks.has_tally)
    users, totals = _prepare(inputs, stdin, sink, deadline)
    inputs = sink.resumed(inputs)
    if users.total != 1:
        # With several users, the threads that read them use the quota.
        inputs = replace(inputs, prefetch=False)
    for name, text in inputs.relative.items():
        totals.add_reason(-1, f"{name} {text} is {format_moment(getattr(inputs, name))}")
    pending = PendingUsers(users.ids, sink, totals)
    failures, hidden_rows = Failures(lambda: client.has_answered), HiddenRows()
    progress = Progress(totals, client, users.total, clock)

    def read(user: str) -> UserResult[Any]:
        if is_address(user):
            return read_address(user, inputs, client, sink, users, hidden_rows)
        return read_user(user, inputs, client, sink, hidden_rows=hidden_rows)

    def watch() -> None:
        hooks.on_progress(progress)
        signals.check()
        check_deadline(deadline)

    ended: ConnectorError | None = None
    try:
        with redacted_logs(redactor, _LOGGERS):
            results = as_finished(
                lambda user: _redacted(read(user), redactor),
                pending,
                concurrency=min(inputs.concurrency, users.total or inputs.concurrency),
                is_last=failures.add,
                idle=watch,
            )
            # The threads end with the loop, also if an exception ends it.
            with contextlib.closing(results):
                for place, result in _late_last(results, failures):
                    _take(place, result, sink, totals)
                    watch()
    except (InterruptedRun, DeadlineError) as error:
        ended = error
    except BaseException:
        sink.abandon()
        raise
    finally:
        client.close()
    pending.end()
    requested = pending.count if users.total is None else users.total
    totals.end(
        requested=requested - users.repeats,
        requests=client.requests,
        deleted=users.deleted,
        is_list_complete=pending.is_complete or users.total is not None,
    )
    failure = failures.with_retry_at(ended, totals) if ended else failures.error(totals)
    return _finish(inputs, redactor, sink, totals, failure)


def _prepare(
    inputs: Inputs, stdin: TextIO, sink: Sink[Any], deadline: Deadline
) -> tuple[Users, RunTotals]:
    """Return the users to read, and the totals of those that *sink* has from an earlier run.

    Raises DeadlineError, and what reading them raises.
    """
    has_failed = threading.Event()

    def prepare() -> tuple[Users, RunTotals]:
        try:
            users = read_user_ids(inputs, stdin)
            totals = RunTotals(inputs.base_url, is_of_many=users.total != 1)
            for entry in sink.prepare():
                totals.add_from_journal(entry)
                if "user_email" in entry:
                    users.add_address(entry["user_email"], entry["user_id"])
            return users, totals
        finally:
            # A later run in this process may need the output file, which this thread has locked.
            if has_failed.is_set():
                sink.abandon()

    try:
        return within_deadline(prepare, deadline)
    except BaseException:
        has_failed.set()
        sink.abandon()
        raise


def _late_last(
    results: Iterable[tuple[int, UserResult[Any]]], failures: Failures
) -> Iterator[tuple[int, UserResult[Any]]]:
    """Yield *results*; users whose next attempt would come after the deadline come last.

    If the deadline ends the run, these users were not reached, as others in flight were not.
    """
    late = []
    for place, result in results:
        if isinstance(result.error, LateRetryError):
            late.append((place, result))
        else:
            yield place, result
    if isinstance(failures.ending, DeadlineError):
        late = [(place, replace(result, error=failures.ending)) for place, result in late]
    yield from late


def _take(place: int, result: UserResult[Any], sink: Sink[Any], totals: RunTotals) -> None:
    """Give the records of the user at *place* to the sink, and count them."""
    if result.is_repeat or result.is_kept:
        totals.add_known(result)
        return
    if result.error is None:
        sink.open()
    with signals.deferred() if sink.is_durable else contextlib.nullcontext():
        totals.add_result(place, result, sink.take(place, result))


def _redacted(result: UserResult[Any], redactor: Redactor) -> UserResult[Any]:
    # They quote ids and links of the server's.
    reasons = tuple(map(redactor.clean_quoting, result.completeness.reasons))
    return replace(result, completeness=replace(result.completeness, reasons=reasons))


def _finish(
    inputs: Inputs,
    redactor: Redactor,
    sink: Sink[Any],
    totals: RunTotals,
    error: ConnectorError | None,
) -> Outcome:
    is_interrupted = isinstance(error, InterruptedRun)
    is_forgiven = inputs.allow_incomplete and totals.pages > 0 and not is_interrupted
    try:
        delivery = sink.close(totals, error, is_forgiven=is_forgiven)
    except (InterruptedRun, DeadlineError) as ended:
        sink.abandon()
        error, is_forgiven = ended, False
        delivery = replace(NOTHING, enrollments=None, hint=sink.kept(totals))
    if error:
        error = redactor.clean_error(error.replaced(hint=error.hint + delivery.hint))
    document = redactor.clean_value(build_document(totals, delivery, error))
    return Outcome(document, None if is_forgiven else error, totals)


def check_deadline(deadline: Deadline) -> None:
    """Raise DeadlineError if the deadline has passed, and threads had time to notice themselves.

    They cannot while the system resolves a name, or while a pipe of users stays silent.
    """
    if deadline.left() < -min(GRACE_SHARE * deadline.seconds, MAX_GRACE_SECONDS):
        raise DeadlineError(
            f"The deadline of {deadline.seconds:g} s passed before the run ended.",
            hint="Run again with a longer `deadline`.",
            retry_at=deadline.moment(),
        )


def within_deadline(work: Callable[[], Result], deadline: Deadline) -> Result:
    """Return the result of *work*, done in a thread. Raises DeadlineError, and what *work* raises.

    For what cannot notice the deadline itself: resolving a name, reading a long list.
    """
    results = as_finished(
        lambda _: work(), [None], concurrency=1, idle=lambda: check_deadline(deadline)
    )
    return next(results)[1]


class PendingUsers:
    """The users to ask for, one at a time, without those that the output file has."""

    def __init__(self, ids: Iterator[str], sink: Sink[Any], totals: RunTotals) -> None:
        self._ids = ids
        self._sink = sink
        self._totals = totals
        self._lock = threading.Lock()
        self._has_ended = False
        self.count = 0
        #: Whether the list of users has come to its end.
        self.is_complete = False

    def __iter__(self) -> Iterator[str]:
        """Yield each id that must be read, and count the others as kept."""
        for user_id in self._ids:
            with self._lock:
                if self._has_ended:
                    return
                self.count += 1
                is_kept = self._sink.has(user_id)
                if is_kept:
                    self._totals.add_kept()
            if not is_kept:
                yield user_id
        self.is_complete = True

    def end(self) -> None:
        """Stop counting: a thread may still be looking for the next user."""
        with self._lock:
            self._has_ended = True


class Failures:
    """The failures of single users; when they end the run, and which error they add up to.

    Threads share it. What a run comes to depends on the users' places in the list, not on the
    order in which they finish. *has_answered* returns whether ALM's host has answered in this run.
    """

    def __init__(self, has_answered: Callable[[], bool] = lambda: False) -> None:
        self._has_answered = has_answered
        self._lock = threading.Lock()
        self._count = 0
        self._denied = 0
        self._refused_texts: list[str] = []
        self._first: list[tuple[int, str, int]] = []
        self._by_code: dict[int, tuple[int, ConnectorError]] = {}
        #: The error that ended the run early.
        self.ending: ConnectorError | None = None
        self._retry_at: datetime | None = None
        self._late_until: datetime | None = None

    def add(self, place: int, result: UserResult[Any]) -> bool:
        """Add the result of the user at *place*, and return whether it ends the run."""
        error = result.error
        if error is None:
            return False
        with self._lock:
            if not isinstance(error, DeadlineError):
                self._add_failure(place, result.name, error)
            if self.ending is None:
                self.ending = self._error_that_ends(place, result, error)
            return self.ending is not None

    def _error_that_ends(
        self, place: int, result: UserResult[Any], error: ConnectorError
    ) -> ConnectorError | None:
        """Return the error with which the run ends now; ``None`` if it goes on."""
        _, first = self._by_code.get(error.code, (place, error))
        if isinstance(error, PermissionDeniedError):
            self._denied += place < MAX_DENIED_USERS
            if self._denied < MAX_DENIED_USERS:
                return None
            return first.replaced(
                message=f"{first.message.removesuffix('.')}; the same is true for all of the first"
                f" {MAX_DENIED_USERS} users."
            )
        if isinstance(error, UsageError):
            # ALM refuses the request itself if it says the same of the first two users.
            if place < MAX_REFUSED_USERS:
                text = error.message
                for name in filter(None, (result.user_id, result.user_email)):
                    text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "", text)
                self._refused_texts.append(text)
            is_of_all = len(self._refused_texts) == MAX_REFUSED_USERS
            return first if is_of_all and len(set(self._refused_texts)) == 1 else None
        if isinstance(error, UnreachableError):
            return None if self._has_answered() else error
        return error if isinstance(error, DeadlineError | AuthenticationError) else None

    def _add_failure(self, place: int, name: str, error: ConnectorError) -> None:
        self._count += 1
        # The first of those asked for, in whatever order they failed.
        entries = [*self._first, (place, name, error.code)]
        self._first = sorted(entries)[:_MAX_LISTED_USERS]
        known = self._by_code.get(error.code)
        if known is None or place < known[0]:
            self._by_code[error.code] = (place, error)
        if error.retry_at:
            self._retry_at = max(error.retry_at, self._retry_at or error.retry_at)
            if isinstance(error, LateRetryError):
                self._late_until = max(error.retry_at, self._late_until or error.retry_at)

    def with_retry_at(self, error: ConnectorError, totals: RunTotals) -> ConnectorError:
        """Return *error*; if the deadline passed before anybody was read, with ALM's later time."""
        with self._lock:
            latest = self._late_until
        if not isinstance(error, DeadlineError) or totals.read or not (latest and error.retry_at):
            return error
        # The moment of the deadline is rounded up in a failure's own error.
        if latest <= error.retry_at + timedelta(seconds=1):
            return error
        hint = f"ALM asks to run again after {latest:%Y-%m-%d %H:%M:%S} UTC."
        return error.replaced(retry_at=latest, hint=hint)

    def error(self, totals: RunTotals) -> ConnectorError | None:
        """Return the error of the run, ``None`` if nobody failed."""
        if self.ending or not self._by_code:
            return self.ending and self.with_retry_at(self.ending, totals)
        # Whatever may pass comes first: another run may succeed.
        code = next(code for code in _CODES if code in self._by_code)
        _, error = self._by_code[code]
        if totals.requested == 1:
            return error
        listed = [(name, code) for _, name, code in self._first]
        if totals.read:
            return partial_error(listed, self._count, totals.requested, self._retry_at)
        users = list_users(listed, self._count)
        return type(error)(
            f"None of the {totals.requested} users could be read: {users}.",
            hint=error.hint,
            retry_at=self._retry_at,
        )
