"""Fixtures for the tests of the sandbox."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def documented() -> dict[str, Any]:
    """Return the page of Adobe's documented exchange."""
    page: dict[str, Any] = json.loads(
        (Path(__file__).parents[1] / "alm/documented_page.json").read_bytes()
    )
    return page
