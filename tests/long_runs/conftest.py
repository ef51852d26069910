"""Runs of hours in seconds: against an ALM without a network, on clocks that jump."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest

import connector.alm.client
from connector.redact import Redactor
from connector.runner import NO_HOOKS, Outcome, RunHooks, execute
from connector.settings import load_given

if TYPE_CHECKING:
    from typing import TextIO

    from tests.support.alm import FakeAlm


class Run:
    """Run the connector against an ALM of the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def __call__(
        self,
        alm: FakeAlm,
        *,
        stdin: TextIO | None = None,
        hooks: RunHooks = NO_HOOKS,
        **inputs: Any,
    ) -> Outcome:
        """Return the outcome of a run with *inputs*; the connector's own transport is not used."""
        self._monkeypatch.setattr(connector.alm.client, "Transport", alm.transport)
        values = {"base_url": "https://alm.example", "access_token": "a-token-0042", **inputs}
        redactor = Redactor()
        loaded, credentials = load_given(values, redactor)
        return execute(
            loaded,
            credentials,
            redactor,
            clock=alm.clock,
            stdin=stdin or io.StringIO(),
            hooks=hooks,
        )


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs the connector."""
    return Run(monkeypatch)
