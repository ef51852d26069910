"""Several things at once, results in order. Knows nothing of what the things are."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

Item = TypeVar("Item")
Result = TypeVar("Result")
# A wait without an end could not be interrupted on Windows.
_LONGEST_WAIT_SECONDS = 0.5


def in_order(
    work: Callable[[Item], Result], items: Sequence[Item], *, concurrency: int, is_last: Callable[[Result], bool] = lambda _: False
) -> Generator[Result]:
    """Yield what *work* makes of each of *items*, in their order, *concurrency* of them at once.

    What *work* raises is raised here. Behind a result that *is_last*, or where the
    caller stops asking, items not yet begun are left alone. The threads are daemons:
    a signal that ends the caller's wait ends the process, whatever they still wait for.
    """
    waiting = enumerate(items)
    done: dict[int, Future[Result]] = {}
    arrived, taking, stopped = threading.Condition(), threading.Lock(), threading.Event()

    def serve() -> None:
        while not stopped.is_set():
            with taking:
                number, item = next(waiting, (None, None))
            if number is None or item is None:
                return
            future: Future[Result] = Future()
            try:
                result = work(item)
                if is_last(result):
                    stopped.set()
                future.set_result(result)
            except BaseException as error:  # noqa: BLE001 - not caught but handed over to the thread that asks for the result
                future.set_exception(error)
            with arrived:
                done[number] = future
                arrived.notify_all()

    for _ in range(min(concurrency, len(items))):
        threading.Thread(target=serve, daemon=True).start()
    try:
        for number in range(len(items)):
            with arrived:
                while number not in done:
                    arrived.wait(_LONGEST_WAIT_SECONDS)
                result = done.pop(number).result()
            yield result
            # Every item before it was begun before it: none of those is missing here.
            if is_last(result):
                return
    finally:
        stopped.set()
