"""The image as a cluster runs it: read-only, without capabilities, by number, and with no network unless a test gives it one."""

from __future__ import annotations

import contextlib
import subprocess
import uuid
from typing import TYPE_CHECKING, Protocol

import pytest

from tests.contract.conftest import Finished, reaching, start_sandbox
from tests.integrations.container import engine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["reaching", "start_sandbox"]

# podman's own writable folders for --read-only are not there in a cluster.
LOCKED_DOWN = (
    "--read-only",
    "--read-only-tmpfs=false",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
)
DOCUMENTED = {"ALM_USER_ID": "20941371", "ALM_BASE_URL": "sandbox"}


class RunImage(Protocol):
    """Runs an image's own entry with these arguments, variables and options of podman's."""

    def __call__(
        self,
        *argv: str,
        variables: Mapping[str, str] = DOCUMENTED,
        options: tuple[str, ...] = (),
        stdin: str = "",
        target: str = "runtime",
    ) -> Finished:
        """Run it to its end."""
        ...


class CreateContainer(Protocol):
    """Creates a container that does not run yet."""

    def __call__(self, variables: Mapping[str, str], *options: str) -> str:
        """Create it and return its name; the fixture removes it."""
        ...


def settings(variables: Mapping[str, str]) -> list[str]:
    """Return the options that set *variables*."""
    return [f"--env={name}={value}" for name, value in variables.items()]


def open_to_all(folder: Path) -> Path:
    """Make *folder*, as a volume that a cluster has given to whoever runs."""
    folder.mkdir()
    folder.chmod(0o777)
    return folder


@pytest.fixture
def run_image() -> RunImage:
    """Return what runs the image locked down, with no network unless the options name one."""

    def run(
        *argv: str,
        variables: Mapping[str, str] = DOCUMENTED,
        options: tuple[str, ...] = (),
        stdin: str = "",
        target: str = "runtime",
    ) -> Finished:
        # A container action runs as Docker does by itself.
        locked = LOCKED_DOWN if target == "runtime" else ()
        network = (
            () if any(option.startswith("--network") for option in options) else ("--network=none",)
        )
        finished = subprocess.run(
            engine.command(
                "run",
                "--rm",
                "-i",
                *locked,
                *network,
                *options,
                *settings(variables),
                engine.image(target),
                *argv,
            ),
            env=engine.environ(),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Finished(finished.returncode, finished.stdout, finished.stderr)

    return run


@pytest.fixture
def create_container() -> Iterator[CreateContainer]:
    """Return what creates containers of the image, locked down on this machine's network."""
    names: list[str] = []

    def create(variables: Mapping[str, str], *options: str) -> str:
        names.append(f"alm-enrollments-{uuid.uuid4().hex[:12]}")
        engine.podman(
            "create",
            "--name",
            names[-1],
            "--network=host",
            *LOCKED_DOWN,
            *options,
            *settings(variables),
            engine.image(),
        )
        return names[-1]

    yield create
    for name in names:
        with contextlib.suppress(RuntimeError):
            engine.podman("rm", "--force", "--time=0", name)
