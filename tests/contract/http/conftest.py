"""The HTTP API as a process, under each WSGI server that it supports."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import pytest
import requests

from tests.support.process import (
    CHECKOUT,
    PATIENCE_SECONDS,
    needed_variables,
    valid_document,
    wait_until,
)
from tests.support.sandbox import StartSandbox, reaching, start_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from connector.sandbox.server import SandboxServer

__all__ = ["StartSandbox", "start_sandbox"]

KEY = "canary-serve-key/0+1=2"
WAITRESS = ["connector", "serve", "--port", "0"]
GUNICORN = [
    *("gunicorn", "connector.server:application", "--bind", "127.0.0.1:0"),
    *("--worker-class", "gthread", "--threads", "16", "--no-control-socket"),
]
SERVERS = {"waitress": WAITRESS, "gunicorn": GUNICORN}


@dataclass(frozen=True, slots=True)
class Response:
    """A response whose body is a document."""

    status: int
    headers: Mapping[str, str]
    document: dict[str, Any]

    @property
    def error(self) -> dict[str, Any]:
        """The document's error."""
        error: dict[str, Any] = self.document["error"]
        return error


@dataclass
class RunningServer:
    """A server that listens at *url*, and the file that has both of its streams."""

    process: subprocess.Popen[str]
    log: Path
    url: str = ""
    session: requests.Session = field(default_factory=requests.Session)

    def get(self, key: str | None = KEY, headers: Any = None, **query: str) -> Response:
        """Send a GET request with *query*."""
        return self.send("GET", key=key, headers=headers, params=query)

    def send(
        self,
        method: str,
        *,
        key: str | None = KEY,
        headers: Mapping[str, str] | None = None,
        **parts: Any,
    ) -> Response:
        """Send a request for enrollments and return the response, its document validated."""
        with_key = {"Authorization": f"Bearer {key}"} if key else {}
        response = self.session.request(
            method,
            f"{self.url}/v1/enrollments",
            headers={**with_key, **(headers or {})},
            timeout=PATIENCE_SECONDS,
            **parts,
        )
        return Response(response.status_code, response.headers, valid_document(response.text))

    def path(self, method: str, path: str, **parts: Any) -> requests.Response:
        """Send a request for *path*."""
        return self.session.request(method, self.url + path, timeout=PATIENCE_SECONDS, **parts)

    def written(self) -> str:
        """Return what the server has written to either stream."""
        return self.log.read_text(encoding="utf-8")


class StartServer(Protocol):
    """Starts a server in front of *alm*, or of the embedded sandbox."""

    def __call__(
        self,
        *argv: str,
        server: str = "waitress",
        alm: SandboxServer | None = None,
        **variables: str,
    ) -> RunningServer:
        """Start it with these arguments and variables; the fixture stops it."""


@contextmanager
def starting(folder: Path) -> Iterator[StartServer]:
    """Yield a function that starts servers, and stop them at the end."""
    servers: list[RunningServer] = []

    def start(
        *argv: str, server: str = "waitress", alm: SandboxServer | None = None, **variables: str
    ) -> RunningServer:
        access = reaching(alm) if alm else {"ALM_BASE_URL": "sandbox"}
        log = folder / f"log-{len(servers)}"
        with log.open("w", encoding="utf-8") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", *SERVERS[server], *argv],
                env=environ(ALM_SERVE_KEY=KEY, **{**access, **variables}),
                stdout=stream,
                stderr=subprocess.STDOUT,
                text=True,
                cwd=folder,
            )
        running = RunningServer(process, log)
        servers.append(running)
        address = re.compile(r"(?:serves|Listening at:) (http://[^; ]+)")
        wait_until(lambda: address.search(running.written()) or process.poll() is not None)
        found = address.search(running.written())
        assert found, running.written()
        running.url = found[1]
        # gunicorn imports the application only after it has written its address.
        assert running.path("GET", "/healthz").text == "ok\n"
        return running

    yield start
    for running in servers:
        running.session.close()
        running.process.terminate()
    for running in servers:
        running.process.wait(timeout=PATIENCE_SECONDS)


def environ(**variables: str) -> dict[str, str]:
    """Return the environment of a process with *variables*, and without the user's own."""
    unbuffered = {"PYTHONPATH": str(CHECKOUT), "PYTHONUNBUFFERED": "1"}
    return {**needed_variables(), **unbuffered, **variables}


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Return a function that starts servers."""
    with starting(tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def sandbox_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Return a server in front of the embedded sandbox, for a module's tests."""
    with starting(tmp_path_factory.mktemp("server")) as start:
        yield start()
