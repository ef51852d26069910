"""A machine of an engine, and the sandbox that its recipes read from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from connector.sandbox import Settings
from connector.sandbox.faults import parse_faults
from connector.sandbox.server import SandboxServer
from tests.integrations.recipes.engines.machine import Machine, make_machine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class StartMachine(Protocol):
    """Makes a machine whose processes read from a sandbox with these faults."""

    def __call__(self, *faults: str) -> Machine:
        """Make it; the fixture stops the sandbox."""
        ...


@pytest.fixture
def start_machine(tmp_path: Path) -> Iterator[StartMachine]:
    """Return what makes machines."""
    started: list[SandboxServer] = []

    def start(*faults: str) -> Machine:
        server = SandboxServer(
            Settings(rate_per_minute=600_000, burst=100_000, faults=parse_faults(faults))
        )
        started.append(server)
        root = tmp_path / f"machine-{len(started)}"
        root.mkdir()
        return make_machine(root, {"ALM_BASE_URL": server.__enter__().url})

    yield start
    for server in started:
        server.__exit__()


@pytest.fixture
def machine(start_machine: StartMachine) -> Machine:
    """Return a machine for which nothing goes wrong."""
    return start_machine()
