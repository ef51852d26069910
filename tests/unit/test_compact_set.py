"""What was seen before: the same answers as a set of Python's own, whatever the numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.compact_set import CompactSet, UserIds

NUMBERS = (
    st.integers(0, 2**64 - 1)
    | st.integers(0, 20)
    | st.integers(0, 20).map(lambda number: 2**64 - 1 - number)
)
USER_IDS = st.from_regex(r"[0-9]{1,20}", fullmatch=True) | st.from_regex(
    r"0{0,3}[0-9]{1,2}", fullmatch=True
)


def full() -> CompactSet:
    """Return one that has outgrown what it keeps as a set: every third number up to 6,000."""
    made = CompactSet()
    for number in range(0, 6_000, 3):
        made.add(number)
    return made


@given(numbers=st.lists(NUMBERS, max_size=50))
def test_add__as_a_set_while_few(numbers: list[int]) -> None:
    """A number is new once, and there from then on."""
    made = CompactSet()

    assert [made.add(number) for number in numbers] == [
        number not in numbers[:place] for place, number in enumerate(numbers)
    ]
    assert len(made) == len(set(numbers))
    assert all(number in made for number in numbers)


@given(numbers=st.lists(NUMBERS, max_size=50))
def test_add__as_a_set_when_many(numbers: list[int]) -> None:
    """The same where they are many, zero and the largest number of 64 bits included."""
    made, model = full(), set(range(0, 6_000, 3))

    for number in numbers:
        assert (number in made) is (number in model)
        assert made.add(number) is (number not in model)
        model.add(number)

    assert len(made) == len(model)


@pytest.mark.parametrize("step", [1, 2, 2**10, 2**32, 2**44, 0x9E3779B97F4A7C15])
def test_add__grows(step: int) -> None:
    """However many come, and whatever pattern they follow, none is lost and none is taken for another."""
    made = CompactSet()
    numbers = [number * step % 2**64 for number in range(20_000)]

    assert all(made.add(number) for number in numbers)
    assert not any(made.add(number) for number in numbers)
    assert len(made) == 20_000
    assert not any(number + 1 in made for number in numbers if step % 2**10 == 0)


def test_add__takes_little_memory() -> None:
    """A number takes 24 bytes at most: a slot of 8, of which a third at least is filled."""
    made = CompactSet()
    for number in range(100_000):
        made.add(number)

    assert len(made._slots) * made._slots.itemsize <= 24 * 100_000


@given(pages=st.lists(st.lists(st.integers(0, 30).map(str), max_size=12), max_size=12))
def test_add_texts__as_a_set(pages: list[list[str]]) -> None:
    """Texts are new once, within a page as over several."""
    made = CompactSet()
    seen: list[str] = []

    for page in pages:
        assert made.add_texts(page) == [
            text not in [*seen, *page[:place]] for place, text in enumerate(page)
        ]
        seen += page


def test_add_texts__when_many() -> None:
    """The same beyond what is kept as a set."""
    made = CompactSet()
    pages = [[f"course:{page}_{number}" for number in range(10)] for page in range(500)]

    assert all(all(made.add_texts(page)) for page in pages)
    assert not any(any(made.add_texts(page)) for page in pages)
    assert made.add_texts(["course:1_1", "new", "new"]) == [False, True, False]


@given(user_ids=st.lists(USER_IDS, max_size=50))
def test_user_ids__exact(user_ids: list[str]) -> None:
    """No id is taken for another: 007 is not 7, and 20 digits are told apart to the last."""
    made = UserIds()

    assert [made.add(user_id) for user_id in user_ids] == [
        user_id not in user_ids[:place] for place, user_id in enumerate(user_ids)
    ]
    assert len(made) == len(set(user_ids))
    assert all(user_id in made for user_id in user_ids)


@pytest.mark.parametrize(
    ("known", "other"),
    [
        ("7", "07"),
        ("0", "00"),
        ("18446744073709551616", "0"),
        ("18446744073709551617", "1"),
        ("99999999999999999999", "9999999999999999999"),
        ("07", "7"),
    ],
)
def test_user_ids__look_alike(known: str, other: str) -> None:
    """Ids that are one number to 64 bits are two ids, though there be many."""
    made = UserIds()
    for user_id in range(1_000_000, 1_002_000):
        made.add(str(user_id))
    made.add(known)

    assert (known in made, other in made) == (True, False)
    assert made.add(other) is True
