"""The action's installer: hashes with a real pip and a tiny wheel, the rest with a fake pip."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from connector import action
from connector.action import CHECKOUT, KEPT_NAMES, installed_packages
from connector.errors import OutputError, UnreachableError
from tests.action.conftest import fake_pip
from tests.support.installer import (
    WHEEL,
    cached_wheel,
    environ,
    fake_python,
    index,
    lock,
    packages_folder,
    without_index,
)
from tests.support.sandbox import NOTE

__all__ = ["cached_wheel", "environ", "fake_python", "index", "lock"]

HINT = (
    "Nothing was sent. The runner needs pip, which actions/setup-python brings,"
    " and an index: PIP_INDEX_URL names a mirror."
)
UNWANTED = re.compile("ALM_|INPUT_|PIP_", re.IGNORECASE).match


def run(environ: dict[str, str], python: str) -> subprocess.CompletedProcess[str]:
    """Run the action's step for the sandbox's documented user."""
    inputs = {"ALM_BASE_URL": "sandbox", "ALM_USER_ID": "20941371"}
    command = [python, "-I", "-u", "-X", "utf8", str(CHECKOUT / "connector/action.py")]
    return subprocess.run(
        command, env={**environ, **inputs}, capture_output=True, text=True, timeout=60, check=False
    )


def test_installed_packages__first_use(environ: dict[str, str], lock: Path) -> None:
    """The first use fills a folder of the job, and keeps the wheels with the runner's tools."""
    folder = installed_packages(environ, lock=lock)

    assert folder == packages_folder(environ, lock)
    assert (folder / "probe.py").is_file()
    assert [path.name for path in Path(environ["RUNNER_TOOL_CACHE"]).rglob("*.whl")] == [WHEEL]
    assert list(Path(environ["RUNNER_TEMP"]).iterdir()) == [folder]


def test_installed_packages__second_use(environ: dict[str, str], lock: Path) -> None:
    """The second use of a job runs no pip."""
    folder = packages_folder(environ, lock)
    folder.mkdir()

    assert installed_packages(environ, lock=lock, python="/missing/python") == folder
    assert list(folder.iterdir()) == []


def test_installed_packages__next_job(
    cached_wheel: Path, environ: dict[str, str], lock: Path
) -> None:
    """The next job on a runner installs the earlier job's wheels, without an index and pip."""
    folder = installed_packages(environ, lock=lock, python="/missing/python")

    assert (folder / "probe.py").is_file()
    assert cached_wheel.is_file()


def test_installed_packages__two_jobs(environ: dict[str, str], lock: Path) -> None:
    """What a job keeps is all that the next one needs."""
    installed_packages(environ, lock=lock)
    shutil.rmtree(environ["RUNNER_TEMP"])
    Path(environ["RUNNER_TEMP"]).mkdir()

    folder = installed_packages(environ, lock=lock, python="/missing/python")

    assert (folder / "probe.py").is_file()


@pytest.mark.parametrize(
    "names", ["", f"{WHEEL}\nother-1.0-py3-none-any.whl", f"../{WHEEL}", "\xff", None]
)
def test_installed_packages__wheels_that_are_not_there(
    names: str | None, cached_wheel: Path, environ: dict[str, str], lock: Path
) -> None:
    """If one of the listed wheels is missing, or the list, all are downloaded again."""
    with lock.open("a") as file:
        file.write(f"other==1.0 ; python_version < '3' --hash=sha256:{64 * '0'}\n")
    kept = packages_folder(environ, lock).name.removeprefix("alm-enrollments-")
    folder = cached_wheel.parent.rename(cached_wheel.parent.with_name(kept))
    (folder / KEPT_NAMES).unlink()
    if names is not None:
        (folder / KEPT_NAMES).write_text(names, "latin-1")

    with pytest.raises(UnreachableError, match="cannot be installed"):
        installed_packages(environ, lock=lock, python="/bin/false")
    assert (installed_packages(environ, lock=lock) / "probe.py").is_file()

    assert (folder / KEPT_NAMES).read_text() == WHEEL


