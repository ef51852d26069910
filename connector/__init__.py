"""Read every enrollment of Adobe Learning Manager (ALM) learners, or report what is missing.

``connector.run(user_id="20941371") -> dict`` returns the document that the command
``alm-enrollments`` prints, or raises one of the errors below. ``connector.diff(old, new) -> dict``
compares two output files.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

from connector.errors import (
    AuthenticationError,
    ConnectorError,
    OutputError,
    PartialError,
    ProtocolError,
    TemporaryError,
    UnreachableError,
    UsageError,
    UserNotFoundError,
)

if TYPE_CHECKING:
    from connector.output.diff import diff
    from connector.runner import run

__version__ = "0.1.0"
__all__ = [
    "AuthenticationError",
    "ConnectorError",
    "OutputError",
    "PartialError",
    "ProtocolError",
    "TemporaryError",
    "UnreachableError",
    "UsageError",
    "UserNotFoundError",
    "__version__",
    "diff",
    "run",
]
_FUNCTIONS = {"diff": "connector.output.diff", "run": "connector.runner"}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the module's own attributes
    """Import a function when it is first used: ``alm-enrollments --help`` needs none of it."""
    if name not in _FUNCTIONS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_FUNCTIONS[name]), name)


def __dir__() -> list[str]:
    """Return the functions too that are imported when they are first used."""
    return sorted({*globals(), *__all__})


# A library prints nothing by itself; without this handler, Python prints its warnings.
logging.getLogger(__name__).addHandler(logging.NullHandler())
