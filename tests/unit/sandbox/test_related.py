"""What ``include`` brings along: everything on the paths asked for, each resource once, always the same."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from connector.sandbox.learners import enrollments_of
from connector.sandbox.pages import build_page, parse_query
from connector.sandbox.related import RELATIONSHIPS, related_to

MANY = [one for user in range(1, 60) for one in enrollments_of(str(user))]
KINDS = {
    "learner": "user",
    "learnerBadge": "userBadge",
    "learningObject": "learningObject",
    "loInstance": "learningObjectInstance",
    "loResourceGrades": "learningObjectResourceGrade",
}
GRADE_ATTRIBUTES = {
    "dateCompleted",
    "dateStarted",
    "dateSuccess",
    "duration",
    "hasPassed",
    "highestScore",
    "maxScore",
    "progressPercent",
    "score",
}


def identifiers(enrollments: list[dict[str, Any]], relationship: str) -> list[tuple[str, str]]:
    """Return type and id of all that *relationship* leads to, each once, in order."""
    found = [one["relationships"].get(relationship, {}).get("data", []) for one in enrollments]
    each = [data if isinstance(data, list) else [data] for data in found]
    return list(dict.fromkeys((one["type"], one["id"]) for data in each for one in data))


def names(resources: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return type and id of each of *resources*."""
    return [(one["type"], one["id"]) for one in resources]


def test_relationships__the_documented_ones() -> None:
    """The page documents five relationships."""
    assert KINDS.keys() == RELATIONSHIPS


@pytest.mark.parametrize("relationship", sorted(RELATIONSHIPS))
def test_related_to__every_relationship(relationship: str) -> None:
    """Each relationship brings what its identifiers name, each once, and nothing else."""
    resources = related_to(MANY, [relationship])

    assert names(resources) == identifiers(MANY, relationship)
    assert {one["type"] for one in resources} == {KINDS[relationship]}


@pytest.mark.parametrize(
    ("path", "kinds"),
    [
        ("learningObject.skills", {"learningObject", "learningObjectSkill"}),
        ("learningObject.authors", {"learningObject", "user"}),
        ("loInstance.loResources", {"learningObjectInstance", "learningObjectResource"}),
        ("loResourceGrades.loResource", {"learningObjectResourceGrade", "learningObjectResource"}),
    ],
)
def test_related_to__dotted_paths(path: str, kinds: set[str]) -> None:
    """A dotted path brings its end and what lies on the way, so that every link leads to something."""
    resources = related_to(MANY, [path])

    first, _, last = path.partition(".")
    on_the_way = [one for one in resources if one["type"] == KINDS[first]]
    ends = identifiers(on_the_way, last)
    assert {one["type"] for one in resources} == kinds
    assert set(names(resources)) == {*identifiers(MANY, first), *ends}


@pytest.mark.parametrize(
    "path", ["learningObject.unheardOf", "learningObject.skills.skill.levels", "learner.manager"]
)
def test_related_to__path_that_leads_nowhere(path: str) -> None:
    """A path that goes on where nothing is ends there."""
    resources = related_to(MANY[:5], [path])

    assert resources == related_to(MANY[:5], [".".join(path.split(".")[:2])])


def test_related_to__each_once() -> None:
    """What several paths and enrollments share comes once (JSON:API, compound documents)."""
    paths = [
        "learner",
        "learner",
        "learningObject",
        "learningObject.authors",
        "loInstance.loResources",
        "loResourceGrades.loResource",
    ]

    resources = related_to([*MANY, *MANY], paths)

    assert len(set(names(resources))) == len(resources)
    assert resources == related_to(MANY, paths)


def test_related_to__nothing_asked() -> None:
    """Without a path nothing comes along."""
    assert related_to(MANY, []) == []


def test_related_to__grades_as_documented() -> None:
    """A grade has the attributes that ALM documents; its resource's id is its own without the user."""
    grades = related_to(MANY, ["loResourceGrades"])

    attributes = [one["attributes"] for one in grades]
    resources = [one["relationships"]["loResource"]["data"] for one in grades]
    assert {name for one in attributes for name in one} == GRADE_ATTRIBUTES
    assert resources == [
        {"id": one["id"].rpartition("_")[0], "type": "learningObjectResource"} for one in grades
    ]
    assert {
        (one["hasPassed"], one["progressPercent"] == 100, "dateSuccess" in one)
        for one in attributes
    } == {
        (True, True, True),
        (False, False, False),
    }


def test_related_to__documented_grade_whole() -> None:
    """The first documented enrollment's first grade, as the sandbox makes it for ever."""
    grades = related_to(enrollments_of("20941371")[:1], ["loResourceGrades"])

    assert grades[0] == {
        "id": "course:6511020_7037048_11676159_0_20941371",
        "type": "learningObjectResourceGrade",
        "attributes": {
            "duration": 5713,
            "hasPassed": False,
            "progressPercent": 9,
            "highestScore": 9,
            "maxScore": 100,
            "score": 9,
            "dateStarted": "2023-07-03T09:00:00.000Z",
        },
        "relationships": {
            "loResource": {
                "data": {
                    "id": "course:6511020_7037048_11676159_0",
                    "type": "learningObjectResource",
                }
            }
        },
    }


def test_related_to__never_drifts() -> None:
    """What comes along is the same for ever, too."""
    paths = [
        "learner",
        "learnerBadge",
        "learningObject.skills",
        "learningObject.authors",
        "loInstance.loResources",
        "loResourceGrades",
    ]

    resources = related_to(enrollments_of("7"), paths)

    digest = hashlib.sha256(
        json.dumps(resources, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()
    assert (len(resources), digest) == (
        175,
        "2737a9ebda09c16206d1deb79f620012271522f516ce8806b36511e8f186d880",
    )


def test_build_page__included_only_where_asked() -> None:
    """A page has ``included`` when ``include`` asks, of its own enrollments alone."""
    enrollments = enrollments_of("7")
    address = "https://learningmanager.adobe.com/primeapi/v2/users/7/enrollments"

    plain = build_page(enrollments, parse_query("page[limit]=2"), address, "7")
    compound = build_page(
        enrollments, parse_query("page[limit]=2&include=learner,loInstance"), address, "7"
    )

    assert "included" not in plain
    assert compound["data"] == plain["data"]
    assert compound["included"] == related_to(plain["data"], ["learner", "loInstance"])
