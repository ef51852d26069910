"""Hooks of mkdocs: the header shows the version, and links out of docs lead to GitHub."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

_VERSION = re.compile(r'^__version__ = "(.+)"$', re.MULTILINE)
_LINK = re.compile(r"\]\(((?:\.\./)+[^)\s]+)\)")


def on_config(config: MutableMapping[str, Any], **_: Any) -> MutableMapping[str, Any]:
    """Return *config* with the version in the site's name."""
    # The environment of mkdocs does not have the package.
    package = Path(__file__).parents[1] / "connector/__init__.py"
    match = _VERSION.search(package.read_text(encoding="utf-8"))
    if match:
        config["site_name"] += f" {match[1]}"
    return config


def on_page_markdown(markdown: str, *, page: Any, config: Mapping[str, Any], **_: Any) -> str:
    """Return a page's text, in which links that leave ``docs`` are addresses on GitHub."""
    folder = posixpath.dirname(f"docs/{page.file.src_uri}")

    def absolute(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, match[1]))
        if path.startswith("docs/"):
            return match[0]
        return f"]({config['repo_url']}/blob/main/{path})"

    return _LINK.sub(absolute, markdown)
