"""Resources to records: ids split and checked against the relationships, and include's paths."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.alm.protocol import Page
from connector.alm.records import (
    MAX_INCLUDED_BYTES,
    MAX_INCLUDED_BYTES_OF_PAGE,
    MAX_LINKS,
    IncludedResourceGrade,
    ResourceGrade,
    find_missing,
    read_enrollments,
    without_repeats,
)
from connector.errors import ProtocolError
from tests.support.errors import facts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from connector.alm.records import Enrollment

Resource = dict[str, Any]
DIGITS = st.text("0123456789", min_size=1, max_size=20)
LETTERS = st.text("abcXYZ", min_size=1, max_size=20)
REPORT = "The response was discarded. Report this with the request id. (request id trace)"
ATTRIBUTES = {
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
}
FIELDS = (
    *("state", "progress_percent", "has_passed", "score", "enrollment_source", "date_enrolled"),
    *("date_started", "date_completed", "completion_deadline", "last_access_date", "rating"),
    *("purchased_price", "url"),
)
OF_USER_3 = {
    "id": "course:1_2_3",
    "user_id": "3",
    "lo_id": "course:1",
    "lo_type": "course",
    "lo_instance_id": "course:1_2",
}


def page_of(*enrollments: Resource, included: Sequence[Resource] = (), user_id: str = "3") -> Page:
    """Return a page of *enrollments*."""
    typed = [{"type": "learningObjectInstanceEnrollment", **resource} for resource in enrollments]
    return Page(user_id, None, typed, list(included), None, "trace")


def read(
    resource: Resource, include: Sequence[str] = (), included: Sequence[Resource] = ()
) -> Enrollment:
    """Return the record of one enrollment of user 3."""
    (enrollment,) = read_enrollments(page_of(resource, included=included), include)
    return enrollment


def to(kind: str, resource_id: str) -> Resource:
    """Return a relationship to one resource."""
    return {"data": {"id": resource_id, "type": kind}}


def record(ids: Resource, grades: Sequence[Resource] = (), **values: object) -> Resource:
    """Return a record with these ids, null but for *values*."""
    return {**ids, **dict.fromkeys(FIELDS), **values, "resource_grades": list(grades)}


def documented(instance: str, *modules: str, **values: object) -> Resource:
    """Return the record of an enrollment of the documented page."""
    ids = {
        "id": f"{instance}_20941371",
        "user_id": "20941371",
        "lo_id": instance.rpartition("_")[0],
        "lo_type": "course",
        "lo_instance_id": instance,
    }
    grades = [
        {"id": f"{instance}_{module}_0_20941371", "module_id": module, "module_version": 0}
        for module in modules
    ]
    new = {"state": "ENROLLED", "progress_percent": 0, "has_passed": False, "score": 0}
    return record(ids, grades, **new, **values)


DOCUMENTED = [
    documented(
        "course:6511020_7037048",
        *("11676159", "11676160", "11676161", "11676162"),
        enrollment_source="AUTO_ENROLL",
        date_enrolled="2023-06-16T11:48:49.000Z",
        completion_deadline="2023-12-13T11:48:49.000Z",
    ),
    documented(
        "course:7236650_7877507",
        "12456287",
        enrollment_source="SELF_ENROLL",
        date_enrolled="2023-06-29T11:34:50.000Z",
    ),
    documented(
        "course:7236827_7877699",
        *("12456477", "12463854"),
        enrollment_source="ADMIN_ENROLL",
        date_enrolled="2023-06-29T12:34:33.000Z",
    ),
]


def test_read_enrollments__documented(request: pytest.FixtureRequest) -> None:
    """The documented page becomes these three records, their fields in this order."""
    path: Path = request.path.with_name("documented_page.json")
    page = page_of(*json.loads(path.read_bytes())["data"], user_id="20941371")

    records = [enrollment.as_dict() for enrollment in read_enrollments(page)]

    assert json.dumps(records) == json.dumps(DOCUMENTED)


def test_read_enrollments__every_attribute() -> None:
    """Each of the API's attributes becomes the field of its name; new ones are ignored."""
    enrollment = read({"id": "course:1_2_3", "attributes": {**ATTRIBUTES, "aNewOne": 1}})

    values: Resource = dict(zip(FIELDS, ATTRIBUTES.values(), strict=True))
    assert enrollment.as_dict() == record(OF_USER_3, **values)


