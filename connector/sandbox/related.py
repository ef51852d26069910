"""The resources that ``include`` brings along, made from their ids alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from connector.sandbox.learners import SeededRandom

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from connector.sandbox.learners import Resource

_WHOLE = 100
RELATIONSHIPS = frozenset(
    {"learner", "learnerBadge", "learningObject", "loInstance", "loResourceGrades"}
)


def related_to(enrollments: Iterable[Resource], include: Iterable[str]) -> list[Resource]:
    """Return the resources at the paths of *include*, and those on the way to them, each once."""
    paths = [path.split(".") for path in include]
    found: dict[tuple[str, str], Resource] = {}
    for enrollment in enrollments:
        for path in paths:
            for resource in _on_path(enrollment, path):
                found.setdefault((resource["type"], resource["id"]), resource)
    return list(found.values())


def _on_path(resource: Resource, path: list[str]) -> Iterator[Resource]:
    if not path:
        return
    data = resource.get("relationships", {}).get(path[0], {}).get("data") or []
    for identifier in data if isinstance(data, list) else [data]:
        one = _resource(identifier["type"], identifier["id"])
        yield one
        yield from _on_path(one, path[1:])


def _resource(kind: str, resource_id: str) -> Resource:
    make = {
        "learningObjectResourceGrade": _grade,
        "learningObject": _learning_object,
        "learningObjectInstance": _instance,
    }.get(kind, _named)
    return {"id": resource_id, "type": kind, **make(SeededRandom(kind, resource_id), resource_id)}


def _grade(dice: SeededRandom, resource_id: str) -> dict[str, Any]:
    progress = dice.between("progress", 0, _WHOLE)
    attributes: Resource = {
        "duration": dice.between("duration", 0, 7_200),
        "hasPassed": progress == _WHOLE,
        "progressPercent": progress,
    }
    attributes |= {"highestScore": progress, "maxScore": _WHOLE, "score": progress}
    if progress:
        attributes["dateStarted"] = "2023-07-03T09:00:00.000Z"
    if progress == _WHOLE:
        attributes |= {
            "dateCompleted": "2023-07-10T15:30:00.000Z",
            "dateSuccess": "2023-07-10T15:30:00.000Z",
        }
    module = "_".join(resource_id.split("_")[:-1])
    return {
        "attributes": attributes,
        "relationships": {"loResource": {"data": {"id": module, "type": "learningObjectResource"}}},
    }


def _learning_object(dice: SeededRandom, resource_id: str) -> dict[str, Any]:
    lo_type, _, number = resource_id.partition(":")
    skills = [
        {"id": f"{resource_id}_{dice.between(f'skill{n}', 1, 40)}", "type": "learningObjectSkill"}
        for n in range(dice.between("skills", 0, 2))
    ]
    authors = [{"id": str(dice.between("author", 10_000_000, 19_999_999)), "type": "user"}]
    metadata = [
        {"name": f"{lo_type} {number}", "locale": "en-US", "description": "Made by the sandbox."}
    ]
    return {
        "attributes": {
            "loType": lo_type,
            "state": "Published",
            "duration": dice.between("duration", 300, 36_000),
            "localizedMetadata": metadata,
        },
        "relationships": {"skills": {"data": skills}, "authors": {"data": authors}},
    }


def _instance(dice: SeededRandom, resource_id: str) -> dict[str, Any]:
    resources = [
        {
            "id": f"{resource_id}_{dice.between('module', 1_000_000, 9_999_999)}_0",
            "type": "learningObjectResource",
        }
    ]
    return {
        "attributes": {"isDefault": dice.one_in("default", 2), "state": "Active"},
        "relationships": {"loResources": {"data": resources}},
    }


def _named(_: SeededRandom, resource_id: str) -> dict[str, Any]:
    return {"attributes": {"name": f"Sandbox {resource_id}"}}
