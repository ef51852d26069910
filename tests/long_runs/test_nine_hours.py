"""50,000 learners at 100 requests a minute, over nine virtual hours in which everything happens."""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from connector.errors import DeadlineError
from connector.output.journal import journal_of
from connector.runner import Progress, RunHooks
from tests.support.alm import DATE, FakeAlm, Quota, facts_of, resident_bytes
from tests.support.clock import SimulatedClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.long_runs.conftest import Run

HOUR = 3_600.0
LEARNERS = 50_000
FIRST = 100_000
#: Every so many learners have a second page.
PAGES_OF_TWO = 12
PAGES = LEARNERS + LEARNERS // PAGES_OF_TWO
KILLS = (9_000, 26_000, 41_000)
TRIO = {"client_id": "an-id-00", "client_secret": "a-secret-00", "refresh_token": "a-refresh"}
# The host goes away for a moment, for five minutes, and for a quarter of an hour.
OUTAGES = ((0.4 * HOUR, 0.4 * HOUR + 20), (2.2 * HOUR, 2.2 * HOUR + 300), (6 * HOUR, 6.25 * HOUR))
# Within one run: between runs, memory waits for Python's garbage collector.
MAX_GROWTH = 8 * 1024**2


class KilledError(BaseException):
    """The process ends where it is, without a further word."""


class BusyQuota(Quota):
    """A bucket that others empty as well, every now and then."""

    def take(self, now: float) -> float | None:
        """Take a request; at some minutes nothing is left."""
        seconds = now % (0.9 * HOUR)
        if seconds < 20 and now > HOUR / 2:
            return 20 - seconds
        return super().take(now)


def enrollments_of(user_id: str) -> list[tuple[str, str]]:
    """Return one enrollment, or eleven of every twelfth learner."""
    count = 1 if int(user_id) % PAGES_OF_TWO else 11
    return [(f"course:{number}_2_{user_id}", DATE) for number in range(count)]


@pytest.fixture
def memory_folder() -> Iterator[Path]:
    """Return a folder in memory if there is one: each virtual second, files are synced."""
    shared = Path("/dev/shm")  # noqa: S108 - a folder of the test's own below it
    folder = Path(tempfile.mkdtemp(dir=shared if shared.is_dir() else None))
    yield folder
    shutil.rmtree(folder)


class Watch:
    """Kill a run at a number of learners, and measure the memory of each run on the way."""

    def __init__(self) -> None:
        self.sizes: list[list[int]] = []
        self._kill_at = 0

    def hooks(self, kill_at: int = 0) -> RunHooks:
        """Return the hooks of the next run, which is killed after so many learners; never if 0."""
        self.sizes.append([])
        self._kill_at = kill_at
        return RunHooks(on_progress=self._on_progress)

    def _on_progress(self, progress: Progress) -> None:
        read = progress.totals.read
        if read % 500 == 0:
            self.sizes[-1].append(resident_bytes())
        if self._kill_at and read == self._kill_at:
            raise KilledError


def tear(path: Path) -> None:
    """Add what a process that is killed while it writes leaves behind."""
    with Path(f"{path}.part").open("ab") as part:
        part.write(b'{"id":"course:1_2_')
    with journal_of(path).open("ab") as journal:
        journal.write(b'{"user_id":"1')


@pytest.mark.slow
def test_nine_hours__nothing_lost_and_nothing_twice(
    run: Run, memory_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Outages, expired tokens, refusals, three kills and a deadline cost 1 % more requests."""
    # Log records that pytest keeps would count as the run's memory.
    caplog.set_level(logging.CRITICAL, "connector")
    path = memory_folder / "out.ndjson"
    alm = FakeAlm(
        SimulatedClock(8),
        enrollments_of,
        quota=BusyQuota(),
        outages=OUTAGES,
        token_seconds=2 * HOUR,
        # A response in ten takes long, so that pages of several learners are under way at once.
        latency_of=lambda user: 2.0 if user.endswith("7") else 0.0,
    )
    inputs: dict[str, Any] = {
        "user_id": list(map(str, range(FIRST, FIRST + LEARNERS))),
        "format": "ndjson",
        "output_file": path,
        "resume": True,
        "access_token": None,
        **TRIO,
    }
    watch = Watch()
    for kill_at in KILLS:
        with pytest.raises(KilledError):
            run(alm, hooks=watch.hooks(kill_at), deadline=20 * HOUR, **inputs)
        tear(path)
    # The deadline falls into the last outage.
    late = run(alm, hooks=watch.hooks(), deadline=9 * HOUR - alm.clock.monotonic(), **inputs)
    requests = late.document["completeness"]["requests"]
    last = run(alm, hooks=watch.hooks(), deadline=20 * HOUR, **inputs)

    assert type(late.error) is DeadlineError
    assert (last.error, requests > 0) == (None, True)
    assert facts_of(last.document) == (LEARNERS, LEARNERS, 0)
    assert last.document["next_since"] == "2023-06-29T11:55:00.000Z"
    assert last.document["complete"]
    users = Counter(re.findall(rb'"user_id":"(\d+)"', path.read_bytes()))
    assert users == {
        str(user).encode(): len(enrollments_of(str(user)))
        for user in range(FIRST, FIRST + LEARNERS)
    }
    assert len(alm.requests) <= PAGES * 1.01
    assert 9 * HOUR < alm.clock.monotonic() < 9.8 * HOUR
    assert max(max(sizes) - sizes[0] for sizes in watch.sizes) < MAX_GROWTH, watch.sizes
