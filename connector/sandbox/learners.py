"""Learners' data: the documented example, and for other ids plausible data made from the id."""

from __future__ import annotations

import hashlib
import json
import pkgutil
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Resource = dict[str, Any]

LO_TYPES = ("course", "learningProgram", "jobAid", "certification")
RELATIONSHIPS = frozenset(
    {"learner", "learnerBadge", "learningObject", "loInstance", "loResourceGrades"}
)
DOCUMENTED_USER = "20941371"
_FIRST_DAY = datetime(2021, 1, 4, 8, tzinfo=UTC)
_MINUTES = 60 * 24 * 365 * 4
# As often as they occur.
_TYPES = ("course", "course", "learningProgram", "jobAid", "certification")
_STATES = (
    *("ENROLLED", "ENROLLED", "STARTED", "STARTED", "COMPLETED", "COMPLETED", "COMPLETED"),
    *("PENDING_APPROVAL", "WAITING", "REJECTED"),
)
_SOURCES = ("SELF_ENROLL", "ADMIN_ENROLL", "AUTO_ENROLL", "MANAGER_ENROLL")
_MIN_ENROLLMENTS, _MAX_ENROLLMENTS = 8, 60
_FIRST_NAMES = ("Ada", "Björn", "Chiara", "Deniz", "Emeka", "Fátima", "Grace", "Hiroshi")
_LAST_NAMES = ("Almeida", "Becker", "Čapek", "Dubois", "Eriksen", "Okafor", "O'Neil", "Tanaka")
_TOPICS = ("Safety at work", "Data protection", "First aid", "Leading a team", "Cloud basics")
_TOPICS_IN_GERMAN = {
    "Safety at work": "Sicherheit am Arbeitsplatz",
    "Data protection": "Datenschutz",
    "First aid": "Erste Hilfe",
    "Leading a team": "Ein Team führen",
}
_PERCENT = 100


class SeededRandom:
    """Numbers that depend only on their names, on every machine and in every version of Python."""

    def __init__(self, *names: object) -> None:
        self._seed = "/".join(map(str, names))

    def between(self, name: str, low: int, high: int) -> int:
        """Return an integer from *low* to *high*."""
        digest = hashlib.sha256(f"{self._seed}/{name}".encode()).digest()
        return low + int.from_bytes(digest[:8], "big") % (high - low + 1)

    def choice(self, name: str, values: tuple[str, ...]) -> str:
        """Return one of *values*."""
        return values[self.between(name, 0, len(values) - 1)]

    def one_in(self, name: str, count: int) -> bool:
        """Return True once in *count* times."""
        return self.between(name, 1, count) == 1


@lru_cache(maxsize=256)
def enrollments_of(
    user_id: str, count: int | None = None, only_type: str | None = None
) -> tuple[Resource, ...]:
    """Return the enrollments of *user_id*, oldest first: *count*, or a number made from the id."""
    if user_id == DOCUMENTED_USER:
        return tuple(
            json.loads(pkgutil.get_data(__package__ or "", "documented.json") or b"")["data"]
        )
    if count is None:
        count = SeededRandom(user_id).between("count", _MIN_ENROLLMENTS, _MAX_ENROLLMENTS)
    enrollments = [make_enrollment(user_id, number, only_type) for number in range(count)]
    enrollments.sort(
        key=lambda enrollment: (enrollment["attributes"]["dateEnrolled"], enrollment["id"])
    )
    return tuple(enrollments)


def related_to(enrollments: Iterable[Resource], include: Iterable[str]) -> list[Resource]:
    """Return the resources at the paths of *include*, and those on the way to them, each once."""
    paths = [path.split(".") for path in include]
    found: dict[tuple[str, str], Resource] = {}
    for enrollment in enrollments:
        for path in paths:
            for resource in _resources_on(path, enrollment):
                found.setdefault((resource["type"], resource["id"]), resource)
    return list(found.values())


