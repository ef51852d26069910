"""Moments as ALM and users write them, the deadline, and the one place that waits."""

from __future__ import annotations

import signal
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.clock import Clock, Deadline, SystemClock, parse_moment

if TYPE_CHECKING:
    from collections.abc import Iterator

PLUS_TWO = timezone(timedelta(hours=2))


class Interrupted(Exception):  # noqa: N818 - stands for the run's own InterruptedRun
    """Raised by the signal's handler below."""


@pytest.fixture
def alarm() -> Iterator[None]:
    """Send this process a signal in a moment, and have its handler raise."""

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
        ("2023-06-29", datetime(2023, 6, 29, tzinfo=UTC)),
        ("20230629", datetime(2023, 6, 29, tzinfo=UTC)),
        ("2023-06-29T12:34:33.000Z", datetime(2023, 6, 29, 12, 34, 33, tzinfo=UTC)),
        ("2023-06-29T12:34:33.123456789Z", datetime(2023, 6, 29, 12, 34, 33, 123456, tzinfo=UTC)),
        ("2023-06-29T12:34", datetime(2023, 6, 29, 12, 34, tzinfo=UTC)),
        ("2023-06-29 12:34:33", datetime(2023, 6, 29, 12, 34, 33, tzinfo=UTC)),
        ("2023-06-29T12:34:33+02:00", datetime(2023, 6, 29, 12, 34, 33, tzinfo=PLUS_TWO)),
        ("2023-06-29T12:34:33+0200", datetime(2023, 6, 29, 12, 34, 33, tzinfo=PLUS_TWO)),
    ],
)
def test_parse_moment__iso_8601(text: str, moment: datetime) -> None:
    """A date is its midnight; what names no offset is UTC; an offset is kept."""
    parsed = parse_moment(text)

    assert parsed == moment
    assert parsed is not None
    assert parsed.utcoffset() == moment.utcoffset()


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "yesterday",
            "29.06.2023",
            "2023-02-30",
            "2023-13-01",
            "2023-06-29T25:00",
            "1687998873",
            "2023-06-29T12:34+99:00",
        ),
        *("2023-06-29\n12:34", "2023-06-29\ud80012:34", "2023-06-29x12:34"),
    ],
)
def test_parse_moment__anything_else(text: str) -> None:
    """What is neither date nor date-time is not guessed at."""
    assert parse_moment(text) is None


@given(st.text())
def test_parse_moment__any_text(text: str) -> None:
    """No text makes it fail, and every moment it returns has an offset, so that moments can be compared."""
    parsed = parse_moment(text)

    assert parsed is None or parsed.tzinfo is not None


def test_deadline__counts_down(clock: Clock) -> None:
    """What is left shrinks as the clock runs, and is negative once the deadline has passed."""
    deadline = Deadline(clock, 600)

    before = deadline.left()
    clock.sleep(599.5)
    shortly_before_the_end = deadline.left()
    clock.sleep(1)

    assert (before, shortly_before_the_end, deadline.left()) == (600.0, 0.5, -0.5)


def test_deadline__begins_when_it_is_made(clock: Clock) -> None:
    """What passed before the deadline was made does not count."""
    clock.sleep(1000)

    deadline = Deadline(clock, 5)

    assert (deadline.left(), deadline.seconds) == (5.0, 5)


def test_virtual_clock__obeys_the_protocol(clock: Clock) -> None:
    """The tests' own clock jumps in both of its readings when it is told to sleep."""
    clock.sleep(90)

    assert clock.monotonic() == 90.0
    assert clock.now() == datetime(2023, 6, 29, 12, 1, 30, tzinfo=UTC)


def test_system_clock__tells_utc() -> None:
    """The system's moment is in UTC, and now."""
    before = datetime.now(UTC)

    now = SystemClock().now()

    assert now.tzinfo is UTC
    assert before <= now <= datetime.now(UTC)


def test_system_clock__waits() -> None:
    """A wait takes as long as was asked for, by the monotonic clock, which never runs backwards."""
    clock = SystemClock()
    began = clock.monotonic()

    clock.sleep(0.02)

    assert clock.monotonic() - began >= 0.02


@pytest.mark.usefixtures("alarm")
def test_system_clock__a_signal_ends_a_wait() -> None:
    """A wait ends early with the exception that a signal's handler raises."""
    clock = SystemClock()
    began = clock.monotonic()

    with pytest.raises(Interrupted):
        clock.sleep(30)

    assert clock.monotonic() - began < 5
