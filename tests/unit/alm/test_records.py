"""Resources to records: ids taken apart, held against the relationships, and what include brings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.alm.protocol import Page
from connector.alm.records import (
    EnrollmentId,
    IncludedResourceGrade,
    ResourceGrade,
    ResourceGradeId,
    read_enrollments,
)
from connector.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

DIGITS = st.text("0123456789", min_size=1, max_size=20)
LETTERS = st.text("abcXYZ", min_size=1, max_size=20)
REPORT = "Nothing of it was used; report it with the request id."
NOTHING: dict[str, Any] = {
    "state": None,
    "progress_percent": None,
    "has_passed": None,
    "score": None,
    "enrollment_source": None,
    "date_enrolled": None,
    "date_started": None,
    "date_completed": None,
    "completion_deadline": None,
    "last_access_date": None,
    "rating": None,
    "purchased_price": None,
    "url": None,
    "resource_grades": [],
}
NEW: dict[str, Any] = {
    **NOTHING,
    "state": "ENROLLED",
    "progress_percent": 0,
    "has_passed": False,
    "score": 0,
}


def page_of(
    *enrollments: dict[str, Any], included: Sequence[dict[str, Any]] = (), user_id: str = "3"
) -> Page:
    """Return a page of *enrollments* as ALM would have sent it."""
    typed = [
        {"type": "learningObjectInstanceEnrollment", **enrollment} for enrollment in enrollments
    ]
    return Page(user_id, None, typed, list(included), None, "trace")


def to(kind: str, one: str) -> dict[str, Any]:
    """Return a relationship to *one*."""
    return {"data": {"id": one, "type": kind}}


def to_many(*resources: dict[str, Any]) -> dict[str, Any]:
    """Return a relationship to *resources*."""
    return {"data": [{"id": resource["id"], "type": resource["type"]} for resource in resources]}


def grade(version: int, module: str, prefix: str) -> dict[str, Any]:
    """Return a resource grade of the documented learner, as the document has it."""
    return {
        "id": f"{prefix}_{module}_{version}_20941371",
        "module_id": module,
        "module_version": version,
    }


def test_read_enrollments__documented(request: pytest.FixtureRequest) -> None:
    """The documented example becomes these three records, nothing less and nothing else."""
    path: Path = request.path.with_name("documented_page.json")

    enrollments = read_enrollments(
        page_of(*json.loads(path.read_bytes())["data"], user_id="20941371")
    )

    assert [enrollment.as_dict() for enrollment in enrollments] == DOCUMENTED
    assert [list(enrollment.as_dict()) for enrollment in enrollments] == [
        list(record) for record in DOCUMENTED
    ]
    assert [enrollment.is_decoded for enrollment in enrollments] == [True, True, True]


DOCUMENTED: list[dict[str, Any]] = [
    {
        "id": "course:6511020_7037048_20941371",
        "user_id": "20941371",
        "lo_id": "course:6511020",
        "lo_type": "course",
        "lo_instance_id": "course:6511020_7037048",
        **NEW,
        "enrollment_source": "AUTO_ENROLL",
        "date_enrolled": "2023-06-16T11:48:49.000Z",
        "completion_deadline": "2023-12-13T11:48:49.000Z",
        "resource_grades": [
            grade(0, "11676159", "course:6511020_7037048"),
            grade(0, "11676160", "course:6511020_7037048"),
            grade(0, "11676161", "course:6511020_7037048"),
            grade(0, "11676162", "course:6511020_7037048"),
        ],
    },
    {
        "id": "course:7236650_7877507_20941371",
        "user_id": "20941371",
        "lo_id": "course:7236650",
        "lo_type": "course",
        "lo_instance_id": "course:7236650_7877507",
        **NEW,
        "enrollment_source": "SELF_ENROLL",
        "date_enrolled": "2023-06-29T11:34:50.000Z",
        "resource_grades": [grade(0, "12456287", "course:7236650_7877507")],
    },
    {
        "id": "course:7236827_7877699_20941371",
        "user_id": "20941371",
        "lo_id": "course:7236827",
        "lo_type": "course",
        "lo_instance_id": "course:7236827_7877699",
        **NEW,
        "enrollment_source": "ADMIN_ENROLL",
        "date_enrolled": "2023-06-29T12:34:33.000Z",
        "resource_grades": [
            grade(0, "12456477", "course:7236827_7877699"),
            grade(0, "12463854", "course:7236827_7877699"),
        ],
    },
]


def test_read_enrollments__every_attribute() -> None:
    """Each attribute of the API lands under its own name, as it was sent."""
    attributes = {
        "state": "COMPLETED",
        "progressPercent": 100,
        "hasPassed": True,
        "score": 87.5,
        "enrollmentSource": "MANAGER_ENROLL",
        "dateEnrolled": "2024-01-01T00:00:00.000Z",
        "dateStarted": "2024-01-02T00:00:00.000Z",
        "dateCompleted": "2024-01-03T00:00:00.000Z",
        "completionDeadline": "2024-01-04T00:00:00.000Z",
        "lastAccessDate": "2024-01-05T00:00:00.000Z",
        "rating": 4,
        "purchasedPrice": 9.99,
        "url": "https://learningmanager.adobe.com/x",
        "aNewOne": 1,
    }

    (enrollment,) = read_enrollments(page_of({"id": "jobAid:1_2_3", "attributes": attributes}))

    assert list(enrollment.as_dict().values()) == [
        "jobAid:1_2_3",
        "3",
        "jobAid:1",
        "jobAid",
        "jobAid:1_2",
        *[*attributes.values()][:-1],
        [],
    ]


def test_read_enrollments__order_and_repeats() -> None:
    """Records come in the order served, one that was served twice twice: judging that is not this room's."""
    enrollments = read_enrollments(
        page_of({"id": "course:9_9_3"}, {"id": "course:1_1_3"}, {"id": "course:9_9_3"})
    )

    assert [enrollment.id for enrollment in enrollments] == [
        "course:9_9_3",
        "course:1_1_3",
        "course:9_9_3",
    ]


