"""The example DAGs, as Airflow's DAG processor loads them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import airflow
import pytest

EXAMPLES = Path(__file__).parents[4] / "examples/airflow"
MAPPED = {
    "alm_docker.py": "alm_enrollments_docker",
    "alm_kubernetes.py": "alm_enrollments_kubernetes",
    "alm_native.py": "alm_enrollments_native",
}
bags = importlib.import_module(
    "airflow.models.dagbag"
    if airflow.__version__.startswith("2.")
    else "airflow.dag_processing.dagbag"
)
CONNECTING = {"socket.connect", "socket.getaddrinfo", "sqlite3.connect"}
connections: list[tuple[str, Any]] = []


def _record_connection(event: str, details: tuple[Any, ...]) -> None:
    if event in CONNECTING:
        connections.append((event, details))


@pytest.fixture(scope="module")
def bag() -> Any:
    """Return Airflow's bag of all examples, and the connections that it made to load them."""
    sys.addaudithook(_record_connection)
    # Airflow itself reads its database when it loads for the first time.
    bags.DagBag(dag_folder=str(EXAMPLES / "alm_native.py"))
    connections.clear()
    loaded = bags.DagBag(dag_folder=str(EXAMPLES))
    return loaded, list(connections)


def test_examples__load(bag: Any) -> None:
    """Every example loads without an error, and without a network or a database."""
    loaded, made_connections = bag

    assert loaded.import_errors == {}
    assert sorted(loaded.dags) == sorted([*MAPPED.values(), "alm_hourly", "alm_nightly"])
    names = sorted(path.name for path in EXAMPLES.glob("*.py"))
    assert names == sorted([*MAPPED, "alm_nightly.py"])
    assert made_connections == []


@pytest.mark.parametrize("dag_id", MAPPED.values())
def test_examples__map_few_tasks(dag_id: str, bag: Any) -> None:
    """No example maps more tasks than Airflow's limit, and all mapped tasks use the pool."""
    read = bag[0].dags[dag_id].task_dict["read"]
    shards = read.expand_input.value
    (mapped,) = shards.values() if isinstance(shards, dict) else [shards]

    assert 1 < len(mapped) <= 1024
    assert read.pool == "alm"