def test_installed_packages__wheel_with_files_for_elsewhere(
    cached_wheel: Path, environ: dict[str, str], lock: Path
) -> None:
    """Only pip installs a wheel that has files for other folders than that of the packages."""
    with zipfile.ZipFile(cached_wheel, "a") as wheel:
        wheel.writestr("probe-1.0.data/purelib/more.py", "")
    digest = hashlib.sha256(cached_wheel.read_bytes()).hexdigest()
    lock.write_text(f"probe==1.0 \\\n    --hash=sha256:{digest}\n")
    kept = packages_folder(environ, lock).name.removeprefix("alm-enrollments-")
    cached_wheel.parent.rename(cached_wheel.parent.with_name(kept))

    with pytest.raises(UnreachableError, match="pip ended with exit code 1"):
        installed_packages(environ, lock=lock, python="/bin/false")


@pytest.mark.parametrize("name", [WHEEL, "probe-1.0-1-py3-none-any.whl"])
def test_installed_packages__foreign_wheel(
    name: str, cached_wheel: Path, environ: dict[str, str], lock: Path
) -> None:
    """A wheel without the lock's hash is not installed, and the locked one downloaded again."""
    original = cached_wheel.read_bytes()
    foreign = cached_wheel.with_name(name)
    foreign.write_bytes(original)
    with zipfile.ZipFile(foreign, "a") as archive:
        archive.writestr("pwned.py", "")

    folder = installed_packages(environ, lock=lock)

    assert (folder / "probe.py").is_file()
    assert not (folder / "pwned.py").exists()
    assert cached_wheel.read_bytes() == original


def test_installed_packages__foreign_wheel_without_index(
    cached_wheel: Path, environ: dict[str, str], lock: Path
) -> None:
    """If the locked wheel cannot be downloaded again, no folder of packages appears."""
    with zipfile.ZipFile(cached_wheel, "a") as archive:
        archive.writestr("pwned.py", "")

    with pytest.raises(UnreachableError, match="ERROR: Could not find a version") as raised:
        installed_packages(without_index(environ), lock=lock)

    assert raised.value.hint == HINT
    assert list(Path(environ["RUNNER_TEMP"]).iterdir()) == []


def test_installed_packages__lock_without_hashes(environ: dict[str, str], lock: Path) -> None:
    """A lock without hashes installs nothing."""
    lock.write_text("probe\n")

    with pytest.raises(UnreachableError, match="ERROR: In --require-hashes mode"):
        installed_packages(environ, lock=lock)


def test_installed_packages__pip_settings(
    environ: dict[str, str], lock: Path, tmp_path: Path
) -> None:
    """The user's settings of where, and for which Python, pip installs are ignored."""
    config = tmp_path / "pip.conf"
    config.write_text("[global]\nuser = true\nrequire-virtualenv = true\n")
    elsewhere = dict.fromkeys(
        ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_PYTHON"), str(tmp_path / "elsewhere")
    )
    others = {
        "PIP_PLATFORM": "win32",
        "PIP_PYTHON_VERSION": "3.8",
        "PIP_ABI": "cp38",
        "PIP_IMPLEMENTATION": "pp",
        "PIP_NO_BINARY": ":all:",
    }
    switches = dict.fromkeys(("PIP_USER", "PIP_REQUIRE_VIRTUALENV", "PIP_DRY_RUN"), "1")
    settings = {**elsewhere, **others, **switches, "PIP_CONFIG_FILE": str(config)}

    folder = installed_packages({**environ, **settings}, lock=lock)

    assert (folder / "probe.py").is_file()
    assert not (tmp_path / "elsewhere").exists()


