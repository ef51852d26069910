"""The example for KubernetesPodOperator, in pods of the real image."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from connector.sandbox import ACCESS_TOKEN
from tests.integrations.airflow.engines.pods import Cluster
from tests.integrations.airflow.examples import (
    ONE_RETRY,
    UNKNOWN_USER,
    USERS,
    DagRun,
    example,
    list_learners,
    read_records,
    reads_of_users,
    records_of,
)
from tests.integrations.container import engine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from connector.sandbox.server import SandboxServer
    from tests.integrations.airflow.conftest import Airflow
    from tests.support.sandbox import StartSandbox

IMPORT = "from kubernetes.client import models as k8s\n"
POLICY = {
    IMPORT: f"{IMPORT}from connector.airflow.retries import AlmRetryPolicy\n",
    '"do_xcom_push": True,': '"do_xcom_push": True, "retry_policy": AlmRetryPolicy(),',
}


@pytest.fixture
def claim(tmp_path: Path) -> Path:
    """Return a volume with the learners, to which only its owner may write."""
    folder = tmp_path / "claim"
    folder.mkdir(mode=0o755)
    list_learners(folder, *USERS)
    return folder


@pytest.fixture
def cluster(tmp_path: Path, claim: Path) -> Iterator[Cluster]:
    """Return a cluster that has the example's secret and claim."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    secrets = {"alm": {"ALM_ACCESS_TOKEN": ACCESS_TOKEN}}
    with Cluster(folder, secrets, {"enrollments": claim}) as cluster:
        yield cluster


def run_dag(
    airflow: Airflow, cluster: Cluster, server: SandboxServer, changes: Mapping[str, str]
) -> DagRun:
    """Run the example with two shards against *server*, with each text of *changes* replaced."""
    constants = {
        "IMAGE": engine.image(),
        "BASE_URL": server.url,
        "SHARDS": 2,
        "CREDENTIALS": ("ALM_ACCESS_TOKEN",),
    }
    text = example("alm_kubernetes", constants, {**ONE_RETRY, **changes})
    (airflow.dags / "alm_kubernetes.py").write_text(text, encoding="utf-8")
    config = str(cluster.write_config(airflow.home / "kube.json"))
    connection = json.dumps({"conn_type": "kubernetes", "extra": {"kube_config_path": config}})
    variables = {"AIRFLOW_CONN_KUBERNETES_DEFAULT": connection}
    return DagRun(airflow, airflow.test_dag("alm_enrollments_kubernetes", **variables))


@pytest.mark.parametrize("airflow", ["3"], indirect=True)
def test_kubernetes__reads_in_shards_and_merges(
    airflow: Airflow, cluster: Cluster, start_sandbox: StartSandbox, claim: Path
) -> None:
    """The merged file has all records, XCom the documents, and pods refer to the token."""
    server = start_sandbox()

    run = run_dag(airflow, cluster, server, {})

    tasks = [("merge", -1), ("read", 0), ("read", 1)]
    assert run.tasks == dict.fromkeys(tasks, ("success", 1)), run.output
    assert sorted(run.documents) == tasks
    output_file = run.documents["merge", -1]["output_file"]
    assert read_records(claim / output_file.removeprefix("/data/")) == records_of(USERS)
    assert reads_of_users(server) == dict.fromkeys(USERS, 1)
    assert (len(cluster.created), cluster.pods, cluster.unknown) == (3, {}, [])
    assert ACCESS_TOKEN not in json.dumps(cluster.created)
    run.assert_no_token()


def test_kubernetes__unknown_user(
    airflow: Airflow, cluster: Cluster, start_sandbox: StartSandbox, claim: Path
) -> None:
    """XCom and exception name the user; a retry reads only them, with the policy nobody."""
    server = start_sandbox()
    list_learners(claim, *USERS, UNKNOWN_USER)
    changes, tries = {"2": ({}, 2), "3": (POLICY, 1)}[airflow.version]

    run = run_dag(airflow, cluster, server, changes)

    assert run.tasks == {
        ("read", 0): ("success", 1),
        ("read", 1): ("failed", tries),
        ("merge", -1): ("failed", tries),
    }
    for document in (run.documents["read", 1], run.documents["merge", -1]):
        assert [user["user_id"] for user in document["users"]["failed"]] == [UNKNOWN_USER]
        error = document["error"]
        assert f"returned a failure.\n{error['message']} {error['hint']}\n" in run.output
    output_file = run.documents["merge", -1]["output_file"]
    assert read_records(claim / output_file.removeprefix("/data/")) == records_of(USERS)
    assert reads_of_users(server) == {**dict.fromkeys(USERS, 1), UNKNOWN_USER: tries}
    assert (len(cluster.created), cluster.pods, cluster.unknown) == (1 + 2 * tries, {}, [])
    run.assert_no_token()
