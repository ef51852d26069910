"""The learners' data: the documented example, and what the ids of all others make of themselves."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.sandbox.learners import DOCUMENTED_USER, LO_TYPES, SeededRandom, enrollments_of

USERS = st.integers(1, 99_999_999).map(str).filter(lambda user: user != DOCUMENTED_USER)
MANY = [str(number) for number in range(1, 200)]
ATTRIBUTES = {
    "completionDeadline",
    "dateCompleted",
    "dateEnrolled",
    "dateStarted",
    "enrollmentSource",
    "hasPassed",
    "lastAccessDate",
    "progressPercent",
    "rating",
    "score",
    "state",
}
STATES = {"ENROLLED", "STARTED", "COMPLETED", "PENDING_APPROVAL", "WAITING", "REJECTED"}
SOURCES = {"SELF_ENROLL", "ADMIN_ENROLL", "AUTO_ENROLL", "MANAGER_ENROLL"}
FIRST_OF_1118 = {
    "id": "course:2118222_38100000_1118",
    "type": "learningObjectInstanceEnrollment",
    "attributes": {
        "completionDeadline": "2022-12-28T23:57:00.000Z",
        "dateCompleted": "2022-09-04T23:57:00.000Z",
        "dateEnrolled": "2022-07-01T23:57:00.000Z",
        "dateStarted": "2022-07-03T23:57:00.000Z",
        "enrollmentSource": "MANAGER_ENROLL",
        "hasPassed": True,
        "lastAccessDate": "2022-09-30T23:57:00.000Z",
        "progressPercent": 100,
        "rating": 3,
        "score": 73,
        "state": "COMPLETED",
    },
    "relationships": {
        "learner": {"data": {"id": "1118", "type": "user"}},
        "learnerBadge": {"data": {"id": "4610_1118", "type": "userBadge"}},
        "learningObject": {"data": {"id": "course:2118222", "type": "learningObject"}},
        "loInstance": {"data": {"id": "course:2118222_38100000", "type": "learningObjectInstance"}},
        "loResourceGrades": {
            "data": [
                {
                    "id": "course:2118222_38100000_43891464_3_1118",
                    "type": "learningObjectResourceGrade",
                },
                {
                    "id": "course:2118222_38100000_34539804_0_1118",
                    "type": "learningObjectResourceGrade",
                },
            ]
        },
    },
}


def fingerprint(document: object) -> str:
    """Return a digest of *document* that neither machine nor version of Python changes."""
    return hashlib.sha256(
        json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()


def test_enrollments_of__documented_user(documented: list[dict[str, Any]]) -> None:
    """The documented user has what the documentation shows, to the letter and in its order."""
    enrollments = enrollments_of(DOCUMENTED_USER)

    assert json.dumps(enrollments) == json.dumps(documented)


def test_enrollments_of__documented_user_is_fixed(documented: list[dict[str, Any]]) -> None:
    """Neither count nor type changes what is documented."""
    enrollments = enrollments_of(DOCUMENTED_USER, 50, "jobAid")

    assert list(enrollments) == documented


@pytest.mark.parametrize(
    ("user", "count", "digest"),
    [
        ("1", 31, "9382b828348435be7d007d93617abceaa9cfe59014e3cbbeee527bedbd57b150"),
        ("7", 23, "53f9f7ae06a5df4cc3ce320b9de984ea1d76a44312e5de0857db0df2f34718c3"),
        ("42", 54, "5f2fe7ee169b1ec559a93fd3b8e6de2a9dde76b9f4198f27108b3555c52aedca"),
    ],
)
def test_enrollments_of__never_drifts(user: str, count: int, digest: str) -> None:
    """A learner's data is the same for ever: examples, benchmarks and other tests lean on it."""
    enrollments = enrollments_of(user)

    assert (len(enrollments), fingerprint(enrollments)) == (count, digest)


def test_enrollments_of__one_enrollment_whole() -> None:
    """A made enrollment has the documented one's shape."""
    enrollments = enrollments_of("1118", 1)

    assert enrollments == (FIRST_OF_1118,)


@settings(deadline=None, database=None, max_examples=50)
@given(user=USERS)
def test_enrollments_of__as_many_as_told(user: str) -> None:
    """A learner has 8 to 60 enrollments, oldest first, each once."""
    enrollments = enrollments_of(user)

    ids = [one["id"] for one in enrollments]
    moments = [one["attributes"]["dateEnrolled"] for one in enrollments]
    assert 8 <= len(ids) <= 60
    assert len(set(ids)) == len(ids)
    assert moments == sorted(moments)


