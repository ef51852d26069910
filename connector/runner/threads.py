"""Run a function over items in threads; results as they finish."""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

Item = TypeVar("Item")
Result = TypeVar("Result")
# A wait without an end cannot be interrupted on Windows.
_MAX_WAIT_SECONDS = 0.5


class _Ended(NamedTuple):
    """A thread has nothing more to do, or has failed."""

    error: BaseException | None


class _Workers(Generic[Item, Result]):
    """The threads, the items that they take, and the queue of their results."""

    def __init__(
        self, work: Callable[[Item], Result], items: Iterable[Item], concurrency: int
    ) -> None:
        self._work = work
        self._items = enumerate(items)
        self._lock = threading.Lock()
        # Bounded: threads wait while the caller is behind.
        self.results: queue.Queue[tuple[int, Result] | _Ended] = queue.Queue(maxsize=concurrency)
        self.stopped = threading.Event()

    def run(self) -> None:
        """Work until no item is left, or no more results are wanted."""
        try:
            while not self.stopped.is_set() and (item := self._next_item()):
                self._put((item[0], self._work(item[1])))
        except BaseException as error:  # noqa: BLE001 - raised in the thread that takes the results
            self._put(_Ended(error))
        else:
            self._put(_Ended(None))

    def _next_item(self) -> tuple[int, Item] | None:
        with self._lock:
            return next(self._items, None)

    def _put(self, result: tuple[int, Result] | _Ended) -> None:
        while not self.stopped.is_set():
            with contextlib.suppress(queue.Full):
                self.results.put(result, timeout=_MAX_WAIT_SECONDS)
                return


def as_finished(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    concurrency: int,
    is_last: Callable[[Result], bool] = lambda _: False,
    idle: Callable[[], None] = lambda: None,
) -> Generator[tuple[int, Result]]:
    """Yield the place of each of *items* with the result of *work* on it, as they finish.

    *concurrency* threads take one item at a time. What *work* or *items* raise is raised here.
    After a result that *is_last*, or when the caller stops, no further item is taken. *idle* is
    called now and then while no result is ready. The threads are daemons: they do not keep the
    process from ending.
    """
    workers = _Workers(work, items, concurrency)
    for _ in range(concurrency):
        threading.Thread(target=workers.run, daemon=True).start()
    running = concurrency
    try:
        while running:
            try:
                result = workers.results.get(timeout=_MAX_WAIT_SECONDS)
            except queue.Empty:
                idle()
                continue
            if not isinstance(result, _Ended):
                yield result
                if is_last(result[1]):
                    return
            elif result.error:
                raise result.error
            else:
                running -= 1
    finally:
        workers.stopped.set()
