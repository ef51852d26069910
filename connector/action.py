"""What the GitHub Action runs: its own packages, once a job and beside the user's, then the command. Standard library alone.

Started by path and isolated (``python -I``): nothing of the workspace is on the module path, and the user's
Python stays as it is. The packages are those of ``requirements/run.lock``, held to its hashes at every installation,
wherever the wheels come from.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from connector.errors import ConnectorError

CHECKOUT = Path(__file__).resolve().parents[1]
_LOCK = CHECKOUT / "requirements/run.lock"
_PIP = ("-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input")
_WHAT = ("--no-deps", "--require-hashes", "--only-binary", ":all:", "--requirement", str(_LOCK))
# What the user tells pip stays (an index, a proxy, a certificate), but for where packages go and for what they are made.
_LEFT_OUT = (
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
# The same where a file says so, over which a variable goes.
_PUT_RIGHT = {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0"}
_LONGEST_REASON = 600


def main(environ: Mapping[str, str]) -> None:
    """Install the packages where they are not yet, and run the command in this process, which it ends."""
    # Until the command takes over, a signal ends the process as any other.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.path.insert(0, str(CHECKOUT))
    from connector.errors import ConnectorError  # noqa: PLC0415 - importable only now

    try:
        packages = installed_packages(environ)
    except ConnectorError as error:
        raise SystemExit(_fail(error, environ)) from error
    sys.path.insert(0, str(packages))
    from connector.__main__ import run_command  # noqa: PLC0415 - needs the packages

    run_command()


def installed_packages(environ: Mapping[str, str]) -> Path:
    """Return the folder with the lock's packages for this Python; one of the job's own, filled by its first use.

    Raises UnreachableError where it cannot be filled.
    """
    from connector.errors import UnreachableError  # noqa: PLC0415

    # Elsewhere than on a runner nothing is reused: in a folder that everyone can write, a name can be taken.
    home = Path(environ.get("RUNNER_TEMP") or tempfile.mkdtemp(prefix="alm-enrollments-"))
    kind = f"{sys.implementation.cache_tag} {sysconfig.get_platform()}"
    folder = (
        home
        / f"alm-enrollments-{hashlib.sha256(_LOCK.read_bytes() + kind.encode()).hexdigest()[:16]}"
    )
    if folder.is_dir():
        return folder
    try:
        unfinished = Path(tempfile.mkdtemp(dir=home, prefix=f"{folder.name}-"))
        try:
            _install(unfinished, environ)
            # Under its name a folder is whole: a step beside this one may use it from now on.
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        if not folder.is_dir():
            raise UnreachableError(
                f"The action's packages cannot be put into {home}: {error.strerror}.",
                hint="Nothing was sent; mend it and run again.",
            ) from error
    return folder


def _install(folder: Path, environ: Mapping[str, str]) -> None:
    """Install from the wheels of an earlier job, or fetch them and then do."""
    from connector.errors import UnreachableError  # noqa: PLC0415

    wheels = _wheels_folder(folder, environ)
    install = ("install", *_WHAT, "--no-index", "--target", str(folder), "--find-links")
    if any(wheels.iterdir()) and _pip((*install, str(wheels)), environ) is None:
        return
    with tempfile.TemporaryDirectory(dir=wheels) as fetched:
        # From where nothing else lies: a foreign wheel that pip would rather take cannot come between.
        reason = _pip(("download", *_WHAT, "--dest", fetched), environ) or _pip(
            (*install, fetched), environ
        )
        if reason:
            raise UnreachableError(
                f"The action's packages cannot be installed: {reason}.",
                hint="Nothing was sent. The runner needs pip, which actions/setup-python brings, and an index:"
                " PIP_INDEX_URL names a mirror.",
            )
        # What cannot be kept is fetched anew in the next job.
        with contextlib.suppress(OSError):
            for wheel in Path(fetched).iterdir():
                wheel.replace(wheels / wheel.name)


def _wheels_folder(folder: Path, environ: Mapping[str, str]) -> Path:
    """Return where wheels outlast the job, on runners that keep their tools; their hashes are judged anew each time."""
    if tools := environ.get("RUNNER_TOOL_CACHE"):
        kept = Path(tools, "alm-enrollments", folder.name.split("-")[2])
        # A runner whose tools are read-only fetches its wheels in each job.
        with contextlib.suppress(OSError):
            kept.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=kept).close()
            return kept
    return Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"{folder.name}-wheels-"))


def _pip(command: tuple[str, ...], environ: Mapping[str, str]) -> str | None:
    """Return why pip could not do *command*; ``None`` where it could."""
    told = {
        name: value
        for name, value in environ.items()
        if name not in _LEFT_OUT and not name.startswith("ALM_")
    }
    finished = subprocess.run(  # noqa: S603 - this Python's own pip, with words of this module
        [sys.executable, "-I", *_PIP, *command],
        env={**told, **_PUT_RIGHT},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if finished.returncode == 0:
        return None
    return _said(finished.stderr) or f"pip ended with exit code {finished.returncode}"


def _said(stderr: str) -> str:
    lines = [
        line.strip()
        for line in stderr.splitlines()
        if line.strip() and not line.startswith("WARNING")
    ]
    # A traceback quotes what pip was told, an index's or a proxy's password included.
    if any(line.startswith("Traceback ") for line in lines):
        kind = re.match(r"[\w.]*(: \[Errno \d+\] [\w ]+)?", lines[-1])
        return f"pip itself failed with {kind and kind[0]}"
    return re.sub(r"//\S+@", "//***@", " / ".join(lines))[-_LONGEST_REASON:]


def _fail(error: ConnectorError, environ: Mapping[str, str]) -> int:
    """Tell *error* as the command would, whose own way needs the packages; return its exit code."""
    from connector.channels.github import GitHub  # noqa: PLC0415
    from connector.channels.interface import Place  # noqa: PLC0415

    def say(line: str) -> None:
        sys.stderr.write(f"{line}\n")

    say(f"alm-enrollments: error: {error}")
    place = Place(environ, say)
    if GitHub.is_there(place):
        github = GitHub(place)
        try:
            github.write_failure(error)
        except OSError as unwritten:
            say(f"alm-enrollments: error: {github.name} cannot be written: {unwritten.strerror}.")
            github.annotate(error)
    return error.code


if __name__ == "__main__":
    main(os.environ)
