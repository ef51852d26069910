"""The formats that records can be written in, by name: a new one is a class and a line here."""

from __future__ import annotations

import zipfile
import zlib
from importlib import import_module
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import ParseError

from connector.errors import Problem, UsageError
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
    kind = _kind_of(name)
    return kind(tuple(columns) or kind.default_columns(()))


def columns_of(inputs: Inputs) -> tuple[str, ...]:
    """Return the columns that a run's format writes; empty if it has no columns."""
    return inputs.columns or _kind_of(inputs.format).default_columns(inputs.related)


def read_records(path: Path, name: str | None = None) -> Iterator[dict[str, Any]]:
    """Yield the records of the finished file *path*, each with the columns that the file has.

    The escapes of its format are undone. The suffix names the format if *name* does not. Raises
    UsageError for a file that cannot be read back, and OSError.
    """
    name = name or format_of(path.name) or ""
    readable = [name for name in FORMATS if _kind_of(name).is_readable]
    if name not in readable:
        problem = Problem(f'"{path}"', "a file that cannot be read back", ", ".join(readable))
        raise UsageError.of([problem], hint="Nothing was written.")
    try:
        yield from make_format(name).read(path)
    except (ValueError, LookupError, EOFError, zlib.error, zipfile.BadZipFile, ParseError) as error:
        problem = Problem(f'"{path}"', f"damaged, or not {name}", "the file as a run left it")
        raise UsageError.of([problem], hint="Nothing was written.") from error


def _kind_of(name: str) -> type[Format]:
    module, class_name = FORMATS[name]
    kind: type[Format] = getattr(import_module(f"connector.formats.{module}"), class_name)
    return kind
