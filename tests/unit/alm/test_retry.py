"""Retry, after which wait, or give up: for every class of error, any attempt and any header."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.alm.retry import (
    MIN_OUTAGE_POLL_SECONDS,
    Attempt,
    GiveUp,
    Outage,
    Wait,
    decide,
    out_of_time,
    parse_retry_after,
)
from connector.errors import (
    AuthenticationError,
    ConnectorError,
    DeadlineError,
    InternalError,
    InterruptedRun,
    LateRetryError,
    OutputError,
    PartialError,
    PermissionDeniedError,
    ProtocolError,
    TemporaryError,
    UnreachableError,
    UntrustedHostError,
    UsageError,
    UserNotFoundError,
)
from tests.support.errors import facts

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime(2024, 6, 9, 13, 5, 9, tzinfo=UTC)
PERMANENT = (
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
TEMPORARY = (TemporaryError, UnreachableError)


def failure(
    kind: type[ConnectorError] = TemporaryError,
    status: int = 503,
    retry_after: str | None = None,
) -> ConnectorError:
    """Return an error as the layers below raise it."""
    error = kind(
        "ALM failed (503).",
        hint="Run again.",
        http_status=status,
        request_id="trace",
        retry_after=retry_after,
    )
    error.__cause__ = ConnectionResetError()
    return error


def decision(
    error: ConnectorError, number: int = 1, jitter: float = 0.5, seconds_left: float = 600
) -> Wait | GiveUp:
    """Return what is decided after attempt *number* failed with *error*."""
    return decide(Attempt(number, error, jitter), now=NOW, seconds_left=seconds_left)


def final_error(result: Wait | GiveUp) -> ConnectorError:
    """Return the error to give up with."""
    assert isinstance(result, GiveUp)
    return result.error


def subclasses(kind: type[ConnectorError]) -> set[type[ConnectorError]]:
    """Return all classes below *kind*."""
    return {each for child in kind.__subclasses__() for each in (child, *subclasses(child))}


def test_decide__every_class_is_listed() -> None:
    """A new class of error has to be added to one of the lists here."""
    of_the_run = {InterruptedRun, DeadlineError, LateRetryError}
    assert subclasses(ConnectorError) == {*PERMANENT, *TEMPORARY, *of_the_run}


@pytest.mark.parametrize("kind", PERMANENT)
def test_decide__permanent(kind: type[ConnectorError]) -> None:
    """An error that no retry helps is given up at once, unchanged, whatever the server says."""
    error = failure(kind, retry_after="1")

    assert decision(error) == GiveUp(error)


def test_decide__interrupted() -> None:
    """A signal ends the run, not the attempt."""
    error = InterruptedRun(2)

    assert decision(error) == GiveUp(error)


@pytest.mark.parametrize("kind", TEMPORARY)
@pytest.mark.parametrize(("number", "seconds"), [(1, 0.5), (2, 1), (3, 2), (4, 4)])
def test_decide__backoff(kind: type[ConnectorError], number: int, seconds: float) -> None:
    """A failure that may pass is retried, each time after up to twice the wait."""
    assert decision(failure(kind), number) == Wait(seconds)


@pytest.mark.parametrize("kind", TEMPORARY)
def test_decide__fifth_attempt(kind: type[ConnectorError]) -> None:
    """The fifth failure is the last; its error has the number of attempts and a retry_at."""
    error = failure(kind, retry_after="later")

    final = final_error(decision(error, number=5))

    text = "ALM failed (503), 5 times. Run again. (request id trace)"
    assert facts(final) == (kind, text, 503, "2024-06-09T13:05:17Z")
    assert (final.retry_after, final.__cause__) == (None, error.__cause__)


@pytest.mark.parametrize(
    ("number", "seconds"), [(4, 8.0), (5, 16.0), (6, 30.0), (50, 30.0), (10_000, 30.0)]
)
def test_decide__quota_without_end(number: int, seconds: float) -> None:
    """A used-up quota is waited for any number of times, at most 30 s if no time is named."""
    assert decision(failure(status=429), number, jitter=1.0) == Wait(seconds)


@pytest.mark.parametrize(
    ("retry_after", "jitter", "seconds"),
    [
        ("10.752", 0, 10.752),
        ("10.752", 1, 11.752),
        ("0.42", 0, 0.42),
        ("0.42", 1, 0.512),
        ("3", 0.5, 3.175),
        ("0", 1, 0.05),
        ("Sun, 09 Jun 2024 13:05:19 GMT", 0, 10),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_decide__retry_after(status: int, retry_after: str, jitter: float, seconds: float) -> None:
    """The time that ALM names is kept, a little more at random, whatever the status."""
    result = decision(failure(status=status, retry_after=retry_after), jitter=jitter)

    assert isinstance(result, Wait)
    assert result.seconds == pytest.approx(seconds)


@pytest.mark.parametrize("retry_after", ["soon", "-1", "", "86401"])
def test_decide__unusable_retry_after(retry_after: str) -> None:
    """An unusable header leaves the backoff."""
    assert decision(failure(retry_after=retry_after), number=2) == Wait(1.0)


def test_decide__wait_past_deadline() -> None:
    """A wait past the deadline is not started: the error says when to run again."""
    error = failure(status=429, retry_after="10.752")

    final = final_error(decision(error, jitter=0, seconds_left=10))

    text = (
        "ALM failed (503); the deadline leaves no time for another attempt, due in 10.8 s."
        " Run again after 2024-06-09 13:05:20 UTC, or set a longer `deadline`."
        " (request id trace)"
    )
    assert facts(final) == (DeadlineError, text, 429, "2024-06-09T13:05:20Z")
    assert (final.retry_after, final.__cause__) == (None, error.__cause__)


@pytest.mark.parametrize(
    ("error", "seconds_left", "kind"),
    [
        # The credential has to wait longer than the run lasts.
        (failure(status=429), 0.1, DeadlineError),
        (failure(status=429, retry_after="60"), 59, DeadlineError),
        # The run is over.
        (failure(status=503), 0.0, DeadlineError),
        # Other users may still be read in the time that is left.
        (failure(status=503), 0.1, LateRetryError),
        (failure(status=503, retry_after="soon"), 0.1, LateRetryError),
        (failure(status=503, retry_after="60"), 59, LateRetryError),
        (failure(UnreachableError), 0.1, UnreachableError),
        (failure(UnreachableError), -1.0, UnreachableError),
    ],
)
def test_decide__who_is_out_of_time(
    error: ConnectorError, seconds_left: float, kind: type[ConnectorError]
) -> None:
    """A late retry ends the run if nothing can be sent before the deadline, else its user's part.

    A host that never answered is unreachable, whatever the time.
    """
    final = final_error(decision(error, jitter=0.5, seconds_left=seconds_left))

    assert type(final) is kind
    assert "the deadline leaves no time for another attempt" in final.message
    assert (final.retry_at is not None, final.retry_after) == (True, None)


@pytest.mark.parametrize(
    ("retry_after", "seconds_left", "retry_at"),
    [
        ("60", 59, "2024-06-09T13:06:10Z"),
        (None, 0.25, "2024-06-09T13:05:10Z"),
        (None, -3.0, "2024-06-09T13:05:06Z"),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_decide__moment_of_a_late_retry(
    status: int, retry_after: str | None, seconds_left: float, retry_at: str
) -> None:
    """It is the moment that ALM names, or that of the deadline."""
    error = failure(status=status, retry_after=retry_after)

    final = final_error(decision(error, jitter=0.5, seconds_left=seconds_left))

    assert facts(final)[3] == retry_at


@pytest.mark.parametrize(
    ("retry_after", "seconds_left", "kind"),
    [
        ("7", 7.001, Wait),
        *(("7", 7.0, GiveUp), ("7", 0.0, GiveUp), ("7", -1.0, GiveUp), ("0", 0.0, GiveUp)),
    ],
)
def test_decide__deadline_itself(retry_after: str, seconds_left: float, kind: type) -> None:
    """A wait that ends at the deadline or after it leaves no time for another attempt."""
    result = decision(failure(retry_after=retry_after), jitter=0, seconds_left=seconds_left)

    assert type(result) is kind


def test_decide__already_out_of_time() -> None:
    """The error of a passed deadline stays as it is."""
    error = out_of_time(600, 40, now=NOW)

    assert decision(error, seconds_left=10) == GiveUp(error)


@given(
    st.integers(1, 4), st.floats(0, 1), st.floats(0, 3_600).map(lambda seconds: f"{seconds:.3f}")
)
def test_decide__bounds_of_named_wait(number: int, jitter: float, retry_after: str) -> None:
    """A retry is never earlier than ALM says, and at most a second later."""
    result = decision(failure(retry_after=retry_after), number, jitter, seconds_left=10_000)

    assert isinstance(result, Wait)
    assert 0 <= result.seconds - float(retry_after) <= 1


@given(st.integers(1, 10**9), st.floats(0, 1))
def test_decide__bounds_of_backoff(number: int, jitter: float) -> None:
    """Without a named time no wait is longer than 30 s, after any number of attempts."""
    result = decision(failure(status=429), number, jitter)

    assert isinstance(result, Wait)
    assert 0 <= result.seconds <= 30


@pytest.mark.parametrize("status", [None, 429])
def test_out_of_time__error(status: int | None) -> None:
    """The error of a request that is due after the deadline says when to run again."""
    text = (
        "The deadline of 90.5 s leaves no time for the next request, due in 12.3 s."
        " Run again after 2024-06-09 13:05:22 UTC, or set a longer `deadline`."
    )
    assert facts(out_of_time(90.5, 12.34, now=NOW, http_status=status)) == (
        DeadlineError,
        text,
        status,
        "2024-06-09T13:05:22Z",
    )


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        *(("0", 0), ("3", 3), ("0.42", 0.42), ("10.752", 10.752), (" 3 ", 3), ("86400", 86_400)),
        *(
            (header, None)
            for header in ("86400.5", "86401", "999999999", "9999999999", "1" * 5_000)
        ),
        *((header, None) for header in ("-1", "+3", ".5", "5.", "1e3", "0x10", "1,5", "3, 3")),
        *((header, None) for header in ("nan", "inf", "-inf", "soon", "", "٣", "\uff13", "3 s")),
    ],
)
def test_parse_retry_after__numbers(header: str, seconds: float | None) -> None:
    """Seconds with or without a fraction are read up to a day; garbage is not guessed at."""
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
    """An HTTP date in any form is the time until then, if it is neither past nor invalid."""
    assert parse_retry_after(header, now=NOW) == seconds


@pytest.fixture
def in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the machine's time zone be nine hours ahead of UTC."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no tzset")
@pytest.mark.usefixtures("in_tokyo")
def test_parse_retry_after__date_without_an_offset() -> None:
    """A date without an offset is in GMT, whatever the machine's time zone."""
    assert parse_retry_after("Sun, 09 Jun 2024 13:05:19", now=NOW) == 10


