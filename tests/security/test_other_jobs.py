"""Other jobs and other accounts on the runner: what they leave is not trusted."""

from __future__ import annotations

import os
import re
import stat
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from connector.action import KEPT_NAMES, MAX_WHEEL_BYTES, installed_packages
from connector.errors import UnreachableError
from connector.sandbox import ACCESS_TOKEN
from tests.action.conftest import fake_pip
from tests.security.conftest import OTHER_USER
from tests.support.installer import WHEEL, packages_folder
from tests.support.process import PATIENCE_SECONDS
from tests.support.sandbox import DOCUMENTED_USER, EMBEDDED, reaching

if TYPE_CHECKING:
    from collections.abc import Callable

    from connector.sandbox.server import SandboxServer
    from tests.action.conftest import Job
    from tests.faults.conftest import Play
    from tests.support.process import Command
    from tests.support.sandbox import StartSandbox

OTHER_BUILD = "probe-1.0-2-py3-none-any.whl"
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another account")
# Counts how often the installer opens a file.
COUNTING = """
import os, pathlib, sys
opened = []
sys.addaudithook(lambda event, values: event == "open" and opened.append(str(values[0])))
from connector.action import installed_packages
lock, wheel = sys.argv[1:]
folder = installed_packages(os.environ, lock=pathlib.Path(lock), python="/missing/python")
print(opened.count(wheel), (folder / "probe.py").is_file())
"""
# Downloads a wheel, and writes down what it is to install from.
LISTING_PIP = f"""
import os, sys
if "download" in sys.argv:
    open(os.path.join(sys.argv[sys.argv.index("--dest") + 1], "{WHEEL}"), "w").close()
if "install" in sys.argv:
    with open(os.environ["RECORD"], "a") as record:
        print(*os.listdir(sys.argv[sys.argv.index("--find-links") + 1]), file=record)
"""
STUCK_PIP = "import time; time.sleep(600)"


def installed(environ: dict[str, str], lock: Path, python: Path) -> Path:
    """Return the folder with the packages; fail if that takes longer than any patience."""
    folders: list[Path] = []
    thread = threading.Thread(
        target=lambda: folders.append(installed_packages(environ, lock=lock, python=str(python))),
        daemon=True,
    )
    thread.start()
    thread.join(PATIENCE_SECONDS)
    assert folders, "the installation hangs, or failed"
    return folders[0]


def listed(environ: dict[str, str]) -> list[str]:
    """Return what each installation had to install from."""
    return Path(environ["RECORD"]).read_text(encoding="utf-8").splitlines()


def test_cache__wheel_is_read_once(
    cached_wheel: Path, environ: dict[str, str], lock: Path, command: Command
) -> None:
    """A wheel that another account exchanges after the check of its hash is not installed."""
    process = command.start_python(["-c", COUNTING, str(lock), str(cached_wheel)], **environ)

    stdout, stderr = process.communicate(timeout=PATIENCE_SECONDS)

    assert (stdout.split(), stderr) == (["1", "True"], "")


def make_sparse(path: Path) -> None:
    """Create a file that is larger than any wheel, and takes no room."""
    with path.open("wb") as file:
        file.truncate(MAX_WHEEL_BYTES + 1)


ODD_FILES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "pipe": (WHEEL, os.mkfifo),
    "endless device": (WHEEL, lambda path: path.symlink_to("/dev/zero")),
    "link": (WHEEL, lambda path: path.symlink_to("/etc/passwd")),
    "folder": (WHEEL, Path.mkdir),
    "huge": (WHEEL, make_sparse),
    "page of links": ("index.html", lambda path: path.write_text("<a href='http://evil/'>")),
    "archive": ("probe-1.0.tar.gz", Path.touch),
    "another package": ("evil-1.0-py3-none-any.whl", Path.touch),
    "another version": ("probe-2.0-py3-none-any.whl", Path.touch),
}


