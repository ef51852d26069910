"""Run a function over items in threads; results as they finish."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from connector.errors import TemporaryError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

Item = TypeVar("Item")
Result = TypeVar("Result")
# How often the caller's *idle* is called; on Windows, a wait without an end is not interrupted.
_MAX_WAIT_SECONDS = 0.1
_LIMITS = (
    "a limit on processes (ulimit -u, or pids.max of the container) or on memory (ulimit -v) is"
    " reached"
)
_log = logging.getLogger(__name__)


class _Finished(NamedTuple, Generic[Result]):
    """The result of one item; after the last one no further item is taken."""

    place: int
    result: Result
    is_last: bool


class _Ended(NamedTuple):
    """A thread has nothing more to do, or has failed."""

    error: BaseException | None


class _Workers(Generic[Item, Result]):
    """The threads, the items that they take, and the queue of their results."""

    def __init__(
        self,
        work: Callable[[Item], Result],
        items: Iterable[Item],
        concurrency: int,
        is_last: Callable[[int, Result], bool],
    ) -> None:
        self._work = work
        self._items = enumerate(items)
        self._is_last = is_last
        self._lock = threading.Lock()
        # Bounded: threads wait while the caller is behind.
        self.results: queue.Queue[_Finished[Result] | _Ended] = queue.Queue(maxsize=concurrency)
        #: No further item is wanted, and no further result.
        self.stopped = threading.Event()
        self.abandoned = threading.Event()

    def run(self) -> None:
        """Work until no item is left, or no more results are wanted."""
        try:
            while item := self._next_item():
                place, result = item[0], self._work(item[1])
                is_last = self._is_last(place, result)
                if is_last:
                    # Before anything else happens, so that no thread takes another item.
                    self.stopped.set()
                self._put(_Finished(place, result, is_last))
        except BaseException as error:  # noqa: BLE001 - raised in the thread that takes the results
            self._put(_Ended(error))
        else:
            self._put(_Ended(None))

    def _next_item(self) -> tuple[int, Item] | None:
        with self._lock:
            item = None if self.stopped.is_set() else next(self._items, None)
        # It may have come only after a long wait.
        return None if self.stopped.is_set() else item

    def _put(self, result: _Finished[Result] | _Ended) -> None:
        while not self.abandoned.is_set():
            with contextlib.suppress(queue.Full):
                self.results.put(result, timeout=_MAX_WAIT_SECONDS)
                return


def as_finished(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    concurrency: int,
    is_last: Callable[[int, Result], bool] = lambda _place, _result: False,
    idle: Callable[[], None] = lambda: None,
) -> Generator[tuple[int, Result]]:
    """Yield the place of each of *items* with the result of *work* on it, as they finish.

    *concurrency* threads take one item at a time. What *work* or *items* raise is raised here.
    After a result that *is_last*, or when the caller stops, no further item is taken; results that
    are ready by then are still yielded. *is_last* is called in the threads. *idle* is called now
    and then while no result is ready. The threads are daemons: they do not keep the process from
    ending. If the system starts fewer of them, those do the work; TemporaryError is raised without
    any.
    """
    workers = _Workers(work, items, concurrency, is_last)
    running = _start(workers.run, concurrency)
    try:
        has_last = False
        while running:
            try:
                result = workers.results.get(timeout=0 if has_last else _MAX_WAIT_SECONDS)
            except queue.Empty:
                if has_last:
                    return
                idle()
                continue
            if isinstance(result, _Finished):
                yield result.place, result.result
                has_last = has_last or result.is_last
            elif result.error:
                raise result.error
            else:
                running -= 1
    finally:
        workers.stopped.set()
        workers.abandoned.set()


def _start(run: Callable[[], None], count: int) -> int:
    """Start *count* threads, and return how many the system has started. Raises TemporaryError."""
    for started in range(count):
        try:
            threading.Thread(target=run, daemon=True).start()
        except RuntimeError as error:
            if not started:
                raise no_thread_error() from error
            _log.warning("only %d of %d threads can be started: %s", started, count, _LIMITS)
            return started
    return count


def no_thread_error() -> TemporaryError:
    """Return the error of a process that cannot start a thread that it needs."""
    return TemporaryError(
        f"The system cannot start another thread: {_LIMITS}.",
        hint="Raise that limit, or end other processes, and run again.",
    )
