"""The example DAGs, as Airflow's DAG processor takes them in."""

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
reached: list[tuple[str, Any]] = []


def _watch(event: str, details: tuple[Any, ...]) -> None:
    if event in {"socket.connect", "socket.getaddrinfo", "sqlite3.connect"}:
        reached.append((event, details))


@pytest.fixture(scope="module")
def bag() -> Any:
    """Return Airflow's bag of all examples."""
    sys.addaudithook(_watch)
    # Airflow itself reads its database when it loads for the first time.
    bags.DagBag(dag_folder=str(EXAMPLES / "alm_native.py"))
    reached.clear()
    found = bags.DagBag(dag_folder=str(EXAMPLES))
    return found, list(reached)


def test_examples__load(bag: Any) -> None:
    """Every example loads without an error, and reaches neither a network nor a database for it."""
    found, reached_by_examples = bag

    assert found.import_errors == {}
    assert sorted(found.dags) == sorted([*MAPPED.values(), "alm_hourly", "alm_nightly"])
    names = sorted(path.name for path in EXAMPLES.glob("*.py"))
    assert names == sorted([*MAPPED, "alm_nightly.py"])
    assert reached_by_examples == []


@pytest.mark.parametrize("dag_id", MAPPED.values())
def test_examples__map_few_tasks(dag_id: str, bag: Any) -> None:
    """No example maps more tasks than Airflow's limit, and all tasks draw on the pool."""
    read = bag[0].dags[dag_id].task_dict["read"]
    over = read.expand_input.value
    (mapped,) = over.values() if isinstance(over, dict) else [over]

    assert 1 < len(mapped) <= 1024
    assert read.pool == "alm"
