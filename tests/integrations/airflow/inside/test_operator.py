"""AlmEnrollmentsOperator in DAG runs: its parameters, and the document that it pushes."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import task

import connector
from connector.airflow.operators import AlmEnrollmentsOperator
from connector.channels.limits import MAX_XCOM_BYTES
from connector.sandbox import ACCESS_TOKEN
from connector.schemas import load_schema
from connector.text import to_json

if TYPE_CHECKING:
    from .conftest import RunDag, StartServer, TimedServer

INPUTS = tuple(load_schema("inputs")["properties"])


def read(**inputs: Any) -> Any:
    """Return a function that makes the task ``read``."""
    return lambda: AlmEnrollmentsOperator(**{"task_id": "read", "user_id": "20941371", **inputs})


@pytest.fixture
def run_directly(monkeypatch: pytest.MonkeyPatch, server: TimedServer) -> Any:
    """Return ``connector.run`` against the same sandbox."""
    monkeypatch.setenv("ALM_ACCESS_TOKEN", ACCESS_TOKEN)
    return lambda **inputs: connector.run(base_url=server.url, **inputs)


def test_parameters__are_the_schemas_inputs() -> None:
    """Every input is a parameter and a templated field, in the schema's order."""
    parameters = inspect.signature(AlmEnrollmentsOperator).parameters

    assert AlmEnrollmentsOperator.template_fields == INPUTS
    assert tuple(parameters) == ("alm_conn_id", *INPUTS, "kwargs")


def test_parameters__reach_the_run(run_dag: RunDag, server: TimedServer, run_directly: Any) -> None:
    """Each parameter has the same effect on the requests as in Python."""
    inputs: dict[str, Any] = {"user_id": "31", "lo_types": ["course", "jobAid"]}
    inputs |= {"sort": "-dateEnrolled", "state": "active", "include": "learningObject"}
    inputs |= {"page_limit": 5, "max_enrollments": 7, "since": "2020-01-01"}
    inputs |= {"concurrency": 2, "quota_share": 0.5, "shard": "1/1"}
    run_directly(**inputs)
    expected = [request["target"] for request in server.requests]
    server.requests.clear()

    result = run_dag(read(**inputs))

    assert [request["target"] for request in server.requests] == expected
    assert "page%5Blimit%5D=5" in expected[0]
    assert result.xcom()["enrollment_count"] <= 7


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("text", ["{{ ['20941371', '31'] }}", "{{ ['20941371', '31'] | tojson }}"])
def test_user_id__rendered_without_native_objects(text: str, run_dag: RunDag) -> None:
    """A list that a template renders as Python's own text is read, as one with tojson is."""
    result = run_dag(read(user_id=text))

    assert result.xcom()["users"] == {"requested": 2, "read": 2, "failed": []}


@pytest.mark.parametrize("user_id", [20941371, ["20941371"], '["31", "20941371"]'])
def test_xcom__is_the_document(user_id: Any, run_dag: RunDag, run_directly: Any) -> None:
    """The operator pushes the document that ``connector.run`` returns."""
    inputs = {"user_id": user_id, "lo_types": "all", "concurrency": 1}

    result = run_dag(read(**inputs))

    assert result.states == {"read": "success"}
    document = result.xcom()
    # Each run has a time of its own.
    assert document == {**run_directly(**inputs), "next_since": document["next_since"]}


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("name", ["since", "completed_since"])
@pytest.mark.parametrize(
    "template",
    ["{{ dag_run.logical_date or run_after }}", "{{ macros.datetime(2026, 1, 1).date() }}"],
)
def test_templates__moments(name: str, template: str, run_dag: RunDag) -> None:
    """A native template may be a datetime or a date."""
    ran = run_dag(
        lambda: AlmEnrollmentsOperator(task_id="read", user_id="31", **{name: template}),
        render_template_as_native_obj=True,
    )

    assert ran.states == {"read": "success"}
    assert ran.xcom()["enrollments"] == []


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("is_native", [False, True])
@pytest.mark.parametrize("template", ["{{ none }}", "{{ params.missing }}", "None", " ", ""])
def test_templates__of_nothing(template: str, *, is_native: bool, run_dag: RunDag) -> None:
    """A template that becomes nothing, or the text "None", gives no input."""
    names = ("since", "completed_since", "lo_types", "max_enrollments", "output_file", "columns")

    ran = run_dag(
        lambda: AlmEnrollmentsOperator(
            task_id="read", user_id="20941371", **dict.fromkeys(names, template)
        ),
        params={"missing": None},
        render_template_as_native_obj=is_native,
    )

    assert ran.xcom()["enrollment_count"] == 3


