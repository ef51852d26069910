"""podman, and the project's images: its own Dockerfile on a base made of this machine's Python."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CHECKOUT = Path(__file__).parents[3]
BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
# What the Dockerfile's commands need besides Python.
TOOLS = ("cp", "find", "mkdir", "rm", "sh")
# Packages with native code, which may need more libraries than Python.
NATIVE = ("jsonschema_rs", "msgspec", "pydantic_core", "rpds")
# The base has no bytecode and no tests either (docker-library/python, 3.13/slim-trixie/Dockerfile).
NOT_COPIED = (
    "__pycache__",
    "config-*",
    "dist-packages",
    "idlelib",
    "lib2to3",
    "site-packages",
    "test",
    "tests",
    "tkinter",
    "turtledemo",
)
# The settings of pip that lead to an index; the others are about this machine's own files.
INDEX = ("extra-index-url", "index-url", "proxy", "timeout", "trusted-host")


@cache
def environ() -> dict[str, str]:
    """Return the variables that podman needs; the first call installs it if necessary."""
    found = subprocess.run(
        [CHECKOUT / "tests/integrations/container/install"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.strip()
    proxies = ("http_proxy", "https_proxy", "no_proxy")
    kept = ("HOME", "PATH", *proxies, *map(str.upper, proxies))
    return {
        "CONTAINERS_CONF": found,
        **{name: os.environ[name] for name in kept if name in os.environ},
    }


def as_root(*argv: str) -> list[str]:
    """Return the command line that runs *argv* as root, in ``environ()``."""
    if os.geteuid() == 0:
        return [*argv]
    return [
        "sudo",
        "--non-interactive",
        "env",
        *(f"{name}={value}" for name, value in environ().items()),
        *argv,
    ]


def command(*arguments: str | Path) -> list[str]:
    """Return the command line of podman with *arguments*."""
    return as_root("podman", *map(str, arguments))


def podman(*arguments: str | Path) -> str:
    """Return what podman prints for *arguments*; raise its message if it fails."""
    finished = subprocess.run(
        command(*arguments), env=environ(), capture_output=True, text=True, check=False
    )
    if finished.returncode:
        raise RuntimeError(f"podman {arguments[0]}: {finished.stderr}")
    return finished.stdout.strip()


@cache
def base() -> str:
    """Return the image that replaces the Dockerfile's base, built once per machine."""
    name = f"localhost/alm-enrollments-base:{_digest([Path(__file__)], sys.version)}"
    with _locked():
        if not _exists(name):
            with tempfile.TemporaryDirectory() as folder:
                root, archive = Path(folder, "root"), Path(folder, "root.tar")
                _fill(root)
                subprocess.run(
                    ["tar", "-C", root, "--owner=0", "--group=0", "-cf", archive, "."], check=True
                )
                podman(
                    "import",
                    "--quiet",
                    "--change",
                    "ENV PATH=/usr/local/bin:/usr/bin:/bin",
                    "--change",
                    'CMD ["python3"]',
                    archive,
                    name,
                )
    return name


@cache
def image(target: str = "runtime") -> str:
    """Return the project's image *target*, built once per machine and content."""
    name = f"localhost/alm-enrollments:{target}-{_digest(_context(), base())}"
    with _locked():
        if not _exists(name):
            build(name, "--target", target)
    return name


def build(name: str, *options: str | Path, context: Path = CHECKOUT) -> None:
    """Build *name* from the unchanged Dockerfile in *context*."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder, "pip.conf")
        settings.write_text(_pip_settings(), encoding="utf-8")
        # The mounts exist only during the build.
        mounts = ("--volume", f"{settings}:/etc/pip.conf:ro", "--volume", f"{BUNDLE}:{BUNDLE}:ro")
        podman(
            "build",
            "--quiet",
            "--from",
            base(),
            "--network",
            "host",
            *mounts,
            "--tag",
            name,
            *options,
            context,
        )


def _fill(root: Path) -> None:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    library = root / "usr/local/lib" / version
    shutil.copytree(
        sysconfig.get_path("stdlib"),
        library,
        symlinks=True,
        ignore=shutil.ignore_patterns(*NOT_COPIED),
    )
    pip = importlib.util.find_spec("pip")
    assert pip is not None
    assert pip.origin is not None
    shutil.copytree(
        Path(pip.origin).parent,
        library / "site-packages/pip",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    for folder in ("bin", "etc/ssl/certs", "proc", "tmp", "usr/local/bin"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n", encoding="utf-8")
    python = root / "usr/local/bin" / version
    shutil.copy(Path(sys.base_prefix, "bin", version).resolve(), python)
    (python.parent / "python3").symlink_to(version)
    tools = [Path(shutil.which(tool) or tool) for tool in TOOLS]
    for tool in tools:
        shutil.copy(tool, root / "bin" / tool.name)
    packages = Path(sysconfig.get_path("platlib"))
    native = [path for name in NATIVE for path in packages.glob(f"{name}/*.so")]
    _copy_libraries(root, [python, *tools, *native, *library.glob("lib-dynload/*.so")])


def _copy_libraries(root: Path, programs: Iterable[Path]) -> None:
    """Copy the libraries of *programs* to the folder where the loader searches."""
    printed = subprocess.run(
        ["ldd", *programs],
        # Next to its old place, Python may find its own library.
        env={**os.environ, "LD_LIBRARY_PATH": str(Path(sys.base_prefix, "lib"))},
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    found = {
        name: Path(path)
        for name, path in re.findall(r"^\s+(\S+) => (/\S+) \(", printed, flags=re.MULTILINE)
    }
    for name, path in found.items():
        target = root / found["libc.so.6"].parent.relative_to("/") / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    (loader,) = set(re.findall(r"^\s+(/\S+/ld-\S+) \(", printed, flags=re.MULTILINE))
    (root / loader[1:]).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(loader, root / loader[1:])


def _pip_settings() -> str:
    printed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    pairs = re.findall(r"^(?:global|install|:env:)\.([\w-]+)='(.*)'$", printed, flags=re.MULTILINE)
    kept = {name.removeprefix("default-"): value for name, value in pairs if "file:" not in value}
    return "\n".join(
        [
            "[global]",
            f"cert = {BUNDLE}",
            *(f"{name} = {kept[name]}" for name in INDEX if name in kept),
            "",
        ]
    )


def _context() -> Iterator[Path]:
    yield from (
        CHECKOUT / name
        for name in ("Dockerfile", ".dockerignore", "LICENSE", "requirements/serve.lock")
    )
    for folder in ("connector", "schemas"):
        yield from sorted(
            path
            for path in (CHECKOUT / folder).rglob("*")
            if path.is_file() and not {"__pycache__", "airflow"} & {*path.parts}
        )


def _digest(files: Iterable[Path], salt: str) -> str:
    digest = hashlib.sha256(salt.encode())
    for path in files:
        digest.update(f"{path.name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _exists(name: str) -> bool:
    return (
        subprocess.run(command("image", "exists", name), env=environ(), check=False).returncode == 0
    )


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Let one process of this machine at a time into the block."""
    path = Path(environ()["CONTAINERS_CONF"]).with_name("lock")
    with path.open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