@pytest.mark.parametrize(("name", "make"), ODD_FILES.values(), ids=ODD_FILES)
def test_cache__odd_files(
    name: str,
    make: Callable[[Path], object],
    cached_wheel: Path,
    environ: dict[str, str],
    lock: Path,
    tmp_path: Path,
) -> None:
    """Only regular files with the hash of a locked wheel leave the cache; nothing waits for it."""
    cached_wheel.unlink()
    make(cached_wheel.with_name(name))
    cached_wheel.with_name(KEPT_NAMES).write_text(name)

    folder = installed(environ, lock, fake_pip(tmp_path / "venv", LISTING_PIP) / "python")

    assert (listed(environ), list(folder.iterdir())) == ([WHEEL], [])


@pytest.mark.parametrize(
    "make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), make_sparse]
)
def test_cache__odd_list(
    make: Callable[[Path], object], cached_wheel: Path, environ: dict[str, str], lock: Path
) -> None:
    """Nothing waits for a list of names that is no regular file either; it is written anew."""
    names = cached_wheel.with_name(KEPT_NAMES)
    names.unlink()
    make(names)

    folder = installed(environ, lock, Path(sys.executable))

    assert (folder / "probe.py").is_file()
    assert names.read_text(encoding="utf-8") == WHEEL


@pytest.mark.parametrize("level", ["the cache", "its parent"])
@pytest.mark.parametrize("is_others", [False, pytest.param(True, marks=AS_ROOT)])
def test_cache__of_others(
    level: str,
    is_others: bool,  # noqa: FBT001 - a parameter of the test
    cached_wheel: Path,
    environ: dict[str, str],
    lock: Path,
    tmp_path: Path,
) -> None:
    """A cache that another account owns, or may write to, is neither read nor written."""
    folder = cached_wheel.parent if level == "the cache" else cached_wheel.parents[1]
    if is_others:
        os.chown(folder, OTHER_USER, OTHER_USER)
    else:
        folder.chmod(0o777)
    content = cached_wheel.read_bytes()

    folder = installed(environ, lock, fake_pip(tmp_path / "venv", LISTING_PIP) / "python")

    assert (listed(environ), list(folder.iterdir())) == ([WHEEL], [])
    assert cached_wheel.read_bytes() == content


def test_cache__failed_installation(
    cached_wheel: Path, environ: dict[str, str], lock: Path, tmp_path: Path
) -> None:
    """What an installation from the cache leaves when it fails is not imported."""
    cached_wheel.with_name(KEPT_NAMES).write_text(f"{WHEEL}\n{OTHER_BUILD}")

    folder = installed(environ, lock, fake_pip(tmp_path / "venv", LISTING_PIP) / "python")

    assert (listed(environ), list(folder.iterdir())) == ([WHEEL], [])


@pytest.mark.parametrize("kind", ["writable", "link", pytest.param("others", marks=AS_ROOT)])
def test_packages__of_others(
    kind: str, environ: dict[str, str], lock: Path, fake_python: str, tmp_path: Path
) -> None:
    """A folder of packages that another account has put there is not imported."""
    folder = packages_folder(environ, lock)
    planted = tmp_path / "planted"
    planted.mkdir()
    (planted / "requests.py").touch()
    if kind == "link":
        folder.symlink_to(planted)
    else:
        planted.rename(folder)
        folder.chmod(0o777 if kind == "writable" else 0o755)
        os.chown(folder, OTHER_USER if kind == "others" else -1, -1)

    with pytest.raises(UnreachableError, match="cannot be written to"):
        installed_packages(environ, lock=lock, python=fake_python)


def test_pip__is_not_waited_for(environ: dict[str, str], lock: Path, tmp_path: Path) -> None:
    """A pip that does not end fails the step."""
    python = fake_pip(tmp_path / "venv", STUCK_PIP) / "python"

    with pytest.raises(UnreachableError, match=r"pip did not end within 0\.5 s"):
        installed_packages(environ, lock=lock, python=str(python), pip_seconds=0.5)


LISTED = """\
:env:.constraint='https://evil/env'
global.constraint='https://evil/c'
global.index-url='https://files.example/simple'
global.proxy='http://proxy.example:8080'
download.proxy='http://other.example:8080'
install.requirement='https://evil/r'
global.python='/evil'
"""
HOSTILE = {
    "PIP_CONSTRAINT": "https://evil/constraints.txt",
    "PIP_REQUIREMENT": "https://evil/requirements.txt",
    "PIP_EDITABLE": "/evil",
    "PIP_BUILD_CONSTRAINT": "https://evil/",
    "PIP_NO_BINARY": ":all:",
    "PIP_TARGET": "/evil",
    "PIP_PYTHON": "/evil",
    "pip_target": "/evil",
    "INPUT_ACCESS-TOKEN": "canary-token",
    "ALM_ACCESS_TOKEN": "canary-token",
    "alm_access_token": "canary-token",
}


