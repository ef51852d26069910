"""Inputs for tests: those of the schema, with defaults, from values only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from connector.redact import Redactor
from connector.settings import load_given

if TYPE_CHECKING:
    from connector.settings import Inputs


def inputs_of(**values: Any) -> Inputs:
    """Return valid inputs for user 31 of the sandbox, except for *values*."""
    inputs, _ = load_given({"user_id": "31", "base_url": "sandbox", **values}, Redactor())
    return inputs
