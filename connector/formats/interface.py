"""What a format is: enrollments to text, some at a time, so that a file can grow user by user."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from connector.alm.records import FIELDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from connector.alm.records import Enrollment

#: An enrollment's fields that are no lists, in the contract's order.
SCALARS = FIELDS[: FIELDS.index("resource_grades")]
#: Every column of the formats that have columns: those, then its grades' ids, and as JSON what is nested.
COLUMNS = (*SCALARS, "resource_grade_ids", "resource_grades", "included")


class Format(ABC):
    """A file is ``begin``, rows with ``between`` between any two of them, and ``end``."""

    begin: ClassVar[str] = ""
    between: ClassVar[str] = ""
    end: ClassVar[str] = ""

    @abstractmethod
    def rows(self, enrollments: Sequence[Enrollment]) -> str:
        """Return *enrollments* as text, ``between`` between them."""
