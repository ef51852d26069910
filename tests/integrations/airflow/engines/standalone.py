"""An Airflow 3 with all its parts: scheduler, triggerer and LocalExecutor, spoken to by its REST API."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import requests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Self

    from tests.integrations.airflow.conftest import Airflow

_T = TypeVar("_T")
_START_SECONDS = 120
_RUN_SECONDS = 120
_END_SECONDS = 5
_LOOK_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Task:
    """A try of a task, as Airflow tells of it."""

    state: str
    try_number: int
    start: datetime
    end: datetime


class Standalone:
    """A context manager that runs ``airflow standalone`` for *airflow*, with *variables* beside what it needs."""

    def __init__(self, airflow: Airflow, variables: Mapping[str, str]) -> None:
        api, worker_logs, trigger_logs = (str(port) for port in _free_ports(3))
        self._url = f"http://127.0.0.1:{api}"
        self._environ = airflow.environ(
            **variables,
            AIRFLOW__API__BASE_URL=self._url,
            AIRFLOW__API__HOST="127.0.0.1",
            AIRFLOW__API__PORT=api,
            AIRFLOW__API__WORKERS="1",
            # Several processes start at once, each of which would make up its own.
            AIRFLOW__API__SECRET_KEY=secrets.token_hex(16),
            AIRFLOW__API_AUTH__JWT_SECRET=secrets.token_hex(32),
            AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION="False",
            AIRFLOW__CORE__EXECUTION_API_SERVER_URL=f"{self._url}/execution/",
            AIRFLOW__CORE__EXECUTOR="LocalExecutor",
            AIRFLOW__CORE__PARALLELISM="8",
            AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS="True",
            AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT=trigger_logs,
            AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT=worker_logs,
            AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME="0.2",
        )
        self._airflow = airflow
        self._session = requests.Session()
        self._session.trust_env = False

    def __enter__(self) -> Self:
        """Start it, and wait until it answers."""
        with (self._airflow.home / "standalone.log").open("wb") as log:
            self._process = subprocess.Popen(
                [self._airflow.venv / "bin/airflow", "standalone"],
                env=self._environ,
                cwd=self._airflow.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            token = wait_for(self._token, _START_SECONDS)
        except BaseException:
            self.__exit__()
            raise
        self._session.headers["authorization"] = f"Bearer {token}"
        return self

    def __exit__(self, *_: object) -> None:
        """End all its processes."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        for pid in self._processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def make_pool(self, name: str, slots: int) -> None:
        """Make the pool *name*."""
        self._ask("POST", "pools", {"name": name, "slots": slots})

    def wait_for_dags(self, dags: Iterable[str]) -> None:
        """Wait until Airflow has found *dags*."""
        wait_for(
            lambda: set(dags) <= {dag["dag_id"] for dag in self._ask("GET", "dags")["dags"]},
            _START_SECONDS,
        )

    def start(self, dag: str) -> str:
        """Start a run of *dag*, and return its path."""
        run = self._ask("POST", f"dags/{dag}/dagRuns", {"logical_date": None})
        return f"dags/{dag}/dagRuns/{run['dag_run_id']}"

    def wait(self, run: str) -> str:
        """Wait until *run* has ended, and return its state."""

        def state() -> str | None:
            told: str = self._ask("GET", run)["state"]
            return told if told in ("success", "failed") else None

        return wait_for(state, _RUN_SECONDS)

    def state_of(self, run: str, task: str, index: int) -> str | None:
        """Return the state that a task is in."""
        state: str | None
        (state,) = (
            one["state"]
            for one in self._tasks(run)
            if (one["task_id"], one["map_index"]) == (task, index)
        )
        return state

    def tries(self, run: str) -> dict[tuple[str, int], list[Task]]:
        """Return every try of each task of *run*, by the task's name and index."""
        found: dict[tuple[str, int], list[Task]] = {}
        for one in self._tasks(run):
            index = "" if one["map_index"] < 0 else f"/{one['map_index']}"
            tries = self._ask("GET", f"{run}/taskInstances/{one['task_id']}{index}/tries")[
                "task_instances"
            ]
            found[one["task_id"], one["map_index"]] = sorted(
                map(_read_task, tries), key=lambda task: task.try_number
            )
        return found

    def xcom(self, run: str, task: str, index: int) -> Any:
        """Return what a task has handed on."""
        entry = self._ask(
            "GET",
            f"{run}/taskInstances/{task}/xcomEntries/return_value?map_index={index}&deserialize=true",
        )
        return entry["value"]

    def _tasks(self, run: str) -> list[dict[str, Any]]:
        tasks: list[dict[str, Any]] = self._ask("GET", f"{run}/taskInstances")["task_instances"]
        return tasks

    def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        answer = self._session.request(method, f"{self._url}/api/v2/{path}", json=body, timeout=30)
        assert answer.ok, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def _token(self) -> str | None:
        assert self._process.poll() is None
        try:
            answer = self._session.get(f"{self._url}/auth/token", timeout=5)
        except requests.RequestException:
            return None
        return str(answer.json()["access_token"]) if answer.ok else None

    def _processes(self) -> list[int]:
        """Return all of its session, which no worker leaves."""
        return [pid for pid in _pids() if _session_of(pid) == self._process.pid]


def wait_for(look: Callable[[], _T | None], seconds: float) -> _T:
    """Return what *look* finds, looked for again and again for so many *seconds*."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"nothing after {seconds} s"
        time.sleep(_LOOK_SECONDS)
    return found


def processes_with(file: Path) -> list[int]:
    """Return the processes that have *file* open."""
    return [pid for pid in _pids() if str(file) in _open_files(pid)]


def _open_files(pid: int) -> set[str]:
    found = set()
    with suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found.add(str(link.readlink()))
    return found


def _pids() -> list[int]:
    return [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def _read_task(told: Mapping[str, Any]) -> Task:
    start, end = (datetime.fromisoformat(told[name]) for name in ("start_date", "end_date"))
    return Task(told["state"], told["try_number"], start, end)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
