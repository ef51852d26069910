"""AlmEnrollmentsOperator in DAG runs: what it is given, and what it hands on."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import task

import connector
from connector.airflow.operators import MAX_XCOM_BYTES, AlmEnrollmentsOperator
from connector.sandbox import ACCESS_TOKEN
from connector.schemas import load_schema
from connector.text import to_json

if TYPE_CHECKING:
    from .conftest import RunDag, StartServer, TimedServer

INPUTS = tuple(load_schema("inputs")["properties"])


def direct(server: TimedServer, **inputs: Any) -> dict[str, Any]:
    """Return what ``connector.run`` returns, asking the same sandbox."""
    return connector.run(base_url=server.url, **inputs)


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``connector.run`` have the sandbox's token."""
    monkeypatch.setenv("ALM_ACCESS_TOKEN", ACCESS_TOKEN)


def test_parameters__are_the_schemas_inputs() -> None:
    """Every input is a parameter and a templated field, in the schema's order."""
    own = [
        name for name in inspect.signature(AlmEnrollmentsOperator).parameters if name != "kwargs"
    ]

    assert AlmEnrollmentsOperator.template_fields == INPUTS
    assert own == ["alm_conn_id", *INPUTS]


def test_parameters__reach_the_run(run_dag: RunDag, server: TimedServer) -> None:
    """What each parameter is given decides what is asked, and how, as it does in Python."""
    given: dict[str, Any] = {
        "user_id": "31",
        "lo_types": ["course", "jobAid"],
        "sort": "-dateEnrolled",
        "state": "active",
        "include": "learningObject",
    }
    given |= {
        "page_limit": 5,
        "max_enrollments": 7,
        "since": "2020-01-01",
        "concurrency": 2,
        "quota_share": 0.5,
        "shard": "1/1",
    }
    direct(server, **given)
    wanted = [request["target"] for request in server.requests]
    server.requests.clear()

    ran = run_dag(lambda: AlmEnrollmentsOperator(task_id="read", **given))

    assert [request["target"] for request in server.requests] == wanted
    assert "page%5Blimit%5D=5" in wanted[0] or "page[limit]=5" in wanted[0]
    assert ran.xcom()["enrollment_count"] <= 7


@pytest.mark.parametrize(
    "user_id", ["20941371", 20941371, ["20941371"], ["20941371", "31"], '["31", "20941371"]']
)
def test_xcom__is_the_document(user_id: Any, run_dag: RunDag, server: TimedServer) -> None:
    """The operator hands on the very document that ``connector.run`` returns."""
    ran = run_dag(
        lambda: AlmEnrollmentsOperator(
            task_id="read", user_id=user_id, lo_types="all", concurrency=1
        )
    )

    assert ran.states == {"read": "success"}
    assert ran.xcom() == direct(server, user_id=user_id, lo_types="all", concurrency=1)


