"""Is anything missing, twice, or looping? Computed from what was received, never assumed."""

from __future__ import annotations

import base64
import json
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from itertools import compress
from operator import not_
from typing import TYPE_CHECKING

from connector.alm.protocol import shown
from connector.compact_set import CompactSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LO_TYPES = frozenset({"course", "learningProgram", "jobAid", "certification"})
_LONGEST_CURSOR = 4_096
_PLAIN_ALPHABET = str.maketrans("-_", "+/")


class Status(StrEnum):
    """How sure it is that nothing is missing; from the surest to the least sure."""

    PROVED = "proved"
    CONSISTENT = "consistent"
    INCOMPLETE = "incomplete"
    VIOLATED = "violated"


@dataclass(frozen=True, slots=True)
class Completeness:
    """The verdict on what was read, and on how many pages it rests."""

    status: Status
    reasons: tuple[str, ...]
    pages: int

    @property
    def is_complete(self) -> bool:
        """Whether nothing that was asked for is missing."""
        return self.status in (Status.PROVED, Status.CONSISTENT)


def decode_cursor(cursor: str) -> Counter[str] | None:
    """Return how many enrollments of each type were served when *cursor* was made; ``None`` where it does not tell.

    Base64 of ``{"jobAid":0,"course":3,…}`` in the documented exchange, but formally
    opaque: whatever is of another shape tells nothing, and is no error.
    """
    if len(cursor) > _LONGEST_CURSOR:
        return None
    padded = cursor.translate(_PLAIN_ALPHABET).rstrip("=")
    try:
        counts = json.loads(base64.b64decode(padded + "=" * (-len(padded) % 4), validate=True))
    except (ValueError, RecursionError):
        return None
    if not isinstance(counts, dict) or not counts or not counts.keys() <= LO_TYPES:
        return None
    return (
        Counter(counts)
        if all(type(count) is int and count >= 0 for count in counts.values())
        else None
    )


class CompletenessTracker:
    """Watches one reading of one user, page by page, and says at the end what it is worth."""

    def __init__(self) -> None:
        self._seen_ids = CompactSet()
        self._seen_cursors = CompactSet()
        self._received: Counter[str] = Counter()
        self._violations: list[str] = []
        self._opaque = False
        self.pages = 0

    @property
    def violated(self) -> bool:
        """Whether a check has failed: reading on is of no use then."""
        return bool(self._violations)

    def observe(
        self, types_by_id: Iterable[tuple[str, str | None]], next_cursor: str | None
    ) -> list[bool]:
        """Take in one page: its enrollments' ids with their types, as served, and the cursor of its next link.

        Returns for each enrollment whether it is new.
        """
        self.pages += 1
        listed = list(types_by_id)
        ids = [enrollment_id for enrollment_id, _ in listed]
        are_new = self._seen_ids.add_texts(ids)
        self._received.update([lo_type or "" for _, lo_type in listed])
        if not all(are_new):
            twice = compress(ids, map(not_, are_new))
            self._violations += [
                f"page {self.pages}: enrollment {shown(enrollment_id)} came twice"
                for enrollment_id in twice
            ]
        if next_cursor is not None:
            self._check_cursor(next_cursor)
        return are_new

    def _check_cursor(self, cursor: str) -> None:
        if not all(self._seen_cursors.add_texts([cursor])):
            self._violations.append(f"page {self.pages}: the cursor of its next link came before")
        counts = decode_cursor(cursor)
        if counts is None:
            self._opaque = True
        elif not self._agrees(counts):
            self._violations.append(
                f"page {self.pages}: ALM counts {counts.total()} enrollments served ({_listed(counts)}),"
                f" received were {self._received.total()} ({_listed(self._received)})"
            )

    def _agrees(self, counts: Counter[str]) -> bool:
        # An enrollment of unknown type is counted under one of the types: then only the sums can be compared.
        if self._received.keys() <= LO_TYPES:
            return {lo_type: count for lo_type, count in counts.items() if count} == dict(
                self._received
            )
        return counts.total() == self._received.total()

    def verdict(self, stopped: str | None = None, *, noticed: Iterable[str] = ()) -> Completeness:
        """Return what the reading is worth.

        *stopped* says why it ended early, ``None`` where the server's last page ended
        it; *noticed* are remarks that change nothing in the verdict.
        """
        reasons = [*self._violations, *noticed]
        if self._opaque:
            reasons.append(
                "the cursors could not be decoded: that no enrollment was skipped is likely, not proved"
            )
        if stopped:
            reasons.append(stopped)
        if self._violations:
            status = Status.VIOLATED
        elif stopped:
            status = Status.INCOMPLETE
        else:
            status = Status.CONSISTENT if self._opaque else Status.PROVED
        return Completeness(status, tuple(reasons), self.pages)


def _listed(counts: Mapping[str, int]) -> str:
    return (
        ", ".join(
            f"{lo_type or 'of unknown type'} {count}"
            for lo_type, count in sorted(counts.items())
            if count
        )
        or "none"
    )