@pytest.mark.parametrize("count", [0, 1, 3, 2_000])
def test_enrollments_of__count(count: int) -> None:
    """So many enrollments as are asked for, each once, even where dice fall the same."""
    enrollments = enrollments_of("7", count)

    assert len({one["id"] for one in enrollments}) == len(enrollments) == count


@pytest.mark.parametrize("lo_type", LO_TYPES)
def test_enrollments_of__only_type(lo_type: str) -> None:
    """All of the type that is named, in every id that tells it."""
    enrollments = enrollments_of("7", 40, lo_type)

    relationships = [one["relationships"] for one in enrollments]
    told = [
        (one["learningObject"]["data"]["id"], one["loInstance"]["data"]["id"])
        for one in relationships
    ]
    assert {one["id"].partition(":")[0] for one in enrollments} == {lo_type}
    assert {lo_id.partition(":")[0] for ids in told for lo_id in ids} == {lo_type}


def test_enrollments_of__every_kind_occurs() -> None:
    """Over many learners every type, state, source and attribute occurs, and no other."""
    enrollments = [one for user in MANY for one in enrollments_of(user)]

    attributes = [one["attributes"] for one in enrollments]
    assert {one["id"].partition(":")[0] for one in enrollments} == set(LO_TYPES)
    assert {one["state"] for one in attributes} == STATES
    assert {one["enrollmentSource"] for one in attributes} == SOURCES
    assert {name for one in attributes for name in one} == ATTRIBUTES


def test_enrollments_of__ids_are_made_as_alm_makes_them() -> None:
    """An enrollment's id is its instance's and the user's, an instance's begins with its learning object's."""
    enrollments = [(user, one) for user in MANY for one in enrollments_of(user)]

    relationships = [(user, one["id"], one["relationships"]) for user, one in enrollments]
    assert [one_id for _, one_id, _ in relationships] == [
        f"{one['loInstance']['data']['id']}_{user}" for user, _, one in relationships
    ]
    assert [one["learner"]["data"] for _, _, one in relationships] == [
        {"id": user, "type": "user"} for user, _, _ in relationships
    ]
    assert all(
        one["loInstance"]["data"]["id"].startswith(f"{one['learningObject']['data']['id']}_")
        for _, _, one in relationships
    )


def test_enrollments_of__grades_are_absent_where_there_are_none() -> None:
    """A job aid has no grades and no relationship to them; all others have 1 to 5, ids as documented."""
    enrollments = [(user, one) for user in MANY for one in enrollments_of(user)]

    graded = [
        (user, one["relationships"])
        for user, one in enrollments
        if not one["id"].startswith("jobAid:")
    ]
    ungraded = [one["relationships"] for _, one in enrollments if one["id"].startswith("jobAid:")]
    counts = {len(one["loResourceGrades"]["data"]) for _, one in graded}
    assert [one for one in ungraded if "loResourceGrades" in one] == []
    assert counts == {1, 2, 3, 4, 5}
    assert all(
        grade["id"].startswith(f"{one['loInstance']['data']['id']}_")
        and grade["id"].count("_") == 4
        and grade["id"].endswith(f"_{user}")
        for user, one in graded
        for grade in one["loResourceGrades"]["data"]
    )


def test_enrollments_of__states_and_dates_agree() -> None:
    """What is completed has passed, at 100 percent and on a date; what is not has no such date."""
    attributes = [one["attributes"] for user in MANY for one in enrollments_of(user)]

    told = {
        (
            one["state"] == "COMPLETED",
            one["hasPassed"],
            one["progressPercent"] == 100,
            "dateCompleted" in one,
        )
        for one in attributes
    }
    assert told == {(True, True, True, True), (False, False, False, False)}


def test_dice__names_alone_decide() -> None:
    """The same names give the same number, other names another, all within bounds."""
    numbers = [SeededRandom("7", 1).between("lo", 1_000_000, 9_999_999) for _ in range(2)]
    others = [
        SeededRandom("7", 2).between("lo", 1_000_000, 9_999_999),
        SeededRandom("7", 1).between("instance", 1_000_000, 9_999_999),
    ]
    rolled = {SeededRandom("7", number).between("die", 1, 6) for number in range(200)}

    assert numbers[0] == numbers[1]
    assert len({numbers[0], *others}) == 3
    assert rolled == {1, 2, 3, 4, 5, 6}


def test_dice__one_in_one_is_always() -> None:
    """Once in one time is every time; once in two is some times."""
    always = {SeededRandom(number).one_in("so", 1) for number in range(50)}
    sometimes = {SeededRandom(number).one_in("so", 2) for number in range(50)}

    assert (always, sometimes) == ({True}, {True, False})
