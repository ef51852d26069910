"""Text that terminals, CI systems and spreadsheets show and do not obey, whatever it quotes."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_QUOTED_CHARACTERS = 200
#: Enrollments that a summary for people lists.
MAX_SUMMARY_RECORDS = 50
# Control characters, line ends, marks that reverse the direction, halves of surrogate pairs; then
# a backslash that looks like the beginning of an escape, and the second of two number signs.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
    r"|\\(?=u[0-9A-Fa-f]{4})|(?<=#)#"
)
# GitHub obeys ::NAME::… at the beginning of a line, also behind white space.
_COMMAND = re.compile(r"\A(\s*:):")
_ESCAPES = re.compile(r"(?:\\u[0-9A-Fa-f]{4})+")
# What makes a spreadsheet compute a cell (OWASP, CSV Injection), the full-width signs included.
_SIGNS = "=+@\uff1d\uff0b\uff0d\uff20-"
_FORMULA = re.compile(rf"'*\s*[{_SIGNS}]")
_ESCAPED_FORMULA = re.compile(rf"'+\s*[{_SIGNS}]")
# Many countries' spreadsheets separate cells by semicolons.
_SEPARATOR = re.compile(rf";(?=[\s'\"]*[{_SIGNS}])")


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


def counted(count: int, noun: str) -> str:
    """Return *count* and *noun*, in the plural unless it is one: ``1 user``, ``1,000 users``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def listed(items: Sequence[str]) -> str:
    """Return *items*, at least one, as in a sentence: ``a, b and c``."""
    *others, last = items
    return f"{', '.join(others)} and {last}" if others else last


def quoted(text: str) -> str:
    """Return text from elsewhere fit for a message: in quotes, cut, control characters visible."""
    if len(text) > MAX_QUOTED_CHARACTERS:
        text = f"{text[:MAX_QUOTED_CHARACTERS]}…"
    return to_json(text)


def escape(text: str) -> str:
    r"""Return *text* as one line without commands and control characters; ``unescape`` undoes it.

    Characters that must not stay are written as in JSON: ``\u001b``.
    """
    return _COMMAND.sub(r"\1\\u003a", _UNSAFE.sub(_as_escape, text))


def unescape(text: str) -> str:
    """Return the text that ``escape`` made *text* of."""
    return _ESCAPES.sub(_as_character, text)


def escape_cell(text: str) -> str:
    """Return ``escape`` of *text*, and an apostrophe before what a spreadsheet would compute."""
    return without_formulas(("'" if _FORMULA.match(text) else "") + escape(text))


def unescape_cell(text: str) -> str:
    """Return the text that ``escape_cell`` made *text* of."""
    text = unescape(text)
    return text[1:] if _ESCAPED_FORMULA.match(text) else text


def without_formulas(text: str) -> str:
    r"""Return *text*, of JSON or escaped, with ``\u003b`` for a semicolon before a formula."""
    return _SEPARATOR.sub(r"\\u003b", text)


def _as_escape(unsafe: re.Match[str]) -> str:
    return f"\\u{ord(unsafe[0]):04x}"


def _as_character(escapes: re.Match[str]) -> str:
    digits = escapes[0].replace("\\u", "")
    return bytes.fromhex(digits).decode("utf-16-be", errors="surrogatepass")


def _without_commands(text: str) -> str:
    # GitHub and Azure obey ##[…] and ##vso[…] anywhere in a line; JSON reads the escape back.
    return text.replace("##", "#\\u0023")
