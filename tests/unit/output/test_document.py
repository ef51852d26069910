"""The contract's document, whole, for every way in which a run can end; and its one line of JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connector.alm.completeness import Completeness, Status
from connector.alm.records import Enrollment, IncludedResourceGrade, ResourceGrade
from connector.errors import (
    AuthenticationError,
    ConnectorError,
    InternalError,
    InterruptedRun,
    OutputError,
    PartialError,
    ProtocolError,
    TemporaryError,
    UnreachableError,
    UntrustedHostError,
    UsageError,
    UserNotFoundError,
)
from connector.output.document import Document, UserResult, build_document
from connector.schemas import load_schema
from connector.text import to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

PROVED = Completeness(Status.PROVED, (), 1)
GRADE = "course:6511020_7037048_11676159_0_20941371"
UNKNOWN = UserNotFoundError(
    "ALM knows no user 2.", hint="Look it up.", http_status=404, request_id="r-2"
)
UNKNOWN_TOLD = {
    "code": 67,
    "message": "ALM knows no user 2.",
    "hint": "Look it up.",
    "http_status": 404,
    "request_id": "r-2",
    "retry_at": None,
}
PARTIAL = PartialError("1 of 2 users could not be read: 2 (67).", hint="The others were.")
PARTIAL_TOLD = {
    "code": 65,
    "message": "1 of 2 users could not be read: 2 (67).",
    "hint": "The others were.",
    "http_status": None,
    "request_id": None,
    "retry_at": None,
}
BUSY = TemporaryError(
    "ALM answered 429.",
    hint="Wait.",
    http_status=429,
    request_id="r-9",
    retry_at=datetime(2023, 6, 29, 14, 5, tzinfo=UTC),
)
BUSY_TOLD = {
    "code": 75,
    "message": "ALM answered 429.",
    "hint": "Wait.",
    "http_status": 429,
    "request_id": "r-9",
    "retry_at": "2023-06-29T14:05:00Z",
}


def enrollment(enrollment_id: str = "course:1_2_3", **known: Any) -> Enrollment:
    """Return an enrollment of which nothing but its id, its learner and what is *known* was sent."""
    values: dict[str, Any] = dict.fromkeys(Enrollment.__struct_fields__)
    return Enrollment(
        **{
            **values,
            "id": enrollment_id,
            "user_id": "1",
            "resource_grades": (),
            "is_decoded": True,
            **known,
        }
    )


def told(enrollment_id: str = "course:1_2_3", **known: Any) -> Document:
    """Return what the document tells of the enrollment that `enrollment` makes of the same arguments."""
    names = [
        name for name in Enrollment.__struct_fields__ if name not in ("included", "is_decoded")
    ]
    return {
        **dict.fromkeys(names),
        "id": enrollment_id,
        "user_id": "1",
        "resource_grades": [],
        **known,
    }


def build(
    results: Sequence[UserResult],
    error: ConnectorError | None = None,
    *,
    allow_incomplete: bool = False,
) -> Document:
    """Return the document of a run of two users in five requests, judged by the other library as well."""
    document = build_document(
        results, error, requested=2, requests=5, allow_incomplete=allow_incomplete
    )
    jsonschema.validate(document, load_schema("outputs"))
    return document


def empty(**changed: Any) -> Document:
    """Return the document of a run that has nothing to hand on, but for what is *changed*."""
    return {
        "enrollment_ids": [],
        "resource_grade_ids": [],
        "enrollment_count": 0,
        "enrollments": [],
        "complete": False,
        "completeness": {"status": "incomplete", "reasons": [], "pages": 0, "requests": 5},
        "latest_date_enrolled": None,
        "users": {"requested": 2, "read": 0, "failed": []},
        "output_file": None,
        "error": None,
        **changed,
    }


def test_build__the_documented_enrollment() -> None:
    """One user's one enrollment, every field of it sent, makes the document that the contract shows."""
    known: dict[str, Any] = {
        "user_id": "20941371",
        "lo_id": "course:6511020",
        "lo_type": "course",
        "lo_instance_id": "course:6511020_7037048",
        "state": "COMPLETED",
        "progress_percent": 100,
        "has_passed": True,
        "score": 9.5,
        "enrollment_source": "AUTO_ENROLL",
        "date_enrolled": "2023-06-29T12:34:33.000Z",
        "rating": 0,
        "url": "https://example.com/é",
    }
    one = enrollment(
        "course:6511020_7037048_20941371",
        **known,
        resource_grades=(ResourceGrade(GRADE, "11676159", 0),),
    )

    document = build_document(
        [UserResult("20941371", [one], PROVED)],
        None,
        requested=1,
        requests=1,
        allow_incomplete=False,
    )

    assert document == {
        "enrollment_ids": ["course:6511020_7037048_20941371"],
        "resource_grade_ids": [GRADE],
        "enrollment_count": 1,
        "enrollments": [
            {
                **known,
                "id": "course:6511020_7037048_20941371",
                "date_started": None,
                "date_completed": None,
                "completion_deadline": None,
                "last_access_date": None,
                "purchased_price": None,
                "resource_grades": [{"id": GRADE, "module_id": "11676159", "module_version": 0}],
            }
        ],
        "complete": True,
        "completeness": {"status": "proved", "reasons": [], "pages": 1, "requests": 1},
        "latest_date_enrolled": "2023-06-29T12:34:33.000Z",
        "users": {"requested": 1, "read": 1, "failed": []},
        "output_file": None,
        "error": None,
    }


