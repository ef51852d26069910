"""Fixtures of all unit tests, and hypothesis without randomness or a database."""

from __future__ import annotations

import pytest
from hypothesis import settings

from tests.support.clock import VirtualClock

settings.register_profile("unit", deadline=None, derandomize=True, database=None)
settings.load_profile("unit")


@pytest.fixture
def clock() -> VirtualClock:
    """Return a clock that jumps ahead instead of waiting."""
    return VirtualClock()
