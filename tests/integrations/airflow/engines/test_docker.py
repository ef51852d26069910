"""The example for DockerOperator, in containers of the real image."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from connector.sandbox import ACCESS_TOKEN
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
    from collections.abc import Mapping
    from pathlib import Path

    from connector.sandbox.server import SandboxServer
    from tests.integrations.airflow.conftest import Airflow
    from tests.support.sandbox import StartSandbox

IMPORT = "from docker.types import Mount\n"
POLICY = {
    IMPORT: f"{IMPORT}from connector.airflow.retries import AlmRetryPolicy\n",
    '"mount_tmp_dir": False,': '"mount_tmp_dir": False, "retry_policy": AlmRetryPolicy(),',
    "--deadline 3600": "--deadline 5",
}
RETRY_SECONDS = 12


class RunDag:
    """Run the example with two shards in *airflow*."""

    def __init__(self, airflow: Airflow, docker_host: str, data: Path, secrets: Path) -> None:
        self._airflow, self._docker_host = airflow, docker_host
        self._folders = {"FOLDER": str(data), "SECRETS": str(secrets)}

    def __call__(self, server: SandboxServer, changes: Mapping[str, str]) -> DagRun:
        """Run it against *server*, with each text of *changes* replaced."""
        constants = {"IMAGE": engine.image(), "NETWORK": "host", "BASE_URL": server.url}
        constants |= self._folders
        text = example("alm_docker", {**constants, "SHARDS": 2}, {**ONE_RETRY, **changes})
        (self._airflow.dags / "alm_docker.py").write_text(text, encoding="utf-8")
        variables = {"DOCKER_HOST": self._docker_host}
        finished = self._airflow.test_dag("alm_enrollments_docker", **variables)
        return DagRun(self._airflow, finished)


@pytest.fixture
def run_dag(airflow: Airflow, docker_host: str, data: Path, secrets: Path) -> RunDag:
    """Return a function that runs the example."""
    return RunDag(airflow, docker_host, data, secrets)


def containers_of(folder: Path) -> list[str]:
    """Return the containers, running or not, that mount *folder*."""
    options = ("--all", "--quiet", "--no-trunc", f"--filter=volume={folder}")
    return engine.podman("ps", *options).split()


@pytest.mark.parametrize("airflow", ["3"], indirect=True)
def test_docker__reads_in_shards_and_merges(
    run_dag: RunDag, start_sandbox: StartSandbox, data: Path
) -> None:
    """The merged file has all records, XCom the documents, and only the container the token."""
    server = start_sandbox()

    run = run_dag(server, {'"auto_remove": "force"': '"auto_remove": "never"'})

    containers = containers_of(data)
    try:
        inspected = engine.podman("inspect", *containers)
    finally:
        engine.podman("rm", "--force", *containers)
    tasks = [("merge", -1), ("read", 0), ("read", 1)]
    assert run.tasks == dict.fromkeys(tasks, ("success", 1)), run.output
    assert sorted(run.documents) == tasks
    output_file = run.documents["merge", -1]["output_file"]
    assert read_records(data / output_file.removeprefix("/data/")) == records_of(USERS)
    assert reads_of_users(server) == dict.fromkeys(USERS, 1)
    run.assert_no_token()
    assert len(containers) == 3
    assert "ALM_SHARD=2/2" in inspected
    assert ACCESS_TOKEN not in inspected


@pytest.mark.parametrize("airflow", ["2"], indirect=True)
def test_docker__unknown_user(run_dag: RunDag, start_sandbox: StartSandbox, data: Path) -> None:
    """The user's shard fails and names them, a retry reads only them, the others are merged."""
    server = start_sandbox()
    list_learners(data, *USERS, UNKNOWN_USER)

    run = run_dag(server, {})

    assert run.tasks == {
        ("read", 0): ("success", 1),
        ("read", 1): ("failed", 2),
        ("merge", -1): ("failed", 2),
    }
    assert list(run.documents) == [("read", 0)]
    assert reads_of_users(server) == {**dict.fromkeys(USERS, 1), UNKNOWN_USER: 2}
    (merged,) = data.glob("*0.ndjson")
    assert read_records(merged) == records_of(USERS)
    assert "1 of 5 users could not be read: 4041 (exit code 67)." in run.output
    assert containers_of(data) == []
    run.assert_no_token()


@pytest.mark.parametrize("airflow", ["3"], indirect=True)
def test_docker__retry_policy(run_dag: RunDag, start_sandbox: StartSandbox) -> None:
    """With the policy, a refused token is not retried, and an exhausted quota when ALM says."""
    server = start_sandbox(f"user=1000:429/{RETRY_SECONDS},user=1003:401x*")

    run = run_dag(server, POLICY)

    assert run.tasks == {
        ("read", 0): ("failed", 1),
        ("read", 1): ("success", 2),
        ("merge", -1): ("failed", 1),
    }
    # Each learner waits for the same quota, in full seconds; the last moment is the run's.
    retry_at = max(re.findall(r'"retry_at":"([^"]+)"', run.output))
    assert datetime.fromisoformat(retry_at) <= run.started_at("read", 1)
    run.assert_no_token()