def test_installed_packages__arguments_of_pip(
    environ: dict[str, str], lock: Path, fake_python: str
) -> None:
    """The installer's pip gets the job's variables except ALM's, and may not ask questions."""
    secrets = {"ALM_ACCESS_TOKEN": "s3cret", "alm_x": "s3cret", "INPUT_X": "x", "PIP_TARGET": "x"}

    installed_packages({**environ, **secrets}, lock=lock, python=fake_python)

    variables = set(Path(f"{environ['RECORD']}.install").read_text().splitlines())
    settings = {name for name in environ if name.startswith("PIP_")}
    others = {f"{name}={environ[name]}" for name in environ.keys() - settings}
    assert variables >= {*others, f"PIP_CONFIG_FILE={os.devnull}"}
    assert not [line for line in variables - {f"PIP_CONFIG_FILE={os.devnull}"} if UNWANTED(line)]
    pip = "-I -m pip --disable-pip-version-check --no-input"
    locked = f"--no-deps --require-hashes --only-binary :all: --requirement {lock}"
    listing, download, install = Path(environ["RECORD"]).read_text().splitlines()
    assert listing == f"{pip} config list"
    assert download.startswith(f"{pip} --quiet download {locked} --dest ")
    assert install.startswith(f"{pip} --quiet install {locked} --no-index --find-links ")


def test_installed_packages__another_lock(
    environ: dict[str, str], lock: Path, fake_python: str
) -> None:
    """Each lock has its own folder: two versions of the action in a job share no packages."""
    first = installed_packages(environ, lock=lock, python=fake_python)
    lock.write_text("# changed\n")

    second = installed_packages(environ, lock=lock, python=fake_python)

    assert first != second
    assert sorted(Path(environ["RUNNER_TEMP"]).iterdir()) == sorted([first, second])


def test_installed_packages__two_at_once(
    environ: dict[str, str], lock: Path, fake_python: str
) -> None:
    """Two concurrent first uses get the same complete folder, and no other stays."""
    with ThreadPoolExecutor(2) as pool:
        uses = [
            pool.submit(installed_packages, environ, lock=lock, python=fake_python)
            for _ in range(2)
        ]
        first, second = (use.result() for use in uses)

    assert first == second
    assert (first / "probe.whl").is_file()
    assert list(Path(environ["RUNNER_TEMP"]).iterdir()) == [first]


@pytest.mark.parametrize("tools", ["", "file"])
def test_installed_packages__no_cache(
    tools: str, environ: dict[str, str], lock: Path, fake_python: str, tmp_path: Path
) -> None:
    """On a runner that keeps no tools, wheels are downloaded into the job's folder."""
    (tmp_path / "file").touch()
    environ["RUNNER_TOOL_CACHE"] = str(tmp_path / tools) if tools else ""

    folder = installed_packages(environ, lock=lock, python=fake_python)

    assert (folder / "probe.whl").is_file()


def test_installed_packages__wheel_cannot_be_kept(
    cached_wheel: Path, environ: dict[str, str], lock: Path, fake_python: str
) -> None:
    """If a wheel cannot be kept for the next job, this job continues."""
    cached_wheel.unlink()
    (cached_wheel.parent / "probe.whl").mkdir()

    folder = installed_packages(environ, lock=lock, python=fake_python)

    assert (folder / "probe.whl").is_file()


def test_installed_packages__missing_folder(
    environ: dict[str, str], lock: Path, tmp_path: Path
) -> None:
    """If the job's folder does not exist, the error says so."""
    missing = str(tmp_path / "missing")

    with pytest.raises(UnreachableError) as raised:
        installed_packages({**environ, "RUNNER_TEMP": missing}, lock=lock)

    assert str(raised.value) == (
        f"The action's packages cannot be written to {missing}: No such file or directory."
        " Nothing was sent. Fix this and run again."
    )


def test_installed_packages__silent_pip(environ: dict[str, str], lock: Path) -> None:
    """If pip fails without a word, the error has its exit code."""
    with pytest.raises(UnreachableError) as raised:
        installed_packages(environ, lock=lock, python="/bin/false")

    assert raised.value.message == (
        "The action's packages cannot be installed: pip ended with exit code 1."
    )


