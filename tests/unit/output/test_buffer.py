"""One user's records on their way to a file, and what is told of them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.clock import parse_moment
from connector.formats.lines import JsonArray, Ndjson
from connector.output.buffer import MAX_LISTED_IDS, RecordBuffer
from tests.unit.formats.made import enrollment

if TYPE_CHECKING:
    from pathlib import Path

DATES = st.datetimes().map(
    lambda moment: f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"
) | st.sampled_from(
    [
        "2023-06-29",
        "2023-06-29T12:34:33+02:00",
        "2023-06-29T10:34:33.000001Z",
        "no date",
        "",
        "never in the life of me!",
    ]
)


def chunk_of(*pages: int, folder: Path | None = None) -> RecordBuffer:
    """Return one with pages of so many enrollments."""
    made = RecordBuffer(JsonArray(), str, folder)
    first = 0
    for count in pages:
        made.add([enrollment(number=number) for number in range(first, first + count)])
        first += count
    return made


@given(pages=st.lists(st.integers(0, 3), max_size=5))
def test_pieces__all_that_was_added(pages: list[int]) -> None:
    """Page by page the same text comes of it as all at once, ``between`` between the pages that have something."""
    made = chunk_of(*pages)

    assert b"".join(made.pieces()).decode() == JsonArray().rows(
        [enrollment(number=number) for number in range(sum(pages))]
    )
    assert made.count == sum(pages)


def test_pieces__more_than_stays_in_memory(tmp_path: Path) -> None:
    """Many records are kept in a file that nobody sees, and come back the same, twice if need be."""
    made = chunk_of(*[500] * 6, folder=tmp_path)
    expected = JsonArray().rows([enrollment(number=number) for number in range(3_000)]).encode()

    assert len(expected) > 1024 * 1024
    assert list(tmp_path.iterdir()) == []
    assert b"".join(made.pieces()) == expected
    assert b"".join(made.pieces()) == expected
    made.close()


def test_pieces__no_room(tmp_path: Path) -> None:
    """Where the records cannot be kept, reading goes on, and who takes them is told."""
    made = chunk_of(*[500] * 6, folder=tmp_path / "nowhere")

    with pytest.raises(FileNotFoundError):
        list(made.pieces())
    made.close()


def test_add__without_the_runs_secrets() -> None:
    """What is written has no secret in it."""
    made = RecordBuffer(Ndjson(), lambda text: text.replace("t0ken", "***"), None)

    made.add([enrollment(state="t0ken")])

    (line,) = b"".join(made.pieces()).splitlines()
    assert (b"t0ken" in line, b'"state":"***"' in line) == (False, True)


@given(pages=st.lists(st.lists(DATES | st.none(), max_size=4), max_size=4))
def test_add__the_latest_date(pages: list[list[str | None]]) -> None:
    """The latest date is that of the latest moment, in whatever writing; what is no date is none."""
    made = RecordBuffer(Ndjson(), str, None)
    for dates in pages:
        made.add([enrollment(date_enrolled=date) for date in dates])

    moments = [
        moment for dates in pages for date in dates if date and (moment := parse_moment(date))
    ]
    latest = parse_moment(made.latest_date_enrolled) if made.latest_date_enrolled else None
    assert latest == max(moments, default=None)


def test_add__what_a_summary_shows() -> None:
    """The first fifty are kept as they are, and of all of them the kinds are counted."""
    made = chunk_of(30, 30, 30)
    made.add([enrollment(lo_type="jobAid", state=None)])

    assert [one["lo_id"] for one in made.first] == [f"course:{number}" for number in range(50)]
    assert made.kinds == Counter({("course", "COMPLETED"): 90, ("jobAid", None): 1})


@pytest.mark.parametrize(
    ("count", "kept"),
    [
        (MAX_LISTED_IDS, MAX_LISTED_IDS),
        (MAX_LISTED_IDS + 1, MAX_LISTED_IDS + 1),
        (MAX_LISTED_IDS + 30, MAX_LISTED_IDS + 10),
    ],
)
def test_add__ids_no_more_than_show_that_they_are_too_many(count: int, kept: int) -> None:
    """Of more ids than a document holds only so many are kept as show that."""
    made = chunk_of(*[10] * (count // 10), count % 10)
    made.close()

    assert (len(made.enrollment_ids), len(made.resource_grade_ids), made.count) == (
        kept,
        kept,
        count,
    )


def test_add__grades_once() -> None:
    """A grade that two enrollments have is listed once."""
    made = RecordBuffer(Ndjson(), str, None)

    made.add([enrollment(), enrollment()])

    assert list(made.resource_grade_ids) == ["course:1_2_7_0_31"]
