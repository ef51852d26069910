"""Airflow 2 and 3 with our wheel installed in them, and for each test an Airflow of its own: a home, and a migrated database."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.contract.conftest import Finished, start_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["start_sandbox"]

CHECKOUT = Path(__file__).parents[3]
BUILT = CHECKOUT / "build/airflow"
VERSIONS = ("2", "3")
# Run by Airflow's own Python, as a test of this folder.
collect_ignore = ["inside"]

_NEEDED = (
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
    """One Airflow: *version* is "2" or "3", *venv* has it and our wheel, *home* its database, DAGs and logs."""

    version: str
    venv: Path
    home: Path

    @property
    def dags(self) -> Path:
        """Where its DAG files are."""
        return self.home / "dags"

    @property
    def python(self) -> str:
        """The interpreter that has it installed."""
        return str(self.venv / "bin/python")

    def environ(self, **variables: str) -> dict[str, str]:
        """Return what its processes need, and none of the user's own; *variables* beside it."""
        kept = {name: os.environ[name] for name in _NEEDED if name in os.environ}
        return {
            **kept,
            "PATH": f"{self.venv / 'bin'}:{kept.get('PATH', os.defpath)}",
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

    def run(self, *argv: str, timeout: float = 120, **variables: str) -> Finished:
        """Run a program of its environment, such as ``airflow``, ``pytest`` or ``python``, to its end."""
        finished = subprocess.run(
            [self.venv / "bin" / argv[0], *argv[1:]],
            env=self.environ(**variables),
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Finished(finished.returncode, finished.stdout, finished.stderr)


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Airflow]]:
    """Return an Airflow of each version that nothing has run in yet; other sessions wait until this one has ended."""
    BUILT.mkdir(parents=True, exist_ok=True)
    with (BUILT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run([CHECKOUT / "tests/integrations/airflow/install"], check=True)
        # Whoever uses what is there may do so beside us; whoever installs anew waits.
        fcntl.flock(lock, fcntl.LOCK_SH)
        airflows = {
            version: Airflow(
                version, BUILT / version, tmp_path_factory.mktemp(f"airflow-{version}-")
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
    """Return an Airflow of the test's own; every test that asks for it runs under each version."""
    return fresh(migrated[request.param], tmp_path / "airflow")


def fresh(migrated: Airflow, home: Path) -> Airflow:
    """Return a copy of *migrated* in *home*, so that its database need not be made again."""
    shutil.copytree(migrated.home, home, ignore=shutil.ignore_patterns("airflow.cfg", "logs"))
    return Airflow(migrated.version, migrated.venv, home)
