"""Have I seen this before? In 8 bytes a slot, where a set of Python's own takes sixty and the text besides."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MASK = (1 << 64) - 1
# Knuth's multiplicative hashing: numbers that follow a pattern, as ids do, are spread evenly by their upper bits.
_SPREAD = 0x9E3779B97F4A7C15
# What a learner has, as a rule.
_FEW = 1_000
_FIRST_BITS = 12


class CompactSet:
    """A set of numbers of 64 bits. While they are few a set of Python's own, which is faster."""

    def __init__(self) -> None:
        self._few: set[int] = set()
        self._bits = 0
        self._slots = array("Q")
        self._count = 0

    def __len__(self) -> int:
        """Return how many numbers were added."""
        return self._count + len(self._few)

    def __contains__(self, number: int) -> bool:
        """Return whether *number* was added."""
        return number in self._few or (self._bits > 0 and self._slots[self._place_of(number)] != 0)

    def add(self, number: int) -> bool:
        """Add *number* and return whether it is new."""
        if number in self:
            return False
        # A slot with nothing in it holds zero: zero itself stays among the few.
        if not self._bits or number == 0:
            self._few.add(number)
            if len(self._few) > _FEW:
                self._begin_slots()
            return True
        self._slots[self._place_of(number)] = number
        self._count += 1
        if self._count * 3 > len(self._slots) * 2:
            self._place_all(self._slots, self._bits + 1)
        return True

    def add_texts(self, texts: Sequence[str]) -> list[bool]:
        """Add *texts* by their hashes and return for each whether it is new: one in 10 billion may be taken for another.

        The hash is another one in each process, so that what collides in one run does not in the next.
        """
        numbers = [hash(text) & _MASK for text in texts]
        together = set(numbers)
        if (
            not self._bits
            and len(together) == len(numbers)
            and together.isdisjoint(self._few)
            and len(self._few) + len(numbers) <= _FEW
        ):
            self._few |= together
            return [True] * len(numbers)
        return [self.add(number) for number in numbers]

    def _begin_slots(self) -> None:
        numbers = self._few - {0}
        self._few &= {0}
        self._count = len(numbers)
        self._place_all(numbers, _FIRST_BITS)

    def _place_of(self, number: int) -> int:
        slots, last = self._slots, len(self._slots) - 1
        place = (number * _SPREAD & _MASK) >> (64 - self._bits)
        while slots[place] not in (0, number):
            place = (place + 1) & last
        return place

    def _place_all(self, numbers: Iterable[int], bits: int) -> None:
        self._bits = bits
        self._slots = array("Q", bytes(8 << bits))
        for number in numbers:
            if number:
                self._slots[self._place_of(number)] = number


class UserIds:
    """A set of user ids, exact: an id that were taken for another one would lose a user."""

    def __init__(self) -> None:
        self._numbers = CompactSet()
        self._others: set[str] = set()

    def __len__(self) -> int:
        """Return how many ids were added."""
        return len(self._numbers) + len(self._others)

    def __contains__(self, user_id: str) -> bool:
        """Return whether *user_id* was added."""
        return int(user_id) in self._numbers if _is_plain(user_id) else user_id in self._others

    def add(self, user_id: str) -> bool:
        """Add *user_id* and return whether it is new."""
        if _is_plain(user_id):
            return self._numbers.add(int(user_id))
        was_new = user_id not in self._others
        self._others.add(user_id)
        return was_new


def _is_plain(user_id: str) -> bool:
    # 007 is another id than 7, and 20 digits may be more than 64 bits.
    return len(user_id) < 20 and (user_id[:1] != "0" or user_id == "0")  # noqa: PLR2004
