"""Is anything missing, repeated, or looping? Computed from the pages received, never assumed."""

from __future__ import annotations

import base64
import json
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from itertools import compress
from operator import not_
from typing import TYPE_CHECKING

from connector.compact_set import CompactSet
from connector.text import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

LO_TYPES = frozenset({"course", "learningProgram", "jobAid", "certification"})
MAX_CURSOR_CHARACTERS = 4_096
_STANDARD_ALPHABET = str.maketrans("-_", "+/")


class Status(StrEnum):
    """How certain it is that nothing is missing, the most certain first."""

    VERIFIED = "verified"
    CONSISTENT = "consistent"
    INCOMPLETE = "incomplete"
    INCONSISTENT = "inconsistent"


@dataclass(frozen=True, slots=True)
class Completeness:
    """How complete one reading of a user is, and from how many pages that was computed."""

    status: Status
    reasons: tuple[str, ...]
    pages: int

    @property
    def is_complete(self) -> bool:
        """Whether nothing that was asked for is missing."""
        return self.status in (Status.VERIFIED, Status.CONSISTENT)


def decode_cursor(cursor: str) -> Counter[str] | None:
    """Return how many enrollments of each type ALM had served when it made *cursor*.

    Base64 of ``{"jobAid":0,"course":3,…}`` in the exchange that Adobe's manual shows, but formally
    opaque: any other shape is no error and returns ``None``.
    """
    if len(cursor) > MAX_CURSOR_CHARACTERS:
        return None
    unpadded = cursor.translate(_STANDARD_ALPHABET).rstrip("=")
    try:
        counts = json.loads(base64.b64decode(unpadded + "=" * (-len(unpadded) % 4), validate=True))
    except (ValueError, RecursionError):
        return None
    if not isinstance(counts, dict) or not counts or not counts.keys() <= LO_TYPES:
        return None
    if not all(type(count) is int and count >= 0 for count in counts.values()):
        return None
    return Counter(counts)


class CompletenessTracker:
    """Checks one reading of one user page by page, and rates it at the end."""

    def __init__(self) -> None:
        self._ids = CompactSet()
        self._cursors = CompactSet()
        self._received: Counter[str] = Counter()
        self._inconsistencies: list[str] = []
        self._has_opaque_cursor = False
        self.pages = 0

    @property
    def is_inconsistent(self) -> bool:
        """Whether a check has failed: there is no use in reading on."""
        return bool(self._inconsistencies)

    def add_page(
        self, types_by_id: Iterable[tuple[str, str | None]], next_cursor: str | None
    ) -> list[bool]:
        """Add a page and return for each of its enrollments whether it is new.

        *types_by_id* are the enrollments' ids with their types in ALM's order, *next_cursor* is
        the cursor of the page's next link.
        """
        self.pages += 1
        enrollments = list(types_by_id)
        ids = [enrollment_id for enrollment_id, _ in enrollments]
        are_new = self._ids.add_texts(ids)
        self._received.update([lo_type or "" for _, lo_type in enrollments])
        if not all(are_new):
            self._inconsistencies += [
                f"page {self.pages}: enrollment {quoted(enrollment_id)} came twice"
                for enrollment_id in compress(ids, map(not_, are_new))
            ]
        if next_cursor is not None:
            self._check_cursor(next_cursor)
        return are_new

    def _check_cursor(self, cursor: str) -> None:
        if not all(self._cursors.add_texts([cursor])):
            self._inconsistencies.append(
                f"page {self.pages}: the cursor of its next link came before"
            )
        counts = decode_cursor(cursor)
        if counts is None:
            self._has_opaque_cursor = True
            return
        agrees = counts == self._received
        if not self._received.keys() <= LO_TYPES:
            # ALM counts an enrollment of unknown type under one of the four: compare the sums.
            agrees = counts.total() == self._received.total()
        if not agrees:
            self._inconsistencies.append(
                f"page {self.pages}: ALM counts {counts.total()} enrollments served"
                f" ({_describe(counts)}),"
                f" received were {self._received.total()} ({_describe(self._received)})"
            )

    def result(
        self,
        stopped: str | None = None,
        *,
        doubts: Sequence[str] = (),
        remarks: Sequence[str] = (),
    ) -> Completeness:
        """Return how complete the reading is.

        *stopped* is why it ended before the last page, if it did; *doubts* are reasons for which
        it is not verified, *remarks* reasons that do not change the status.
        """
        reasons = [*self._inconsistencies, *doubts, *remarks]
        if self._has_opaque_cursor:
            reasons.append(
                "the cursors could not be decoded:"
                " that no enrollment was skipped is likely, not verified"
            )
        if stopped:
            reasons.append(stopped)
        status = Status.VERIFIED
        if self._inconsistencies:
            status = Status.INCONSISTENT
        elif stopped:
            status = Status.INCOMPLETE
        elif self._has_opaque_cursor or doubts:
            status = Status.CONSISTENT
        return Completeness(status, tuple(reasons), self.pages)


def _describe(counts: Mapping[str, int]) -> str:
    listed = [
        f"{lo_type or 'of unknown type'} {count}"
        for lo_type, count in sorted(counts.items())
        if count
    ]
    return ", ".join(listed) or "none"
