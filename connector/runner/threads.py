"""Several things at once, results as they finish. Knows nothing of what the things are."""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

Item = TypeVar("Item")
Result = TypeVar("Result")
# A wait without an end could not be interrupted on Windows.
_LONGEST_WAIT_SECONDS = 0.5


class _Ended(NamedTuple):
    """A thread has nothing more to do, or has failed."""

    error: BaseException | None


class _Crew(Generic[Item, Result]):
    """The threads, what they take from, and where they hand over."""

    def __init__(
        self, work: Callable[[Item], Result], items: Iterable[Item], concurrency: int
    ) -> None:
        self._work = work
        self._waiting = enumerate(items)
        self._taking = threading.Lock()
        self.finished: queue.Queue[tuple[int, Result] | _Ended] = queue.Queue(maxsize=concurrency)
        self.stopped = threading.Event()

    def serve(self) -> None:
        """Work until nothing is left, or nothing more is wanted."""
        try:
            while not self.stopped.is_set() and (taken := self._take()):
                self._hand_over((taken[0], self._work(taken[1])))
        except BaseException as error:  # noqa: BLE001 - not caught but handed over to the thread that asks for the results
            self._hand_over(_Ended(error))
        else:
            self._hand_over(_Ended(None))

    def _take(self) -> tuple[int, Item] | None:
        with self._taking:
            return next(self._waiting, None)

    def _hand_over(self, what: tuple[int, Result] | _Ended) -> None:
        while not self.stopped.is_set():
            with contextlib.suppress(queue.Full):
                self.finished.put(what, timeout=_LONGEST_WAIT_SECONDS)
                return


def as_finished(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    concurrency: int,
    is_last: Callable[[Result], bool] = lambda _: False,
    idle: Callable[[], None] = lambda: None,
) -> Generator[tuple[int, Result]]:
    """Yield the place of each of *items* with what *work* makes of it, as they finish, *concurrency* of them at once.

    *items* are asked for one at a time, when a thread is free, and threads that have
    finished wait while the caller is behind. What *work* or *items* raise is raised
    here. Behind a result that *is_last*, or where the caller stops asking, nothing
    more is begun. While there is nothing to yield, *idle* is called now and then. The
    threads are daemons: a signal that ends the caller's wait ends the process.
    """
    crew = _Crew(work, items, concurrency)
    for _ in range(concurrency):
        threading.Thread(target=crew.serve, daemon=True).start()
    serving = concurrency
    try:
        while serving:
            try:
                one = crew.finished.get(timeout=_LONGEST_WAIT_SECONDS)
            except queue.Empty:
                idle()
                continue
            if not isinstance(one, _Ended):
                yield one
                if is_last(one[1]):
                    return
            elif one.error:
                raise one.error
            else:
                serving -= 1
    finally:
        crew.stopped.set()
