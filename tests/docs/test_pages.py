"""README and docs are exact: tables are generated, and commands do what they show."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from connector import __version__
from scripts.tables import DOCS, README, updated
from scripts.tables import PAGES as TABLES
from tests.support.process import CHECKOUT, PATIENCE_SECONDS, command

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.process import Command

__all__ = ["command"]

PAGES = sorted([*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md")])
# The Python of the other pages runs in Airflow, or is a recipe's.
PYTHON_PAGES = (README, DOCS / "PYTHON.md")
EXAMPLES = sorted(
    path for path in CHECKOUT.glob("examples/**/*") if path.is_file() and path.suffix != ".pyc"
)
REPOSITORY = "https://github.com/OWNER/REPO"
COMMANDS = ("check", "merge", "diff", "serve", "sandbox")
# What a command in the background listens on; its output is shown when it does.
PORT = "8484"
IN_BACKGROUND = """{command} > started &
until [ -s started ] && (: > /dev/tcp/127.0.0.1/{port}) 2> /dev/null; do sleep 0.05; done
cat started"""


def blocks(language: str, *pages: Path) -> list[str]:
    """Return the fenced blocks of *language* in *pages*."""
    pattern = re.compile(rf"^```{language}\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
    return [block for page in pages for block in pattern.findall(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", TABLES, ids=lambda page: page.name)
def test_tables__are_generated(page: Path) -> None:
    """The tables of a page are those that `make docs` writes, and each of them is there."""
    text = page.read_text(encoding="utf-8")

    assert re.findall(r"<!-- (\w+) -->\n", text) == list(TABLES[page])
    assert updated(text, TABLES[page]) == text


@pytest.mark.parametrize("block", blocks("console", *PAGES))
def test_console__shows_what_happens(block: str, command: Command) -> None:
    """Each command prints the lines under it; an ellipsis stands for what varies."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    script = ["trap 'kill $(jobs -p) 2> /dev/null' EXIT"]
    expected = []
    for line in block.replace(PORT, port).splitlines():
        shown = line.removeprefix("$ ")
        if line == shown:
            expected.append(re.escape(line).replace("…", ".*"))
            continue
        script.append(f"echo '$ {len(script)}'")
        command_line = shown.removesuffix("&")
        if command_line != shown:
            shown = IN_BACKGROUND.format(command=command_line, port=port)
        script.append(shown)
        expected.append(r"\$ \d+")

    finished = command.shell("\n".join(script))

    assert re.fullmatch("\n".join(expected) + r"\s*", finished.stdout, flags=re.DOTALL), finished


@pytest.mark.parametrize("block", blocks("python", *PYTHON_PAGES))
def test_python__runs(block: str, command: Command) -> None:
    """Each Python example runs as it is, against the embedded sandbox."""
    process = command.start_python(["-W", "error", "-c", block])
    stdout, stderr = process.communicate(timeout=PATIENCE_SECONDS)

    assert (process.returncode, stderr) == (0, "")
    assert "course:7236827_7877699_20941371" in stdout


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return the names of all flags and variables in the help, without prefix and in lower case."""
    command = [sys.executable, "-m", "connector"]
    environ = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    text = "".join(
        subprocess.run(
            [*command, *arguments],
            env=environ,
            cwd=tmp_path_factory.mktemp("help"),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for arguments in (["--help"], *([name, "--help"] for name in COMMANDS))
    )
    flags = {name.replace("-", "_") for name in re.findall(r"--([a-z-]+)", text)}
    return flags | {name.lower() for name in re.findall(r"ALM_(\w+)", text)}


@pytest.mark.parametrize("block", blocks("sh", *PAGES))
def test_sh__is_sound(block: str, names: set[str]) -> None:
    """Each shell example parses, and uses only targets and variables that exist."""
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE))

    subprocess.run(["bash", "-n", "-c", block], check=True)

    assert set(re.findall(r"^make (\w+)", block, flags=re.MULTILINE)) <= targets
    assert unknown_names(block, names) == set()


@pytest.mark.parametrize("block", blocks("powershell", *PAGES))
def test_powershell__is_sound(block: str, names: set[str]) -> None:
    """Each example for PowerShell uses existing variables and flags, and no syntax of bash."""
    assert unknown_names(block, names) == set()
    assert re.search(r"\\$|&&|\bexport\b|/dev/null", block, flags=re.MULTILINE) is None
    assert re.search(r"^ALM_\w+=", block, flags=re.MULTILINE) is None


def unknown_names(block: str, names: set[str]) -> set[str]:
    """Return our variables in *block*, and its flags of our command, that no help describes."""
    variables = {name.lower() for name in re.findall(r"\bALM_(\w+)", block)}
    commands = re.findall(
        r"\balm-enrollments ((?:[^|;&#\n]|\\\n|`\n)*)", block.replace("[serve]", "")
    )
    flags = {
        flag.replace("-", "_")
        for line in commands
        for flag in re.findall(r"(?<![\w-])--([a-z][a-z-]+)", line)
    }
    return (variables | flags) - names


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_completion__is_set_up_as_shown(shell: str, command: Command) -> None:
    """The page of completion has each shell that the command prints a script for."""
    script = command.as_process(_ALM_ENROLLMENTS_COMPLETE=f"{shell}_source").stdout

    assert "_ALM_ENROLLMENTS_COMPLETE=" in script.replace(" = ", "=")
    assert f"{shell}_source" in (DOCS / "COMPLETION.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_sandbox__is_for_one_command(page: Path) -> None:
    """No page leaves the sandbox in a shell's variables: the next command would read it again."""
    kept = r"export [^\n]*ALM_BASE_URL=sandbox|\$env:ALM_BASE_URL *= *['\"]?sandbox"

    assert re.findall(kept, page.read_text(encoding="utf-8")) == []