def test_defaults__whatever_the_environment_says(
    run_dag: RunDag, server: TimedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An input that the task does not give has its default, whatever the environment says."""
    monkeypatch.setenv("ALM_MAX_ENROLLMENTS", "1")
    monkeypatch.setenv("ALM_LO_TYPES", "jobAid")

    ran = run_dag(lambda: AlmEnrollmentsOperator(task_id="read", user_id="20941371"))

    assert ran.xcom()["enrollment_count"] == 3
    assert server.users == ["20941371"]


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
def test_templates__are_rendered(*, is_native: bool, run_dag: RunDag, server: TimedServer) -> None:
    """Parameters may be templates: of params, of XCom, as text and as native objects."""

    def build() -> None:
        def learners() -> list[str]:
            return ["20941371", "31"]

        task(learners)() >> AlmEnrollmentsOperator(
            task_id="read",
            user_id="{{ ti.xcom_pull(task_ids='learners') if params.native"
            " else ti.xcom_pull(task_ids='learners') | join(',') }}",
            max_enrollments="{{ params.most }}",
            allow_incomplete="{{ params.native }}",
            page_limit="{{ params.page }}",
        )

    ran = run_dag(
        build,
        params={"native": is_native, "most": 2, "page": 1},
        render_template_as_native_obj=is_native,
    )

    assert ran.states == {"learners": "success", "read": "success"}
    document = ran.xcom()
    assert (
        document["users"]["read"],
        document["enrollment_count"],
        document["completeness"]["status"],
    ) == (2, 4, "incomplete")
    assert sorted(set(server.users)) == ["20941371", "31"]
    assert len(server.users) == 4


def test_xcom__of_a_task_before(run_dag: RunDag, server: TimedServer) -> None:
    """A parameter may be what a task before returned, and others take the document on."""

    def build() -> None:
        def learners() -> list[str]:
            return ["20941371"]

        def count(document: dict[str, Any]) -> int:
            return int(document["enrollment_count"])

        task(count)(AlmEnrollmentsOperator(task_id="read", user_id=task(learners)()).output)

    assert run_dag(build).xcom("count") == 3
    assert server.users == ["20941371"]


def test_expand__one_task_a_batch(run_dag: RunDag, server: TimedServer) -> None:
    """Mapped over batches of learners that a task before made, each task reads its own."""

    def build() -> None:
        def batches() -> list[list[str]]:
            return [["20941371"], ["31", "32"]]

        AlmEnrollmentsOperator.partial(task_id="read", concurrency=1).expand(
            user_id=task(batches)()
        )

    ran = run_dag(build)

    assert ran.states == {"batches": "success", "read[0]": "success", "read[1]": "success"}
    assert [ran.xcom("read", place)["users"]["read"] for place in (0, 1)] == [1, 2]
    assert sorted(set(server.users)) == ["20941371", "31", "32"]


def test_expand_kwargs__each_its_own(run_dag: RunDag, server: TimedServer) -> None:
    """Mapped over several parameters at once, templates among them, each task has its own."""
    shards = [{"shard": f"{n}/2", "max_enrollments": "{{ params.most }}"} for n in (1, 2)]

    ran = run_dag(
        lambda: AlmEnrollmentsOperator.partial(
            task_id="read", user_id=["31", "32", "33", "34", "20941371"]
        ).expand_kwargs(shards),
        params={"most": 1},
    )

    documents = [ran.xcom("read", place) for place in (0, 1)]
    assert sum(document["users"]["requested"] for document in documents) == 5
    assert sorted(set(server.users)) == ["20941371", "31", "32", "33", "34"]
    assert all(document["enrollment_count"] <= document["users"]["read"] for document in documents)


def test_xcom__too_many_bytes(run_dag: RunDag, server: TimedServer) -> None:
    """A document too large for XCom fails the task, once, with a hint; nothing is pushed."""
    size = len(
        to_json(
            direct(
                server,
                user_id=[*map(str, range(1000, 1008))],
                lo_types="all",
                include="learningObject",
            )
        )
    )

    ran = run_dag(
        lambda: AlmEnrollmentsOperator(
            task_id="read",
            user_id=[*map(str, range(1000, 1008))],
            lo_types="all",
            include="learningObject",
        ),
        retries=3,
    )

    assert size > MAX_XCOM_BYTES
    assert ran.errors == [
        (
            "AirflowFailException",
            (
                f"The document has {size:,} bytes, and XCom is given at most 262,144."
                " Name an output_file: the records go there."
            ),
        )
    ]
    assert (ran.states, ran.xcom()) == ({"read": "failed"}, None)


def test_xcom__too_many_bytes_of_a_failed_run(run_dag: RunDag, server: TimedServer) -> None:
    """A failed run's document that is too large is not pushed; the error is the run's own."""
    unknown = [f"404{n}" for n in range(1200)]

    ran = run_dag(lambda: AlmEnrollmentsOperator(task_id="read", user_id=unknown, concurrency=32))

    assert ran.xcom() is None
    assert [name for name, _ in ran.errors] == ["AirflowFailException"]
    assert ran.errors[0][1].startswith(
        "None of the 1200 users could be read: 4040 (exit code 67), "
    )
    assert len(server.requests) == 1200


def test_xcom__of_a_failed_run(run_dag: RunDag, server: TimedServer) -> None:
    """A run that fails hands its document on as well: who failed, and why."""
    ran = run_dag(
        lambda: AlmEnrollmentsOperator(
            task_id="read", user_id="20941371,4041", allow_incomplete=False
        )
    )

    document = ran.xcom()
    assert ran.states == {"read": "failed"}
    assert [failed["user_id"] for failed in document["users"]["failed"]] == ["4041"]
    assert (document["error"]["code"], document["users"]["read"], document["complete"]) == (
        65,
        1,
        False,
    )
    assert len(server.requests) == 2


def test_xcom__of_inputs_that_are_wrong(run_dag: RunDag, server: TimedServer) -> None:
    """Where nothing was asked, the document handed on is that of a run with nothing read."""
    ran = run_dag(lambda: AlmEnrollmentsOperator(task_id="read", user_id="nobody", deadline=-1))

    document = ran.xcom()
    assert ran.errors == [
        (
            "AirflowFailException",
            f"{document['error']['message']} {document['error']['hint']}",
        )
    ]
    assert (document["error"]["code"], document["users"]) == (
        64,
        {"requested": 0, "read": 0, "failed": []},
    )
    assert "deadline" in document["error"]["message"]
    assert server.requests == []


def test_allow_incomplete__hands_on(run_dag: RunDag, start_server: StartServer) -> None:
    """What could be read is handed on where that is allowed, marked, and the task is green."""
    start_server("user=32:404")

    ran = run_dag(
        lambda: AlmEnrollmentsOperator(task_id="read", user_id="20941371,32", allow_incomplete=True)
    )

    assert ran.states == {"read": "success"}
    assert (ran.xcom()["enrollment_count"], ran.xcom()["complete"]) == (3, False)
