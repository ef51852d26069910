"""Learners who live: from day to day enrollments appear, progress, complete and disappear."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from connector.sandbox.learners import SeededRandom, enrollments_of, make_enrollment

if TYPE_CHECKING:
    from connector.sandbox.learners import Resource

# After every moment in the learners' data that has no day.
_DAY_ZERO = datetime(2026, 1, 1, 8, tzinfo=UTC)
_MINUTES_OF_WORK = 600
_PERCENT = 100
_ENDED = ("COMPLETED", "REJECTED")
_NOT_APPROVED = ("PENDING_APPROVAL", "WAITING")


@lru_cache(maxsize=256)
def enrollments_on(
    day: int, user_id: str, count: int | None = None, only_type: str | None = None
) -> tuple[Resource, ...]:
    """Return the enrollments of *user_id* on a *day*, oldest first; day 0 is ``enrollments_of``."""
    first = enrollments_of(user_id, count, only_type)
    lives = [_on_day(enrollment, 0, day) for enrollment in first]
    random = SeededRandom(user_id, "days")
    interval = random.between("interval", 3, 7)
    offset = random.between("offset", 1, interval)
    # A number of its own gives each new enrollment an id of its own, the same on every day.
    for number, appeared in enumerate(range(offset, day + 1, interval), len(first)):
        enrollment = make_enrollment(user_id, number, only_type)
        enrollment["attributes"] = {
            "dateEnrolled": _moment(enrollment["id"], appeared),
            "enrollmentSource": enrollment["attributes"]["enrollmentSource"],
            "hasPassed": False,
            "progressPercent": 0,
            "score": 0,
            "state": "ENROLLED",
        }
        lives.append(_on_day(enrollment, appeared, day))
    present = [enrollment for enrollment in lives if enrollment]
    present.sort(
        key=lambda enrollment: (enrollment["attributes"]["dateEnrolled"], enrollment["id"])
    )
    return tuple(present)


def _on_day(enrollment: Resource, appeared: int, day: int) -> Resource | None:
    """Return the *enrollment* as it is on *day*, ``None`` if it has disappeared by then."""
    random = SeededRandom(enrollment["id"], "life")
    age = day - appeared
    if random.one_in("leaves", 8) and age >= random.between("leaves after", 1, 60):
        return None
    attributes = {**enrollment["attributes"]}
    if attributes["state"] in _ENDED or random.one_in("idle", 4):
        return enrollment
    begins = 0
    if attributes["state"] in _NOT_APPROVED:
        begins = random.between("approved after", 1, 6)
        if age >= begins:
            attributes["state"] = "ENROLLED"
    if attributes["state"] != "STARTED":
        begins += random.between("begins after", 1, 12)
    if age > begins:
        _progress(attributes, random, enrollment["id"], appeared + begins, day)
    # In ALM's order.
    return {**enrollment, "attributes": dict(sorted(attributes.items()))}


def _progress(
    attributes: Resource, random: SeededRandom, enrollment_id: str, begun: int, day: int
) -> None:
    """Set what the learner has done from the day after *begun* until *day*."""
    progress = attributes.get("progressPercent", 0)
    pace = random.between("pace", 4, 25)
    completed = begun + math.ceil((_PERCENT - progress) / pace)
    attributes.setdefault("dateStarted", _moment(enrollment_id, begun + 1))
    attributes["lastAccessDate"] = _moment(enrollment_id, min(day, completed))
    attributes["progressPercent"] = min(_PERCENT, progress + pace * (day - begun))
    attributes["state"] = "STARTED"
    if day >= completed:
        attributes["dateCompleted"] = attributes["lastAccessDate"]
        attributes["hasPassed"] = True
        attributes["score"] = random.between("score", 60, _PERCENT)
        attributes["state"] = "COMPLETED"


def _moment(enrollment_id: str, day: int) -> str:
    minute = SeededRandom(enrollment_id, day).between("minute", 0, _MINUTES_OF_WORK)
    return f"{_DAY_ZERO + timedelta(days=day, minutes=minute):%Y-%m-%dT%H:%M:%S}.000Z"
