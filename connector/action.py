"""First step of the GitHub Action: install the locked packages once per job, then run the command.

The command's document goes to a file of the job instead of its log, which many people can read.

Needs only the standard library. Started by path and isolated (``python -I``): no file of the
workspace is importable, and the user's Python stays as it is. The packages are those of
``requirements/run.lock``; every installation checks their hashes, wherever the wheels come from.
pip installs in the first job of a runner. Later ones unpack the wheels that it kept, without pip,
which needs two seconds.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import errno
import hashlib
import io
import os
import platform
import re
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

    from connector.channels.github import GitHub
    from connector.errors import ConnectorError

CHECKOUT = Path(__file__).resolve().parents[1]
_LOCK = CHECKOUT / "requirements/run.lock"
# The user's settings that are for pip, from variables and files: index, proxy, certificates. Others
# could add packages, or put them elsewhere.
_PIP_SETTINGS = (
    *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"),
    *("PIP_TRUSTED_HOST", "PIP_CERT", "PIP_CLIENT_CERT", "PIP_PROXY", "PIP_KEYRING_PROVIDER"),
    *("PIP_TIMEOUT", "PIP_DEFAULT_TIMEOUT", "PIP_RETRIES", "PIP_CACHE_DIR", "PIP_NO_CACHE_DIR"),
    *("PIP_USE_FEATURE", "PIP_USE_DEPRECATED"),
)
# Inputs and credentials are not for pip.
_REMOVED_PREFIXES = ("ALM_", "INPUT_", "PIP_")
# A package, its version and its hashes in the lock, and the first two in a wheel's name
# (packaging.python.org, binary distribution format).
_LOCKED = re.compile(r"^([A-Za-z0-9._-]+)==([A-Za-z0-9._!+-]+)((?:.*\\\n)*.*)$", re.MULTILINE)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})\b")
_WHEEL = re.compile(r"([A-Za-z0-9._]+)-([A-Za-z0-9._!+]+)(-[0-9][^-]*)?-[^-]+-[^-]+-[^-]+\.whl")
# The names of the kept wheels, written after them: all that a job on this platform needs.
KEPT_NAMES = "wheels.txt"
# Files that belong elsewhere than into a folder of packages; scripts are not needed.
_ELSEWHERE = re.compile(r"\.data/(?!scripts/)")
MAX_WHEEL_BYTES = 64 * 1024 * 1024
MAX_PIP_SECONDS = 300.0
_MAX_REASON_CHARACTERS = 600
_COMMANDS = ("fetch", "check", "merge", "diff")
_COMMANDS_OF_FILES = ("merge", "diff")


def main(environ: MutableMapping[str, str]) -> None:
    """Install the packages if necessary, and run the command, which ends this process."""
    # Until the command handles it, SIGINT ends the process like any other.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.path.insert(0, str(CHECKOUT))
    from connector.errors import ConnectorError  # noqa: PLC0415 - importable only now

    _remove_other_spellings(environ)
    try:
        sys.argv[1:] = command_line(environ)
        packages = installed_packages(environ)
        if sys.argv[1] != "check":
            os.environ.update(redirect_document(environ))
    except ConnectorError as error:
        _report(error, environ)
        raise SystemExit(error.code) from error
    sys.path.insert(0, str(packages))
    from connector.__main__ import run_command  # noqa: PLC0415 - needs the packages

    run_command(is_action=True)


def _remove_other_spellings(environ: MutableMapping[str, str]) -> None:
    """Remove a job's variables such as ``alm_base_url``, and warn: inputs come from ``with:``."""
    from connector.text import one_line  # noqa: PLC0415 - importable only after main

    for name in sorted(environ):
        if name.upper().startswith("ALM_") and name != name.upper():
            del environ[name]
            text = f"The variable {one_line(name)} is ignored: inputs come from `with:` only."
            _write_line(f"alm-enrollments: warning: {text}")
            if github := _github(environ):
                github.warn(text)


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
        problems.append(Problem("files", f"set for {command}", "only for merge and diff"))
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
    environ: Mapping[str, str],
    *,
    lock: Path = _LOCK,
    python: str = sys.executable,
    pip_seconds: float = MAX_PIP_SECONDS,
) -> Path:
    """Return the job's folder with the packages of *lock*, filled at its first use.

    Raises UnreachableError if it cannot be filled.
    """
    from connector.errors import UnreachableError  # noqa: PLC0415 - importable only after main

    # Only a runner's folder is reused: in one that everybody can write, a name can be taken.
    parent = Path(environ.get("RUNNER_TEMP") or tempfile.mkdtemp(prefix="alm-enrollments-"))
    digest = hashlib.sha256(lock.read_bytes() + _platform().encode()).hexdigest()[:16]
    folder = parent / f"alm-enrollments-{digest}"
    if _is_own(folder):
        return folder
    cache = None
    if tools := environ.get("RUNNER_TOOL_CACHE"):
        cache = Path(tools, "alm-enrollments", digest)
    try:
        # Only this user can enter it.
        private = Path(tempfile.mkdtemp(dir=parent, prefix=f"{folder.name}-"))
        try:
            packages = private / "packages"
            packages.mkdir(mode=0o700)
            _install(packages, cache, _Pip(environ, lock, python, pip_seconds))
            # Renamed when it is complete: another step may use it from now on.
            packages.rename(folder)
        finally:
            shutil.rmtree(private, ignore_errors=True)
    except OSError as error:
        if not _is_own(folder):
            raise UnreachableError(
                f"The action's packages cannot be written to {parent}: {error.strerror}.",
                hint="Nothing was sent. Fix this and run again.",
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
            hint="Nothing was sent. Free space in the runner's temporary folder.",
        ) from error
    os.close(handle)
    return {DOCUMENT_FILE: path}