def test_pip__gets_few_settings(environ: dict[str, str], lock: Path, fake_python: str) -> None:
    """Of the job's settings, pip gets index, proxy and certificates, and no input at all."""
    del environ["PIP_INDEX_URL"]
    environ |= {**HOSTILE, "LISTED": LISTED, "PIP_CERT": "/etc/ca.pem"}

    installed_packages(environ, lock=lock, python=fake_python)

    settings = []
    for command in ("download", "install"):
        lines = Path(f"{environ['RECORD']}.{command}").read_text(encoding="utf-8").splitlines()
        prefixes = ("PIP_", "INPUT_", "ALM_")
        settings.append({line for line in lines if line.upper().startswith(prefixes)})
    assert settings == [
        {
            "PIP_CERT=/etc/ca.pem",
            "PIP_CONFIG_FILE=/dev/null",
            "PIP_INDEX_URL=https://files.example/simple",
            "PIP_NO_CACHE_DIR=1",
            "PIP_PROXY=http://other.example:8080",
        },
        {"PIP_CONFIG_FILE=/dev/null"},
    ]


def test_pip__reads_no_constraint(environ: dict[str, str], lock: Path, tmp_path: Path) -> None:
    """A real pip takes constraints and requirements neither from variables nor from its file."""
    constraint = tmp_path / "constraint.txt"
    constraint.write_text("probe==9.9\n", encoding="utf-8")
    config = tmp_path / "pip.conf"
    config.write_text(
        f"[global]\nconstraint = {constraint}\nindex-url = {environ.pop('PIP_INDEX_URL')}\n"
        f"[install]\nrequirement = {constraint}\neditable = {tmp_path}\n",
        encoding="utf-8",
    )
    settings = dict.fromkeys(("PIP_CONSTRAINT", "PIP_REQUIREMENT"), str(constraint))
    environ |= {**settings, "PIP_EDITABLE": str(tmp_path), "PIP_CONFIG_FILE": str(config)}

    folder = installed_packages(environ, lock=lock, python=sys.executable)

    assert (folder / "probe.py").is_file()


SPELLINGS = ("alm_base_url", "Alm_Base_Url", "ALM_base_URL")


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spelling__in_the_action(spelling: str, job: Job, play: Play) -> None:
    """A job's variable in another spelling leads no token elsewhere; a warning names it."""
    elsewhere = play()

    finished = job.run(
        {"base-url": "sandbox", "user-id": DOCUMENTED_USER, "access-token": "canary-token"},
        **{spelling: elsewhere.url},
    )

    text = f"The variable {spelling} is ignored: inputs come from `with:` only."
    assert (finished.exit_code, elsewhere.requests) == (0, [])
    assert finished.outputs["source"] == "sandbox"
    assert finished.stderr.splitlines()[0] == f"alm-enrollments: warning: {text}"
    warnings = [command.data for command in finished.commands if command.name == "warning"]
    assert warnings[0] == text
    assert [warning[:26] for warning in warnings[1:]] == ["`access-token` is not used"]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spelling__of_the_command(
    spelling: str, command: Command, play: Play, sandbox: SandboxServer
) -> None:
    """On the command line another spelling is an error with a suggestion, and nothing is sent."""
    elsewhere = play()

    finished = command("--user-id 31", **{**reaching(sandbox), spelling: elsewhere.url})

    assert finished.exit_code == 64
    assert f"{spelling} is not an input (did you mean ALM_BASE_URL?)" in finished.stderr
    assert (elsewhere.requests, sandbox.requests) == ([], [])


