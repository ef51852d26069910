"""A sink in memory that tells which records were made for it, and which of them are closed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from connector.alm.records import Enrollment


class Records:
    """Records that know whether they were closed."""

    def __init__(self) -> None:
        self.enrollments: list[Enrollment] = []
        self.is_closed = False

    @property
    def count(self) -> int:
        """The number of records."""
        return len(self.enrollments)

    def add(self, enrollments: Sequence[Enrollment]) -> None:
        """Add *enrollments*."""
        self.enrollments += enrollments

    def close(self) -> None:
        """Close them."""
        self.is_closed = True


class RecordingSink:
    """A sink that remembers the records that were made for it, and has user 7."""

    def __init__(self) -> None:
        self.made: list[Records] = []

    def new_records(self) -> Records:
        """Return new records."""
        self.made.append(Records())
        return self.made[-1]

    def has(self, user_id: str) -> bool:
        """Return whether it is user 7."""
        return user_id == "7"
