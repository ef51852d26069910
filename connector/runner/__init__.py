"""Users to results: their order, early stops, reading again what contradicts itself. And the Python door."""

from __future__ import annotations

import json
import logging
import os
import sys
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from connector.alm.auth import TokenSource
from connector.alm.client import Client
from connector.alm.completeness import CompletenessTracker, Status
from connector.alm.pagination import walk
from connector.alm.protocol import Query, first_request, shown
from connector.alm.rate_limit import RateLimiter
from connector.alm.records import read_enrollments
from connector.cli.progress import Progress as Progress
from connector.clock import Deadline, SystemClock
from connector.errors import (
    AuthenticationError,
    ConnectorError,
    InterruptedRun,
    PermissionDeniedError,
    ProtocolError,
    TemporaryError,
    UnreachableError,
    UsageError,
)
from connector.output.buffer import RecordBuffer
from connector.output.document import Document, Totals, UserResult, list_users, partial_error
from connector.output.sinks import Sink, open_sink
from connector.redact import Redactor, cleaned_logs
from connector.runner.connection import Account
from connector.runner.selection import Selection
from connector.runner.threads import as_finished
from connector.settings import Credentials, Inputs, load_inputs
from connector.settings.problems import SANDBOX
from connector.settings.sources import SECRETS_DIR, Environment
from connector.settings.users import read_user_ids
from connector.text import to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path
    from typing import TextIO

    from connector.alm.protocol import PageRequest
    from connector.alm.records import Enrollment
    from connector.clock import Clock