def test_numbers__are_those_of_the_benchmarks() -> None:
    """Each row of numbers is one that `make bench` prints, and none of its rows is missing."""
    sources = "".join(
        (CHECKOUT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8")
        for name in ("bench", "ahead", "scale", "action", "serve")
    )
    starts = re.findall(r'(?: row\(\s*f?"|print\(\s*f?"\| )([^"{(|]{12,})', sources)
    printed = {start.strip() for start in starts}
    text = (DOCS / "PERFORMANCE.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| [0-9.]+ (?:ms|µs|s|MB|of)[^|]*\|", text, flags=re.MULTILINE)

    assert [row for row in rows if not row.startswith(tuple(printed))] == []
    missing = {start for start in printed if not any(row.startswith(start) for row in rows)}
    # The table was made without curl, and before the other three.
    later = {"CPU, diff of ", "peak memory of", "peak memory, diff of"}
    assert {start for start in missing if not start.startswith(tuple(later))} <= {
        "the same: curl and jq"
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links__lead_to_files(page: Path) -> None:
    """Each link within the project names an existing file, and an existing heading in it."""
    text = page.read_text(encoding="utf-8").replace(f"{REPOSITORY}/blob/main", str(CHECKOUT))
    links = re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]+))?\)", text)

    assert [link for link, _ in links if not (page.parent / link).exists()] == []
    anchors = [
        (link, anchor)
        for link, anchor in links
        if anchor and anchor not in headings(page.parent / link if link else page)
    ]
    assert anchors == []


def headings(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and mkdocs make them."""
    text = re.sub(r"^(```|~~~).*?^\1", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


def test_readme__is_short_and_works_on_pypi() -> None:
    """The README has at most 150 lines, and absolute links only: PyPI has no other files."""
    text = README.read_text(encoding="utf-8")

    assert len(text.splitlines()) <= 150
    assert re.findall(r"\]\((?!https://)[^)]*\)", text) == []


@pytest.mark.parametrize(
    "file",
    [*PAGES, *EXAMPLES],
    ids=lambda file: file.name,
)
def test_tags__are_of_this_version(file: Path) -> None:
    """Each image of ours has the tag of this version, and the action that of its major version."""
    text = file.read_text(encoding="utf-8")
    tags = re.findall(r"(?:ghcr\.io/OWNER/REPO|/alm-enrollments):([\w.]+)", text)
    refs = re.findall(r"uses: OWNER/REPO@(\S+)", text)

    assert set(tags) <= {__version__}
    assert set(refs) <= {f"v{__version__.partition('.')[0]}"}
