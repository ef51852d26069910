"""The HTTP door as a process, the sandbox behind it, and processes that run a recipe's Python as its platform does."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import jsonschema
import pytest
import requests

from connector.sandbox import ACCESS_TOKEN, Settings
from connector.sandbox.learners import enrollments_of
from connector.sandbox.server import SandboxServer
from connector.schemas import load_schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CHECKOUT = Path(__file__).parents[4]
EXAMPLES = CHECKOUT / "examples"
PAGES = CHECKOUT / "docs" / "recipes"
KEY = "canary-serve-key-0123456789"
# Where every recipe's reader puts the address of his own door.
SHOWN_DOOR = "https://alm.example.com"
USER = "20941371"
_OURS = ("PATH", "SYSTEMROOT", "LANG", "COVERAGE_PROCESS_CONFIG")
_PATIENCE_SECONDS = 20
_LISTENS = re.compile(r"serves (http://\S+?);")


@dataclass(frozen=True, slots=True)
class Answered:
    """What the door answered."""

    status: int
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Door:
    """The door that the recipes' requests are sent to."""

    url: str

    def send(self, method: str, shown_url: str, **request: Any) -> Answered:
        """Send what a platform would send to the address that a recipe shows, and return the judged answer."""
        assert shown_url.startswith(SHOWN_DOOR)
        answer = requests.request(
            method,
            shown_url.replace(SHOWN_DOOR, self.url),
            timeout=30,
            allow_redirects=False,
            **request,
        )
        return Answered(answer.status_code, judged(answer.json()))

    def fetch(self, path: str) -> tuple[bytes, dict[str, Any]]:
        """Return what is at *path* for everybody, as it travelled and read."""
        answer = requests.get(self.url + path, timeout=30)
        return answer.content, answer.json()

    def status(self, path: str) -> int:
        """Return the status of what is at *path* for everybody."""
        return requests.get(self.url + path, timeout=30).status_code


@dataclass(frozen=True, slots=True)
class Finished:
    """What a process left behind."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        """The document that it wrote, judged; it must have ended well."""
        assert (self.exit_code, self.stderr) == (0, "")
        return judged(json.loads(self.stdout))

    @property
    def raised(self) -> str:
        """The traceback's last line."""
        assert self.exit_code == 1
        return self.stderr.splitlines()[-1]


class RunPython(Protocol):
    """Runs Python as a platform does: in a process of its own, with what it is given as JSON on standard input."""

    def __call__(
        self, code: str, given: Any, variables: Mapping[str, str], folder: Path | None = None
    ) -> Finished:
        """Run *code* under *variables* to its end, in *folder* or else in an empty one."""
        ...


def example(path: str) -> str:
    """Return the text of a recipe's file."""
    return (EXAMPLES / path).read_text(encoding="utf-8")


def judged(document: dict[str, Any]) -> dict[str, Any]:
    """Return *document*, which the outputs schema has judged."""
    jsonschema.Draft202012Validator(load_schema("outputs")).validate(document)
    return document


def newest_first(user_id: str = USER, since: str = "") -> list[str]:
    """Return the ids of the user's enrollments in the sandbox from *since* on, as feeds want them."""
    return [
        one["id"]
        for one in reversed(enrollments_of(user_id))
        if one["attributes"]["dateEnrolled"] >= since
    ]


def started(
    argv: list[str], environ: Mapping[str, str], log: Path
) -> tuple[subprocess.Popen[bytes], str]:
    """Return the process of a door, and the address that it says it serves."""
    with log.open("wb") as stream:
        process = subprocess.Popen(
            argv, env=dict(environ), stdout=stream, stderr=subprocess.STDOUT, cwd=log.parent
        )
    ends_at = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < ends_at and process.poll() is None:
        if told := _LISTENS.search(log.read_text(encoding="utf-8")):
            return process, told[1]
        time.sleep(0.05)
    process.kill()
    process.wait()
    raise AssertionError(log.read_text(encoding="utf-8"))


def stop(process: subprocess.Popen[bytes]) -> int:
    """End *process* as platforms do, and return its exit code."""
    process.terminate()
    return process.wait(timeout=_PATIENCE_SECONDS)


@pytest.fixture(scope="session")
def environ() -> dict[str, str]:
    """Return the variables that a process needs to run at all, and none of the user's own."""
    return {
        **{name: os.environ[name] for name in _OURS if name in os.environ},
        "PYTHONPATH": str(CHECKOUT),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@pytest.fixture(scope="session")
def sandbox() -> Iterator[SandboxServer]:
    """Return ALM's stand-in, which asks nobody to wait."""
    with SandboxServer(Settings(rate_per_minute=0)) as server:
        yield server


@pytest.fixture(scope="session")
def reaching(sandbox: SandboxServer) -> dict[str, str]:
    """Return the variables that point a run at the sandbox."""
    return {"ALM_BASE_URL": sandbox.url, "ALM_ACCESS_TOKEN": ACCESS_TOKEN}


@pytest.fixture(scope="session")
def door(
    environ: dict[str, str], reaching: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Door]:
    """Return the door, in front of the sandbox."""
    log = tmp_path_factory.mktemp("door") / "log"
    argv = [sys.executable, "-m", "connector", "serve", "--port", "0"]
    process, url = started(argv, {**environ, **reaching, "ALM_SERVE_KEY": KEY}, log)
    yield Door(url)
    stop(process)


@pytest.fixture
def run_python(environ: dict[str, str], tmp_path: Path) -> RunPython:
    """Return what runs Python, under no user's variables."""

    def run(
        code: str, given: Any, variables: Mapping[str, str], folder: Path | None = None
    ) -> Finished:
        process = subprocess.run(
            [sys.executable, "-c", code],
            env={**environ, **variables},
            input=json.dumps(given),
            cwd=folder or tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Finished(process.returncode, process.stdout, process.stderr)

    return run
