"""First step of the GitHub Action: install the locked packages once per job, then run the command.

The command's document goes to a file of the job instead of its log, which many people can read.

Needs only the standard library. Started by path and isolated (``python -I``): no file of the
workspace is importable, and the user's Python stays as it is. The packages are those of
``requirements/run.lock``; every installation checks their hashes, wherever the wheels come from.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from connector.errors import ConnectorError

CHECKOUT = Path(__file__).resolve().parents[1]
_LOCK = CHECKOUT / "requirements/run.lock"
# The user's settings for pip stay (index, proxy, certificate), except where to install, and for
# which Python.
_REMOVED_VARIABLES = (
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_ROOT",
    "PIP_DRY_RUN",
    "PIP_PYTHON",
    "PIP_PYTHON_VERSION",
    "PIP_PLATFORM",
    "PIP_ABI",
    "PIP_IMPLEMENTATION",
)
# A configuration file may set these; a variable takes precedence.
_FORCED_VARIABLES = {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0"}
_MAX_REASON_CHARACTERS = 600
_COMMANDS = ("fetch", "check", "merge", "diff")
_COMMANDS_OF_FILES = ("merge", "diff")


def main(environ: Mapping[str, str]) -> None:
    """Install the packages if necessary, and run the command, which ends this process."""
    # Until the command handles it, SIGINT ends the process like any other.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.path.insert(0, str(CHECKOUT))
    from connector.errors import ConnectorError  # noqa: PLC0415 - importable only now

    try:
        sys.argv[1:] = command_line(environ)
        packages = installed_packages(environ)
        # What check prints is no document, and for the log.
        if sys.argv[1] != "check":
            os.environ.update(redirect_document(environ))
    except ConnectorError as error:
        _report(error, environ)
        raise SystemExit(error.code) from error
    sys.path.insert(0, str(packages))
    from connector.__main__ import run_command  # noqa: PLC0415 - needs the packages

    run_command()


def command_line(environ: Mapping[str, str]) -> list[str]:
    """Return the command's words for the inputs ``command`` and ``files``. Raises UsageError."""
    from connector.errors import Problem, UsageError  # noqa: PLC0415 - importable only after main

    command = environ.get("ALM_COMMAND", "").strip() or _COMMANDS[0]
    files = [line.strip() for line in environ.get("ALM_FILES", "").splitlines() if line.strip()]
    output_file = environ.get("ALM_OUTPUT_FILE", "").strip()
    problems = []
    if command not in _COMMANDS:
        near = "".join(difflib.get_close_matches(command, _COMMANDS, n=1))
        problems.append(Problem("command", f'"{command}"', ", ".join(_COMMANDS), near))
    elif files and command not in _COMMANDS_OF_FILES:
        problems.append(Problem("files", f"given to {command}", "none; merge and diff take files"))
    if command == "merge" and not output_file:
        problems.append(Problem("output-file", "missing", "the file to write"))
    if problems:
        raise UsageError.of(problems, hint="Nothing was sent.")
    # A path may begin with a hyphen.
    if command == "merge":
        return [command, "--", output_file, *files]
    if command == "diff":
        options = ["--output-file", output_file] if output_file else []
        return [command, *options, "--", *files]
    return [command]


def installed_packages(
    environ: Mapping[str, str], *, lock: Path = _LOCK, python: str = sys.executable
) -> Path:
    """Return the job's folder with the packages of *lock*, filled at its first use.

    Raises UnreachableError if it cannot be filled.
    """
    from connector.errors import UnreachableError  # noqa: PLC0415 - importable only after main

    # Only a runner's folder is reused: in one that everybody can write, a name can be taken.
    parent = Path(environ.get("RUNNER_TEMP") or tempfile.mkdtemp(prefix="alm-enrollments-"))
    platform = f"{sys.implementation.cache_tag} {sysconfig.get_platform()}"
    digest = hashlib.sha256(lock.read_bytes() + platform.encode()).hexdigest()
    folder = parent / f"alm-enrollments-{digest[:16]}"
    if folder.is_dir():
        return folder
    try:
        unfinished = Path(tempfile.mkdtemp(dir=parent, prefix=f"{folder.name}-"))
        try:
            _install(unfinished, _wheels_folder(folder, environ), _Pip(environ, lock, python))
            # Renamed when it is complete: another step may use it from now on.
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        if not folder.is_dir():
            raise UnreachableError(
                f"The action's packages cannot be put into {parent}: {error.strerror}.",
                hint="Nothing was sent; mend it and run again.",
            ) from error
    return folder


