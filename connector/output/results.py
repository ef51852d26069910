"""What was read of each user, and the totals of a run, added up as users finish."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from connector.alm.completeness import Completeness, Status
from connector.clock import parse_moment
from connector.errors import DeadlineError, UserNotFoundError, error_as_dict
from connector.formats.interface import Report
from connector.text import MAX_SUMMARY_RECORDS, counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from connector.alm.records import Enrollment
    from connector.errors import ConnectorError
    from connector.redact import Redactor

#: Ids that a document lists if an output file has the records.
MAX_LISTED_IDS = 2_000
#: How long before the first answer of a run the next one begins.
NEXT_SINCE_MARGIN = timedelta(minutes=5)
# Nobody reads the reasons of a million users.
_MAX_REASONS = 1_000
_by_place = itemgetter(0)


class Records(Protocol):
    """What one reading of one user collects its records in."""

    @property
    def count(self) -> int:
        """How many records were added."""

    def add(self, enrollments: Sequence[Enrollment]) -> None:
        """Add the records of one page."""

    def close(self) -> None:
        """Release the memory, or the temporary file."""


Collected = TypeVar("Collected", bound=Records)


@dataclass(frozen=True, slots=True)
class UserResult(Generic[Collected]):
    """What was read of one user: everything, or with *error* the part before it."""

    #: ``None`` if an address could not be looked up.
    user_id: str | None
    records: Collected
    completeness: Completeness
    error: ConnectorError | None = None
    #: The server's own time when it first answered in the run that read the user.
    answered_at: datetime | None = None
    #: The address by which the run was asked for the user.
    user_email: str | None = None
    #: Whether nothing was read, because another entry of the list is the same user's.
    is_repeat: bool = False
    #: Whether nothing was read, because the output file has the user from an earlier run.
    is_kept: bool = False

    @property
    def name(self) -> str:
        """The user as messages call it: the id, with the address if the run was asked by it."""
        return name_of(self.user_id, self.user_email)


def name_of(user_id: str | None, user_email: str | None) -> str:
    """Return the id, with the address in brackets if there is one, or only the address."""
    if user_id is None:
        return str(user_email)
    return f"{user_id} ({user_email})" if user_email else user_id


def failure_of(
    user_id: str | None, error: Mapping[str, Any], user_email: str | None
) -> dict[str, Any]:
    """Return a user who failed, as the document and the journal have it."""
    if user_email is None:
        return {"user_id": user_id, "error": error}
    return {"user_id": user_id, "user_email": user_email, "error": error}


@dataclass(frozen=True, slots=True)
class Delivered:
    """What a file or standard output received of one user.

    The ids are ``None`` if there are more than a document lists. *counts* (by type and state) and
    the *first* records are for a step summary.
    """

    count: int
    enrollment_ids: Sequence[str] | None
    resource_grade_ids: Sequence[str] | None
    counts: Mapping[tuple[str | None, str | None], int] = field(default_factory=dict)
    first: Sequence[dict[str, Any]] = ()


class RunTotals:
    """The totals of a run. Holds none of its records; only the methods below change it."""

    def __init__(self, source: str | None = None, *, is_of_many: bool = False) -> None:
        #: ALM's address, or ``sandbox``.
        self.source = source
        self._is_of_many = is_of_many
        # With the user's place among those asked for; users finish in any order.
        self._reasons: list[tuple[int, str]] = []
        self._failed: list[tuple[int, dict[str, Any]]] = []
        self._unlisted_reasons = 0
        self.status = Status.VERIFIED
        self.pages = 0
        #: Users asked for and page requests sent, known when the run has ended.
        self.requested = 0
        self.missing = 0
        self.requests = 0
        #: Users who were read, in this run or an earlier one, and those of them that a file kept.
        self.read = 0
        self.kept = 0
        #: Users that the output file has from an earlier run, whether asked for by now or not.
        self.in_file = 0
        #: Records received in this run.
        self.records = 0
        self.delivered = 0
        self.enrollment_ids: list[str] | None = []
        self.resource_grade_ids: list[str] | None = []
        self._answered_at: datetime | None = None
        self._is_cut_short = False
        #: The user of a run of one, as messages call it, once it was read or has failed.
        self.only_user: str | None = None
        self.counts: Counter[tuple[str | None, str | None]] = Counter()
        self.first: list[dict[str, Any]] = []

    @property
    def finished(self) -> int:
        """How many users were read, or failed."""
        return self.read + len(self._failed)

    @property
    def delivered_users(self) -> int:
        """How many users have been read in this run, or are in the file from an earlier one."""
        return self.in_file + self.read - self.kept

    @property
    def next_since(self) -> str | None:
        """The ``since`` of a next run that misses nothing; ``None`` if this run missed something.

        Five minutes before the server's first answer in the run: time for an enrollment to appear
        in the API, and for servers whose clocks differ.
        """
        if self._answered_at is None or self._is_cut_short or self.missing:
            return None
        moment = (self._answered_at - NEXT_SINCE_MARGIN).astimezone(UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    @property
    def failed(self) -> list[dict[str, Any]]:
        """The users who could not be read, in the order asked for, each with the error."""
        return [failed for _, failed in sorted(self._failed, key=_by_place)]

    @property
    def reasons(self) -> list[str]:
        """The reasons of the users' verdicts and of the run, up to a limit."""
        reasons = [reason for _, reason in sorted(self._reasons, key=_by_place)]
        if self._unlisted_reasons:
            reasons.append(f"and {counted(self._unlisted_reasons, 'more reason')}")
        return reasons

    def report(self, name: str, finished_at: datetime, redactor: Redactor) -> Report:
        """Return what the finished file *name* may say of the run, without secrets."""
        status = self.status
        if self.missing or self._failed:
            status = max(status, Status.INCOMPLETE, key=list(Status).index)
        return Report(
            name=name,
            source=redactor.clean_value(self.source),
            finished_at=finished_at,
            status=status,
            reasons=redactor.clean_value(self.reasons),
            requested=self.requested,
            read=self.read,
            failed=redactor.clean_value(self.failed),
        )

    def add_result(self, place: int, result: UserResult[Any], delivered: Delivered | None) -> None:
        """Add the result of the user at *place* among those asked for.

        *delivered* is what a file or standard output received of it.
        """
        if not self._is_of_many:
            self.only_user = result.name
        self.records += result.records.count
        self._add_verdict(place, result.name, result.completeness)
        if delivered:
            self._add_delivered(delivered)
        if result.error is None:
            self.read += 1
            self._add_reading(result.completeness, result.answered_at)
        elif not isinstance(result.error, DeadlineError):
            self.add_failure(place, result.user_id, error_as_dict(result.error), result.user_email)
            # A user of whom there are pages exists, whatever ALM says later.
            self._is_cut_short |= result.completeness.pages > 0

    def add_failure(
        self,
        place: int,
        user_id: str | None,
        error: Mapping[str, Any],
        user_email: str | None = None,
    ) -> None:
        """Add a user who could not be read; *error* is as in the document."""
        self._failed.append((place, failure_of(user_id, error, user_email)))
        # Of a user whom ALM does not have, nothing can be missing.
        self._is_cut_short |= error["code"] != UserNotFoundError.exit_code

    def add_from_journal(self, entry: Mapping[str, Any]) -> None:
        """Add what a journal says of a user that the file has; ``add_kept`` counts the user."""
        self.in_file += 1
        verdict = Completeness(Status(entry["status"]), tuple(entry["reasons"]), entry["pages"])
        self._add_verdict(-1, name_of(entry["user_id"], entry.get("user_email")), verdict)
        answered_at = entry["answered_at"] and parse_moment(entry["answered_at"])
        self._add_reading(verdict, answered_at)
        self._add_delivered(
            Delivered(
                count=entry["enrollments"],
                enrollment_ids=entry.get("enrollment_ids"),
                resource_grade_ids=entry.get("resource_grade_ids"),
                counts={(lo_type, state): count for lo_type, state, count in entry["counts"]},
            )
        )

    def add_kept(self) -> None:
        """Count as read a user that the file has from an earlier run."""
        self.kept += 1
        self.read += 1

    def add_known(self, result: UserResult[Any]) -> None:
        """Add a user who did not have to be read; a repeat counts as no user."""
        if result.is_kept:
            self.add_kept()

    def end(
        self, *, requested: int, requests: int, is_list_complete: bool = True, deleted: int = 0
    ) -> None:
        """Set how many users were asked for, and how many page requests were sent.

        Of a list that is not complete, users are missing that nobody has counted. *deleted* users
        of it were skipped.
        """
        if deleted:
            self.add_reason(requested, f"skipped {counted(deleted, 'user')} that ALM has deleted")
        self.requested, self.requests = requested, requests
        self.missing = requested - self.finished
        if self.finished and self.missing:
            self.add_reason(requested, f"{self.missing} of {requested} users were not reached")
        if not is_list_complete:
            self.missing += 1
            self.add_reason(requested, "the list of users was not read to its end")

    def add_reason(self, place: int, reason: str) -> None:
        """Add a reason; they are listed by *place*."""
        if len(self._reasons) < _MAX_REASONS:
            self._reasons.append((place, reason))
        else:
            self._unlisted_reasons += 1

    def _add_verdict(self, place: int, name: str, completeness: Completeness) -> None:
        self.status = max(self.status, completeness.status, key=list(Status).index)
        self.pages += completeness.pages
        for reason in completeness.reasons:
            prefix = f"user {name}: " if self._is_of_many else ""
            self.add_reason(place, prefix + reason)

    def _add_reading(self, completeness: Completeness, answered_at: datetime | None) -> None:
        self._is_cut_short |= not completeness.is_complete
        if answered_at and (self._answered_at is None or answered_at < self._answered_at):
            self._answered_at = answered_at

    def _add_delivered(self, delivered: Delivered) -> None:
        self.delivered += delivered.count
        self.enrollment_ids = _joined(self.enrollment_ids, delivered.enrollment_ids)
        self.resource_grade_ids = _joined(self.resource_grade_ids, delivered.resource_grade_ids)
        self.counts.update(delivered.counts)
        self.first += delivered.first[: MAX_SUMMARY_RECORDS - len(self.first)]


def _joined(listed: list[str] | None, more: Sequence[str] | None) -> list[str] | None:
    if listed is None or more is None or len(listed) + len(more) > MAX_LISTED_IDS:
        return None
    return [*listed, *more]
