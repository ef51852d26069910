"""Results to the contract's document, judged by its schema before it leaves."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import jsonschema_rs

from connector.alm.completeness import Completeness, Status
from connector.clock import parse_moment
from connector.errors import ConnectorError, InternalError, PartialError, error_as_dict
from connector.output.buffer import MAX_LISTED_IDS, MAX_SUMMARY_RECORDS
from connector.schemas import load_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from connector.alm.records import Enrollment
    from connector.output.buffer import RecordBuffer

Document = dict[str, Any]
# Of the reasons of a million users nobody would read more.
_MOST_REASONS = 1_000
_SHOWN_USERS = 3


@dataclass(frozen=True, slots=True)
class UserResult:
    """What was read of one user: all of it, or with *error* the part before it.

    The records stand in *enrollments*, or in *chunk* where they are on their way to a file.
    """

    user_id: str
    enrollments: Sequence[Enrollment]
    completeness: Completeness
    error: ConnectorError | None = None
    chunk: RecordBuffer | None = None

    @property
    def count(self) -> int:
        """How many records were read."""
        return self.chunk.count if self.chunk else len(self.enrollments)


class Totals:
    """What the users of a run come to, added up as they finish; holds none of their records."""

    def __init__(self, *, is_of_many: bool) -> None:
        self._is_of_many = is_of_many
        self._status = Status.PROVED
        self._reasons: list[str] = []
        self._unlisted_reasons = 0
        self._latest: datetime | None = None
        self._latest_text: str | None = None
        self._ids: dict[str, list[str] | None] = {"enrollment_ids": [], "resource_grade_ids": []}
        #: Reasons that are no user's own.
        self.notes: list[str] = []
        self.pages = 0
        self.read = 0
        #: Of those read the ones that a file had before, and how many it had.
        self.kept = 0
        self.in_file = 0
        self.failed: list[Document] = []
        self.records = 0
        #: Handed on to a file.
        self.count = 0
        self.kinds: Counter[tuple[str | None, str | None]] = Counter()
        self.first: list[Document] = []

    @property
    def finished(self) -> int:
        """How many users were read, or failed."""
        return self.read + len(self.failed)

    def add(self, user_id: str, completeness: Completeness, error: ConnectorError | None) -> None:
        """Take in one user's verdict."""
        self._judge(user_id, completeness)
        if error:
            self.failed.append({"user_id": user_id, "error": error_as_dict(error)})
        else:
            self.read += 1

    def keep(self) -> None:
        """Count a user as read whom the file has since an earlier run."""
        self.kept += 1
        self.read += 1

    def resume(self, entry: Mapping[str, Any]) -> None:
        """Take in what a journal tells of a user whom the file has since an earlier run; ``read`` counts him when he is asked for."""
        self.in_file += 1
        self._judge(
            entry["user_id"],
            Completeness(Status(entry["status"]), tuple(entry["reasons"]), entry["pages"]),
        )
        self.hand_on(entry["enrollments"], entry["latest_date_enrolled"], entry)

    def _judge(self, user_id: str, completeness: Completeness) -> None:
        self._status = max(self._status, completeness.status, key=list(Status).index)
        for reason in completeness.reasons:
            self._list(f"user {user_id}: {reason}" if self._is_of_many else reason)
        self.pages += completeness.pages

    def note(self, reason: str) -> None:
        """Take in what is to be said of the whole run."""
        self.notes.append(reason)
        self._list(reason)

    def _list(self, reason: str) -> None:
        if len(self._reasons) < _MOST_REASONS:
            self._reasons.append(reason)
        else:
            self._unlisted_reasons += 1

    def hand_on(
        self, count: int, latest: str | None, ids: Mapping[str, Sequence[str] | None]
    ) -> None:
        """Take in what a file has of one user; an id list that is ``None`` was too long to be kept."""
        self.count += count
        for name, known in self._ids.items():
            more = ids.get(name)
            fits = (
                known is not None and more is not None and len(known) + len(more) <= MAX_LISTED_IDS
            )
            self._ids[name] = [*(known or ()), *(more or ())] if fits else None
        moment = parse_moment(latest) if latest else None
        if moment and (self._latest is None or moment > self._latest):
            self._latest, self._latest_text = moment, latest

    def add_buffer(self, chunk: RecordBuffer) -> None:
        """Take in what a file has of one user in this run."""
        ids = {
            "enrollment_ids": chunk.enrollment_ids,
            "resource_grade_ids": list(chunk.resource_grade_ids),
        }
        self.hand_on(chunk.count, chunk.latest_date_enrolled, ids)
        self.kinds.update(chunk.kinds)
        self.first += chunk.first[: MAX_SUMMARY_RECORDS - len(self.first)]

    def document(
        self,
        error: ConnectorError | None,
        *,
        requested: int,
        requests: int,
        output_file: str | None,
        hands_on: bool,
    ) -> Document:
        """Return the contract's document of a run whose records are in *output_file*, or were written to standard output.

        Where the run has failed as a whole and does not *hand on*, the lists are empty;
        the file, where there is one, has its whole users all the same.
        """
        is_handed_on = hands_on or isinstance(error, PartialError)
        return self.completed(
            {
                **(self._ids if is_handed_on else {"enrollment_ids": [], "resource_grade_ids": []}),
                "enrollment_count": self.count if output_file or is_handed_on else 0,
                "latest_date_enrolled": self._latest_text if output_file or is_handed_on else None,
            },
            error,
            requested=requested,
            requests=requests,
            output_file=output_file,
        )

    def completed(
        self,
        known: Document,
        error: ConnectorError | None,
        *,
        requested: int,
        requests: int,
        output_file: str | None = None,
    ) -> Document:
        """Return *known* with all that the users' verdicts add, in the contract's order, judged by its schema."""
        # A user who was not reached is missing without a verdict of his own.
        status = (
            self._status
            if error is None
            else max(self._status, Status.INCOMPLETE, key=list(Status).index)
        )
        more = [f"and {self._unlisted_reasons} more reasons"] if self._unlisted_reasons else []
        told: Document = {
            **known,
            "complete": error is None and status in (Status.PROVED, Status.CONSISTENT),
            "completeness": {
                "status": status,
                "reasons": [*self._reasons, *more],
                "pages": self.pages,
                "requests": requests,
            },
            "users": {"requested": requested, "read": self.read, "failed": self.failed},
            "output_file": output_file,
            "error": error_as_dict(error) if error else None,
        }
        document = {
            name: told[name] for name in load_schema("outputs")["properties"] if name in told
        }
        _judge(document)
        return document