@pytest.mark.parametrize(
    ("served", "score"),
    [(2**53, 2**53), (2**53 + 1, 2.0**53), (-(2**70), -(2.0**70)), (1e300, 1e300), (None, None)],
)
def test_read_enrollments__numbers_are_doubles(served: float | None, score: float | None) -> None:
    """A number that no double equals becomes the nearest one; every other stays as it was."""
    enrollment = read({"id": "course:1_2_3", "attributes": {"score": served}})

    assert (enrollment.score, type(enrollment.score)) == (score, type(score))


def test_read_enrollments__numbers_beside_a_large_one() -> None:
    """Only the number that no double equals is rounded."""
    enrollment = read({"id": "course:1_2_3", "attributes": {"score": 2**53, "rating": 2**53 + 1}})

    assert (
        json.dumps([enrollment.score, enrollment.rating])
        == "[9007199254740992, 9007199254740992.0]"
    )


def test_read_enrollments__number_beyond_doubles() -> None:
    """A number that is larger than any double is refused, and shown in part only."""
    with pytest.raises(ProtocolError) as caught:
        read({"id": "course:1_2_3", "attributes": {"rating": 10**400}})

    shown = f"1{'0' * 199}…"
    text = f'ALM\'s page has a number that is too large to be one: "{shown}". {REPORT}'
    assert str(caught.value).replace("\\u2026", "…") == text


def test_read_enrollments__order_and_repeats() -> None:
    """Records come in ALM's order; one that was served twice comes twice."""
    ids = ["course:9_9_3", "course:1_1_3", "course:9_9_3"]

    enrollments = read_enrollments(page_of(*({"id": enrollment_id} for enrollment_id in ids)))

    assert [enrollment.id for enrollment in enrollments] == ids


@given(LETTERS, DIGITS, DIGITS)
def test_read_enrollments__any_id(lo_type: str, lo: str, instance: str) -> None:
    """The id of any type, known or new, is split into its parts."""
    enrollment = read({"id": f"{lo_type}:{lo}_{instance}_3"})

    lo_id = f"{lo_type}:{lo}"
    parts = (enrollment.lo_type, enrollment.lo_id, enrollment.lo_instance_id, enrollment.user_id)
    assert parts == (lo_type, lo_id, f"{lo_id}_{instance}", "3")
    assert enrollment.is_decoded


@given(st.tuples(LETTERS, DIGITS, DIGITS, DIGITS, DIGITS), st.integers(0, 10**18 - 1))
def test_read_enrollments__any_grade_id(parts: tuple[str, ...], version: int) -> None:
    """The id of a grade is split into module and version."""
    lo_type, lo, instance, module, user = parts
    grade_id = f"{lo_type}:{lo}_{instance}_{module}_{version}_{user}"

    (grade,) = read(with_grades(grade_id)).resource_grades

    assert grade == ResourceGrade(grade_id, module, version)


def test_read_enrollments__job_aid() -> None:
    """Instance and module of a job aid are -1."""
    grade_id = "jobAid:131032_-1_-1_2_3"

    enrollment = read(with_grades(grade_id) | {"id": "jobAid:131032_-1_3"})

    assert (enrollment.lo_id, enrollment.lo_instance_id) == ("jobAid:131032", "jobAid:131032_-1")
    assert (enrollment.lo_type, enrollment.user_id) == ("jobAid", "3")
    assert enrollment.resource_grades == (ResourceGrade(grade_id, "-1", 2),)
    assert enrollment.is_decoded


