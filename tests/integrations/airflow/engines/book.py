"""The examples as they are run here, what a run leaves behind, and what the sandbox has of learners."""

from __future__ import annotations

import base64
import json
import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import jsonschema

from connector.runner import run_given
from connector.sandbox import ACCESS_TOKEN, Settings
from connector.sandbox.learners import enrollments_of
from connector.sandbox.server import SandboxServer
from connector.schemas import load_schema
from tests.integrations.airflow.conftest import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from tests.contract.conftest import Finished
    from tests.integrations.airflow.conftest import Airflow

# Of two shards the first has the last three, and the documented learner.
USERS = ("1000", "1001", "1002", "20941371", "1003", "1004", "1005")
UNKNOWN_USER = "4041"
UNTHROTTLED: dict[str, Any] = {"rate_per_minute": 600_000, "burst": 100_000}
#: What becomes of the examples' three retries, a minute apart.
ONE_RETRY = {
    '"retries": 3, "retry_delay": timedelta(minutes=1)': '"retries": 1, "retry_delay": timedelta(seconds=1)'
}


def example(
    name: str, constants: Mapping[str, object], changes: Mapping[str, str] | None = None
) -> str:
    """Return the example *name* with the *constants* at its top set, and each text of *changes* replaced; it has each exactly once."""
    text = (CHECKOUT / f"examples/airflow/{name}.py").read_text(encoding="utf-8")
    for constant, value in constants.items():
        (line,) = re.findall(rf"^{constant} = .*$", text, flags=re.MULTILINE)
        text = text.replace(line, f"{constant} = {value!r}")
    for old, new in (changes or {}).items():
        assert text.count(old) == 1, f"{text.count(old)} times in {name}: {old}"
        text = text.replace(old, new)
    return text


@dataclass(frozen=True, slots=True)
class Left:
    """What a run of ``airflow dags test`` left behind."""

    airflow: Airflow
    finished: Finished

    @property
    def tasks(self) -> dict[tuple[str, int], tuple[str, int]]:
        """Each task, by its name and index, with its state and how often it was tried."""
        rows = self._rows("SELECT task_id, map_index, state, try_number FROM task_instance")
        return {(task, index): (state, tries) for task, index, state, tries in rows}

    def started(self, task: str, index: int) -> datetime:
        """Return when the last try of a task began."""
        ((told,),) = self._rows(
            "SELECT start_date FROM task_instance WHERE task_id = ? AND map_index = ?", task, index
        )
        return datetime.fromisoformat(told).replace(tzinfo=UTC)

    @property
    def xcoms(self) -> dict[tuple[str, int], Any]:
        """What each task returned, by its name and index."""
        rows = self._rows("SELECT task_id, map_index, value FROM xcom WHERE key = 'return_value'")
        return {(task, index): json.loads(value) for task, index, value in rows}

    @property
    def output(self) -> str:
        """What the run printed, logs of tasks included."""
        return self.finished.stdout + self.finished.stderr

    def assert_no_secret(self, secret: str = ACCESS_TOKEN) -> None:
        """Hold that neither the output, nor a log, nor the database, rendered templates included, has *secret*."""
        files = [path.read_bytes() for path in self.airflow.home.rglob("*") if path.is_file()]
        assert len(files) > 1
        everything = b"".join([self.output.encode(), *files])
        assert secret.encode() not in everything
        assert base64.b64encode(secret.encode()) not in everything

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.airflow.home / "airflow.db")) as database:
            return database.execute(query, values).fetchall()


def judged(document: object) -> dict[str, Any]:
    """Return *document*, which is what the schema of outputs says."""
    jsonschema.Draft202012Validator(load_schema("outputs")).validate(document)
    assert isinstance(document, dict)
    return document


def records_of(
    users: Iterable[str], enrollments_per_user: int | None = None
) -> list[dict[str, Any]]:
    """Return what the connector alone reads of *users*, by id: exactly the enrollments that the sandbox has of them."""
    with SandboxServer(
        Settings(**UNTHROTTLED, enrollments_per_user=enrollments_per_user)
    ) as server:
        credentials = {"base_url": server.url, "access_token": ACCESS_TOKEN}
        inputs = {"user_id": ",".join(users), "lo_types": "all"}
        document = run_given({**credentials, **inputs})
    assert sorted(document["enrollment_ids"]) == sorted(
        one["id"] for user in users for one in enrollments_of(user, enrollments_per_user)
    )
    return _by_id(document["enrollments"])


def read_records(file: Path) -> list[dict[str, Any]]:
    """Return the records of an NDJSON *file*, by id."""
    return _by_id([json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()])


def asked(server: SandboxServer) -> dict[str, int]:
    """Return how often the first page of each user was asked for."""
    first = [
        target for target in (one["target"] for one in server.requests) if "cursor" not in target
    ]
    users = [target.split("/users/")[1].split("/")[0] for target in first]
    return {user: users.count(user) for user in sorted(set(users))}


def _by_id(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(records, key=lambda record: str(record["id"]))
