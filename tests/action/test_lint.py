"""Nothing that judges workflows, actions or their scripts finds anything, here or in what README and docs show."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import yaml

from tests.action.snippets import CHECKOUT, lay_out, place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Installed with the tests, never the machine's own: where one is missing, starting it fails the test.
TOOLS = Path(sys.executable).parent
OUR_OWN = ("./", "docker://ghcr.io/OWNER/REPO:")
PAGES = [*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md")]
WORKFLOWS = ".github/workflows/*.y*ml"
STEPS = ("action.yml", WORKFLOWS)
YAML = ("*.y*ml", ".github/**/*.y*ml", "shown/**/*.yml")


class Script(NamedTuple):
    """A step's *text*, which *shell* runs; *where* names its file."""

    where: str
    shell: str | None
    text: str


def files(root: Path, *patterns: str) -> list[Path]:
    """Return the files under *root*, in a stable order."""
    return sorted({path for pattern in patterns for path in root.glob(pattern)})


def load(path: Path) -> dict[str, Any]:
    """Return the file's mapping."""
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def scripts(root: Path) -> Iterator[Script]:
    """Yield every script of the action and the workflows."""
    for path in files(root, *STEPS):
        content = load(path)
        default = content.get("defaults", {}).get("run", {}).get("shell")
        for steps in [
            job.get("steps", [])
            for job in (content.get("jobs") or {"action": content.get("runs", {})}).values()
        ]:
            yield from (
                Script(path.name, step.get("shell", default), step["run"])
                for step in steps
                if "run" in step
            )


def uses(content: Any) -> Iterator[str]:
    """Yield what *content* takes from elsewhere; our own action and image, which a page names by version, are from here."""
    if isinstance(content, dict):
        yield from (
            value
            for key, value in content.items()
            if key == "uses" and not value.startswith(OUR_OWN)
        )
    if isinstance(content, dict | list):
        for child in content.values() if isinstance(content, dict) else content:
            yield from uses(child)


def run(tool: str, *arguments: str | Path, root: Path, stdin: str | None = None) -> str:
    """Return what *tool* found; nothing where it ended well."""
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


def schema(name: str, pattern: str, *options: str) -> Callable[[Path], str]:
    """Return the linter that holds the files to a schema that check-jsonschema brings along."""

    def lint(root: Path) -> str:
        found = files(root, pattern)
        return (
            run("check-jsonschema", "--builtin-schema", name, *options, *found, root=root)
            if found
            else ""
        )

    return lint


def actionlint(root: Path) -> str:
    """Return what actionlint finds in the workflows."""
    found = files(root, WORKFLOWS)
    return (
        run(
            "actionlint",
            "-no-color",
            "-shellcheck",
            TOOLS / "shellcheck",
            "-pyflakes",
            "",
            *found,
            root=root,
        )
        if found
        else ""
    )


def shellcheck(root: Path) -> str:
    """Return what shellcheck finds in the scripts, each run with the options that GitHub gives bash."""
    prefix = "set -eo pipefail\n"
    return "".join(
        run("shellcheck", "--shell", "bash", "-", root=root, stdin=prefix + script.text)
        for script in scripts(root)
    )


def unpinned(root: Path) -> str:
    """Return what is not held to a commit, with its version beside it."""
    pin = re.compile(r"uses: ([\w.-]+/[\w./-]+@[0-9a-f]{40}) # v\d+\.\d+\.\d+$", re.MULTILINE)
    return "".join(
        f"{path.name}: {use}\n"
        for path in files(root, *STEPS)
        for use in Counter(uses(load(path)))
        - Counter(pin.findall(path.read_text(encoding="utf-8")))
    )


def permissive(root: Path) -> str:
    """Return the workflows that give every job more than nothing."""
    return "".join(
        f"{path.name}\n" for path in files(root, WORKFLOWS) if load(path).get("permissions") != {}
    )


