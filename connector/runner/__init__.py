"""Users to results. ``run`` is the Python interface, ``execute`` what every interface calls."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

from connector import settings
from connector.clock import SystemClock
from connector.redact import Redactor
from connector.runner.all_users import NO_HOOKS, Outcome, Progress, RunHooks, execute
from connector.runner.connection import warnings_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from connector.output.document import Document

__all__ = [
    "NO_HOOKS",
    "Outcome",
    "Progress",
    "RunHooks",
    "execute",
    "run",
    "run_given",
    "warnings_of",
]
_log = logging.getLogger(__name__)


def run(**inputs: Any) -> Document:  # noqa: ANN401 - the inputs schema validates whatever is passed
    """Return the document that the command prints, for the inputs of the inputs schema by name.

    An input that is not passed comes from the environment (``ALM_…``); credentials come from
    there or from ``/run/secrets`` only. Prints nothing; logs to the logger ``connector``.

    Raises the ConnectorError that the command would exit with. Its ``document`` has what could be
    read all the same (after a PartialError).
    """
    redactor = Redactor()
    return _document_of(*settings.load(inputs, redactor), redactor)


def run_given(values: Mapping[str, Any]) -> Document:
    """Do what ``run`` does with the inputs and credentials in *values* only.

    Neither the environment nor ``/run/secrets`` takes part. Raises as ``run`` does.
    """
    redactor = Redactor()
    return _document_of(*settings.load_given(values, redactor), redactor)


def _document_of(
    inputs: settings.Inputs, credentials: settings.Credentials, redactor: Redactor
) -> Document:
    for text in warnings_of(inputs.base_url, credentials):
        _log.warning("%s", text)
    outcome = execute(inputs, credentials, redactor, clock=SystemClock(), stdin=sys.stdin)
    if outcome.error:
        raise outcome.error.replaced(document=outcome.document)
    return outcome.document
