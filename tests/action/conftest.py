"""The action's step as a runner starts it: bash, the variables that action.yml maps, the runner's own, and none of this process."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from connector.action import installed_packages
from connector.sandbox import Settings
from connector.sandbox.faults import parse_faults
from connector.sandbox.server import SandboxServer
from tests.action.runner import Command, parse_outputs, read_github

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

CHECKOUT = Path(__file__).parents[2]
LOCK = CHECKOUT / "requirements/run.lock"
TEXT = (CHECKOUT / "action.yml").read_text(encoding="utf-8")
ACTION: dict[str, Any] = yaml.safe_load(TEXT)
(STEP,) = ACTION["runs"]["steps"]


def once(
    tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]
) -> Path:
    """Return the folder *name*, which *make* fills once a session, whichever of its workers comes first."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    lock, made = folder.with_suffix(".lock"), folder.with_suffix(".made")
    while not _taken(lock):
        time.sleep(0.1)
    try:
        if not made.exists():
            make(folder)
            made.touch()
    finally:
        lock.rmdir()
    return folder


def _taken(lock: Path) -> bool:
    with contextlib.suppress(FileExistsError):
        lock.mkdir()
        return True
    return False


def fetch_wheels(folder: Path) -> None:
    """Fetch the lock's wheels, the one thing here that needs an index."""
    what = (
        "--no-deps",
        "--require-hashes",
        "--only-binary",
        ":all:",
        "--requirement",
        str(LOCK),
        "--dest",
        str(folder),
    )
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", *what], check=True, capture_output=True
    )


def pip_environ(wheels: Path) -> dict[str, str]:
    """Return the variables under which *wheels* are pip's whole index, whatever the machine's own files tell pip."""
    return {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_CACHE_DIR": "1",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
    }


def use_first(folder: Path, environ: Mapping[str, str]) -> None:
    """Make *folder* what a runner's folders are after a job's first use of the action."""
    (folder / "temp").mkdir(parents=True)
    installed_packages(
        {**environ, "RUNNER_TEMP": str(folder / "temp"), "RUNNER_TOOL_CACHE": str(folder / "tools")}
    )


def fake_pip(folder: Path, code: str) -> Path:
    """Make a Python in *folder* whose pip is *code*, none where that is empty, and return its folder of commands."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    if code:
        pip = next(folder.rglob("site-packages")) / "pip"
        pip.mkdir()
        (pip / "__init__.py").touch()
        (pip / "__main__.py").write_text(code, encoding="utf-8")
    return folder / ("Scripts" if os.name == "nt" else "bin")


def fake_command(path: Path, script: str) -> None:
    """Make the command *path*, which is the shell's *script*."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


@dataclass(frozen=True, slots=True)
class Finished:
    """What the step left behind."""

    exit_code: int
    stdout: str
    stderr: str
    outputs: dict[str, str]
    summary: str

    @property
    def commands(self) -> list[Command]:
        """What the runner obeys of all that was written."""
        return read_github(self.stderr, self.stdout).commands


@dataclass(frozen=True, slots=True)
class Job:
    """A job on a runner: *root* has its folders and files, *environ* what every step of it is given."""

    root: Path
    environ: dict[str, str]

    @property
    def workspace(self) -> Path:
        """The folder that the step runs in."""
        return self.root / "workspace"

    def start(
        self, inputs: Mapping[str, str], *, prefix: Sequence[str] = (), **variables: str
    ) -> subprocess.Popen[str]:
        """Start the step with *inputs*, under the command *prefix*; *variables* are the job's own, set by the user."""
        script = self.root / "step.sh"
        script.write_text(STEP["run"], encoding="utf-8")
        return subprocess.Popen(
            [
                *prefix,
                shutil.which("bash") or "bash",
                "--noprofile",
                "--norc",
                "-e",
                "-o",
                "pipefail",
                str(script),
            ],
            env={**self.environ, **variables, **mapped(inputs)},
            cwd=self.workspace,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(
        self, inputs: Mapping[str, str], *, prefix: Sequence[str] = (), **variables: str
    ) -> Finished:
        """Run the step to its end."""
        process = self.start(inputs, prefix=prefix, **variables)
        stdout, stderr = process.communicate(timeout=60)
        outputs = parse_outputs((self.root / "output").read_bytes())
        return Finished(
            process.returncode,
            stdout,
            stderr,
            outputs,
            (self.root / "summary").read_text(encoding="utf-8"),
        )


def mapped(inputs: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that action.yml makes of *inputs* and of the defaults of those that are not given."""
    given = {name: rule.get("default", "") for name, rule in ACTION["inputs"].items()} | dict(
        inputs
    )
    return {
        name: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda found: given[found[1]], value)
        for name, value in STEP["env"].items()
    }


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with the lock's wheels."""
    return once(tmp_path_factory, "wheels", fetch_wheels)


@pytest.fixture(scope="session")
def used(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Path:
    """Return a runner's folders after a job's first use of the action."""
    environ = {**needed(), **pip_environ(wheels)}
    return once(tmp_path_factory, "used", lambda folder: use_first(folder, environ))


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Python that has pip and nothing else: what it finds, it found elsewhere."""
    make = lambda folder: subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)  # noqa: E731
    return once(tmp_path_factory, "python", make) / "bin"


def needed() -> dict[str, str]:
    """Return what a process needs of this one's variables to run at all."""
    names = ("PATH", "SYSTEMROOT", "TEMP", "COVERAGE_PROCESS_CONFIG")
    return {name: os.environ[name] for name in names if name in os.environ}


@pytest.fixture
def job(tmp_path: Path, python: Path, used: Path, wheels: Path) -> Job:
    """Return a job that has used the action once, on a runner that has Python."""
    for folder in ("workspace", "home", "temp", "tools"):
        (tmp_path / folder).mkdir()
    for file in ("output", "summary"):
        (tmp_path / file).touch()
    runner = {
        "GITHUB_ACTION_PATH": str(CHECKOUT),
        "GITHUB_OUTPUT": str(tmp_path / "output"),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        "HOME": str(tmp_path / "home"),
        "PATH": f"{python}:/usr/bin:/bin",
        "RUNNER_OS": "Linux",
        "RUNNER_TEMP": str(used / "temp"),
        "RUNNER_TOOL_CACHE": str(tmp_path / "tools"),
    }
    return Job(tmp_path, {**runner, **pip_environ(wheels)})


@pytest.fixture
def new_job(job: Job) -> Job:
    """Return a job that has not used the action yet."""
    return Job(job.root, {**job.environ, "RUNNER_TEMP": str(job.root / "temp")})


@pytest.fixture
def start_sandbox() -> Iterator[Callable[..., SandboxServer]]:
    """Return what starts sandboxes with faults; they are stopped at the end."""
    with contextlib.ExitStack() as stack:
        yield lambda *faults: stack.enter_context(
            SandboxServer(Settings(rate_per_minute=0, faults=parse_faults(faults)))
        )
