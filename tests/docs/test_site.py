"""The site of the documentation has every page, and its links lead somewhere."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from connector import __version__
from scripts.site import on_config, on_page_markdown
from tests.support.process import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG = yaml.safe_load((CHECKOUT / "mkdocs.yml").read_text(encoding="utf-8"))


def pages(entry: Any) -> Iterator[str]:
    """Yield the paths of a part of the navigation, in its order."""
    if isinstance(entry, str):
        yield entry
    else:
        for part in entry.values() if isinstance(entry, dict) else entry:
            yield from pages(part)


def test_navigation__has_every_page() -> None:
    """Each page is in the navigation once."""
    folder = CHECKOUT / "docs"
    files = [str(path.relative_to(folder)) for path in folder.glob("**/*.md")]

    assert sorted(pages(CONFIG["nav"])) == sorted(files)


def test_config__shows_the_version() -> None:
    """The name of the site, in the header of each page, has the version."""
    assert on_config({"site_name": "x"}) == {"site_name": f"x {__version__}"}


@pytest.mark.parametrize(
    ("page", "link", "expected"),
    [
        ("DIFF.md", "../examples/a.yml", "https://github.com/OWNER/REPO/blob/main/examples/a.yml"),
        ("recipes/n8n.md", "../../LICENSE", "https://github.com/OWNER/REPO/blob/main/LICENSE"),
        ("recipes/n8n.md", "../HTTP.md#requests", "../HTTP.md#requests"),
        ("DIFF.md", "HTTP.md", "HTTP.md"),
    ],
)
def test_links__that_leave_docs_lead_to_github(page: str, link: str, expected: str) -> None:
    """A link to a file outside of docs is its address on GitHub; others stay as they are."""
    source = SimpleNamespace(file=SimpleNamespace(src_uri=page))

    text = on_page_markdown(f"see [this]({link}).", page=source, config=CONFIG, files=None)

    assert text == f"see [this]({expected})."
