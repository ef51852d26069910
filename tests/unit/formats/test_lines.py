"""NDJSON and the JSON array: an enrollment a line, the same as in the document, in ASCII."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.formats.lines import JsonArray, Ndjson, to_lines
from connector.text import to_json
from tests.unit.formats.made import HOSTILE, enrollment, included_grade

if TYPE_CHECKING:
    from connector.alm.records import Enrollment

ENROLLMENTS = st.builds(
    enrollment,
    id=HOSTILE,
    state=st.none() | HOSTILE,
    score=st.none()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False),
    has_passed=st.none() | st.booleans(),
    resource_grades=st.just(()) | st.builds(included_grade, id=HOSTILE).map(lambda grade: (grade,)),
    included=st.none()
    | st.dictionaries(HOSTILE, HOSTILE | st.none() | st.lists(HOSTILE, max_size=2), max_size=2),
    is_decoded=st.booleans(),
)


@given(one=ENROLLMENTS)
def test_to_lines__as_in_the_document(one: Enrollment) -> None:
    """A line says what the document says of the enrollment, name for name in the same order, in one line of ASCII without ``##``."""
    line, end = to_lines([one])[:-1], to_lines([one])[-1:]

    assert list(json.loads(line).items()) == list(json.loads(to_json(one.as_dict())).items())
    assert line.isascii()
    assert "\n" not in line
    assert "##" not in line
    assert end == "\n"


@given(several=st.lists(ENROLLMENTS, max_size=4))
def test_to_lines__each_as_if_alone(several: list[Enrollment]) -> None:
    """What one enrollment has in it changes nothing in another one's line, nor in its place."""
    texts = [json.loads(line) for line in to_lines(several).splitlines()]

    assert texts == [json.loads(to_lines([one])) for one in several]
    assert json.loads(JsonArray.begin + JsonArray().rows(several) + JsonArray.end) == texts


def test_to_lines__whole_text() -> None:
    """The line is compact, by the contract's names, without ``included`` where nothing was asked for."""
    assert to_lines([enrollment(state="##[x]##")]) == (
        '{"id":"course:1_2_31","user_id":"31","lo_id":"course:1","lo_type":"course","lo_instance_id":"course:1_2",'
        '"state":"#\\u0023[x]#\\u0023","progress_percent":100,"has_passed":true,"score":87.5,"enrollment_source":"SELF_ENROLL",'
        '"date_enrolled":"2023-06-29T12:34:33.000Z","date_started":"2023-06-29T12:34:33.000Z","date_completed":null,'
        '"completion_deadline":null,"last_access_date":null,"rating":null,"purchased_price":null,"url":null,'
        '"resource_grades":[{"id":"course:1_2_7_0_31","module_id":"7","module_version":0}]}\n'
    )


@pytest.mark.parametrize("count", [0, 1, 3])
def test_ndjson__a_line_each(count: int) -> None:
    """Each enrollment is a line that ends in a new line."""
    text = Ndjson().rows([enrollment(number=number) for number in range(count)])

    assert text.count("\n") == count
    assert [json.loads(line)["lo_id"] for line in text.splitlines()] == [
        f"course:{number}" for number in range(count)
    ]


@pytest.mark.parametrize("counts", [[], [0], [1], [2, 1], [3, 3, 3]])
def test_json_array__valid_however_it_grows(counts: list[int]) -> None:
    """Pieces with ``between`` between them are one valid array, none included."""
    pieces = [JsonArray().rows([enrollment()] * count) for count in counts]

    array = json.loads(
        JsonArray.begin + JsonArray.between.join(piece for piece in pieces if piece) + JsonArray.end
    )

    assert array == [
        enrollment().as_dict()
        | {"resource_grades": [{"id": "course:1_2_7_0_31", "module_id": "7", "module_version": 0}]}
    ] * sum(counts)
