"""A hook of mkdocs: links from docs to other files of the repository lead to GitHub."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_LINK = re.compile(r"\]\(((?:\.\./)+[^)\s]+)\)")


def on_page_markdown(markdown: str, *, page: Any, config: Mapping[str, Any], **_: Any) -> str:
    """Return a page's text, in which links that leave ``docs`` are addresses on GitHub."""
    folder = posixpath.dirname(f"docs/{page.file.src_uri}")

    def absolute(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, match[1]))
        if path.startswith("docs/"):
            return match[0]
        return f"]({config['repo_url']}/blob/main/{path})"

    return _LINK.sub(absolute, markdown)