def make_enrollment(user_id: str, number: int, only_type: str | None) -> Resource:
    """Return the enrollment with this *number* of a learner, of any type or *only_type*."""
    random = SeededRandom(user_id, number)
    lo_type = only_type or random.choice("type", _TYPES)
    # The number makes the ids of a learner unique, whatever the random numbers are.
    if lo_type == "jobAid":
        # A job aid has one instance, of this number.
        lo_id = f"{lo_type}:{random.between('lo', 10, 99)}{number:05}"
        instance_id = f"{lo_id}_-1"
    else:
        lo_id = f"{lo_type}:{random.between('lo', 1_000_000, 9_999_999)}"
        instance_id = f"{lo_id}_{random.between('instance', 100, 999)}{number:05}"
    return {
        "id": f"{instance_id}_{user_id}",
        "type": "learningObjectInstanceEnrollment",
        "attributes": _attributes(random),
        "relationships": _relationships(random, user_id, lo_id, instance_id),
    }


def _attributes(random: SeededRandom) -> Resource:
    """Return the attributes, in ALM's order and without those that do not apply, as ALM does."""
    enrolled = _FIRST_DAY + timedelta(minutes=random.between("enrolled", 0, _MINUTES))
    state = random.choice("state", _STATES)
    is_completed = state == "COMPLETED"
    progress = {"COMPLETED": _PERCENT, "STARTED": random.between("progress", 1, 99)}.get(state, 0)
    attributes: Resource = {}
    if random.one_in("deadline", 2):
        attributes["completionDeadline"] = _days_after(enrolled, 180)
    if is_completed:
        attributes["dateCompleted"] = _days_after(enrolled, random.between("completed", 3, 90))
    attributes["dateEnrolled"] = _days_after(enrolled, 0)
    if progress:
        attributes["dateStarted"] = _days_after(enrolled, 2)
    attributes["enrollmentSource"] = random.choice("source", _SOURCES)
    attributes["hasPassed"] = is_completed
    if progress:
        attributes["lastAccessDate"] = _days_after(enrolled, 91)
    attributes["progressPercent"] = progress
    if is_completed and random.one_in("rated", 3):
        attributes["rating"] = random.between("rating", 1, 5)
    attributes["score"] = random.between("score", 60, 100) if is_completed else 0
    attributes["state"] = state
    return attributes


def _days_after(moment: datetime, days: int) -> str:
    return f"{moment + timedelta(days=days):%Y-%m-%dT%H:%M:%S}.000Z"


def _relationships(random: SeededRandom, user_id: str, lo_id: str, instance_id: str) -> Resource:
    relationships: Resource = {"learner": {"data": {"id": user_id, "type": "user"}}}
    if random.one_in("badge", 6):
        badge_id = f"{random.between('badgeId', 1000, 9999)}_{user_id}"
        relationships["learnerBadge"] = {"data": {"id": badge_id, "type": "userBadge"}}
    relationships["learningObject"] = {"data": {"id": lo_id, "type": "learningObject"}}
    relationships["loInstance"] = {"data": {"id": instance_id, "type": "learningObjectInstance"}}
    # Half of the job aids have no grades, and no relationship to them.
    is_job_aid = lo_id.startswith("jobAid:")
    if not is_job_aid or random.one_in("graded", 2):
        grades = []
        for number in range(1 if is_job_aid else random.between("modules", 1, 5)):
            module = -1 if is_job_aid else random.between(f"module{number}", 1_000_000, 99_999_999)
            grade_id = (
                f"{instance_id}_{module}_{random.between(f'version{number}', 0, 3)}_{user_id}"
            )
            grades.append({"id": grade_id, "type": "learningObjectResourceGrade"})
        relationships["loResourceGrades"] = {"data": grades}
    return relationships


def users_with(email: str) -> list[Resource]:
    """Return the users who have the address *email*: one for each number before its at sign.

    ``ada.31@example.com`` is user 31's, ``31-32@example.com`` two users', ``ada@example.com``
    nobody's. Users who are unknown to the sandbox have no address.
    """
    ids = re.findall("[0-9]{1,20}", email.partition("@")[0])
    return [_user(user_id, email) for user_id in ids if not user_id.startswith("404")]