def test_without_repeats__byte_for_byte() -> None:
    """An enrollment that a page lists twice is kept once, at its first place, unless it differs."""
    once, other = {"id": "course:1_2_3"}, {"id": "course:4_5_3"}
    changed = {"id": "course:4_5_3", "attributes": {"state": "STARTED"}}
    page = page_of(once, other, {**once}, changed, {**once}, {**other})

    kept, repeated = without_repeats(page)

    assert kept == page_of(once, other, changed)
    assert repeated == ["course:1_2_3", "course:1_2_3", "course:4_5_3"]


def test_without_repeats__of_an_ordinary_page() -> None:
    """A page without repeats is returned as it is."""
    page = page_of({"id": "course:1_2_3"}, {"id": "course:4_5_3"})

    assert without_repeats(page)[0] is page
    assert without_repeats(page)[1] == []


def with_grades(*grade_ids: str) -> Resource:
    """Return an enrollment with these grades."""
    grades = [{"id": grade_id, "type": "learningObjectResourceGrade"} for grade_id in grade_ids]
    return {"id": "course:1_2_3", "relationships": {"loResourceGrades": {"data": grades}}}


OTHER_SHAPES = (
    *("x", "course", "course:", "course:1", "course:1_2", "1_2_3", ":1_2_3", "course:1_2_3\n"),
    *(" course:1_2_3", "course:1_2_x", "course:1__3", "course:1_2_-3", "course:1_2_3_4"),
    *("course:1_-2_3", "course:-1_2_3", "course:1_--1_3"),
    *("course:\u0661_\u0662_\u0663", "c0urse:1_2_3", "cours\u00e9:1_2_3"),
)


@pytest.mark.parametrize("enrollment_id", [*OTHER_SHAPES, "course:1_2_3_4_5"])
def test_read_enrollments__id_of_another_shape(enrollment_id: str) -> None:
    """An id of another shape is kept and marked, not refused."""
    enrollment = read({"id": enrollment_id})

    assert (enrollment.id, enrollment.user_id, enrollment.lo_instance_id) == (
        enrollment_id,
        "3",
        None,
    )
    assert not enrollment.is_decoded


@pytest.mark.parametrize(
    "grade_id",
    [
        *OTHER_SHAPES,
        *("course:1_2_3", "course:1_2_3_x_5", "course:1_2_3_4_5_6", "course:1_2_3_4_5\n"),
        f"course:1_2_3_{10**18}_5",
    ],
)
def test_read_enrollments__grade_id_of_another_shape(grade_id: str) -> None:
    """A grade id of another shape is kept, without module and version."""
    assert read(with_grades(grade_id)).resource_grades == (ResourceGrade(grade_id, None, None),)


def test_read_enrollments__parts_from_relationships() -> None:
    """The parts of an id of another shape are taken from the relationships."""
    relationships = {
        "learner": to("user", "3"),
        "learningObject": to("learningObject", "course:1"),
        "loInstance": to("learningObjectInstance", "course:1_2"),
    }

    enrollment = read({"id": "e-77", "relationships": relationships})

    assert enrollment.as_dict() == record({**OF_USER_3, "id": "e-77"})
    assert enrollment.is_decoded is False


@pytest.mark.parametrize(
    ("enrollment_id", "lo_type"),
    [
        ("jobAid:other", "jobAid"),
        *((other, None) for other in ("e-77", "7:other", ":other", "é:other", "job aid:other")),
    ],
)
def test_read_enrollments__no_parts(enrollment_id: str, lo_type: str | None) -> None:
    """Parts in neither id nor relationships are null; the user is the one of the request."""
    parts = {"id": enrollment_id, "lo_id": None, "lo_type": lo_type, "lo_instance_id": None}

    assert read({"id": enrollment_id}).as_dict() == record({**OF_USER_3, **parts})


NAMES = ("learner", "learningObject", "loInstance", "loResourceGrades")


