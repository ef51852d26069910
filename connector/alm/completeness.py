"""Is anything missing, repeated, or looping? Computed from the pages received, never assumed."""

from __future__ import annotations

import base64
import codecs
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from itertools import compress
from operator import not_
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import msgspec

from connector.compact_set import CompactSet
from connector.text import counted, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_LoType = Literal["course", "learningProgram", "jobAid", "certification"]
LO_TYPES = frozenset(get_args(_LoType))
MAX_CURSOR_CHARACTERS = 4_096
#: Contradictions that a reading lists.
MAX_REASONS = 20
_decode_counts = msgspec.json.Decoder(dict[_LoType, Annotated[int, msgspec.Meta(ge=0)]]).decode


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
    unpadded = cursor.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        text = base64.b64decode(unpadded + "=" * (-len(unpadded) % 4), validate=True)
        # msgspec refuses a byte order mark.
        counts = _decode_counts(text.removeprefix(codecs.BOM_UTF8))
    except (ValueError, msgspec.DecodeError):
        return None
    return Counter(counts) if counts else None


class CompletenessTracker:
    """Checks one reading of one user page by page, and rates it at the end."""

    def __init__(self) -> None:
        self._ids = CompactSet()
        self._cursors = CompactSet()
        self._received: Counter[str] = Counter()
        self._repeated: Counter[str] = Counter()
        self._inconsistencies = _Reasons()
        self._differences = _Reasons()
        # What ALM counts beyond what it has served, whenever that changes.
        self._surpluses: list[Counter[str]] = []
        self._has_opaque_cursor = False
        #: Whether a cursor has come again: the pages have no end.
        self.is_looping = False
        self.pages = 0

    @property
    def is_inconsistent(self) -> bool:
        """Whether an id or a cursor came twice, or ALM counts less than was received."""
        return self._inconsistencies.count > 0

    @property
    def has_surplus(self) -> bool:
        """Whether ALM counts more than it has served, and the pages do not contradict it else."""
        return bool(self._surpluses) and not self.is_inconsistent

    def confirms(self, earlier: CompletenessTracker) -> bool:
        """Return whether this complete reading shows the surplus of an *earlier* one to be stable.

        It is the same, and no enrollment of the earlier reading is missing from this one.
        """
        return self._surpluses == earlier._surpluses and self._ids.has_all_of(earlier._ids)

    def add_page(
        self,
        types_by_id: Iterable[tuple[str, str | None]],
        next_cursor: str | None,
        repeated_types: Iterable[str | None] = (),
    ) -> list[bool]:
        """Add a page and return for each of its enrollments whether it is new.

        *types_by_id* are the enrollments' ids with their types in ALM's order, *next_cursor* is
        the cursor of the page's next link. *repeated_types* are the types of those that the page
        lists once more, byte for byte: ALM may count them again, or not.
        """
        self.pages += 1
        enrollments = list(types_by_id)
        ids = [enrollment_id for enrollment_id, _ in enrollments]
        are_new = self._ids.add_texts(ids)
        self._received.update([lo_type or "" for _, lo_type in enrollments])
        self._repeated.update([lo_type or "" for lo_type in repeated_types])
        if not all(are_new):
            for enrollment_id in compress(ids, map(not_, are_new)):
                self._inconsistencies.add(
                    f"page {self.pages}: enrollment {quoted(enrollment_id)} came twice"
                )
        if next_cursor is not None:
            self._check_cursor(next_cursor)
        return are_new

    def _check_cursor(self, cursor: str) -> None:
        if not all(self._cursors.add_texts([cursor])):
            self.is_looping = True
            self._inconsistencies.add(f"page {self.pages}: the cursor of its next link came twice")
        counts = decode_cursor(cursor)
        if counts is None:
            self._has_opaque_cursor = True
            return
        comparable, received, repeated = counts, self._received, self._repeated
        if not received.keys() <= LO_TYPES:
            # ALM counts an enrollment of unknown type under one of the four: compare the sums.
            comparable, received, repeated = _sum(counts), _sum(received), _sum(repeated)
        surplus = {
            lo_type: difference
            for lo_type in comparable.keys() | received.keys()
            if (difference := comparable[lo_type] - received[lo_type])
        }
        if min(surplus.values(), default=0) < 0:
            self._inconsistencies.add(self._difference_to(counts))
            return
        if surplus == repeated:
            surplus = {}
        if surplus != (self._surpluses[-1] if self._surpluses else {}):
            self._surpluses.append(Counter(surplus))
            self._differences.add(self._difference_to(counts))

    def _difference_to(self, counts: Counter[str]) -> str:
        return (
            f"page {self.pages}: ALM counts {counted(counts.total(), 'enrollment')}"
            f" ({_describe(counts)}),"
            f" but {self._received.total():,} came ({_describe(self._received)})"
        )

    def result(
        self,
        stopped: str | None = None,
        *,
        doubts: Sequence[str] = (),
        remarks: Sequence[str] = (),
        explanation: str = "",
    ) -> Completeness:
        """Return how complete the reading is.

        *stopped* is why it ended before the last page, if it did; *doubts* are reasons for which
        it is not verified, *remarks* reasons that do not change the status. An *explanation* of
        the surplus makes it a doubt; without one it contradicts the pages.
        """
        reasons = self._inconsistencies.listed()
        is_inconsistent = self.is_inconsistent or (
            self.has_surplus and not explanation and not stopped
        )
        doubts = [*doubts]
        if self.has_surplus and explanation:
            surplus = max(self._surpluses, key=Counter.total)
            doubts.insert(
                0,
                f"ALM counts {counted(surplus.total(), 'row')} that it does not return"
                f" ({_describe(surplus)}), {explanation}",
            )
        else:
            reasons += self._differences.listed()
        reasons += [*doubts, *remarks]
        if self._has_opaque_cursor:
            reasons.append(
                "the cursors could not be decoded, so it is likely but not verified that no"
                " enrollment was skipped"
            )
        if stopped:
            reasons.append(stopped)
        status = Status.VERIFIED
        if is_inconsistent:
            status = Status.INCONSISTENT
        elif stopped:
            status = Status.INCOMPLETE
        elif self._has_opaque_cursor or doubts:
            status = Status.CONSISTENT
        return Completeness(status, tuple(reasons), self.pages)


class _Reasons:
    """Counts reasons, and lists the first of them: a reading may have thousands."""

    def __init__(self) -> None:
        self._first: list[str] = []
        self.count = 0

    def add(self, reason: str) -> None:
        self.count += 1
        if len(self._first) < MAX_REASONS:
            self._first.append(reason)

    def listed(self) -> list[str]:
        more = self.count - len(self._first)
        return (
            [*self._first, f"and {counted(more, 'more contradiction')}"] if more else [*self._first]
        )


def _sum(counts: Counter[str]) -> Counter[str]:
    return Counter({"": counts.total()})


def _describe(counts: Mapping[str, int]) -> str:
    listed = [
        f"{lo_type or 'of unknown type'} {count}"
        for lo_type, count in sorted(counts.items())
        if count
    ]
    return ", ".join(listed) or "none"
