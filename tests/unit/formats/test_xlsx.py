"""Excel: one sheet with a header, real dates and numbers, and text that stays text."""

from __future__ import annotations

import re
import resource
import zipfile
from typing import TYPE_CHECKING

import pytest

from connector.errors import OutputError
from connector.formats import read_records
from connector.formats.interface import COLUMNS
from connector.formats.lines import Ndjson
from connector.formats.xlsx import MAX_RECORDS, Xlsx
from tests.support.formats import REPORT, finished
from tests.support.records import enrollment, enrollments

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Small(Xlsx):
    """A sheet that takes two records."""

    max_records = 2


def part_of(path: Path, name: str) -> str:
    """Return the text of the file *name* in a workbook."""
    with zipfile.ZipFile(path) as archive:
        return archive.read(f"xl/{name}").decode()


def sheet_of(path: Path) -> str:
    """Return the XML of the only sheet."""
    return part_of(path, "worksheets/sheet1.xml")


def cells_of(path: Path) -> list[str]:
    """Return the XML of each cell below the header, without the reference and the style."""
    rows = sheet_of(path).partition('<row r="2"')[2]
    cells = re.findall(r"<c (.*?)(?:</c>|/>)", rows)
    return [re.sub(r'(r|s)="\w+" ?', "", cell) for cell in cells]


def test_finish__a_header_that_stays_and_one_row_per_record(tmp_path: Path) -> None:
    """The only sheet, first and active, has a frozen header with filters, and rows alone below."""
    path = finished(tmp_path, "xlsx", enrollments(3), ["id", "state", "score"])

    sheet = sheet_of(path)
    assert re.findall(r'<sheet name="(\w+)"', part_of(path, "workbook.xml")) == ["Enrollments"]
    assert '<sheetView tabSelected="1"' in sheet
    assert '<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/>' in sheet
    assert '<autoFilter ref="A1:C4"/>' in sheet
    assert re.findall(r'<col min="(\d)" max="(\d)" width="(\d+)', sheet) == [
        ("1", "1", "40"),
        ("2", "3", "16"),
    ]
    assert re.findall(r'<row r="(\d+)"', sheet) == ["1", "2", "3", "4"]
    assert [record["id"] for record in read_records(path)] == [
        f"course:{number}_2_31" for number in range(3)
    ]


def test_finish__without_records(tmp_path: Path) -> None:
    """A workbook without records has its header all the same."""
    path = finished(tmp_path, "xlsx", [], COLUMNS)

    assert re.findall(r'<row r="(\d+)"', sheet_of(path)) == ["1"]
    assert list(read_records(path)) == []


def test_finish__typed_cells(tmp_path: Path) -> None:
    """Numbers are numbers, a date is a number of days in a date's format, ids are text."""
    columns = ["user_id", "score", "has_passed", "date_enrolled", "rating"]

    path = finished(tmp_path, "xlsx", [enrollment(score=87.5)], columns)

    assert cells_of(path) == [
        't="inlineStr"><is><t>31</t></is>',
        "><v>87.5</v>",
        't="b"><v>1</v>',
        "><v>45106.52399305555</v>",
    ]
    assert 'formatCode="yyyy-mm-dd hh:mm:ss"' in part_of(path, "styles.xml")


@pytest.mark.parametrize(
    "date",
    ["soon", "1899-12-31T00:00:00Z", "2023-06-29T12:34:33.123456Z", "9999-12-31T23:59:59-14:00"],
)
def test_finish__a_date_that_excel_would_change(date: str, tmp_path: Path) -> None:
    """A date that Excel does not have, or not exactly, stays text."""
    path = finished(tmp_path, "xlsx", [enrollment(date_enrolled=date)], ["date_enrolled"])

    assert cells_of(path) == [f't="inlineStr"><is><t>{date}</t></is>']


@pytest.mark.parametrize(
    "text",
    ["=1+1", " =cmd|' /C calc'!A0", "+1", "-2", "@SUM(1)", "{=1}", "http://x.example/", "007"],
)
def test_finish__text_stays_text(text: str, tmp_path: Path) -> None:
    """No text becomes a formula, a link or a number."""
    path = finished(tmp_path, "xlsx", [enrollment(url=text, lo_name=text)], ["url", "lo_name"])

    (cell, other) = cells_of(path)
    assert cell == other
    assert cell.startswith('t="inlineStr"><is><t')
    assert "<f>" not in sheet_of(path)
    assert "hyperlink" not in sheet_of(path)
    # It stays text if somebody edits the cell.
    is_like_formula = text.strip()[0] in "=+-@"
    assert ('quotePrefix="1"' in part_of(path, "styles.xml")) is is_like_formula