@pytest.mark.parametrize(
    "relationships",
    [
        *(None, {}, {"loResourceGrades": {"data": []}}),
        *(dict.fromkeys(NAMES, value) for value in ({}, None, {"data": None})),
    ],
)
def test_read_enrollments__no_relationships(relationships: Resource | None) -> None:
    """Absent, null or empty relationships leave the id's own parts, and no grades."""
    resource = {"id": "course:1_2_3", "relationships": relationships, "attributes": None}

    assert read(resource).as_dict() == record(OF_USER_3)


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
    """An id that a relationship contradicts is refused, as either may be wrong."""
    with pytest.raises(ProtocolError) as caught:
        read({"id": "course:1_2_3", "relationships": {name: to("any", other)}})

    text = (
        f'ALM\'s enrollment "course:1_2_3" contradicts its relationship {name}, which is'
        f" {json.dumps(other)}. {REPORT}"
    )
    assert facts(caught.value) == (ProtocolError, text, 200, None)


@pytest.mark.parametrize(
    ("enrollment_id", "relationships"),
    [
        ("course:1_2_4", {}),
        ("course:1_2_4", {"learner": to("user", "4")}),
        ("e-77", {"learner": to("user", "4")}),
    ],
)
def test_read_enrollments__another_learner(enrollment_id: str, relationships: Resource) -> None:
    """Another learner's enrollment is refused, by its id or by its relationship."""
    page = page_of({"id": "course:1_2_3"}, {"id": enrollment_id, "relationships": relationships})

    with pytest.raises(ProtocolError) as caught:
        read_enrollments(page)

    text = (
        f'ALM answered for user 3 with another learner\'s enrollment, "{enrollment_id}". {REPORT}'
    )
    assert facts(caught.value) == (ProtocolError, text, 200, None)


@pytest.mark.parametrize(("requested", "served"), [("0030", "30"), ("30", "0030")])
def test_read_enrollments__leading_zeros(requested: str, served: str) -> None:
    """A user id with leading zeros, requested or served, is the same learner's."""
    (enrollment,) = read_enrollments(page_of({"id": f"course:1_2_{served}"}, user_id=requested))

    assert enrollment.user_id == served


@pytest.mark.parametrize(("requested", "served"), [("3", "30"), ("30", "3")])
def test_read_enrollments__trailing_zeros(requested: str, served: str) -> None:
    """A user id with other zeros is another learner's."""
    with pytest.raises(ProtocolError, match="another learner's enrollment"):
        read_enrollments(page_of({"id": f"course:1_2_{served}"}, user_id=requested))


GRADE_ATTRIBUTES = {
    "progressPercent": 50,
    "hasPassed": True,
    "score": 4.5,
    "highestScore": 5,
    "maxScore": 6,
    "duration": 61,
    "dateStarted": "2024-01-02T00:00:00.000Z",
    "dateCompleted": "2024-01-03T00:00:00.000Z",
    "dateSuccess": "2024-01-04T00:00:00.000Z",
    "completed": True,
}
GRADE: Resource = {
    "id": "course:1_2_7_1_3",
    "type": "learningObjectResourceGrade",
    "attributes": GRADE_ATTRIBUTES,
}
OTHER_GRADE = "course:1_2_8_1_3"


def test_read_enrollments__grades_without_include() -> None:
    """Without include a grade is its id and the id's parts, even if the server sent more."""
    enrollment = read(with_grades(GRADE["id"], OTHER_GRADE), included=[GRADE])

    assert enrollment.resource_grades == (
        ResourceGrade(GRADE["id"], "7", 1),
        ResourceGrade(OTHER_GRADE, "8", 1),
    )
    assert "included" not in enrollment.as_dict()


def test_read_enrollments__grade_of_another_type() -> None:
    """The schema checks a grade by its type: with another type, its attributes are checked here."""
    badge = {**GRADE, "type": "badge", "attributes": {"score": 2**53 + 1, "hasPassed": "yes"}}
    grades = {"data": [{"id": GRADE["id"], "type": "badge"}]}
    resource = {"id": "course:1_2_3", "relationships": {"loResourceGrades": grades}}

    with pytest.raises(ProtocolError) as caught:
        read(resource, ["loResourceGrades"], [badge])

    assert str(caught.value) == (
        f'ALM\'s "{GRADE["id"]}" has an attribute of the wrong type: Expected `bool | null`,'
        f" got `str` - at `$.hasPassed`. {REPORT}"
    )


