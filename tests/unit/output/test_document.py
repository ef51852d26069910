"""The output document: complete documents for every way in which a run can end."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connector.alm.completeness import Status
from connector.alm.records import ResourceGrade
from connector.errors import (
    AuthenticationError,
    ConnectorError,
    DeadlineError,
    InternalError,
    InterruptedRun,
    OutputError,
    PartialError,
    PermissionDeniedError,
    ProtocolError,
    TemporaryError,
    UnreachableError,
    UntrustedHostError,
    UsageError,
    UserNotFoundError,
    error_as_dict,
)
from connector.output.document import (
    NOTHING,
    Delivery,
    Document,
    build_document,
    failed_document,
    failures_of,
    list_users,
    partial_error,
)
from connector.output.results import RunTotals
from connector.schemas import load_schema
from connector.text import to_json
from tests.support.pages import ANSWERED_AT
from tests.support.records import enrollment

MOMENT = datetime(2023, 6, 29, 14, 5, tzinfo=UTC)
BUSY = TemporaryError(
    "ALM answered 429.", hint="Wait.", http_status=429, request_id="r-9", retry_at=MOMENT
)
BUSY_AS_DICT = {
    "code": 75,
    "message": "ALM answered 429.",
    "hint": "Wait.",
    "http_status": 429,
    "request_id": "r-9",
    "retry_at": "2023-06-29T14:05:00Z",
}
FAILED = [("4041", 67), ("7", 75), ("8", 75), ("9", 76)]


def totals_of(status: Status = Status.VERIFIED, *, users: int = 1) -> RunTotals:
    """Return the totals of a run of *users*, each read from one page."""
    totals = RunTotals("sandbox", is_of_many=users > 1)
    for number in range(users):
        entry = {"user_id": str(number), "status": status, "reasons": [], "pages": 1}
        answered = {"enrollments": 0, "counts": [], "answered_at": ANSWERED_AT.isoformat()}
        totals.add_from_journal({**entry, **answered})
        totals.add_kept()
    totals.end(requested=users, requests=users)
    return totals


def delivery_of(*served: Any) -> Delivery:
    """Return the delivery of *served* in the document itself."""
    ids = [record.id for record in served]
    return Delivery(ids, [], len(served), [record.as_dict() for record in served])


def document_of(
    totals: RunTotals, delivery: Delivery = NOTHING, error: ConnectorError | None = None
) -> Document:
    """Return the document, which the other validator must accept, too."""
    document = build_document(totals, delivery, error)
    jsonschema.validate(document, load_schema("outputs"))
    return document


def test_build_document__with_its_records() -> None:
    """The document has the fields of its schema, in the schema's order, and the records."""
    served = enrollment(resource_grades=(ResourceGrade("course:1_2_7_0_31", None, None),))
    delivery = Delivery([served.id], ["course:1_2_7_0_31"], 1, [served.as_dict()])

    document = document_of(totals_of(), delivery)

    record = {name: getattr(served, name) for name in served.__struct_fields__[:18]}
    grade = {"id": "course:1_2_7_0_31", "module_id": None, "module_version": None}
    expected = {
        "source": "sandbox",
        "enrollment_ids": ["course:1_2_31"],
        "resource_grade_ids": ["course:1_2_7_0_31"],
        "enrollment_count": 1,
        "enrollments": [{**record, "resource_grades": [grade]}],
        "complete": True,
        "completeness": {"status": "verified", "reasons": [], "pages": 1, "requests": 1},
        "next_since": "2023-06-29T11:54:58.000Z",
        "users": {"requested": 1, "read": 1, "failed": []},
        "output_file": None,
        "error": None,
    }
    assert document == expected
    assert list(document) == list(expected)


def test_build_document__with_an_output_file() -> None:
    """A document next to an output file has no records, and no ids if they are too many."""
    delivery = Delivery(None, None, 12_345, output_file="x.csv")

    assert document_of(totals_of(users=2), delivery) == {
        "source": "sandbox",
        "enrollment_ids": None,
        "resource_grade_ids": None,
        "enrollment_count": 12_345,
        "complete": True,
        "completeness": {"status": "verified", "reasons": [], "pages": 2, "requests": 2},
        "next_since": "2023-06-29T11:54:58.000Z",
        "users": {"requested": 2, "read": 2, "failed": []},
        "output_file": "x.csv",
        "error": None,
    }


def test_build_document__some_users_failed() -> None:
    """A document lists failed users with their errors, next to the error of the run."""
    totals = RunTotals(is_of_many=True)
    totals.add_failure(1, "2", error_as_dict(BUSY))
    totals.add_reason(1, "user 2: ALM answered 429.")
    totals.add_kept()
    totals.end(requested=2, requests=5)
    served = enrollment()

    document = document_of(totals, delivery_of(served), BUSY)

    assert document == {
        "source": None,
        "enrollment_ids": [served.id],
        "resource_grade_ids": [],
        "enrollment_count": 1,
        "enrollments": [served.as_dict()],
        "complete": False,
        "completeness": {
            "status": "incomplete",
            "reasons": ["user 2: ALM answered 429."],
            "pages": 0,
            "requests": 5,
        },
        "next_since": None,
        "users": {"requested": 2, "read": 1, "failed": [{"user_id": "2", "error": BUSY_AS_DICT}]},
        "output_file": None,
        "error": BUSY_AS_DICT,
    }