READINGS = 3
# A filter is asked for a logger's own records alone, not for those of the loggers below it.
_LOGS = ("connector.runner", "connector.alm.client", "urllib3.connectionpool", "urllib3.connection")
# Nothing resolves it: should the stand-in not be asked, nothing else is.
_SANDBOX_URL = "https://sandbox.invalid"
_EVERYONES = (UnreachableError, UsageError, AuthenticationError, InterruptedRun)
_LISTED = 3
_ID_AND_TYPE = attrgetter("id", "lo_type")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to: its document, the error that it fails with, and what it has read, added up."""

    document: Document
    error: ConnectorError | None
    totals: Totals


@dataclass(frozen=True, slots=True)
class RunHooks:
    """What is around a run: *write* takes the records of a format that has no file, *watch* is called after each user and now and then."""

    write: Callable[[bytes], None] | None = None
    on_progress: Callable[[Progress], None] = lambda _: None
    #: Whether a summary is to tell of records that no document has.
    has_tally: bool = False
    #: What other runs on the same credentials use as well.
    account: Account | None = None


NO_HOOKS = RunHooks()


def run(**inputs: Any) -> Document:  # noqa: ANN401 - whatever is given is judged by the inputs schema
    """Return the document that the command prints, for the inputs of ``schemas/inputs.schema.json`` by their names.

    What is not given is taken from the environment (``ALM_…``), credentials from there
    or ``/run/secrets`` alone. Prints nothing; logs to the logger ``connector``.

    Raises the ConnectorError that the command would exit with. What could be read
    all the same (of PartialError) is its ``document``.
    """
    return run_in(Environment(os.environ), inputs)


def run_in(
    environ: Mapping[str, str], inputs: Mapping[str, Any], *, secrets_dir: Path | None = SECRETS_DIR
) -> Document:
    """Do what ``run`` does, with *environ* for the environment; without *secrets_dir* no file has a credential.

    Raises as ``run`` does.
    """
    redactor = Redactor()
    loaded, credentials = load_inputs(inputs, environ, redactor, secrets_dir=secrets_dir)
    outcome = execute(loaded, credentials, redactor, clock=SystemClock(), stdin=sys.stdin)
    document: Document = json.loads(redactor.clean_document(to_json(outcome.document)))
    if outcome.error:
        outcome.error.document = document
        raise outcome.error
    return document


def execute(
    inputs: Inputs,
    credentials: Credentials,
    redactor: Redactor,
    *,
    clock: Clock,
    stdin: TextIO,
    hooks: RunHooks = NO_HOOKS,
) -> Outcome:
    """Read every user and return what came of it.

    Raises UsageError where the file of users, or the output file, cannot be used, and
    OutputError where the records cannot be written.
    """
    watch = hooks.on_progress
    users = read_user_ids(inputs, stdin)
    client = open_client(inputs, credentials, redactor, clock, hooks.account)
    sink = open_sink(inputs, redactor, hooks.write, has_tally=hooks.has_tally)
    totals = Totals(is_of_many=users.total != 1)
    for entry in sink.prepare():
        totals.resume(entry)
    progress = Progress(totals, client, users.total, clock)
    failures = _Failures()
    interrupted: ConnectorError | None = None
    asked = _Asked(users.ids, sink, totals)
    try:
        with cleaned_logs(redactor, _LOGS):
            for place, result in as_finished(
                lambda user_id: _read_user(user_id, inputs, client, sink),
                asked,
                concurrency=min(inputs.concurrency, users.total or inputs.concurrency),
                is_last=_is_everyones_failure,
                idle=lambda: watch(progress),
            ):
                sink.take(place, result, totals)
                totals.records += result.count
                totals.add(result.user_id, result.completeness, result.error)
                failures.note(place, result)
                watch(progress)
    except InterruptedRun as stopped:
        interrupted = stopped
    except BaseException:
        sink.abandon()
        raise
    finally:
        client.close()
    requested = asked.count if users.total is None else users.total
    error = interrupted or failures.error(requested)
    if 0 < totals.finished < requested:
        totals.note(f"{requested - totals.finished} of {requested} users were not reached")
    is_forgiven = (
        inputs.allow_incomplete and totals.pages > 0 and not isinstance(error, InterruptedRun)
    )
    document = sink.close(
        totals, error, requested=requested, requests=client.requests, is_forgiven=is_forgiven
    )
    document = json.loads(redactor.clean_document(to_json(document)))
    return Outcome(document, None if is_forgiven else error, totals)


class _Asked:
    """The users to ask for, one at a time, without those whom the output file has."""

    def __init__(self, ids: Iterator[str], sink: Sink, totals: Totals) -> None:
        self._ids = ids
        self._sink = sink
        self._totals = totals
        self.count = 0

    def __iter__(self) -> Iterator[str]:
        for user_id in self._ids:
            self.count += 1
            if self._sink.has(user_id):
                self._totals.keep()
            else:
                yield user_id


def open_client(
    inputs: Inputs,
    credentials: Credentials,
    redactor: Redactor,
    clock: Clock,
    shared: Account | None = None,
) -> Client:
    """Return the client for ``base_url``: ALM itself, with what is *shared*, or the embedded sandbox with its own credentials."""
    deadline = Deadline(clock, inputs.deadline)
    gate = RateLimiter(inputs.quota_share)
    if inputs.base_url != SANDBOX:
        shared = shared or Account(TokenSource(credentials, redactor), gate)
        return Client(inputs.base_url, shared.tokens, shared.rate_limiter, deadline)
    from pydantic import SecretStr  # noqa: PLC0415

    from connector.sandbox import ACCESS_TOKEN, Sandbox, Settings  # noqa: PLC0415 - most runs ask ALM itself
    from connector.sandbox.adapter import SandboxAdapter  # noqa: PLC0415

    tokens = TokenSource(Credentials(SecretStr(ACCESS_TOKEN)), redactor)
    return Client(
        _SANDBOX_URL, tokens, gate, deadline, adapter=SandboxAdapter(Sandbox(Settings(), clock))
    )


def request_for(user_id: str, inputs: Inputs) -> PageRequest:
    """Return the request for the first page of *user_id*."""
    query = Query(inputs.lo_types, inputs.sort, inputs.state, inputs.include, inputs.page_limit)
    return first_request(
        _SANDBOX_URL if inputs.base_url == SANDBOX else inputs.base_url, user_id, query
    )


def _is_everyones_failure(result: UserResult) -> bool:
    return result.error is not None and _is_everyones(result.error)


def _is_everyones(error: ConnectorError) -> bool:
    return isinstance(error, _EVERYONES) and not isinstance(error, PermissionDeniedError)


def _read_user(user_id: str, inputs: Inputs, client: Client, sink: Sink) -> UserResult:
    for reading in range(1, READINGS + 1):
        result = _read_once(user_id, inputs, client, sink)
        if result.completeness.status is not Status.VIOLATED or result.error:
            return result
        _log.warning(
            "reading %d of user %s contradicts itself: %s",
            reading,
            user_id,
            "; ".join(result.completeness.reasons),
        )
        if reading < READINGS and result.chunk:
            result.chunk.close()
    error = ProtocolError(
        f"ALM's pages for user {user_id} contradict themselves, {READINGS} readings over: {result.completeness.reasons[0]}.",
        hint="Enrollments that come or go during the run do this; run again, or take what there is with allow_incomplete.",
    )
    client.forget(error)
    return replace(result, error=error)


def _read_once(user_id: str, inputs: Inputs, client: Client, sink: Sink) -> UserResult:
    witness = CompletenessTracker()
    selection = Selection(
        since=inputs.since, most=inputs.max_enrollments, newest_first=inputs.sort == "-dateEnrolled"
    )
    collected = sink.collect()
    undecoded = _Undecoded()
    stopped, failed = None, None
    try:
        for page, following in walk(client, request_for(user_id, inputs)):
            served = read_enrollments(page, inputs.include)
            are_new = witness.observe(
                map(_ID_AND_TYPE, served), following.cursor if following else None
            )
            undecoded.note(served)
            # Only a reading that contradicts itself has an enrollment twice: once is enough of it.
            collected.add(
                selection.take(
                    served
                    if all(are_new)
                    else [one for one, is_new in zip(served, are_new, strict=True) if is_new]
                )
            )
            stopped = selection.why_stop(has_next=following is not None)
            if stopped or witness.violated:
                break
    except ConnectorError as error:
        client.forget(error)
        failed, stopped = error, error.message
    verdict = witness.verdict(stopped, noticed=undecoded.told())
    chunk = collected if isinstance(collected, RecordBuffer) else None
    return UserResult(
        user_id, collected if isinstance(collected, list) else (), verdict, failed, chunk
    )


class _Undecoded:
    """Counts the ids of another shape than ALM documents."""

    def __init__(self) -> None:
        self._count = 0
        self._first = ""

    def note(self, enrollments: Iterable[Enrollment]) -> None:
        for one in enrollments:
            if not one.is_decoded:
                self._first = self._first or one.id
                self._count += 1

    def told(self) -> tuple[str, ...]:
        if not self._count:
            return ()
        return (
            f"{self._count} ids of another shape were handed on undecoded, the first: {shown(self._first)}",
        )


class _Failures:
    """What users' failures come to."""

    def __init__(self) -> None:
        self._count = 0
        self._first: list[tuple[int, str, int]] = []
        self._everyones: ConnectorError | None = None
        self._most_retryable: ConnectorError | None = None
        self._retry_at: datetime | None = None

    def note(self, place: int, result: UserResult) -> None:
        error = result.error
        if error is None:
            return
        self._count += 1
        # The first of those asked for, whoever failed first.
        self._first = sorted([*self._first, (place, result.user_id, error.code)])[:_LISTED]
        if _is_everyones(error):
            self._everyones = error
        # Where one of the failures may pass, the run may be tried again.
        if self._most_retryable is None or (
            isinstance(error, TemporaryError)
            and not isinstance(self._most_retryable, TemporaryError)
        ):
            self._most_retryable = error
        if error.retry_at:
            self._retry_at = max(error.retry_at, self._retry_at or error.retry_at)

    def error(self, requested: int) -> ConnectorError | None:
        """Return the run's error, where *requested* users were asked for."""
        if self._most_retryable is None or self._everyones or requested == 1:
            return self._everyones or self._most_retryable
        listed = [(user_id, code) for _, user_id, code in self._first]
        if self._count == requested:
            kind, told = type(self._most_retryable), list_users(listed, self._count)
            return kind(
                f"None of the {requested} users could be read: {told}.",
                hint=self._most_retryable.hint,
                retry_at=self._retry_at,
            )
        return partial_error(listed, self._count, requested, self._retry_at)
