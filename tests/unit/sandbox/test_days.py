"""Learners who live: what changes from day to day, and what never does."""

from __future__ import annotations

import hashlib
import json
from collections import Counter

import pytest

from connector.sandbox.days import enrollments_on
from connector.sandbox.learners import DOCUMENTED_USER, Resource, enrollments_of

USERS = (DOCUMENTED_USER, *map(str, range(1, 15)))
DAYS = range(32)


def life_of(user: str) -> list[dict[str, Resource]]:
    """Return the attributes of a learner's enrollments by id, of each day."""
    return [
        {enrollment["id"]: enrollment["attributes"] for enrollment in enrollments_on(day, user)}
        for day in DAYS
    ]


@pytest.mark.parametrize("user", USERS)
def test_enrollments_on__day_0_is_without_days(user: str) -> None:
    """Day 0 has the enrollments that a sandbox without a day has, byte for byte."""
    assert json.dumps(enrollments_on(0, user)) == json.dumps(enrollments_of(user))
    assert json.dumps(enrollments_on(0, user, 5, "jobAid")) == json.dumps(
        enrollments_of(user, 5, "jobAid")
    )


def test_enrollments_on__never_changes() -> None:
    """A learner's data on a day is the same on every machine and in every version of Python."""
    text = json.dumps([enrollments_on(day, "7") for day in (1, 2, 30, 3_650)])

    digest = "e64c2ae9f44d0adc"
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == digest


@pytest.mark.parametrize("user", USERS)
def test_enrollments_on__only_moves_forward(user: str) -> None:
    """Progress never falls, what is completed stays so, and what has disappeared is gone."""
    gone: set[str] = set()
    for before, after in zip(life_of(user), life_of(user)[1:], strict=False):
        gone |= before.keys() - after.keys()
        assert gone.isdisjoint(after)
        for enrollment_id in before.keys() & after.keys():
            old, new = before[enrollment_id], after[enrollment_id]
            assert new.get("progressPercent", 0) >= old.get("progressPercent", 0)
            if old["state"] in ("COMPLETED", "REJECTED"):
                assert new == old


def test_enrollments_on__a_day_rarely_passes_without_events() -> None:
    """Among 15 learners, on most days enrollments appear, progress, complete and disappear."""
    days: Counter[str] = Counter()
    lives = [life_of(user) for user in USERS]
    for day in DAYS[1:]:
        seen = set()
        for life in lives:
            before, after = life[day - 1], life[day]
            seen.update(["appeared"] * len(after.keys() - before.keys()))
            seen.update(["disappeared"] * len(before.keys() - after.keys()))
            for enrollment_id in before.keys() & after.keys():
                old, new = before[enrollment_id], after[enrollment_id]
                seen.update(["progressed"] * (new["progressPercent"] > old["progressPercent"]))
                seen.update(["completed"] * ("dateCompleted" in new and old["state"] == "STARTED"))
        days.update(seen)

    assert days == {"appeared": 31, "progressed": 31, "completed": 30, "disappeared": 19}


@pytest.mark.parametrize("user", USERS)
def test_enrollments_on__dates_tell_the_day(user: str) -> None:
    """What happens on a day has a moment of that day; the oldest enrollment comes first."""
    dates = [f"2026-01-{day + 1:02}" for day in DAYS]
    life = life_of(user)
    for day in DAYS[1:31]:
        for enrollment_id, new in life[day].items():
            old = life[day - 1].get(enrollment_id)
            if old is None:
                assert new["dateEnrolled"].startswith(dates[day])
            elif new["state"] == "COMPLETED" and old["state"] != "COMPLETED":
                assert new["dateCompleted"].startswith(dates[day])
    enrolled = [attributes["dateEnrolled"] for attributes in life[-1].values()]
    assert enrolled == sorted(enrolled)


def test_enrollments_on__looks_like_alm() -> None:
    """Attributes are in ALM's order, and those that do not apply are left out."""
    for user in USERS:
        for attributes in life_of(user)[-1].values():
            assert list(attributes) == sorted(attributes)
            assert ("dateCompleted" in attributes) == (attributes["state"] == "COMPLETED")
            assert attributes["hasPassed"] is (attributes["state"] == "COMPLETED")
