"""The example for our own operators in Airflow 3 with its scheduler, triggerer and workers."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from connector.output.journal import journal_of, read_entries
from connector.sandbox import ACCESS_TOKEN
from tests.integrations.airflow.conftest import copy_of
from tests.integrations.airflow.engines.standalone import Standalone, processes_with, wait_for
from tests.integrations.airflow.examples import (
    USERS,
    example,
    list_learners,
    read_records,
    reads_of_users,
    records_of,
)
from tests.support.process import valid_document
from tests.support.sandbox import unlimited_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from connector.sandbox.server import SandboxServer
    from tests.integrations.airflow.conftest import Airflow
    from tests.integrations.airflow.engines.standalone import Tries

SLOTS = 4
PER_USER = 25
QUOTA: dict[str, Any] = {"rate_per_minute": 600, "burst": 20}
MANY = tuple(str(user) for user in range(2000, 2040))
SOME = tuple(str(user) for user in range(3000, 3024))
REFUSED = "refused-canary"
RETRY_SECONDS = 20
# The tests start the runs, and retries come at once.
COMMON = {'schedule="@daily"': "schedule=None", "timedelta(seconds=10)": "timedelta(seconds=1)"}


class Dags:
    """Variants of the example in one Airflow, each with its own sandbox, connection and folder."""

    def __init__(self, airflow: Airflow, stack: ExitStack) -> None:
        self.airflow, self._stack = airflow, stack
        self.servers: dict[str, SandboxServer] = {}
        self.connections: dict[str, str] = {}

    def add(
        self,
        name: str,
        users: tuple[str, ...],
        *faults: str,
        shards: int = 1,
        token: str = ACCESS_TOKEN,
        deadline: int = 3600,
        **settings: Any,
    ) -> None:
        """Add the DAG *name* with these inputs; *faults* and *settings* are its sandbox's."""
        server = self._stack.enter_context(unlimited_sandbox(*faults, **settings))
        self.servers[name] = server
        folder = self.folder(name)
        folder.mkdir()
        list_learners(folder, *users)
        connection = {"conn_type": "alm", "host": server.url, "password": token}
        self.connections[f"AIRFLOW_CONN_{name.upper()}"] = json.dumps(connection)
        constants = {"FOLDER": str(folder), "LEARNERS": f"{folder}/learners.csv", "SHARDS": shards}
        changes = {
            'task_id="read",': f'task_id="read", alm_conn_id="{name}",',
            '"alm_enrollments_native"': f'"{name}"',
            "deadline=3600": f"deadline={deadline}",
        }
        text = example("alm_native", constants, {**COMMON, **changes})
        (self.airflow.dags / f"{name}.py").write_text(text, encoding="utf-8")

    def folder(self, name: str) -> Path:
        """Return the folder that the DAG *name* reads and writes."""
        return self.airflow.home.parent / name


@pytest.fixture(scope="module")
def dags(
    migrated: Mapping[str, Airflow], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Dags]:
    """Return the DAGs of all tests in this module."""
    home = tmp_path_factory.mktemp("native") / "airflow"
    with ExitStack() as stack:
        dags = Dags(copy_of(migrated["3"], home), stack)
        dags.add("shared", MANY, shards=6, **QUOTA, enrollments_per_user=PER_USER)
        dags.add("refused", USERS, shards=2, token=REFUSED)
        dags.add("deferred", ("1000",), f"page=1:429/{RETRY_SECONDS}", deadline=5)
        dags.add("killed", SOME, latency_seconds=0.3, enrollments_per_user=PER_USER)
        yield dags


@pytest.fixture(scope="module")
def standalone(dags: Dags) -> Iterator[Standalone]:
    """Return a running Airflow 3 that has found every DAG."""
    with Standalone(dags.airflow, dags.connections) as standalone:
        standalone.make_pool("alm", SLOTS)
        wait_for(lambda: set(dags.servers) <= standalone.dags())
        yield standalone


