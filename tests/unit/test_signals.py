"""Signals are raised, deferred, delivered and restored; ignored ones stay ignored."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from connector.errors import InterruptedRun, UsageError
from connector.signals import call_on_first, check, deferred, end_process, raised

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class ArrivedError(Exception):
    """Raised by the handler that the tests' process has for both signals."""


@pytest.fixture(autouse=True)
def handler() -> Iterator[Callable[..., None]]:
    """Return the process's handler, and restore what was there before."""

    def handle(number: int, _frame: FrameType | None) -> None:
        raise ArrivedError(number)

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    yield handle
    for number, previous in before.items():
        signal.signal(number, previous)


def handlers() -> list[object]:
    """Return the present handlers of both signals."""
    return [signal.getsignal(number) for number in SIGNALS]


@pytest.mark.parametrize("number", SIGNALS)
def test_raised__raises_inside_and_restores(
    number: signal.Signals, handler: Callable[..., None]
) -> None:
    """Inside, a signal raises InterruptedRun; afterwards the handlers are those of before."""
    with pytest.raises(InterruptedRun) as caught, raised():
        signal.raise_signal(number)

    assert caught.value.code == 128 + number
    assert handlers() == [handler, handler]


def lose(number: signal.Signals) -> None:
    """Send the process a signal whose exception is lost."""
    with contextlib.suppress(InterruptedRun):
        signal.raise_signal(number)


def end_with(number: signal.Signals | None, error: BaseException | None) -> None:
    """Receive a signal whose exception is lost, and raise *error*, or what a check raises."""
    with raised():
        check()
        if number:
            lose(number)
        if error:
            raise error
        check()


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("error", [None, LookupError()])
def test_raised__lost_exception(number: signal.Signals, error: Exception | None) -> None:
    """If a library loses the exception, or raises another, the check or the end raises it."""
    with pytest.raises(InterruptedRun) as caught:
        end_with(number, error)

    assert (caught.value.code, caught.value.__cause__) == (128 + number, error)
    # Outside, no signal is left.
    check()


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (None, LookupError()),
        (signal.SIGTERM, UsageError("m", hint="h")),
        (signal.SIGTERM, SystemExit()),
    ],
)
def test_raised__other_errors(number: signal.Signals | None, error: BaseException) -> None:
    """Other errors pass without a signal; those of the connector, which explain more, always."""
    with pytest.raises(type(error)) as caught:
        end_with(number, error)

    assert caught.value is error


def test_check__in_another_thread() -> None:
    """A check in another thread does nothing: signals are the main thread's."""
    errors: list[BaseException] = []

    def work() -> None:
        try:
            check()
        except InterruptedRun as error:
            errors.append(error)

    with raised():
        lose(signal.SIGTERM)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    assert errors == []


@pytest.mark.parametrize("number", SIGNALS)
def test_deferred__delivers_after_the_block(
    number: signal.Signals, handler: Callable[..., None]
) -> None:
    """A signal that arrives inside is delivered to the handler of before when the block is done."""
    done: list[str] = []

    def work() -> None:
        with deferred():
            signal.raise_signal(number)
            done.append("all of it")
        done.append("more")

    with pytest.raises(ArrivedError):
        work()

    assert done == ["all of it"]
    assert handlers() == [handler, handler]


def test_deferred__inside_raised() -> None:
    """A run's own interruption waits for the end of the block, too."""
    done: list[str] = []

    def work() -> None:
        with raised(), deferred():
            signal.raise_signal(signal.SIGTERM)
            done.append("all of it")

    with pytest.raises(InterruptedRun):
        work()

    assert done == ["all of it"]


def test_deferred__an_error_inside(handler: Callable[..., None]) -> None:
    """An error inside is raised as it is, and the handlers are restored."""
    with pytest.raises(LookupError), deferred():
        raise LookupError

    assert handlers() == [handler, handler]


@pytest.mark.parametrize("context", [raised, deferred])
def test_contexts__ignored_signals_stay_ignored(
    context: Callable[[], AbstractContextManager[None]], handler: Callable[..., None]
) -> None:
    """A signal that the parent process has set to be ignored is ignored inside, too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    with context():
        inside = handlers()

    assert inside[0] is signal.SIG_IGN
    assert inside[1] is not handler
    assert handlers() == [signal.SIG_IGN, handler]


@pytest.mark.parametrize("context", [raised, deferred])
def test_contexts__do_nothing_in_other_threads(
    context: Callable[[], AbstractContextManager[None]], handler: Callable[..., None]
) -> None:
    """In a thread that may not set handlers the block simply runs."""
    inside: list[object] = []

    def work() -> None:
        with context():
            inside.extend(handlers())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert inside == [handler, handler]


def test_call_on_first__the_second_ends_the_process() -> None:
    """The first signal calls *stop*; a second one of the same kind has its default effect."""
    stops: list[str] = []

    call_on_first(lambda: stops.append("stop"))
    signal.raise_signal(signal.SIGTERM)
    after_first = handlers()
    signal.raise_signal(signal.SIGINT)

    assert stops == ["stop", "stop"]
    assert callable(after_first[0])
    assert after_first[1] is signal.SIG_DFL


@pytest.mark.parametrize("ignored", [(), SIGNALS])
def test_end_process__has_the_default_effect(ignored: tuple[signal.Signals, ...]) -> None:
    """Signals end the process without a traceback, unless they are ignored."""
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)

    end_process()

    assert handlers() == [signal.SIG_IGN if ignored else signal.SIG_DFL] * 2


@pytest.mark.parametrize("number", SIGNALS)
def test_end_process__of_a_container(number: signal.Signals) -> None:
    """A container's first process, to which signals have no default effect, ends as well."""
    script = (
        "import os, signal\n"
        "os.getpid = lambda: 1\n"
        "from connector import signals\n"
        "signals.end_process()\n"
        f"signal.raise_signal({int(number)})\n"
        "print('still running')\n"
    )

    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)

    assert (ended.returncode, ended.stdout, ended.stderr) == (128 + number, b"", b"")
