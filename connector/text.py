"""Text that a terminal or a CI system prints and does not obey, whatever it quotes."""

from __future__ import annotations

import json
from typing import Any

#: Enrollments that a summary for people lists.
MAX_SUMMARY_RECORDS = 50


def one_line(text: str) -> str:
    """Return *text* as one line in which nothing is a command, a control character or a new line."""
    visible = "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )
    # GitHub and Azure obey ##[…] and ##vso[…] in mid-line.
    return visible.replace("##", "#\\u0023")


def to_json(value: Any) -> str:  # noqa: ANN401 - whatever JSON can say
    r"""Return *value* as one line of compact ASCII JSON, ``##`` in it written ``#\u0023``.

    GitHub and Azure obey ``##[…]`` and ``##vso[…]`` in mid-line (CONTRACT.md, Output).
    """
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":")).replace(
        "##", "#\\u0023"
    )
