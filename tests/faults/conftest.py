"""What the fault tests stand on: the server with its script, a clock that jumps, and a run between the two."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from connector.redact import Redactor
from connector.runner import Outcome, execute
from connector.settings import load_inputs
from connector.settings.sources import Environment
from tests.faults.book import Book
from tests.faults.server import FaultServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from connector.clock import Clock
    from tests.faults.server import OnConnect, Step

CHECKOUT = Path(__file__).parents[2]
TOKEN = 'canary/t0ken+A%b"q\\z=='
TRIPLE = {
    "ALM_CLIENT_ID": "canary-client-id",
    "ALM_CLIENT_SECRET": "canary+client/secret",
    "ALM_REFRESH_TOKEN": "canary~refresh~token",
}


class VirtualClock:
    """Stands still but for ``sleep``, which jumps and is written down; threads share it."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self._lock = threading.Lock()
        self._passed = 0.0

    def monotonic(self) -> float:
        """Return seconds since long before the test."""
        return 1_000_000 + self._passed

    def now(self) -> datetime:
        """Return the moment of the documented exchange, and what has passed since."""
        return datetime(2024, 6, 9, 13, 5, 9, tzinfo=UTC) + timedelta(seconds=self._passed)

    def sleep(self, seconds: float) -> None:
        """Jump by *seconds*."""
        with self._lock:
            self.slept.append(seconds)
            self._passed += seconds


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run in this process came to, and the seconds that it would have slept."""

    outcome: Outcome
    slept: list[float]

    @property
    def document(self) -> dict[str, Any]:
        """The output document."""
        return self.outcome.document

    @property
    def code(self) -> int:
        """The exit code that the command would end with."""
        return self.outcome.error.code if self.outcome.error else 0


class Run(Protocol):
    """Runs the connector in this process against a server."""

    def __call__(
        self,
        server: FaultServer,
        *,
        clock: Clock | None = None,
        environ: Mapping[str, str] | None = None,
        **inputs: Any,
    ) -> Ran:
        """Run it to its end: user 31 on a virtual clock, with an access token, unless told otherwise."""
        ...


class Play(Protocol):
    """Starts servers."""

    def __call__(self, *script: Step | OnConnect, otherwise: Step | None = None) -> FaultServer:
        """Start one that plays *script*, and then *otherwise*: what the book says unless told otherwise."""
        ...


@pytest.fixture
def play() -> Iterator[Play]:
    """Return what starts servers; they are stopped at the end."""
    started: list[FaultServer] = []

    def start(*script: Step | OnConnect, otherwise: Step | None = None) -> FaultServer:
        server = FaultServer(script, otherwise or Book().answer)
        started.append(server)
        return server.__enter__()

    yield start
    for server in started:
        server.__exit__()


def run_against(
    server: FaultServer,
    folder: Path,
    *,
    clock: Clock | None = None,
    environ: Mapping[str, str] | None = None,
    **inputs: Any,
) -> Ran:
    """Run the connector in this process; *folder* holds no credentials."""
    virtual, redactor = VirtualClock(), Redactor()
    given = Environment({"ALM_ACCESS_TOKEN": TOKEN} if environ is None else environ)
    flags = {"user_id": "31", "base_url": server.url, **inputs}
    loaded, credentials = load_inputs(flags, given, redactor, secrets_dir=folder)
    outcome = execute(loaded, credentials, redactor, clock=clock or virtual, stdin=io.StringIO())
    return Ran(outcome, virtual.slept)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return what runs the connector in this process."""

    def start(
        server: FaultServer,
        *,
        clock: Clock | None = None,
        environ: Mapping[str, str] | None = None,
        **inputs: Any,
    ) -> Ran:
        return run_against(server, tmp_path, clock=clock, environ=environ, **inputs)

    return start


@dataclass(frozen=True, slots=True)
class Finished:
    """What a process left behind, and the most memory that it had: 0 where the system does not tell."""

    exit_code: int
    stdout: str
    stderr: str
    peak_bytes: int

    @property
    def is_complete(self) -> bool:
        """Whether the document says so. Not parsed: it may be nested more deeply than this process could read."""
        return '"complete":true' in self.stdout


class RunProcess(Protocol):
    """Runs the command as a process."""

    def __call__(
        self, server: FaultServer, *flags: str, environ: Mapping[str, str] | None = None
    ) -> Finished:
        """Run it for user 31 against *server*."""
        ...


# As `python -m connector`, and at its end the most memory that it had. What wait4 tells counts the parent's too, from before exec.
_MEASURED = r"""
import re
from pathlib import Path
from connector.__main__ import run_command
try:
    run_command()
finally:
    status = Path("/proc/self/status")
    if status.exists():
        Path("peak").write_text(str(int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) * 1024))
"""


def run_process(
    folder: Path, server: FaultServer, *flags: str, environ: Mapping[str, str] | None = None
) -> Finished:
    """Run the command as a process, in *folder*, and measure it."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    given = {
        **kept,
        "PYTHONPATH": str(CHECKOUT),
        "ALM_ACCESS_TOKEN": "a-token",
        "ALM_BASE_URL": server.url,
        **(environ or {}),
    }
    finished = subprocess.run(
        [sys.executable, "-c", _MEASURED, "--user-id", "31", *flags],
        env=given,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    peak = folder / "peak"
    return Finished(
        finished.returncode,
        finished.stdout,
        finished.stderr,
        int(peak.read_text(encoding="utf-8")) if peak.exists() else 0,
    )


@pytest.fixture
def process(tmp_path: Path) -> RunProcess:
    """Return what runs the command as a process and measures it."""

    def run(server: FaultServer, *flags: str, environ: Mapping[str, str] | None = None) -> Finished:
        return run_process(tmp_path, server, *flags, environ=environ)

    return run
