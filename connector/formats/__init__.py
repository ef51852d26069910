"""The formats that records can be written in, by name: a new one is a class and a line here."""

from __future__ import annotations

import zipfile
import zlib
from importlib import import_module
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import ParseError

from connector.settings import format_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from connector.formats.interface import Format
    from connector.settings import Inputs

#: Each format's module and class. Imported when used: some need a library of an extra.
FORMATS = {
    "json": ("lines", "JsonArray"),
    "ndjson": ("lines", "Ndjson"),
    "csv": ("csv", "Csv"),
    "table": ("table", "Table"),
    "parquet": ("parquet", "Parquet"),
    "xlsx": ("xlsx", "Xlsx"),
    "html": ("html", "Html"),
}


def make_format(name: str, columns: Sequence[str] = ()) -> Format:
    """Return the format *name* with *columns*, by default those of records without names."""
    return _kind_of(name)(columns)


def columns_of(inputs: Inputs) -> tuple[str, ...]:
    """Return the columns that a run's format writes; empty if it has no columns."""
    return inputs.columns or _kind_of(inputs.format).default_columns(inputs.related)


def read_records(path: Path, name: str | None = None) -> Iterator[dict[str, Any]]:
    """Yield the records of the finished file *path*, each with the columns that the file has.

    The escapes of its format are undone. The suffix names the format if *name* does not. Raises
    OSError, and ValueError for a file that is damaged, or in a format that cannot be read back.
    """
    name = name or format_of(path.name) or "table"
    kind = _kind_of(name)
    if not kind.is_readable:
        raise ValueError(f"files in the format {name} cannot be read back")
    try:
        yield from kind().read(path)
    except (LookupError, EOFError, zlib.error, zipfile.BadZipFile, ParseError) as error:
        raise ValueError(f"it is not {name}, or damaged") from error


def _kind_of(name: str) -> type[Format]:
    module, class_name = FORMATS[name]
    kind: type[Format] = getattr(import_module(f"connector.formats.{module}"), class_name)
    return kind
