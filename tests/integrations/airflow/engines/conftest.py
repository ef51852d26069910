"""What the examples need of a host: Docker's API, as podman serves it, a folder for the data, and the token in a file."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from connector.sandbox import ACCESS_TOKEN
from tests.integrations.airflow.engines.book import USERS
from tests.integrations.container import engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_START_SECONDS = 20


@pytest.fixture(scope="session")
def docker_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return where podman serves Docker's API."""
    socket = tmp_path_factory.mktemp("podman") / "podman.sock"
    with subprocess.Popen(
        engine.command("system", "service", "--time=0", f"unix://{socket}"), env=engine.environ()
    ) as process:
        try:
            deadline = time.monotonic() + _START_SECONDS
            while not socket.exists():
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            # Where podman needs sudo, Airflow has none.
            subprocess.run(engine.as_root("chmod", "666", str(socket)), check=True)
            yield f"unix://{socket}"
        finally:
            subprocess.run(engine.as_root("kill", str(process.pid)), check=False)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a folder of the engine's host, with the learners, into which the container's user may write."""
    folder = tmp_path / "data"
    folder.mkdir()
    folder.chmod(0o777)
    list_learners(folder, *USERS)
    return folder


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """Return a folder of the engine's host that has the access token."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "alm_access_token").write_text(ACCESS_TOKEN, encoding="ascii")
    return folder


def list_learners(folder: Path, *users: str) -> None:
    """Name *users* in the file that the examples read."""
    (folder / "learners.csv").write_text("\n".join(["user_id", *users, ""]), encoding="ascii")
