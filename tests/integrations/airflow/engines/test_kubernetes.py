"""The example for KubernetesPodOperator, under Airflow 2 and 3, in pods of the real image."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from connector.sandbox import ACCESS_TOKEN
from tests.integrations.airflow.engines.book import (
    ONE_RETRY,
    UNKNOWN_USER,
    UNTHROTTLED,
    USERS,
    Left,
    asked,
    example,
    judged,
    read_records,
    records_of,
)
from tests.integrations.airflow.engines.conftest import list_learners
from tests.integrations.airflow.engines.pods import Cluster
from tests.integrations.container import engine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from connector.sandbox.server import SandboxServer
    from tests.contract.conftest import StartSandbox
    from tests.integrations.airflow.conftest import Airflow

NOTHING: Mapping[str, str] = {}
# From Airflow 3.3 on.
POLICY = {
    "from kubernetes.client import models as k8s\n": "from kubernetes.client import models as k8s\n\n"
    "from connector.airflow.retries import AlmRetryPolicy\n",
    '"do_xcom_push": True,': '"do_xcom_push": True, "retry_policy": AlmRetryPolicy(),',
}


@pytest.fixture
def claim(tmp_path: Path) -> Path:
    """Return a volume with the learners, into which its owner alone may write."""
    folder = tmp_path / "claim"
    folder.mkdir(mode=0o755)
    list_learners(folder, *USERS)
    return folder


@pytest.fixture
def cluster(tmp_path: Path, claim: Path) -> Iterator[Cluster]:
    """Return a cluster that has the example's secret and claim."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    with Cluster(
        folder, {"alm": {"access-token": ACCESS_TOKEN}}, {"enrollments": claim}
    ) as cluster:
        yield cluster


def run_dag(
    airflow: Airflow, cluster: Cluster, server: SandboxServer, changes: Mapping[str, str] = NOTHING
) -> Left:
    """Run the example against *server*, with two shards and each text of *changes* replaced."""
    text = example(
        "alm_kubernetes",
        {"IMAGE": engine.image(), "BASE_URL": server.url, "SHARDS": 2},
        {**ONE_RETRY, **changes},
    )
    (airflow.dags / "alm_kubernetes.py").write_text(text, encoding="utf-8")
    config = str(cluster.write_config(airflow.home / "kube.json"))
    connection = json.dumps({"conn_type": "kubernetes", "extra": {"kube_config_path": config}})
    argv = ("airflow", "dags", "test", "alm_enrollments_kubernetes", "2026-01-01")
    return Left(airflow, airflow.run(*argv, AIRFLOW_CONN_KUBERNETES_DEFAULT=connection))


def test_kubernetes__reads_in_shards_and_joins(
    airflow: Airflow, cluster: Cluster, start_sandbox: StartSandbox, claim: Path
) -> None:
    """The joined file is the sandbox's data, each pod's XCom its document, and the token no more than a reference."""
    server = start_sandbox(**UNTHROTTLED)

    left = run_dag(airflow, cluster, server)

    assert left.tasks == {
        ("read", 0): ("success", 1),
        ("read", 1): ("success", 1),
        ("merge", -1): ("success", 1),
    }
    assert left.finished.exit_code == 0
    documents = {task: judged(document) for task, document in left.xcoms.items()}
    assert sorted(documents) == [("merge", -1), ("read", 0), ("read", 1)]
    assert read_records(
        claim / documents["merge", -1]["output_file"].removeprefix("/data/")
    ) == records_of(USERS)
    assert sorted(documents["merge", -1]["enrollment_ids"]) == [
        record["id"] for record in records_of(USERS)
    ]
    assert asked(server) == dict.fromkeys(sorted(USERS), 1)
    assert (len(cluster.created), cluster.pods, cluster.unknown) == (3, {}, [])
    assert ACCESS_TOKEN not in json.dumps(cluster.created)
    left.assert_no_secret()


def test_kubernetes__an_unknown_user(
    airflow: Airflow, cluster: Cluster, start_sandbox: StartSandbox, claim: Path
) -> None:
    """His pods tell of him in XCom and in the exception, the others are joined; blindly tried again, or by the policy not at all."""
    server = start_sandbox(**UNTHROTTLED)
    list_learners(claim, *USERS, UNKNOWN_USER)
    changes, tries = {"2": ({}, 2), "3": (POLICY, 1)}[airflow.version]

    left = run_dag(airflow, cluster, server, changes)

    assert left.finished.exit_code == 1
    assert left.tasks == {
        ("read", 0): ("success", 1),
        ("read", 1): ("failed", tries),
        ("merge", -1): ("failed", tries),
    }
    documents = {task: judged(document) for task, document in left.xcoms.items()}
    for task in (("read", 1), ("merge", -1)):
        assert [one["user_id"] for one in documents[task]["users"]["failed"]] == [UNKNOWN_USER]
        said = f"returned a failure.\n{documents[task]['error']['message']} {documents[task]['error']['hint']}\n"
        assert said in left.output
    assert read_records(
        claim / documents["merge", -1]["output_file"].removeprefix("/data/")
    ) == records_of(USERS)
    assert asked(server) == {**dict.fromkeys(sorted(USERS), 1), UNKNOWN_USER: tries}
    assert (len(cluster.created), cluster.pods, cluster.unknown) == (1 + 2 * tries, {}, [])
    left.assert_no_secret()
