"""Decides what follows a failed attempt: another one after a wait, or the error. Never waits."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from connector.errors import (
    ConnectorError,
    DeadlineError,
    LateRetryError,
    TemporaryError,
    UnreachableError,
    UntrustedHostError,
)

MAX_ATTEMPTS = 5
MAX_BACKOFF_SECONDS = 30.0
# How often threads look whether the one that tries the host has reached it.
MIN_OUTAGE_POLL_SECONDS = 0.5
# A server that names a longer wait than a day is taken to be wrong.
MAX_RETRY_AFTER_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """A failed attempt: its *number*, its *error*, and a *jitter* drawn evenly from 0 to 1."""

    number: int
    error: ConnectorError
    jitter: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Retry after *seconds*."""

    seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """A retry would not help, or not in time."""

    error: ConnectorError


def decide(attempt: Attempt, *, now: datetime, seconds_left: float) -> Wait | GiveUp:
    """Decide whether to retry; *seconds_left* are those until the run's deadline.

    A used-up quota is waited for as long as the deadline allows; any other failure that may pass
    is tried ``MAX_ATTEMPTS`` times. The run itself is out of time once the deadline has passed, or
    if ALM's quota stays used up until then.
    """
    error = attempt.error
    may_pass = isinstance(error, TemporaryError | UnreachableError)
    if not may_pass or isinstance(error, UntrustedHostError | DeadlineError):
        return GiveUp(error)
    named = parse_retry_after(error.retry_after or "", now=now)
    seconds = _seconds_to_wait(attempt, named)
    happened = error.message.removesuffix(".")
    is_over_quota = error.http_status == HTTPStatus.TOO_MANY_REQUESTS
    if seconds >= seconds_left:
        retry_at = _round_up(now + timedelta(seconds=seconds_left if named is None else seconds))
        late: ConnectorError = error.replaced(
            message=f"{happened}; the deadline leaves no time for another attempt,"
            f" due in {seconds:.1f} s.",
            hint=_run_again_after(retry_at),
            retry_at=retry_at,
            retry_after=None,
        )
        # A host that never answered is unreachable, whatever the time.
        if not isinstance(error, UnreachableError):
            is_of_run = is_over_quota or seconds_left <= 0
            late = late.converted(DeadlineError if is_of_run else LateRetryError)
        return GiveUp(late)
    retry_at = _round_up(now + timedelta(seconds=seconds))
    if attempt.number >= MAX_ATTEMPTS and not is_over_quota:
        return GiveUp(
            error.replaced(
                message=f"{happened}, {attempt.number} times.", retry_at=retry_at, retry_after=None
            )
        )
    return Wait(seconds)


class Outage:
    """The wait of all threads for a host that has answered in this run and cannot be reached now.

    One request at a time tries it, after waits that grow. Moments are monotonic seconds.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: Whether the host has answered in this run.
        self.has_answered = False
        self._failures = 0
        self._next_try_at = 0.0
        self._trying_thread: int | None = None

    @property
    def is_ongoing(self) -> bool:
        """Whether the host cannot be reached now."""
        with self._lock:
            return self._failures > 0

    def seconds_to_wait(self, now: float) -> float:
        """Return 0 if this thread may send a request now, else when to call this again."""
        with self._lock:
            if not self._failures:
                return 0.0
            if self._trying_thread is not None or now < self._next_try_at:
                return max(self._next_try_at - now, MIN_OUTAGE_POLL_SECONDS)
            self._trying_thread = threading.get_ident()
            return 0.0

    def release(self) -> None:
        """Let another thread try the host, if this one was to and came to no result."""
        with self._lock:
            if self._trying_thread == threading.get_ident():
                self._trying_thread = None

    def end(self) -> None:
        """Note that the host has answered."""
        with self._lock:
            self.has_answered = True
            self._failures = 0
            self._trying_thread = None

    def add_failure(self, now: float, jitter: float, seconds_left: float) -> bool:
        """Note that the host cannot be reached; return ``False`` if it has never answered.

        *seconds_left* are those until the run's deadline: it is tried shortly before that, too.
        """
        with self._lock:
            is_trial = self._trying_thread == threading.get_ident()
            # Requests under way when the first one failed failed for the same reason.
            if self.has_answered and (is_trial or not self._failures):
                self._failures += 1
                seconds = _backoff(self._failures, 0.5 + jitter / 2)
                longest = max(seconds_left / 2, MIN_OUTAGE_POLL_SECONDS)
                self._next_try_at = now + min(seconds, longest)
                self._trying_thread = None
            return self.has_answered


def _seconds_to_wait(attempt: Attempt, named: float | None) -> float:
    if named is not None:
        # Requests that were refused together must not come back together.
        return named + attempt.jitter * min(1.0, 0.05 + named / 10)
    return _backoff(attempt.number, attempt.jitter)


def _backoff(number: int, jitter: float) -> float:
    # Doubled from one second on; the bound on the exponent keeps the number a float.
    return jitter * min(2.0 ** min(number - 1, 10), MAX_BACKOFF_SECONDS)


def out_of_time(
    deadline_seconds: float, wait_seconds: float, *, now: datetime, http_status: int | None = None
) -> DeadlineError:
    """Return the error of a run whose next request may be sent only after its deadline.

    *http_status* is that of the response that made the request wait, if one did.
    """
    retry_at = _round_up(now + timedelta(seconds=wait_seconds))
    return DeadlineError(
        f"The deadline of {deadline_seconds:g} s leaves no time for the next request,"
        f" due in {wait_seconds:.1f} s.",
        hint=_run_again_after(retry_at),
        http_status=http_status,
        retry_at=retry_at,
    )


def _run_again_after(retry_at: datetime) -> str:
    return f"Run again after {retry_at:%Y-%m-%d %H:%M:%S} UTC, or set a longer `deadline`."


def _round_up(moment: datetime) -> datetime:
    # Shown in full seconds, it must not be earlier than it is.
    return (moment + timedelta(microseconds=999_999)).replace(microsecond=0)


def parse_retry_after(value: str, *, now: datetime) -> float | None:
    """Return the seconds to wait; ``None`` if *value* is unusable, past, or more than a day ahead.

    RFC 9110, 10.2.3 has full seconds and dates only, so urllib3 refuses the fractions that ALM
    sends ("0.42").
    """
    if re.fullmatch(r"\s*[0-9]{1,9}(\.[0-9]{1,9})?\s*", value):
        seconds = float(value)
    else:
        try:
            moment = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=now.tzinfo)
        seconds = moment.timestamp() - now.timestamp()
    return seconds if 0 <= seconds <= MAX_RETRY_AFTER_SECONDS else None