def test_build__an_enrollment_with_what_was_included() -> None:
    """A grade's attributes and the resources are there where `include` brought them."""
    attributes: dict[str, Any] = dict.fromkeys(IncludedResourceGrade.__struct_fields__[3:])
    grade = IncludedResourceGrade(
        GRADE, "11676159", 0, **{**attributes, "score": 5, "has_passed": False}
    )
    learner = {"id": "1", "type": "user", "attributes": {"name": "Zoë"}}

    document = build(
        [
            UserResult(
                "1",
                [
                    enrollment(
                        resource_grades=(grade,), included={"learner": learner, "loInstance": None}
                    )
                ],
                PROVED,
            )
        ]
    )

    told_grade = {
        "id": GRADE,
        "module_id": "11676159",
        "module_version": 0,
        **attributes,
        "score": 5,
        "has_passed": False,
    }
    assert document["enrollments"] == [
        told(resource_grades=[told_grade], included={"learner": learner, "loInstance": None})
    ]


def test_build__several_users() -> None:
    """Users follow each other in order; the verdict is the least sure of theirs, with every reason by its user."""
    consistent = Completeness(Status.CONSISTENT, ("the cursors could not be decoded",), 3)
    results = [
        UserResult("1", [enrollment("course:9_9_1", date_enrolled="2023-06-02")], PROVED),
        UserResult(
            "2", [enrollment("course:1_1_2", date_enrolled="2023-06-01", user_id="2")], consistent
        ),
    ]

    assert build(results) == empty(
        enrollment_ids=["course:9_9_1", "course:1_1_2"],
        enrollment_count=2,
        enrollments=[
            told("course:9_9_1", date_enrolled="2023-06-02"),
            told("course:1_1_2", date_enrolled="2023-06-01", user_id="2"),
        ],
        complete=True,
        completeness={
            "status": "consistent",
            "reasons": ["user 2: the cursors could not be decoded"],
            "pages": 4,
            "requests": 5,
        },
        latest_date_enrolled="2023-06-02",
        users={"requested": 2, "read": 2, "failed": []},
    )


def test_build__no_users() -> None:
    """A run without users, such as an empty shard's, has nothing to hand on, and nothing is missing."""
    expected = {"status": "proved", "reasons": [], "pages": 0, "requests": 5}

    assert build([]) == empty(complete=True, completeness=expected)


def test_build__a_user_without_enrollments() -> None:
    """A user who has no enrollment is read, and that is the whole answer."""
    document = build([UserResult("1", [], PROVED)])

    assert document == empty(
        complete=True,
        completeness={"status": "proved", "reasons": [], "pages": 1, "requests": 5},
        users={"requested": 2, "read": 1, "failed": []},
    )


def test_build__stopped_on_purpose() -> None:
    """What was asked to stop early is handed on, and is not called complete."""
    stopped = Completeness(
        Status.INCOMPLETE, ("stopped after 1 enrollments, as max_enrollments asks",), 1
    )

    document = build([UserResult("1", [enrollment()], stopped)])

    assert document == empty(
        enrollment_ids=["course:1_2_3"],
        enrollment_count=1,
        enrollments=[told()],
        completeness={
            "status": "incomplete",
            "reasons": list(stopped.reasons),
            "pages": 1,
            "requests": 5,
        },
        users={"requested": 2, "read": 1, "failed": []},
    )