def templated(root: Path) -> str:
    """Return the scripts into which GitHub would paste values."""
    return "".join(
        f"{script.where}: {script.text}\n" for script in scripts(root) if "${{" in script.text
    )


LINTERS: dict[str, Callable[[Path], str]] = {
    "schema of actions": schema("vendor.github-actions", "action.yml"),
    "schema of workflows": schema("vendor.github-workflows", WORKFLOWS),
    "schema of dependabot": schema("vendor.dependabot", ".github/dependabot.yml"),
    "schema of GitLab": schema(
        "vendor.gitlab-ci", "shown/gitlab/*.yml", "--data-transform", "gitlab-ci"
    ),
    "schema of Azure": schema(
        "vendor.azure-pipelines", "shown/azure/*.yml", "--data-transform", "azure-pipelines"
    ),
    "actionlint": actionlint,
    "shellcheck": shellcheck,
    "yamllint": lambda root: run(
        "yamllint", "--strict", "-c", CHECKOUT / ".yamllint.yml", *files(root, *YAML), root=root
    ),
    "zizmor": lambda root: run(
        "zizmor", "--offline", "--strict-collection", "--quiet", ".", root=root
    ),
    "unpinned": unpinned,
    "permissive": permissive,
    "templated": templated,
}
# What a reader may do without, as timeouts, names of jobs and a limit to runs at once.
OURS: dict[str, Callable[[Path], str]] = {
    "timeouts": schema("custom.github-workflows-require-timeout", WORKFLOWS),
    "zizmor, as an auditor": lambda root: run(
        "zizmor",
        "--offline",
        "--strict-collection",
        "--quiet",
        "--persona",
        "auditor",
        ".",
        root=root,
    ),
}


@pytest.fixture
def shown(tmp_path: Path) -> Path:
    """Return a repository with everything that README and docs show."""
    lay_out(PAGES, tmp_path)
    return tmp_path


@pytest.mark.parametrize("linter", [*LINTERS.values(), *OURS.values()], ids=[*LINTERS, *OURS])
def test_project__is_clean(linter: Callable[[Path], str]) -> None:
    """No linter finds anything in the action, the workflows and their scripts."""
    assert linter(CHECKOUT) == ""


@pytest.mark.parametrize("linter", LINTERS.values(), ids=LINTERS)
def test_shown__is_clean(linter: Callable[[Path], str], shown: Path) -> None:
    """No linter finds anything in what README and docs show, names of the action's inputs and outputs included."""
    assert linter(shown) == ""


def test_project__is_all_looked_at() -> None:
    """The files are where the linters look, and bash, which shellcheck takes every script for, runs them all."""
    looked_at = files(CHECKOUT, ".github/dependabot.yml", *STEPS)

    assert [path.name for path in looked_at] == [
        "dependabot.yml",
        "ci.yml",
        "codeql.yml",
        "release.yml",
        "action.yml",
    ]
    assert {script.shell for script in scripts(CHECKOUT)} == {"bash"}


