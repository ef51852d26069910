"""A function in several threads: results as they finish, errors, and an early end."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING

import pytest

from connector.runner.threads import as_finished

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.mark.parametrize("concurrency", [1, 2, 32])
def test_as_finished__results_with_their_places(concurrency: int) -> None:
    """Each item has one result with its place, whatever the number of threads."""
    results = list(as_finished(lambda item: item * item, range(50), concurrency=concurrency))

    assert sorted(results) == [(item, item * item) for item in range(50)]


def test_as_finished__at_the_same_time() -> None:
    """As many items as allowed are worked on together: here each waits for all others."""
    barrier = threading.Barrier(4, timeout=10)

    results = list(as_finished(lambda _: barrier.wait() >= 0, range(4), concurrency=4))

    assert [result for _, result in results] == [True] * 4


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("error", [ZeroDivisionError("the work's"), TimeoutError("the work's")])
def test_as_finished__raises_what_the_work_raises(concurrency: int, error: Exception) -> None:
    """An error of the work is raised to the caller as it is."""

    def work(item: int) -> int:
        if item == 3:
            raise error
        return item

    with pytest.raises(type(error), match="the work's"):
        list(as_finished(work, range(8), concurrency=concurrency))


def test_as_finished__raises_what_the_items_raise() -> None:
    """An error of the iterator of items is raised to the caller as it is."""

    def items() -> Iterator[int]:
        yield 1
        raise LookupError("no more of them")

    with pytest.raises(LookupError, match="no more of them"):
        list(as_finished(lambda item: item, items(), concurrency=3))


@pytest.mark.parametrize("concurrency", [1, 3])
def test_as_finished__takes_items_as_it_goes(concurrency: int) -> None:
    """Items are taken when there is a thread for them, so an endless iterator is no problem."""
    items = itertools.count()

    results = as_finished(lambda item: item, items, concurrency=concurrency)
    first = [next(results) for _ in range(10)]
    results.close()

    assert len(first) == 10
    assert next(items) <= 10 + 2 * concurrency + 1


def test_as_finished__idle() -> None:
    """While a result takes longer than one wait, *idle* is called again and again."""
    calls: list[int] = []
    is_enough = threading.Event()

    def idle() -> None:
        calls.append(1)
        if len(calls) == 2:
            is_enough.set()

    results = list(as_finished(lambda _: is_enough.wait(60), range(2), concurrency=2, idle=idle))

    assert sorted(results) == [(0, True), (1, True)]
    assert len(calls) >= 2


@pytest.mark.parametrize("concurrency", [1, 4])
def test_as_finished__ends_when_the_caller_stops(concurrency: int) -> None:
    """When the caller stops, no further item is taken, and the threads end."""
    begun: list[int] = []
    has_stopped = threading.Event()
    others = set(threading.enumerate())

    def work(item: int) -> int:
        begun.append(item)
        if item >= 4:
            has_stopped.wait(10)
        return item

    results = as_finished(work, range(1000), concurrency=concurrency)
    next(results)
    workers = set(threading.enumerate()) - others
    results.close()
    has_stopped.set()
    for worker in workers:
        worker.join(60)

    assert len(begun) <= 2 * 4
    assert [worker for worker in workers if worker.is_alive()] == []


@pytest.mark.parametrize("concurrency", [1, 4])
def test_as_finished__ends_with_the_last_result(concurrency: int) -> None:
    """The result that *is_last* is the last one, and few further items are begun."""
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        return item

    results = list(
        as_finished(work, range(1000), concurrency=concurrency, is_last=lambda result: result == 5)
    )

    assert results[-1] == (5, 5)
    assert len(begun) < 1000