def test_installed_packages__not_on_a_runner(
    environ: dict[str, str], lock: Path, fake_python: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a folder of the job nothing is reused: others may write to a common folder."""
    packages_folder(environ, lock).mkdir()
    monkeypatch.setattr("tempfile.tempdir", environ["RUNNER_TEMP"])

    folder = installed_packages({**environ, "RUNNER_TEMP": ""}, lock=lock, python=fake_python)

    assert folder.parent.parent == Path(environ["RUNNER_TEMP"])
    assert (folder / "probe.whl").is_file()


def test_main__installed(environ: dict[str, str]) -> None:
    """With its packages the step runs the command, whose document is in a file of the job."""
    packages_folder(environ, CHECKOUT / "requirements/run.lock").mkdir()

    finished = run(environ, sys.executable)

    (path,) = Path(environ["RUNNER_TEMP"]).glob("*.json")
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", NOTE)
    assert json.loads(path.read_bytes())["enrollment_count"] == 3
    assert path.stat().st_mode & 0o777 == 0o600


def test_redirect_document__without_a_folder(tmp_path: Path) -> None:
    """If the file for the document cannot be created, the step ends with 73."""
    with pytest.raises(OutputError) as raised:
        action.redirect_document({"RUNNER_TEMP": str(tmp_path / "missing")})

    assert str(raised.value) == (
        "The file for the document cannot be written: No such file or directory."
        " Nothing was sent. Free space in the runner's temporary folder."
    )


def test_main__no_index(environ: dict[str, str], tmp_path: Path) -> None:
    """Without an index the step ends with 69, a message, an annotation and two outputs."""
    output = tmp_path / "output"

    finished = run({**without_index(environ), "GITHUB_OUTPUT": str(output)}, sys.executable)

    message, annotation = finished.stderr.splitlines()
    failure = "The action's packages cannot be installed: ERROR: Could not find a version"
    assert (finished.returncode, finished.stdout) == (69, "")
    assert message.startswith(f"alm-enrollments: error: {failure}")
    assert message.endswith(f". {HINT}")
    assert annotation.startswith(f"::error title=alm-enrollments%3A exit code 69::{failure}")
    assert annotation.endswith(f".%0AWhat to do: {HINT}")
    assert re.fullmatch(
        r'complete<<(\w+)\nfalse\n\1\nerror<<(\w+)\n\{"code":69,"message":"The .*\}\n\2\n',
        output.read_text(),
    )
    assert "hunter2" not in finished.stderr + output.read_text()


def test_main__no_pip(environ: dict[str, str], tmp_path: Path) -> None:
    """Without pip the message says where to get it."""
    python = fake_pip(tmp_path / "venv", "") / "python"

    finished = run(environ, str(python))

    assert (finished.returncode, finished.stdout) == (69, "")
    assert finished.stderr.startswith("alm-enrollments: error: The action's packages cannot be")
    assert finished.stderr.endswith(f": No module named pip. {HINT}\n")


def test_main__unwritable_outputs(environ: dict[str, str]) -> None:
    """If the outputs cannot be written either, the step reports both failures."""
    finished = run({**without_index(environ), "GITHUB_OUTPUT": "/dev/full"}, sys.executable)

    _, unwritten, annotation = finished.stderr.splitlines()
    assert finished.returncode == 69
    assert unwritten == (
        "alm-enrollments: error: GITHUB_OUTPUT cannot be written: No space left on device."
    )
    assert annotation.startswith("::error title=alm-enrollments%3A exit code 69::")


@pytest.mark.parametrize(
    ("stderr", "reason"),
    [
        ("", ""),
        ("WARNING: Retrying\nERROR: one\n\n  two\n", "ERROR: one / two"),
        (
            "ERROR: no http://reader:hunter2/@x@host/simple, no //token@host\n",
            "ERROR: no http://***@host/simple, no //***@host",
        ),
        (
            "Traceback (most):\n  x\nOSError: [Errno 28] No space left on device: '//a:b@c'\n",
            "pip itself failed with OSError: [Errno 28] No space left on device",
        ),
        ("Traceback (most):\n  x\nsome.Error: hunter2\n", "pip itself failed with some.Error"),
        ("x" * 700 + "//a:b@c", "x" * 593 + "//***@c"),
    ],
)
def test_reason__without_passwords(stderr: str, reason: str) -> None:
    """Errors of pip become one line; of a traceback only the error, never a password."""
    assert action._reason(stderr) == reason
