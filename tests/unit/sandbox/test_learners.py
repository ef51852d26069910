"""Learners' data: the documented example, and data that never changes for every other id."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from connector.sandbox.learners import (
    DOCUMENTED_USER,
    LO_TYPES,
    RELATIONSHIPS,
    Resource,
    enrollments_of,
    related_to,
)

USERS = [str(number) for number in range(1, 200)]
TYPES = {
    "learner": {"user"},
    "learnerBadge": {"userBadge"},
    "learningObject": {"learningObject"},
    "loInstance": {"learningObjectInstance"},
    "loResourceGrades": {"learningObjectResourceGrade"},
    "learningObject.skills": {"learningObject", "learningObjectSkill"},
    "learningObject.authors": {"learningObject", "user"},
    "loInstance.loResources": {"learningObjectInstance", "learningObjectResource"},
    "loResourceGrades.loResource": {"learningObjectResourceGrade", "learningObjectResource"},
    "learner.manager": {"user"},
}


def fingerprint(document: object) -> str:
    """Return a digest of *document* that no machine and no version of Python changes."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def test_enrollments_of__documented_user(documented: dict[str, Any]) -> None:
    """The documented learner has the documented enrollments, whatever the settings."""
    assert json.dumps(enrollments_of(DOCUMENTED_USER)) == json.dumps(documented["data"])
    assert enrollments_of(DOCUMENTED_USER, 50, "jobAid") == enrollments_of(DOCUMENTED_USER)


@pytest.mark.parametrize(
    ("user", "count", "digest"),
    [
        ("1", 31, "9382b828348435be7d007d93617abceaa9cfe59014e3cbbeee527bedbd57b150"),
        ("7", 23, "53f9f7ae06a5df4cc3ce320b9de984ea1d76a44312e5de0857db0df2f34718c3"),
        ("42", 54, "5f2fe7ee169b1ec559a93fd3b8e6de2a9dde76b9f4198f27108b3555c52aedca"),
    ],
)
def test_enrollments_of__never_changes(user: str, count: int, digest: str) -> None:
    """A learner's data stays the same: examples, benchmarks and other tests rely on it."""
    enrollments = enrollments_of(user)

    assert (len(enrollments), fingerprint(enrollments)) == (count, digest)


def test_enrollments_of__one_enrollment() -> None:
    """An enrollment has the shape of the documented ones."""
    (enrollment,) = enrollments_of("1118", 1)

    assert enrollment["id"] == "course:2118222_38100000_1118"
    assert enrollment["attributes"] == {
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
    }
    assert enrollment["relationships"]["loResourceGrades"]["data"][0] == {
        "id": "course:2118222_38100000_43891464_3_1118",
        "type": "learningObjectResourceGrade",
    }


@pytest.mark.parametrize("count", [0, 2_000])
@pytest.mark.parametrize("lo_type", LO_TYPES)
def test_enrollments_of__settings(count: int, lo_type: str) -> None:
    """Number and type can be set; ids stay unique, and only job aids have no grades."""
    enrollments = enrollments_of("7", count, lo_type)

    ids = {enrollment["id"] for enrollment in enrollments}
    graded = ["loResourceGrades" in enrollment["relationships"] for enrollment in enrollments]
    assert len(ids) == count
    assert {enrollment_id.partition(":")[0] for enrollment_id in ids} <= {lo_type}
    assert set(graded) <= {lo_type != "jobAid"}


def test_enrollments_of__many_learners() -> None:
    """Learners have 8 to 60 enrollments, oldest first; every type, state and source occurs."""
    kinds = set()
    for user in USERS:
        enrollments = enrollments_of(user)
        attributes = [enrollment["attributes"] for enrollment in enrollments]
        dates = [values["dateEnrolled"] for values in attributes]
        kinds |= {enrollment["id"].partition(":")[0] for enrollment in enrollments}
        kinds |= {values["state"] for values in attributes}
        kinds |= {values["enrollmentSource"] for values in attributes}
        assert 8 <= len(enrollments) <= 60
        assert dates == sorted(dates)

    assert kinds == {
        *LO_TYPES,
        *("ENROLLED", "STARTED", "COMPLETED", "PENDING_APPROVAL", "WAITING", "REJECTED"),
        *("SELF_ENROLL", "ADMIN_ENROLL", "AUTO_ENROLL", "MANAGER_ENROLL"),
    }


def identifiers(resources: list[Resource], relationship: str) -> set[tuple[str, str]]:
    """Return type and id of everything that *relationship* names."""
    found = set()
    for resource in resources:
        data = resource.get("relationships", {}).get(relationship, {}).get("data", [])
        for identifier in data if isinstance(data, list) else [data]:
            found.add((identifier["type"], identifier["id"]))
    return found


@pytest.mark.parametrize("path", TYPES)
def test_related_to__path(path: str) -> None:
    """A path brings its end and the resources on the way, each once; a dead end ends there."""
    enrollments = [enrollment for user in USERS[:60] for enrollment in enrollments_of(user)]

    resources = related_to([*enrollments, *enrollments], [path, path])

    names = [(resource["type"], resource["id"]) for resource in resources]
    first, _, last = path.partition(".")
    assert set(names) == identifiers(enrollments, first) | identifiers(resources, last)
    assert len(set(names)) == len(names)
    assert {resource["type"] for resource in resources} == TYPES[path]
    assert first in RELATIONSHIPS


def test_related_to__never_changes() -> None:
    """Related resources stay the same, too."""
    paths = [
        *("learner", "learnerBadge", "learningObject.skills", "learningObject.authors"),
        *("loInstance.loResources", "loResourceGrades"),
    ]

    resources = related_to(enrollments_of("7"), paths)

    assert len(resources) == 175
    assert fingerprint(resources) == (
        "45ca78990827cfdbab5ac18df2024b69c6ef702c578a2294817f977599734fee"
    )
