"""The pages show their sources whole, say the same of each platform, and are all in the index."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import EXAMPLES, PAGES

PLATFORMS = (
    "zapier",
    "make",
    "power-automate",
    "n8n",
    "windmill",
    "pipedream",
    "aws-lambda",
    "cloud-run",
    "azure-functions",
)
INDEX = (PAGES / "README.md").read_text(encoding="utf-8")
SOURCES = [
    path for name in PLATFORMS for path in sorted((EXAMPLES / name).iterdir()) if path.is_file()
]
_BLOCK = re.compile(r"^```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def page(name: str) -> str:
    """Return a platform's page."""
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PLATFORMS)
def test_page__shows_its_sources_whole(name: str) -> None:
    """A page's blocks are its platform's files and nothing else, and it links each of them."""
    sources = {
        path.name: path.read_text(encoding="utf-8") for path in SOURCES if path.parent.name == name
    }

    assert sorted(_BLOCK.findall(page(name))) == sorted(sources.values())
    assert set(re.findall(rf"\]\(\.\./\.\./examples/{name}/([^)]+)\)", page(name))) == set(sources)


@pytest.mark.parametrize("name", PLATFORMS)
def test_page__says_what_else_there_is(name: str) -> None:
    """A page ends with whether ALM itself is enough, and with how it was checked, what nothing could check included."""
    headings = re.findall(r"^## (.*)", page(name), flags=re.MULTILINE)

    assert headings[-2:] == ["Is ALM itself enough?", "How this is checked"]
    assert re.search(r"[Nn]othing could check", page(name).rpartition("## ")[2])


def test_index__has_every_page() -> None:
    """Each page has its row, and each row its page."""
    rows = re.findall(
        r"^\| [^|]+ \| [^|]+ \| \[([\w-]+)\]\(\1\.md\) \| [^|]+ \|$", INDEX, flags=re.MULTILINE
    )

    assert sorted(rows) == sorted(path.stem for path in PAGES.glob("*.md") if path.stem != "README")


@pytest.mark.parametrize(
    "script", [path for path in SOURCES if path.suffix == ".sh"], ids=lambda path: path.parent.name
)
def test_scripts__are_sound(script: Path) -> None:
    """Shellcheck finds nothing in a recipe's commands."""
    finished = subprocess.run(
        [Path(sys.executable).parent / "shellcheck", script],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (finished.returncode, finished.stdout) == (0, "")


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_sources__hold_no_secret(source: Path) -> None:
    """No source has a secret in an address, and none has more than a placeholder in a secret's place."""
    text = source.read_text(encoding="utf-8")

    assert re.findall(r"[?&](?:key|token|api_key|access_token)=", text, flags=re.IGNORECASE) == []
    assert re.findall(r"(?:Bearer|oauth) [\w-]{8,}", text) == []
