"""Fixtures for the tests of every channel."""

from __future__ import annotations

import pytest

from tests.unit.channels.examples import Stderr


@pytest.fixture
def stderr() -> Stderr:
    """Return a standard error that keeps its lines."""
    return Stderr()