def _is_own(folder: Path) -> bool:
    """Return whether *folder* exists, and only this user and root can have written to it."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    if not stat.S_ISDIR(status.st_mode):
        return False
    # On Windows the mode says nothing about other users.
    user_id = os.geteuid() if hasattr(os, "geteuid") else status.st_uid
    may_others_write = os.name == "posix" and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return status.st_uid in (0, user_id) and not may_others_write


def _install(packages: Path, cache: Path | None, pip: _Pip) -> None:
    """Install the wheels of an earlier job in *cache*, or else those of the index."""
    from connector.errors import UnreachableError  # noqa: PLC0415 - importable only after main

    if _unpack_kept(packages, cache, pip.lock):
        return
    # What a failed installation leaves, the next one would keep.
    shutil.rmtree(packages)
    downloads = packages.with_name("downloads")
    for folder in (packages, downloads):
        folder.mkdir(mode=0o700)
    # A new folder: among older wheels pip might prefer a foreign one.
    reason = pip.download(downloads) or pip.install(downloads, packages)
    if reason:
        raise UnreachableError(
            f"The action's packages cannot be installed: {reason}.",
            hint="Nothing was sent. The runner needs pip, which actions/setup-python brings,"
            " and an index: PIP_INDEX_URL names a mirror.",
        )
    _keep_wheels(downloads, cache)


def _platform() -> str:
    """Return what decides which wheels fit: the interpreter, the system, and its C library."""
    soabi = sysconfig.get_config_var("SOABI")
    library = ""
    # Not known to musl, whose wheels SOABI tells apart.
    with contextlib.suppress(AttributeError, ValueError, OSError):
        library = os.confstr("CS_GNU_LIBC_VERSION") or ""
    system = "" if sys.platform == "linux" else platform.release()
    return f"{sys.implementation.cache_tag} {sysconfig.get_platform()} {soabi} {library} {system}"


def _unpack_kept(packages: Path, cache: Path | None, lock: Path) -> bool:
    """Unpack the wheels of an earlier job in *cache*; return ``False`` if it has not all of them.

    The bytes unpacked are those whose hash was checked: nobody can exchange a wheel in between.
    """
    if cache is None or not (_is_own(cache.parent) and _is_own(cache)):
        return False
    locked = _locked_hashes(lock)
    try:
        names = _read_regular(cache / KEPT_NAMES).decode().split()
        for name in names:
            match = _WHEEL.fullmatch(name)
            hashes = locked.get(_canonical(match[1], match[2])) if match else None
            content = _read_regular(cache / name) if hashes else b""
            if hashlib.sha256(content).hexdigest() not in (hashes or ()):
                return False
            with zipfile.ZipFile(io.BytesIO(content)) as wheel:
                if any(map(_ELSEWHERE.search, wheel.namelist())):
                    return False
                wheel.extractall(packages)
    except (OSError, ValueError, zipfile.BadZipFile):
        return False
    return bool(names)


def _locked_hashes(lock: Path) -> dict[tuple[str, str], set[str]]:
    """Return the hashes of each package's wheels, by its name and version."""
    return {
        _canonical(name, version): set(_HASH.findall(rest))
        for name, version, rest in _LOCKED.findall(lock.read_text("utf-8"))
    }


def _canonical(name: str, version: str) -> tuple[str, str]:
    return re.sub(r"[-_.]+", "-", name).lower(), version


