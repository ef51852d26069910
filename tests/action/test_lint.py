"""No linter finds anything in the action, the workflows, or the YAML of README and docs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.action.conftest import STEP
from tests.action.snippets import lay_out
from tests.support.process import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Callable

    Linter = Callable[[Path], str]

# Installed with the tests, never the machine's own.
TOOLS = Path(sys.executable).parent
PAGES = [*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md")]
WORKFLOWS = ".github/workflows/*.yml"
YAML = ("*.yml", ".github/**/*.yml", "shown/**/*.yml")
OUR_OWN = r"\./|docker://ghcr\.io/OWNER/REPO:"
PINNED = r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$"


def files(root: Path, *patterns: str) -> list[Path]:
    """Return the files under *root*, in a stable order."""
    return sorted({path for pattern in patterns for path in root.glob(pattern)})


def run(root: Path, tool: str, *arguments: str | Path, stdin: str = "") -> str:
    """Return the findings of *tool*."""
    finished = subprocess.run(
        [TOOLS / tool, *arguments],
        cwd=root,
        env={"PATH": str(TOOLS)},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    return finished.stdout + finished.stderr if finished.returncode else ""


def schema(name: str, pattern: str, *options: str) -> Linter:
    """Return the linter that validates the files of *pattern* by a schema of check-jsonschema."""
    return lambda root: run(
        root, "check-jsonschema", "--builtin-schema", name, *options, *files(root, pattern)
    )


def zizmor(*options: str) -> Linter:
    """Return the linter that audits every workflow and action."""
    flags = ("--offline", "--strict-collection", "--quiet")
    return lambda root: run(root, "zizmor", *flags, *options, ".")


def actionlint(root: Path) -> str:
    """Return what actionlint, and shellcheck in it, find in the workflows."""
    options = ("-no-color", "-shellcheck", TOOLS / "shellcheck", "-pyflakes", "")
    return run(root, "actionlint", *options, *files(root, WORKFLOWS))


def yamllint(root: Path) -> str:
    """Return what yamllint finds."""
    return run(root, "yamllint", "--strict", "-c", CHECKOUT / ".yamllint.yml", *files(root, *YAML))


def unpinned(root: Path) -> str:
    """Return the lines that use an action without its commit and version."""
    lines = [
        f"{path.name}: {line.strip()}\n"
        for path in files(root, "action.yml", WORKFLOWS)
        for line in path.read_text(encoding="utf-8").splitlines()
        if "uses:" in line and not re.search(rf"uses: ({OUR_OWN}|{PINNED})", line)
    ]
    return "".join(lines)


ACTIONS = schema("vendor.github-actions", "action.yml")
SHELLCHECK = ("shellcheck", "--shell", "bash", "-")
BOTH: dict[str, Linter] = {
    "schema of workflows": schema("vendor.github-workflows", WORKFLOWS),
    "actionlint": actionlint,
    "yamllint": yamllint,
    "zizmor": zizmor(),
    "unpinned": unpinned,
}
PROJECT = BOTH | {
    "schema of actions": ACTIONS,
    "schema of dependabot": schema("vendor.dependabot", ".github/dependabot.yml"),
    "timeouts": schema("custom.github-workflows-require-timeout", WORKFLOWS),
    "zizmor, as an auditor": zizmor("--persona", "auditor"),
    # actionlint does not look into actions.
    "shellcheck": lambda root: run(root, *SHELLCHECK, stdin=f"set -eo pipefail\n{STEP['run']}"),
}
SHOWN = BOTH | {
    "schema of GitLab": schema(
        "vendor.gitlab-ci", "shown/gitlab/*.yml", "--data-transform", "gitlab-ci"
    ),
    "schema of Azure": schema(
        "vendor.azure-pipelines", "shown/azure/*.yml", "--data-transform", "azure-pipelines"
    ),
}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with the YAML of README and docs."""
    root = tmp_path_factory.mktemp("shown")
    lay_out(PAGES, root)
    return root


@pytest.mark.parametrize("linter", PROJECT.values(), ids=PROJECT)
def test_project__is_clean(linter: Linter) -> None:
    """No linter finds anything in the action and the workflows."""
    assert linter(CHECKOUT) == ""


@pytest.mark.parametrize("linter", SHOWN.values(), ids=SHOWN)
def test_pages__are_clean(linter: Linter, shown: Path) -> None:
    """No linter finds anything in README and docs, names of inputs and outputs included."""
    assert linter(shown) == ""


def test_linters__see_every_file(shown: Path) -> None:
    """The linters' patterns match every workflow, and the blocks of every system."""
    names = [path.name for path in files(CHECKOUT, ".github/**/*.yml", "action.yml")]
    assert names == [
        "dependabot.yml",
        "ci.yml",
        "codeql.yml",
        "release.yml",
        "zizmor.yml",
        "action.yml",
    ]
    assert all(files(shown, f"{folder}/*.yml") for folder in ("shown/gitlab", "shown/azure"))
    assert len(files(shown, WORKFLOWS)) > 5


@pytest.mark.parametrize("use", ["actions/checkout@v7 # v7.0.1", "docker://alpine:3"])
def test_unpinned__finds_tags_and_images(use: str, tmp_path: Path) -> None:
    """An action by its tag and an image are not pinned."""
    (tmp_path / "action.yml").write_text(f"runs:\n  steps:\n    - uses: {use}\n", encoding="utf-8")

    assert unpinned(tmp_path) == f"action.yml: - uses: {use}\n"


def test_lay_out__lets_actionlint_find_unknown_inputs(tmp_path: Path) -> None:
    """A block that uses an input that the action does not have is found by its page and line."""
    page = tmp_path / "page.md"
    step = "- uses: OWNER/REPO@v0\n  with:\n    no-such-input: 1\n"
    page.write_text(f"# Page\n\n```yaml\n{step}```\n", encoding="utf-8")
    (tmp_path / "shown").mkdir()

    lay_out([page], tmp_path / "shown")

    finding = '.github/workflows/page-4.yml:10:11: input "no-such-input" is not defined'
    assert finding in actionlint(tmp_path / "shown")
