"""Excel (XlsxWriter): one sheet with real dates and numbers. The growing file is NDJSON."""

from __future__ import annotations

import io
import json
import logging
import re
import tempfile
import zipfile
from datetime import UTC, datetime, timedelta
from typing import IO, TYPE_CHECKING, Any, ClassVar
from xml.etree import ElementTree as ET

from xlsxwriter import Workbook
from xlsxwriter.exceptions import FileCreateError

from connector.clock import format_moment, parse_utc
from connector.errors import OutputError
from connector.formats.interface import DATES, NESTED, NUMBERS, value_of
from connector.formats.lines import ConvertedLines
from connector.text import counted, to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from typing_extensions import Buffer

    from connector.formats.interface import Report

#: Records of a sheet, which has 1,048,576 rows (Excel specifications and limits).
MAX_RECORDS = 1_048_575
_TOO_LONG = -2
# Excel keeps a larger integer without its last digits: it is written as text.
_MAX_INTEGER = 10**15
_SHEET = "xl/worksheets/sheet1.xml"
_SHARED = "xl/sharedStrings.xml"
_NAMESPACE = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
# Days are counted from here; before March 1900 Excel's count is off by one.
_EPOCH = datetime(1899, 12, 30, tzinfo=UTC)
_FIRST_DATE = datetime(1900, 3, 1, tzinfo=UTC)
_DAY = timedelta(days=1)
_ESCAPED = re.compile("_x([0-9A-Fa-f]{4})_")
_WIDTHS = {
    **dict.fromkeys(("id", "lo_name", "user_email", "resource_grade_ids", "module_names"), 40),
    **dict.fromkeys(("lo_id", "lo_instance_id", "user_name", "url", *DATES), 24),
}
_USUAL_WIDTH = 16
_log = logging.getLogger(__name__)


class Xlsx(ConvertedLines):
    """Grows as NDJSON; finishing converts it."""

    max_records: ClassVar[int] = MAX_RECORDS

    def finish(self, growing: Path, scratch: Path, report: Report) -> Path:
        """Return *scratch*, the workbook made of *growing*; warn of texts that are too long."""
        with growing.open("rb") as lines:
            count = sum(1 for _ in lines)
        if count > self.max_records:
            raise OutputError(
                f"{report.name} would have {count:,} records, but an Excel sheet has room for"
                f" {self.max_records:,}.",
                hint="Use csv or parquet, or one file per shard.",
            )
        try:
            with (
                growing.open("rb") as lines,
                _Output(scratch, "w") as file,
                tempfile.TemporaryDirectory(dir=scratch.parent) as folder,
                # One row is in memory; the others are in a file until the workbook is closed.
                Workbook(file, {"constant_memory": True, "tmpdir": folder}) as workbook,
            ):
                workbook.use_zip64()
                workbook.set_properties({"title": "Enrollments", "created": report.finished_at})
                cut = _Sheet(workbook, self.columns).write(map(json.loads, lines), count)
        except FileCreateError as error:
            # XlsxWriter's own error has the OSError as its argument.
            raise error.args[0] from error
        if file.error:
            raise file.error
        if cut:
            _log.warning("cut in %s, too long for Excel: %s", report.name, counted(cut, "text"))
        return scratch

    def read(self, path: Path) -> Iterator[dict[str, Any]]:
        """Yield the record of each row, with dates as ALM writes them."""
        with zipfile.ZipFile(path) as archive:
            shared: list[str] = []
            if _SHARED in archive.namelist():
                # Programs that save the file again put its texts there.
                with archive.open(_SHARED) as file:
                    shared = [_text_of(item) for item in _elements(file, "si")]
            with archive.open(_SHEET) as file:
                rows = (_read_row(row, shared) for row in _elements(file, "row"))
                header = next(rows, {})
                for row in rows:
                    yield {
                        column: _value(column, row.get(letters))
                        for letters, column in header.items()
                    }


class _Output(io.FileIO):
    """A file for XlsxWriter, which leaves its archive open if it fails: that one ends in silence.

    What the disk refuses is kept in *error*.
    """

    error: OSError | None = None

    def write(self, data: Buffer) -> int:
        """Write all of *data*."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.error = error
        except ValueError:
            # The file is closed, and the archive is released now.
            pass
        return len(memoryview(data))

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to *offset*."""
        return offset if self.closed else super().seek(offset, whence)

    def tell(self) -> int:
        """Return the position."""
        return 0 if self.closed else super().tell()

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""


