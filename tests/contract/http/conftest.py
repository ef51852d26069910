"""The HTTP door as a process, under each server that it is promised to run under, and the sandbox behind it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import jsonschema
import pytest
import requests

from connector.sandbox import ACCESS_TOKEN, Settings
from connector.sandbox.server import SandboxServer
from connector.schemas import load_schema
from tests.contract.conftest import StartSandbox, start_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["StartSandbox", "start_sandbox"]

CHECKOUT = Path(__file__).parents[3]
KEY = "canary-serve-key/0+1=2"
SERVERS = {
    "waitress": ["-m", "connector", "serve", "--port", "0"],
    "gunicorn": [
        "-m",
        "gunicorn",
        "connector.server:application",
        "--bind",
        "127.0.0.1:0",
        "--worker-class",
        "gthread",
        "--threads",
        "16",
        "--no-control-socket",
    ],
}


@dataclass(frozen=True, slots=True)
class Answered:
    """What a request was answered."""

    status: int
    headers: Mapping[str, str]
    document: dict[str, Any]

    @property
    def error(self) -> dict[str, Any]:
        """The document's error, which there must be."""
        error: dict[str, Any] = self.document["error"]
        return error


@dataclass
class Door:
    """A server that listens at *url*, and what it has written."""

    url: str
    process: subprocess.Popen[str]
    log: Path
    session: requests.Session = field(default_factory=requests.Session)

    def get(self, *, key: str | None = KEY, headers: Any = None, **query: str) -> Answered:
        """Ask with *query* and return the answer."""
        return self.ask("GET", key=key, headers=headers, params=query)

    def post(self, *, key: str | None = KEY, headers: Any = None, **inputs: Any) -> Answered:
        """Ask with *inputs* as JSON and return the answer."""
        return self.ask("POST", key=key, headers=headers, json=inputs)

    def ask(
        self,
        method: str,
        *,
        key: str | None = KEY,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> Answered:
        """Ask for enrollments and return the answer, whose document the outputs schema has judged."""
        shown = {"Authorization": f"Bearer {key}"} if key else {}
        answer = self.session.request(
            method,
            f"{self.url}/v1/enrollments",
            headers={**shown, **(headers or {})},
            timeout=30,
            **more,
        )
        document: dict[str, Any] = json.loads(answer.text)
        jsonschema.Draft202012Validator(load_schema("outputs")).validate(document)
        return Answered(answer.status_code, answer.headers, document)

    def written(self) -> str:
        """Return what the server has written to either stream."""
        return self.log.read_text(encoding="utf-8")


class Serve(Protocol):
    """Starts a door with these arguments and variables."""

    def __call__(
        self,
        *argv: str,
        server: str = "waitress",
        alm: SandboxServer | None = None,
        **variables: str,
    ) -> Door:
        """Start it, in front of *alm* or else of the embedded sandbox; the fixture stops it."""
        ...


@pytest.fixture(scope="session")
def environ() -> dict[str, str]:
    """Return the variables that a process needs to run at all, and none of the user's own."""
    needed = ("PATH", "SYSTEMROOT", "LANG", "COVERAGE_PROCESS_CONFIG")
    kept = {name: os.environ[name] for name in needed if name in os.environ}
    return {**kept, "PYTHONPATH": str(CHECKOUT), "PYTHONUNBUFFERED": "1"}


@contextmanager
def serving(environ: dict[str, str], folder: Path) -> Iterator[Serve]:
    """Yield what starts doors, and stop them at the end."""
    given = environ
    doors: list[Door] = []

    def start(
        *argv: str, server: str = "waitress", alm: SandboxServer | None = None, **variables: str
    ) -> Door:
        reaching = (
            {"ALM_BASE_URL": alm.url, "ALM_ACCESS_TOKEN": ACCESS_TOKEN}
            if alm
            else {"ALM_BASE_URL": "sandbox"}
        )
        log = folder / f"log-{len(doors)}"
        with log.open("w", encoding="utf-8") as stream:
            process = subprocess.Popen(
                [sys.executable, *SERVERS[server], *argv],
                env={**given, **reaching, "ALM_SERVE_KEY": KEY, **variables},
                stdout=stream,
                stderr=subprocess.STDOUT,
                text=True,
                cwd=folder,
            )
        door = Door(_told_url(log, process), process, log)
        doors.append(door)
        return door

    yield start
    for door in doors:
        door.session.close()
        door.process.terminate()
    for door in doors:
        try:
            door.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            door.process.kill()
            door.process.wait()


@pytest.fixture
def serve(environ: dict[str, str], tmp_path: Path) -> Iterator[Serve]:
    """Return what starts doors."""
    with serving(environ, tmp_path) as start:
        yield start


@dataclass(frozen=True, slots=True)
class Pair:
    """A door that many tests ask, and the sandbox behind it."""

    door: Door
    alm: SandboxServer


@pytest.fixture(scope="module")
def shared(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Return a door for requests that leave nothing behind."""
    settings = Settings(rate_per_minute=0)
    with SandboxServer(settings) as alm, serving(environ, tmp_path_factory.mktemp("door")) as start:
        yield Pair(start(alm=alm), alm)


def _told_url(log: Path, process: subprocess.Popen[str]) -> str:
    while process.poll() is None:
        if found := re.search(
            r"(?:serves|Listening at:) (http://[^; ]+)", log.read_text(encoding="utf-8")
        ):
            return found[1]
        try:
            process.wait(timeout=0.05)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError(log.read_text(encoding="utf-8"))
