"""The README is exact: its tables are the schemas', and what it shows is what happens."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from scripts.tables import EXPORT, README, columns_table, updated

if TYPE_CHECKING:
    from pathlib import Path

CHECKOUT = README.parent
TEXT = README.read_text(encoding="utf-8")
PAGES = sorted([*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md")])


def blocks(language: str, text: str = TEXT) -> list[str]:
    """Return the fenced blocks of *language*."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Return variables under which ``alm-enrollments`` is this checkout's."""
    command = tmp_path / "bin" / "alm-enrollments"
    command.parent.mkdir()
    command.write_text(
        f'#!/bin/sh\nPYTHONPATH="{CHECKOUT}" exec "{sys.executable}" -m connector "$@"\n',
        encoding="utf-8",
    )
    command.chmod(0o755)
    return {"PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}"}


def test_tables__are_the_schemas() -> None:
    """The README's tables are those that the schemas and the error classes give (`make docs` writes them)."""
    assert updated(TEXT) == TEXT
    assert updated(
        EXPORT.read_text(encoding="utf-8"), {"columns": columns_table}
    ) == EXPORT.read_text(encoding="utf-8")


def test_tables__are_all_there() -> None:
    """No table has lost its place in the README."""
    assert re.findall(r"<!-- (\w+) -->\n", TEXT) == ["outputs", "inputs", "credentials", "exits"]


@pytest.mark.parametrize(
    "block",
    [block for page in PAGES for block in blocks("console", page.read_text(encoding="utf-8"))],
)
def test_console__shows_what_happens(block: str, environ: dict[str, str], tmp_path: Path) -> None:
    """Every command line shown gives the output shown under it; an ellipsis stands for what differs from run to run."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    lines = block.replace("8484", port).splitlines()
    commands = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    script = "\n".join(
        f"echo '$ {position}'\n{line}{'; sleep 2' * line.endswith('&')}".replace("&; ", "& ")
        for position, line in enumerate(commands)
    )

    shown = subprocess.run(
        ["bash", "-c", f"trap 'kill $(jobs -p) 2>/dev/null' EXIT\n{script}"],
        env=environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    ).stdout

    expected = "\n".join(line if not line.startswith("$ ") else "$ N" for line in lines)
    pattern = re.escape(expected).replace("…", ".*").replace(r"\$\ N", r"\$ \d+")
    assert re.fullmatch(pattern + r"\s*", shown, flags=re.DOTALL), shown


@pytest.mark.parametrize("block", blocks("python"))
def test_python__runs(block: str, tmp_path: Path) -> None:
    """Every Python snippet runs as it stands, against the embedded sandbox."""
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", block],
        env={"PYTHONPATH": str(CHECKOUT), "PATH": os.environ["PATH"]},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (finished.returncode, finished.stderr) == (0, "")
    assert "course:7236827_7877699_20941371" in finished.stdout


@pytest.mark.parametrize(
    "block", [block for page in PAGES for block in blocks("sh", page.read_text(encoding="utf-8"))]
)
def test_sh__is_sound(block: str) -> None:
    """Every shell snippet parses, and names only targets, commands and variables that are there."""
    help_text = "".join(
        subprocess.run(
            [sys.executable, "-m", "connector", *command],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for command in (["--help"], ["serve", "--help"])
    )
    targets = re.findall(
        r"^([a-z]+):", (CHECKOUT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE
    )

    subprocess.run(["bash", "-n", "-c", block], check=True)

    assert set(re.findall(r"^make (\w+)", block, flags=re.MULTILINE)) <= set(targets)
    assert {
        name.removeprefix("ALM_").lower().replace("_", "-")
        for name in re.findall(r"\bALM_\w+", block)
    } <= {
        *re.findall(r"--([a-z-]+)", help_text),
        *(name.lower().replace("_", "-") for name in re.findall(r"ALM_(\w+)", help_text)),
    }


def test_numbers__are_those_that_the_benchmarks_print() -> None:
    """Every line of the tables of numbers is one that `make bench` prints, and none of those is left out."""
    source = "".join(
        (CHECKOUT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8")
        for name in ("bench", "scale", "action")
    )
    starts = {
        start.strip() for start in re.findall(r'(?: row\(\s*f?"|print\(f"\| )([^"{(,|]+)', source)
    }
    rows = re.findall(r"^\| ([^|]+) \| [0-9.]+ (?:ms|µs|s|MB)[^|]*\|", TEXT, flags=re.MULTILINE)

    assert [row for row in rows if not row.startswith(tuple(starts))] == []
    assert {start for start in starts if not any(row.startswith(start) for row in rows)} == {
        "the same: curl and jq"
    } - set(rows)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links__lead_somewhere(page: Path) -> None:
    """Every relative link names a file that is there."""
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))

    assert [link for link in links if not (page.parent / link).exists()] == []
