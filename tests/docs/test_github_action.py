"""The page for users of the action is exact: its table of errors has every error, and none that is not there."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import pytest

from scripts.tables import README

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = (README.parent / "docs" / "GITHUB_ACTION.md").read_text(encoding="utf-8")
SOURCES = [*(README.parent / "connector").rglob("*.py"), README.parent / "action.yml"]
TREES = [
    ast.parse(path.read_text(encoding="utf-8"))
    for path in SOURCES
    if path.suffix == ".py" and not {"sandbox", "http"} & {*path.parts}
]
OURS = re.compile(
    r"(Usage|Partial|UnknownUser|Unreachable|UntrustedHost|Defect|Output|Temporary|Protocol|Refused|OutOfScope)Error"
)


def text_of(node: ast.expr) -> str | None:
    """Return the text of *node*, an ellipsis for what is filled in; ``None`` where it is no text."""
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values
        )
    return (
        re.sub(r"\{\w+\}", "…", node.value)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        else None
    )


def messages() -> Iterator[str]:
    """Yield the message of every error that is raised, or that stands in a table of errors."""
    for node in (node for tree in TREES for node in ast.walk(tree)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and OURS.fullmatch(node.func.id)
            and node.args
        ):
            yield from filter(None, [text_of(node.args[0])])
        if isinstance(node, ast.Tuple):
            names = [
                position
                for position, one in enumerate(node.elts)
                if isinstance(one, ast.Name) and OURS.fullmatch(one.id)
            ]
            yield from filter(
                None,
                [
                    text_of(node.elts[position + 1])
                    for position in names
                    if position + 1 < len(node.elts)
                ],
            )


# A word or a file name alone comes from elsewhere: a name, an exit code's short form.
MESSAGES = sorted(
    {
        message
        for message in messages()
        if " " in message and not message.startswith(("… {", "…; the deadline"))
    }
)
ROWS = re.findall(r"^\| (`.*?) \|", PAGE.partition("| the message begins |")[2], flags=re.MULTILINE)
PHRASES = [phrase for row in ROWS for phrase in re.findall(r"`([^`]+)`", row)]


def begins(message: str, phrase: str) -> bool:
    """Return whether *message* begins as *phrase* does; an ellipsis in either stands for anything."""
    return re.match(".*?".join(map(re.escape, phrase.split("…"))), message) is not None


@pytest.mark.parametrize("message", MESSAGES)
def test_errors__each_has_a_row(message: str) -> None:
    """Whatever error a user meets, the table has a row that it begins with."""
    assert [phrase for phrase in PHRASES if begins(message, phrase)] != []


@pytest.mark.parametrize("phrase", PHRASES)
def test_errors__each_row_is_an_error(phrase: str) -> None:
    """No row quotes a text that the program does not have."""
    source = " ".join(path.read_text(encoding="utf-8") for path in SOURCES)
    pieces = [piece.strip() for piece in phrase.split("…") if piece.strip()]

    assert [piece for piece in pieces if piece not in source] == []
