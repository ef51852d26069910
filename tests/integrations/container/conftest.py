"""The image as a cluster runs it: read-only, without capabilities, without a network."""

from __future__ import annotations

import contextlib
import subprocess
import uuid
from typing import TYPE_CHECKING

import pytest

from tests.integrations.container import engine
from tests.support.process import PATIENCE_SECONDS, Finished
from tests.support.sandbox import EMBEDDED, start_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["start_sandbox"]

# A cluster has no writable folders of podman's own.
LOCKED_DOWN = (
    "--read-only",
    "--read-only-tmpfs=false",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
)


def settings(variables: dict[str, str]) -> list[str]:
    """Return the options that set *variables*."""
    return [f"--env={name}={value}" for name, value in variables.items()]


def open_to_all(folder: Path) -> Path:
    """Create *folder* like a volume that a cluster gives to any user."""
    folder.mkdir()
    folder.chmod(0o777)
    return folder


def run_image(
    line: str = "",
    options: tuple[str, ...] = ("--network=none",),
    *,
    target: str = "runtime",
    stdin: str = "",
    **variables: str,
) -> Finished:
    """Run the image *target* with the arguments of *line*, the engine's *options* and *variables*.

    Only the runtime image is locked down: GitHub runs a container action as Docker does.
    """
    locked = LOCKED_DOWN if target == "runtime" else ()
    environ = settings(variables or EMBEDDED)
    argv = ["run", "--rm", "-i", *locked, *options, *environ, engine.image(target), *line.split()]
    finished = subprocess.run(
        engine.command(*argv),
        env=engine.environ(),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return Finished(finished.returncode, finished.stdout, finished.stderr)


class CreateContainer:
    """Create containers that do not run yet, locked down, on this machine's network."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, variables: dict[str, str], *options: str) -> str:
        """Create one and return its name."""
        self.names.append(f"alm-enrollments-{uuid.uuid4().hex[:12]}")
        given = (*LOCKED_DOWN, *options, *settings(variables))
        engine.podman("create", "--name", self.names[-1], "--network=host", *given, engine.image())
        return self.names[-1]


@pytest.fixture
def create_container() -> Iterator[CreateContainer]:
    """Return a function that creates containers, which are removed at the end."""
    create = CreateContainer()
    yield create
    for name in create.names:
        with contextlib.suppress(RuntimeError):
            engine.podman("rm", "--force", "--time=0", name)
