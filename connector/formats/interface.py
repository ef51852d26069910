"""What a format is: enrollments to text, some at a time, so that a file can grow user by user."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from connector.alm.records import Enrollment

#: Every column of the formats that have columns, in order: an enrollment's fields, then its grades' ids and what else is nested, as JSON.
SCALARS = (
    "id",
    "user_id",
    "lo_id",
    "lo_type",
    "lo_instance_id",
    "state",
    "progress_percent",
    "has_passed",
    "score",
    "enrollment_source",
    "date_enrolled",
    "date_started",
    "date_completed",
    "completion_deadline",
    "last_access_date",
    "rating",
    "purchased_price",
    "url",
)
COLUMNS = (*SCALARS, "resource_grade_ids", "resource_grades", "included")


class Format(ABC):
    """A file is ``begin``, rows with ``between`` between any two of them, and ``end``."""

    begin: ClassVar[str] = ""
    between: ClassVar[str] = ""
    end: ClassVar[str] = ""

    @abstractmethod
    def rows(self, enrollments: Sequence[Enrollment]) -> str:
        """Return *enrollments* as text, ``between`` between them."""
