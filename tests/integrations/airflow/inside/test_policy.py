"""AlmRetryPolicy: whether and when a task is retried. For Airflow 3.3 and later."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import BaseOperator
from airflow.providers.docker.exceptions import DockerContainerFailedException

from connector.airflow.operators import AlmEnrollmentsOperator
from connector.airflow.retries import AlmRetryPolicy

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import RunDag, StartServer


def test_policy__in_place_of_deferral(run_dag: RunDag, start_server: StartServer) -> None:
    """A task with a retry policy fails at once, and is retried when the policy says."""
    server = start_server("request=1:429/2")
    documents: list[dict[str, Any]] = []
    inputs: dict[str, Any] = {
        "deadline": 1,
        "on_retry_callback": lambda context: documents.append(_noted(context)),
    }

    ran = run_dag(
        lambda: AlmEnrollmentsOperator(
            task_id="read", user_id="20941371", retry_policy=AlmRetryPolicy(), **inputs
        ),
        retries=1,
    )

    assert (ran.states, ran.tries, len(server.requests)) == ({"read": "success"}, 2, 2)
    (failed,) = documents
    assert (
        failed["noted_at"]
        < datetime.fromisoformat(failed["error"]["retry_at"])
        <= server.asked_at[1]
    )


def _noted(context: Any) -> dict[str, Any]:
    task = context["ti"]
    return {
        "noted_at": datetime.now(UTC),
        **task.xcom_pull(task_ids=task.task_id, key="return_value"),
    }


class Pod(BaseOperator):  # type: ignore[misc,unused-ignore] # without Airflow, its classes have no types
    """Fails as a KubernetesPodOperator does: its document pushed, its exception without one."""

    def __init__(self, *, document: Any, counter: str, **settings: Any) -> None:
        super().__init__(**settings)
        self.document = document
        self.counter = counter

    def execute(self, context: Any) -> None:
        """Push, and fail."""
        with open(self.counter, "a", encoding="utf-8") as file:  # noqa: PTH123 - as short as it gets
            file.write(f"{context['ti'].try_number}\n")
        if self.document is not None:
            context["ti"].xcom_push(key="return_value", value=self.document)
        raise RuntimeError("Pod returned a failure.")


def document_of(code: int, *failed: int, retry_at: str | None = None) -> dict[str, Any]:
    """Return what a failed run's document says of its error, and of its users'."""
    users = [{"user_id": str(place), "error": {"code": each}} for place, each in enumerate(failed)]
    return {
        "error": {"code": code, "message": "It failed.", "retry_at": retry_at},
        "users": {"failed": users},
    }


@pytest.mark.parametrize(
    ("document", "tries"),
    [
        (document_of(77), 1),
        (document_of(75), 3),
        (document_of(65, 67, 76), 1),
        (document_of(65, 67, 75), 3),
        (None, 3),
        ({"error": None, "users": {}}, 3),
        ("the document is no text here", 3),
    ],
)
@pytest.mark.parametrize("is_mapped", [False, True])
def test_policy__by_the_xcom_of_a_pod(
    document: Any, tries: int, *, is_mapped: bool, run_dag: RunDag, tmp_path: Path
) -> None:
    """A pod is retried if its document says so; without one, the task's own settings apply."""
    counters = [str(tmp_path / "first"), str(tmp_path / "second")]
    settings = {"task_id": "read", "retry_policy": AlmRetryPolicy()}

    def build() -> None:
        if is_mapped:
            # The other one's document is not taken for its own.
            Pod.partial(**settings).expand_kwargs(
                [
                    {"document": document, "counter": counters[0]},
                    {"document": document_of(77), "counter": counters[1]},
                ]
            )
        else:
            Pod(document=document, counter=counters[0], **settings)

    run_dag(build, retries=2)

    found = [len(counter.read_text().splitlines()) for counter in sorted(tmp_path.iterdir())]
    assert found == ([tries, 1] if is_mapped else [tries])


@pytest.mark.parametrize(
    ("logs", "action", "reason"),
    [
        (["error: …", json.dumps(document_of(77))], "fail", "exit code 77: It failed."),
        ([json.dumps(document_of(67)).encode()], "default", None),
        ([json.dumps(document_of(75))], "retry", "exit code 75: It failed."),
        ([json.dumps(document_of(65, 67, 69))], "retry", "exit code 65: It failed."),
        # An engine hands both streams on as it comes to them.
        (
            [json.dumps(document_of(77)), "alm-enrollments: error: …"],
            "fail",
            "exit code 77: It failed.",
        ),
        (
            [json.dumps(document_of(77)), json.dumps(document_of(75)), "{}"],
            "retry",
            "exit code 75: It failed.",
        ),
        (
            [
                f"{json.dumps(document_of(77))[:30]}alm-enrollments: error: …",
                json.dumps(document_of(77))[30:],
            ],
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
def test_policy__by_what_a_container_printed(logs: Any, action: str, reason: str | None) -> None:
    """The last of the container's lines that is a document decides."""
    decision = AlmRetryPolicy().evaluate(
        DockerContainerFailedException("Docker container failed", logs=logs), 1, 3
    )

    assert (decision.action.value, decision.reason, decision.retry_delay) == (action, reason, None)


@pytest.mark.parametrize(
    ("moment", "least", "most"),
    [("2100-01-01T00:00:00Z", 2e9, 3e9), ("2020-01-01T00:00:00Z", 0, 0)],
)
def test_policy__waits_until_alm_has_said(moment: str, least: float, most: float) -> None:
    """The delay is the time until the moment that ALM named, and none where that has passed."""
    lines = [json.dumps(document_of(75, retry_at=moment))]
    decision = AlmRetryPolicy().evaluate(
        DockerContainerFailedException("Docker container failed", logs=lines), 1, 3
    )

    assert decision.action.value == "retry"
    assert least <= decision.retry_delay.total_seconds() <= most


def test_policy__an_exception_of_anything_else() -> None:
    """An exception that has no document is left to the task's own settings."""
    assert AlmRetryPolicy().evaluate(OSError("disk full"), 1, 3).action.value == "default"
