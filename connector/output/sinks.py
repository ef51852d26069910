"""Where records go as users finish: into the document, to standard output, or into a file."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from connector.clock import parse_moment
from connector.errors import DeadlineError, OutputError, error_as_dict
from connector.formats import columns_of, make_format
from connector.formats.interface import COPY_BYTES
from connector.output.buffer import RecordBuffer
from connector.output.document import Delivery, is_delivered
from connector.output.file import OutputFile
from connector.output.results import Collected
from connector.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from connector.alm.records import Enrollment
    from connector.clock import Clock
    from connector.errors import ConnectorError
    from connector.output.journal import Entry
    from connector.output.results import Delivered, RunTotals, UserResult
    from connector.redact import Redactor
    from connector.settings import Inputs


class Sink(Protocol[Collected]):
    """Receives the results of one user at a time."""

    #: Whether a signal must not come between writing a user and counting the user.
    is_durable: bool

    def prepare(self) -> Iterable[Entry]:
        """Check that it can be written; yield the journal entries of users that it has."""

    def resumed(self, inputs: Inputs) -> Inputs:
        """Return *inputs* with the relative moments of the run that is resumed."""

    def has(self, user_id: str) -> bool:
        """Return whether it has *user_id* from an earlier run."""

    def open(self) -> None:
        """Get ready for the first user who was read; unlike ``take``, this may take long."""

    def new_records(self) -> Collected:
        """Return what one reading of a user collects its records in."""

    def take(self, place: int, result: UserResult[Collected]) -> Delivered | None:
        """Take the result of the user at *place* among those asked for; return what it received.

        ``None`` if the document itself has the records, or the user failed.
        """

    def close(
        self, totals: RunTotals, error: ConnectorError | None, *, is_forgiven: bool
    ) -> Delivery:
        """End it and return what it has delivered.

        *is_forgiven* is whether an incomplete answer is allowed in spite of *error*.
        """

    def abandon(self) -> None:
        """Leave it as it is: the run has ended in another way."""

    def kept(self, totals: RunTotals) -> str:
        """Return where the users that were read are kept, to continue a hint; empty if nowhere."""


def open_sink(
    inputs: Inputs,
    redactor: Redactor,
    clock: Clock,
    write: Callable[[bytes], None] | None,
    *,
    has_tally: bool = True,
) -> Sink[Any]:
    """Return where the records go that *inputs* ask for; *write* writes to standard output.

    With *has_tally* a summary can count records that are not in the document.
    """
    if inputs.output_file:
        return _FileSink(inputs, redactor, clock, has_tally=has_tally)
    if inputs.format != "json" and write:
        return _StreamSink(inputs, redactor, clock, write, has_tally=has_tally)
    return _DocumentSink(inputs)


class _RecordList:
    def __init__(self) -> None:
        self.enrollments: list[Enrollment] = []

    @property
    def count(self) -> int:
        return len(self.enrollments)

    def add(self, enrollments: Sequence[Enrollment]) -> None:
        self.enrollments += enrollments

    def close(self) -> None:
        self.enrollments.clear()


class _DocumentSink:
    """Keeps all records until the end."""

    is_durable = False

    def __init__(self, inputs: Inputs) -> None:
        self._allow_incomplete = inputs.allow_incomplete
        self._results: list[tuple[int, UserResult[_RecordList]]] = []

    def prepare(self) -> Iterable[Entry]:
        return ()

    def resumed(self, inputs: Inputs) -> Inputs:
        return inputs

    def has(self, user_id: str) -> bool:  # noqa: ARG002 - a document begins empty
        return False

    def open(self) -> None:
        pass

    def new_records(self) -> _RecordList:
        return _RecordList()

    def take(self, place: int, result: UserResult[_RecordList]) -> None:
        self._results.append((place, result))

    def close(
        self,
        totals: RunTotals,  # noqa: ARG002 - as in Sink
        error: ConnectorError | None,
        *,
        is_forgiven: bool,  # noqa: ARG002
    ) -> Delivery:
        enrollments: list[Enrollment] = []
        for _, result in sorted(self._results, key=lambda entry: entry[0]):
            if self._allow_incomplete or (result.error is None and is_delivered(error)):
                enrollments += result.records.enrollments
        grade_ids: list[str] = []
        for enrollment in enrollments:
            grade_ids += [grade.id for grade in enrollment.resource_grades]
        return Delivery(
            enrollment_ids=[enrollment.id for enrollment in enrollments],
            resource_grade_ids=grade_ids,
            enrollment_count=len(enrollments),
            enrollments=[enrollment.as_dict() for enrollment in enrollments],
        )

    def abandon(self) -> None:
        self._results.clear()

    def kept(self, totals: RunTotals) -> str:  # noqa: ARG002 - the records are in memory only
        return ""


class _FileSink:
    """Appends each user to the output file."""

    is_durable = True

    def __init__(
        self, inputs: Inputs, redactor: Redactor, clock: Clock, *, has_tally: bool
    ) -> None:
        journal_inputs: dict[str, Any] = {
            "lo_types": list(inputs.lo_types),
            "sort": inputs.sort,
            "state": inputs.state,
            "include": list(inputs.include),
            "names": inputs.names,
            "locale": inputs.locale,
            "columns": list(columns_of(inputs)),
            "query": list(inputs.query),
            "max_enrollments": inputs.max_enrollments,
            "since": inputs.since and inputs.since.isoformat(),
            "completed_since": inputs.completed_since and inputs.completed_since.isoformat(),
            **inputs.relative,
            "base_url": inputs.base_url,
            "shard": inputs.shard and "/".join(map(str, inputs.shard)),
        }
        if inputs.relative:
            # A run that resumes this one, at another time, reads from the same moments.
            moments = {name: getattr(inputs, name).isoformat() for name in inputs.relative}
            journal_inputs["moments"] = moments
        path = Path(inputs.output_file or "")
        self._file = OutputFile(path, inputs.format, journal_inputs, redactor, clock)
        self._has_tally = has_tally
        self._resume = inputs.resume
        self._allow_incomplete = inputs.allow_incomplete

    def prepare(self) -> Iterable[Entry]:
        return self._file.prepare(resume=self._resume)

    def resumed(self, inputs: Inputs) -> Inputs:
        moments: dict[str, Any] = {
            name: parse_moment(text) for name, text in self._file.earlier_moments.items()
        }
        return replace(inputs, **moments)

    def has(self, user_id: str) -> bool:
        return self._file.has(user_id)

    def open(self) -> None:
        self._file.open()

    def new_records(self) -> RecordBuffer:
        return self._file.new_buffer(has_tally=self._has_tally)

    def take(self, place: int, result: UserResult[RecordBuffer]) -> Delivered | None:  # noqa: ARG002 - in the order of finishing
        if result.error is None:
            self._file.append(result)
            return result.records.delivered
        if not isinstance(result.error, DeadlineError):
            error = error_as_dict(result.error)
            self._file.add_failure(result.user_id, error, result.user_email)
        if self._allow_incomplete and result.records.count:
            self._file.add_partial(result.records)
            return result.records.delivered
        result.records.close()
        return None

    def close(
        self, totals: RunTotals, error: ConnectorError | None, *, is_forgiven: bool
    ) -> Delivery:
        if is_delivered(error) or is_forgiven:
            path = self._file.finish(totals)
            return _listed(totals, output_file=path)
        self._file.abandon()
        return _listed(None, hint=self.kept(totals))

    def abandon(self) -> None:
        self._file.abandon()

    def kept(self, totals: RunTotals) -> str:
        if not totals.delivered_users:
            return ""
        are = "is" if totals.delivered_users == 1 else "are"
        users = counted(totals.delivered_users, "user")
        return f" {users} {are} kept in {self._file.location}: run again with `resume`."


class _StreamSink:
    """Writes each user to standard output; formats that cannot be streamed, at the end."""

    is_durable = False

    def __init__(
        self,
        inputs: Inputs,
        redactor: Redactor,
        clock: Clock,
        write: Callable[[bytes], object],
        *,
        has_tally: bool,
    ) -> None:
        self._format = make_format(inputs.format, columns_of(inputs))
        self._clock = clock
        self._redactor = redactor
        self._allow_incomplete = inputs.allow_incomplete
        self._write_out = write
        self._write = write
        self._has_tally = has_tally
        self._has_begun = False
        self._has_rows = False
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        if not self._format.is_streamed:
            with _translated():
                self._folder = tempfile.TemporaryDirectory()
                self._growing = Path(self._folder.name, "growing").open("wb")  # noqa: SIM115 - see abandon
            self._write = self._growing.write

    def prepare(self) -> Iterable[Entry]:
        return ()

    def resumed(self, inputs: Inputs) -> Inputs:
        return inputs

    def has(self, user_id: str) -> bool:  # noqa: ARG002 - nothing written can be seen again
        return False

    def open(self) -> None:
        pass

    def new_records(self) -> RecordBuffer:
        return RecordBuffer(self._format, self._redactor, None, has_tally=self._has_tally)

    def take(self, place: int, result: UserResult[RecordBuffer]) -> Delivered | None:  # noqa: ARG002 - in the order of finishing
        records = result.records
        delivered = None
        if records.count and (result.error is None or self._allow_incomplete):
            with _translated():
                self._begin()
                self._write((self._format.between if self._has_rows else "").encode())
                self._has_rows = True
                for piece in records.pieces():
                    self._write(piece)
            delivered = records.delivered
        records.close()
        return delivered

    def close(
        self,
        totals: RunTotals,
        error: ConnectorError | None,
        *,
        is_forgiven: bool,
    ) -> Delivery:
        is_wanted = is_delivered(error) or is_forgiven
        # A streamed format's users are on standard output already, whatever the error.
        if is_wanted or (totals.delivered and self._format.is_streamed):
            with _translated():
                self._begin()
                self._write(self._format.end.encode())
                if self._folder:
                    self._growing.close()
                    self._copy_finished(Path(self._folder.name), totals)
        self.abandon()
        return _listed(totals if is_wanted else None)

    def abandon(self) -> None:
        if self._folder:
            # On a full disk, closing fails to write what is buffered.
            with contextlib.suppress(OSError):
                self._growing.close()
            self._folder.cleanup()
            self._folder = None

    def kept(self, totals: RunTotals) -> str:  # noqa: ARG002 - nothing written can be continued
        return ""

    def _begin(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            self._write(self._format.begin.encode())

    def _copy_finished(self, folder: Path, totals: RunTotals) -> None:
        report = totals.report("standard output", self._clock.now(), self._redactor)
        finished = self._format.finish(folder / "growing", folder / "finished", report)
        with finished.open("rb") as file:
            while piece := file.read(COPY_BYTES):
                self._write_out(piece)


def _listed(totals: RunTotals | None, output_file: str | None = None, hint: str = "") -> Delivery:
    """Return the delivery of what *totals* count; of nothing without them."""
    if totals is None:
        return Delivery([], [], 0, hint=hint)
    return Delivery(
        totals.enrollment_ids,
        totals.resource_grade_ids,
        totals.delivered,
        output_file=output_file,
        hint=hint,
    )


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Turn what the folder for temporary files refuses into an OutputError."""
    try:
        yield
    except BrokenPipeError:
        # The reader of standard output closed it, as `| head` does.
        raise
    except OSError as error:
        raise OutputError(
            "Records for standard output cannot be written to a temporary file:"
            f" {error.strerror or error}.",
            hint="Free space in that folder, or set `output_file`.",
        ) from error
