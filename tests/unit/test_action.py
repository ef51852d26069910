"""What the action runs: a real pip, whose index is a folder with the lock's wheels, fetched once a session."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import socket
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement

from connector import action
from connector.action import CHECKOUT, installed_packages
from connector.errors import UnreachableError
from tests.action.conftest import LOCK, fake_pip, fetch_wheels, needed, once, pip_environ, use_first

if TYPE_CHECKING:
    from types import ModuleType

# Some are for other machines: `name==1 ; marker`.
WANTED = [
    Requirement(line)
    for line in re.findall(
        r"^([a-z0-9-]+==[^\\\n]+)", LOCK.read_text(encoding="utf-8"), re.MULTILINE
    )
]
NAMES = sorted(one.name for one in WANTED if one.marker is None or one.marker.evaluate())
(IDNA,) = re.findall(r"^idna==(?:.*\\\n)+.*\n", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
WHEEL = "idna-3.*-none-any.whl"
HINT = "Nothing was sent. The runner needs pip, which actions/setup-python brings, and an index: PIP_INDEX_URL names a mirror."
DEAD = {"PIP_INDEX_URL": "https://reader:hunter2-hunter2@127.0.0.1:9/simple/", "PIP_RETRIES": "0"}
# Writes down what it was told, and fails.
WITNESS = "import json, os, sys\njson.dump([sys.argv[1:], dict(os.environ)], open(os.environ['SEEN'], 'w'))\nsys.exit(3)\n"


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with the lock's wheels."""
    return once(tmp_path_factory, "wheels", fetch_wheels)


