"""Decides what follows a failed attempt: another one after a wait, or the error. Never waits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from connector.errors import ConnectorError, TemporaryError, UnreachableError, UntrustedHostError

MAX_ATTEMPTS = 5
MAX_BACKOFF_SECONDS = 30.0
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
    is tried ``MAX_ATTEMPTS`` times.
    """
    error = attempt.error
    may_pass = isinstance(error, TemporaryError | UnreachableError)
    # Of an error with retry_at, out_of_time has already compared the deadline.
    if not may_pass or isinstance(error, UntrustedHostError) or error.retry_at:
        return GiveUp(error)
    seconds = _seconds_to_wait(attempt, now)
    retry_at = _round_up(now + timedelta(seconds=seconds))
    happened = error.message.removesuffix(".")
    if seconds >= seconds_left:
        return GiveUp(
            error.replaced(
                message=f"{happened}; the deadline leaves no time for another attempt,"
                f" due in {seconds:.1f} s.",
                hint=_run_again_after(retry_at),
                retry_at=retry_at,
                retry_after=None,
            )
        )
    if attempt.number >= MAX_ATTEMPTS and error.http_status != HTTPStatus.TOO_MANY_REQUESTS:
        return GiveUp(
            error.replaced(
                message=f"{happened}, {attempt.number} times.", retry_at=retry_at, retry_after=None
            )
        )
    return Wait(seconds)


def _seconds_to_wait(attempt: Attempt, now: datetime) -> float:
    seconds = parse_retry_after(attempt.error.retry_after or "", now=now)
    if seconds is not None:
        # Requests that were refused together must not come back together.
        return seconds + attempt.jitter * min(1.0, 0.05 + seconds / 10)
    # Doubled from one second on; the bound on the exponent keeps the number a float.
    return attempt.jitter * min(2.0 ** min(attempt.number - 1, 10), MAX_BACKOFF_SECONDS)


def out_of_time(
    deadline_seconds: float, wait_seconds: float, *, now: datetime, http_status: int | None = None
) -> TemporaryError:
    """Return the error of a run whose next request may be sent only after its deadline.

    *http_status* is that of the response that made the request wait, if one did.
    """
    retry_at = _round_up(now + timedelta(seconds=wait_seconds))
    return TemporaryError(
        f"The deadline of {deadline_seconds:g} s leaves no time for the next request,"
        f" due in {wait_seconds:.1f} s.",
        hint=_run_again_after(retry_at),
        http_status=http_status,
        retry_at=retry_at,
    )


def _run_again_after(retry_at: datetime) -> str:
    return f"Run again after {retry_at:%Y-%m-%d %H:%M:%S} UTC, or give it a longer deadline."


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
