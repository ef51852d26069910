"""The example for our own operators: under a whole Airflow 3 with its scheduler, and in a test run of Airflow 2."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from connector.output.journal import journal_of, read_entries
from connector.sandbox import ACCESS_TOKEN, Settings
from connector.sandbox.faults import parse_faults
from connector.sandbox.server import SandboxServer
from tests.integrations.airflow.conftest import fresh
from tests.integrations.airflow.engines.book import (
    UNKNOWN_USER,
    UNTHROTTLED,
    USERS,
    Left,
    asked,
    example,
    judged,
    read_records,
    records_of,
)
from tests.integrations.airflow.engines.conftest import list_learners
from tests.integrations.airflow.engines.standalone import Standalone, processes_with, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.integrations.airflow.conftest import Airflow
    from tests.integrations.airflow.engines.standalone import Task

SLOTS = 4
PER_USER = 25
MANY = tuple(str(user) for user in range(2000, 2040))
SOME = tuple(str(user) for user in range(3000, 3024))
REFUSED = "refused-canary"
PATIENCE_SECONDS = 20
# Runs begin when a test says so; a retry comes at once.
COMMON = {'schedule="@daily"': "schedule=None", "timedelta(seconds=10)": "timedelta(seconds=1)"}


@dataclass(frozen=True, slots=True)
class Case:
    """One DAG of the example's, with its own sandbox, token, learners and folder."""

    name: str
    server: SandboxServer
    folder: Path

    @property
    def dag(self) -> str:
        """Return the DAG's name."""
        return f"alm_{self.name}"


class Cases:
    """The cases of one Airflow, each of which has a connection of its own."""

    def __init__(self, airflow: Airflow, stack: ExitStack) -> None:
        self._airflow, self._stack = airflow, stack
        self.variables: dict[str, str] = {}

    def add(
        self,
        name: str,
        users: tuple[str, ...],
        shards: int,
        *,
        changes: Mapping[str, str] | None = None,
        token: str = ACCESS_TOKEN,
        latency_seconds: float = 0,
        **settings: Any,
    ) -> Case:
        """Write the DAG, and start its sandbox."""
        server = self._stack.enter_context(
            SandboxServer(Settings(**{**UNTHROTTLED, **settings}), latency_seconds=latency_seconds)
        )
        case = Case(name, server, self._airflow.home.parent / name)
        case.folder.mkdir()
        list_learners(case.folder, *users)
        connection = {
            'task_id="read",': f'task_id="read", alm_conn_id="alm_{name}",',
            '"alm_enrollments_native"': f'"{case.dag}"',
        }
        constants = {
            "FOLDER": str(case.folder),
            "LEARNERS": f"{case.folder}/learners.csv",
            "SHARDS": shards,
        }
        text = example("alm_native", constants, {**COMMON, **connection, **(changes or {})})
        (self._airflow.dags / f"{name}.py").write_text(text, encoding="utf-8")
        told = {"conn_type": "alm", "host": server.url, "password": token}
        self.variables[f"AIRFLOW_CONN_ALM_{name.upper()}"] = json.dumps(told)
        return case


@dataclass(frozen=True, slots=True)
class Whole:
    """A running Airflow 3, and its cases by name."""

    airflow: Airflow
    standalone: Standalone
    cases: dict[str, Case]


@pytest.fixture(scope="module")
def whole(
    migrated: Mapping[str, Airflow], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Whole]:
    """Return an Airflow 3 that has found every case's DAG."""
    airflow = fresh(migrated["3"], tmp_path_factory.mktemp("whole") / "airflow")
    with ExitStack() as stack:
        cases = Cases(airflow, stack)
        made = [
            cases.add(
                "shared", MANY, 6, rate_per_minute=600, burst=20, enrollments_per_user=PER_USER
            ),
            cases.add("unknown", (*USERS, UNKNOWN_USER), 2),
            cases.add("refused", USERS, 2, token=REFUSED),
            cases.add(
                "patient",
                ("1000",),
                1,
                changes={"deadline=3600": "deadline=5"},
                faults=parse_faults([f"page=1:429/{PATIENCE_SECONDS}"]),
            ),
            cases.add("killed", SOME, 1, latency_seconds=0.3, enrollments_per_user=PER_USER),
        ]
        standalone = stack.enter_context(Standalone(airflow, cases.variables))
        standalone.make_pool("alm", SLOTS)
        standalone.wait_for_dags(case.dag for case in made)
        yield Whole(airflow, standalone, {case.name: case for case in made})


def states(tries: Mapping[tuple[str, int], list[Task]]) -> dict[tuple[str, int], list[str]]:
    """Return the states in which each try of a task ended."""
    return {task: [one.state for one in every] for task, every in tries.items()}


def most_at_once(tasks: list[Task]) -> int:
    """Return how many of *tasks* ran side by side."""
    return max(sum(other.start <= one.start < other.end for other in tasks) for one in tasks)


def test_native__tasks_share_one_quota(whole: Whole) -> None:
    """Mapped tasks in a pool draw on one limiter, as many at once as the pool has slots, and are hardly refused."""
    case = whole.cases["shared"]

    run = whole.standalone.start(case.dag)
    state = whole.standalone.wait(run)

    assert state == "success"
    tries = whole.standalone.tries(run)
    assert states(tries) == {
        **{("read", n): ["success"] for n in range(6)},
        ("merge", -1): ["success"],
    }
    assert most_at_once([tries["read", n][0] for n in range(6)]) == SLOTS
    merged = judged(whole.standalone.xcom(run, "merge", -1))
    assert read_records(Path(merged["output_file"])) == records_of(
        MANY, enrollments_per_user=PER_USER
    )
    statuses = Counter(one["status"] for one in case.server.requests)
    assert statuses[200] == 3 * len(MANY)
    assert statuses[429] <= 0.05 * statuses.total()