def _read_regular(path: Path) -> bytes:
    """Return the content of *path*. Raises OSError if it is no regular file, or too large."""
    # Windows has neither; there, links need rights that other users do not have.
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0)
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_WHEEL_BYTES:
            raise OSError(errno.EINVAL, "It is no wheel", str(path))
        return file.read(status.st_size)


def _keep_wheels(downloads: Path, cache: Path | None) -> None:
    """Keep the wheels in *downloads* for the next job, on runners that keep their tools."""
    if cache is None:
        return
    # A wheel that cannot be kept is downloaded again by the next job.
    with contextlib.suppress(OSError):
        for folder in (cache.parent, cache):
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            if not _is_own(folder):
                return
        with tempfile.TemporaryDirectory(dir=cache) as unfinished:
            for wheel in downloads.iterdir():
                copy = Path(shutil.copyfile(wheel, Path(unfinished, wheel.name)))
                copy.replace(cache / wheel.name)
            listed = Path(unfinished, KEPT_NAMES)
            listed.write_text("\n".join(wheel.name for wheel in downloads.iterdir()), "utf-8")
            listed.replace(cache / KEPT_NAMES)


@dataclass(frozen=True)
class _Pip:
    """The pip of *python* for the packages of *lock*; returns the reason if it fails.

    A command may take *seconds*.
    """

    environ: Mapping[str, str]
    lock: Path
    python: str
    seconds: float

    def download(self, wheels: Path) -> str | None:
        return self._run_locked("download", "--dest", str(wheels), settings=self._settings())

    def install(self, wheels: Path, folder: Path) -> str | None:
        options = ("--no-index", "--find-links", str(wheels), "--target", str(folder))
        return self._run_locked("install", *options, settings={})

    def _settings(self) -> dict[str, str]:
        """Return variables for those of the user's settings that are for pip."""
        name = "PIP_CONFIG_FILE"
        file = {name: self.environ[name]} if name in self.environ else {}
        listed, _ = self._run("config", "list", settings=file)
        settings: dict[str, str] = {}
        # Those for the command have precedence over those for all.
        for section in ("global", "download"):
            for name, text in re.findall(rf"^{section}\.([a-z-]+)=(.+)$", listed, re.MULTILINE):
                with contextlib.suppress(ValueError, SyntaxError):
                    settings[f"PIP_{name.upper().replace('-', '_')}"] = str(ast.literal_eval(text))
        settings |= {name: value for name, value in self.environ.items() if value}
        return {name: settings[name] for name in _PIP_SETTINGS if name in settings}

    def _run_locked(self, command: str, *options: str, settings: Mapping[str, str]) -> str | None:
        locked = ("--no-deps", "--require-hashes", "--only-binary", ":all:")
        arguments = ("--quiet", command, *locked, "--requirement", str(self.lock), *options)
        # No file of settings is read: what it may have, the variables have.
        _, reason = self._run(*arguments, settings={**settings, "PIP_CONFIG_FILE": os.devnull})
        return reason

    def _run(self, *arguments: str, settings: Mapping[str, str]) -> tuple[str, str | None]:
        """Return what pip prints, and the reason if it fails."""
        pip = (self.python, "-I", "-m", "pip", "--disable-pip-version-check", "--no-input")
        variables = {
            name: value
            for name, value in self.environ.items()
            if not name.upper().startswith(_REMOVED_PREFIXES)
        }
        try:
            finished = subprocess.run(  # noqa: S603 - an interpreter's own pip, with words of this module
                [*pip, *arguments],
                env={**variables, **settings},
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=self.seconds,
            )
        except subprocess.TimeoutExpired:
            return "", f"pip did not end within {self.seconds:g} s"
        if finished.returncode == 0:
            return finished.stdout, None
        failure = f"pip ended with exit code {finished.returncode}"
        return "", _reason(finished.stderr) or failure


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
    _write_line(f"alm-enrollments: error: {error}")
    github = _github(environ)
    if github is None:
        return
    try:
        github.write_failure(error)
    except OSError as failure:
        _write_line(f"alm-enrollments: error: {github.name} cannot be written: {failure.strerror}.")
        github.annotate(error)


def _github(environ: Mapping[str, str]) -> GitHub | None:
    from connector.channels.github import GitHub  # noqa: PLC0415 - importable only after main
    from connector.channels.interface import ChannelContext  # noqa: PLC0415 - the same

    context = ChannelContext(environ, _write_line)
    return GitHub(context) if GitHub.is_available(context) else None


def _write_line(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    main(os.environ)
