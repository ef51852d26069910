"""Real DAG runs in one process, as ``dag.test()`` runs them, against sandboxes over HTTP."""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import airflow
import pytest
from airflow.providers.common.compat.sdk import DAG

import connector
from connector.sandbox import ACCESS_TOKEN, Settings
from connector.sandbox.faults import parse_faults
from connector.sandbox.server import SandboxServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IS_AIRFLOW_3 = airflow.__version__.startswith("3.")
# Airflow has retry policies from 3.3 on.
collect_ignore = [] if IS_AIRFLOW_3 else ["test_policy.py"]
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True, scope="session")
def wheel() -> None:
    """Fail unless the tests import the installed connector."""
    assert Path(connector.__file__).is_relative_to(Path(sys.prefix) / "lib")


@dataclass
class RunResult:
    """The task instances of a DAG run, and the moment and exception of each failed try."""

    tasks: list[Any] = field(default_factory=list)
    failures: list[tuple[datetime, BaseException]] = field(default_factory=list)

    @property
    def states(self) -> dict[str, str]:
        """Each task's state, by its name and, if it is mapped, its index."""
        return {_name_of(task): str(task.state) for task in self.tasks}

    @property
    def tries(self) -> dict[str, int]:
        """The number of each task's tries, by the same names."""
        return {_name_of(task): int(task.try_number) for task in self.tasks}

    @property
    def errors(self) -> list[tuple[str, str]]:
        """Class and text of each failed try's exception."""
        return [(type(error).__name__, str(error)) for _, error in self.failures]

    def xcom(self, name: str = "read") -> Any:
        """Return the value that the task *name* pushed, or ``None``."""
        (task,) = (task for task in self.tasks if _name_of(task) == name)
        return task.xcom_pull(task_ids=task.task_id, map_indexes=task.map_index, key="return_value")


def _name_of(task: Any) -> str:
    return f"{task.task_id}[{task.map_index}]".removesuffix("[-1]")


class RunDag:
    """Run a DAG of the tasks that *build* makes to its end, with no delay before retries."""

    def __call__(
        self, build: Callable[[], object], *, retries: int = 0, **settings: Any
    ) -> RunResult:
        """Run it with these *retries* per task and *settings* of the DAG."""
        result = RunResult()

        def record_failure(context: Any) -> None:
            result.failures.append((datetime.now(UTC), context["exception"]))

        defaults = {
            "retries": retries,
            "retry_delay": timedelta(0),
            "on_retry_callback": record_failure,
            "on_failure_callback": record_failure,
        }
        name = f"dag-{uuid.uuid4().hex}"
        with DAG(name, schedule=None, start_date=START, default_args=defaults, **settings) as dag:
            build()
        if IS_AIRFLOW_3:
            _register(dag)
        tasks = dag.test().get_task_instances()
        result.tasks = sorted(tasks, key=lambda task: (task.task_id, task.map_index))
        return result


def _register(dag: Any) -> None:
    """Store *dag* in the database, as the DAG processor of Airflow 3 does."""
    session = importlib.import_module("airflow.utils.session").create_session
    bundle = importlib.import_module("airflow.models.dagbundle").DagBundleModel
    model = importlib.import_module("airflow.models.serialized_dag").SerializedDagModel
    serialized = importlib.import_module("airflow.serialization.definitions.dag").SerializedDAG
    objects = importlib.import_module("airflow.serialization.serialized_objects")
    lazy = objects.LazyDeserializedDAG.from_dag(dag)
    with session() as opened:
        opened.merge(bundle(name="tests"))
        opened.flush()
        serialized.bulk_write_to_db("tests", None, [lazy], session=opened)
        model.write_dag(lazy, bundle_name="tests", session=opened)


@pytest.fixture
def run_dag() -> RunDag:
    """Return a function that runs a DAG."""
    return RunDag()


class TimedServer(SandboxServer):
    """A sandbox without a quota that records when each request came."""

    def __init__(self, *faults: str, **settings: Any) -> None:
        quota = {"rate_per_minute": 600_000, "burst": 100_000}
        super().__init__(Settings(**{**quota, "faults": parse_faults(faults), **settings}))
        self.times: list[datetime] = []

    def record(self, *exchange: Any) -> None:
        """Record the moment, too."""
        self.times.append(datetime.now(UTC))
        super().record(*exchange)

    @property
    def users(self) -> list[str]:
        """The user of each request, in order."""
        return [request["target"].split("/users/")[1].split("/")[0] for request in self.requests]


class Connect:
    """Set a connection in the environment, as workers get it, until the test ends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def __call__(self, *, conn_id: str = "alm_default", **parts: Any) -> None:
        """Set the connection *conn_id*."""
        text = json.dumps({"conn_type": "alm", **parts})
        self._monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", text)


class StartServer:
    """Start a sandbox that runs until the test ends, and connect ``alm_default`` to it."""

    def __init__(self, stack: contextlib.ExitStack, connect: Connect) -> None:
        self._stack, self._connect = stack, connect

    def __call__(self, *faults: str, token: str = ACCESS_TOKEN, **settings: Any) -> TimedServer:
        """Start one with *faults* and *settings*; the connection has *token*."""
        server = self._stack.enter_context(TimedServer(*faults, **settings))
        self._connect(host=server.url, password=token)
        return server


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Return a function that sets a connection."""
    return Connect(monkeypatch)


@pytest.fixture
def start_server(connect: Connect) -> Iterator[StartServer]:
    """Return a function that starts sandboxes."""
    with contextlib.ExitStack() as stack:
        yield StartServer(stack, connect)


@pytest.fixture
def server(start_server: StartServer) -> TimedServer:
    """Return a sandbox without faults."""
    return start_server()
