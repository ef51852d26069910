"""The output document: built from a run's totals and validated by its schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from connector.alm.completeness import Status
from connector.errors import ConnectorError, InternalError, PartialError, error_as_dict
from connector.output.results import RunTotals, name_of
from connector.schemas import first_error, is_valid, load_schema

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

Document = dict[str, Any]
_MAX_LISTED_USERS = 3


@dataclass(frozen=True, slots=True)
class Delivery:
    """The records of a run, in the document itself or where they are instead.

    *enrollments* is ``None`` if a file or standard output has them; ids are ``None`` if they are
    too many to be listed beside a file. *hint* continues the error's own.
    """

    enrollment_ids: list[str] | None
    resource_grade_ids: list[str] | None
    enrollment_count: int
    enrollments: list[Document] | None = None
    output_file: str | None = None
    hint: str = ""


NOTHING = Delivery([], [], 0, [])


def build_document(totals: RunTotals, delivery: Delivery, error: ConnectorError | None) -> Document:
    """Return the document of a run. Raises InternalError if it breaks the outputs schema."""
    status = totals.status
    if error:
        # Users that the run did not reach are missing, and have no verdict of their own.
        status = max(status, Status.INCOMPLETE, key=list(Status).index)
    values: Document = {
        "source": totals.source,
        "enrollment_ids": delivery.enrollment_ids,
        "resource_grade_ids": delivery.resource_grade_ids,
        "enrollment_count": delivery.enrollment_count,
        "enrollments": delivery.enrollments,
        "complete": status in (Status.VERIFIED, Status.CONSISTENT),
        "completeness": {
            "status": status,
            "reasons": totals.reasons,
            "pages": totals.pages,
            "requests": totals.requests,
        },
        "next_since": totals.next_since if is_delivered(error) else None,
        "users": {"requested": totals.requested, "read": totals.read, "failed": totals.failed},
        "output_file": delivery.output_file,
        "error": error_as_dict(error) if error else None,
    }
    if delivery.enrollments is None:
        del values["enrollments"]
    document = {
        name: values[name] for name in load_schema("outputs")["properties"] if name in values
    }
    if not is_valid("outputs", document):
        place, _ = first_error("outputs", document)
        raise InternalError(
            f"The output document breaks its own schema at {place}.",
            hint="Nothing was written. Please report it.",
        )
    return document


def is_delivered(error: ConnectorError | None) -> bool:
    """Return whether every user was asked for, and the records of those read are delivered."""
    return error is None or isinstance(error, PartialError)


def failed_document(error: ConnectorError) -> Document:
    """Return the document of a run that failed before it read anything."""
    return build_document(RunTotals(), NOTHING, error)


def partial_error(
    failed: Sequence[tuple[str, int]], count: int, requested: int, retry_at: datetime | None
) -> PartialError:
    """Return the error of a run in which *count* of *requested* users failed.

    *failed* are the first of them, each with the exit code.
    """
    return PartialError(
        f"{count} of {requested} users could not be read: {list_users(failed, count)}.",
        hint="The other users were read; `users.failed` has the error of each."
        " Run again for those users only.",
        retry_at=retry_at,
    )


def list_users(failed: Sequence[tuple[str, int]], count: int) -> str:
    """Return the first of *count* users who failed, in words."""
    listed = [f"{name} (exit code {code})" for name, code in failed[:_MAX_LISTED_USERS]]
    more = f" and {count - _MAX_LISTED_USERS} more" if count > _MAX_LISTED_USERS else ""
    return ", ".join(listed) + more


def failures_of(failed: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    """Return the name and exit code of each user in a document's ``users.failed``."""
    return [
        (name_of(entry["user_id"], entry.get("user_email")), entry["error"]["code"])
        for entry in failed
    ]