@pytest.mark.parametrize(
    "lo_type", ["course", "learningProgram", "jobAid", "certification", "somethingNew"]
)
def test_enrollment_id__every_type(lo_type: str) -> None:
    """Every type's ids are taken apart, those of types to come as well."""
    parsed = EnrollmentId.parse(f"{lo_type}:6511020_7037048_20941371")

    assert parsed == EnrollmentId(
        lo_type, f"{lo_type}:6511020", f"{lo_type}:6511020_7037048", "20941371"
    )


def test_resource_grade_id__documented() -> None:
    """The documented grade id tells module, version and learner."""
    parsed = ResourceGradeId.parse("course:6511020_7037048_11676159_0_20941371")

    assert parsed == ResourceGradeId("course:6511020_7037048", "11676159", 0, "20941371")


OTHER_SHAPES = [
    "",
    "x",
    "course",
    "course:",
    "course:1",
    "course:1_2",
    "1_2_3",
    ":1_2_3",
    "course:1_2_3\n",
    " course:1_2_3",
]
ODD_SHAPES = [
    "course:1_2_x",
    "course:1__3",
    "course:1_2_-3",
    "course:\u0661_\u0662_\u0663",
    "c0urse:1_2_3",
    "cours\u00e9:1_2_3",
    "course:1_2_3_4",
]


@pytest.mark.parametrize("text", [*OTHER_SHAPES, *ODD_SHAPES, "course:1_2_3_4_5"])
def test_enrollment_id__other_shapes(text: str) -> None:
    """An id of another shape is undecodable, not wrong."""
    assert EnrollmentId.parse(text) is None


