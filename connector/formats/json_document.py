"""Read a JSON document or array value by value, however large it is."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from connector.formats.interface import open_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import TextIO

Record = dict[str, Any]
_CHUNK_CHARACTERS = 64 * 1024
# What can follow a value.
_ENDS = tuple(",:]} \t\r\n")
_white_space = re.compile(r"[ \t\r\n]*").match
_decoder = json.JSONDecoder()


def read_members(path: Path) -> Record | None:
    """Return the members of the document in *path* but its records; ``None`` if it is none.

    Raises OSError, and ValueError if it is not JSON.
    """
    with open_text(path) as file:
        stream = _JsonStream(file)
        if stream.peek() != "{":
            return None
        members = {}
        for name in stream.names():
            if name == "enrollments":
                for _ in stream.items():
                    pass
            else:
                members[name] = stream.value()
    return members


def read_enrollments(path: Path) -> Iterator[Any]:
    """Yield the records of the document in *path*. Raises OSError, and ValueError."""
    with open_text(path) as file:
        stream = _JsonStream(file)
        for name in stream.names():
            if name == "enrollments":
                yield from stream.items()
            else:
                stream.value()


class _JsonStream:
    """A JSON text that is decoded value by value, and of which only the present one is held."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._text = ""
        self._place = 0

    def peek(self) -> str:
        """Return the next character that is not white space; empty at the end."""
        while True:
            self._place = _white_space(self._text, self._place).end()  # type: ignore[union-attr] # matches anything
            if self._place < len(self._text) or not self._read(_CHUNK_CHARACTERS):
                return self._text[self._place : self._place + 1]

    def names(self) -> Iterator[str]:
        """Yield the name of each member of an object; consume its value before the next one."""
        self._take("{")
        while self.peek() != "}":
            name = self.value()
            self._take(":")
            yield name
            if self.peek() == ",":
                self._take(",")
        self._take("}")

    def items(self) -> Iterator[Any]:
        """Yield each item of an array."""
        self._take("[")
        while self.peek() != "]":
            yield self.value()
            if self.peek() == ",":
                self._take(",")
        self._take("]")

    def value(self) -> Any:  # noqa: ANN401 - any JSON value
        """Return the next value. Raises ValueError."""
        self.peek()
        while True:
            try:
                value, end = _decoder.raw_decode(self._text, self._place)
            except ValueError:
                if not self._read(max(_CHUNK_CHARACTERS, len(self._text))):
                    raise
                continue
            # A number may continue in what is not read yet.
            if self._text[end : end + 1] in _ENDS or not self._read(_CHUNK_CHARACTERS):
                self._place = end
                return value

    def _take(self, character: str) -> None:
        if self.peek() != character:
            raise ValueError(f"{character} is missing")
        self._place += 1

    def _read(self, count: int) -> bool:
        piece = self._file.read(count)
        self._text = self._text[self._place :] + piece
        self._place = 0
        return bool(piece)
