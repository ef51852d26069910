"""Which failures are retried, and when: by exit code, counted in the sandbox's requests."""

from __future__ import annotations

import json
import socket
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from connector.airflow.operators import AlmEnrollmentsOperator

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import RunDag, StartServer

USER = "20941371"


def read(**inputs: Any) -> Any:
    """Return what makes the task."""
    return lambda: AlmEnrollmentsOperator(**{"task_id": "read", "user_id": USER, **inputs})


def ready_at(document: dict[str, Any]) -> datetime:
    """Return the moment from which another try can succeed, as the document tells it."""
    return datetime.fromisoformat(document["error"]["retry_at"])


def closed_port() -> str:
    """Return an address where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize(
    ("code", "faults", "inputs", "requests"),
    [
        pytest.param(64, (), {"page_limit": 11}, 0, id="64"),
        pytest.param(64, ("*:400x*",), {}, 1, id="64 by ALM"),
        pytest.param(67, (), {"user_id": "4041"}, 1, id="67"),
        pytest.param(
            73, (), {"output_file": "/proc/nowhere/out.ndjson", "format": "ndjson"}, 0, id="73"
        ),
        pytest.param(76, ("*:schemax*",), {}, 1, id="76"),
        pytest.param(77, ("*:401x*",), {}, 1, id="77"),
        pytest.param(77, ("*:403x*",), {}, 1, id="77 out of scope"),
    ],
)
def test_no_retry__can_mend(
    code: int,
    faults: tuple[str, ...],
    inputs: dict[str, Any],
    requests: int,
    run_dag: RunDag,
    start_server: StartServer,
) -> None:
    """A failure that no retry can fix is tried once, and its document is pushed."""
    server = start_server(*faults)

    ran = run_dag(read(**inputs), retries=3)

    assert (ran.states, ran.tries) == ({"read": "failed"}, 1)
    assert [name for name, _ in ran.errors] == ["AirflowFailException"]
    assert ran.xcom()["error"]["code"] == code
    assert ran.errors[0][1].startswith(ran.xcom()["error"]["message"])
    assert len(server.requests) == requests


def test_temporary__waits_until_alm_has_said(run_dag: RunDag, start_server: StartServer) -> None:
    """The task is deferred until the moment that ALM named, fails then, and is retried."""
    server = start_server("request=1:429/1.5")
    documents: list[dict[str, Any]] = []

    ran = run_dag(
        read(deadline=1, on_retry_callback=lambda context: documents.append(_pushed(context))),
        retries=1,
    )

    assert (ran.states, ran.tries, len(server.requests)) == ({"read": "success"}, 2, 2)
    (failed,) = documents
    assert failed["error"]["code"] == 75
    assert server.asked_at[0] < ready_at(failed) <= server.asked_at[1]


def _pushed(context: Any) -> dict[str, Any]:
    task = context["ti"]
    document: dict[str, Any] = task.xcom_pull(task_ids=task.task_id, key="return_value")
    return document


def test_temporary__without_a_retry_left(run_dag: RunDag, start_server: StartServer) -> None:
    """The last try fails at once, without waiting, and its document has the moment."""
    start_server("*:429/30x*")

    ran = run_dag(read(deadline=1), retries=0)

    assert (ran.states, ran.tries) == ({"read": "failed"}, 1)
    assert [name for name, _ in ran.errors] == ["AirflowException"]
    assert ran.failures[0][0] < ready_at(ran.xcom())


def test_unreachable__is_tried_again(run_dag: RunDag, start_server: StartServer) -> None:
    """A host that is gone is asked again by as many tries as the task has."""
    start_server()

    ran = run_dag(read(base_url=closed_port(), deadline=0.2), retries=1)

    assert (ran.states, ran.tries) == ({"read": "failed"}, 2)
    assert {name for name, _ in ran.errors} == {"AirflowException"}
    assert ran.xcom()["error"]["code"] == 69


def test_partial__that_cannot_pass(
    run_dag: RunDag, start_server: StartServer, tmp_path: Path
) -> None:
    """Learners whom ALM does not know are not read again; the others are in the file."""
    server = start_server()
    file = tmp_path / "out.ndjson"

    ran = run_dag(
        read(user_id=f"{USER},4041", output_file=str(file), format="ndjson", resume=True), retries=3
    )

    assert (ran.states, ran.tries, sorted(server.users)) == ({"read": "failed"}, 1, [USER, "4041"])
    assert ran.xcom()["error"]["code"] == 65
    assert len(file.read_text().splitlines()) == 3


def test_partial__asks_for_those_who_failed_alone(
    run_dag: RunDag, start_server: StartServer, tmp_path: Path
) -> None:
    """If one of the learners may succeed next time, the retry reads only those who failed."""
    server = start_server("user=32:429/1.2x2", enrollments_per_user=2)
    file = tmp_path / "out.ndjson"

    inputs = {
        "user_id": "31,32,4041",
        "lo_types": "all",
        "output_file": str(file),
        "format": "ndjson",
        "deadline": 1,
        "resume": True,
    }
    ran = run_dag(read(**inputs), retries=6)

    assert ran.states == {"read": "failed"}
    assert [name for name, _ in ran.errors] == [
        "AirflowException",
        "AirflowException",
        "AirflowFailException",
    ]
    assert [server.users.count(user) for user in ("31", "32", "4041")] == [1, 3, 3]
    assert {json.loads(line)["user_id"] for line in file.read_text().splitlines()} == {"31", "32"}
    assert ran.xcom()["users"]["read"] == 2
    assert [failed["user_id"] for failed in ran.xcom()["users"]["failed"]] == ["4041"]
