"""The same answers as Python's own set, for any numbers, texts and user ids."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.compact_set import CompactSet, UserIds, canonical_id

NUMBERS = (
    st.integers(0, 2**64 - 1)
    | st.integers(0, 20)
    | st.integers(0, 20).map(lambda number: 2**64 - 1 - number)
)
USER_IDS = st.from_regex(r"[0-9]{1,20}", fullmatch=True) | st.from_regex(
    r"0{0,3}[0-9]{1,2}", fullmatch=True
)


def compact_set(numbers: range) -> CompactSet:
    """Return a set of *numbers*."""
    built = CompactSet()
    for number in numbers:
        built.add(number)
    return built


@pytest.mark.parametrize("start", [range(0), range(0, 4_500, 3)], ids=["small", "large"])
@given(numbers=st.lists(NUMBERS, max_size=50))
def test_add__like_a_set(start: range, numbers: list[int]) -> None:
    """A number is new once and in the set from then on, zero and the largest included."""
    built, model = compact_set(start), set(start)

    for number in numbers:
        assert (number in built) is (number in model)
        assert built.add(number) is (number not in model)
        model.add(number)

    assert len(built) == len(model)
    assert all(number in built for number in numbers)


@pytest.mark.parametrize("step", [1, 2, 2**10, 2**32, 2**44, 0x9E3779B97F4A7C15])
def test_add__grows(step: int) -> None:
    """However many numbers come, in any pattern, none is lost or mistaken for another."""
    built = CompactSet()
    numbers = [number * step % 2**64 for number in range(20_000)]

    assert all(built.add(number) for number in numbers)
    assert not any(built.add(number) for number in numbers)
    assert len(built) == 20_000
    assert not any(number + 1 in built for number in numbers if step % 2**10 == 0)


def test_add__takes_little_memory() -> None:
    """A number takes at most 24 bytes: a slot of 8, and at least a third of the slots is used."""
    built = compact_set(range(100_000))

    assert len(built._slots) * built._slots.itemsize <= 24 * 100_000


@given(pages=st.lists(st.lists(st.integers(0, 30).map(str), max_size=12), max_size=12))
def test_add_texts__like_a_set(pages: list[list[str]]) -> None:
    """A text is new once, within a page as over several."""
    built = CompactSet()
    seen: list[str] = []

    for page in pages:
        assert built.add_texts(page) == [
            text not in [*seen, *page[:position]] for position, text in enumerate(page)
        ]
        seen += page


def test_add_texts__many() -> None:
    """The same holds for more texts than fit into the small set."""
    built = CompactSet()
    pages = [[f"course:{page}_{number}" for number in range(10)] for page in range(500)]

    assert all(all(built.add_texts(page)) for page in pages)
    assert not any(any(built.add_texts(page)) for page in pages)
    assert built.add_texts(["course:1_1", "new", "new"]) == [False, True, False]


@given(user_ids=st.lists(USER_IDS, max_size=50))
def test_user_ids__exact(user_ids: list[str]) -> None:
    """No id is mistaken for another: 20 digits differ to the last; 007 and 7 are one user."""
    built, numbers = UserIds(), list(map(int, user_ids))

    assert [built.add(user_id) for user_id in user_ids] == [
        number not in numbers[:position] for position, number in enumerate(numbers)
    ]
    assert len(built) == len(set(numbers))
    assert all(user_id in built and f"00{user_id}" in built for user_id in user_ids)


@pytest.mark.parametrize(
    ("known", "other"),
    [
        ("18446744073709551616", "0"),
        ("18446744073709551617", "1"),
        ("99999999999999999999", "9999999999999999999"),
    ],
)
def test_user_ids__look_alike(known: str, other: str) -> None:
    """Ids that are the same number in 64 bits are two ids, in a large set too."""
    built = UserIds()
    for number in range(1_000_000, 1_002_000):
        built.add(str(number))
    built.add(known)

    assert (known in built, other in built) == (True, False)
    assert built.add(other) is True


def test_user_ids__addresses() -> None:
    """Addresses are in the set with the ids, in whichever case."""
    built = UserIds()

    assert [built.add(user) for user in ("Ada@x", "31", "ada@X", "31@x", "0ada@x")] == [
        *(True, True, False, True, True)
    ]
    assert ("ADA@x" in built, "ben@x" in built, len(built)) == (True, False, 4)


@given(known=st.lists(st.integers(0, 50)), others=st.lists(st.integers(0, 50)))
def test_has_all_of__another_set(known: list[int], others: list[int]) -> None:
    """A set has all numbers of another one, or does not."""
    sets = []
    for numbers in (known, others):
        sets.append(CompactSet())
        for number in numbers:
            sets[-1].add(number)

    assert sets[0].has_all_of(sets[1]) is set(known).issuperset(others)


@pytest.mark.parametrize("missing", [0, 1, 1_500])
def test_has_all_of__a_large_set(missing: int) -> None:
    """So does a large one, zero included."""
    numbers = range(2_000)
    large, lacking = CompactSet(), CompactSet()
    for number in numbers:
        large.add(number)
        if number != missing:
            lacking.add(number)

    assert (large.has_all_of(lacking), lacking.has_all_of(large)) == (True, False)


@pytest.mark.parametrize(
    ("user_id", "canonical"),
    [("7", "7"), ("007", "7"), ("00", "0"), ("0Ada@X.org", "0ada@x.org")],
)
def test_canonical_id__without_leading_zeros(user_id: str, canonical: str) -> None:
    """An id with leading zeros is the user without them; an address is in lower case."""
    assert canonical_id(user_id) == canonical