@pytest.mark.parametrize(
    "text",
    [
        *OTHER_SHAPES,
        *ODD_SHAPES,
        "course:1_2_3",
        "course:1_2_3_x_5",
        "course:1_2_3_4_5_6",
        "course:1_2_3_4_5\n",
    ],
)
def test_resource_grade_id__other_shapes(text: str) -> None:
    """An id of another shape is undecodable, not wrong."""
    assert ResourceGradeId.parse(text) is None


@given(LETTERS, DIGITS, DIGITS, DIGITS)
def test_enrollment_id__round_trip(lo_type: str, lo: str, instance: str, user: str) -> None:
    """What is taken apart can be put together again without loss."""
    parsed = EnrollmentId.parse(f"{lo_type}:{lo}_{instance}_{user}")

    assert parsed == EnrollmentId(lo_type, f"{lo_type}:{lo}", f"{lo_type}:{lo}_{instance}", user)


@given(LETTERS, st.tuples(DIGITS, DIGITS, DIGITS, DIGITS), st.integers(0, 10**18 - 1))
def test_resource_grade_id__round_trip(
    lo_type: str, ids: tuple[str, str, str, str], version: int
) -> None:
    """What is taken apart can be put together again without loss."""
    lo, instance, module, user = ids

    parsed = ResourceGradeId.parse(f"{lo_type}:{lo}_{instance}_{module}_{version}_{user}")

    assert parsed == ResourceGradeId(f"{lo_type}:{lo}_{instance}", module, version, user)


@given(st.text())
def test_ids__any_text(text: str) -> None:
    """No text whatever makes the parsers fail, and none is both an enrollment's and a grade's."""
    assert EnrollmentId.parse(text) is None or ResourceGradeId.parse(text) is None


def test_read_enrollments__undecodable_id() -> None:
    """An id of another shape is handed on whole, its parts taken from the relationships."""
    relationships = {
        "learner": to("user", "3"),
        "learningObject": to("learningObject", "course:1"),
        "loInstance": to("learningObjectInstance", "course:1_2"),
        "loResourceGrades": {"data": [{"id": "a-grade", "type": "learningObjectResourceGrade"}]},
    }

    (enrollment,) = read_enrollments(page_of({"id": "e-77", "relationships": relationships}))

    grades = [{"id": "a-grade", "module_id": None, "module_version": None}]
    ids = {
        "id": "e-77",
        "user_id": "3",
        "lo_id": "course:1",
        "lo_type": "course",
        "lo_instance_id": "course:1_2",
    }
    assert enrollment.as_dict() == {**ids, **NOTHING, "resource_grades": grades}
    assert enrollment.is_decoded is False


@pytest.mark.parametrize(
    ("enrollment_id", "lo_id", "lo_type"),
    [
        ("e-77", None, None),
        ("jobAid:other", None, "jobAid"),
        ("7:other", None, None),
        (":other", None, None),
        ("é:other", None, None),
    ],
)
def test_read_enrollments__undecodable_without_relationships(
    enrollment_id: str, lo_id: str | None, lo_type: str | None
) -> None:
    """What neither id nor relationships tell is null; the learner is the one who was asked for."""
    (enrollment,) = read_enrollments(page_of({"id": enrollment_id}))

    ids = {
        "id": enrollment_id,
        "user_id": "3",
        "lo_id": lo_id,
        "lo_type": lo_type,
        "lo_instance_id": None,
    }
    assert enrollment.as_dict() == {**ids, **NOTHING}