@given(st.text() | st.text("0123456789 :+-,SunJGMT.", max_size=60))
def test_parse_retry_after__any_text(header: str) -> None:
    """No header makes it fail, or wait longer than a day."""
    assert 0 <= (parse_retry_after(header, now=NOW) or 0) <= 86_400


def answered_outage(failed_at: float = 100.0, seconds_left: float = 600.0) -> Outage:
    """Return the outage of a host that has answered and cannot be reached any more."""
    outage = Outage()
    outage.end()
    assert outage.add_failure(failed_at, jitter=1.0, seconds_left=seconds_left)
    return outage


def test_outage__of_a_host_that_never_answered() -> None:
    """A host that has never answered is no outage: each request fails, and nobody waits."""
    outage = Outage()

    assert not outage.add_failure(100.0, jitter=1.0, seconds_left=600.0)
    assert (outage.has_answered, outage.seconds_to_wait(100.0)) == (False, 0.0)


def test_outage__waits_grow() -> None:
    """Each failed trial doubles the wait, to at most 30 s."""
    outage, now, waits = answered_outage(), 100.0, []

    for _ in range(7):
        waits.append(outage.seconds_to_wait(now))
        now += waits[-1]
        assert outage.seconds_to_wait(now) == 0
        outage.add_failure(now, jitter=1.0, seconds_left=600.0)

    assert waits == [1, 2, 4, 8, 16, 30, 30]


