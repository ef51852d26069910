"""Real DAG runs in one process, as ``dag.test()`` runs them, against sandboxes over HTTP."""

from __future__ import annotations

import importlib
import json
import sys
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import airflow
import pytest
from airflow.providers.common.compat.sdk import DAG

import connector
from connector.sandbox import ACCESS_TOKEN, Settings
from connector.sandbox.faults import parse_faults
from connector.sandbox.server import SandboxServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IS_3 = airflow.__version__.startswith("3.")
# Before 3.3 there is no policy to import.
collect_ignore = [] if IS_3 else ["test_policy.py"]
START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Ran:
    """The result of a DAG run: its task instances, and each failed try's exception and moment."""

    tasks: list[Any] = field(default_factory=list)
    failures: list[tuple[datetime, BaseException]] = field(default_factory=list)

    @property
    def states(self) -> dict[str, str]:
        """Each task's state, a mapped one's by its place."""
        return {
            f"{task.task_id}{'' if task.map_index < 0 else f'[{task.map_index}]'}": str(task.state)
            for task in self.tasks
        }

    @property
    def tries(self) -> int:
        """How often its only task was tried."""
        (task,) = self.tasks
        return int(task.try_number)

    @property
    def errors(self) -> list[tuple[str, str]]:
        """Each failed try's exception: its class and its text."""
        return [(type(error).__name__, str(error)) for _, error in self.failures]

    def xcom(self, task_id: str = "read", place: int = -1) -> Any:
        """Return what a task handed on; ``None`` where it did not."""
        (task,) = (
            task for task in self.tasks if (task.task_id, task.map_index) == (task_id, place)
        )
        return task.xcom_pull(task_ids=task_id, map_indexes=place, key="return_value")


class RunDag(Protocol):
    """Runs a DAG of the tasks that *build* makes."""

    def __call__(
        self,
        build: Callable[[], object],
        *,
        retries: int = 0,
        run_conf: dict[str, Any] | None = None,
        **settings: Any,
    ) -> Ran:
        """Run it to its end."""
        ...


@pytest.fixture(autouse=True, scope="session")
def wheel() -> None:
    """Refuse to test anything but what is installed."""
    assert Path(connector.__file__).is_relative_to(Path(sys.prefix) / "lib")


@pytest.fixture
def run_dag() -> RunDag:
    """Return what runs a DAG, its retries without a delay."""

    def run(
        build: Callable[[], object],
        *,
        retries: int = 0,
        run_conf: dict[str, Any] | None = None,
        **settings: Any,
    ) -> Ran:
        ran = Ran()

        def note(context: Any) -> None:
            ran.failures.append((datetime.now(UTC), context["exception"]))

        defaults = {
            "retries": retries,
            "retry_delay": timedelta(0),
            "on_retry_callback": note,
            "on_failure_callback": note,
        }
        with DAG(
            f"dag-{uuid.uuid4().hex}",
            schedule=None,
            start_date=START,
            default_args=defaults,
            **settings,
        ) as dag:
            build()
        if IS_3:
            _make_known(dag)
        ran.tasks = sorted(
            dag.test(run_conf=run_conf).get_task_instances(),
            key=lambda task: (task.task_id, task.map_index),
        )
        return ran

    return run


def _make_known(dag: Any) -> None:
    """Do what Airflow 3's DAG processor does with a DAG that it has found in a file."""
    session = importlib.import_module("airflow.utils.session").create_session
    bundle = importlib.import_module("airflow.models.dagbundle").DagBundleModel
    model = importlib.import_module("airflow.models.serialized_dag").SerializedDagModel
    serialized = importlib.import_module("airflow.serialization.definitions.dag").SerializedDAG
    lazy = importlib.import_module(
        "airflow.serialization.serialized_objects"
    ).LazyDeserializedDAG.from_dag(dag)
    with session() as opened:
        opened.merge(bundle(name="tests"))
        opened.flush()
        serialized.bulk_write_to_db("tests", None, [lazy], session=opened)
        model.write_dag(lazy, bundle_name="tests", session=opened)


class TimedServer(SandboxServer):
    """A sandbox that knows when it was asked."""

    def __init__(self, *faults: str, **settings: Any) -> None:
        super().__init__(
            Settings(
                **{
                    "rate_per_minute": 600_000,
                    "burst": 100_000,
                    "faults": parse_faults(faults),
                    **settings,
                }
            )
        )
        self.asked_at: list[datetime] = []

    def record(self, *told: Any) -> None:
        """Note the moment as well."""
        self.asked_at.append(datetime.now(UTC))
        super().record(*told)

    @property
    def users(self) -> list[str]:
        """Whom it was asked for, in order."""
        return [request["target"].split("/users/")[1].split("/")[0] for request in self.requests]


class StartServer(Protocol):
    """Starts a sandbox with faults and settings; the connection ``alm_default`` leads to it."""

    def __call__(self, *faults: str, token: str = ACCESS_TOKEN, **settings: Any) -> TimedServer:
        """Start it; the fixture stops it."""
        ...


class Connect(Protocol):
    """Makes a connection of these parts."""

    def __call__(self, *, conn_id: str = "alm_default", **parts: Any) -> None:
        """Make it known to Airflow, for the length of the test."""
        ...


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Return what makes a connection, as an operator gives it to workers: in their environment."""

    def make(*, conn_id: str = "alm_default", **parts: Any) -> None:
        monkeypatch.setenv(
            f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps({"conn_type": "alm", **parts})
        )

    return make


@pytest.fixture
def start_server(connect: Connect) -> Iterator[StartServer]:
    """Return what starts sandboxes that slow nobody down."""
    started: list[TimedServer] = []

    def start(*faults: str, token: str = ACCESS_TOKEN, **settings: Any) -> TimedServer:
        server = TimedServer(*faults, **settings)
        started.append(server)
        connect(host=server.url, password=token)
        return server.__enter__()

    yield start
    for server in started:
        server.__exit__()


@pytest.fixture
def server(start_server: StartServer) -> TimedServer:
    """Return a sandbox where nothing goes wrong."""
    return start_server()
