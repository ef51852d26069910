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
    from collections.abc import Mapping, Sequence
    from datetime import date
    from os import PathLike

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


def run(  # noqa: PLR0913 - editors complete the inputs from here
    *,
    user_id: str | int | Sequence[str | int] | None = None,
    user_email: str | Sequence[str] | None = None,
    user_ids_file: str | PathLike[str] | None = None,
    lo_types: str | Sequence[str] | None = None,
    sort: str | None = None,
    state: str | None = None,
    include: str | Sequence[str] | None = None,
    names: bool | None = None,
    locale: str | None = None,
    query: str | Sequence[str] | None = None,
    page_limit: int | None = None,
    max_enrollments: int | None = None,
    since: str | date | None = None,
    completed_since: str | date | None = None,
    base_url: str | None = None,
    deadline: float | None = None,
    allow_incomplete: bool | None = None,
    concurrency: int | None = None,
    prefetch: bool | None = None,
    quota_share: float | None = None,
    shard: str | None = None,
    format: str | None = None,  # noqa: A002 - the input's name
    columns: str | Sequence[str] | None = None,
    output_file: str | PathLike[str] | None = None,
    resume: bool | None = None,
    env_file: str | PathLike[str] | None = None,
    **unknown: Any,  # noqa: ANN401 - reported with the other problems, and suggestions
) -> Document:
    """Read every enrollment of ALM users and return the document that the command prints.

    ``None`` means "not given": the input comes from the environment (``ALM_…``), *env_file*, or
    has the default that ``schemas/inputs.schema.json`` describes. Credentials come from there or
    from ``/run/secrets`` only. Prints nothing; logs to the logger ``connector``.

    Raises the ConnectorError that the command would exit with. Its ``document`` has what could be
    read all the same (after a PartialError).
    """
    parameters = locals()
    inputs = {name: value for name, value in parameters.items() if name != "unknown"}
    redactor = Redactor()
    return _document_of(*settings.load({**inputs, **unknown}, redactor), redactor)


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