@pytest.mark.parametrize(
    "relationships",
    [
        None,
        {},
        {"learner": {}, "learningObject": {}, "loInstance": {}, "loResourceGrades": {}},
        {"learner": None, "learningObject": None, "loInstance": None, "loResourceGrades": None},
        {
            name: {"data": None}
            for name in ("learner", "learningObject", "loInstance", "loResourceGrades")
        },
        {"loResourceGrades": {"data": []}},
    ],
)
def test_read_enrollments__no_relationships(relationships: dict[str, Any] | None) -> None:
    """Relationships that are absent, null or empty leave the id's own parts, and no grades."""
    (enrollment,) = read_enrollments(
        page_of({"id": "course:1_2_3", "relationships": relationships, "attributes": None})
    )

    ids = {
        "id": "course:1_2_3",
        "user_id": "3",
        "lo_id": "course:1",
        "lo_type": "course",
        "lo_instance_id": "course:1_2",
    }
    assert enrollment.as_dict() == {**ids, **NOTHING}


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("learner", "4"),
        ("learningObject", "course:9"),
        ("learningObject", "jobAid:1"),
        ("loInstance", "course:1_9"),
        ("loInstance", "x\n"),
    ],
)
def test_read_enrollments__contradiction(name: str, other: str) -> None:
    """An id that its relationships contradict is refused: which of the two is right cannot be known."""
    page = page_of({"id": "course:1_2_3", "relationships": {name: to("any", other)}})

    with pytest.raises(ProtocolError) as caught:
        read_enrollments(page)

    assert (
        caught.value.message
        == f'ALM\'s enrollment "course:1_2_3" contradicts its relationship {name}, which is {json.dumps(other)}.'
    )
    assert (caught.value.hint, caught.value.http_status, caught.value.request_id) == (
        REPORT,
        200,
        "trace",
    )


@pytest.mark.parametrize(
    ("enrollment_id", "relationships"),
    [
        ("course:1_2_4", {}),
        ("course:1_2_4", {"learner": to("user", "4")}),
        ("e-77", {"learner": to("user", "4")}),
    ],
)
def test_read_enrollments__another_learner(
    enrollment_id: str, relationships: dict[str, Any]
) -> None:
    """Another learner's enrollment is refused, whether the id tells or the relationship."""
    page = page_of({"id": "course:1_2_3"}, {"id": enrollment_id, "relationships": relationships})

    with pytest.raises(ProtocolError) as caught:
        read_enrollments(page)

    assert (
        caught.value.message
        == f'ALM answered for user 3 with another learner\'s enrollment, "{enrollment_id}".'
    )
    assert (caught.value.hint, caught.value.http_status, caught.value.request_id) == (
        REPORT,
        200,
        "trace",
    )


def test_read_enrollments__leading_zeros() -> None:
    """A user id asked for with leading zeros is the same learner."""
    (enrollment,) = read_enrollments(page_of({"id": "course:1_2_3"}, user_id="003"))

    assert enrollment.user_id == "3"


GRADES = {
    "loResourceGrades": {
        "data": [
            {"id": f"course:1_2_{n}_1_3", "type": "learningObjectResourceGrade"} for n in (7, 8)
        ]
    }
}
GRADE_7: dict[str, Any] = {
    "id": "course:1_2_7_1_3",
    "type": "learningObjectResourceGrade",
    "attributes": {
        "progressPercent": 50,
        "hasPassed": True,
        "score": 4.5,
        "highestScore": 5,
        "maxScore": 6,
        "duration": 61,
        "dateStarted": "2024-01-02T00:00:00.000Z",
        "dateCompleted": "2024-01-03T00:00:00.000Z",
        "dateSuccess": "2024-01-04T00:00:00.000Z",
    },
}


def test_read_enrollments__grades_without_include() -> None:
    """Without include a grade is its id taken apart, even where the server sent more."""
    page = page_of({"id": "course:1_2_3", "relationships": GRADES}, included=[GRADE_7])

    (enrollment,) = read_enrollments(page)

    assert enrollment.resource_grades == (
        ResourceGrade("course:1_2_7_1_3", "7", 1),
        ResourceGrade("course:1_2_8_1_3", "8", 1),
    )
    assert "included" not in enrollment.as_dict()


