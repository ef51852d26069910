"""Signals are raised, deferred, and restored."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import pytest

from connector.signals import deferred

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType


class StruckError(Exception):
    """What the signal's handler raises here."""


@pytest.fixture
def strike() -> Iterator[Callable[[signal.Signals], None]]:
    """Return what sends this process a signal, each of which raises StruckError."""

    def raise_it(number: int, _: FrameType | None) -> None:
        raise StruckError(number)

    before = {number: signal.signal(number, raise_it) for number in (signal.SIGINT, signal.SIGTERM)}
    yield signal.raise_signal
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_deferred__a_signal_strikes_behind_it(
    number: signal.Signals, strike: Callable[[signal.Signals], None]
) -> None:
    """What a signal raises inside is raised when all that is inside was done, and signals strike as before then."""
    done: list[str] = []

    def work() -> None:
        with deferred():
            strike(number)
            done.append("all of it")

    with pytest.raises(StruckError):
        work()

    assert done == ["all of it"]
    with pytest.raises(StruckError):
        strike(number)


def test_deferred__without_a_signal(strike: Callable[[signal.Signals], None]) -> None:
    """Where no signal comes nothing is raised, and one that comes later strikes."""
    with deferred():
        pass

    with pytest.raises(StruckError):
        strike(signal.SIGTERM)


def test_deferred__a_failure_inside_is_raised(strike: Callable[[signal.Signals], None]) -> None:
    """A failure inside is raised as it is, and signals strike as before."""
    with pytest.raises(LookupError), deferred():
        raise LookupError

    with pytest.raises(StruckError):
        strike(signal.SIGINT)


def test_deferred__ignored_signals_stay_ignored() -> None:
    """A signal that whoever started the run has it ignore is ignored inside as well."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    with deferred():
        inside = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, before)

    assert inside is signal.SIG_IGN


def test_deferred__in_another_thread() -> None:
    """In a thread that no signal strikes it does nothing."""
    done: list[int] = []

    def work() -> None:
        with deferred():
            done.append(1)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert done == [1]