def test_build__some_users_failed() -> None:
    """Where others were read, those are handed on whole, and nothing of who failed."""
    results = [
        UserResult("1", [enrollment("course:1_2_1")], PROVED),
        UserResult(
            "2",
            [enrollment("course:1_2_2")],
            Completeness(Status.INCOMPLETE, ("ALM knows no user 2.",), 1),
            UNKNOWN,
        ),
    ]

    assert build(results, PARTIAL) == empty(
        enrollment_ids=["course:1_2_1"],
        enrollment_count=1,
        enrollments=[told("course:1_2_1")],
        completeness={
            "status": "incomplete",
            "reasons": ["user 2: ALM knows no user 2."],
            "pages": 2,
            "requests": 5,
        },
        users={"requested": 2, "read": 1, "failed": [{"user_id": "2", "error": UNKNOWN_TOLD}]},
        error=PARTIAL_TOLD,
    )


def test_build__the_run_failed() -> None:
    """A run that failed as a whole hands nothing on, tells what it fails with, and when to come again."""
    results = [
        UserResult("1", [enrollment("course:1_2_1")], PROVED),
        UserResult(
            "2",
            [enrollment("course:1_2_2")],
            Completeness(Status.INCOMPLETE, ("ALM answered 429.",), 1),
            BUSY,
        ),
    ]

    assert build(results, BUSY) == empty(
        completeness={
            "status": "incomplete",
            "reasons": ["user 2: ALM answered 429."],
            "pages": 2,
            "requests": 5,
        },
        users={"requested": 2, "read": 1, "failed": [{"user_id": "2", "error": BUSY_TOLD}]},
        error=BUSY_TOLD,
    )


def test_build__allow_incomplete() -> None:
    """Under allow_incomplete what could be read is handed on, marked incomplete, beside the error."""
    results = [
        UserResult("1", [enrollment("course:1_2_1")], PROVED),
        UserResult(
            "2",
            [enrollment("course:1_2_2")],
            Completeness(Status.INCOMPLETE, ("ALM answered 429.",), 1),
            BUSY,
        ),
    ]

    assert build(results, BUSY, allow_incomplete=True) == empty(
        enrollment_ids=["course:1_2_1", "course:1_2_2"],
        enrollment_count=2,
        enrollments=[told("course:1_2_1"), told("course:1_2_2")],
        completeness={
            "status": "incomplete",
            "reasons": ["user 2: ALM answered 429."],
            "pages": 2,
            "requests": 5,
        },
        users={"requested": 2, "read": 1, "failed": [{"user_id": "2", "error": BUSY_TOLD}]},
        error=BUSY_TOLD,
    )


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (Status.PROVED, "incomplete"),
        (Status.CONSISTENT, "incomplete"),
        (Status.INCOMPLETE, "incomplete"),
        (Status.VIOLATED, "violated"),
    ],
)
def test_build__a_failed_run_is_never_complete(status: Status, expected: str) -> None:
    """A user who was not reached is missing: however sure the others are, the run is not complete."""
    document = build([UserResult("1", [], Completeness(status, (), 1))], BUSY)

    assert (document["complete"], document["completeness"]["status"]) == (False, expected)


@pytest.mark.parametrize(
    ("status", "complete"),
    [
        (Status.PROVED, True),
        (Status.CONSISTENT, True),
        (Status.INCOMPLETE, False),
        (Status.VIOLATED, False),
    ],
)
def test_build__complete_is_the_status(*, status: Status, complete: bool) -> None:
    """`complete` is true where the status is proved or consistent, and nowhere else."""
    document = build([UserResult("1", [], Completeness(status, (), 1))])

    assert (document["complete"], document["completeness"]["status"]) == (complete, status.value)


def test_build__ids_without_duplicates_in_order() -> None:
    """Ids and records come in the order served, each once: of an enrollment that came twice the first."""
    grades = [ResourceGrade(name, None, None) for name in ("g2", "g1", "g3")]
    served = [
        enrollment("b", resource_grades=(grades[0], grades[1])),
        enrollment("a", resource_grades=(grades[1], grades[2])),
        enrollment("b", state="STARTED"),
    ]

    document = build([UserResult("1", served, PROVED)])

    assert document["enrollment_ids"] == ["b", "a"]
    assert document["resource_grade_ids"] == ["g2", "g1", "g3"]
    assert [(one["id"], one["state"]) for one in document["enrollments"]] == [
        ("b", None),
        ("a", None),
    ]
    assert document["enrollment_count"] == 2


