"""The installer of the action: an index, a lock and a job on loopback and in temporary folders."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

import pytest

from connector.action import KEPT_NAMES, _platform
from tests.support.process import needed_variables

WHEEL = "probe-1.0-py3-none-any.whl"
# Creates a file per --dest and --target, and writes down each call and its variables.
FAKE_PYTHON = """#!/bin/sh
echo "$@" >> "$RECORD"
case "$*" in *"config list"*) echo "$LISTED"; exit ;; esac
for command in download install; do
    case " $* " in *" $command "*) env > "$RECORD.$command" ;; esac
done
while [ $# -gt 1 ]; do
    case "$1" in --dest|--target) : > "$2/probe.whl" ;; esac
    shift
done
"""


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """Return an index that has only one wheel, which is nearly empty."""
    project = tmp_path / "index/probe"
    project.mkdir(parents=True)
    (project / "index.html").write_text(f'<a href="{WHEEL}">{WHEEL}</a>')
    info = "probe-1.0.dist-info"
    with zipfile.ZipFile(project / WHEEL, "w") as wheel:
        wheel.writestr("probe.py", "")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: probe\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n")
        wheel.writestr(f"{info}/RECORD", "")
    return tmp_path / "index"


@pytest.fixture
def lock(tmp_path: Path, index: Path) -> Path:
    """Return a lock that has only that wheel."""
    digest = hashlib.sha256((index / "probe" / WHEEL).read_bytes()).hexdigest()
    path = tmp_path / "run.lock"
    path.write_text(f"probe==1.0 --hash=sha256:{digest}\n")
    return path


@pytest.fixture
def environ(tmp_path: Path, index: Path) -> dict[str, str]:
    """Return the variables of a new job on a new runner."""
    for name in ("temp", "tools", "home"):
        (tmp_path / name).mkdir()
    return {
        **needed_variables(),
        "HOME": str(tmp_path / "home"),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": index.as_uri(),
        "PIP_NO_CACHE_DIR": "1",
        "LISTED": "",
        "RECORD": str(tmp_path / "record"),
        "RUNNER_TEMP": str(tmp_path / "temp"),
        "RUNNER_TOOL_CACHE": str(tmp_path / "tools"),
    }


@pytest.fixture
def cached_wheel(environ: dict[str, str], lock: Path, index: Path) -> Path:
    """Return the wheel that an earlier job left with the runner's tools."""
    name = packages_folder(environ, lock).name.removeprefix("alm-enrollments-")
    wheel = Path(environ["RUNNER_TOOL_CACHE"], "alm-enrollments", name, WHEEL)
    wheel.parent.mkdir(parents=True)
    wheel.write_bytes((index / "probe" / WHEEL).read_bytes())
    wheel.with_name(KEPT_NAMES).write_text(WHEEL)
    return wheel


@pytest.fixture
def fake_python(tmp_path: Path) -> str:
    """Return a Python whose pip does nothing but create files."""
    path = tmp_path / "python"
    path.write_text(FAKE_PYTHON)
    path.chmod(0o755)
    return str(path)


def packages_folder(environ: dict[str, str], lock: Path) -> Path:
    """Return the folder of the packages of *lock*."""
    digest = hashlib.sha256(lock.read_bytes() + _platform().encode()).hexdigest()[:16]
    return Path(environ["RUNNER_TEMP"], f"alm-enrollments-{digest}")


def without_index(environ: dict[str, str]) -> dict[str, str]:
    """Return *environ* with an index that cannot be reached, and whose address has a password."""
    url = "https://reader:hunter2-hunter2@127.0.0.1:9/simple/"
    return {**environ, "PIP_INDEX_URL": url, "PIP_RETRIES": "0"}
