"""AlmRetryPolicy: whether and when a task is retried. For Airflow 3.3 and later."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import BaseOperator
from airflow.providers.docker.exceptions import DockerContainerFailedException

from connector.airflow.operators import AlmEnrollmentsOperator
from connector.airflow.retries import AlmRetryPolicy
from connector.channels.limits import fit_into_xcom

if TYPE_CHECKING:
    from .conftest import RunDag, StartServer


def failed_with(code: int, *user_codes: int, retry_at: str | None = None) -> dict[str, Any]:
    """Return what the policy reads of a failed run's document."""
    users = [{"user_id": "31", "error": {"code": user_code}} for user_code in user_codes]
    error = {"code": code, "message": "It failed.", "retry_at": retry_at}
    return {"error": error, "users": {"failed": users}}


REFUSED = json.dumps(failed_with(77))
BUSY = json.dumps(failed_with(75))


def test_policy__replaces_deferral(run_dag: RunDag, start_server: StartServer) -> None:
    """A task with a retry policy fails at once, and is retried when the policy says."""
    server = start_server("request=1:429/3.2")
    failures: list[tuple[datetime, dict[str, Any]]] = []

    def record_failure(context: Any) -> None:
        document = context["ti"].xcom_pull(task_ids="read", key="return_value")
        failures.append((datetime.now(UTC), document))

    def build() -> None:
        settings: dict[str, Any] = {"deadline": 3, "on_retry_callback": record_failure}
        AlmEnrollmentsOperator(
            task_id="read", user_id="20941371", retry_policy=AlmRetryPolicy(), **settings
        )

    result = run_dag(build, retries=1)

    assert (result.states, result.tries) == ({"read": "success"}, {"read": 2})
    ((failed_at, document),) = failures
    assert failed_at < datetime.fromisoformat(document["error"]["retry_at"]) <= server.times[1]


class Pod(BaseOperator):  # type: ignore[misc,unused-ignore] # without Airflow, its classes have no types
    """Pushes *document* and fails with an exception that has none, as KubernetesPodOperator."""

    def __init__(self, *, document: Any, **settings: Any) -> None:
        super().__init__(**settings)
        self.document = document

    def execute(self, context: Any) -> None:
        """Push, and fail."""
        if self.document is not None:
            context["ti"].xcom_push(key="return_value", value=self.document)
        raise RuntimeError("Pod returned a failure.")


def test_policy__by_the_xcom_of_a_pod(run_dag: RunDag) -> None:
    """A pod is retried if its own document says so; without one, the task's settings apply."""
    documents: dict[str, tuple[Any, int]] = {
        "refused": (failed_with(77), 1),
        "busy": (failed_with(75), 3),
        "some_unknown": (failed_with(65, 67, 76), 1),
        "some_busy": (failed_with(65, 67, 75), 3),
        "nothing_pushed": (None, 3),
        "without_error": ({"error": None, "users": {}}, 3),
        "text": ("the document is no text here", 3),
    }

    def build() -> None:
        for task_id, (document, _) in documents.items():
            Pod(task_id=task_id, document=document, retry_policy=AlmRetryPolicy())
        mapped = Pod.partial(task_id="mapped", retry_policy=AlmRetryPolicy())
        mapped.expand_kwargs([{"document": failed_with(75)}, {"document": failed_with(77)}])

    result = run_dag(build, retries=2)

    expected = {task_id: tries for task_id, (_, tries) in documents.items()}
    assert result.tries == {**expected, "mapped[0]": 3, "mapped[1]": 1}


@pytest.mark.parametrize(
    ("logs", "action", "reason"),
    [
        (["error: …", REFUSED], "fail", "exit code 77: It failed."),
        ([json.dumps(failed_with(67)).encode()], "default", None),
        ([BUSY], "retry", "exit code 75: It failed."),
        ([json.dumps(failed_with(65, 67, 69))], "retry", "exit code 65: It failed."),
        # Docker mixes both streams as they come.
        ([REFUSED, "alm-enrollments: error: …"], "fail", "exit code 77: It failed."),
        ([REFUSED, BUSY, "{}"], "retry", "exit code 75: It failed."),
        (
            [f"{REFUSED[:30]}alm-enrollments: error: …", REFUSED[30:]],
            "fail",
            "exit code 77: It failed.",
        ),
        (["Killed"], "default", None),
        ([json.dumps({"error": "of another program"})], "default", None),
        (["null"], "default", None),
        ([], "default", None),
        (None, "default", None),
    ],
)
def test_policy__by_the_logs_of_a_container(logs: Any, action: str, reason: str | None) -> None:
    """The last document among the container's lines decides."""
    error = DockerContainerFailedException("Docker container failed", logs=logs)

    decision = AlmRetryPolicy().evaluate(error, 1, 3)

    assert (decision.action.value, decision.reason, decision.retry_delay) == (action, reason, None)


@pytest.mark.parametrize(
    ("moment", "least", "most"),
    [("2100-01-01T00:00:00Z", 2e9, 3e9), ("2020-01-01T00:00:00Z", 0, 0)],
)
def test_policy__waits_until_retry_at(moment: str, least: float, most: float) -> None:
    """The delay ends at the moment that ALM named; there is no delay if that has passed."""
    logs = [json.dumps(failed_with(75, retry_at=moment))]
    error = DockerContainerFailedException("Docker container failed", logs=logs)

    decision = AlmRetryPolicy().evaluate(error, 1, 3)

    assert decision.action.value == "retry"
    assert least <= decision.retry_delay.total_seconds() <= most


def test_policy__without_the_list_of_failed_users() -> None:
    """If XCom has no room for the list, the task is retried at the moment that ALM named."""
    failed = failed_with(65, *[67] * 10_000, retry_at="2100-01-01T00:00:00Z")
    document, _ = fit_into_xcom(failed)
    task: Any = SimpleNamespace(task_id="read", map_index=-1, xcom_pull=lambda **_: document)

    decision = AlmRetryPolicy().evaluate(
        RuntimeError("Pod returned a failure."), 1, 3, {"ti": task}
    )

    assert (document["users"]["failed"], decision.action.value) == (None, "retry")
    assert decision.retry_delay.total_seconds() > 2e9


def test_policy__exception_without_a_document() -> None:
    """The task's own settings decide about an exception that has no document."""
    assert AlmRetryPolicy().evaluate(OSError("disk full"), 1, 3).action.value == "default"
