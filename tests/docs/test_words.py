"""What users read has no words that slipped in before; CONTRIBUTING.md has better ones."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.process import CHECKOUT, command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.process import Command

__all__ = ["command"]

# One regular expression per line.
SLIPS = (CHECKOUT / "tests/docs/words.txt").read_text(encoding="utf-8").splitlines()
FILES = sorted(
    [
        *CHECKOUT.glob("*.md"),
        *CHECKOUT.glob("docs/**/*.md"),
        *(
            path
            for path in CHECKOUT.glob("examples/**/*")
            if path.is_file() and path.suffix != ".pyc"
        ),
        CHECKOUT / "action.yml",
    ]
)
SCHEMAS = sorted(CHECKOUT.glob("schemas/*.json"))
COMMANDS = ("", "fetch", "check", "merge", "diff", "serve", "sandbox")


def files(paths: list[Path]) -> list[Any]:
    """Return the parameters for *paths*."""
    return [pytest.param(path, id=str(path.relative_to(CHECKOUT))) for path in paths]


def slips(text: str) -> list[str]:
    """Return the words of *text* that slipped in, with those around them."""
    found = []
    for slip in SLIPS:
        for match in re.finditer(slip, " ".join(text.split())):
            around = match.string[max(match.start() - 30, 0) : match.end() + 30]
            found.append(around)
    return found


def texts(value: Any) -> Iterator[str]:
    """Yield the texts of a JSON Schema that users read."""
    if isinstance(value, dict):
        for key, member in value.items():
            if key in ("title", "description", "summary", "x-allowed", "x-default"):
                yield from [member] if isinstance(member, str) else texts(member)
            else:
                yield from texts(member)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


@pytest.mark.parametrize("file", files(FILES))
def test_files__have_no_slip(file: Path) -> None:
    """README, docs, changelog, examples and action.yml have none of the words."""
    assert slips(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("file", files(SCHEMAS))
def test_schemas__have_no_slip(file: Path) -> None:
    """The descriptions of the schemas and API documents have none of the words."""
    assert [slips(text) for text in texts(json.loads(file.read_text("utf-8"))) if slips(text)] == []


@pytest.mark.parametrize("line", [f"{name} --help".strip() for name in COMMANDS])
def test_help__has_no_slip(line: str, command: Command) -> None:
    """No command's help has any of the words."""
    assert slips(command(line).stdout) == []
