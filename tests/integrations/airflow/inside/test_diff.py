"""AlmDiffOperator in DAG runs, and the events of assets."""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any

import airflow
import pytest
from airflow.providers.common.compat.sdk import Asset

import connector
from connector.airflow.operators import AlmDiffOperator, AlmEnrollmentsOperator, AlmMergeOperator

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import RunDag, StartServer

IS_3 = airflow.__version__.startswith("3.")
USERS = "1,2,3,4,5,6"


@pytest.fixture
def files(tmp_path: Path, run_dag: RunDag, start_server: StartServer) -> dict[str, str]:
    """Return the output files of two days of the sandbox."""
    paths = {day: str(tmp_path / f"{day}.ndjson") for day in ("old", "new")}
    for day, path in enumerate(paths.values(), 1):
        start_server(day=day)
        inputs = {"user_id": USERS, "lo_types": "all", "format": "ndjson", "output_file": path}
        run_dag(lambda inputs=inputs: AlmEnrollmentsOperator(task_id="read", **inputs))  # type: ignore[misc] # bound at once
    return paths


def test_diff__returns_the_document(files: dict[str, Any], tmp_path: Path, run_dag: RunDag) -> None:
    """XCom is the document of connector.diff, and the file of changes the same."""
    changes = [str(tmp_path / f"{number}.csv") for number in (1, 2)]

    ran = run_dag(lambda: AlmDiffOperator(task_id="read", output_file=changes[0], **files))

    direct = connector.diff(**files, output_file=changes[1])
    assert ran.states == {"read": "success"}
    assert ran.xcom() == {**direct, "output_file": changes[0]}
    assert direct["completed_count"] > 0
    first, second = ((tmp_path / f"{number}.csv").read_bytes() for number in (1, 2))
    assert first == second


def test_diff__in_object_storage(files: dict[str, Any], tmp_path: Path, run_dag: RunDag) -> None:
    """Files of object storage are read with their journals, and the file of changes is stored."""
    remote: dict[str, Any] = {name: f"file://{path}" for name, path in files.items()}
    output = f"file://{tmp_path}/changes.ndjson"

    ran = run_dag(lambda: AlmDiffOperator(task_id="read", output_file=output, **remote))

    assert ran.xcom() == {**connector.diff(**files), "output_file": output}
    lines = (tmp_path / "changes.ndjson").read_text().splitlines()
    assert sum(json.loads(line)["completed"] for line in lines) == ran.xcom()["completed_count"]


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_diff__of_a_missing_file_is_not_retried(
    prefix: str, files: dict[str, Any], tmp_path: Path, run_dag: RunDag
) -> None:
    """Files that cannot be compared fail the task at once, with the document as XCom."""
    old = f"{prefix}{tmp_path}/nowhere.ndjson"

    ran = run_dag(lambda: AlmDiffOperator(task_id="read", old=old, new=files["new"]), retries=2)

    assert (ran.states, ran.tries) == ({"read": "failed"}, {"read": 1})
    assert ran.errors[0][0] == "AirflowFailException"
    document = ran.xcom()
    assert (document["error"]["code"], document["completed_ids"]) == (64, [])


def test_diff__without_journals(files: dict[str, Any], tmp_path: Path, run_dag: RunDag) -> None:
    """Without journals the files are compared only if they are said to be complete."""
    for path in files.values():
        (tmp_path / f"{path}.users").unlink()

    ran = run_dag(lambda: AlmDiffOperator(task_id="read", assume_complete=True, **files))

    assert ran.xcom() == connector.diff(**files, assume_complete=True)


def events() -> dict[str, dict[str, Any]]:
    """Return the extra of each asset's last event, by the asset's name."""
    name = "asset" if IS_3 else "dataset"
    model = getattr(importlib.import_module(f"airflow.models.{name}"), f"{name.title()}Event")
    session = importlib.import_module("airflow.utils.session").create_session
    with session() as opened:
        rows = opened.query(model).order_by(model.id)
        return {getattr(row, name).uri: row.extra for row in rows}


def register(*uris: str) -> None:
    """Do what Airflow 2's DAG processor does with the datasets of a DAG that it has found."""
    model = importlib.import_module("airflow.models.dataset").DatasetModel
    with importlib.import_module("airflow.utils.session").create_session() as opened:
        opened.add_all([model(uri=uri) for uri in uris])


def test_outlets__say_what_a_run_came_to(
    files: dict[str, Any], tmp_path: Path, run_dag: RunDag, start_server: StartServer
) -> None:
    """The events of assets have counts, file and next_since, for the DAGs that they start."""
    start_server()
    shards = [str(tmp_path / f"{number}.ndjson") for number in (1, 2)]
    reading = {"user_id": USERS, "lo_types": "all", "format": "ndjson"}

    def read(number: int, **settings: Any) -> Any:
        shard = {"shard": f"{number}/2", "output_file": shards[number - 1]}
        return AlmEnrollmentsOperator(task_id=f"read{number}", **reading, **shard, **settings)

    def build() -> None:
        joined = str(tmp_path / "all.ndjson")
        merge = AlmMergeOperator(
            task_id="merge", output_file=joined, files=shards, outlets=[Asset("merged")]
        )
        [read(1, outlets=[Asset("records")]), read(2)] >> merge
        AlmDiffOperator(task_id="compare", outlets=[Asset("changes")], **files)

    if not IS_3:
        register("records", "merged", "changes")
    ran = run_dag(build)

    found = events()
    difference, merged = ran.xcom("compare"), ran.xcom("merge")
    assert set(found["records"]) == {"output_file", "enrollment_count", "complete", "next_since"}
    assert found["records"]["output_file"] == shards[0]
    assert found["merged"]["next_since"] == merged["next_since"]
    assert found["changes"]["completed_count"] == difference["completed_count"]
