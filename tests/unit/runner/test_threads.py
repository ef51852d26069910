"""Several things at once: results, failures, and stopping."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING

import pytest

from connector.runner.threads import as_finished

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.mark.parametrize("concurrency", [1, 2, 8, 32])
def test_as_finished__results_with_their_places(concurrency: int) -> None:
    """Every item's result comes once, with the item's place, however many are worked on at once."""
    results = list(as_finished(lambda item: item * item, range(50), concurrency=concurrency))

    assert sorted(results) == [(item, item * item) for item in range(50)]


def test_as_finished__really_at_once() -> None:
    """As many items as allowed are under way together: each waits here for all the others."""
    together = threading.Barrier(4, timeout=10)

    results = list(as_finished(lambda _: together.wait() >= 0, range(4), concurrency=4))

    assert [result for _, result in results] == [True] * 4


@pytest.mark.parametrize("concurrency", [1, 4])
def test_as_finished__raises_what_the_work_raised(concurrency: int) -> None:
    """A failure of the work is raised to who asks for the results."""
    with pytest.raises(ZeroDivisionError):
        list(as_finished(lambda item: 6 // (3 - item), range(8), concurrency=concurrency))


def test_as_finished__raises_what_the_items_raised() -> None:
    """A failure of what the items come from is raised to who asks for the results."""

    def items() -> Iterator[int]:
        yield 1
        raise LookupError("no more of them")

    with pytest.raises(LookupError, match="no more of them"):
        list(as_finished(lambda item: item, items(), concurrency=3))


@pytest.mark.parametrize("concurrency", [1, 3])
def test_as_finished__asks_for_items_as_it_goes(concurrency: int) -> None:
    """Items are asked for when there is room for them: of an endless line only a few stand in memory."""
    asked = itertools.count()

    made = as_finished(lambda item: item, asked, concurrency=concurrency)
    first = [next(made) for _ in range(10)]
    made.close()

    assert len(first) == 10
    assert next(asked) <= 10 + 2 * concurrency + 1


def test_as_finished__idle_is_called_while_nothing_comes() -> None:
    """While a result takes its time, who waits is given a sign of life."""
    calls: list[int] = []
    never = threading.Event()

    list(
        as_finished(
            lambda _: never.wait(1.2), range(1), concurrency=1, idle=lambda: calls.append(1)
        )
    )

    assert len(calls) >= 2


@pytest.mark.parametrize("concurrency", [1, 4])
def test_as_finished__stops_where_the_caller_does(concurrency: int) -> None:
    """Items that were not begun when the caller stopped asking are left alone."""
    begun: list[int] = []
    held = threading.Event()

    def work(item: int) -> int:
        begun.append(item)
        if item >= 4:
            held.wait(10)
        return item

    made = as_finished(work, range(1000), concurrency=concurrency)
    next(made)
    made.close()
    held.set()

    assert len(begun) <= 2 * 4


def test_as_finished__a_timeout_of_the_work_is_its_own() -> None:
    """A TimeoutError that the work raises is not mistaken for the wait's."""

    def work(_: int) -> int:
        raise TimeoutError("the work's own")

    with pytest.raises(TimeoutError, match="the work's own"):
        list(as_finished(work, range(3), concurrency=3))


def test_as_finished__longer_than_one_wait() -> None:
    """Work that takes longer than a single wait for it is waited for again."""
    never = threading.Event()

    assert sorted(as_finished(lambda _: never.wait(0.7), range(2), concurrency=2)) == [
        (0, False),
        (1, False),
    ]


@pytest.mark.parametrize("concurrency", [1, 4])
def test_as_finished__ends_behind_the_last(concurrency: int) -> None:
    """The result that is the last is the last that comes, and next to nothing behind it is begun."""
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        return item

    results = list(
        as_finished(work, range(1000), concurrency=concurrency, is_last=lambda result: result == 5)
    )

    assert results[-1] == (5, 5)
    assert len(begun) < 1000