def test_finish__markup_is_text(tmp_path: Path) -> None:
    """A text that looks like the workbook's own markup is escaped."""
    texts = ["<r><t>x</t></r>", "<r></r>", "</t></is></c>", "&amp;", "_x0041_"]

    path = finished(tmp_path, "xlsx", [enrollment(url=text) for text in texts], ["url"])

    assert [record["url"] for record in read_records(path)] == texts


def test_finish__numbers_beyond_excel(tmp_path: Path) -> None:
    """An integer with more digits than Excel keeps is written as text, and reads back."""
    path = finished(tmp_path, "xlsx", [enrollment(score=10**20 + 1)], ["score"])

    assert cells_of(path) == ['t="inlineStr"><is><t>100000000000000000001</t></is>']
    assert list(read_records(path)) == [{"score": 10**20 + 1}]


def test_finish__texts_beyond_excel(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A cell takes 32,767 UTF-16 units: a longer text is cut, and one warning counts them."""
    served = [
        enrollment(url="😀" * 16_384, included={"learner": "x" * 40_000}),
        enrollment(url="x"),
    ]

    path = finished(tmp_path, "xlsx", served, ["url", "included"])

    first, second = read_records(path)
    assert first == {"url": "😀" * 16_383, "included": None}
    assert second == {"url": "x", "included": None}
    assert caplog.messages == ["cut in x, too long for Excel: 2 texts"]


def rows_of(count: int) -> bytes:
    """Return *count* rows of a growing file."""
    return Ndjson().rows(enrollments(count)).encode()


def test_finish__more_records_than_a_sheet_takes(tmp_path: Path) -> None:
    """A run with more records than rows is refused before anything is written."""
    growing, scratch = tmp_path / "growing", tmp_path / "scratch"
    growing.write_bytes(rows_of(3))

    with pytest.raises(OutputError) as raised:
        Small().finish(growing, scratch, REPORT)

    assert str(raised.value) == (
        "x would have 3 records, but an Excel sheet has room for 2."
        " Use csv or parquet, or one file per shard."
    )
    assert not scratch.exists()
    assert MAX_RECORDS == 1_048_575
    growing.write_bytes(rows_of(2))
    assert len(list(Small().read(Small().finish(growing, scratch, REPORT)))) == 2


def test_finish__a_file_that_cannot_be_written(tmp_path: Path) -> None:
    """What the file system refuses is raised as an OSError, and no temporary file stays."""
    growing, scratch = tmp_path / "growing", tmp_path / "scratch"
    growing.write_bytes(rows_of(1))
    scratch.mkdir()

    with pytest.raises(IsADirectoryError):
        Xlsx().finish(growing, scratch, REPORT)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["growing", "scratch"]


# XlsxWriter leaves a temporary file open when it fails.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize("size", [100, 2_500, 5_000])
def test_finish__on_a_full_disk(size: int, tmp_path: Path) -> None:
    """A disk that is full, before or while the workbook is packed, is raised as an OSError."""
    growing = tmp_path / "growing"
    growing.write_bytes(rows_of(1))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            Xlsx().finish(growing, tmp_path / "scratch", REPORT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["growing", "scratch"]


def test_finish__the_same_records_make_the_same_file(tmp_path: Path) -> None:
    """Nothing in a workbook depends on the machine or its clock."""
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        files.append(finished(tmp_path / name, "xlsx", enrollments(2)).read_bytes())

    assert files[0] == files[1]


SHARED = """<?xml version="1.0"?>
<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">
<si><t>id</t></si><si><t>score</t></si><si><r><t>course:</t></r><r><t>1</t></r></si></sst>"""
SHEET = """<?xml version="1.0"?>
<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>
<row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="s"><v>1</v></c></row>
<row r="2"><c r="A2" t="s"><v>2</v></c><c r="B2"><v>7</v></c></row>
<row r="3"><c r="A3" t="str"><v>x</v></c></row></sheetData></worksheet>"""


def repacked(path: Path, parts: Sequence[tuple[str, str]]) -> Path:
    """Return a workbook with *parts* only."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in parts:
            archive.writestr(name, text)
    return path


def test_read__a_file_that_another_program_saved(tmp_path: Path) -> None:
    """Texts that a spreadsheet program has moved to its table of strings are found there."""
    parts = [("xl/sharedStrings.xml", SHARED), ("xl/worksheets/sheet1.xml", SHEET)]

    path = repacked(tmp_path / "x.xlsx", parts)

    assert list(read_records(path)) == [
        {"id": "course:1", "score": 7},
        {"id": "x", "score": None},
    ]


def test_read__another_archive(tmp_path: Path) -> None:
    """An archive that is no workbook is refused."""
    with pytest.raises(ValueError, match="it is not xlsx, or damaged"):
        list(read_records(repacked(tmp_path / "x.xlsx", [])))
