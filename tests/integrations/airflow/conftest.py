"""Airflow 2 and 3 with our wheel installed; each test gets its own home and migrated database."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.support.process import CHECKOUT, Finished
from tests.support.sandbox import start_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["start_sandbox"]

VENVS = CHECKOUT / "build/airflow"
VERSIONS = ("2", "3")
# Airflow's own Python runs this folder, as one test.
collect_ignore = ["inside"]

_PASSED_ON = (
    "PATH",
    "LANG",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "DOCKER_HOST",
    "CONTAINERS_CONF",
    "XDG_RUNTIME_DIR",
)


@dataclass(frozen=True, slots=True)
class Airflow:
    """Version "2" or "3", with the connector in *venv*; *home* has its database, DAGs and logs."""

    version: str
    venv: Path
    home: Path

    @property
    def dags(self) -> Path:
        """The folder of its DAG files."""
        return self.home / "dags"

    def environ(self, **variables: str) -> dict[str, str]:
        """Return the environment of its processes: nothing of the user's own, and *variables*."""
        inherited = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        return {
            **inherited,
            "PATH": f"{self.venv / 'bin'}:{inherited.get('PATH', os.defpath)}",
            "HOME": str(self.home),
            "TZ": "UTC",
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home / 'airflow.db'}",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(self.home / "logs"),
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "SCARF_ANALYTICS": "false",
            **variables,
        }

    def run(self, *argv: str, **variables: str) -> Finished:
        """Run a program of its environment, such as ``airflow`` or ``python``, to its end."""
        finished = subprocess.run(
            [self.venv / "bin" / argv[0], *argv[1:]],
            env=self.environ(**variables),
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return Finished(finished.returncode, finished.stdout, finished.stderr)

    def test_dag(self, dag: str, **variables: str) -> Finished:
        """Run *dag* once, without a scheduler."""
        return self.run("airflow", "dags", "test", dag, "2026-01-01", **variables)


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Airflow]]:
    """Return an unused Airflow of each version; only one session installs at a time."""
    VENVS.mkdir(parents=True, exist_ok=True)
    with (VENVS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run([CHECKOUT / "tests/integrations/airflow/install"], check=True)
        # Other sessions may use the environments now, but not reinstall them.
        fcntl.flock(lock, fcntl.LOCK_SH)
        airflows = {
            version: Airflow(
                version, VENVS / version, tmp_path_factory.mktemp(f"airflow-{version}-")
            )
            for version in VERSIONS
        }
        for airflow in airflows.values():
            airflow.dags.mkdir()
            finished = airflow.run("airflow", "db", "migrate")
            assert finished.exit_code == 0, finished.stderr
        yield airflows


@pytest.fixture(params=VERSIONS, ids=lambda version: f"airflow{version}")
def airflow(
    request: pytest.FixtureRequest, migrated: Mapping[str, Airflow], tmp_path: Path
) -> Airflow:
    """Return the test's own Airflow, of each version."""
    return copy_of(migrated[request.param], tmp_path / "airflow")


def copy_of(migrated: Airflow, home: Path) -> Airflow:
    """Return a copy of *migrated* in *home*: a copy is faster than another migration."""
    shutil.copytree(migrated.home, home, ignore=shutil.ignore_patterns("airflow.cfg", "logs"))
    return Airflow(migrated.version, migrated.venv, home)
