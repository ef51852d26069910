"""Moments as ALM and users write them, the deadline, and the only sleep."""

from __future__ import annotations

import signal
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.clock import (
    Clock,
    Deadline,
    SystemClock,
    format_moment,
    parse_moment,
    parse_relative,
    parse_utc,
)
from tests.support.clock import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Iterator

PLUS_TWO = timezone(timedelta(hours=2))
AT_NOON = datetime(2023, 6, 29, 12, 34, 33, tzinfo=UTC)


class Interrupted(Exception):  # noqa: N818 - stands for the program's own InterruptedRun
    """Raised by the signal handler below."""


@pytest.fixture
def alarm() -> Iterator[None]:
    """Send this process a signal in a moment; its handler raises."""

    def interrupt(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("yesterday", datetime(2023, 6, 28, tzinfo=UTC)),
        ("1d", datetime(2023, 6, 28, 12, 34, 33, tzinfo=UTC)),
        ("7d", datetime(2023, 6, 22, 12, 34, 33, tzinfo=UTC)),
        ("12h", datetime(2023, 6, 29, 0, 34, 33, tzinfo=UTC)),
        ("9999d", AT_NOON - timedelta(days=9_999)),
    ],
)
def test_parse_relative(text: str, moment: datetime) -> None:
    """Yesterday began at midnight, UTC; days and hours count from now, in whole seconds."""
    now = AT_NOON.replace(microsecond=987_654)

    assert parse_relative(text, now) == moment
    assert parse_relative(text, now.astimezone(PLUS_TWO)) == moment


@pytest.mark.parametrize(
    "text", ["", "today", "Yesterday", "0d", "07d", "7", "7 d", "7D", "-7d", "1.5d", "10000d", "7w"]
)
def test_parse_relative__other_texts(text: str) -> None:
    """Anything else is no such moment."""
    assert parse_relative(text, AT_NOON) is None


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (AT_NOON, "2023-06-29T12:34:33.000Z"),
        (AT_NOON.replace(microsecond=120_000), "2023-06-29T12:34:33.120Z"),
        (AT_NOON.replace(microsecond=120_001), "2023-06-29T12:34:33.120001Z"),
        (AT_NOON.replace(tzinfo=PLUS_TWO), "2023-06-29T10:34:33.000Z"),
    ],
)
def test_format_moment__as_alm_writes_them(moment: datetime, text: str) -> None:
    """Moments are written in UTC, in milliseconds unless they have more."""
    assert format_moment(moment) == text


@pytest.mark.parametrize("text", ["soon", "0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00"])
def test_parse_utc__without_such_a_moment(text: str) -> None:
    """Text that is no moment, or none that UTC has, gives nothing."""
    assert parse_utc(text) is None
    assert parse_utc("2023-06-29T14:34:33+02:00") == AT_NOON


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2023-06-29", datetime(2023, 6, 29, tzinfo=UTC)),
        ("2023-06-29T12:34:33.000Z", AT_NOON),
        ("2023-06-29T12:34:33.123456789Z", AT_NOON.replace(microsecond=123456)),
        ("2023-06-29T12:34", AT_NOON.replace(second=0)),
        ("2023-06-29T12:34:33", AT_NOON),
        ("2023-06-29T12:34Z", AT_NOON.replace(second=0)),
        ("2023-06-29T12:34:33.5-00:00", AT_NOON.replace(microsecond=500_000)),
        ("2023-06-29T12:34:33+02:00", AT_NOON.replace(tzinfo=PLUS_TWO)),
    ],
)
def test_parse_moment__documented_forms(text: str, moment: datetime) -> None:
    """A date is its midnight; without an offset a moment is UTC; an offset is kept."""
    parsed = parse_moment(text)

    assert parsed == moment
    assert parsed is not None
    assert parsed.utcoffset() == moment.utcoffset()


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "yesterday", "1687998873", "29.06.2023", "2023-02-30", "2023-13-01"),
        *("2023-06-29T25:00", "2023-06-29T12:34+99:00"),
        *("2023-06-29\n12:34", "2023-06-29\ud80012:34", "2023-06-29x12:34", "2023-06-29 12:34"),
        *("2023-06-29Z", "2023-06-29+14:00", "2023-06-29T12Z", "2023-06-29T12:34:33+0200"),
        *("20230629", "2023-W26-4", "1688038473000", "16880384730000", "2023-06-29T12:34:33.Z"),
        *("2023-06-29T12:34:33,5Z", "2023-06-29T12:34:33.1234567890Z", "2023-06-29T12:34z"),
        *("\uff12023-06-29", "2023-06-29T12:34:33\n"),
    ],
)
def test_parse_moment__anything_else(text: str) -> None:
    """Other text is not guessed at, other forms of ISO 8601 and epoch milliseconds included."""
    assert parse_moment(text) is None


@given(st.text())
def test_parse_moment__any_text(text: str) -> None:
    """No text makes it fail, and every moment has an offset, so moments can be compared."""
    parsed = parse_moment(text)

    assert parsed is None or parsed.tzinfo is not None


def test_deadline__counts_down_from_its_start(clock: Clock) -> None:
    """The seconds left shrink as the clock runs, and are negative after the deadline."""
    clock.sleep(1000)
    deadline = Deadline(clock, 600)

    left = [deadline.left()]
    for seconds in (599.5, 1):
        clock.sleep(seconds)
        left.append(deadline.left())

    assert (left, deadline.seconds) == ([600.0, 0.5, -0.5], 600)


def test_deadline__moment() -> None:
    """The moment of the deadline stays the same, before it and after it."""
    clock = VirtualClock(AT_NOON)
    deadline = Deadline(clock, 600)

    moments = {deadline.moment()}
    clock.sleep(1000)
    moments.add(deadline.moment())

    assert moments == {AT_NOON + timedelta(minutes=10)}


def test_system_clock__now_is_utc() -> None:
    """The system's moment is the present one, in UTC."""
    before = datetime.now(UTC)

    now = SystemClock().now()

    assert now.tzinfo is UTC
    assert before <= now <= datetime.now(UTC)


def test_system_clock__sleeps() -> None:
    """A sleep takes at least as long as requested."""
    clock = SystemClock()
    started_at = clock.monotonic()

    clock.sleep(0.02)

    assert clock.monotonic() - started_at >= 0.02


@pytest.mark.usefixtures("alarm")
def test_system_clock__a_signal_ends_a_sleep() -> None:
    """A sleep ends early with the exception that a signal handler raises."""
    clock = SystemClock()
    started_at = clock.monotonic()

    with pytest.raises(Interrupted):
        clock.sleep(30)

    assert clock.monotonic() - started_at < 15
