"""What each learner is enrolled in: the documented example, and for every other id plausible data made from the id alone."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

Resource = dict[str, Any]

LO_TYPES = ("course", "learningProgram", "jobAid", "certification")
DOCUMENTED_USER = "20941371"
_FIRST_DAY = datetime(2021, 1, 4, 8, tzinfo=UTC)
_SPREAD_MINUTES = 60 * 24 * 365 * 4
_STATES = (
    "ENROLLED",
    "ENROLLED",
    "STARTED",
    "STARTED",
    "COMPLETED",
    "COMPLETED",
    "COMPLETED",
    "PENDING_APPROVAL",
    "WAITING",
    "REJECTED",
)
_SOURCES = ("SELF_ENROLL", "ADMIN_ENROLL", "AUTO_ENROLL", "MANAGER_ENROLL")
_FEWEST, _MOST = 8, 60


class SeededRandom:
    """Numbers that depend on their names alone, on every machine and in every version of Python."""

    def __init__(self, *names: object) -> None:
        self._seed = "/".join(map(str, names))

    def between(self, name: str, low: int, high: int) -> int:
        """Return a whole number from *low* to *high*."""
        digest = hashlib.sha256(f"{self._seed}/{name}".encode()).digest()
        return low + int.from_bytes(digest[:8], "big") % (high - low + 1)

    def one_in(self, name: str, count: int) -> bool:
        """Return whether a thing that is so once in *count* times is so."""
        return self.between(name, 1, count) == 1


@lru_cache(maxsize=256)
def enrollments_of(
    user_id: str, count: int | None = None, only_type: str | None = None
) -> tuple[Resource, ...]:
    """Return the enrollments of *user_id*, oldest first.

    *count* of them, or as many as the id makes; all of *only_type* where it is named.
    """
    if user_id == DOCUMENTED_USER:
        return tuple(json.loads(Path(__file__).with_name("documented.json").read_bytes())["data"])
    dice = SeededRandom(user_id)
    total = dice.between("count", _FEWEST, _MOST) if count is None else count
    made = [_enrollment(user_id, number, only_type) for number in range(total)]
    return tuple(sorted(made, key=lambda one: (one["attributes"]["dateEnrolled"], one["id"])))


def _enrollment(user_id: str, number: int, only_type: str | None) -> Resource:
    dice = SeededRandom(user_id, number)
    lo_type = only_type or LO_TYPES[(0, 0, 1, 2, 3)[dice.between("type", 0, 4)]]
    lo_id = f"{lo_type}:{dice.between('lo', 1_000_000, 9_999_999)}"
    # The number keeps two enrollments of a learner apart, whatever the dice say.
    instance_id = f"{lo_id}_{dice.between('instance', 100, 999)}{number:05}"
    return {
        "id": f"{instance_id}_{user_id}",
        "type": "learningObjectInstanceEnrollment",
        "attributes": _attributes(dice),
        "relationships": _relationships(dice, user_id, lo_type, lo_id, instance_id),
    }


def _attributes(dice: SeededRandom) -> Resource:
    """Return what ALM would send: an attribute that does not apply is absent."""
    enrolled = _FIRST_DAY + timedelta(minutes=dice.between("enrolled", 0, _SPREAD_MINUTES))
    state = _STATES[dice.between("state", 0, len(_STATES) - 1)]
    progress = {"COMPLETED": 100, "STARTED": dice.between("progress", 1, 99)}.get(state, 0)
    attributes: Resource = {}
    if dice.one_in("deadline", 2):
        attributes["completionDeadline"] = _written(enrolled + timedelta(days=180))
    if state == "COMPLETED":
        attributes["dateCompleted"] = _written(
            enrolled + timedelta(days=dice.between("completed", 3, 90))
        )
    attributes["dateEnrolled"] = _written(enrolled)
    if progress:
        attributes["dateStarted"] = _written(enrolled + timedelta(days=2))
    attributes["enrollmentSource"] = _SOURCES[dice.between("source", 0, len(_SOURCES) - 1)]
    attributes["hasPassed"] = state == "COMPLETED"
    if progress:
        attributes["lastAccessDate"] = _written(enrolled + timedelta(days=91))
    attributes["progressPercent"] = progress
    if state == "COMPLETED" and dice.one_in("rated", 3):
        attributes["rating"] = dice.between("rating", 1, 5)
    return {
        **attributes,
        "score": dice.between("score", 60, 100) if state == "COMPLETED" else 0,
        "state": state,
    }


def _relationships(
    dice: SeededRandom, user_id: str, lo_type: str, lo_id: str, instance_id: str
) -> Resource:
    relationships: Resource = {"learner": {"data": {"id": user_id, "type": "user"}}}
    if dice.one_in("badge", 6):
        relationships["learnerBadge"] = {
            "data": {"id": f"{dice.between('badgeId', 1000, 9999)}_{user_id}", "type": "userBadge"}
        }
    relationships["learningObject"] = {"data": {"id": lo_id, "type": "learningObject"}}
    relationships["loInstance"] = {"data": {"id": instance_id, "type": "learningObjectInstance"}}
    # Nothing is graded in a job aid: the relationship is absent then.
    if lo_type != "jobAid":
        modules = (
            f"{dice.between(f'module{n}', 1_000_000, 99_999_999)}_{dice.between(f'version{n}', 0, 3)}"
            for n in range(dice.between("modules", 1, 5))
        )
        grades = [
            {"id": f"{instance_id}_{module}_{user_id}", "type": "learningObjectResourceGrade"}
            for module in modules
        ]
        relationships["loResourceGrades"] = {"data": grades}
    return relationships


def _written(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.000Z"
