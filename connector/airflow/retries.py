"""A retry policy, for Airflow 3.3 and later: retry what can succeed, and when ALM said so."""

from __future__ import annotations

import contextlib
import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import XCOM_RETURN_KEY, RetryDecision, RetryPolicy

from connector.airflow.failures import is_retryable, retry_at

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

_MESSAGE = re.compile(r"alm-enrollments: .*\n")


class AlmRetryPolicy(RetryPolicy):
    """The ``retry_policy`` of a DockerOperator, a KubernetesPodOperator or one of our operators.

    The document says what failed. It is the last line of a container's logs that is one, or the
    XCom of a pod or of our operators. Without it, the task's own settings apply.
    """

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,  # noqa: ARG002 - the task's own setting limits the tries
        max_tries: int,  # noqa: ARG002 - the same
        context: Context | None = None,
    ) -> RetryDecision:
        """Decide whether and when to retry after *exception*."""
        document = _document_in_logs(exception) or _document_in_xcom(context)
        if document is None:
            return RetryDecision.default()
        error = document["error"]
        reason = f"exit code {error['code']}: {error['message']}"
        if not is_retryable(document):
            return RetryDecision.fail(reason)
        delay = None
        if moment := retry_at(document):
            delay = max(moment - datetime.now(UTC), timedelta())
        return RetryDecision.retry(delay, reason)


def _document_in_logs(exception: BaseException) -> dict[str, Any] | None:
    """Return the document in the container's lines, which DockerOperator's exception has."""
    lines = getattr(exception, "logs", None)
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        return None
    # Docker mixes both streams as they come: a message may interrupt the document.
    without_messages = _MESSAGE.sub("", "".join(f"{line}\n" for line in lines)).splitlines()
    for line in (*reversed(lines), *reversed(without_messages)):
        with contextlib.suppress(ValueError):
            if document := _as_failed_document(json.loads(line)):
                return document
    return None


def _document_in_xcom(context: Context | None) -> dict[str, Any] | None:
    """Return the document that the task pushed before it failed."""
    if context is None:
        return None
    task = context["ti"]
    return _as_failed_document(
        task.xcom_pull(task_ids=task.task_id, key=XCOM_RETURN_KEY, map_indexes=task.map_index)
    )


def _as_failed_document(value: object) -> dict[str, Any] | None:
    if isinstance(value, dict) and isinstance(value.get("error"), dict) and "users" in value:
        return value
    return None