def test_read_enrollments__grades_with_include() -> None:
    """With include a grade has its attributes, and nulls where ALM sent none."""
    page = page_of({"id": "course:1_2_3", "relationships": GRADES}, included=[GRADE_7])

    (enrollment,) = read_enrollments(page, ["loResourceGrades"])

    values = GRADE_7["attributes"].values()
    assert enrollment.resource_grades == (
        IncludedResourceGrade("course:1_2_7_1_3", "7", 1, *values),
        IncludedResourceGrade("course:1_2_8_1_3", "8", 1, *[None] * 9),
    )
    assert enrollment.included is None


def test_enrollment__as_dict_of_included_grade() -> None:
    """An included grade's attributes stand in the document by these names."""
    page = page_of(
        {"id": "course:1_2_3", "relationships": {"loResourceGrades": to_many(GRADE_7)}},
        included=[GRADE_7],
    )

    (enrollment,) = read_enrollments(page, ["loResourceGrades"])

    assert enrollment.as_dict()["resource_grades"] == [
        {
            "id": "course:1_2_7_1_3",
            "module_id": "7",
            "module_version": 1,
            "progress_percent": 50,
            "has_passed": True,
            "score": 4.5,
            "highest_score": 5,
            "max_score": 6,
            "duration": 61,
            "date_started": "2024-01-02T00:00:00.000Z",
            "date_completed": "2024-01-03T00:00:00.000Z",
            "date_success": "2024-01-04T00:00:00.000Z",
        }
    ]


COURSE: dict[str, Any] = {
    "id": "course:1",
    "type": "learningObject",
    "attributes": {"loType": "course"},
    "relationships": {
        "skills": {
            "data": [
                {"id": "s1", "type": "skill"},
                {"id": "s2", "type": "skill"},
                {"id": "gone", "type": "skill"},
            ]
        },
        "authors": {"data": []},
        "parent": {"data": None},
    },
}
SKILL_1: dict[str, Any] = {
    "id": "s1",
    "type": "skill",
    "relationships": {"level": to("level", "l1")},
}
SKILL_2: dict[str, Any] = {"id": "s2", "type": "skill"}
LEVEL: dict[str, Any] = {"id": "l1", "type": "level"}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("learningObject", COURSE),
        ("learningObject.skills", [SKILL_1, SKILL_2]),
        ("learningObject.skills.level", [LEVEL]),
        ("learningObject.authors", []),
        ("learningObject.parent", None),
        ("learningObject.unknown", None),
        ("loInstance", None),
        ("loInstance.learningObject", None),
        ("learnerBadge", None),
        ("loResourceGrades.learningObject", []),
    ],
)
def test_read_enrollments__include_path(path: str, found: object) -> None:
    """A path leads to a resource, to a list of them, or to null where ALM sent none."""
    relationships = {
        "learningObject": to("learningObject", "course:1"),
        "loInstance": to("learningObjectInstance", "course:1_2"),
        **GRADES,
    }
    page = page_of(
        {"id": "course:1_2_3", "relationships": relationships},
        included=[COURSE, SKILL_1, SKILL_2, LEVEL],
    )

    (enrollment,) = read_enrollments(page, [path])

    assert enrollment.as_dict()["included"] == {path: found}


def test_read_enrollments__several_paths() -> None:
    """Each path that was asked for is answered under its own name; the grades are answered in the grades."""
    page = page_of(
        {"id": "course:1_2_3", "relationships": {"learner": to("user", "3")}},
        included=[{"id": "3", "type": "user"}],
    )

    (enrollment,) = read_enrollments(page, ["learner", "loResourceGrades", "learnerBadge"])

    assert enrollment.included == {"learner": {"id": "3", "type": "user"}, "learnerBadge": None}


def test_read_enrollments__same_id_of_another_type() -> None:
    """Included resources are told apart by type and id together."""
    page = page_of(
        {"id": "course:1_2_3", "relationships": {"learner": to("user", "3")}},
        included=[{"id": "3", "type": "badge"}],
    )

    (enrollment,) = read_enrollments(page, ["learner"])

    assert enrollment.included == {"learner": None}