@pytest.mark.parametrize(
    ("dates", "latest"),
    [
        ([], None),
        ([None], None),
        (["garbage", ""], None),
        (["2023-06-29T12:34:33.000Z"], "2023-06-29T12:34:33.000Z"),
        (["2023-06-30T00:00:00.000Z", "2023-06-29T23:59:59.999Z"], "2023-06-30T00:00:00.000Z"),
        (["2023-06-30T01:00:00+02:00", "2023-06-29T23:30:00Z"], "2023-06-29T23:30:00Z"),
        (["2023-06-30T01:00:00+02:00", "2023-06-29T22:30:00Z"], "2023-06-30T01:00:00+02:00"),
        (["2023-06-29", "2023-06-28T23:59:59Z", None, "garbage"], "2023-06-29"),
        (["2023-06-29T12:00", "2023-06-29T11:59:59.999+00:00"], "2023-06-29T12:00"),
        (["9999-12-31T23:59:59-14:00", "2023-06-29"], "9999-12-31T23:59:59-14:00"),
    ],
)
def test_build__latest_date_enrolled(dates: list[str | None], latest: str | None) -> None:
    """The latest moment is found across all forms of dates, and told as ALM wrote it."""
    served = [enrollment(f"e{place}", date_enrolled=date) for place, date in enumerate(dates)]

    assert build([UserResult("1", served, PROVED)])["latest_date_enrolled"] == latest


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
        (ProtocolError("m", hint="h"), 76),
        (AuthenticationError("m", hint="h"), 77),
    ],
)
def test_build__every_error_has_its_document(error: ConnectorError, code: int) -> None:
    """Whatever ends a run, the same document goes out, and both libraries pass it."""
    expected = {
        "code": code,
        "message": "m",
        "hint": "h",
        "http_status": None,
        "request_id": None,
        "retry_at": None,
    }

    assert build([], error) == empty(error=expected)


@pytest.mark.parametrize(("number", "code"), [(2, 130), (15, 143)])
def test_build__an_interrupted_run(number: int, code: int) -> None:
    """A signal's document has the code that shells count it by."""
    document = build([], InterruptedRun(number))

    assert document["error"] == {
        "code": code,
        "message": "The run was stopped by a signal.",
        "hint": "Nothing was half-written; run it again.",
        "http_status": None,
        "request_id": None,
        "retry_at": None,
    }


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_build__a_number_that_json_has_not(number: float) -> None:
    """A number that no JSON can hold is a defect that is told with its place, and nothing is handed on."""
    with pytest.raises(InternalError) as caught:
        build_document(
            [UserResult("1", [enrollment(score=number)], PROVED)],
            None,
            requested=1,
            requests=1,
            allow_incomplete=False,
        )

    assert str(caught.value) == (
        "The output document breaks its own schema at enrollments/0/score. Nothing was handed on; please report it."
    )
    assert caught.value.code == 70


def test_build__a_record_that_breaks_the_schema() -> None:
    """A record of another type than the contract's never leaves."""
    broken = enrollment(has_passed="yes")

    with pytest.raises(InternalError, match="breaks its own schema at enrollments/0/has_passed"):
        build_document(
            [UserResult("1", [broken], PROVED)],
            None,
            requested=1,
            requests=1,
            allow_incomplete=False,
        )


@given(
    text=st.text(),
    number=st.none()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False),
)
@example(text="##[error]#", number=None)
@example(text="\ud800", number=None)
def test_build__whatever_alm_writes(text: str, number: float | None) -> None:
    """Whatever stands in a record or a message, the document is valid, and its line is read back as it was."""
    grades = (ResourceGrade(f"g{text}", text, 0),)
    one = enrollment(
        f"x{text}",
        state=text,
        url=text,
        date_enrolled=text,
        score=number,
        resource_grades=grades,
        lo_type=text,
    )
    failed = UserResult(
        "2",
        [],
        Completeness(Status.VIOLATED, (text,), 1),
        ProtocolError(f"m{text}", hint=f"h{text}", request_id=text),
    )

    document = build([UserResult("1", [one], PROVED), failed], PARTIAL)
    line = to_json(document)

    assert json.loads(line) == document
    assert "##" not in line
    assert line.isascii()
    assert len(line.splitlines()) == 1
