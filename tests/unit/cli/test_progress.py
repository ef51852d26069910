"""How far a run is, in words: whole texts, an honest time left, and no more often than is wanted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from connector.alm.completeness import Completeness, Status
from connector.cli.progress import Lines, Progress, duration
from connector.errors import TemporaryError
from connector.output.document import Totals

if TYPE_CHECKING:
    from tests.support.clock import VirtualClock

PROVED = Completeness(Status.PROVED, (), 1)


def under_way(
    clock: VirtualClock, *, read: int, total: int | None, rate: float | None = 10.0, **client: Any
) -> Progress:
    """Return a run that began with the clock, has *read* users, each with 12 records, and one who failed."""
    totals = Totals(is_of_many=True)
    for user_id in range(read):
        totals.add(str(user_id), PROVED, None)
        totals.records += 12
    totals.add("x", PROVED, TemporaryError("ALM failed.", hint="Run again."))
    quota = SimpleNamespace(rate=rate) if rate else None
    known: Any = SimpleNamespace(
        **{"quota": quota, "began_at": 0.0, "requests": 30, "waits": 0, **client}
    )
    return Progress(totals, known, total, clock)


def test_told__whole_text(clock: VirtualClock) -> None:
    """Users of all, records, requests against the quota, and the time that the rest takes at it."""
    clock.sleep(60)

    told = under_way(clock, read=999, total=50_000, requests=3_000).told()

    assert (
        told
        == "1,000 of 50,000 users, 11,988 enrollments; 3,000 requests, 3000 a minute of 600; about 4.1 h left"
    )


def test_told__of_a_pipe(clock: VirtualClock) -> None:
    """Where only the end tells how many there are, nothing is said of the time left."""
    clock.sleep(30)

    told = under_way(clock, read=9, total=None, waits=12).told()

    assert (
        told == "10 users, 108 enrollments; 30 requests, 60 a minute of 600; 12 waits for the quota"
    )


def test_told__before_the_quota_is_known(clock: VirtualClock) -> None:
    """Until an answer tells the quota, the one that ALM documents is taken for granted."""
    told = under_way(clock, read=0, total=2, rate=None, requests=1).told()

    assert told == "1 of 2 users, 0 enrollments; 1 requests, 60 a minute of 100; about 1 s left"


@pytest.mark.parametrize(
    ("total", "requests", "seconds"),
    [(10, 30, 0.0), (20, 30, 3.0), (None, 30, None), (20, 0, None)],
)
def test_seconds_left__by_what_was_read(
    total: int | None, requests: int, seconds: float | None, clock: VirtualClock
) -> None:
    """Those who are left take as many requests as those who were read, at the quota's rate."""
    assert under_way(clock, read=9, total=total, requests=requests).seconds_left() == seconds


def test_seconds_left__without_those_whom_the_file_has(clock: VirtualClock) -> None:
    """Users whom the file has since an earlier run cost no request: they make the rest neither cheaper nor longer."""
    progress = under_way(clock, read=9, total=100, requests=20)
    progress.totals.in_file = 60
    for _ in range(10):
        progress.totals.keep()

    # 10 were asked for with 20 requests, 10 passed over, 50 more will be: 30 are left, with 60 requests.
    assert progress.seconds_left() == 6.0


def test_seconds_left__of_nobody_read_yet(clock: VirtualClock) -> None:
    """Where nobody has been read, nothing is guessed."""
    assert (
        Progress(
            Totals(is_of_many=True), under_way(clock, read=0, total=5).client, 5, clock
        ).seconds_left()
        is None
    )


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0 s"),
        (0.2, "1 s"),
        (59, "59 s"),
        (119, "119 s"),
        (120, "2.0 min"),
        (7_199, "120.0 min"),
        (7_200, "2.0 h"),
        (172_799, "48.0 h"),
        (172_800, "2.0 days"),
        (900_000, "10.4 days"),
    ],
)
def test_duration__in_the_unit_that_people_take(seconds: float, told: str) -> None:
    """Seconds, minutes, hours or days: a unit from two of it on."""
    assert duration(seconds) == told


def test_lines__every_thirty_seconds(clock: VirtualClock) -> None:
    """However often it is called, a line comes when thirty seconds have passed since the last one."""
    told: list[str] = []
    lines, progress = Lines(told.append, clock), under_way(clock, read=9, total=20)

    counts = []
    for _ in range(12):
        lines(progress)
        counts.append(len(told))
        clock.sleep(7.5)
    lines.hide()
    lines.close()

    assert counts == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
    assert (
        told[0]
        == "10 of 20 users, 108 enrollments; 30 requests, 60 a minute of 600; about 3 s left"
    )
