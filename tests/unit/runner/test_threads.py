"""A function in several threads: results as they finish, errors, and an early end."""

from __future__ import annotations

import itertools
import logging
import resource
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from connector.errors import TemporaryError
from connector.runner.threads import as_finished

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


linux = pytest.mark.skipif(sys.platform != "linux", reason="stacks are limited as on Linux")


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


def test_as_finished__in_daemons() -> None:
    """The threads are daemons, so that one that hangs does not keep the process from ending."""
    results = as_finished(lambda _: threading.current_thread().daemon, range(4), concurrency=2)

    assert [is_daemon for _, is_daemon in results] == [True] * 4


def test_as_finished__caller_that_is_behind() -> None:
    """Threads wait while the caller is behind: no result is lost, and they end with the caller."""
    others = set(threading.enumerate())
    results = as_finished(lambda item: item, itertools.count(), concurrency=1)
    taken = []
    for _ in range(3):
        taken.append(next(results))
        threading.Event().wait(0.25)
    workers = set(threading.enumerate()) - others
    results.close()
    for worker in workers:
        worker.join(10)

    assert taken == [(0, 0), (1, 1), (2, 2)]
    assert [worker.is_alive() for worker in workers] == [False]


@pytest.fixture
def stack_bytes() -> Iterator[Callable[[int], int]]:
    """Return a function that sets the stack of later threads."""
    size = threading.stack_size()
    yield threading.stack_size
    threading.stack_size(size)


@linux
def test_as_finished__no_thread(stack_bytes: Callable[[int], int]) -> None:
    """If the system starts no thread, the error names the limits, and another run may succeed."""
    stack_bytes(1 << 46)

    with pytest.raises(TemporaryError) as caught:
        list(as_finished(lambda item: item, range(8), concurrency=8))

    assert all(limit in caught.value.message for limit in ("ulimit -u", "pids.max", "ulimit -v"))
    assert caught.value.hint.startswith("Raise that limit, or end other processes")


@linux
def test_as_finished__few_threads(
    stack_bytes: Callable[[int], int], caplog: pytest.LogCaptureFixture
) -> None:
    """If the system starts fewer threads than asked for, those do the work, and a warning says so.

    Here there are addresses for one stack and a half.
    """
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    stack_bytes(1 << 32)
    addresses = pages * resource.getpagesize() + 3 * (1 << 31)
    is_started = threading.Event()
    results = as_finished(
        lambda item: is_started.wait(60) and item, range(8), concurrency=8, idle=is_started.set
    )
    resource.setrlimit(resource.RLIMIT_AS, (addresses, limits[1]))
    try:
        with caplog.at_level(logging.WARNING):
            taken = [next(results)]
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)

    assert sorted([*taken, *results]) == [(item, item) for item in range(8)]
    (warning,) = caplog.messages
    assert warning.startswith("only 1 of 8 threads can be started: a limit ")
    assert "ulimit -v" in warning


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


@pytest.mark.parametrize("repetition", range(20))
def test_as_finished__nothing_is_begun_after_the_last_result(repetition: int) -> None:
    """After the result that *is_last* no item is begun, however slowly results are taken."""
    begun: list[int] = []
    last = 5 + repetition % 3

    def work(item: int) -> int:
        begun.append(item)
        return item

    results = as_finished(
        work,
        range(1000),
        concurrency=1,
        is_last=lambda place, result: place == result == last,
    )
    taken = [next(results)]
    threading.Event().wait(0.001 * repetition)
    taken += results

    assert taken == [(item, item) for item in range(last + 1)]
    assert begun == list(range(last + 1))


def test_as_finished__item_that_comes_after_the_last_result() -> None:
    """A thread that waits for its next item when the last result comes does not begin it."""
    begun: list[int] = []
    is_waiting, is_over = threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        yield 0
        # A pipe that stays silent for a while.
        is_waiting.set()
        is_over.wait(60)
        yield 1

    def work(item: int) -> int:
        is_waiting.wait(60)
        begun.append(item)
        return item

    results = as_finished(work, items(), concurrency=2, is_last=lambda _place, result: result == 0)
    others = set(threading.enumerate())
    taken = list(results)
    waiting = set(threading.enumerate()) - others
    is_over.set()
    for thread in waiting:
        thread.join(60)

    assert (taken, begun) == ([(0, 0)], [0])
