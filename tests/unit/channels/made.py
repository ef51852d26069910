"""What the tests of the channels hand over, the texts that a hostile server might send, and a page that is read as GitHub shows it."""

from __future__ import annotations

import contextlib
import re
import resource
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from markdown_it import MarkdownIt

from connector.channels import RunOutputs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from connector.errors import ConnectorError

HOSTILE = (
    *(
        "::error::x",
        "  ::set-output name=complete::true",
        "\n::stop-commands::x",
        "a ##[add-mask]complete",
        "###[add-mask]a",
    ),
    *(
        "##vso[task.setvariable variable=complete]true",
        "\r##[endgroup]",
        "\r\n",
        "%0A::error::x",
        "%250A",
        "%AZP250A",
        "\u2028::error::x",
    ),
    *(
        "\ud800",
        "\udcff",
        "\0",
        "\x1b[31mred",
        "x" * 5_000,
        "\nEOF\nerror=x\n",
        "error<<",
        "]",
        ";",
        "😀",
        "\u034f",
        "\u200b",
    ),
    *(
        "|a|",
        "\\|",
        "<script>alert(1)</script>",
        "[a](http://b.cd)",
        "![a](//b.cd/e.png)",
        "<img src=//b.cd>",
        "https://b.cd",
        "www.b.cd",
    ),
    *(
        "@someone",
        "a@b.cd",
        "mailto:a@b.cd",
        "#12",
        "a/b#12",
        ":smile:",
        "     code",
        "# head",
        "`a`",
        "<!--",
        "-->",
        "&lt;b&gt;",
        "&#64;a",
    ),
    *(
        "- a",
        "1. a",
        "***a***",
        "~~a~~",
        "</code>",
        "</details>",
        "$a$",
        "---",
        "| --- |",
        "\u00a0",
        "\x85",
        "_a_",
    ),
)
hostile = st.lists(st.sampled_from(HOSTILE) | st.text(st.characters(), max_size=8), max_size=4).map(
    "".join
)

NO_ERROR: dict[str, Any] = {"http_status": None, "request_id": None, "retry_at": None}


def document(**fields: Any) -> dict[str, Any]:
    """Return the document of a run that read one user without enrollments, with *fields* in it."""
    return {
        "enrollment_ids": [],
        "resource_grade_ids": [],
        "enrollment_count": 0,
        "enrollments": [],
        "complete": True,
        "completeness": {"status": "proved", "reasons": [], "pages": 1, "requests": 1},
        "latest_date_enrolled": None,
        "users": {"requested": 1, "read": 1, "failed": []},
        "output_file": None,
        "error": None,
        **fields,
    }


def handover(
    failed_with: ConnectorError | None = None, named_users: tuple[str, ...] = (), **fields: Any
) -> RunOutputs:
    """Return what such a run hands on."""
    return RunOutputs(document(**fields), failed_with, named_users)


def enrollment(
    enrollment_id: str = "course:1_2_3", state: str | None = "ENROLLED", **fields: Any
) -> dict[str, Any]:
    """Return what a document tells of an enrollment, as far as a summary reads it."""
    known = {
        "lo_type": "course",
        "progress_percent": 0,
        "has_passed": False,
        "date_enrolled": "2023-06-29T11:34:50.000Z",
    }
    return {"id": enrollment_id, "state": state, **known, **fields}


class Stderr:
    """Stands in for standard error."""

    def __init__(self) -> None:
        self.text = ""

    def say(self, line: str) -> None:
        """Keep *line*."""
        self.text += f"{line}\n"


@contextlib.contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Have the kernel refuse whatever a file would hold above *size* bytes."""
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))


class Page(HTMLParser):
    """A summary as it is shown: its tags, the cells of its tables, and what would be a link or a picture although no tag says so."""

    def __init__(self, markdown: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.tables: list[list[list[str]]] = []
        self.items: list[str] = []
        # GitHub's Markdown links these wherever they are written out.
        self.links = re.findall(r"www\.|https?:|ftp:", markdown)
        self._open: list[str] = []
        self.feed(
            MarkdownIt("commonmark", {"html": True})
            .enable(["table", "strikethrough"])
            .render(markdown)
        )
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a tag, and begin a table, a row or a cell."""
        self.tags.add(tag)
        self.attributes += attrs
        if tag == "wbr":
            return
        self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "li":
            self.items.append("")

    def handle_endtag(self, tag: str) -> None:
        """End a tag; what was not begun, or not ended in order, is markup that was let through."""
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keep a text."""
        # These GitHub looks for in each piece of text when Markdown has been read, in code for addresses alone.
        self.links += re.findall(
            r"[\w.+-]@[\w-]" if "code" in self._open else r"@[\w-]|#\d|:[\w+-]+:", data
        )
        if self._open and {"td", "th"} & set(self._open):
            self.tables[-1][-1][-1] += data
        elif "li" in self._open:
            self.items[-1] += data
