"""The example DAGs with a test's values, what a run of one left, and the records it must have."""

from __future__ import annotations

import base64
import json
import re
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from connector.runner import run_given
from connector.sandbox import ACCESS_TOKEN
from tests.support.process import CHECKOUT, valid_document
from tests.support.sandbox import unlimited_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from connector.sandbox.server import SandboxServer
    from tests.integrations.airflow.conftest import Airflow
    from tests.support.process import Finished

# Of two shards, the first has the documented learner and the last three others.
USERS = ("1000", "1001", "1002", "20941371", "1003", "1004", "1005")
UNKNOWN_USER = "4041"
ONE_RETRY = {
    '"retries": 3': '"retries": 1',
    '"retry_delay": timedelta(minutes=1)': '"retry_delay": timedelta(seconds=1)',
}
Tasks = dict[tuple[str, int], tuple[str, int]]


def example(
    name: str, constants: Mapping[str, object], changes: Mapping[str, str] | None = None
) -> str:
    """Return the example *name* with its *constants* set, and each text of *changes* replaced."""
    text = (CHECKOUT / f"examples/airflow/{name}.py").read_text(encoding="utf-8")
    lines = {constant: f"{constant} = {value!r}" for constant, value in constants.items()}
    for constant, line in lines.items():
        (old_line,) = re.findall(rf"^{constant} = .*$", text, flags=re.MULTILINE)
        text = text.replace(old_line, line)
    for old, new in (changes or {}).items():
        assert text.count(old) == 1, f"{text.count(old)} times in {name}: {old}"
        text = text.replace(old, new)
    return text


@dataclass(frozen=True, slots=True)
class DagRun:
    """What a run of ``airflow dags test`` left: its streams, and Airflow's database and logs."""

    airflow: Airflow
    finished: Finished

    @property
    def tasks(self) -> Tasks:
        """State and number of tries of each task, by its name and index."""
        rows = self._rows("SELECT task_id, map_index, state, try_number FROM task_instance")
        return {(task, index): (state, tries) for task, index, state, tries in rows}

    @property
    def documents(self) -> dict[tuple[str, int], dict[str, Any]]:
        """The document that each task pushed, as JSON or as text, by its name and index."""
        rows = self._rows("SELECT task_id, map_index, value FROM xcom WHERE key = 'return_value'")
        values = {(task, index): json.loads(value) for task, index, value in rows}
        return {
            task: valid_document(value if isinstance(value, str) else json.dumps(value))
            for task, value in values.items()
        }

    @property
    def output(self) -> str:
        """Both streams, which have the logs of the tasks."""
        return self.finished.stdout + self.finished.stderr

    def started_at(self, task: str, index: int) -> datetime:
        """Return the start of a task's last try."""
        query = "SELECT start_date FROM task_instance WHERE task_id = ? AND map_index = ?"
        ((text,),) = self._rows(query, task, index)
        return datetime.fromisoformat(text).replace(tzinfo=UTC)

    def assert_no_token(self) -> None:
        """Fail if the token is in a stream, a log or the database, rendered templates included."""
        files = [path.read_bytes() for path in self.airflow.home.rglob("*") if path.is_file()]
        assert len(files) > 1
        written = b"".join([self.output.encode(), *files])
        assert ACCESS_TOKEN.encode() not in written
        assert base64.b64encode(ACCESS_TOKEN.encode()) not in written

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.airflow.home / "airflow.db")) as database:
            return database.execute(query, values).fetchall()


def records_of(users: Iterable[str], **settings: Any) -> list[dict[str, Any]]:
    """Return the records of *users* that a direct run reads from a sandbox, by id."""
    with unlimited_sandbox(**settings) as server:
        credentials = {"base_url": server.url, "access_token": ACCESS_TOKEN}
        document = run_given({**credentials, "user_id": list(users), "lo_types": "all"})
    return sorted(document["enrollments"], key=lambda record: str(record["id"]))


def read_records(file: Path) -> list[dict[str, Any]]:
    """Return the records of an NDJSON *file*, by id."""
    records = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return sorted(records, key=lambda record: str(record["id"]))


def reads_of_users(server: SandboxServer) -> dict[str, int]:
    """Return how often the first page of each user was requested."""
    targets = [request["target"] for request in server.requests]
    return dict(
        Counter(
            target.split("/users/")[1].split("/")[0] for target in targets if "cursor" not in target
        )
    )


def list_learners(folder: Path, *users: str) -> None:
    """Write *users* to the file that the examples read."""
    (folder / "learners.csv").write_text("\n".join(["user_id", *users, ""]), encoding="ascii")