def test_read_enrollments__grades_with_include() -> None:
    """With include a grade has its attributes, and nulls for those that ALM did not send."""
    resource = with_grades(GRADE["id"], OTHER_GRADE)

    enrollment = read(resource, ["loResourceGrades"], [GRADE, {**GRADE, "id": "x"}])

    assert enrollment.included is None
    assert enrollment.resource_grades[1] == IncludedResourceGrade(OTHER_GRADE, "8", 1, *[None] * 9)
    names = (
        *("id", "module_id", "module_version", "progress_percent", "has_passed", "score"),
        *("highest_score", "max_score", "duration", "date_started", "date_completed"),
        *("date_success", "completed"),
    )
    values = (GRADE["id"], "7", 1, *GRADE_ATTRIBUTES.values())
    assert list(enrollment.as_dict()["resource_grades"][0].items()) == list(
        zip(names, values, strict=True)
    )


def linked(resource_id: str, kind: str, **relationships: object) -> Resource:
    """Return a resource with these relationships."""
    return {"id": resource_id, "type": kind, "relationships": relationships}


COURSE = linked(
    "course:1",
    "learningObject",
    skills={"data": [{"id": skill, "type": "skill"} for skill in ("s1", "s2", "gone")]},
    authors={"data": []},
    parent={"data": None},
    owner=to("user", "3"),
)
SKILL_1 = linked(
    "s1", "skill", level=to("level", "l1"), tags={"data": [{"id": "t", "type": "tag"}]}
)
SKILL_2: Resource = {"id": "s2", "type": "skill"}
LEVEL, TAG = linked("l1", "level"), linked("t", "tag")


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("learningObject", COURSE),
        ("learningObject.skills", [SKILL_1, SKILL_2]),
        ("learningObject.skills.level", [LEVEL]),
        ("learningObject.skills.tags", [TAG]),
        ("learningObject.authors", []),
        *((f"learningObject.{name}", None) for name in ("parent", "unknown", "owner")),
        *((path, None) for path in ("loInstance", "loInstance.learningObject", "learnerBadge")),
        ("loResourceGrades.learningObject", []),
    ],
)
def test_read_enrollments__include_path(path: str, found: object) -> None:
    """A path leads to a resource, to a list of them, or to null if ALM sent none."""
    resource = with_grades(GRADE["id"])
    resource["relationships"] |= {
        "learningObject": to("learningObject", "course:1"),
        "loInstance": to("learningObjectInstance", "course:1_2"),
    }
    # Of the owner's id, but of another type.
    badge = {"id": "3", "type": "badge"}

    enrollment = read(resource, [path], [COURSE, SKILL_1, SKILL_2, LEVEL, TAG, badge])

    assert enrollment.as_dict()["included"] == {path: found}


def test_read_enrollments__several_paths() -> None:
    """Each path has its own name in the record; the grades are not repeated there."""
    user = {"id": "3", "type": "user"}
    resource = {"id": "course:1_2_3", "relationships": {"learner": to("user", "3")}}

    enrollment = read(resource, ["learner", "loResourceGrades", "learnerBadge"], [user])

    assert enrollment.included == {"learner": user, "learnerBadge": None}


@pytest.mark.parametrize(
    ("include", "missing"),
    [
        (["learningObject"], []),
        (["learningObject.skills"], [("learningObject.skills", "gone")]),
        (["learningObject.skills.level"], [("learningObject.skills.level", "gone")]),
        (
            ["loResourceGrades", "learningObject.owner"],
            [("loResourceGrades", GRADE["id"]), ("learningObject.owner", "3")],
        ),
        # What ALM links to nothing cannot be missing.
        (["learningObject.authors", "learningObject.parent", "learnerBadge", "loInstance.x"], []),
    ],
)
def test_find_missing__of_a_path(include: list[str], missing: list[tuple[str, str]]) -> None:
    """A linked resource that include asked for and the page lacks is named with its path."""
    first, second = with_grades(GRADE["id"]), with_grades()
    for resource in (first, second):
        resource["relationships"]["learningObject"] = to("learningObject", "course:1")

    page = page_of(first, second, included=[COURSE, SKILL_1, SKILL_2, LEVEL])

    assert list(find_missing(page, include)) == missing


