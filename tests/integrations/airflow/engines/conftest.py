"""The host that the container examples need: Docker's API, a folder, and a file with the token."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from connector.sandbox import ACCESS_TOKEN
from tests.integrations.airflow.examples import USERS, list_learners
from tests.integrations.container import engine
from tests.support.process import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def docker_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve Docker's API with podman, and return its address."""
    socket = tmp_path_factory.mktemp("podman") / "podman.sock"
    command = engine.command("system", "service", "--time=0", f"unix://{socket}")
    with subprocess.Popen(command, env=engine.environ()) as process:
        try:
            wait_until(lambda: process.poll() is not None or socket.exists())
            # podman may need sudo; Airflow runs without it.
            subprocess.run(engine.as_root("chmod", "666", str(socket)), check=True)
            yield f"unix://{socket}"
        finally:
            subprocess.run(engine.as_root("kill", str(process.pid)), check=False)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a folder with the learners, to which the container's user may write."""
    folder = tmp_path / "data"
    folder.mkdir()
    folder.chmod(0o777)
    list_learners(folder, *USERS)
    return folder


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """Return a folder with the access token in a file."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "alm_access_token").write_text(ACCESS_TOKEN, encoding="ascii")
    return folder