STEP = "name: shown\non: push\npermissions: {}\njobs:\n  shown:\n    runs-on: ubuntu-latest\n    steps:\n      - "
PIN = "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1"
WRONG = {
    "schema of actions": (
        "action.yml",
        "name: shown\ndescription: shown\n",
        "'runs' is a required property",
    ),
    "schema of workflows": (
        ".github/workflows/w.yml",
        "on: push\n",
        "'jobs' is a required property",
    ),
    "schema of dependabot": (
        ".github/dependabot.yml",
        "version: 2\n",
        "'updates' is a required property",
    ),
    "schema of GitLab": ("shown/gitlab/w.yml", "job:\n  script: 5\n", "$.job"),
    "schema of Azure": ("shown/azure/w.yml", "steps: 5\n", "$.steps"),
    "actionlint": (
        ".github/workflows/w.yml",
        f"{STEP}run: echo\n        if: steps.none.outputs.some\n",
        '"none" is not defined',
    ),
    "shellcheck": (".github/workflows/w.yml", f"{STEP}run: echo $HOME\n", "SC2086"),
    "yamllint": ("shown/other/w.yml", "key:  value\n", "too many spaces after colon"),
    "zizmor": (".github/workflows/w.yml", f"{STEP}uses: {PIN} # v7.0.1\n", "artipacked"),
    "unpinned": (
        ".github/workflows/w.yml",
        f"{STEP}uses: actions/checkout@v7 # v7.0.1\n",
        "w.yml: actions/checkout@v7\n",
    ),
    "permissive": (".github/workflows/w.yml", "on: push\n", "w.yml\n"),
    "templated": (
        ".github/workflows/w.yml",
        f"{STEP}run: echo ${{{{ github.ref }}}}\n",
        "w.yml: echo ${{ github.ref }}\n",
    ),
    "timeouts": (".github/workflows/w.yml", f"{STEP}run: echo\n", "timeout-minutes"),
    "zizmor, as an auditor": (
        ".github/workflows/w.yml",
        f"{STEP}run: echo\n",
        "concurrency-limits",
    ),
}


@pytest.mark.parametrize("name", [*LINTERS, *OURS])
def test_linter__finds_what_is_wrong(name: str, tmp_path: Path) -> None:
    """Every linter runs, and finds what it is there for."""
    file, text, finding = WRONG[name]
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(text, encoding="utf-8")

    assert finding in {**LINTERS, **OURS}[name](tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        f"uses: {PIN}",
        f"uses: {PIN} # newest",
        "uses: docker://alpine:3",
        f'{{"uses": "{PIN}"}} # v7.0.1',
    ],
)
def test_unpinned__every_way_around(line: str, tmp_path: Path) -> None:
    """A commit without its version, an image, and a pin that the plain form hides are found too."""
    (tmp_path / "action.yml").write_text(f"runs:\n  steps:\n    - {line}\n", encoding="utf-8")

    assert unpinned(tmp_path) != ""


@pytest.mark.parametrize("block", ["- uses: OWNER/REPO@v1\n", "steps:\n  - uses: OWNER/REPO@v1\n"])
def test_place__steps_become_a_workflow(block: str) -> None:
    """Steps are shown without the workflow around them, and judged within one, in which the action is this one."""
    folder, text = place(block)

    assert folder == ".github/workflows"
    assert [step for job in yaml.safe_load(text)["jobs"].values() for step in job["steps"]] == [
        {"uses": "./"}
    ]


@pytest.mark.parametrize(
    ("block", "folder"),
    [
        ("# .github/workflows/sync.yml\non: push\njobs: {}\n", ".github/workflows"),
        ("# .gitlab-ci.yml\njob:\n  script: true\n", "shown/gitlab"),
        ("# azure-pipelines.yml\nsteps: []\n", "shown/azure"),
        ("# compose.yaml\nservices: {}\n", "shown/other"),
    ],
)
def test_place__where_it_is_judged(block: str, folder: str) -> None:
    """What a block is follows from its first line or its content, and it is not changed."""
    assert place(block) == (folder, block)


@pytest.mark.parametrize("block", ["services: {}\n", "# Nothing of a file\n- 5\n", "5\n"])
def test_place__what_nobody_knows(block: str) -> None:
    """A block that nothing but yamllint would judge has to say what it is: none gets by because it was not marked."""
    with pytest.raises(ValueError, match="say in a first comment line which file it is"):
        place(block)


def test_lay_out__inputs_are_the_actions(tmp_path: Path) -> None:
    """A snippet that names an input which the action does not have is found, under its page and line."""
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n\n```yaml\n- uses: OWNER/REPO@v1\n  with:\n    no-such-input: 1\n```\n",
        encoding="utf-8",
    )
    (tmp_path / "shown").mkdir()

    lay_out([page], tmp_path / "shown")

    assert '.github/workflows/page-4.yml:10:11: input "no-such-input" is not defined' in actionlint(
        tmp_path / "shown"
    )