PLANTED: dict[str, Callable[[Path, Path], object]] = {
    "link": lambda path, victim: path.symlink_to(victim),
    "hard link": lambda path, victim: path.hardlink_to(victim),
    "dangling link": lambda path, victim: path.symlink_to(victim.with_name("new")),
    "pipe": lambda path, _: os.mkfifo(path),
    "folder": lambda path, _: path.mkdir(),
}


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)
@pytest.mark.parametrize("suffix", [".part", ".part.new", ".users", ".users.new"])
@pytest.mark.parametrize("name", ["out.ndjson", "out.parquet"])
def test_output_file__follows_no_link(
    name: str,
    suffix: str,
    plant: Callable[[Path, Path], object],
    command: Command,
    sandbox: SandboxServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Next to the output file, only this user's own regular files are written: 73, nothing sent."""
    victim = tmp_path_factory.mktemp("elsewhere") / "victim"
    victim.write_text("precious", encoding="utf-8")
    plant(command.folder / f"{name}{suffix}", victim)
    line = f"--user-id 31 --output-file {name} --format {name.rpartition('.')[2]}"

    finished = command(line, **reaching(sandbox))

    assert (finished.exit_code, finished.error["code"]) == (73, 73)
    assert re.search(
        rf"{re.escape(name + suffix)} (must be a|is no) regular file", finished.error["message"]
    )
    assert sandbox.requests == []
    assert [path.read_text() for path in victim.parent.iterdir()] == ["precious"]


@AS_ROOT
@pytest.mark.parametrize("suffix", [".part", ".users"])
def test_output_file__of_another_account(
    suffix: str, command: Command, sandbox: SandboxServer
) -> None:
    """A file of another account next to the output file is neither believed nor written."""
    planted = command.folder / f"out.ndjson{suffix}"
    planted.write_text("{}\n", encoding="utf-8")
    os.chown(planted, OTHER_USER, OTHER_USER)
    line = "--user-id 31 --output-file out.ndjson --format ndjson --resume"

    finished = command(line, **reaching(sandbox))

    assert (finished.exit_code, sandbox.requests) == (73, [])
    assert planted.read_text(encoding="utf-8") == "{}\n"


def test_umask__is_honoured(command: Command) -> None:
    """What a user's umask hides from others stays hidden, in every file that a run writes."""
    script = (
        "umask 077; alm-enrollments --output-dir folder --dotenv report;"
        "alm-enrollments --format ndjson --output-file out.ndjson"
    )

    finished = command.shell(script, **EMBEDDED)

    assert finished.exit_code == 0
    files = [path for path in command.folder.rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert {"report", "out.ndjson", "out.ndjson.users", "enrollment_ids"} <= {
        path.name for path in files
    }


def test_kept_document__is_for_this_user_only(
    command: Command, start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    """The document that a step leaves in the job's folder is readable by no other account."""
    temp = tmp_path / "temp"
    temp.mkdir()
    server = start_sandbox(enrollments_per_user=5_000)
    variables = {"RUNNER_OS": "Linux", "RUNNER_TEMP": str(temp)}

    finished = command(
        "--user-id 31 --lo-types all",
        GITHUB_OUTPUT=str(tmp_path / "output"),
        **reaching(server, **variables),
    )

    (kept,) = temp.iterdir()
    assert finished.exit_code == 0
    assert (stat.S_IMODE(kept.stat().st_mode), kept.read_text()) == (0o600, finished.stdout)


@pytest.mark.parametrize("platform", ["GITHUB_OUTPUT", "TF_BUILD"])
def test_masks__not_in_a_jobs_own_step(
    platform: str, command: Command, sandbox: SandboxServer
) -> None:
    """A command in a job's own step writes no token: ``2> errors.log`` would keep it."""
    script = (
        "alm-enrollments --user-id 4041 2> errors.log; ! grep --quiet TOKEN errors.log".replace(
            "TOKEN", ACCESS_TOKEN
        )
    )

    finished = command.shell(script, **reaching(sandbox, **{platform: "outputs"}))

    assert finished.exit_code == 0
    assert "ALM has no user 4041" in (command.folder / "errors.log").read_text(encoding="utf-8")


def test_masks__from_the_actions_start(job: Job) -> None:
    """The action masks every credential before it writes anything else."""
    finished = job.run({"base-url": "sandbox", "user-id": "4041", "access-token": "canary-token"})

    assert finished.stderr.splitlines()[0] == "::add-mask::canary-token"
