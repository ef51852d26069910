"""Which failures are retried, and when: by exit code, counted in the sandbox's requests."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from connector.airflow.operators import AlmEnrollmentsOperator

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import RunDag, StartServer

USER = "20941371"
UNWRITABLE = {"output_file": "/proc/nowhere/out.ndjson", "format": "ndjson"}


def read(**inputs: Any) -> Any:
    """Return a function that makes the task ``read``."""
    return lambda: AlmEnrollmentsOperator(**{"task_id": "read", "user_id": USER, **inputs})


def retry_at(document: dict[str, Any]) -> datetime:
    """Return the moment from which a retry can succeed."""
    return datetime.fromisoformat(document["error"]["retry_at"])


@pytest.mark.parametrize(
    ("code", "faults", "inputs", "requests"),
    [
        pytest.param(64, (), {"page_limit": 11}, 0, id="64"),
        pytest.param(64, ("*:400x*",), {}, 1, id="64 by ALM"),
        pytest.param(67, (), {"user_id": "4041"}, 1, id="67"),
        pytest.param(73, (), UNWRITABLE, 0, id="73"),
        pytest.param(76, ("*:schemax*",), {}, 1, id="76"),
        pytest.param(77, ("*:401x*",), {}, 1, id="77"),
        pytest.param(77, ("*:403x*",), {}, 1, id="77 out of scope"),
    ],
)
def test_permanent__is_not_retried(
    code: int,
    faults: tuple[str, ...],
    inputs: dict[str, Any],
    requests: int,
    run_dag: RunDag,
    start_server: StartServer,
) -> None:
    """A failure that no retry can fix has one try, and its document is pushed."""
    server = start_server(*faults)

    result = run_dag(read(**inputs), retries=3)

    error = result.xcom()["error"]
    ((kind, message),) = result.errors
    assert (result.states, result.tries) == ({"read": "failed"}, {"read": 1})
    assert kind == "AirflowFailException"
    assert message.startswith(f"{error['message']} {error['hint']}")
    assert error["code"] == code
    assert len(server.requests) == requests


def test_temporary__is_deferred(run_dag: RunDag, start_server: StartServer) -> None:
    """The task is deferred until the moment that ALM named, fails then, and is retried."""
    server = start_server("request=1:429/3.2")
    documents: list[dict[str, Any]] = []

    def record_document(context: Any) -> None:
        documents.append(context["ti"].xcom_pull(task_ids="read", key="return_value"))

    result = run_dag(read(deadline=3, on_retry_callback=record_document), retries=1)

    assert (result.states, result.tries) == ({"read": "success"}, {"read": 2})
    (document,) = documents
    assert document["error"]["code"] == 75
    first, second = server.times
    assert first < retry_at(document) <= second


def test_temporary__without_a_retry_left(run_dag: RunDag, start_server: StartServer) -> None:
    """The last try fails at once, without waiting, and its document has the moment."""
    start_server("*:429/30x*")

    result = run_dag(read(deadline=10))

    assert (result.states, result.tries) == ({"read": "failed"}, {"read": 1})
    assert [name for name, _ in result.errors] == ["AirflowException"]
    assert result.failures[0][0] < retry_at(result.xcom())


@pytest.mark.usefixtures("server")
def test_unreachable__is_retried(run_dag: RunDag) -> None:
    """If the host cannot be reached, the task uses all its tries."""
    result = run_dag(read(base_url="http://127.0.0.1:1", deadline=1), retries=1)

    assert (result.states, result.tries) == ({"read": "failed"}, {"read": 2})
    assert {name for name, _ in result.errors} == {"AirflowException"}
    assert result.xcom()["error"]["code"] == 69


def test_partial__that_no_retry_can_fix(
    run_dag: RunDag, start_server: StartServer, tmp_path: Path
) -> None:
    """Learners whom ALM does not know are not read again; the others are in the file."""
    server = start_server()
    file = tmp_path / "out.ndjson"
    inputs = {"user_id": f"{USER},4041", "output_file": str(file), "resume": True}

    result = run_dag(read(**inputs, format="ndjson"), retries=3)

    assert (result.states, result.tries) == ({"read": "failed"}, {"read": 1})
    assert sorted(server.users) == [USER, "4041"]
    assert result.xcom()["error"]["code"] == 65
    assert len(file.read_text().splitlines()) == 3


def test_partial__retry_reads_only_failed_users(
    run_dag: RunDag, start_server: StartServer, tmp_path: Path
) -> None:
    """If a failed learner may succeed next time, the retry reads only those who failed."""
    server = start_server("user=32:429/3.2", enrollments_per_user=2)
    file = tmp_path / "out.ndjson"
    # One after another: the learner whose wait ends the first attempt comes last.
    inputs = {"user_id": "31,4041,32", "lo_types": "all", "deadline": 3, "resume": True}

    operator = read(**inputs, output_file=str(file), format="ndjson", concurrency=1)
    result = run_dag(operator, retries=6)

    assert result.states == {"read": "failed"}
    assert [name for name, _ in result.errors] == ["AirflowException", "AirflowFailException"]
    assert [server.users.count(user) for user in ("31", "32", "4041")] == [1, 2, 2]
    assert {json.loads(line)["user_id"] for line in file.read_text().splitlines()} == {"31", "32"}
    users = result.xcom()["users"]
    assert (users["read"], [user["user_id"] for user in users["failed"]]) == (2, ["4041"])
