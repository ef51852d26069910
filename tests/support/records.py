"""Enrollments as ``connector.alm.records`` builds them, and hostile text to fill them with."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from msgspec import UNSET

from connector.alm.completeness import Completeness, Status
from connector.alm.records import Enrollment, IncludedResourceGrade, ResourceGrade

#: What breaks lines, cells and terminals; and half a surrogate pair, which UTF-8 cannot express.
HOSTILE = st.text(
    alphabet=st.one_of(
        st.sampled_from("\"',;=+-@\t\r\n\x00\x1b#\\{}[]…ß日😀\u2028\ud800\udfff\x7f"),
        st.characters(codec="utf-8"),
    ),
    max_size=20,
)
#: The verdict on a user who has one page.
VERIFIED = Completeness(Status.VERIFIED, (), 1)
DATE = "2023-06-29T12:34:33.000Z"


def enrollment(user_id: str = "31", number: int = 1, **values: Any) -> Enrollment:
    """Return the enrollment of *user_id* in course *number*; *values* replace the usual ones."""
    usual: dict[str, Any] = {
        "id": f"course:{number}_2_{user_id}",
        "user_id": user_id,
        "lo_id": f"course:{number}",
        "lo_type": "course",
        "lo_instance_id": f"course:{number}_2",
        "state": "COMPLETED",
        "progress_percent": 100,
        "has_passed": True,
        "score": 87.5,
        "enrollment_source": "SELF_ENROLL",
        "date_enrolled": DATE,
        "date_started": DATE,
        "date_completed": None,
        "completion_deadline": None,
        "last_access_date": None,
        "rating": None,
        "purchased_price": None,
        "url": None,
        "lo_name": UNSET,
        "user_name": UNSET,
        "user_email": UNSET,
        "resource_grades": (ResourceGrade(f"course:{number}_2_7_0_{user_id}", "7", 0),),
    }
    return Enrollment(**{**usual, **values})


def enrollments(count: int, user_id: str = "31") -> list[Enrollment]:
    """Return *count* enrollments of *user_id*."""
    return [enrollment(user_id, number) for number in range(count)]


def included_grade(**values: Any) -> IncludedResourceGrade:
    """Return a grade with its attributes; *values* replace the usual ones."""
    usual: dict[str, Any] = {
        "id": "course:1_2_7_0_31",
        "module_id": "7",
        "module_version": 0,
        "progress_percent": 50,
        "has_passed": False,
        "score": -1.5,
        "highest_score": 3,
        "max_score": 10,
        "duration": 61,
        "date_started": DATE,
        "date_completed": None,
        "date_success": None,
    }
    return IncludedResourceGrade(**{**usual, **values})
