"""What every test of a channel may ask for."""

from __future__ import annotations

import pytest

from tests.unit.channels.made import Stderr


@pytest.fixture
def stderr() -> Stderr:
    """Return a standard error that keeps what it is told."""
    return Stderr()
