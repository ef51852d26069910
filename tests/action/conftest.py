"""The action's step as a runner starts it: bash, the variables of action.yml, and the runner's."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from connector.action import installed_packages
from tests.action.runner import Command, parse_outputs, read_github
from tests.support.process import (
    CHECKOUT,
    PATIENCE_SECONDS,
    UNMEASURED,
    needed_variables,
    valid_document,
)
from tests.support.sandbox import sandbox, start_sandbox

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["fake_pip", "needed", "sandbox", "start_sandbox"]

TEXT = (CHECKOUT / "action.yml").read_text(encoding="utf-8")
ACTION: dict[str, Any] = yaml.safe_load(TEXT)
(STEP,) = ACTION["runs"]["steps"]
# Instead of an installation, this pip links the packages of an earlier one.
LINKING_PIP = """
import os, sys
if "install" in sys.argv:
    target = sys.argv[sys.argv.index("--target") + 1]
    for package in os.scandir(os.environ["INSTALLED"]):
        os.symlink(package.path, os.path.join(target, package.name))
"""
needed = needed_variables


def fake_pip(folder: Path, code: str) -> Path:
    """Create a Python in *folder* whose pip is *code*, or has no pip; return its ``bin``."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    if code:
        pip = next(folder.rglob("site-packages")) / "pip"
        pip.mkdir()
        (pip / "__init__.py").touch()
        (pip / "__main__.py").write_text(code, encoding="utf-8")
    return folder / "bin"


def fake_command(path: Path, script: str) -> None:
    """Create the command *path*, which runs *script* in the shell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


@dataclass(frozen=True, slots=True)
class Finished:
    """What the step left: its exit code, both streams, and the runner's files."""

    exit_code: int
    stdout: str
    stderr: str
    outputs: dict[str, str]
    summary: str

    @property
    def document(self) -> dict[str, Any]:
        """The document, which is in a file of the job and not in its log."""
        return valid_document(Path(self.outputs["document_file"]).read_text(encoding="utf-8"))

    @property
    def commands(self) -> list[Command]:
        """The commands that the runner obeys."""
        return read_github(self.stderr, self.stdout).commands


@dataclass(frozen=True, slots=True)
class Job:
    """A job on a runner: *root* has its folders, *environ* the variables of every step."""

    root: Path
    environ: dict[str, str]

    @property
    def workspace(self) -> Path:
        """The folder in which the step runs."""
        return self.root / "workspace"

    @property
    def temp(self) -> Path:
        """The runner's folder for the job's own files."""
        return self.root / "temp"

    def start(
        self, inputs: Mapping[str, str], *, prefix: Sequence[str] = (), **variables: str
    ) -> subprocess.Popen[str]:
        """Start the step with *inputs*, under the command *prefix*; the user sets *variables*.

        The step is not measured.
        """
        return self._start(inputs, prefix, {**UNMEASURED, **variables})

    def _start(
        self, inputs: Mapping[str, str], prefix: Sequence[str], variables: Mapping[str, str]
    ) -> subprocess.Popen[str]:
        script = self.root / "step.sh"
        script.write_text(STEP["run"], encoding="utf-8")
        bash = [shutil.which("bash") or "bash", "--noprofile", "--norc", "-e", "-o", "pipefail"]
        return subprocess.Popen(
            [*prefix, *bash, str(script)],
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
        process = self._start(inputs, prefix, variables)
        streams = process.communicate(timeout=PATIENCE_SECONDS)
        outputs = parse_outputs((self.root / "output").read_bytes())
        summary = (self.root / "summary").read_text(encoding="utf-8")
        return Finished(process.returncode, *streams, outputs, summary)


def mapped(inputs: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that action.yml makes of *inputs* and of its defaults."""
    defaults = {name: rule.get("default", "") for name, rule in ACTION["inputs"].items()}
    values = {**defaults, **inputs}
    return {
        name: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda match: values[match[1]], text)
        for name, text in STEP["env"].items()
    }


@pytest.fixture(scope="session")
def packages() -> Path:
    """Return the folder of the lock's packages, which the action installs once per lock."""
    home = CHECKOUT / "build/action"
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return installed_packages({**os.environ, "RUNNER_TEMP": str(home)})


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the ``bin`` of a Python that has nothing but the linking pip."""
    return fake_pip(tmp_path_factory.mktemp("python"), LINKING_PIP)


@pytest.fixture
def new_job(tmp_path: Path, python: Path, packages: Path) -> Job:
    """Return a job that has not used the action yet."""
    for folder in ("workspace", "home", "temp", "tools"):
        (tmp_path / folder).mkdir()
    for file in ("output", "summary"):
        (tmp_path / file).touch()
    runner = {
        "COVERAGE_PROCESS_CONFIG": os.environ.get("COVERAGE_PROCESS_CONFIG", ""),
        "GITHUB_ACTION_PATH": str(CHECKOUT),
        "GITHUB_OUTPUT": str(tmp_path / "output"),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        "HOME": str(tmp_path / "home"),
        "INSTALLED": str(packages),
        "PATH": f"{python}:/usr/bin:/bin",
        "RUNNER_OS": "Linux",
        "RUNNER_TEMP": str(tmp_path / "temp"),
        "RUNNER_TOOL_CACHE": str(tmp_path / "tools"),
    }
    return Job(tmp_path, runner)


@pytest.fixture
def job(new_job: Job, packages: Path) -> Job:
    """Return a job that has used the action once."""
    folder = new_job.temp / packages.name
    folder.mkdir()
    for package in packages.iterdir():
        (folder / package.name).symlink_to(package)
    return new_job
