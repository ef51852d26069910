"""Formats by name, their columns, and what growing and finished files have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from connector.formats import FORMATS, columns_of, make_format, read_records
from connector.formats.interface import (
    COLUMNS,
    COPY_BYTES,
    NESTED,
    Format,
    flat_columns,
    read_pieces,
    value_of,
)
from connector.output.file import compressor_for
from connector.schemas import load_schema
from tests.support.formats import REPORT, finished, values_of
from tests.support.inputs import inputs_of
from tests.support.records import enrollment, enrollments, included_grade

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from connector.alm.records import Enrollment

RULES = load_schema("inputs")["properties"]
NAMED = ("lo_name", "user_name", "user_email", "module_names")


class Plain(Format):
    """A format that only defines its rows."""

    def rows(self, enrollments: Sequence[Enrollment]) -> str:
        """Return the ids of *enrollments*."""
        return "".join([f"{enrollment.id}\n" for enrollment in enrollments])

    def read(self, path: Path) -> Iterator[dict[str, Any]]:
        """Yield the id of each line."""
        for line in path.read_text().splitlines():
            yield {"id": line}


def test_make_format__every_format_of_the_inputs() -> None:
    """Each format that the input ``format`` allows can be made, and no other."""
    made = {name: type(make_format(name)).__name__ for name in FORMATS}

    assert sorted(FORMATS) == sorted(RULES["format"]["enum"])
    assert made == {
        "json": "JsonArray",
        "ndjson": "Ndjson",
        "csv": "Csv",
        "table": "Table",
        "parquet": "Parquet",
        "xlsx": "Xlsx",
        "html": "Html",
    }


def test_columns__those_of_the_inputs() -> None:
    """The input ``columns`` allows each column, in the order of the records, and no other."""
    assert tuple(RULES["columns"]["items"]["enum"]) == COLUMNS


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_is_streamed__unless_the_file_is_made_at_the_end(name: str) -> None:
    """Formats of text lines can be written to standard output user by user, the others not."""
    assert make_format(name).is_streamed is (name in ("json", "ndjson", "csv", "table"))


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_can_grow_again__all_but_the_page(name: str) -> None:
    """A run can resume from the finished file of every format but the page."""
    assert make_format(name).can_grow_again is (name != "html")


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_rows__page_by_page(name: str) -> None:
    """Rows of several pages, with ``between`` between them, are the rows of all pages at once."""
    written_as = make_format(name)
    pages = [[enrollment(number=1), enrollment(number=2)], [enrollment(number=3)]]

    rows = written_as.between.join([written_as.rows(page) for page in pages])

    assert rows == written_as.rows(pages[0] + pages[1])


@pytest.mark.parametrize(
    ("include", "left_out"),
    [
        ((), NAMED),
        (("learner",), ("lo_name", "module_names")),
        (("learningObject.skills",), ("user_name", "user_email", "module_names")),
        (("loResourceGrades",), NAMED),
        (("loResourceGrades.loResource",), ("lo_name", "user_name", "user_email")),
        (("learner", "learningObject", "loResourceGrades.loResource"), ()),
    ],
)
def test_flat_columns__names_only_if_included(
    include: tuple[str, ...], left_out: tuple[str, ...]
) -> None:
    """By default, columns of JSON are left out, and names that the run does not request."""
    expected = [column for column in COLUMNS if column not in (*NESTED, *left_out)]
    assert flat_columns(include) == tuple(expected)


@pytest.mark.parametrize("name", ["csv", "parquet", "xlsx"])
def test_columns_of__a_run(name: str) -> None:
    """A run writes the columns that it selects, or else all flat ones."""
    with_names = inputs_of(format=name, names=True)
    selected = inputs_of(format=name, columns=["state", "id"])

    assert columns_of(with_names) == (*COLUMNS[:-2],)
    assert columns_of(selected) == ("state", "id")


@pytest.mark.parametrize("name", ["json", "ndjson"])
def test_columns_of__a_format_without_columns(name: str) -> None:
    """Formats of JSON always have every field."""
    assert columns_of(inputs_of(format=name, names=True)) == ()


def test_value_of__flat_texts_of_the_grades() -> None:
    """Ids and names of modules are one text each, and nothing without grades or names."""
    grades = (included_grade(id="g1", module_name="A"), included_grade(id="g2", module_name=None))
    record = enrollment(resource_grades=(*grades, included_grade(id="g3", module_name="B")))
    without = enrollment(resource_grades=()).as_dict()

    columns = ("resource_grade_ids", "module_names", "user_name")
    assert [value_of(record.as_dict(), column) for column in columns] == ["g1 g2 g3", "A; B", None]
    assert [value_of(without, column) for column in columns] == [None] * 3


def test_finish__is_the_growing_file(tmp_path: Path) -> None:
    """Unless a format says otherwise, the growing file is the finished one; nothing is copied."""
    growing = tmp_path / "x.part"

    assert Plain().finish(growing, tmp_path / "x.part.new", REPORT) == growing
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("length", [0, 1, COPY_BYTES, 2 * COPY_BYTES + 3])
def test_read_users__without_begin_and_end(length: int, tmp_path: Path) -> None:
    """Each user's rows are read in pieces of bounded size, without begin and end."""
    (tmp_path / "x").write_bytes(b"begin" + b"r" * length + b"second" + b"end")
    entries = [{"user_id": "1", "end": 5 + length}, {"user_id": "2", "end": 11 + length}]

    read = {}
    for entry, rows in Plain().read_users(tmp_path / "x", 5, entries):
        pieces = list(rows)
        assert [piece for piece in pieces if len(piece) > COPY_BYTES] == []
        read[entry["user_id"]] = b"".join(pieces)

    assert read == {"1": b"r" * length, "2": b"second"}