def refused(resource: Resource, include: Sequence[str], included: Sequence[Resource] = ()) -> str:
    """Return the text of the error that ends the reading of *resource*."""
    with pytest.raises(ProtocolError) as caught:
        read(resource, include, included)
    assert facts(caught.value)[2:] == (200, None)
    return str(caught.value)


def excess(limit: str) -> str:
    """Return the text for an enrollment that includes more than *limit*."""
    return (
        f'ALM\'s enrollment "course:1_2_3" includes more than {limit}. The response was discarded.'
        " Request less with `include`. (request id trace)"
    )


def linking(count: int, name: str = "skills", kind: str = "skill") -> Resource:
    """Return an enrollment of user 3 that links to *count* resources."""
    data = [{"id": f"{number}", "type": kind} for number in range(count)]
    return {"id": "course:1_2_3", "relationships": {name: {"data": data}}}


def test_read_enrollments__most_links() -> None:
    """The links of all paths together, each step's, have a limit."""
    half = MAX_LINKS // 2

    assert read(linking(half), ["skills", "skills.level"]).included is not None
    assert read(linking(half), ["skills", "skills"]).included is not None
    assert refused(linking(half + 1), ["skills", "skills"]) == excess("5,000 resources")


def test_read_enrollments__most_grades() -> None:
    """The grades of an enrollment have the same limit."""
    name, kind = "loResourceGrades", "learningObjectResourceGrade"

    assert len(read(linking(MAX_LINKS, name, kind)).resource_grades) == MAX_LINKS
    assert refused(linking(MAX_LINKS + 1, name, kind), []) == excess("5,000 grades")


def of_size(resource_id: str, size: int) -> Resource:
    """Return a skill that takes *size* bytes as JSON."""
    skill = {"id": resource_id, "type": "skill", "a": ""}
    skill["a"] = "a" * (size - len(json.dumps(skill, separators=(",", ":"))))
    return skill


@pytest.mark.parametrize(
    "size", [MAX_INCLUDED_BYTES // 4, MAX_INCLUDED_BYTES // 4 + 1], ids=["most", "more"]
)
def test_read_enrollments__most_bytes(size: int) -> None:
    """What all paths lead to has a limit in bytes."""
    skills = [of_size("0", size), of_size("1", size)]
    paths = ["skills", "skills"]

    if 4 * size > MAX_INCLUDED_BYTES:
        assert refused(linking(2), paths, skills) == excess("4 MB")
    else:
        assert read(linking(2), paths, skills).included == {"skills": skills}


def test_read_enrollments__most_bytes_of_a_page() -> None:
    """What all enrollments of a page lead to has a limit."""
    most = MAX_INCLUDED_BYTES_OF_PAGE // MAX_INCLUDED_BYTES
    pages = [
        page_of(*[linking(1)] * count, included=[of_size("0", MAX_INCLUDED_BYTES)])
        for count in (most, most + 1)
    ]

    assert len(read_enrollments(pages[0], ["skills"])) == most
    with pytest.raises(ProtocolError) as caught:
        read_enrollments(pages[1], ["skills"])
    assert str(caught.value) == excess("32 MB, with those before it on the page")


def test_read_enrollments__included_text_without_utf_8() -> None:
    """A resource whose text cannot be written in UTF-8 can be included, and is measured too."""
    skill = {"id": "0", "type": "skill", "a": "\ud800"}

    assert read(linking(1), ["skills"], [skill]).included == {"skills": [skill]}
