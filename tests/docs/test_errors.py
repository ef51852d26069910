"""docs/ERRORS.md is exact: its tables have every error and warning, and no other."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import pytest

from connector import errors
from tests.support.process import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = (CHECKOUT / "docs/ERRORS.md").read_text(encoding="utf-8")
# The sandbox's own messages are for those who write its faults.
SOURCES = [path for path in (CHECKOUT / "connector").rglob("*.py") if "sandbox" not in path.parts]
NODES = [node for path in SOURCES for node in ast.walk(ast.parse(path.read_text("utf-8")))]
CLASSES = {
    name
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, errors.ConnectorError)
}


def is_class(node: ast.AST) -> bool:
    """Return whether *node* names a class of errors."""
    return isinstance(node, ast.Name) and node.id in CLASSES


def texts(node: ast.AST) -> Iterator[str]:
    """Yield the text of *node*, with an ellipsis for what is filled in."""
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
        yield "".join(map(str, parts))
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield re.sub(r"\{\w+\}|%[sd]", "…", node.value)


def is_report(node: ast.AST) -> bool:
    """Return whether *node* is a function that warns, or refuses a file of merge or diff."""
    names = ("warn", "warning", "refused", "_refused")
    return getattr(node, "id", getattr(node, "attr", None)) in names


def messages() -> Iterator[str]:
    """Yield the message of every error, warning and problem of a file.

    Errors are raised, or listed next to their class in a table.
    """
    for node in NODES:
        if isinstance(node, ast.Call) and (is_class(node.func) or is_report(node.func)):
            yield from (text for argument in node.args[:1] for text in texts(argument))
        elif isinstance(node, ast.Tuple):
            pairs = zip(node.elts, node.elts[1:], strict=False)
            yield from (
                text for first, second in pairs if is_class(first) for text in texts(second)
            )


def hints() -> Iterator[str]:
    """Yield each hint that is written where an error is raised, and what a problem allows."""
    for node in NODES:
        if isinstance(node, ast.keyword) and node.arg == "hint":
            yield from texts(node.value)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Problem":
            yield from (text for argument in node.args[1:] for text in texts(argument))


STRINGS = [text for node in NODES for text in texts(node)]
SLIPS = (CHECKOUT / "tests/docs/words.txt").read_text(encoding="utf-8").splitlines()
ACTION = (CHECKOUT / "action.yml").read_text(encoding="utf-8")
# One word is a name, or the short form of an exit code.
MESSAGES = sorted({message for message in messages() if re.search(r"\w \w", message)})
ROWS = re.findall(r"^\| (`.*?) \|", PAGE.partition("## Messages")[2], flags=re.MULTILINE)
PHRASES = [phrase for row in ROWS for phrase in re.findall(r"`([^`]+)`", row)]


@pytest.mark.parametrize("message", MESSAGES)
def test_errors__each_has_a_row(message: str) -> None:
    """The tables have a row for each message; an ellipsis in a row stands for anything."""
    patterns = [".*?".join(map(re.escape, phrase.split("…"))) for phrase in PHRASES]

    assert [pattern for pattern in patterns if re.match(pattern, message)] != []


@pytest.mark.parametrize("text", sorted({*MESSAGES, *hints()}))
def test_errors__have_no_slip(text: str) -> None:
    """No message and no hint has a word that slipped in before."""
    assert [slip for slip in SLIPS if re.search(slip, text)] == []


@pytest.mark.parametrize("phrase", PHRASES)
def test_errors__each_row_is_an_error(phrase: str) -> None:
    """Each row quotes a text that the program has."""
    pieces = [piece.strip() for piece in phrase.split("…") if piece.strip()]

    assert [
        piece for piece in pieces if not any(piece in text for text in (*STRINGS, ACTION))
    ] == []
