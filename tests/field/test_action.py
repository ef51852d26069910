"""The action on runners with an old Python, with several, with none, or without outputs."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.action.conftest import STEP, fake_command
from tests.action.runner import parse_outputs, read_github
from tests.support.process import PATIENCE_SECONDS, Finished

if TYPE_CHECKING:
    from pathlib import Path

NO_OUTPUT = "This runner has no GITHUB_OUTPUT: later steps would get no outputs."
NO_PYTHON = "This runner has no Python 3.11 or newer."
UPDATE = "Nothing was sent. Update the runner."


def fake_python(folder: Path, name: str, version: tuple[int, int], *, has_pip: bool = True) -> None:
    """Create a Python in *folder* that says which action it would run, if it is asked to."""
    modules = {"pip": has_pip, "sys": True}
    code = (
        f"import sys, importlib.util as u; sys.version_info = {version};"
        f" u.find_spec = {modules}.get;"
    )
    check = f'[ "$2" != -c ] || exec {sys.executable} -I -c "{code} $3" "$4"'
    fake_command(folder / name, f'{check}\necho "{name}: $*"')


def run_step(folder: Path, **variables: str) -> Finished:
    """Run the action's step on a runner whose only commands are those in *folder*."""
    bash = ["/bin/bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", STEP["run"]]
    finished = subprocess.run(
        bash,
        env={"PATH": str(folder), "GITHUB_ACTION_PATH": "/action", **variables},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return Finished(finished.returncode, finished.stdout, finished.stderr)


@pytest.mark.parametrize(
    ("pythons", "found"),
    [
        ({"python3": (3, 9), "python3.12": (3, 12)}, "python3.12"),
        ({"python3": (3, 9), "python3.11": (3, 11), "python3.12": (3, 12)}, "python3.12"),
        ({"python3": (3, 6), "python": (2, 7), "python3.14": (3, 14)}, "python3.14"),
        ({"python3": (3, 9), "python3.10": (3, 10), "python3.11": (3, 11)}, "python3.11"),
        ({"python3": (3, 11), "python3.13": (3, 13)}, "python3"),
        ({"python3.12": (3, 12)}, "python3.12"),
    ],
)
def test_python__of_another_name(
    pythons: dict[str, tuple[int, int]], found: str, tmp_path: Path
) -> None:
    """A recent Python is found although `python3` is older, as on Enterprise Linux."""
    for name, version in pythons.items():
        fake_python(tmp_path, name, version)

    finished = run_step(tmp_path, GITHUB_OUTPUT="output")

    ran = f"{found}: -I -u -X utf8 /action/connector/action.py\n"
    assert (finished.exit_code, finished.stdout, finished.stderr) == (0, ran, "")


def test_python__with_pip_first(tmp_path: Path) -> None:
    """A Python without pip is used only if there is no other: it may need none."""
    fake_python(tmp_path, "python3", (3, 11), has_pip=False)
    assert run_step(tmp_path, GITHUB_OUTPUT="output").stdout.startswith("python3: ")

    fake_python(tmp_path, "python3.12", (3, 12))
    assert run_step(tmp_path, GITHUB_OUTPUT="output").stdout.startswith("python3.12: ")


@pytest.mark.parametrize("has_python", [True, False])
@pytest.mark.parametrize("variables", [{}, {"GITHUB_OUTPUT": ""}])
def test_outputs__no_file_for_them(
    variables: dict[str, str], tmp_path: Path, *, has_python: bool
) -> None:
    """Without GITHUB_OUTPUT the step fails with a message, with and without a Python."""
    if has_python:
        fake_python(tmp_path, "python3", (3, 12))

    finished = run_step(tmp_path, **variables)

    assert (finished.exit_code, finished.stdout) == (73, "")
    assert finished.stderr.splitlines()[0] == f"alm-enrollments: error: {NO_OUTPUT} {UPDATE}"
    (annotation,) = read_github(finished.stderr).commands
    assert annotation.properties == {"title": "alm-enrollments: exit code 73"}
    assert annotation.data == f"{NO_OUTPUT}\nWhat to do: {UPDATE}"


@pytest.mark.parametrize("file", ["output", "missing/output"])
def test_outputs__without_python(file: str, tmp_path: Path) -> None:
    """Without a Python the step ends with 69, even if its outputs cannot be written either."""
    finished = run_step(tmp_path, GITHUB_OUTPUT=file)

    assert finished.exit_code == 69
    assert finished.stderr.startswith(f"alm-enrollments: error: {NO_PYTHON} Nothing was sent. ")
    if file == "output":
        outputs = parse_outputs((tmp_path / file).read_bytes())
        assert (outputs["complete"], '"code":69,' in outputs["error"]) == ("false", True)