@pytest.fixture(scope="session")
def used(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Path:
    """Return a runner's folders after a job's first use of the action."""
    return once(
        tmp_path_factory,
        "used",
        lambda folder: use_first(folder, {**needed(), **pip_environ(wheels)}),
    )


@pytest.fixture
def environ(tmp_path: Path, wheels: Path) -> dict[str, str]:
    """Return the variables of a new job on a new runner."""
    for name in ("temp", "tools", "home"):
        (tmp_path / name).mkdir()
    folders = {
        "RUNNER_TEMP": str(tmp_path / "temp"),
        "RUNNER_TOOL_CACHE": str(tmp_path / "tools"),
        "HOME": str(tmp_path / "home"),
    }
    return {**needed(), **pip_environ(wheels), **folders}


@pytest.fixture
def kept(used: Path, environ: dict[str, str]) -> Path:
    """Return the folder of wheels that an earlier job has left on the new job's runner."""
    shutil.copytree(used / "tools", environ["RUNNER_TOOL_CACHE"], dirs_exist_ok=True)
    (folder,) = Path(environ["RUNNER_TOOL_CACHE"], "alm-enrollments").iterdir()
    return folder


def without_index(environ: dict[str, str]) -> dict[str, str]:
    """Return *environ* on a machine that cannot reach its index, whose address holds a password."""
    return {
        name: value
        for name, value in environ.items()
        if name not in ("PIP_NO_INDEX", "PIP_FIND_LINKS")
    } | DEAD


def packages_in(folder: Path) -> list[str]:
    """Return the names of the packages that are installed in *folder*."""
    return sorted(
        path.name.partition("-")[0].replace("_", "-") for path in folder.glob("*.dist-info")
    )


def run(environ: dict[str, str], python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    """Run what the action runs, for the sandbox's documented user."""
    given = {**environ, "ALM_BASE_URL": "sandbox", "ALM_USER_ID": "20941371"}
    command = [python, "-I", "-u", "-X", "utf8", str(CHECKOUT / "connector" / "action.py")]
    return subprocess.run(
        command, env=given, capture_output=True, text=True, timeout=60, check=False
    )


def action_with(lock: str, folder: Path) -> ModuleType:
    """Return the module as it is in a checkout with another *lock*."""
    (folder / "connector").mkdir(parents=True)
    (folder / "requirements").mkdir()
    (folder / "requirements/run.lock").write_text(lock, encoding="utf-8")
    path = shutil.copy(CHECKOUT / "connector" / "action.py", folder / "connector")
    spec = importlib.util.spec_from_file_location("action", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_installed_packages__first_use(used: Path) -> None:
    """The first use of a job fills one folder of the job's own with the lock's packages, and keeps the wheels with the runner's tools."""
    (folder,) = (used / "temp").iterdir()
    (kept,) = (used / "tools" / "alm-enrollments").iterdir()

    assert packages_in(folder) == NAMES
    assert folder.name == f"alm-enrollments-{kept.name}"
    assert len([*kept.iterdir()]) == len(NAMES)


def test_main__second_use(used: Path, environ: dict[str, str]) -> None:
    """The second use of a job needs neither pip, nor an index, nor the wheels."""
    finished = run({**without_index(environ), "RUNNER_TEMP": str(used / "temp")})

    assert (finished.returncode, finished.stderr) == (0, "")
    assert json.loads(finished.stdout)["enrollment_count"] == 3


def test_installed_packages__next_job(kept: Path, environ: dict[str, str]) -> None:
    """The next job on a runner installs from the wheels of the one before, and asks no index."""
    with socket.create_server(("127.0.0.1", 0)) as index:
        index.setblocking(False)  # noqa: FBT003 - the socket's own signature
        address = f"http://127.0.0.1:{index.getsockname()[1]}/simple/"

        folder = installed_packages(
            {**without_index(environ), "PIP_INDEX_URL": address, "PIP_TIMEOUT": "1"}
        )

        assert packages_in(folder) == NAMES
        assert len([*kept.iterdir()]) == len(NAMES)
        with pytest.raises(BlockingIOError):
            index.accept()


def test_installed_packages__another_lock(
    used: Path, environ: dict[str, str], tmp_path: Path
) -> None:
    """Another lock has a folder and wheels of its own: two versions of the action in one job do not share packages."""
    both = {**environ, "RUNNER_TEMP": str(tmp_path / "both")}
    shutil.copytree(used / "temp", tmp_path / "both")

    folder = action_with(IDNA, tmp_path / "checkout").installed_packages(both)

    assert packages_in(folder) == ["idna"]
    assert packages_in(installed_packages(both)) == NAMES


@pytest.mark.parametrize(
    "name", ["{version}", "{version}-1"], ids=["changed", "of a build that pip prefers"]
)
def test_installed_packages__foreign_wheel(name: str, kept: Path, environ: dict[str, str]) -> None:
    """A wheel that somebody put among the runner's tools is not installed: it has not the lock's hash, and is fetched anew."""
    (wheel,) = kept.glob(WHEEL)
    honest, version = wheel.read_bytes(), wheel.name.partition("-py3")[0]
    foreign = wheel.with_name(wheel.name.replace(version, name.format(version=version)))
    foreign.write_bytes(honest)
    with zipfile.ZipFile(foreign, "a") as archive:
        archive.writestr("pwned.py", "")

    folder = installed_packages(environ)

    assert packages_in(folder) == NAMES
    assert not (folder / "pwned.py").exists()
    assert wheel.read_bytes() == honest


def test_installed_packages__foreign_wheel_without_index(
    kept: Path, environ: dict[str, str]
) -> None:
    """Where the foreign wheel cannot be fetched anew, nothing is installed, and no folder looks as if it were."""
    (wheel,) = kept.glob(WHEEL)
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("pwned.py", "")

    with pytest.raises(
        UnreachableError,
        match="The action's packages cannot be installed: ERROR: Could not find a version",
    ) as caught:
        installed_packages(without_index(environ))

    assert caught.value.hint == HINT
    assert [*Path(environ["RUNNER_TEMP"]).iterdir()] == []


def test_installed_packages__lock_without_hashes(environ: dict[str, str], tmp_path: Path) -> None:
    """A lock that has lost its hashes installs nothing."""
    without_hashes = action_with("idna\n", tmp_path / "checkout")

    with pytest.raises(UnreachableError, match="ERROR: In --require-hashes mode"):
        without_hashes.installed_packages(environ)


def test_installed_packages__two_at_once(environ: dict[str, str]) -> None:
    """Two first uses at once both get the one folder, whole."""
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(installed_packages, [environ, environ])

    assert first == second
    assert packages_in(first) == NAMES
    assert [*Path(environ["RUNNER_TEMP"]).iterdir()] == [first]


def test_installed_packages__what_the_user_tells_pip(
    environ: dict[str, str], tmp_path: Path
) -> None:
    """Where the user has pip put packages, and for what, is not where and for what the action's are."""
    (tmp_path / "pip.conf").write_text(
        "[global]\nuser = true\nrequire-virtualenv = true\n", encoding="utf-8"
    )
    places = {
        f"PIP_{name}": str(tmp_path / "elsewhere")
        for name in ("TARGET", "PREFIX", "ROOT", "PYTHON")
    }
    kinds = {
        "PIP_PLATFORM": "win32",
        "PIP_PYTHON_VERSION": "3.8",
        "PIP_ABI": "cp38",
        "PIP_IMPLEMENTATION": "pp",
        "PIP_NO_BINARY": ":all:",
    }
    switches = {
        "PIP_USER": "1",
        "PIP_REQUIRE_VIRTUALENV": "1",
        "PIP_DRY_RUN": "1",
        "PIP_CONFIG_FILE": str(tmp_path / "pip.conf"),
    }

    folder = installed_packages({**environ, **places, **kinds, **switches})

    assert packages_in(folder) == NAMES
    assert not (tmp_path / "elsewhere").exists()


def test_main__what_pip_is_told(environ: dict[str, str], tmp_path: Path) -> None:
    """The job's variables are pip's too, but for ALM's and for those that say where packages go; it is told to ask nothing."""
    python = fake_pip(tmp_path / "python", WITNESS) / "python"
    job = {name: value for name, value in environ.items() if name != "COVERAGE_PROCESS_CONFIG"} | {
        "SEEN": str(tmp_path / "seen")
    }

    finished = run(
        {**job, **DEAD, "PIP_TARGET": "x", "ALM_ACCESS_TOKEN": "secret", "ALM_ANYTHING": "secret"},
        str(python),
    )

    told, seen = json.loads((tmp_path / "seen").read_text(encoding="utf-8"))
    assert finished.returncode == 69
    assert {
        name: value
        for name, value in seen.items()
        if name not in ("LC_CTYPE", "__PYVENV_LAUNCHER__")
    } == {
        **job,
        **DEAD,
        "PIP_USER": "0",
        "PIP_REQUIRE_VIRTUALENV": "0",
    }
    assert told[:8] == [
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        "download",
        *action._WHAT[:4],
    ]


@pytest.mark.parametrize("tools", ["", "a file", "nowhere"])
def test_installed_packages__no_place_among_the_tools(
    tools: str, environ: dict[str, str], tmp_path: Path
) -> None:
    """A runner that keeps no tools, or keeps none there, fetches its wheels into the job's own folder."""
    (tmp_path / "a file").touch()
    place = str(tmp_path / tools) if tools else ""

    folder = action_with(IDNA, tmp_path / "checkout").installed_packages(
        {**environ, "RUNNER_TOOL_CACHE": place}
    )

    assert packages_in(folder) == ["idna"]


def test_installed_packages__wheel_that_cannot_be_kept(
    environ: dict[str, str], tmp_path: Path
) -> None:
    """Where a wheel cannot be kept, it is not, and the job goes on."""
    module = action_with(IDNA, tmp_path / "checkout")
    module.installed_packages(environ)
    (wheel,) = (tmp_path / "tools").rglob(WHEEL)
    wheel.unlink()
    wheel.mkdir()
    (tmp_path / "next").mkdir()

    folder = module.installed_packages({**environ, "RUNNER_TEMP": str(tmp_path / "next")})

    assert packages_in(folder) == ["idna"]


def test_installed_packages__no_folder_of_the_job(environ: dict[str, str], tmp_path: Path) -> None:
    """A job's folder that is not there ends it with a word on why."""
    nowhere = str(tmp_path / "nowhere")

    with pytest.raises(UnreachableError) as caught:
        installed_packages({**environ, "RUNNER_TEMP": nowhere})

    assert caught.value.message.startswith(f"The action's packages cannot be put into {nowhere}: ")
    assert caught.value.hint == "Nothing was sent; mend it and run again."


def test_main__not_on_a_runner(used: Path, environ: dict[str, str], tmp_path: Path) -> None:
    """Where there is no job's own folder nothing is reused: what lies in a folder for everyone may be anybody's."""
    (folder,) = (used / "temp").iterdir()
    (tmp_path / "everyone" / folder.name / "requests").mkdir(parents=True)
    (tmp_path / "everyone" / folder.name / "requests" / "__init__.py").write_text(
        "raise SystemExit('pwned')", encoding="utf-8"
    )
    everyone = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(tmp_path / "everyone"))

    finished = run({**environ, **everyone, "RUNNER_TEMP": ""})

    assert (finished.returncode, finished.stderr) == (0, "")


def test_main__no_index(environ: dict[str, str], tmp_path: Path) -> None:
    """Without an index the step ends with 69, one line, one annotation and two outputs, and none has the index's password."""
    finished = run({**without_index(environ), "GITHUB_OUTPUT": str(tmp_path / "output")})

    said = "ERROR: No matching distribution found for annotated-types==0.8.0."
    error, annotation = finished.stderr.splitlines()
    outputs = (tmp_path / "output").read_text(encoding="utf-8")
    assert (finished.returncode, finished.stdout) == (69, "")
    assert error.startswith(
        "alm-enrollments: error: The action's packages cannot be installed: ERROR: Could not find a version"
    )
    assert error.endswith(f"{said} {HINT}")
    assert annotation.startswith(
        "::error title=alm-enrollments%3A exit code 69::The action's packages cannot be installed: "
    )
    assert annotation.endswith(f"{said}%0AWhat to do: {HINT}")
    assert re.fullmatch(
        r'complete<<(\w+)\nfalse\n\1\nerror<<(\w+)\n\{"code":69,"message":"The action\'s .*\}\n\2\n',
        outputs,
    )
    assert "hunter2" not in finished.stderr + outputs


def test_main__no_pip(environ: dict[str, str], tmp_path: Path) -> None:
    """A Python without pip ends the step with 69 and a word on where to get it."""
    finished = run(environ, str(fake_pip(tmp_path / "python", "") / "python"))

    assert (finished.returncode, finished.stdout) == (69, "")
    assert finished.stderr.startswith(
        "alm-enrollments: error: The action's packages cannot be installed: "
    )
    assert finished.stderr.endswith(f": No module named pip. {HINT}\n")


def test_installed_packages__pip_breaks(environ: dict[str, str]) -> None:
    """Where pip itself breaks, and quotes a proxy's password, what broke is told and the password is not."""
    proxy = {"HTTPS_PROXY": "http://reader:hunter2@127.0.0.1:none"}

    with pytest.raises(UnreachableError) as caught:
        installed_packages(
            {**without_index(environ), **proxy, "PIP_INDEX_URL": "https://pypi.invalid/simple/"}
        )

    assert caught.value.message == (
        "The action's packages cannot be installed: pip itself failed with pip._vendor.requests.exceptions.InvalidURL."
    )


@pytest.mark.parametrize(
    ("stderr", "said"),
    [
        ("", ""),
        ("WARNING: Retrying\nERROR: one\n\n  two\n", "ERROR: one / two"),
        (
            "ERROR: no http://reader:hunter2/@x@host/simple, no //token@host\n",
            "ERROR: no http://***@host/simple, no //***@host",
        ),
        (
            "Traceback (most):\n  x\nOSError: [Errno 28] No space left on device: '//a:b@c'\n",
            "[Errno 28] No space left on device",
        ),
        ("Traceback (most):\n  x\nsome.Error: hunter2\n", "some.Error"),
        ("x" * 700 + "//a:b@c", "x" * 593 + "//***@c"),
    ],
)
def test_said__what_of_pips_words(stderr: str, said: str) -> None:
    """Of pip's words its errors are told, in one line of some length, and of a traceback what failed; never who logs in where."""
    assert (
        action._said(stderr).removeprefix("pip itself failed with ").removeprefix("OSError: ")
        == said
    )
