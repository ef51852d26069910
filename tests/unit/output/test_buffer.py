"""The records of one reading of one user: their text, and what a document needs of them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connector.formats.csv import Csv
from connector.formats.lines import JsonArray, Ndjson
from connector.formats.table import Table
from connector.output.buffer import RecordBuffer
from connector.output.results import MAX_LISTED_IDS
from connector.redact import Redactor
from connector.text import MAX_SUMMARY_RECORDS
from tests.support.records import HOSTILE, enrollment, enrollments

if TYPE_CHECKING:
    from pathlib import Path

    from connector.formats.interface import Format

NO_SECRETS = Redactor()


def buffer_of(*pages: int, folder: Path | None = None, has_tally: bool = True) -> RecordBuffer:
    """Return a buffer of *pages*, each with so many enrollments."""
    buffer = RecordBuffer(JsonArray(), NO_SECRETS, folder, has_tally=has_tally)
    served = enrollments(sum(pages))
    for count in pages:
        buffer.add(served[:count])
        served = served[count:]
    return buffer


def text_of(buffer: RecordBuffer) -> str:
    """Return all rows of *buffer*."""
    return b"".join(buffer.pieces()).decode()


@given(pages=st.lists(st.integers(0, 3), max_size=5))
@settings(max_examples=30)
def test_pieces__are_the_rows_of_all_pages(pages: list[int]) -> None:
    """Pages added one by one have the same text as all records at once; empty pages add nothing."""
    buffer = buffer_of(*pages)

    assert text_of(buffer) == JsonArray().rows(enrollments(sum(pages)))
    assert (buffer.count, buffer.delivered.count) == (sum(pages), sum(pages))


def test_pieces__from_a_file(tmp_path: Path) -> None:
    """Many records are kept in a file without a name, and can be read more than once."""
    buffer = buffer_of(*[500] * 6, folder=tmp_path)

    expected = JsonArray().rows(enrollments(3_000))
    assert len(expected) > 1024 * 1024
    assert list(tmp_path.iterdir()) == []
    assert [text_of(buffer), text_of(buffer)] == [expected, expected]
    buffer.close()


def test_pieces__of_a_full_disk(tmp_path: Path) -> None:
    """If records cannot be kept the reading goes on; the error is raised to the writer."""
    buffer = buffer_of(*[500] * 6, folder=tmp_path / "missing")

    with pytest.raises(FileNotFoundError):
        text_of(buffer)
    assert buffer.count == 3_000
    buffer.close()


@pytest.mark.parametrize("written_as", [JsonArray(), Ndjson(), Csv(), Table()])
def test_add__removes_secrets(written_as: Format) -> None:
    """No secret is in the rows, whether it is in a name, a grade or a nested value."""
    redactor = Redactor()
    redactor.add("a-secret-0042")
    buffer = RecordBuffer(written_as, redactor, None, has_tally=False)
    hostile = enrollment(
        state="a-secret-0042", included={"x": {"a-SECRET-0042": ["a-secret-0042"]}}
    )

    buffer.add([enrollment(), hostile])
    buffer.add([hostile])

    text = text_of(buffer)
    assert "secret" not in text.lower()
    assert text.count("***") >= 2
    assert buffer.count == 3


@given(text=HOSTILE)
@example(text="a\ud800b")
@settings(max_examples=30)
def test_add__half_a_surrogate_pair(text: str) -> None:
    """Any text of ALM's can be written: what UTF-8 cannot express stands as its JSON escape."""
    buffer = RecordBuffer(Csv(), NO_SECRETS, None, has_tally=False)

    buffer.add([enrollment(url=f"x{text}")])

    rows = Csv().rows([enrollment(url=f"x{text}")])
    assert text_of(buffer) == rows.encode(errors="backslashreplace").decode()


def test_delivered__for_a_summary() -> None:
    """A summary shows the first fifty records, and counts all of them by type and state."""
    buffer = buffer_of(30, 30, 30)
    buffer.add([enrollment(lo_type="jobAid", state=None)])

    first = [record.as_dict() for record in enrollments(MAX_SUMMARY_RECORDS)]
    assert buffer.delivered.first == first
    assert buffer.delivered.counts == Counter({("course", "COMPLETED"): 90, ("jobAid", None): 1})


def test_delivered__without_a_summary() -> None:
    """If there is no summary, no records are kept for it; the journal has the counts."""
    delivered = buffer_of(3, has_tally=False).delivered

    assert (delivered.count, delivered.first) == (3, [])
    assert delivered.counts == {("course", "COMPLETED"): 3}


@pytest.mark.parametrize("count", [1, MAX_LISTED_IDS, MAX_LISTED_IDS + 1, MAX_LISTED_IDS + 30])
def test_delivered__ids(count: int) -> None:
    """Ids are kept up to just over the number that a document lists; equal ones stay."""
    buffer = RecordBuffer(Ndjson(), NO_SECRETS, None, has_tally=False)
    for start in range(0, count, 10):
        buffer.add([enrollment()] * min(10, count - start))
    buffer.close()

    kept = min(count, MAX_LISTED_IDS + 10)
    assert buffer.delivered.enrollment_ids == ["course:1_2_31"] * kept
    assert buffer.delivered.resource_grade_ids == ["course:1_2_7_0_31"] * kept
    assert buffer.count == count
