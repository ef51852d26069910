"""A host that has answered is waited for; what every thread would meet ends the run once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from connector.errors import DeadlineError, UnreachableError
from tests.support.alm import FakeAlm, Quota, facts_of, one_enrollment
from tests.support.clock import SimulatedClock

if TYPE_CHECKING:
    from pathlib import Path

    from tests.long_runs.conftest import Run

MINUTE = 60.0
HOUR = 60 * MINUTE


def two_hours(**values: Any) -> FakeAlm:
    """Return an ALM whose quota lets 2,400 users take two hours."""
    quota = Quota(per_minute=20, burst=5)
    return FakeAlm(SimulatedClock(8), one_enrollment, quota=quota, **values)


USERS = list(map(str, range(2_400)))


def test_outage__of_five_minutes_in_two_hours(run: Run) -> None:
    """The run waits for the host, one thread tries it, and nobody is lost or read twice."""
    alm = two_hours(outages=[(HOUR, HOUR + 5 * MINUTE)])

    outcome = run(alm, user_id=USERS, deadline=3 * HOUR)

    assert outcome.error is None
    assert facts_of(outcome.document) == (2_400, 2_400, 0)
    assert len(alm.requests) == len(set(alm.requests)) == 2_400
    # Eight requests that were under way, and trials after 1, 2, 4 … 30 s, less up to a half.
    assert alm.unreachable <= 8 + 5 + 5 * MINUTE / 15
    assert outcome.document["completeness"]["requests"] == 2_400 + alm.unreachable
    # The quota has been saved up meanwhile, as far as the burst allows.
    assert alm.clock.monotonic() < 2 * HOUR + 5.5 * MINUTE
    assert outcome.document["next_since"] == "2023-06-29T11:55:00.000Z"


def test_outage__until_the_deadline(run: Run, tmp_path: Path) -> None:
    """If the host stays away, the run is out of time, and what was read is kept."""
    alm = two_hours(outages=[(HOUR / 4, 9 * HOUR)])
    inputs: dict[str, Any] = {"format": "ndjson", "output_file": tmp_path / "out"}

    outcome = run(alm, user_id=USERS, deadline=2 * HOUR, **inputs)

    assert type(outcome.error) is DeadlineError
    assert outcome.document["error"]["retry_at"] == "2023-06-29T14:00:00Z"
    assert 2 * HOUR - 2 < alm.clock.monotonic() <= 2 * HOUR
    requested, read, failed = facts_of(outcome.document)
    assert (requested, failed) == (2_400, 0)
    assert 300 <= read < 310
    assert f"{read} users are kept" in outcome.error.hint


@pytest.mark.parametrize("seconds", [0.5, 15, 290])
def test_outage__that_ends_before_the_deadline(seconds: float, run: Run) -> None:
    """However long an outage lasts, the host is tried once more before the deadline."""
    clock = SimulatedClock(8)
    alm = FakeAlm(clock, one_enrollment, latency_of=lambda _: 1.0, outages=[(2.0, 2.0 + seconds)])

    outcome = run(alm, user_id=USERS[:64], deadline=330)

    assert outcome.error is None
    assert facts_of(outcome.document) == (64, 64, 0)


def test_outage__from_the_start(run: Run) -> None:
    """A host that never answered is unreachable: five attempts, whatever the deadline."""
    alm = two_hours(outages=[(0, 9 * HOUR)])

    outcome = run(alm, user_id=USERS, deadline=9 * HOUR)

    assert type(outcome.error) is UnreachableError
    assert alm.clock.monotonic() < MINUTE
    assert facts_of(outcome.document)[1] == 0


def test_token__refused_for_all_threads_at_once(run: Run) -> None:
    """When a token expires under eight threads, it is refreshed once."""
    alm = two_hours(token_seconds=10 * MINUTE)
    trio: dict[str, Any] = {
        "client_id": "an-id-00",
        "client_secret": "a-secret-00",
        "refresh_token": "a-refresh",
    }

    outcome = run(alm, user_id=USERS[:700], deadline=3 * HOUR, access_token=None, **trio)

    assert outcome.error is None
    assert facts_of(outcome.document) == (700, 700, 0)
    assert alm.refreshes == alm.clock.monotonic() // (10 * MINUTE) + 1 > 3
    # Each thread meets the expired token at most once.
    assert len(alm.requests) <= 700 + 8 * alm.refreshes