def partial_error(
    listed: Sequence[tuple[str, int]], count: int, requested: int, retry_at: datetime | None
) -> PartialError:
    """Return the error of a run of which *count* of *requested* users failed; the first are *listed*, each with his exit code."""
    return PartialError(
        f"{count} of {requested} users could not be read: {list_users(listed, count)}.",
        hint="The others were; users.failed tells each one's error. Run again for those users alone.",
        retry_at=retry_at,
    )


def list_users(listed: Sequence[tuple[str, int]], count: int) -> str:
    """Return the first of *count* users who failed in words."""
    told = ", ".join(f"{user_id} (exit code {code})" for user_id, code in listed[:_SHOWN_USERS])
    return told + (f" and {count - _SHOWN_USERS} more" if count > _SHOWN_USERS else "")


def build_document(
    results: Sequence[UserResult],
    error: ConnectorError | None,
    *,
    requested: int,
    requests: int,
    allow_incomplete: bool,
    notes: Iterable[str] = (),
) -> Document:
    """Return the contract's document of a run that asked for *requested* users in *requests* page requests.

    Where the run failed, only whole users are handed on, and of a run that failed as
    a whole none, unless *allow_incomplete*. *notes* are reasons that are no user's own.
    """
    handed_on = [result for result in results if allow_incomplete or _is_handed_on(result, error)]
    # Only a reading that contradicts itself has an enrollment twice: once is enough of it.
    enrollments = _unique(enrollment for result in handed_on for enrollment in result.enrollments)
    totals = Totals(is_of_many=len(results) > 1)
    for result in results:
        totals.add(result.user_id, result.completeness, result.error)
    for note in notes:
        totals.note(note)
    known = {
        "enrollment_ids": [enrollment.id for enrollment in enrollments],
        "resource_grade_ids": list(
            dict.fromkeys(
                grade.id for enrollment in enrollments for grade in enrollment.resource_grades
            )
        ),
        "enrollment_count": len(enrollments),
        "enrollments": [enrollment.as_dict() for enrollment in enrollments],
        "latest_date_enrolled": _latest(enrollments),
    }
    return totals.completed(known, error, requested=requested, requests=requests)


def _is_handed_on(result: UserResult, error: ConnectorError | None) -> bool:
    return result.error is None and (error is None or isinstance(error, PartialError))


def _unique(enrollments: Iterable[Enrollment]) -> list[Enrollment]:
    first: dict[str, Enrollment] = {}
    for enrollment in enrollments:
        first.setdefault(enrollment.id, enrollment)
    return list(first.values())


def _latest(enrollments: Iterable[Enrollment]) -> str | None:
    dated = (
        (parse_moment(enrollment.date_enrolled), enrollment.date_enrolled)
        for enrollment in enrollments
        if enrollment.date_enrolled
    )
    return max(((moment, text) for moment, text in dated if moment), default=(None, None))[1]


@cache
def _validator() -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(load_schema("outputs"))


def _judge(document: Document) -> None:
    if _validator().is_valid(document):
        return
    error = next(iter(_validator().iter_errors(document)))
    place = "/".join(map(str, error.instance_path))
    raise InternalError(
        f"The output document breaks its own schema at {place}.",
        hint="Nothing was handed on; please report it.",
    )


def failed_document(error: ConnectorError) -> Document:
    """Return the document of a run that failed before it read anything."""
    return build_document([], error, requested=0, requests=0, allow_incomplete=False)
