"""NDJSON and the JSON array: one enrollment per line, the same as in the document, in ASCII."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.formats.lines import JsonArray, Ndjson
from connector.text import to_json
from tests.support.records import HOSTILE, enrollment, enrollments, included_grade

if TYPE_CHECKING:
    from connector.alm.records import Enrollment

JSON_NUMBERS = st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)
ENROLLMENTS = st.builds(
    enrollment,
    id=HOSTILE,
    state=st.none() | HOSTILE,
    score=st.none() | JSON_NUMBERS,
    has_passed=st.none() | st.booleans(),
    resource_grades=st.just(()) | st.builds(included_grade, id=HOSTILE).map(lambda grade: (grade,)),
    included=st.none()
    | st.dictionaries(HOSTILE, HOSTILE | st.none() | st.lists(HOSTILE, max_size=2), max_size=2),
    is_decoded=st.booleans(),
)


@given(served=st.lists(ENROLLMENTS, max_size=3))
@settings(max_examples=60)
def test_ndjson__one_line_each_as_in_the_document(served: list[Enrollment]) -> None:
    """Each line is the enrollment as the document has it, in ASCII, in order, without ``##``."""
    text = Ndjson().rows(served)

    documents = [json.loads(to_json(enrollment.as_dict())) for enrollment in served]
    lines = text.splitlines()
    assert [list(json.loads(line).items()) for line in lines] == [
        list(document.items()) for document in documents
    ]
    assert text.isascii()
    assert "##" not in text
    assert text.count("\n") == len(served)


def test_ndjson__the_complete_text() -> None:
    """A line is compact; it has ``included`` only if that was requested."""
    assert Ndjson().rows([enrollment(state="##[x]##")]) == (
        '{"id":"course:1_2_31","user_id":"31","lo_id":"course:1","lo_type":"course",'
        '"lo_instance_id":"course:1_2","state":"#\\u0023[x]#\\u0023","progress_percent":100,'
        '"has_passed":true,"score":87.5,"enrollment_source":"SELF_ENROLL",'
        '"date_enrolled":"2023-06-29T12:34:33.000Z","date_started":"2023-06-29T12:34:33.000Z",'
        '"date_completed":null,"completion_deadline":null,"last_access_date":null,"rating":null,'
        '"purchased_price":null,"url":null,'
        '"resource_grades":[{"id":"course:1_2_7_0_31","module_id":"7","module_version":0}]}\n'
    )


@pytest.mark.parametrize("counts", [[], [0], [1], [2, 1], [3, 3, 3]])
def test_json_array__is_valid_however_it_grows(counts: list[int]) -> None:
    """Pieces with ``between`` between them are one valid array, even if there are no records."""
    pieces = [JsonArray().rows(enrollments(count)) for count in counts if count]

    text = JsonArray.begin + JsonArray.between.join(pieces) + JsonArray.end

    lines = [line for count in counts for line in Ndjson().rows(enrollments(count)).splitlines()]
    assert json.loads(text) == [json.loads(line) for line in lines]
    assert text == "[" + ",".join([f"\n{line}" for line in lines]) + "\n]\n"
