"""For Airflow 3.3 and later: what runs the container retries what can pass, at the moment that ALM named, and nothing else."""

from __future__ import annotations

import contextlib
import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import XCOM_RETURN_KEY, RetryDecision, RetryPolicy

from connector.airflow.failures import can_pass, retry_at

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

_MESSAGE = re.compile(r"alm-enrollments: .*\n")


class AlmRetryPolicy(RetryPolicy):
    """The ``retry_policy`` of a task that runs the connector, be it a DockerOperator, a KubernetesPodOperator or our own.

    The document tells what failed: it is the last of a container's lines that is one,
    and the XCom of a pod and of our own operators. Where it is not to be found, the
    task's own settings hold.
    """

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,  # noqa: ARG002 - how often is the task's own setting
        max_tries: int,  # noqa: ARG002 - the same
        context: Context | None = None,
    ) -> RetryDecision:
        """Return whether another try can mend *exception*, and how long it is to wait."""
        document = _printed(exception) or _pushed(context)
        if document is None:
            return RetryDecision.default()
        error = document["error"]
        reason = f"exit code {error['code']}: {error['message']}"
        if not can_pass(document):
            return RetryDecision.fail(reason)
        moment = retry_at(document)
        return RetryDecision.retry(
            max(moment - datetime.now(UTC), timedelta()) if moment else None, reason
        )


def _printed(exception: BaseException) -> dict[str, Any] | None:
    """Return the document of DockerOperator's exception, which has the container's lines."""
    lines = getattr(exception, "logs", None)
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        return None
    # An engine hands both streams on as it comes to them: a message may stand in the middle of the document.
    apart = _MESSAGE.sub("", "".join(f"{line}\n" for line in lines)).splitlines()
    for line in (*reversed(lines), *reversed(apart)):
        with contextlib.suppress(ValueError):
            if found := _failed(json.loads(line)):
                return found
    return None


def _pushed(context: Context | None) -> dict[str, Any] | None:
    """Return the document that the task has pushed before it failed."""
    if context is None:
        return None
    task = context["ti"]
    return _failed(
        task.xcom_pull(task_ids=task.task_id, key=XCOM_RETURN_KEY, map_indexes=task.map_index)
    )


def _failed(found: object) -> dict[str, Any] | None:
    return (
        found
        if isinstance(found, dict) and isinstance(found.get("error"), dict) and "users" in found
        else None
    )