def _user(user_id: str, email: str) -> Resource:
    attributes = {
        "email": email,
        "name": f"Sandbox {user_id}",
        "state": "ACTIVE",
        "userUniqueId": email,
    }
    return {"id": user_id, "type": "user", "attributes": attributes}


def _resources_on(path: list[str], resource: Resource) -> Iterator[Resource]:
    if not path:
        return
    data = resource.get("relationships", {}).get(path[0], {}).get("data") or []
    for identifier in data if isinstance(data, list) else [data]:
        related = _resource(identifier["type"], identifier["id"])
        yield related
        yield from _resources_on(path[1:], related)


def _resource(resource_type: str, resource_id: str) -> Resource:
    random = SeededRandom(resource_type, resource_id)
    resource: Resource = {"id": resource_id, "type": resource_type}
    if resource_type == "learningObjectResourceGrade":
        module_id = resource_id.rpartition("_")[0]
        resource["attributes"] = _grade(random)
        resource["relationships"] = {
            "loResource": {"data": {"id": module_id, "type": "learningObjectResource"}}
        }
    elif resource_type == "learningObject":
        lo_type = resource_id.partition(":")[0]
        skills = [
            f"{resource_id}_{random.between(f'skill{skill}', 1, 40)}"
            for skill in range(random.between("skills", 0, 2))
        ]
        author = str(random.between("author", 10_000_000, 19_999_999))
        resource["attributes"] = {
            "loType": lo_type,
            "state": "Published",
            "duration": random.between("duration", 300, 36_000),
            "localizedMetadata": _localized(random, resource_id.partition(":")[2]),
        }
        resource["relationships"] = {
            "skills": {"data": [{"id": skill, "type": "learningObjectSkill"} for skill in skills]},
            "authors": {"data": [{"id": author, "type": "user"}]},
        }
    elif resource_type == "learningObjectInstance":
        module_id = f"{resource_id}_{random.between('module', 1_000_000, 9_999_999)}_0"
        resource["attributes"] = {"isDefault": random.one_in("default", 2), "state": "Active"}
        resource["relationships"] = {
            "loResources": {"data": [{"id": module_id, "type": "learningObjectResource"}]}
        }
    elif resource_type == "learningObjectResource":
        number = resource_id.split("_")[2]
        resource["attributes"] = {"localizedMetadata": _localized(random, number)}
    elif resource_type == "user":
        name = f"{random.choice('first', _FIRST_NAMES)} {random.choice('last', _LAST_NAMES)}"
        resource["attributes"] = {"name": name, "email": f"user{resource_id}@example.com"}
    else:
        resource["attributes"] = {"name": f"Sandbox {resource_id}"}
    return resource


def _localized(random: SeededRandom, number: str) -> list[Resource]:
    """Return a name in English, and in German unless nobody has translated it."""
    topic = random.choice("topic", _TOPICS)
    names = {"en-US": topic, "de-DE": _TOPICS_IN_GERMAN.get(topic)}
    return [
        {"name": f"{name} {number}", "locale": locale, "description": "Made by the sandbox."}
        for locale, name in names.items()
        if name
    ]


def _grade(random: SeededRandom) -> Resource:
    progress = random.between("progress", 0, _PERCENT)
    attributes: Resource = {
        "completed": progress == _PERCENT,
        "duration": random.between("duration", 0, 7_200),
        "hasPassed": progress == _PERCENT,
        "progressPercent": progress,
        "highestScore": progress,
        "maxScore": _PERCENT,
        "score": progress,
    }
    if progress:
        attributes["dateStarted"] = "2023-07-03T09:00:00.000Z"
    if progress == _PERCENT:
        attributes["dateCompleted"] = attributes["dateSuccess"] = "2023-07-10T15:30:00.000Z"
    return attributes
