"""Several things at once: order, failures, and stopping."""

from __future__ import annotations

import threading
from itertools import islice

import pytest

from connector.threads import in_order


@pytest.mark.parametrize("concurrency", [1, 2, 8, 32])
def test_in_order__results_in_their_places(concurrency: int) -> None:
    """Every item's result comes once, in the items' order, however many are worked on at once."""
    results = list(in_order(lambda item: item * item, range(50), concurrency=concurrency))

    assert results == [item * item for item in range(50)]


def test_in_order__really_at_once() -> None:
    """As many items as allowed are under way together: each waits here for all the others."""
    together = threading.Barrier(4, timeout=10)

    results = list(in_order(lambda _: together.wait() >= 0, range(4), concurrency=4))

    assert results == [True] * 4


@pytest.mark.parametrize("concurrency", [1, 4])
def test_in_order__raises_what_the_work_raised(concurrency: int) -> None:
    """A failure comes out where its result would have, behind the results before it."""
    made = in_order(lambda item: 6 // (3 - item), range(8), concurrency=concurrency)

    assert list(islice(made, 3)) == [2, 3, 6]
    with pytest.raises(ZeroDivisionError):
        next(made)


@pytest.mark.parametrize("concurrency", [1, 4])
def test_in_order__stops_where_the_caller_does(concurrency: int) -> None:
    """Items that were not begun when the caller stopped asking are left alone."""
    begun: list[int] = []
    held = threading.Event()

    def work(item: int) -> int:
        begun.append(item)
        if item >= 4:
            held.wait(10)
        return item

    made = in_order(work, range(1000), concurrency=concurrency)
    next(made)
    made.close()
    held.set()

    assert len(begun) <= 2 * 4


def test_in_order__a_timeout_of_the_work_is_its_own() -> None:
    """A TimeoutError that the work raises is not mistaken for the wait's."""

    def work(_: int) -> int:
        raise TimeoutError("the work's own")

    with pytest.raises(TimeoutError, match="the work's own"):
        list(in_order(work, range(3), concurrency=3))


def test_in_order__longer_than_one_wait() -> None:
    """Work that takes longer than a single wait for it is waited for again."""
    never = threading.Event()

    assert list(in_order(lambda _: never.wait(0.7), range(2), concurrency=2)) == [False, False]


@pytest.mark.parametrize("concurrency", [1, 4])
def test_in_order__ends_behind_the_last(concurrency: int) -> None:
    """The result that is the last is the last that comes, and next to nothing behind it is begun."""
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        return item

    results = list(in_order(work, range(1000), concurrency=concurrency, is_last=lambda result: result == 5))

    assert results == [0, 1, 2, 3, 4, 5]
    assert len(begun) <= 6 + concurrency
