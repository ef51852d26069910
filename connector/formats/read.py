"""Read the records of a finished file back, with the values that were written."""

from __future__ import annotations

import csv
import json
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from connector.formats.interface import open_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Record = dict[str, Any]
_JSON_COLUMNS = (
    *("progress_percent", "score", "rating", "purchased_price", "has_passed"),
    *("resource_grades", "included"),
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def read_records(path: Path, name: str | None = None) -> Iterator[Record]:
    """Yield the records of the finished file *path*, each with the columns that the file has.

    The suffix names the format if *name* does not. Raises OSError, and ValueError.
    """
    stem = path.name.removesuffix(".gz").removesuffix(".zst")
    name = name or stem.rpartition(".")[2]
    if name not in _READERS:
        raise ValueError(f"files in the format {name} cannot be read back")
    try:
        yield from _READERS[name](path)
    except (LookupError, EOFError) as error:
        raise ValueError(f"it is not {name}, or damaged") from error


def _read_array(path: Path) -> Iterator[Record]:
    with open_text(path) as lines:
        for line in lines:
            if line.strip() not in ("[", "]"):
                yield _decoded(line.rstrip().removesuffix(","))


def _read_ndjson(path: Path) -> Iterator[Record]:
    with open_text(path) as lines:
        yield from map(_decoded, lines)


def _decoded(line: str) -> Record:
    try:
        record: Record = msgspec.json.decode(line)
    except msgspec.DecodeError:
        # Half a surrogate pair, which JSON can express and UTF-8 cannot.
        record = json.loads(line)
    return record


def _read_csv(path: Path) -> Iterator[Record]:
    csv.field_size_limit(sys.maxsize)
    with open_text(path) as file:
        for row in csv.DictReader(file, strict=True):
            yield {name: _cell_value(name, text) for name, text in row.items()}


def _cell_value(name: str, text: str) -> Any:  # noqa: ANN401 - any JSON value
    if text and name in _JSON_COLUMNS:
        return json.loads(text)
    if text.startswith("'") and text[1:].startswith(_FORMULA):
        text = text[1:]
    return text or None


def _read_parquet(path: Path) -> Iterator[Record]:
    from connector.formats.parquet import Parquet  # noqa: PLC0415 - pyarrow, an extra

    return map(json.loads, Parquet().lines(path))


_READERS: dict[str, Callable[[Path], Iterator[Record]]] = {
    "json": _read_array,
    "ndjson": _read_ndjson,
    "jsonl": _read_ndjson,
    "csv": _read_csv,
    "parquet": _read_parquet,
}
