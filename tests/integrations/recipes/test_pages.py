"""The recipes' pages show their files, and the index has every page."""

from __future__ import annotations

import re

import pytest

from tests.integrations.recipes.conftest import EXAMPLES, PAGES
from tests.support.process import CHECKOUT

NAMES = sorted(path.stem for path in PAGES.glob("*.md") if path.stem != "README")
FILES = {name: sorted((EXAMPLES / name).iterdir()) for name in NAMES}


def page(name: str) -> str:
    """Return a platform's page."""
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_page__shows_and_links_its_files(name: str) -> None:
    """A page shows each file of its recipe completely, and links it."""
    fences = re.findall(r"^(```|~~~)\w+\n(.*?)^\1$", page(name), flags=re.DOTALL | re.MULTILINE)
    files = [path for path in FILES[name] if path.is_file()]
    links = [f"(../../{path.relative_to(CHECKOUT)})" for path in files]

    assert files != []
    shown = {block for _, block in fences}
    assert {path.read_text(encoding="utf-8") for path in files} - shown == set()
    assert [link for link in links if link not in page(name)] == []


def test_index__has_every_page() -> None:
    """Each page has a row, and each row a page."""
    index = (PAGES / "README.md").read_text(encoding="utf-8")

    assert sorted(re.findall(r"\| \[([\w-]+)\]\(\1\.md\) \|", index)) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_page__shows_no_secret(name: str) -> None:
    """No file or command has a credential in an address, a header or an argument."""
    secret = r"[?&](?:key|token|api_key|access_token)=|(?:Bearer|oauth) [\w-]{8,}|--from-literal"

    assert re.findall(secret, page(name), flags=re.IGNORECASE) == []


@pytest.mark.parametrize(
    ("name", "limit", "words", "ids"),
    [
        ("gitlab", 5 * 1024, "5 KB", 130),
        ("tekton", 3_072, "3,072 bytes", 80),
        ("argo", 256 * 1024, "256 KB", 7_700),
    ],
)
def test_limits__hold_about_as_many_ids(name: str, limit: int, words: str, ids: int) -> None:
    """A page names its platform's limit, and about how many ids fit into it."""
    size = ids * len('"course:6511020_7037048_20941371",')

    assert words in page(name)
    assert f"about {ids:,} enrollment ids" in page(name)
    # The document's other fields need their part.
    assert limit * 0.85 < size <= limit