def redirect_document(environ: Mapping[str, str]) -> dict[str, str]:
    """Redirect standard output to a new file; return the variable that names it.

    Only this job's user may read the file. Raises OutputError.
    """
    from connector.channels.github import DOCUMENT_FILE  # noqa: PLC0415 - importable only after main
    from connector.errors import OutputError  # noqa: PLC0415 - the same

    try:
        handle, path = tempfile.mkstemp(
            prefix="alm-enrollments-", suffix=".json", dir=environ.get("RUNNER_TEMP") or None
        )
        os.dup2(handle, 1)
    except OSError as error:
        raise OutputError(
            f"The file for the document cannot be written: {error.strerror}.",
            hint="Nothing was sent; make room in the runner's temporary folder.",
        ) from error
    os.close(handle)
    return {DOCUMENT_FILE: path}


def _wheels_folder(folder: Path, environ: Mapping[str, str]) -> Path:
    """Return a folder that outlasts the job, on runners that keep their tools."""
    if tools := environ.get("RUNNER_TOOL_CACHE"):
        wheels = Path(tools, "alm-enrollments", folder.name.split("-")[2])
        # On a runner whose tools are read-only, each job downloads its wheels.
        with contextlib.suppress(OSError):
            wheels.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=wheels).close()
            return wheels
    return Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"{folder.name}-wheels-"))


def _install(folder: Path, wheels: Path, pip: _Pip) -> None:
    """Install from the *wheels* of an earlier job, or else from the index."""
    from connector.errors import UnreachableError  # noqa: PLC0415 - importable only after main

    if any(wheels.iterdir()) and pip.install(wheels, folder) is None:
        return
    with tempfile.TemporaryDirectory(dir=wheels) as downloads:
        # A new folder: among older wheels pip might prefer a foreign one.
        reason = pip.download(Path(downloads)) or pip.install(Path(downloads), folder)
        if reason:
            raise UnreachableError(
                f"The action's packages cannot be installed: {reason}.",
                hint="Nothing was sent. The runner needs pip, which actions/setup-python brings,"
                " and an index: PIP_INDEX_URL names a mirror.",
            )
        # A wheel that cannot be kept is downloaded again by the next job.
        with contextlib.suppress(OSError):
            for wheel in Path(downloads).iterdir():
                wheel.replace(wheels / wheel.name)


@dataclass(frozen=True)
class _Pip:
    """The pip of *python* for the packages of *lock*; returns the reason if it fails."""

    environ: Mapping[str, str]
    lock: Path
    python: str

    def download(self, wheels: Path) -> str | None:
        return self._run("download", "--dest", str(wheels))

    def install(self, wheels: Path, folder: Path) -> str | None:
        options = ("--no-index", "--find-links", str(wheels), "--target", str(folder))
        return self._run("install", *options)

    def _run(self, command: str, *options: str) -> str | None:
        pip = (self.python, "-I", "-m", "pip", "--quiet", "--disable-pip-version-check")
        locked = ("--no-deps", "--require-hashes", "--only-binary", ":all:")
        variables = {
            name: value
            for name, value in self.environ.items()
            if name not in _REMOVED_VARIABLES and not name.startswith("ALM_")
        }
        finished = subprocess.run(  # noqa: S603 - an interpreter's own pip, with words of this module
            [*pip, "--no-input", command, *locked, "--requirement", str(self.lock), *options],
            env={**variables, **_FORCED_VARIABLES},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if finished.returncode == 0:
            return None
        return _reason(finished.stderr) or f"pip ended with exit code {finished.returncode}"


def _reason(stderr: str) -> str:
    """Return pip's errors as one line, without passwords in addresses."""
    lines = [
        line.strip()
        for line in stderr.splitlines()
        if line.strip() and not line.startswith("WARNING")
    ]
    # A traceback quotes pip's settings, the password of an index or a proxy included.
    if any(line.startswith("Traceback ") for line in lines):
        error = re.match(r"[\w.]*(: \[Errno \d+\] [\w ]+)?", lines[-1])
        return f"pip itself failed with {error and error[0]}"
    return re.sub(r"//\S+@", "//***@", " / ".join(lines))[-_MAX_REASON_CHARACTERS:]


def _report(error: ConnectorError, environ: Mapping[str, str]) -> None:
    """Report *error* as the command would, which itself needs the packages."""
    from connector.channels.github import GitHub  # noqa: PLC0415 - importable only after main
    from connector.channels.interface import ChannelContext  # noqa: PLC0415 - the same

    def write_line(line: str) -> None:
        sys.stderr.write(f"{line}\n")

    context = ChannelContext(environ, write_line)
    write_line(f"alm-enrollments: error: {error}")
    if not GitHub.is_available(context):
        return
    github = GitHub(context)
    try:
        github.write_failure(error)
    except OSError as failure:
        write_line(f"alm-enrollments: error: {github.name} cannot be written: {failure.strerror}.")
        github.annotate(error)


if __name__ == "__main__":
    main(os.environ)
