"""An environment without variables of ours, in which a test sets its own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping


class SetVariables(Protocol):
    """Sets variables of the environment for one test."""

    def __call__(self, variables: Mapping[str, str]) -> None:
        """Set them."""
        ...


@pytest.fixture(autouse=True)
def set_variables(monkeypatch: pytest.MonkeyPatch) -> SetVariables:
    """Remove every ALM_ variable of this machine, and return what sets others."""
    for name in [name for name in os.environ if name.upper().startswith("ALM_")]:
        monkeypatch.delenv(name)

    def set_each(variables: Mapping[str, str]) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_each
