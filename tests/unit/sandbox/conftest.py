"""What the sandbox's tests share: a clock that jumps, and the data of the documented exchange."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from connector.clock import Clock


class VirtualClock:
    """Stands still, and jumps when it is told to sleep."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def monotonic(self) -> float:
        """Return the seconds slept so far."""
        return self._seconds

    def now(self) -> datetime:
        """Return the documented exchange's date, and what was slept since."""
        return datetime(2024, 6, 9, 13, 5, 9, tzinfo=UTC) + timedelta(seconds=self._seconds)

    def sleep(self, seconds: float) -> None:
        """Let *seconds* pass at once."""
        self._seconds += seconds


@pytest.fixture
def clock() -> Clock:
    """Return a clock that moves only when it is told to sleep."""
    return VirtualClock()


@pytest.fixture
def documented() -> list[dict[str, Any]]:
    """Return the enrollments of the documented exchange, copied from alm-user-enrollments-endpoint.txt."""
    return [
        {
            "id": "course:6511020_7037048_20941371",
            "type": "learningObjectInstanceEnrollment",
            "attributes": {
                "completionDeadline": "2023-12-13T11:48:49.000Z",
                "dateEnrolled": "2023-06-16T11:48:49.000Z",
                "enrollmentSource": "AUTO_ENROLL",
                "hasPassed": False,
                "progressPercent": 0,
                "score": 0,
                "state": "ENROLLED",
            },
            "relationships": {
                "learner": {"data": {"id": "20941371", "type": "user"}},
                "learningObject": {"data": {"id": "course:6511020", "type": "learningObject"}},
                "loInstance": {
                    "data": {"id": "course:6511020_7037048", "type": "learningObjectInstance"}
                },
                "loResourceGrades": {
                    "data": [
                        {
                            "id": "course:6511020_7037048_11676159_0_20941371",
                            "type": "learningObjectResourceGrade",
                        },
                        {
                            "id": "course:6511020_7037048_11676160_0_20941371",
                            "type": "learningObjectResourceGrade",
                        },
                        {
                            "id": "course:6511020_7037048_11676161_0_20941371",
                            "type": "learningObjectResourceGrade",
                        },
                        {
                            "id": "course:6511020_7037048_11676162_0_20941371",
                            "type": "learningObjectResourceGrade",
                        },
                    ]
                },
            },
        },
        {
            "id": "course:7236650_7877507_20941371",
            "type": "learningObjectInstanceEnrollment",
            "attributes": {
                "dateEnrolled": "2023-06-29T11:34:50.000Z",
                "enrollmentSource": "SELF_ENROLL",
                "hasPassed": False,
                "progressPercent": 0,
                "score": 0,
                "state": "ENROLLED",
            },
            "relationships": {
                "learner": {"data": {"id": "20941371", "type": "user"}},
                "learningObject": {"data": {"id": "course:7236650", "type": "learningObject"}},
                "loInstance": {
                    "data": {"id": "course:7236650_7877507", "type": "learningObjectInstance"}
                },
                "loResourceGrades": {
                    "data": [
                        {
                            "id": "course:7236650_7877507_12456287_0_20941371",
                            "type": "learningObjectResourceGrade",
                        }
                    ]
                },
            },
        },
        {
            "id": "course:7236827_7877699_20941371",
            "type": "learningObjectInstanceEnrollment",
            "attributes": {
                "dateEnrolled": "2023-06-29T12:34:33.000Z",
                "enrollmentSource": "ADMIN_ENROLL",
                "hasPassed": False,
                "progressPercent": 0,
                "score": 0,
                "state": "ENROLLED",
            },
            "relationships": {
                "learner": {"data": {"id": "20941371", "type": "user"}},
                "learningObject": {"data": {"id": "course:7236827", "type": "learningObject"}},
                "loInstance": {
                    "data": {"id": "course:7236827_7877699", "type": "learningObjectInstance"}
                },
                "loResourceGrades": {
                    "data": [
                        {
                            "id": "course:7236827_7877699_12456477_0_20941371",
                            "type": "learningObjectResourceGrade",
                        },
                        {
                            "id": "course:7236827_7877699_12463854_0_20941371",
                            "type": "learningObjectResourceGrade",
                        },
                    ]
                },
            },
        },
    ]
