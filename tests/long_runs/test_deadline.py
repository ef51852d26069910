"""A deadline ends a run of any size at once, and says when to continue."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from connector.errors import DeadlineError, PartialError
from connector.runner import RunHooks
from connector.text import to_json
from tests.support.alm import FakeAlm, Quota, facts_of, one_enrollment, resident_bytes
from tests.support.clock import SimulatedClock, VirtualClock

if TYPE_CHECKING:
    from pathlib import Path

    from tests.long_runs.conftest import Run

MAX_CPU_SECONDS = 5.0
MAX_MEMORY = 20 * 1024**2
MAX_DOCUMENT = 4_000


@pytest.mark.parametrize(
    ("count", "fault", "most_read"),
    [
        # The burst, and what the quota gives in three seconds.
        (100_000, None, 35),
        (100_000, (429, ""), 0),
        (5_000, (503, ""), 0),
    ],
    ids=["quota", "refused", "ALM is down"],
)
def test_deadline__of_many_users(
    count: int, fault: tuple[int, str] | None, most_read: int, run: Run, tmp_path: Path
) -> None:
    """Whatever keeps it from its end, the run is short, small, and lists nobody it did not ask."""
    learners = tmp_path / "learners.csv"
    learners.write_text("user_id\n" + "\n".join(map(str, range(count))), encoding="utf-8")
    clock = SimulatedClock(8)
    alm = FakeAlm(clock, one_enrollment, fault=lambda _: fault, quota=Quota())
    sizes: list[int] = []
    hooks = RunHooks(on_progress=lambda _: sizes.append(resident_bytes()))
    began, before = time.process_time(), resident_bytes()

    outcome = run(alm, hooks=hooks, user_ids_file=learners, deadline=3, concurrency=8)

    seconds, memory = time.process_time() - began, max(sizes, default=0) - before
    requested, was_read, failed = facts_of(outcome.document)
    assert type(outcome.error) is DeadlineError
    assert outcome.error.retry_at is not None
    assert clock.monotonic() <= 3
    # On a busy machine a thread may come late, and read fewer.
    assert (requested, was_read <= most_read) == (count, True)
    assert (was_read > 0) == (most_read > 0)
    # Users whose attempts the deadline has cut short were not reached.
    messages = [user["error"]["message"] for user in outcome.document["users"]["failed"]]
    assert all("5 times" in message for message in messages)
    assert len(messages) == failed
    assert len(to_json({**outcome.document, "users": None, "enrollments": []})) < MAX_DOCUMENT
    assert (seconds < MAX_CPU_SECONDS, memory < MAX_MEMORY) == (True, True), (seconds, memory)


def test_deadline__of_users_in_work(run: Run, tmp_path: Path) -> None:
    """Users who are in work at the deadline were not reached; those who were read are kept."""
    clock = SimulatedClock(4)
    alm = FakeAlm(clock, one_enrollment, latency_of=lambda user: 100.0 if int(user) >= 12 else 1.0)
    inputs: dict[str, Any] = {
        "user_id": list(map(str, range(100))),
        "concurrency": 4,
        "format": "ndjson",
        "output_file": tmp_path / "out",
    }

    outcome = run(alm, **inputs, deadline=60)

    assert clock.monotonic() == pytest.approx(60, abs=0.1)
    assert facts_of(outcome.document) == (100, 12, 0)
    assert outcome.document["completeness"]["reasons"][-1] == "88 of 100 users were not reached"
    assert outcome.document["next_since"] is None
    alm.latency_of = lambda _: 1.0
    resumed = run(alm, **inputs, resume=True)
    assert (facts_of(resumed.document), resumed.totals.kept) == ((100, 100, 0), 12)


@pytest.mark.parametrize("allow_incomplete", [False, True])
def test_deadline__of_an_open_pipe(*, allow_incomplete: bool, run: Run, tmp_path: Path) -> None:
    """A pipe of users that stays open ends with the deadline, and its first users are kept."""
    clock = VirtualClock()
    alm = FakeAlm(clock, one_enrollment)
    reader, writer = os.pipe()
    os.write(writer, b"31\n32\n33\n")
    # Time passes only while the run waits for the pipe.
    hooks = RunHooks(on_progress=lambda now: clock.sleep(60 if now.totals.read == 3 else 0))

    with os.fdopen(reader, encoding="utf-8") as stdin:
        outcome = run(
            alm,
            stdin=stdin,
            hooks=hooks,
            user_ids_file="-",
            deadline=300,
            format="ndjson",
            output_file=tmp_path / "out",
            allow_incomplete=allow_incomplete,
        )
        os.close(writer)

    document = outcome.document
    assert (outcome.error is None, document["error"]["code"]) == (allow_incomplete, 75)
    assert (facts_of(document), document["complete"]) == ((3, 3, 0), False)
    assert document["completeness"]["reasons"] == ["the list of users was not read to its end"]
    assert document["error"]["retry_at"] == "2023-06-29T12:05:00Z"
    kept = tmp_path / ("out" if allow_incomplete else "out.part")
    assert len(kept.read_bytes().splitlines()) == 3


@pytest.mark.parametrize("user_id", ["1,2,3", "2,3,1"])
def test_deadline__of_one_users_retries(user_id: str, run: Run) -> None:
    """A user whose retry would come too late has failed; the others are delivered."""
    clock = SimulatedClock(3)

    def fault(user_id: str) -> tuple[int, str] | None:
        return (500, "") if user_id == "1" else None

    # Whichever thread is first: the third request starts within half a second.
    alm = FakeAlm(clock, one_enrollment, fault=fault, latency_of=lambda user: 2.4 * (user != "1"))

    outcome = run(alm, user_id=user_id, concurrency=3, deadline=3)

    assert type(outcome.error) is PartialError
    assert facts_of(outcome.document) == (3, 2, 1)
    assert len(outcome.document["enrollments"]) == 2


@pytest.mark.parametrize("concurrency", [1, 3])
def test_deadline__sooner_than_one_users_retry(concurrency: int, run: Run) -> None:
    """A moment after the deadline that ALM names for one user does not stop the others."""
    clock = SimulatedClock(concurrency)

    def fault(user_id: str) -> tuple[int, str] | None:
        return (503, "") if user_id == "5" else None

    alm = FakeAlm(clock, one_enrollment, fault=fault, retry_after="3600")

    outcome = run(alm, user_id=["5", *map(str, range(10, 29))], concurrency=concurrency)

    assert type(outcome.error) is PartialError
    assert facts_of(outcome.document) == (20, 19, 1)
    assert outcome.document["error"]["retry_at"].startswith("2023-06-29T13:00:")
