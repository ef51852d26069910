"""Read the records of an output file back, a few at a time, with the values that were written."""

from __future__ import annotations

import contextlib
import csv
import gzip
import importlib
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO, TextIO

Record = dict[str, Any]
_CHUNK_CHARACTERS = 64 * 1024
_NUMBERS = ("progress_percent", "score", "rating", "purchased_price")
_BOOLEANS = {"true": True, "false": False}
_NESTED = ("resource_grades", "included")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_decoder = json.JSONDecoder()


def read_records(path: Path) -> Iterator[Record]:
    """Yield the records of the output file *path* in its order, by the format in its name.

    Raises OSError, and ValueError if the file's content is not of that format.
    """
    name = path.name.removesuffix(".gz").removesuffix(".zst")
    kind = name.rpartition(".")[2]
    if kind not in _READERS:
        raise ValueError("its name does not end in .json, .ndjson, .jsonl, .csv or .parquet")
    return _READERS[kind](path)


def read_members(path: Path, skipped: str) -> Record | None:
    """Return the members of the JSON object in *path* but *skipped*; ``None`` if it is an array.

    Raises OSError and ValueError.
    """
    with _text(path) as file:
        stream = _JsonStream(file)
        if stream.peek() != "{":
            return None
        members = {}
        for name in stream.names():
            if name == skipped:
                for _ in stream.items():
                    pass
            else:
                members[name] = stream.value()
    return members


def _read_json(path: Path) -> Iterator[Record]:
    with _text(path) as file:
        stream = _JsonStream(file)
        if stream.peek() == "[":
            yield from stream.items()
            return
        for name in stream.names():
            if name == "enrollments":
                yield from stream.items()
            else:
                stream.value()


def _read_ndjson(path: Path) -> Iterator[Record]:
    with _binary(path) as file:
        yield from map(_decoded, file)


def _decoded(line: bytes) -> Record:
    try:
        record: Record = msgspec.json.decode(line)
    except msgspec.DecodeError:
        # Half a surrogate pair, which JSON can express and UTF-8 cannot.
        record = json.loads(line)
    return record


def _read_csv(path: Path) -> Iterator[Record]:
    # The columns of JSON have no limit.
    csv.field_size_limit(sys.maxsize)
    with _text(path) as file:
        for row in csv.DictReader(file):
            yield {name: _cell_value(name, text) for name, text in row.items()}


def _cell_value(name: str, text: str) -> Any:  # noqa: ANN401 - any JSON value
    if text == "":
        return None
    if name in _NUMBERS:
        return json.loads(text)
    if name == "has_passed":
        return _BOOLEANS[text]
    if name in _NESTED:
        return json.loads(text)
    if text[0] == "'" and text[1:].startswith(_FORMULA):
        text = text[1:]
    return text.split() if name == "resource_grade_ids" else text.replace("#\\u0023", "##")


def _read_parquet(path: Path) -> Iterator[Record]:
    from connector.formats.parquet import Parquet  # noqa: PLC0415 - pyarrow, an extra

    return map(json.loads, Parquet().lines(path))


@contextlib.contextmanager
def _binary(path: Path) -> Iterator[BinaryIO]:
    opener: Callable[..., Any] = Path.open
    if path.suffix == ".gz":
        opener = gzip.open
    elif path.suffix == ".zst":
        name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
        opener = importlib.import_module(name).open
    with opener(path, "rb") as file:
        yield file


@contextlib.contextmanager
def _text(path: Path) -> Iterator[TextIO]:
    with _binary(path) as file, io.TextIOWrapper(file, encoding="utf-8", newline="") as text:
        yield text


class _JsonStream:
    """A JSON text that is decoded value by value, and of which only the present one is held."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._text = ""
        self._place = 0

    def peek(self) -> str:
        """Return the next character that is not white space; empty at the end."""
        while True:
            stripped = self._text[self._place :].lstrip()
            if stripped or not self._read(_CHUNK_CHARACTERS):
                self._place = len(self._text) - len(stripped)
                return stripped[:1]

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
            if end < len(self._text) or not self._read(_CHUNK_CHARACTERS):
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


_READERS: dict[str, Callable[[Path], Iterator[Record]]] = {
    "json": _read_json,
    "ndjson": _read_ndjson,
    "jsonl": _read_ndjson,
    "csv": _read_csv,
    "parquet": _read_parquet,
}
