"""Formats by name, and what a growing file, a finished file and their rows have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from connector.formats import FORMATS, make_format
from connector.formats.interface import COPY_BYTES, Format, read_pieces
from connector.schemas import load_schema
from tests.support.records import enrollment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from connector.alm.records import Enrollment


class Plain(Format):
    """A format that only defines its rows."""

    def rows(self, enrollments: Sequence[Enrollment]) -> str:
        """Return the ids of *enrollments*."""
        return "".join([f"{enrollment.id}\n" for enrollment in enrollments])


def test_make_format__every_format_of_the_inputs() -> None:
    """Each format that the input ``format`` allows can be made, and no other."""
    allowed = load_schema("inputs")["properties"]["format"]["enum"]

    made = {name: type(make_format(name)).__name__ for name in FORMATS}

    assert sorted(FORMATS) == sorted(allowed)
    assert made == {
        "json": "JsonArray",
        "ndjson": "Ndjson",
        "csv": "Csv",
        "table": "Table",
        "parquet": "Parquet",
    }


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_is_streamed__all_but_parquet(name: str) -> None:
    """Every format but Parquet can be written to standard output user by user."""
    assert make_format(name).is_streamed is (name != "parquet")


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_rows__page_by_page(name: str) -> None:
    """Rows of several pages, with ``between`` between them, are the rows of all pages at once."""
    written_as = make_format(name)
    pages = [[enrollment(number=1), enrollment(number=2)], [enrollment(number=3)]]

    rows = written_as.between.join([written_as.rows(page) for page in pages])

    assert rows == written_as.rows(pages[0] + pages[1])


def test_finish__is_the_growing_file(tmp_path: Path) -> None:
    """Unless a format says otherwise, the growing file is the finished one; nothing is copied."""
    growing = tmp_path / "x.part"

    assert Plain().finish(growing, tmp_path / "x.part.new", "x") == growing
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("length", [0, 1, COPY_BYTES, 2 * COPY_BYTES + 3])
def test_read_users__without_begin_and_end(length: int, tmp_path: Path) -> None:
    """Each user has the own rows of a finished file, in pieces of bounded size."""
    (tmp_path / "x").write_bytes(b"begin" + b"a" * 2 + b"r" * length + b"end")
    entries = [{"end": 7}, {"end": 7}, {"end": 7 + length}]

    read = [
        (entry, list(pieces)) for entry, pieces in Plain().read_users(tmp_path / "x", 5, entries)
    ]

    assert [entry for entry, _ in read] == entries
    assert [b"".join(pieces) for _, pieces in read] == [b"aa", b"", b"r" * length]
    assert [piece for _, pieces in read for piece in pieces if len(piece) > COPY_BYTES] == []


def test_read_pieces__of_a_shorter_file(tmp_path: Path) -> None:
    """A file that is shorter than it should be is read to its end, not for ever."""
    (tmp_path / "x").write_bytes(b"short")

    with (tmp_path / "x").open("rb") as file:
        assert list(read_pieces(file, 99)) == [b"short"]
