"""Read every enrollment of Adobe Learning Manager (ALM) learners, or report what is missing.

``connector.run(user_id="20941371") -> dict`` returns the document that the command
``alm-enrollments`` prints, or raises one of the errors below.
"""

from __future__ import annotations

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
    "run",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the module's own attributes
    """Import ``run`` when it is first used: ``alm-enrollments --help`` needs none of it."""
    if name != "run":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from connector.runner import run  # noqa: PLC0415

    return run


# A library prints nothing by itself; without this handler, Python prints its warnings.
logging.getLogger(__name__).addHandler(logging.NullHandler())