def states(tries: Tries) -> dict[tuple[str, int], list[str]]:
    """Return the states in which the tries of each task ended."""
    return {name: [task.state for task in tasks] for name, tasks in tries.items()}


def test_native__tasks_share_one_quota(standalone: Standalone, dags: Dags) -> None:
    """As many mapped tasks run at once as the pool has slots, and ALM refuses few requests."""
    run = standalone.start("shared")
    state = standalone.wait(run)

    tries = standalone.tries(run)
    reads = [tries["read", shard][0] for shard in range(6)]
    running = [sum(other.start <= task.start < other.end for other in reads) for task in reads]
    assert state == "success"
    assert states(tries) == {task: ["success"] for task in tries}
    assert max(running) == SLOTS
    merged = valid_document(json.dumps(standalone.xcom(run, "merge", -1)))
    expected = records_of(MANY, enrollments_per_user=PER_USER)
    assert read_records(Path(merged["output_file"])) == expected
    statuses = Counter(request["status"] for request in dags.servers["shared"].requests)
    assert statuses[200] == 3 * len(MANY)
    assert statuses[429] <= 0.05 * statuses.total()


def test_native__refused_token(standalone: Standalone, dags: Dags) -> None:
    """If ALM refuses the token, every task has exactly one try."""
    run = standalone.start("refused")
    state = standalone.wait(run)

    tasks = [("read", 0), ("read", 1), ("merge", -1)]
    assert state == "failed"
    assert states(standalone.tries(run)) == {task: ["failed"] for task in tasks}
    document = valid_document(json.dumps(standalone.xcom(run, "read", 0)))
    assert document["error"]["code"] == 77
    assert {request["status"] for request in dags.servers["refused"].requests} == {401}


def test_native__deferred_until_retry_at(standalone: Standalone, dags: Dags) -> None:
    """A task that must wait beyond its deadline is deferred; its next try begins in time."""
    run = standalone.start("deferred")
    wait_for(lambda: standalone.state_of(run, "read", 0) == "deferred")
    document = valid_document(json.dumps(standalone.xcom(run, "read", 0)))
    state = standalone.wait(run)

    first, second = standalone.tries(run)["read", 0]
    assert (state, first.state, second.state) == ("success", "failed", "success")
    assert document["error"]["code"] == 75
    assert datetime.fromisoformat(document["error"]["retry_at"]) <= second.start
    assert reads_of_users(dags.servers["deferred"]) == {"1000": 2}


def test_native__killed_worker(standalone: Standalone, dags: Dags) -> None:
    """A task whose process is killed is retried, and does not read complete users again."""
    run = standalone.start("killed")
    name = run.rpartition("/")[2]
    file = dags.folder("killed") / f"{name}-1.ndjson"
    part = file.with_name(f"{file.name}.part")
    wait_for(lambda: part.exists() and len(complete_users(file)) > 2)
    (pid,) = processes_with(part)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not processes_with(part))
    complete = complete_users(file)
    state = standalone.wait(run)

    assert state == "success"
    assert states(standalone.tries(run))["read", 0] == ["failed", "success"]
    assert 2 < len(complete) < len(SOME)
    reads = reads_of_users(dags.servers["killed"])
    assert {user: reads[user] for user in complete} == dict.fromkeys(complete, 1)
    merged = read_records(dags.folder("killed") / f"{name}.ndjson")
    assert merged == records_of(SOME, enrollments_per_user=PER_USER)


def complete_users(file: Path) -> list[str]:
    """Return the users that *file* has completely so far."""
    entries = [entry for entry, _ in read_entries(journal_of(file))]
    return sorted(entry["user_id"] for entry in entries if "enrollments" in entry)


@pytest.mark.usefixtures("standalone")
def test_native__no_token_is_stored(dags: Dags) -> None:
    """After all these runs, neither Airflow's database nor any log has a token."""
    files = [path for path in dags.airflow.home.rglob("*") if path.is_file()]
    written = b"".join(path.read_bytes() for path in files)

    assert b"refused" in written
    assert ACCESS_TOKEN.encode() not in written
    assert REFUSED.encode() not in written
