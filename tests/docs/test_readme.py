"""The README and docs are exact: tables are generated, and commands do what they show."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from scripts.tables import DIFF, EXPORT, README, columns_table, diff_table, updated
from tests.support.process import CHECKOUT, PATIENCE_SECONDS, command

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.process import Command

__all__ = ["command"]

TEXT = README.read_text(encoding="utf-8")
PAGES = sorted([*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md")])
# What a command in the background listens on; its output is shown when it does.
PORT = "8484"
IN_BACKGROUND = """{command} > started &
until [ -s started ] && (: > /dev/tcp/127.0.0.1/{port}) 2> /dev/null; do sleep 0.05; done
cat started"""


def blocks(language: str, *pages: Path) -> list[str]:
    """Return the fenced blocks of *language* in *pages*."""
    pattern = re.compile(rf"^```{language}\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
    return [block for page in pages for block in pattern.findall(page.read_text(encoding="utf-8"))]


def test_tables__are_generated() -> None:
    """The tables of the README and of two pages are those that `make docs` writes."""
    export = EXPORT.read_text(encoding="utf-8")
    difference = DIFF.read_text(encoding="utf-8")

    assert updated(TEXT) == TEXT
    assert updated(export, {"columns": columns_table}) == export
    assert updated(difference, {"diff": diff_table}) == difference
    names = re.findall(r"<!-- (\w+) -->\n", TEXT)
    assert names == ["outputs", "inputs", "credentials", "exits"]


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


@pytest.mark.parametrize("block", blocks("python", README))
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
        for arguments in (["--help"], ["serve", "--help"])
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
    assert {name.lower() for name in re.findall(r"\bALM_(\w+)", block)} <= names


def test_numbers__are_those_of_the_benchmarks() -> None:
    """Each row of numbers is one that `make bench` prints, and none of its rows is missing."""
    sources = "".join(
        (CHECKOUT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8")
        for name in ("bench", "scale", "action")
    )
    starts = re.findall(r'(?: row\(\s*f?"|print\(\s*f?"\| )([^"{(|]{12,})', sources)
    printed = {start.strip() for start in starts}
    rows = re.findall(r"^\| ([^|]+) \| [0-9.]+ (?:ms|µs|s|MB)[^|]*\|", TEXT, flags=re.MULTILINE)

    assert [row for row in rows if not row.startswith(tuple(printed))] == []
    missing = {start for start in printed if not any(row.startswith(start) for row in rows)}
    # The table was made without curl, and before the other three.
    later = {"CPU, diff of ", "peak memory of", "peak memory, diff of"}
    assert {start for start in missing if not start.startswith(tuple(later))} <= {
        "the same: curl and jq"
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links__lead_to_files(page: Path) -> None:
    """Each relative link names an existing file."""
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))

    assert [link for link in links if not (page.parent / link).exists()] == []
