"""Text that a terminal or a CI system prints and does not obey, whatever it quotes."""

from __future__ import annotations

import json
from typing import Any

MAX_QUOTED_CHARACTERS = 200
#: Enrollments that a summary for people lists.
MAX_SUMMARY_RECORDS = 50


def one_line(text: str) -> str:
    """Return *text* as one line without commands, control characters and line breaks."""
    visible = [
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    ]
    return _without_commands("".join(visible))


def to_json(value: Any) -> str:  # noqa: ANN401 - any JSON value
    r"""Return *value* as one line of compact ASCII JSON, ``##`` in it written ``#\u0023``."""
    return _without_commands(
        json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    )


def quoted(text: str) -> str:
    """Return text from elsewhere fit for a message: in quotes, cut, control characters visible."""
    if len(text) > MAX_QUOTED_CHARACTERS:
        text = f"{text[:MAX_QUOTED_CHARACTERS]}…"
    return to_json(text)


def _without_commands(text: str) -> str:
    # GitHub and Azure obey ##[…] and ##vso[…] anywhere in a line; JSON reads the escape back.
    return text.replace("##", "#\\u0023")
