"""A set of 64-bit numbers in 8 bytes per slot, a tenth of what Python's own set of texts takes."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MASK = (1 << 64) - 1
# Knuth's multiplicative hashing spreads numbers that follow a pattern, as ids do, over all slots.
_MULTIPLIER = 0x9E3779B97F4A7C15
# Most learners have fewer enrollments; up to here a set of Python's own is faster.
_MAX_SMALL = 1_000
_FIRST_BITS = 12
_MAX_PLAIN_DIGITS = 19


class CompactSet:
    """A set of 64-bit numbers that only grows: open addressing, at most two thirds full."""

    def __init__(self) -> None:
        self._small: set[int] = set()
        self._bits = 0
        self._slots = array("Q")
        self._count = 0

    def __len__(self) -> int:
        """Return how many numbers the set holds."""
        return self._count + len(self._small)

    def __contains__(self, number: int) -> bool:
        """Return whether *number* was added."""
        if number in self._small:
            return True
        return self._bits > 0 and self._slots[self._slot_of(number)] != 0

    def has_all_of(self, other: CompactSet) -> bool:
        """Return whether every number of *other* was added."""
        return all(number in self for number in (*other._small, *filter(None, other._slots)))

    def add(self, number: int) -> bool:
        """Add *number* and return whether it is new."""
        if number in self:
            return False
        # An empty slot holds zero, so zero itself stays in the small set.
        if not self._bits or number == 0:
            self._small.add(number)
            if len(self._small) > _MAX_SMALL:
                numbers = self._small - {0}
                self._small &= {0}
                self._count = len(numbers)
                self._allocate(_FIRST_BITS, numbers)
            return True
        self._slots[self._slot_of(number)] = number
        self._count += 1
        if self._count * 3 > len(self._slots) * 2:
            self._allocate(self._bits + 1, filter(None, self._slots))
        return True

    def add_texts(self, texts: Sequence[str]) -> list[bool]:
        """Add *texts* by their hashes and return for each whether it is new.

        One in 10 billion may be mistaken for another. Python keys its hash at random in each
        process, so texts that collide in one run do not collide in the next.
        """
        numbers = [hash(text) & _MASK for text in texts]
        distinct = set(numbers)
        if (
            not self._bits
            and len(distinct) == len(numbers)
            and distinct.isdisjoint(self._small)
            and len(self._small) + len(numbers) <= _MAX_SMALL
        ):
            self._small |= distinct
            return [True] * len(numbers)
        return [self.add(number) for number in numbers]

    def _slot_of(self, number: int) -> int:
        """Return the index of the slot that holds *number*, or of the empty one where it goes."""
        last = len(self._slots) - 1
        index = (number * _MULTIPLIER & _MASK) >> (64 - self._bits)
        while self._slots[index] not in (0, number):
            index = (index + 1) & last
        return index

    def _allocate(self, bits: int, numbers: Iterable[int]) -> None:
        self._bits = bits
        self._slots = array("Q", bytes(8 << bits))
        for number in numbers:
            self._slots[self._slot_of(number)] = number


class UserIds:
    """An exact set of user ids and addresses: one mistaken for another would lose a user."""

    def __init__(self) -> None:
        self._numbers = CompactSet()
        self._texts: set[str] = set()

    def __len__(self) -> int:
        """Return how many ids the set holds."""
        return len(self._numbers) + len(self._texts)

    def __contains__(self, user_id: str) -> bool:
        """Return whether *user_id* was added."""
        digits = canonical_id(user_id)
        if not _is_number(digits):
            return digits in self._texts
        return int(digits) in self._numbers

    def add(self, user_id: str) -> bool:
        """Add *user_id* and return whether it is new."""
        digits = canonical_id(user_id)
        if _is_number(digits):
            return self._numbers.add(int(digits))
        is_new = digits not in self._texts
        self._texts.add(digits)
        return is_new


def canonical_id(user_id: str) -> str:
    """Return *user_id* without leading zeros: 007 is the user 7; an address in lower case."""
    if "@" in user_id:
        return user_id.lower()
    return user_id.lstrip("0") or "0"


def _is_number(user_id: str) -> bool:
    return len(user_id) <= _MAX_PLAIN_DIGITS and user_id.isdecimal()
