"""An xlsx file in LibreOffice: every cell has the value and the type of the run's NDJSON."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from connector.clock import parse_moment
from connector.formats import make_format
from connector.formats.interface import COLUMNS, DATES, value_of
from connector.formats.lines import Ndjson
from connector.formats.xlsx import Xlsx
from tests.integrations.office.conftest import HOSTILE_NAMES, write
from tests.support.formats import REPORT
from tests.support.records import enrollment

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("office")

OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"


def opened(path: Path) -> list[list[Any]]:
    """Return the cells of the only sheet as LibreOffice has them, with their types."""
    profile = path.with_name("profile").as_uri()
    command = ["soffice", f"-env:UserInstallation={profile}", "--headless", "--convert-to", "fods"]
    subprocess.run(
        [*command, "--outdir", path.parent, path], check=True, capture_output=True, timeout=300
    )
    tree = ET.parse(path.with_suffix(".fods"))  # noqa: S314 - LibreOffice's own file
    (sheet,) = tree.iter(f"{TABLE}table")
    formulas = {element.get(f"{TABLE}formula") for element in sheet.iter()}
    # LibreOffice has no booleans: it makes these of them.
    assert formulas <= {None, "of:=TRUE()", "of:=FALSE()"}
    rows = []
    for row in sheet.iter(f"{TABLE}table-row"):
        cells: list[Any] = []
        for cell in row.iter(f"{TABLE}table-cell"):
            # The rest of a row is one cell that is repeated.
            repeated = int(cell.get(f"{TABLE}number-columns-repeated", "1"))
            cells += [value_in(cell)] * min(repeated, len(COLUMNS) - len(cells))
        if any(value is not None for value in cells):
            rows.append(cells)
    return rows


def value_in(cell: ET.Element) -> Any:
    """Return the value of a cell in its type: text, number, boolean or date."""
    kind = cell.get(f"{OFFICE}value-type")
    if kind == "float":
        return float(cell.get(f"{OFFICE}value", ""))
    if kind == "boolean":
        return cell.get(f"{OFFICE}boolean-value") == "true"
    if kind == "date":
        return {"date": parse_moment(cell.get(f"{OFFICE}date-value", ""))}
    if kind == "string":
        return "\n".join(map(text_in, cell.findall(f"{TEXT}p")))
    return None


def text_in(element: ET.Element) -> str:
    """Return the text of a paragraph, in which white space has elements of its own."""
    text = element.text or ""
    for child in element:
        if child.tag == f"{TEXT}s":
            text += " " * int(child.get(f"{TEXT}c", "1"))
        text += text_in(child)
        text += child.tail or ""
    return text


def expected(record: dict[str, Any], column: str) -> Any:
    """Return the value that a cell has to have."""
    value = value_of(record, column)
    if column in DATES and value is not None:
        return {"date": parse_moment(value)}
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return float(value)


def test_cells__those_of_the_run(tmp_path: Path) -> None:
    """Each cell of a run's file is the value in the run's NDJSON, dates and numbers included."""
    columns = [column for column in COLUMNS if column not in ("resource_grades", "included")]
    write(tmp_path / "x.ndjson", names=True, concurrency=1)
    document = write(tmp_path / "x.xlsx", names=True, concurrency=1)

    header, *rows = opened(tmp_path / "x.xlsx")

    records = list(map(json.loads, (tmp_path / "x.ndjson").read_text().splitlines()))
    assert header[: len(columns)] == columns
    assert len(rows) == len(records) == document["enrollment_count"] > 500
    for row, record in zip(rows, records, strict=True):
        assert row[: len(columns)] == [expected(record, column) for column in columns]


def test_cells__hostile_texts(tmp_path: Path) -> None:
    """Text that looks like a formula, markup or a link is shown as it is."""
    growing, path = tmp_path / "growing", tmp_path / "x.xlsx"
    served = [enrollment(lo_name=name, user_name=name) for name in HOSTILE_NAMES]
    growing.write_bytes(Ndjson().rows(served).encode())
    Xlsx(["lo_name", "user_name"]).finish(growing, path, REPORT)

    _, *rows = opened(path)

    # LibreOffice has no tabs in cells.
    names = [name.replace("\t", "") for name in HOSTILE_NAMES]
    assert [row[:2] for row in rows] == [[name, name] for name in names]


def test_soffice__is_installed() -> None:
    """The program that this folder is about is there, and xlsx is a format of ours."""
    assert shutil.which("soffice")
    assert make_format("xlsx").columns
