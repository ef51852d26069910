"""Outputs and hostile texts for the tests of the channels, and a full disk."""

from __future__ import annotations

import contextlib
import re
import resource
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from connector.channels import RunOutputs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from connector.errors import ConnectorError

HOSTILE = (
    *("::error::x", "  ::set-output name=complete::true", "\n::stop-commands::x"),
    *("a ##[add-mask]complete", "###[add-mask]a", "\r##[endgroup]", "\r\n", "\u2028::error::x"),
    *("##vso[task.setvariable variable=complete]true", "%0A::error::x", "%250A", "%AZP250A"),
    *("\ud800", "\udcff", "\0", "\x1b[31mred", "\x85", "\u00a0", "\u034f", "\u200b", "😀"),
    *("x" * 5_000, "\nEOF\nerror=x\n", "error<<", "]", ";", "|a|", "\\|", "| --- |", "---"),
    *("<script>alert(1)</script>", "[a](http://b.cd)", "![a](//b.cd/e.png)", "<img src=//b.cd>"),
    *("https://b.cd", "www.b.cd", "@someone", "a@b.cd", "mailto:a@b.cd", "#12", "a/b#12"),
    *(":smile:", "     code", "# head", "`a`", "<!--", "-->", "&lt;b&gt;", "&#64;a", "- a"),
    *("1. a", "***a***", "~~a~~", "</code>", "</details>", "$a$", "_a_"),
)
hostile = st.lists(st.sampled_from(HOSTILE) | st.text(st.characters(), max_size=8), max_size=4).map(
    "".join
)
NO_ERROR: dict[str, Any] = {"http_status": None, "request_id": None, "retry_at": None}
#: The outputs of ``run_outputs()`` as text.
OUTPUTS = {
    "source": "https://learningmanager.adobe.com",
    "enrollment_ids": "[]",
    "resource_grade_ids": "[]",
    "enrollment_count": "0",
    "complete": "true",
    "completeness": '{"status":"verified","reasons":[],"pages":1,"requests":1}',
    "next_since": "",
    "users": '{"requested":1,"read":1,"failed":[]}',
    "output_file": "",
    "error": "",
}


def document(**fields: Any) -> dict[str, Any]:
    """Return the document of a run that read one user without enrollments, with *fields*."""
    return {
        "source": "https://learningmanager.adobe.com",
        "enrollment_ids": [],
        "resource_grade_ids": [],
        "enrollment_count": 0,
        "enrollments": [],
        "complete": True,
        "completeness": {"status": "verified", "reasons": [], "pages": 1, "requests": 1},
        "next_since": None,
        "users": {"requested": 1, "read": 1, "failed": []},
        "output_file": None,
        "error": None,
        **fields,
    }


def run_outputs(
    run_error: ConnectorError | None = None, named_users: tuple[str, ...] = (), **fields: Any
) -> RunOutputs:
    """Return the outputs of such a run."""
    return RunOutputs(document(**fields), run_error, named_users)


def enrollment(
    enrollment_id: str = "course:1_2_3", state: str | None = "ENROLLED", **fields: Any
) -> dict[str, Any]:
    """Return the fields of an enrollment that a summary shows."""
    return {
        "id": enrollment_id,
        "user_id": "3",
        "lo_id": "course:1",
        "lo_type": "course",
        "state": state,
        "progress_percent": 0,
        "has_passed": False,
        "date_enrolled": "2023-06-29T11:34:50.000Z",
        "date_completed": None,
        **fields,
    }


def as_utf_8(text: str) -> str:
    """Return *text* as UTF-8 is read: lone surrogates as escapes, invalid bytes replaced."""
    escaped = re.sub("[\ud800-\udc7f\udd00-\udfff]", lambda half: f"\\u{ord(half[0]):x}", text)
    return escaped.encode(errors="surrogateescape").decode(errors="replace")


class Stderr:
    """Keeps the lines that a channel writes to standard error."""

    def __init__(self) -> None:
        self.text = ""

    def write_line(self, line: str) -> None:
        """Keep *line*."""
        self.text += f"{line}\n"


@contextlib.contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Let the kernel refuse every write that would make a file larger than *size* bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
