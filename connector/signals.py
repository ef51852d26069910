"""SIGINT and SIGTERM: raise them as an exception, defer them, restore what they did before."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING, NoReturn

from connector.errors import ConnectorError, InterruptedRun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    Handler = Callable[[int, FrameType | None], object]

_SIGNALS: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM)
# Signals that have arrived inside ``raised``.
_arrived: list[int] = []


def end_process() -> None:
    """Let a signal end the process at once, without a traceback."""
    # The kernel does not deliver a signal without a handler to a container's first process
    # (pid_namespaces(7)).
    handler = _exit if os.getpid() == 1 else signal.SIG_DFL
    for number in _heeded():
        signal.signal(number, handler)


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Raise ``InterruptedRun`` inside when a signal arrives.

    Python and its libraries lose some exceptions, or raise others in their place: see ``check``.
    """
    if not _is_main_thread():
        yield
        return
    previous = {number: signal.signal(number, _interrupt) for number in _heeded()}
    try:
        yield
    except ConnectorError:
        raise
    except Exception as error:
        if _arrived:
            raise InterruptedRun(_arrived[0]) from error
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        _arrived.clear()


def check() -> None:
    """Raise ``InterruptedRun`` if a signal has arrived: call it now and then in what takes long."""
    if _arrived and _is_main_thread():
        raise InterruptedRun(_arrived[0])


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Keep signals out of the block, and deliver them after it."""
    if not _is_main_thread():
        yield
        return
    arrived: list[tuple[int, FrameType | None]] = []
    previous: dict[int, Handler] = {}
    try:
        for number in _SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler):
                previous[number] = handler
                signal.signal(number, lambda number, frame: arrived.append((number, frame)))
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    for number, frame in arrived:
        previous[number](number, frame)


def call_on_first(stop: Callable[[], None]) -> None:
    """Call *stop* on the first signal; a second one of the same kind ends the process."""

    def handle(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop()

    for number in _heeded():
        signal.signal(number, handle)


def _is_main_thread() -> bool:
    # Python runs signal handlers in the main thread only, and lets no other thread set them.
    return threading.current_thread() is threading.main_thread()


def _heeded() -> list[int]:
    # A signal that the parent process has set to be ignored stays ignored (nohup).
    return [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    _arrived.append(number)
    raise InterruptedRun(number)


def _exit(number: int, _frame: FrameType | None) -> NoReturn:
    os._exit(128 + number)