@pytest.mark.parametrize("is_native", [False, True])
def test_parameters__from_tasks_and_templates(
    *, is_native: bool, run_dag: RunDag, server: TimedServer
) -> None:
    """A parameter may be an earlier task's result or a template, as text or native object."""

    def build() -> None:
        def learners() -> list[str]:
            return ["20941371", "31"]

        AlmEnrollmentsOperator(
            task_id="read",
            user_id=task(learners)(),
            max_enrollments="{{ params.most }}",
            allow_incomplete="{{ params.native }}",
            page_limit="{{ params.page }}",
        )

    params = {"native": is_native, "most": 2, "page": 1}
    result = run_dag(build, params=params, render_template_as_native_obj=is_native)

    assert result.states == {"learners": "success", "read": "success"}
    document = result.xcom()
    assert (document["users"]["read"], document["enrollment_count"]) == (2, 4)
    assert document["completeness"]["status"] == "incomplete"
    assert sorted(server.users) == ["20941371", "20941371", "31", "31"]


def test_expand__one_task_per_batch(run_dag: RunDag, server: TimedServer) -> None:
    """Mapped over batches of learners that an earlier task made, each task reads its own."""

    def build() -> None:
        def batches() -> list[list[str]]:
            return [["20941371"], ["31", "32"]]

        reading = AlmEnrollmentsOperator.partial(task_id="read", concurrency=1)
        reading.expand(user_id=task(batches)())

    result = run_dag(build)

    assert result.states == {"batches": "success", "read[0]": "success", "read[1]": "success"}
    assert [result.xcom(f"read[{index}]")["users"]["read"] for index in (0, 1)] == [1, 2]
    assert sorted(set(server.users)) == ["20941371", "31", "32"]


def test_xcom__too_large(run_dag: RunDag, run_directly: Any) -> None:
    """A document too large for XCom fails the task without a retry; nothing is pushed."""
    users = [*map(str, range(1000, 1008))]
    inputs = {"user_id": users, "lo_types": "all", "include": "learningObject"}
    size = len(to_json(run_directly(**inputs)))

    result = run_dag(read(**inputs), retries=3)

    assert size > MAX_XCOM_BYTES
    message = (
        "The document is larger than the 262,144 bytes that XCom takes."
        " Name an output_file: the records go there."
    )
    assert result.errors == [("AirflowFailException", message)]
    assert (result.states, result.xcom()) == ({"read": "failed"}, None)


def test_xcom__too_large_after_a_failure(run_dag: RunDag, server: TimedServer) -> None:
    """A failed run's document is pushed without what is too large; the error is the run's own."""
    result = run_dag(read(user_id=[f"404{number}" for number in range(1200)], concurrency=32))

    assert result.xcom()["users"] == {"requested": 1200, "read": 0, "failed": None}
    ((kind, message),) = result.errors
    assert kind == "AirflowFailException"
    assert message.startswith("None of the 1200 users could be read: 4040 (exit code 67), ")
    assert len(server.requests) == 1200


def test_xcom__of_wrong_inputs(run_dag: RunDag, server: TimedServer) -> None:
    """If the inputs are wrong, the document is that of a run that read nothing."""
    result = run_dag(read(user_id="nobody", deadline=-1))

    document = result.xcom()
    assert document["error"]["code"] == 64
    assert "deadline" in document["error"]["message"]
    assert document["users"] == {"requested": 0, "read": 0, "failed": []}
    assert server.requests == []


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(("user_id", "state"), [("20941371", "success"), ("4041", "failed")])
def test_xcom__not_wanted(user_id: str, state: str, run_dag: RunDag) -> None:
    """With do_xcom_push=False nothing is pushed, after a failure neither."""
    result = run_dag(read(user_id=user_id, do_xcom_push=False))

    assert (result.states, result.xcom()) == ({"read": state}, None)


def test_allow_incomplete__succeeds(run_dag: RunDag, start_server: StartServer) -> None:
    """With allow_incomplete, the task succeeds with the records read, marked incomplete."""
    start_server("user=32:404")

    result = run_dag(read(user_id="20941371,32", allow_incomplete=True))

    assert result.states == {"read": "success"}
    assert (result.xcom()["enrollment_count"], result.xcom()["complete"]) == (3, False)


def test_on_kill__without_a_run() -> None:
    """Airflow also calls on_kill after a timeout; if nothing is being read, it does nothing."""
    AlmEnrollmentsOperator(task_id="read", user_id="1").on_kill()