class _Sheet:
    """The sheet of a workbook: a header that stays in view, and one row for each record."""

    def __init__(self, workbook: Workbook, columns: tuple[str, ...]) -> None:
        self._sheet = workbook.add_worksheet("Enrollments")
        self._columns = columns
        self._date = workbook.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
        # Stays text also if somebody edits the cell.
        self._text = workbook.add_format({"quote_prefix": True})
        bold = workbook.add_format({"bold": True})
        for position, column in enumerate(columns):
            self._sheet.set_column(position, position, _WIDTHS.get(column, _USUAL_WIDTH))
            self._sheet.write_string(0, position, column, bold)
        self._sheet.freeze_panes(1, 0)

    def write(self, records: Iterable[dict[str, Any]], count: int) -> int:
        """Write *count* *records*; return how many texts were cut."""
        cut = 0
        for row, record in enumerate(records, 1):
            for position, column in enumerate(self._columns):
                value = value_of(record, column)
                if value is not None:
                    cut += self._write_cell(row, position, column, value) == _TOO_LONG
        self._sheet.autofilter(0, 0, count, len(self._columns) - 1)
        return cut

    def _write_cell(self, row: int, position: int, column: str, value: Any) -> int:  # noqa: ANN401 - the column's own type
        sheet = self._sheet
        if isinstance(value, bool):
            return int(sheet.write_boolean(row, position, value))
        if isinstance(value, float) or (isinstance(value, int) and abs(value) < _MAX_INTEGER):
            return int(sheet.write_number(row, position, value))
        if column in DATES and (serial := _serial_of(value)) is not None:
            return int(sheet.write_number(row, position, serial, self._date))
        if isinstance(value, list | dict):
            value = to_json(value)
        # Half a surrogate pair, which JSON can express and UTF-8 cannot, is escaped as in JSON.
        text = str(value).encode(errors="backslashreplace").decode()
        if text.startswith("<r>"):
            # XlsxWriter would write this text as markup; as several pieces, it escapes it.
            return int(sheet.write_rich_string(row, position, text[0], text[1], text[2:]))
        is_like_formula = text.lstrip()[:1] in ("=", "+", "-", "@")
        text_format = self._text if is_like_formula else None
        return int(sheet.write_string(row, position, text, text_format))


def _serial_of(text: str) -> float | None:
    """Return the moment *text* as Excel counts days; ``None`` if that would change it."""
    moment = parse_utc(text)
    if moment is None or moment < _FIRST_DATE or moment.microsecond % 1_000:
        return None
    return (moment - _EPOCH) / _DAY


def _moment_of(serial: float) -> str:
    milliseconds = round(serial * (_DAY / timedelta(milliseconds=1)))
    return format_moment(_EPOCH + timedelta(milliseconds=milliseconds))


def _value(column: str, value: Any) -> Any:  # noqa: ANN401 - the column's own type
    if column in DATES and isinstance(value, int | float):
        return _moment_of(value)
    if isinstance(value, str) and column in (*NESTED, *NUMBERS):
        try:
            return json.loads(value)
        except ValueError:
            # The text was too long for Excel, and was cut.
            return None
    return value


def _elements(file: IO[bytes], name: str) -> Iterator[ET.Element]:
    """Yield each element *name* of an XML *file*, which is forgotten afterwards."""
    # expat bounds what entities expand to.
    events = ET.iterparse(file, events=("start", "end"))  # noqa: S314 - see above
    parents: list[ET.Element] = []
    for event, element in events:
        if event == "start":
            parents.append(element)
            continue
        parents.pop()
        if element.tag == _NAMESPACE + name:
            yield element
            parents[-1].clear()


def _read_row(row: ET.Element, shared: list[str]) -> dict[str, Any]:
    """Return the values of a row's cells by their column's letters."""
    values: dict[str, Any] = {}
    for cell in row.iter(f"{_NAMESPACE}c"):
        letters = cell.get("r", "").rstrip("0123456789")
        kind, content = cell.get("t", "n"), cell.findtext(f"{_NAMESPACE}v", "")
        if kind == "inlineStr":
            values[letters] = _text_of(cell)
        elif kind == "s":
            values[letters] = shared[int(content)]
        elif kind == "b":
            values[letters] = content == "1"
        elif kind == "str":
            values[letters] = content
        elif content:
            number = float(content)
            values[letters] = int(number) if number.is_integer() else number
    return values


def _text_of(element: ET.Element) -> str:
    text = "".join(part.text or "" for part in element.iter(f"{_NAMESPACE}t"))
    return _ESCAPED.sub(lambda escape: chr(int(escape[1], 16)), text)