def test_read_pieces__of_a_shorter_file(tmp_path: Path) -> None:
    """A file that is shorter than it should be is read to its end, not for ever."""
    (tmp_path / "x").write_bytes(b"short")

    with (tmp_path / "x").open("rb") as file:
        assert list(read_pieces(file, 99)) == [b"short"]


@pytest.mark.parametrize("name", ["parquet", "xlsx"])
def test_read_users__of_a_file_that_was_made_at_the_end(name: str, tmp_path: Path) -> None:
    """Each user's rows are lines of NDJSON, which make the same file when they are finished."""
    path = finished(tmp_path, name, [*enrollments(2), *enrollments(1, "32")])
    entries = [{"enrollments": 2}, {"enrollments": 0}, {"enrollments": 1}]

    lines = [list(rows) for _, rows in make_format(name).read_users(path, 0, entries)]
    (tmp_path / "growing").write_bytes(b"".join(map(b"".join, lines)))
    again = make_format(name).finish(tmp_path / "growing", tmp_path / f"again.{name}", REPORT)

    assert list(map(len, lines)) == [2, 0, 1]
    assert list(read_records(again)) == list(read_records(path))


def test_read_records__by_suffix_or_by_name(tmp_path: Path) -> None:
    """The suffix names the format of a file, unless the caller does."""
    served = enrollments(2)
    path = finished(tmp_path, "csv", served, ["id", "score"])
    renamed = path.rename(tmp_path / "x.txt")

    assert list(read_records(renamed, "csv")) == values_of(served, ["id", "score"])
    with pytest.raises(ValueError, match="files in the format table cannot be read back"):
        next(read_records(renamed))


@pytest.mark.parametrize("name", ["json", "ndjson", "csv"])
@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_read_records__compressed(suffix: str, name: str, tmp_path: Path) -> None:
    """A compressed file is read like any other, also if it has several pieces."""
    plain = finished(tmp_path, name, enrollments(2), ["id"])
    path = tmp_path / f"x.{name}{suffix}"
    compress = compressor_for(path)
    data = plain.read_bytes()
    path.write_bytes(compress(data[:9]) + compress(data[9:]))

    assert list(read_records(path)) == list(read_records(plain))


@pytest.mark.parametrize("name", ["table", "html"])
def test_read_records__of_a_format_for_people(name: str, tmp_path: Path) -> None:
    """Tables and pages, which cut what they show, are refused."""
    path = finished(tmp_path, name, enrollments(1))

    with pytest.raises(ValueError, match=f"files in the format {name} cannot be read back"):
        next(read_records(path, name))


@pytest.mark.parametrize("name", ["json", "ndjson", "parquet", "xlsx"])
def test_read_records__of_a_damaged_file(name: str, tmp_path: Path) -> None:
    """A file that ends in its middle is refused as damaged."""
    path = finished(tmp_path, name, enrollments(3))
    path.write_bytes(path.read_bytes()[:-40])

    with pytest.raises(ValueError, match=r".+"):
        list(read_records(path))
