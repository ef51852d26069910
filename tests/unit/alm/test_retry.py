"""Again, after which wait, or give up: every class of error, every number of attempts, every header."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.alm.retry import (
    MAX_ATTEMPTS,
    Attempt,
    GiveUp,
    Wait,
    decide,
    out_of_time,
    parse_retry_after,
)
from connector.errors import (
    AuthenticationError,
    ConnectorError,
    InternalError,
    InterruptedRun,
    OutputError,
    PartialError,
    PermissionDeniedError,
    ProtocolError,
    TemporaryError,
    UnreachableError,
    UntrustedHostError,
    UsageError,
    UserNotFoundError,
    error_as_dict,
)

NOW = datetime(2024, 6, 9, 13, 5, 9, tzinfo=UTC)
HOPELESS = (
    InternalError,
    PermissionDeniedError,
    OutputError,
    PartialError,
    ProtocolError,
    AuthenticationError,
    UserNotFoundError,
    UntrustedHostError,
    UsageError,
)
PASSING = (TemporaryError, UnreachableError)


def failure(
    kind: type[ConnectorError] = TemporaryError,
    status: int | None = 503,
    retry_after: str | None = None,
) -> ConnectorError:
    """Return an error as the layers below raise it."""
    return kind(
        "ALM failed (503).",
        hint="Run again.",
        http_status=status,
        request_id="trace",
        retry_after=retry_after,
    )


def kinds_of(kind: type[ConnectorError]) -> set[type[ConnectorError]]:
    """Return all classes below *kind*."""
    return {each for child in kind.__subclasses__() for each in (child, *kinds_of(child))}


def test_decide__every_class_is_listed() -> None:
    """A class that is added to the tree has to be added to one of the two lists here."""
    assert kinds_of(ConnectorError) == {*HOPELESS, *PASSING, InterruptedRun}


@pytest.mark.parametrize("kind", HOPELESS)
@pytest.mark.parametrize("retry_after", [None, "1"])
def test_decide__hopeless(kind: type[ConnectorError], retry_after: str | None) -> None:
    """What asking again would not mend is given up at once, as it is, whatever the server says."""
    error = failure(kind, retry_after=retry_after)

    assert decide(Attempt(1, error, 0.5), now=NOW, seconds_left=600) == GiveUp(error)


def test_decide__interrupted() -> None:
    """A signal ends the run, not the attempt."""
    error = InterruptedRun(2)

    assert decide(Attempt(1, error, 0.5), now=NOW, seconds_left=600) == GiveUp(error)


@pytest.mark.parametrize("kind", PASSING)
@pytest.mark.parametrize(("number", "seconds"), [(1, 0.5), (2, 1), (3, 2), (4, 4)])
def test_decide__backoff(kind: type[ConnectorError], number: int, seconds: float) -> None:
    """What may pass is waited for, each time twice as long, by half here."""
    assert decide(Attempt(number, failure(kind), 0.5), now=NOW, seconds_left=600) == Wait(seconds)


@pytest.mark.parametrize("kind", PASSING)
def test_decide__fifth_attempt(kind: type[ConnectorError]) -> None:
    """The fifth failure is the last, and says how often it was tried and when to come again."""
    verdict = decide(Attempt(MAX_ATTEMPTS, failure(kind), 0.5), now=NOW, seconds_left=600)

    assert isinstance(verdict, GiveUp)
    assert type(verdict.error) is kind
    assert error_as_dict(verdict.error) == {
        "code": kind.exit_code,
        "message": "ALM failed (503), 5 times.",
        "hint": "Run again.",
        "http_status": 503,
        "request_id": "trace",
        "retry_at": "2024-06-09T13:05:17Z",
    }


@pytest.mark.parametrize(
    ("number", "seconds"), [(4, 8.0), (5, 16.0), (6, 30.0), (50, 30.0), (10_000, 30.0)]
)
def test_decide__quota_is_unbounded_by_count(number: int, seconds: float) -> None:
    """A used-up quota is waited for however often it takes, never longer than 30 s where no time is named."""
    assert decide(Attempt(number, failure(status=429), 1.0), now=NOW, seconds_left=600) == Wait(
        seconds
    )


@pytest.mark.parametrize(
    ("retry_after", "jitter", "seconds"),
    [
        ("10.752", 0, 10.752),
        ("10.752", 1, 11.752),
        ("0.42", 0, 0.42),
        ("0.42", 1, 0.512),
        ("3", 0.5, 3.175),
        ("0", 1, 0.05),
    ],
)
def test_decide__retry_after(retry_after: str, jitter: float, seconds: float) -> None:
    """The time that ALM names is kept, with a little more, so that those refused together do not come back together."""
    verdict = decide(
        Attempt(1, failure(status=429, retry_after=retry_after), jitter), now=NOW, seconds_left=600
    )

    assert isinstance(verdict, Wait)
    assert verdict.seconds == pytest.approx(seconds)


@pytest.mark.parametrize(
    "retry_after", ["soon", "nan", "-1", "", "86401", "Sun, 09 Jun 2024 13:05:08 GMT"]
)
def test_decide__unusable_retry_after(retry_after: str) -> None:
    """A header that tells nothing usable leaves the backoff in its place."""
    assert decide(
        Attempt(2, failure(retry_after=retry_after), 0.5), now=NOW, seconds_left=600
    ) == Wait(1.0)


def test_decide__retry_after_of_503() -> None:
    """Not only a 429 may name its time."""
    assert decide(Attempt(1, failure(retry_after="7"), 0), now=NOW, seconds_left=600) == Wait(7.0)


def test_decide__wait_past_deadline() -> None:
    """A wait that would cross the deadline is not begun: the error says when to come again."""
    verdict = decide(
        Attempt(1, failure(status=429, retry_after="10.752"), 0), now=NOW, seconds_left=10
    )

    assert isinstance(verdict, GiveUp)
    assert error_as_dict(verdict.error) == {
        "code": 75,
        "message": "ALM failed (503); the deadline leaves no time for another attempt, due in 10.8 s.",
        "hint": "Run again after 2024-06-09 13:05:20 UTC, or give it a longer deadline.",
        "http_status": 429,
        "request_id": "trace",
        "retry_at": "2024-06-09T13:05:20Z",
    }


@pytest.mark.parametrize(
    ("seconds_left", "verdict"), [(7.001, Wait), (7.0, GiveUp), (0.0, GiveUp), (-1.0, GiveUp)]
)
def test_decide__deadline_itself(seconds_left: float, verdict: type) -> None:
    """A wait that ends at the deadline or after it leaves no time to ask; one before it does."""
    assert (
        type(decide(Attempt(1, failure(retry_after="7"), 0), now=NOW, seconds_left=seconds_left))
        is verdict
    )


def test_decide__no_wait_but_no_time() -> None:
    """With the deadline passed nothing is tried again, even without a wait."""
    assert isinstance(decide(Attempt(1, failure(), 0), now=NOW, seconds_left=0), GiveUp)


def test_decide__already_out_of_time() -> None:
    """An error that has already judged the deadline stays as it is: no second try, no other retry_at."""
    error = out_of_time(600, 40, now=NOW)

    assert decide(Attempt(1, error, 0.5), now=NOW, seconds_left=10) == GiveUp(error)


@given(
    st.integers(1, 4), st.floats(0, 1), st.floats(0, 3_600).map(lambda seconds: f"{seconds:.3f}")
)
def test_decide__named_wait_bounds(number: int, jitter: float, retry_after: str) -> None:
    """Never earlier than ALM says, and at most a second later."""
    verdict = decide(
        Attempt(number, failure(retry_after=retry_after), jitter), now=NOW, seconds_left=10_000
    )

    assert isinstance(verdict, Wait)
    assert 0 <= verdict.seconds - float(retry_after) <= 1


@given(st.integers(1, 10**9), st.floats(0, 1))
def test_decide__backoff_bounds(number: int, jitter: float) -> None:
    """Without a named time nobody waits longer than 30 s, after however many attempts."""
    verdict = decide(Attempt(number, failure(status=429), jitter), now=NOW, seconds_left=600)

    assert isinstance(verdict, Wait)
    assert 0 <= verdict.seconds <= 30


def test_out_of_time__message() -> None:
    """A request whose turn comes after the deadline ends the run with the moment to come again."""
    assert error_as_dict(out_of_time(90.5, 12.34, now=NOW)) == {
        "code": 75,
        "message": "The deadline of 90.5 s leaves no time for the next request, due in 12.3 s.",
        "hint": "Run again after 2024-06-09 13:05:22 UTC, or give it a longer deadline.",
        "http_status": None,
        "request_id": None,
        "retry_at": "2024-06-09T13:05:22Z",
    }


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0),
        ("3", 3),
        ("0.42", 0.42),
        ("10.752", 10.752),
        (" 3 ", 3),
        ("86400", 86_400),
        ("86400.5", None),
        ("86401", None),
        ("999999999", None),
        ("9999999999", None),
        ("1" * 5_000, None),
        ("-1", None),
        ("+3", None),
        (".5", None),
        ("5.", None),
        ("1e3", None),
        ("0x10", None),
        ("1,5", None),
        ("3, 3", None),
        ("nan", None),
        ("inf", None),
        ("-inf", None),
        ("soon", None),
        ("", None),
        ("٣", None),
        ("３", None),  # noqa: RUF001 - a full-width digit is what is tested
        ("3 s", None),
    ],
)
def test_parse_retry_after__numbers_and_garbage(header: str, seconds: float | None) -> None:
    """Whole and broken seconds up to a day are taken; garbage is not guessed at."""
    assert parse_retry_after(header, now=NOW) == seconds


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("Sun, 09 Jun 2024 13:05:19 GMT", 10),
        ("Sun, 09 Jun 2024 15:05:19 +0200", 10),
        ("Sun, 09 Jun 2024 13:05:19 -0000", 10),
        ("09 Jun 2024 13:05:19 GMT", 10),
        ("Sunday, 09-Jun-24 13:05:19 GMT", 10),
        ("Sun Jun  9 13:05:19 2024", 10),
        ("Sun, 09 Jun 2024 13:05:09 GMT", 0),
        ("Sun, 09 Jun 2024 13:05:08 GMT", None),
        ("Mon, 10 Jun 2024 13:05:09 GMT", 86_400),
        ("Mon, 10 Jun 2024 13:05:10 GMT", None),
        ("Sun, 31 Dec 9999 23:59:59 GMT", None),
        ("Sun, 09 Jun 99999 13:05:19 GMT", None),
        ("Sun, 32 Jun 2024 13:05:19 GMT", None),
        ("Sun, 09 Jun 2024 25:05:19 GMT", None),
        ("Sun, 09 Jun 2024 13:05:19 +99999999999999999999", None),
        ("Sun, 09 Jun 2024 13:05:19 +9999", None),
    ],
)
def test_parse_retry_after__dates(header: str, seconds: float | None) -> None:
    """A date of HTTP in any of its forms is the time until then; one that has passed, or is none, tells nothing."""
    assert parse_retry_after(header, now=NOW) == seconds


@given(st.text() | st.text("0123456789 :+-,SunJGMT.", max_size=60))
def test_parse_retry_after__any_text(header: str) -> None:
    """No header whatever makes it fail, or wait longer than a day."""
    assert 0 <= (parse_retry_after(header, now=NOW) or 0) <= 86_400
