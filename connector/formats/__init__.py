"""The formats that records can be written in, by their names; a new one is a class of its own and a line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from connector.formats.csv import Csv
from connector.formats.lines import JsonArray, Ndjson
from connector.formats.table import Table

if TYPE_CHECKING:
    from connector.formats.interface import Format

#: What each is made with; Parquet comes out of lines of NDJSON (``formats.parquet``), which has pyarrow imported only then.
FORMATS: dict[str, type[Format]] = {
    "json": JsonArray,
    "ndjson": Ndjson,
    "csv": Csv,
    "table": Table,
    "parquet": Ndjson,
}
