"""The example for DockerOperator, under Airflow 2 and 3, in containers of the real image."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

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
from tests.integrations.container import engine

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from connector.sandbox.server import SandboxServer
    from tests.contract.conftest import StartSandbox
    from tests.integrations.airflow.conftest import Airflow

POLICY = {
    "from docker.types import Mount\n": "from docker.types import Mount\n\nfrom connector.airflow.retries import AlmRetryPolicy\n",
    '"mount_tmp_dir": False,': '"mount_tmp_dir": False, "retry_policy": AlmRetryPolicy(),',
    "--deadline 3600": "--deadline 5",
}
PATIENCE_SECONDS = 12
NOTHING: Mapping[str, str] = {}


class RunDag(Protocol):
    """Runs the example against *server*, with each text of *changes* replaced."""

    def __call__(self, server: SandboxServer, changes: Mapping[str, str] = NOTHING) -> Left:
        """Run it to its end."""
        ...


@pytest.fixture
def run_dag(airflow: Airflow, docker_host: str, data: Path, secrets: Path) -> RunDag:
    """Return what runs the example, with two shards."""

    def run(server: SandboxServer, changes: Mapping[str, str] = NOTHING) -> Left:
        constants = {
            "IMAGE": engine.image(),
            "NETWORK": "host",
            "FOLDER": str(data),
            "SECRETS": str(secrets),
            "BASE_URL": server.url,
        }
        text = example("alm_docker", {**constants, "SHARDS": 2}, {**ONE_RETRY, **changes})
        (airflow.dags / "alm_docker.py").write_text(text, encoding="utf-8")
        return Left(
            airflow,
            airflow.run(
                "airflow",
                "dags",
                "test",
                "alm_enrollments_docker",
                "2026-01-01",
                DOCKER_HOST=docker_host,
            ),
        )

    return run


def containers_of(folder: Path) -> list[str]:
    """Return the containers, running or not, that have *folder*."""
    return engine.podman(
        "ps", "--all", "--quiet", "--no-trunc", f"--filter=volume={folder}"
    ).split()


def test_docker__reads_in_shards_and_joins(
    run_dag: RunDag, start_sandbox: StartSandbox, data: Path
) -> None:
    """The joined file is the sandbox's data, each task's XCom its document, and the token is where only the container finds it."""
    server = start_sandbox(**UNTHROTTLED)

    left = run_dag(server, {'"auto_remove": "force"': '"auto_remove": "never"'})

    containers = containers_of(data)
    try:
        inspected = engine.podman("inspect", *containers)
    finally:
        engine.podman("rm", "--force", *containers)
    assert left.tasks == {
        ("read", 0): ("success", 1),
        ("read", 1): ("success", 1),
        ("merge", -1): ("success", 1),
    }
    assert left.finished.exit_code == 0
    documents = {task: judged(json.loads(text)) for task, text in left.xcoms.items()}
    assert sorted(documents) == [("merge", -1), ("read", 0), ("read", 1)]
    merged = data / documents["merge", -1]["output_file"].removeprefix("/data/")
    assert read_records(merged) == records_of(USERS)
    assert [documents["read", n]["output_file"] for n in (0, 1)] == [
        f"/data/{merged.stem}-{n}.ndjson" for n in (1, 2)
    ]
    assert (
        sum(documents["read", n]["enrollment_count"] for n in (0, 1))
        == documents["merge", -1]["enrollment_count"]
        == len(records_of(USERS))
    )
    assert asked(server) == dict.fromkeys(sorted(USERS), 1)
    left.assert_no_secret()
    assert len(containers) == 3
    assert "ALM_SHARD=2/2" in inspected
    assert ACCESS_TOKEN not in inspected


def test_docker__an_unknown_user(run_dag: RunDag, start_sandbox: StartSandbox, data: Path) -> None:
    """His shard is red and names him, a retry asks for him alone, and the others are joined all the same."""
    server = start_sandbox(**UNTHROTTLED)
    list_learners(data, *USERS, UNKNOWN_USER)

    left = run_dag(server)

    assert left.finished.exit_code == 1
    assert left.tasks == {
        ("read", 0): ("success", 1),
        ("read", 1): ("failed", 2),
        ("merge", -1): ("failed", 2),
    }
    assert asked(server) == {**dict.fromkeys(sorted(USERS), 1), UNKNOWN_USER: 2}
    (merged,) = data.glob("*0.ndjson")
    assert read_records(merged) == records_of(USERS)
    assert "1 of 5 users could not be read: 4041 (exit code 67)." in left.output
    assert containers_of(data) == []
    left.assert_no_secret()


@pytest.mark.parametrize("airflow", ["3"], indirect=True)
def test_docker__a_retry_policy(run_dag: RunDag, start_sandbox: StartSandbox) -> None:
    """With the policy, a refused token is not tried again, and a quota that is used up from the moment on that ALM named."""
    server = start_sandbox(f"user=1000:429/{PATIENCE_SECONDS},user=1003:401x*", **UNTHROTTLED)

    left = run_dag(server, POLICY)

    assert left.tasks == {
        ("read", 0): ("failed", 1),
        ("read", 1): ("success", 2),
        ("merge", -1): ("failed", 1),
    }
    # Of each learner who waits for the same quota, in whole seconds: the last is that of the run.
    retry_at = max(re.findall(r'"retry_at":"([^"]+)"', left.output))
    assert datetime.fromisoformat(retry_at) <= left.started("read", 1)
    left.assert_no_secret()


@pytest.mark.parametrize("airflow", ["2"], indirect=True)
def test_docker__a_refused_token(
    run_dag: RunDag, start_sandbox: StartSandbox, data: Path, secrets: Path
) -> None:
    """Airflow alone cannot tell it from what passes, and tries again; nothing is written, and the token is shown nowhere."""
    (secrets / "alm_access_token").write_text("refused-canary", encoding="ascii")
    server = start_sandbox(**UNTHROTTLED)

    left = run_dag(server)

    assert left.finished.exit_code == 1
    assert left.tasks == {
        ("read", 0): ("failed", 2),
        ("read", 1): ("failed", 2),
        ("merge", -1): ("failed", 2),
    }
    assert {one["status"] for one in server.requests} == {401}
    assert list(data.glob("*.ndjson")) == []
    left.assert_no_secret("refused-canary")