@pytest.mark.parametrize(("jitter", "seconds"), [(0.0, 0.5), (0.5, 0.75), (1.0, 1.0)])
def test_outage__jitter(jitter: float, seconds: float) -> None:
    """The jitter shortens a wait by at most half."""
    outage = Outage()
    outage.end()
    outage.add_failure(100.0, jitter=jitter, seconds_left=600.0)

    assert outage.seconds_to_wait(100.0) == seconds


@pytest.mark.parametrize(("seconds_left", "seconds"), [(600, 1), (1.5, 0.75), (0.8, 0.5), (0, 0.5)])
def test_outage__is_tried_before_the_deadline(seconds_left: float, seconds: float) -> None:
    """A wait takes at most half of the time left: the host may be back before the deadline."""
    assert answered_outage(seconds_left=seconds_left).seconds_to_wait(100.0) == seconds


def test_outage__one_trial_at_a_time() -> None:
    """While one thread tries the host, the others wait; after its failure so does everyone."""
    outage = answered_outage()
    with ThreadPoolExecutor(1) as other:
        assert outage.seconds_to_wait(101.0) == 0
        while_trying = other.submit(outage.seconds_to_wait, 200.0).result()
        # A request that was under way already fails as well, which is no second failure.
        other.submit(outage.add_failure, 200.0, 1.0, 600.0).result()
        outage.add_failure(210.0, jitter=1.0, seconds_left=600.0)
        after = other.submit(outage.seconds_to_wait, 210.0).result()

    assert (while_trying, after) == (MIN_OUTAGE_POLL_SECONDS, 2.0)


def test_outage__trial_without_a_result() -> None:
    """If a trial comes to no result, another thread may try; only the trying one gives up."""
    outage = answered_outage()
    with ThreadPoolExecutor(1) as other:
        assert outage.seconds_to_wait(101.0) == 0
        other.submit(outage.release).result()
        before = other.submit(outage.seconds_to_wait, 101.0).result()
        outage.release()
        after = other.submit(outage.seconds_to_wait, 101.0).result()

    assert (before, after) == (MIN_OUTAGE_POLL_SECONDS, 0.0)


def test_outage__ends() -> None:
    """When the host has answered, nobody waits, and the next outage begins with a short wait."""
    outage = answered_outage()
    outage.seconds_to_wait(101.0)
    outage.add_failure(101.0, jitter=1.0, seconds_left=600.0)
    outage.end()

    assert outage.seconds_to_wait(102.0) == 0
    outage.add_failure(110.0, jitter=1.0, seconds_left=600.0)
    assert outage.seconds_to_wait(110.0) == 1
