"""Users to results: their order, early stops, reading again what contradicts itself. And the Python door."""

from __future__ import annotations

import json
import logging
import os
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from connector.alm.auth import TokenSource
from connector.alm.client import Client
from connector.alm.completeness import Status, Witness
from connector.alm.protocol import Query, first_request, shown
from connector.alm.quota import QuotaGate
from connector.alm.records import read_enrollments
from connector.alm.selection import Selection
from connector.alm.walk import walk
from connector.clock import Deadline, SystemClock
from connector.document import Document, UserResult, build_document
from connector.errors import (
    ConnectorError,
    InterruptedRun,
    OutOfScopeError,
    PartialError,
    ProtocolError,
    RefusedError,
    TemporaryError,
    UnreachableError,
    UsageError,
)
from connector.inputs import Credentials, Inputs, load_inputs
from connector.judge import SANDBOX
from connector.redact import Redactor, cleaned_logs
from connector.settings import Environment
from connector.text import to_json
from connector.threads import in_order
from connector.users import read_user_ids

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TextIO

    from connector.alm.protocol import PageRequest
    from connector.clock import Clock

READINGS = 3
# A filter is asked for a logger's own records alone, not for those of the loggers below it.
_LOGS = ("connector.job", "connector.alm.client", "urllib3.connectionpool", "urllib3.connection")
# Nothing resolves it: should the stand-in not be asked, nothing else is.
_SANDBOX_URL = "https://sandbox.invalid"
_EVERYONES = (UnreachableError, UsageError, RefusedError, InterruptedRun)
_SHOWN = 3
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to: its document, and the error that it fails with."""

    document: Document
    error: ConnectorError | None


def run(**inputs: Any) -> Document:  # noqa: ANN401 - whatever is given is judged by the inputs schema
    """Return the document that the command prints, for the inputs of ``schemas/inputs.schema.json`` by their names.

    What is not given is taken from the environment (``ALM_…``), credentials from there
    or ``/run/secrets`` alone. Prints nothing; logs to the logger ``connector``.

    Raises the ConnectorError that the command would exit with. What could be read
    all the same (of PartialError) is its ``document``.
    """
    redactor = Redactor()
    loaded, credentials = load_inputs(inputs, Environment(os.environ), redactor)
    outcome = execute(loaded, credentials, redactor, clock=SystemClock(), stdin=sys.stdin)
    document: Document = json.loads(redactor.clean_document(to_json(outcome.document)))
    if outcome.error:
        outcome.error.document = document
        raise outcome.error
    return document


def execute(inputs: Inputs, credentials: Credentials, redactor: Redactor, *, clock: Clock, stdin: TextIO) -> Outcome:
    """Read every user and return what came of it. Raises UsageError where the file of users cannot be used."""
    user_ids = read_user_ids(inputs, stdin)
    client = open_client(inputs, credentials, redactor, clock)
    results: list[UserResult] = []
    interrupted: ConnectorError | None = None
    try:
        with cleaned_logs(redactor, _LOGS):
            results.extend(read_users(user_ids, inputs, client))
    except InterruptedRun as stopped:
        interrupted = stopped
    finally:
        client.close()
    error = interrupted or _error_of(results, len(user_ids))
    if results and len(results) < len(user_ids):
        results[-1] = _with_reason(results[-1], f"{len(user_ids) - len(results)} of {len(user_ids)} users were not reached")
    document = build_document(results, error, requested=len(user_ids), requests=client.requests, allow_incomplete=inputs.allow_incomplete)
    read_any = any(result.completeness.pages for result in results)
    is_forgiven = inputs.allow_incomplete and read_any and not isinstance(error, InterruptedRun)
    return Outcome(document, None if is_forgiven else error)


def open_client(inputs: Inputs, credentials: Credentials, redactor: Redactor, clock: Clock) -> Client:
    """Return the client for ``base_url``: ALM itself, or the embedded sandbox with its own credentials."""
    gate = QuotaGate(inputs.quota_share)
    deadline = Deadline(clock, inputs.deadline)
    if inputs.base_url != SANDBOX:
        return Client(inputs.base_url, TokenSource(credentials, redactor), gate, deadline)
    from pydantic import SecretStr  # noqa: PLC0415

    from connector.sandbox import ACCESS_TOKEN, Sandbox, Settings  # noqa: PLC0415 - most runs ask ALM itself
    from connector.sandbox.adapter import SandboxAdapter  # noqa: PLC0415

    tokens = TokenSource(Credentials(SecretStr(ACCESS_TOKEN)), redactor)
    return Client(_SANDBOX_URL, tokens, gate, deadline, adapter=SandboxAdapter(Sandbox(Settings(), clock)))


def read_users(user_ids: Sequence[str], inputs: Inputs, client: Client) -> Iterator[UserResult]:
    """Return what was read of each user, in order; a failure that would be every user's is the last."""
    return in_order(
        lambda user_id: _read_user(user_id, inputs, client), user_ids, concurrency=inputs.concurrency, is_last=_is_everyones_failure
    )


