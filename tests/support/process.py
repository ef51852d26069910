"""Run ``alm-enrollments``, in this process or as another one, and read what it left."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import jsonschema
import pytest

from connector.cli.commands import main
from connector.schemas import load_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

CHECKOUT = Path(__file__).parents[2]
# Ten times what anything here takes on an idle machine.
PATIENCE_SECONDS = 60.0
_NEEDED = ("PATH", "SYSTEMROOT", "TEMP", "LANG", "COVERAGE_PROCESS_CONFIG")
#: For a process that a test interrupts: if the signal's handler raises while coverage holds a lock
#: of its own, the process waits for that lock for ever. Also for a process with a limit on the size
#: of files, as coverage writes one.
UNMEASURED = {"COVERAGE_PROCESS_CONFIG": ""}
_VALIDATOR = jsonschema.Draft202012Validator(load_schema("outputs"))


def needed_variables() -> dict[str, str]:
    """Return the variables that every process needs, without the user's own."""
    return {name: os.environ[name] for name in _NEEDED if name in os.environ}


def valid_document(text: str) -> dict[str, Any]:
    """Return the document in *text*, validated by the outputs schema."""
    document: dict[str, Any] = json.loads(text)
    _VALIDATOR.validate(document)
    return document


def wait_until(condition: Callable[[], object]) -> None:
    """Return as soon as *condition* holds; fail the test when it never does."""
    ends_at = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < ends_at, "the condition never held"
        time.sleep(0.01)


@dataclass(frozen=True, slots=True)
class Finished:
    """The exit code and both streams of a command that has ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        """The document, which standard output must hold as one line of ASCII and nothing else."""
        assert re.fullmatch(r"[ -~]+\n", self.stdout), self
        return valid_document(self.stdout)

    @property
    def error(self) -> dict[str, Any]:
        """The document's error, which must be there."""
        error: dict[str, Any] = self.document["error"]
        return error


@dataclass(frozen=True, slots=True)
class Command:
    """The command, run in *folder* without any variable of the user's own."""

    folder: Path

    def __call__(self, line: str = "", *, stdin: str = "", **variables: str) -> Finished:
        """Run the command with the arguments of *line* in this process."""
        environ = {**needed_variables(), **variables}
        return run_main(shlex.split(line), environ, folder=self.folder, stdin=stdin)

    def as_process(self, line: str = "", *, stdin: str = "", **variables: str) -> Finished:
        """Run the command with the arguments of *line* as a process."""
        process = self.start_python(_argv(line), **variables)
        stdout, stderr = process.communicate(stdin, timeout=PATIENCE_SECONDS)
        return Finished(process.returncode, stdout, stderr)

    def start(self, line: str = "", **variables: str) -> subprocess.Popen[str]:
        """Start the command as a process that is not measured; its three streams are pipes."""
        return self.start_python(_argv(line), **{**UNMEASURED, **variables})

    def start_python(self, argv: Sequence[str], **variables: str) -> subprocess.Popen[str]:
        """Start Python with *argv*, so that it can import the connector."""
        return subprocess.Popen(
            [sys.executable, *argv],
            env=self._process_environ(variables),
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def shell(self, script: str, *, prefix: Sequence[str] = (), **variables: str) -> Finished:
        """Run *script* in bash, in which ``alm-enrollments`` is this checkout's command.

        *prefix* is a command that runs bash.
        """
        program = self.folder.with_name(f"{self.folder.name}-bin") / "alm-enrollments"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m connector "$@"\n')
        program.chmod(0o755)
        environ = self._process_environ(variables)
        finished = subprocess.run(
            [*prefix, "bash", "-c", script],
            env={**environ, "PATH": f"{program.parent}:{environ['PATH']}"},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        return Finished(finished.returncode, finished.stdout, finished.stderr)

    def files(self) -> dict[str, str]:
        """Return the text of every file in the folder, by its name."""
        return {
            str(path.relative_to(self.folder)): path.read_text(encoding="utf-8", errors="replace")
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }

    def _process_environ(self, variables: Mapping[str, str]) -> dict[str, str]:
        return {
            **needed_variables(),
            "PYTHONPATH": str(CHECKOUT),
            "PYTHONDONTWRITEBYTECODE": "1",
            **variables,
        }


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Return the command, run in an empty folder."""
    return Command(tmp_path)


def run_main(
    argv: Sequence[str], environ: Mapping[str, str], *, folder: Path, stdin: str = ""
) -> Finished:
    """Run the command in this process, as the action does if it is on GitHub's runner.

    The only caller of the command's ``main`` in these tests.
    """
    stdout, stderr = _stream(), _stream()
    with (
        contextlib.chdir(folder),
        patch.dict(os.environ, environ, clear=True),
        _standard_input(stdin),
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
    ):
        exit_code = main(argv, os.environ, is_action="GITHUB_OUTPUT" in environ)
    return Finished(exit_code, *(_text(stream) for stream in (stdout, stderr)))


def _argv(line: str) -> list[str]:
    return ["-m", "connector", *shlex.split(line)]


def _stream(text: str = "") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8", newline="\n")


def _text(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()


@contextlib.contextmanager
def _standard_input(text: str) -> Iterator[None]:
    before, sys.stdin = sys.stdin, _stream(text)
    try:
        yield
    finally:
        sys.stdin = before
