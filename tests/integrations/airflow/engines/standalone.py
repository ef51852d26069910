"""Airflow 3 with all its parts: scheduler, triggerer and workers, used through its REST API."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import requests

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    from tests.integrations.airflow.conftest import Airflow

_T = TypeVar("_T")
# Ten times what anything here takes on an idle machine.
_PATIENCE_SECONDS = 300
_END_SECONDS = 5
_POLL_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Task:
    """One try of a task."""

    state: str
    start: datetime
    end: datetime


Tries = dict[tuple[str, int], list[Task]]


class Standalone:
    """A context manager that runs ``airflow standalone`` with *variables* in its environment."""

    def __init__(self, airflow: Airflow, variables: Mapping[str, str]) -> None:
        api, worker_logs, trigger_logs = (str(port) for port in _free_ports(3))
        self._url = f"http://127.0.0.1:{api}"
        self._environ = airflow.environ(
            **variables,
            AIRFLOW__API__BASE_URL=self._url,
            AIRFLOW__API__HOST="127.0.0.1",
            AIRFLOW__API__PORT=api,
            AIRFLOW__API__WORKERS="1",
            # Otherwise each of its processes generates its own.
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
        """Start it, and wait until its API responds."""
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
            token = wait_for(self._token)
        except BaseException:
            self.__exit__()
            raise
        self._session.headers["authorization"] = f"Bearer {token}"
        return self

    def __exit__(self, *_: object) -> None:
        """End all its processes: workers do not leave its session."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        for pid in _pids():
            with suppress(ProcessLookupError):
                if os.getsid(pid) == self._process.pid:
                    os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def make_pool(self, name: str, slots: int) -> None:
        """Create the pool *name*."""
        self._send("POST", "pools", {"name": name, "slots": slots})

    def dags(self) -> set[str]:
        """Return the DAGs that Airflow has found."""
        return {dag["dag_id"] for dag in self._send("GET", "dags")["dags"]}

    def start(self, dag: str) -> str:
        """Start a run of *dag*, and return its path."""
        run = self._send("POST", f"dags/{dag}/dagRuns", {"logical_date": None})
        return f"dags/{dag}/dagRuns/{run['dag_run_id']}"

    def wait(self, run: str) -> str:
        """Wait until *run* has ended, and return its state."""

        def final_state() -> str | None:
            state: str = self._send("GET", run)["state"]
            return state if state in ("success", "failed") else None

        return wait_for(final_state)

    def state_of(self, run: str, task_id: str, index: int) -> str | None:
        """Return the state that a task is in."""
        tasks = {(task["task_id"], task["map_index"]): task for task in self._tasks(run)}
        state: str | None = tasks[task_id, index]["state"]
        return state

    def tries(self, run: str) -> Tries:
        """Return every try of each task of *run* in order, by the task's name and index."""
        tasks = self._tasks(run)
        return {(task["task_id"], task["map_index"]): self._tries_of(run, task) for task in tasks}

    def xcom(self, run: str, task_id: str, index: int) -> Any:
        """Return the value that a task returned."""
        path = f"{run}/taskInstances/{task_id}/xcomEntries/return_value"
        return self._send("GET", f"{path}?map_index={index}&deserialize=true")["value"]

    def _tasks(self, run: str) -> list[dict[str, Any]]:
        tasks: list[dict[str, Any]] = self._send("GET", f"{run}/taskInstances")["task_instances"]
        return tasks

    def _tries_of(self, run: str, task: Mapping[str, Any]) -> list[Task]:
        path = f"{run}/taskInstances/{task['task_id']}"
        if task["map_index"] >= 0:
            path += f"/{task['map_index']}"
        tries = self._send("GET", f"{path}/tries")["task_instances"]
        return [
            Task(
                entry["state"],
                datetime.fromisoformat(entry["start_date"]),
                datetime.fromisoformat(entry["end_date"]),
            )
            for entry in sorted(tries, key=lambda entry: int(entry["try_number"]))
        ]

    def _send(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        url = f"{self._url}/api/v2/{path}"
        response = self._session.request(method, url, json=body, timeout=_PATIENCE_SECONDS)
        assert response.ok, response.text
        document: dict[str, Any] = response.json()
        return document

    def _token(self) -> str | None:
        assert self._process.poll() is None
        try:
            response = self._session.get(f"{self._url}/auth/token", timeout=5)
        except requests.RequestException:
            return None
        return str(response.json()["access_token"]) if response.ok else None


def wait_for(look: Callable[[], _T | None]) -> _T:
    """Call *look* until it returns a true value, and return that."""
    ends_at = time.monotonic() + _PATIENCE_SECONDS
    while not (found := look()):
        assert time.monotonic() < ends_at, "nothing was found"
        time.sleep(_POLL_SECONDS)
    return found


def processes_with(file: Path) -> list[int]:
    """Return the processes that have *file* open."""
    return [pid for pid in _pids() if str(file) in _open_files(pid)]


def _open_files(pid: int) -> set[str]:
    files = set()
    with suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                files.add(str(link.readlink()))
    return files


def _pids() -> list[int]:
    return [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [listener.getsockname()[1] for listener in sockets]
