"""What counts as a change: values, not the ways in which formats write them."""

from __future__ import annotations

from typing import Any

import pytest

from connector.output.changes import changed_fields, is_completion

DATE = "2023-06-29T12:34:33.000Z"
GRADE = {"id": "course:1_2_7_0_31", "module_id": "7", "score": None}
OTHER = {"id": "course:1_2_8_0_31", "module_id": "8", "score": 3}
SAME: dict[str, tuple[str, Any, Any]] = {
    "equal": ("state", "STARTED", "STARTED"),
    "csv has no empty text": ("state", "", None),
    "csv has no empty list": ("resource_grades", [], None),
    "no fraction": ("score", 87.0, 87),
    "a double has 53 bits": ("score", 9_007_199_254_740_993, 9_007_199_254_740_992.0),
    "other precision": ("date_started", DATE, "2023-06-29T12:34:33Z"),
    "other offset": ("date_completed", DATE, "2023-06-29T14:34:33+02:00"),
    "no date": ("completion_deadline", "soon", None),
    "other order": ("resource_grades", [GRADE, OTHER], [OTHER, GRADE]),
    "ids as text": ("resource_grade_ids", ["a", "b"], "b a"),
    "parquet has every attribute": (
        "resource_grades",
        [{"id": "a", "module_id": None}],
        [{"id": "a", "module_id": None, "score": None, "date_success": None}],
    ),
}
DIFFERENT: dict[str, tuple[str, Any, Any]] = {
    "state": ("state", "STARTED", "COMPLETED"),
    "gone": ("rating", 5, None),
    "zero is not empty": ("score", 0, None),
    "false is not empty": ("has_passed", False, None),
    "number": ("score", 87, 87.5),
    "large number": ("score", 9_007_199_254_740_993, 9_007_199_254_740_994),
    "beyond any double": ("score", 10**400, 1.5),
    "date": ("date_started", DATE, "2023-06-29T12:34:34.000Z"),
    "date that is new": ("date_completed", None, DATE),
    "two texts that are no dates": ("date_started", "soon", "later"),
    "moments as text": ("url", DATE, "2023-06-29T12:34:33Z"),
    "fewer grades": ("resource_grades", [GRADE, OTHER], [GRADE]),
    "another grade": ("resource_grades", [GRADE], [OTHER]),
    "a grade's score": ("resource_grades", [OTHER], [{**OTHER, "score": 4}]),
    "fewer ids": ("resource_grade_ids", "a b", "a"),
    "included": ("included", {"learner": {"id": "31"}}, {"learner": {"id": "31", "x": 1}}),
}


@pytest.mark.parametrize(("name", "before", "after"), SAME.values(), ids=SAME)
def test_changed_fields__same_value(name: str, before: Any, after: Any) -> None:
    """Two ways to write one value are no change, in either direction."""
    assert changed_fields({name: before}, {name: after}, ()) == []
    assert changed_fields({name: after}, {name: before}, ()) == []


@pytest.mark.parametrize(("name", "before", "after"), DIFFERENT.values(), ids=DIFFERENT)
def test_changed_fields__other_value(name: str, before: Any, after: Any) -> None:
    """Another value is a change, in either direction, unless its field is ignored."""
    assert changed_fields({name: before}, {name: after}, ()) == [name]
    assert changed_fields({name: after}, {name: before}, ()) == [name]
    assert changed_fields({name: before}, {name: after}, [name]) == []


def test_changed_fields__common_columns_only() -> None:
    """A column that one of the files does not have says nothing."""
    before = {"state": "STARTED", "score": 1, "rating": 4}
    after = {"state": "COMPLETED", "lo_name": "Safety", "score": 2}

    assert changed_fields(before, after, ()) == ["state", "score"]


@pytest.mark.parametrize("ids", [[GRADE["id"]], GRADE["id"], None])
def test_changed_fields__grades_against_their_ids(ids: Any) -> None:
    """If one of the files has only the ids of grades, the ids are compared."""
    grades = {"resource_grades": [GRADE] if ids else None}

    assert changed_fields(grades, {"resource_grade_ids": ids}, ()) == []
    assert changed_fields({"resource_grade_ids": ids}, grades, ()) == []
    other = {"resource_grade_ids": OTHER["id"]}
    assert changed_fields(grades, other, ()) == ["resource_grade_ids"]


def test_changed_fields__columns_made_of_grades() -> None:
    """A change of a grade is named once, not for each column that is made of grades."""
    before = {"resource_grades": [GRADE], "resource_grade_ids": "a", "module_names": "A"}
    after = {"resource_grades": [OTHER], "resource_grade_ids": "b", "module_names": "B"}

    assert changed_fields(before, after, ()) == ["resource_grades"]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, {"date_completed": DATE}, True),
        ({"date_completed": None}, {"date_completed": DATE}, True),
        ({"date_completed": ""}, {"date_completed": DATE}, True),
        ({"date_completed": DATE}, {"date_completed": "2023-07-01T00:00:00.000Z"}, False),
        ({"state": "STARTED"}, {"date_completed": DATE}, False),
        ({"date_completed": DATE}, {"date_completed": None}, False),
        (None, {"date_completed": None}, False),
        (None, {"state": "COMPLETED"}, False),
    ],
)
def test_is_completion(
    before: dict[str, Any] | None, after: dict[str, Any], *, expected: bool
) -> None:
    """A completion is a date that was not there; a file without the column says nothing."""
    assert is_completion(before, after) is expected
