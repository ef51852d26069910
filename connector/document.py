"""Results to the contract's document, judged by its schema before it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import jsonschema_rs

from connector.alm.completeness import Completeness, Status, combine
from connector.clock import parse_moment
from connector.errors import ConnectorError, DefectError, PartialError, error_as_dict
from connector.schemas import load_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from connector.alm.records import Enrollment

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class UserResult:
    """What was read of one user: all of it, or with *error* the part before it."""

    user_id: str
    enrollments: Sequence[Enrollment]
    completeness: Completeness
    error: ConnectorError | None = None


def build_document(
    results: Sequence[UserResult], error: ConnectorError | None, *, requested: int, requests: int, allow_incomplete: bool
) -> Document:
    """Return the contract's document of a run that asked for *requested* users in *requests* page requests.

    Where the run failed, only whole users are handed on, and of a run that failed as
    a whole none, unless *allow_incomplete*.
    """
    handed_on = [result for result in results if allow_incomplete or _is_handed_on(result, error)]
    # Only a reading that contradicts itself has an enrollment twice: once is enough of it.
    enrollments = _unique(enrollment for result in handed_on for enrollment in result.enrollments)
    completeness = combine({result.user_id: result.completeness for result in results})
    # A user who was not reached is missing without a verdict of his own.
    status = completeness.status if error is None else max(completeness.status, Status.INCOMPLETE, key=list(Status).index)
    read = sum(result.error is None for result in results)
    document = {
        "enrollment_ids": [enrollment.id for enrollment in enrollments],
        "resource_grade_ids": list(dict.fromkeys(grade.id for enrollment in enrollments for grade in enrollment.resource_grades)),
        "enrollment_count": len(enrollments),
        "enrollments": [enrollment.as_dict() for enrollment in enrollments],
        "complete": error is None and completeness.is_complete,
        "completeness": {
            "status": status,
            "reasons": list(completeness.reasons),
            "pages": completeness.pages,
            "requests": requests,
        },
        "latest_date_enrolled": _latest(enrollments),
        "users": {"requested": requested, "read": read, "failed": [_failed(result) for result in results if result.error]},
        "output_file": None,
        "error": error_as_dict(error) if error else None,
    }
    _judge(document)
    return document


def _is_handed_on(result: UserResult, error: ConnectorError | None) -> bool:
    return result.error is None and (error is None or isinstance(error, PartialError))


def _unique(enrollments: Iterable[Enrollment]) -> list[Enrollment]:
    first: dict[str, Enrollment] = {}
    for enrollment in enrollments:
        first.setdefault(enrollment.id, enrollment)
    return list(first.values())


def _latest(enrollments: Iterable[Enrollment]) -> str | None:
    dated = ((parse_moment(enrollment.date_enrolled), enrollment.date_enrolled) for enrollment in enrollments if enrollment.date_enrolled)
    return max(((moment, text) for moment, text in dated if moment), default=(None, None))[1]


def _failed(result: UserResult) -> Document:
    return {"user_id": result.user_id, "error": error_as_dict(result.error)} if result.error else {}


@cache
def _validator() -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(load_schema("outputs"))


def _judge(document: Document) -> None:
    if _validator().is_valid(document):
        return
    error = next(iter(_validator().iter_errors(document)))
    place = "/".join(map(str, error.instance_path))
    raise DefectError(f"The output document breaks its own schema at {place}.", hint="Nothing was handed on; please report it.")