def request_for(user_id: str, inputs: Inputs) -> PageRequest:
    """Return the request for the first page of *user_id*."""
    query = Query(inputs.lo_types, inputs.sort, inputs.state, inputs.include, inputs.page_limit)
    return first_request(_SANDBOX_URL if inputs.base_url == SANDBOX else inputs.base_url, user_id, query)


def _is_everyones_failure(result: UserResult) -> bool:
    return result.error is not None and _is_everyones(result.error)


def _is_everyones(error: ConnectorError) -> bool:
    return isinstance(error, _EVERYONES) and not isinstance(error, OutOfScopeError)


def _read_user(user_id: str, inputs: Inputs, client: Client) -> UserResult:
    for reading in range(1, READINGS + 1):
        result = _read_once(user_id, inputs, client)
        if result.completeness.status is not Status.VIOLATED or result.error:
            return result
        _log.warning("reading %d of user %s contradicts itself: %s", reading, user_id, "; ".join(result.completeness.reasons))
    error = ProtocolError(
        f"ALM's pages for user {user_id} contradict themselves, {READINGS} readings over: {result.completeness.reasons[0]}.",
        hint="Enrollments that come or go during the run do this; run again, or take what there is with allow_incomplete.",
    )
    client.forget(error)
    return UserResult(user_id, result.enrollments, result.completeness, error)


def _read_once(user_id: str, inputs: Inputs, client: Client) -> UserResult:
    witness = Witness()
    selection = Selection(since=inputs.since, most=inputs.max_enrollments, newest_first=inputs.sort == "-dateEnrolled")
    undecoded: list[str] = []
    stopped, failed = None, None
    try:
        for page, following in walk(client, request_for(user_id, inputs)):
            enrollments = read_enrollments(page, inputs.include)
            witness.observe([(one.id, one.lo_type) for one in enrollments], following.cursor if following else None)
            undecoded += [one.id for one in enrollments if not one.is_decoded]
            selection.take(enrollments)
            stopped = selection.why_stop(has_next=following is not None)
            if stopped or witness.violated:
                break
    except ConnectorError as error:
        client.forget(error)
        failed, stopped = error, error.message
    verdict = witness.verdict(stopped, noticed=_noticed(undecoded))
    return UserResult(user_id, selection.kept, verdict, failed)


def _with_reason(result: UserResult, reason: str) -> UserResult:
    completeness = replace(result.completeness, reasons=(*result.completeness.reasons, reason))
    return replace(result, completeness=completeness)


def _noticed(undecoded: Sequence[str]) -> tuple[str, ...]:
    if not undecoded:
        return ()
    return (f"{len(undecoded)} ids of another shape were handed on undecoded, the first: {shown(undecoded[0])}",)


def _error_of(results: Sequence[UserResult], requested: int) -> ConnectorError | None:
    failed = [result for result in results if result.error]
    if not failed:
        return None
    last = failed[-1].error
    if last and (requested == 1 or _is_everyones(last)):
        return last
    errors = [result.error for result in failed if result.error]
    listed = ", ".join(f"{result.user_id} (exit code {result.error.code})" for result in failed[:_SHOWN] if result.error)
    more = f" and {len(failed) - _SHOWN} more" if len(failed) > _SHOWN else ""
    retry_at = max((error.retry_at for error in errors if error.retry_at), default=None)
    if len(failed) == requested:
        likest = next((error for error in errors if isinstance(error, TemporaryError)), errors[0])
        return type(likest)(f"None of the {requested} users could be read: {listed}{more}.", hint=likest.hint, retry_at=retry_at)
    return PartialError(
        f"{len(failed)} of {requested} users could not be read: {listed}{more}.",
        hint="The others were; users.failed tells each one's error. Run again for those users alone.",
        retry_at=retry_at,
    )