def test_native__an_unknown_user(whole: Whole) -> None:
    """Nothing is tried again, and the others are joined."""
    case = whole.cases["unknown"]

    run = whole.standalone.start(case.dag)
    state = whole.standalone.wait(run)

    assert state == "failed"
    assert states(whole.standalone.tries(run)) == {
        ("read", 0): ["success"],
        ("read", 1): ["failed"],
        ("merge", -1): ["failed"],
    }
    assert asked(case.server) == dict.fromkeys(sorted((*USERS, UNKNOWN_USER)), 1)
    for task in (("read", 1), ("merge", -1)):
        document = judged(whole.standalone.xcom(run, *task))
        assert [one["user_id"] for one in document["users"]["failed"]] == [UNKNOWN_USER]
    assert read_records(Path(document["output_file"])) == records_of(USERS)


def test_native__a_refused_token(whole: Whole) -> None:
    """Every task has exactly one try, and the token is shown nowhere."""
    case = whole.cases["refused"]

    run = whole.standalone.start(case.dag)
    state = whole.standalone.wait(run)

    assert state == "failed"
    assert states(whole.standalone.tries(run)) == {
        ("read", 0): ["failed"],
        ("read", 1): ["failed"],
        ("merge", -1): ["failed"],
    }
    assert judged(whole.standalone.xcom(run, "read", 0))["error"]["code"] == 77
    assert {one["status"] for one in case.server.requests} == {401}


def test_native__deferred_until_alm_said(whole: Whole) -> None:
    """A wait beyond the deadline is the triggerer's: the next try begins at the moment that ALM named, not before."""
    case = whole.cases["patient"]

    run = whole.standalone.start(case.dag)
    wait_for(lambda: whole.standalone.state_of(run, "read", 0) == "deferred", 60)
    document = judged(whole.standalone.xcom(run, "read", 0))
    state = whole.standalone.wait(run)

    assert state == "success"
    first, second = whole.standalone.tries(run)["read", 0]
    assert (first.state, second.state) == ("failed", "success")
    assert document["error"]["code"] == 75
    assert datetime.fromisoformat(document["error"]["retry_at"]) <= second.start
    assert [one["status"] for one in case.server.requests][:1] == [429]
    assert asked(case.server) == {"1000": 2}


def test_native__a_killed_worker(whole: Whole) -> None:
    """Killed in the middle, a task is tried again, and goes on: who was whole is not asked for again."""
    case = whole.cases["killed"]

    run = whole.standalone.start(case.dag)
    name = run.rpartition("/")[2]
    file = case.folder / f"{name}-1.ndjson"
    part = file.with_name(f"{file.name}.part")
    wait_for(lambda: part.exists() and len(finished(file)) > 2, 60)
    (pid,) = processes_with(part)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not processes_with(part), 10)
    whole_users = finished(file)
    state = whole.standalone.wait(run)

    assert state == "success"
    assert states(whole.standalone.tries(run))["read", 0] == ["failed", "success"]
    assert 2 < len(whole_users) < len(SOME)
    assert {
        user: count for user, count in asked(case.server).items() if user in whole_users
    } == dict.fromkeys(whole_users, 1)
    assert read_records(case.folder / f"{name}.ndjson") == records_of(
        SOME, enrollments_per_user=PER_USER
    )


def finished(file: Path) -> list[str]:
    """Return the users whom *file* has whole so far."""
    return sorted(
        entry["user_id"] for entry, _ in read_entries(journal_of(file)) if "enrollments" in entry
    )


def test_native__no_token_is_stored(whole: Whole) -> None:
    """After all of that, neither Airflow's database nor any log has a token."""
    everything = b"".join(
        path.read_bytes() for path in whole.airflow.home.rglob("*") if path.is_file()
    )

    assert b"alm_refused" in everything
    assert ACCESS_TOKEN.encode() not in everything
    assert REFUSED.encode() not in everything


def test_native__under_airflow_2(migrated: Mapping[str, Airflow], tmp_path: Path) -> None:
    """The same example reads in shards and joins under Airflow 2."""
    airflow = fresh(migrated["2"], tmp_path / "airflow")
    with ExitStack() as stack:
        cases = Cases(airflow, stack)
        case = cases.add("plain", USERS, 2)
        left = Left(
            airflow,
            airflow.run(
                "airflow", "dags", "test", case.dag, "2026-01-01", timeout=120, **cases.variables
            ),
        )

    assert left.finished.exit_code == 0, left.output
    assert left.tasks == {
        ("read", 0): ("success", 1),
        ("read", 1): ("success", 1),
        ("merge", -1): ("success", 1),
    }
    documents = {task: judged(document) for task, document in left.xcoms.items()}
    assert sorted(documents) == [("merge", -1), ("read", 0), ("read", 1)]
    assert read_records(Path(documents["merge", -1]["output_file"])) == records_of(USERS)
    assert asked(case.server) == dict.fromkeys(sorted(USERS), 1)
    left.assert_no_secret()