@pytest.mark.parametrize(
    ("status", "is_complete", "status_if_failed"),
    [
        (Status.VERIFIED, True, "incomplete"),
        (Status.CONSISTENT, True, "incomplete"),
        (Status.INCOMPLETE, False, "incomplete"),
        (Status.INCONSISTENT, False, "inconsistent"),
    ],
)
def test_build_document__complete(
    *,
    status: Status,
    is_complete: bool,
    status_if_failed: str,
) -> None:
    """A run is complete if it did not fail and its status is verified or consistent."""
    read = document_of(totals_of(status))
    failed = document_of(totals_of(status), error=BUSY)

    assert (read["complete"], read["completeness"]["status"]) == (is_complete, status.value)
    assert (failed["complete"], failed["completeness"]["status"]) == (False, status_if_failed)


@pytest.mark.parametrize(
    ("error", "is_there"),
    [(None, True), (PartialError("m", hint="h"), True), (BUSY, False), (InterruptedRun(2), False)],
)
def test_build_document__next_since(*, error: ConnectorError | None, is_there: bool) -> None:
    """A run that did not deliver the records of its users gives no moment to go on from."""
    document = document_of(totals_of(), error=error)

    assert document["next_since"] == ("2023-06-29T11:54:58.000Z" if is_there else None)


def test_build_document__without_users() -> None:
    """If there are no users to read, as in an empty shard, nothing is missing."""
    document = document_of(totals_of(users=0))

    assert (document["complete"], document["error"]) == (True, None)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("m", hint="h"), 64),
        (PartialError("m", hint="h"), 65),
        (UserNotFoundError("m", hint="h"), 67),
        (UnreachableError("m", hint="h"), 69),
        (UntrustedHostError("m", hint="h"), 69),
        (InternalError("m", hint="h"), 70),
        (OutputError("m", hint="h"), 73),
        (TemporaryError("m", hint="h"), 75),
        (DeadlineError("m", hint="h"), 75),
        (ProtocolError("m", hint="h"), 76),
        (AuthenticationError("m", hint="h"), 77),
        (PermissionDeniedError("m", hint="h"), 77),
        (InterruptedRun(2).replaced(message="m", hint="h"), 130),
        (InterruptedRun(15).replaced(message="m", hint="h"), 143),
    ],
)
def test_failed_document__of_every_error(error: ConnectorError, code: int) -> None:
    """Every error that ends a run before it reads anything has a valid document."""
    document = failed_document(error)

    jsonschema.validate(document, load_schema("outputs"))
    nothing = {"http_status": None, "request_id": None, "retry_at": None}
    assert document == {
        "source": None,
        "enrollment_ids": [],
        "resource_grade_ids": [],
        "enrollment_count": 0,
        "enrollments": [],
        "complete": False,
        "completeness": {"status": "incomplete", "reasons": [], "pages": 0, "requests": 0},
        "next_since": None,
        "users": {"requested": 0, "read": 0, "failed": []},
        "output_file": None,
        "error": {"code": code, "message": "m", "hint": "h", **nothing},
    }


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"score": float("nan")}, "score"),
        ({"score": float("inf")}, "score"),
        ({"score": float("-inf")}, "score"),
        ({"has_passed": "yes"}, "has_passed"),
    ],
)
def test_build_document__breaks_its_schema(values: dict[str, Any], name: str) -> None:
    """A document that breaks its schema is not delivered; the error names the path."""
    with pytest.raises(InternalError) as caught:
        build_document(totals_of(), delivery_of(enrollment(**values)), None)

    assert str(caught.value) == (
        f"The output document breaks its own schema at enrollments/0/{name}."
        " Nothing was written. Please report it."
    )


@given(
    text=st.text(),
    number=st.none()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False),
)
@example(text="##[error]#", number=None)
@example(text="\ud800", number=None)
@settings(max_examples=40)
def test_build_document__whatever_alm_writes(text: str, number: float | None) -> None:
    """Whatever a record or a message holds, the document is valid and one line of ASCII JSON."""
    grades = (ResourceGrade(f"g{text}", text, 0),)
    served = enrollment(
        id=f"x{text}", state=text, date_enrolled=text, score=number, resource_grades=grades
    )
    totals = RunTotals(is_of_many=True)
    error = ProtocolError(f"m{text}", hint=f"h{text}", request_id=text)
    totals.add_failure(0, "2", error_as_dict(error))
    totals.add_reason(0, text)

    document = build_document(totals, delivery_of(served), error)

    line = to_json(document)
    assert json.loads(line) == document
    assert line.isascii()
    assert line.isprintable()
    assert "##" not in line


@pytest.mark.parametrize(
    ("count", "users"),
    [
        (1, "4041 (exit code 67)"),
        (3, "4041 (exit code 67), 7 (exit code 75), 8 (exit code 75)"),
        (4, "4041 (exit code 67), 7 (exit code 75), 8 (exit code 75) and 1 more"),
        (99, "4041 (exit code 67), 7 (exit code 75), 8 (exit code 75) and 96 more"),
    ],
)
def test_partial_error__names_the_first_users(count: int, users: str) -> None:
    """The error of a run in which some users failed names the first three, and counts the rest."""
    error = partial_error(FAILED[:count], count, 100, MOMENT)

    assert list_users(FAILED[:count], count) == users
    assert str(error) == (
        f"{count} of 100 users could not be read: {users}. The other users were read;"
        " `users.failed` has the error of each. Run again for those users only."
    )
    assert (error.code, error.retry_at) == (65, MOMENT)


def test_failures_of__a_document() -> None:
    """The failed users of a document can be read with their exit codes."""
    totals = RunTotals(is_of_many=True)
    totals.add_failure(0, "2", error_as_dict(BUSY))

    assert failures_of(totals.failed) == [("2", 75)]
