"""Again, after which wait, or give up: a pure answer to a failed attempt. Waits for nothing itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

from connector.errors import ConnectorError, TemporaryError, UnreachableError, UntrustedHostError

MAX_ATTEMPTS = 5
_FIRST_BACKOFF_SECONDS = 1.0
_LONGEST_BACKOFF_SECONDS = 30.0
# A server that names a longer wait than a day is taken to be mistaken.
_LONGEST_RETRY_AFTER_SECONDS = 86_400.0
_QUOTA_STATUS = 429


@dataclass(frozen=True, slots=True)
class Attempt:
    """A failed attempt: the *number*-th of a request, what came of it, and a *jitter* drawn evenly from 0 to 1."""

    number: int
    error: ConnectorError
    jitter: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Try again after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Asking again would not mend it, or not in time."""

    error: ConnectorError


def decide(attempt: Attempt, *, now: datetime, seconds_left: float) -> Wait | GiveUp:
    """Judge a failed attempt; *seconds_left* are those until the run's deadline.

    A quota that is used up is waited for as long as the deadline allows; any other
    failure that may pass is tried ``MAX_ATTEMPTS`` times.
    """
    error = attempt.error
    if not isinstance(error, TemporaryError | UnreachableError) or isinstance(
        error, UntrustedHostError
    ):
        return GiveUp(error)
    if error.retry_at:
        # The deadline has been judged already (out_of_time).
        return GiveUp(error)
    seconds = _seconds_to_wait(attempt, now)
    retry_at = _whole_second(now + timedelta(seconds=seconds))
    if seconds >= seconds_left:
        return GiveUp(_past_deadline(error, seconds, retry_at))
    if attempt.number >= MAX_ATTEMPTS and error.http_status != _QUOTA_STATUS:
        return GiveUp(
            _retold(
                error,
                f"{error.message.removesuffix('.')}, {attempt.number} times.",
                error.hint,
                retry_at,
            )
        )
    return Wait(seconds)


def _seconds_to_wait(attempt: Attempt, now: datetime) -> float:
    header = attempt.error.retry_after
    named = parse_retry_after(header, now=now) if header else None
    if named is not None:
        # Those who were refused together must not come back together.
        return named + attempt.jitter * min(1.0, 0.05 + named / 10)
    longest: float = min(
        _FIRST_BACKOFF_SECONDS * 2 ** min(attempt.number - 1, 10), _LONGEST_BACKOFF_SECONDS
    )
    return attempt.jitter * longest


def _past_deadline(error: ConnectorError, seconds: float, retry_at: datetime) -> ConnectorError:
    return _retold(
        error,
        f"{error.message.removesuffix('.')}; the deadline leaves no time for another attempt, due in {seconds:.1f} s.",
        f"Run again after {retry_at:%Y-%m-%d %H:%M:%S} UTC, or give it a longer deadline.",
        retry_at,
    )


def out_of_time(
    deadline_seconds: float, wait_seconds: float, *, now: datetime, http_status: int | None = None
) -> TemporaryError:
    """Return the error of a run whose next request may leave only in *wait_seconds*, past its deadline.

    *http_status* is that of the answer which it has to wait for, where it is one.
    """
    retry_at = _whole_second(now + timedelta(seconds=wait_seconds))
    return TemporaryError(
        f"The deadline of {deadline_seconds:g} s leaves no time for the next request, due in {wait_seconds:.1f} s.",
        hint=f"Run again after {retry_at:%Y-%m-%d %H:%M:%S} UTC, or give it a longer deadline.",
        http_status=http_status,
        retry_at=retry_at,
    )


def _whole_second(moment: datetime) -> datetime:
    # Told in whole seconds, it must not be earlier than it is.
    return (moment + timedelta(microseconds=999_999)).replace(microsecond=0)


def _retold(error: ConnectorError, message: str, hint: str, retry_at: datetime) -> ConnectorError:
    return type(error)(
        message,
        hint=hint,
        http_status=error.http_status,
        request_id=error.request_id,
        retry_at=retry_at,
    )


def parse_retry_after(value: str, *, now: datetime) -> float | None:
    """Return the seconds to wait; ``None`` if *value* is neither number nor date, lies in the past or more than a day ahead.

    ALM sends fractions ("0.42"). RFC 9110, 10.2.3 knows whole seconds and dates
    only, so urllib3 refuses them.
    """
    if re.fullmatch(r"\s*[0-9]{1,9}(\.[0-9]{1,9})?\s*", value):
        seconds = float(value)
    else:
        try:
            moment = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        seconds = (
            moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)
        ).timestamp() - now.timestamp()
    return seconds if 0 <= seconds <= _LONGEST_RETRY_AFTER_SECONDS else None
