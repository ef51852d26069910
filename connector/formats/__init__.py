"""The formats that records can be written in, by name: a new one is a class and a line here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from connector.formats.read import read_records as read_records

if TYPE_CHECKING:
    from connector.formats.interface import Format

#: Each format's module and class. Imported when used: Parquet needs pyarrow, an extra.
FORMATS = {
    "json": ("lines", "JsonArray"),
    "ndjson": ("lines", "Ndjson"),
    "csv": ("csv", "Csv"),
    "table": ("table", "Table"),
    "parquet": ("parquet", "Parquet"),
}


def make_format(name: str) -> Format:
    """Return the format *name*."""
    module, class_name = FORMATS[name]
    kind: type[Format] = getattr(import_module(f"connector.formats.{module}"), class_name)
    return kind()
