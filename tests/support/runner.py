"""Run the connector in this process, without the command, on a virtual clock."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from connector.redact import Redactor
from connector.runner import Outcome, execute
from connector.settings import load_given
from tests.support.clock import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from connector.clock import Clock


@dataclass(frozen=True, slots=True)
class Ran:
    """The outcome of a run, and the waits on its virtual clock."""

    outcome: Outcome
    slept: list[float]

    @property
    def document(self) -> dict[str, Any]:
        """The output document."""
        return self.outcome.document

    @property
    def code(self) -> int:
        """The exit code of the command."""
        return self.outcome.error.code if self.outcome.error else 0


def run_inputs(values: Mapping[str, Any], clock: Clock | None = None) -> Ran:
    """Run with *values*, inputs and credentials by name, and with no other source.

    These tests call the settings and the runner nowhere else.
    """
    virtual, redactor = VirtualClock(), Redactor()
    inputs, credentials = load_given(values, redactor)
    outcome = execute(inputs, credentials, redactor, clock=clock or virtual, stdin=io.StringIO())
    return Ran(outcome, virtual.slept)
