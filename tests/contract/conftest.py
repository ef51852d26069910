"""The command as a process, and the sandbox that it talks to over real HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import jsonschema
import pytest

from connector.sandbox import ACCESS_TOKEN, Settings
from connector.sandbox.faults import parse_faults
from connector.sandbox.server import SandboxServer
from connector.schemas import load_schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Finished:
    """What the process left behind."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        """The output document, judged by its schema; standard output must hold it and nothing else."""
        line, end = self.stdout[:-1], self.stdout[-1:]
        assert end == "\n"
        assert "\n" not in line
        assert line.isascii()
        document: dict[str, Any] = json.loads(line)
        jsonschema.Draft202012Validator(load_schema("outputs")).validate(document)
        return document


class RunCommand(Protocol):
    """Runs ``alm-enrollments`` with these arguments and variables."""

    def __call__(
        self, *argv: str, environ: Mapping[str, str] | None = None, stdin: str = ""
    ) -> Finished:
        """Run it to its end."""
        ...


class StartSandbox(Protocol):
    """Starts a sandbox with these faults and settings."""

    def __call__(self, *faults: str, **settings: Any) -> SandboxServer:
        """Start it; the fixture stops it."""
        ...


@pytest.fixture
def environ() -> dict[str, str]:
    """Return the variables that a process needs to run at all, and none of the user's own."""
    needed = ("PATH", "SYSTEMROOT", "LANG", "COVERAGE_PROCESS_CONFIG")
    kept = {name: os.environ[name] for name in needed if name in os.environ}
    return {**kept, "PYTHONPATH": str(CHECKOUT)}


@pytest.fixture
def command(environ: dict[str, str], tmp_path: Path) -> RunCommand:
    """Return what runs the command in an empty folder."""
    given = environ

    def run(*argv: str, environ: Mapping[str, str] | None = None, stdin: str = "") -> Finished:
        process = subprocess.run(
            [sys.executable, "-m", "connector", *argv],
            env={**given, **(environ or {})},
            input=stdin,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Finished(process.returncode, process.stdout, process.stderr)

    return run


@pytest.fixture
def start_sandbox() -> Iterator[StartSandbox]:
    """Return what starts sandboxes, without a limiter unless one is asked for."""
    started: list[SandboxServer] = []

    def start(*faults: str, **settings: Any) -> SandboxServer:
        server = SandboxServer(
            Settings(**{"rate_per_minute": 0, "faults": parse_faults(faults), **settings})
        )
        started.append(server)
        return server.__enter__()

    yield start
    for server in started:
        server.__exit__()


@pytest.fixture
def sandbox(start_sandbox: StartSandbox) -> SandboxServer:
    """Return a sandbox where nothing goes wrong."""
    return start_sandbox()


class Reaching(Protocol):
    """Makes the variables that point the command at a server."""

    def __call__(self, server: SandboxServer, **variables: str) -> dict[str, str]:
        """Make them, with *variables* beside them."""
        ...


@pytest.fixture
def reaching() -> Reaching:
    """Return what makes the variables that point the command at a server, with the sandbox's token."""

    def make(server: SandboxServer, **variables: str) -> dict[str, str]:
        return {"ALM_BASE_URL": server.url, "ALM_ACCESS_TOKEN": ACCESS_TOKEN, **variables}

    return make
