"""Where a run's records go as its users finish: into the document, into a file, or onto standard output."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from connector.errors import InterruptedRun, OutputError, PartialError, error_as_dict
from connector.output.buffer import RecordBuffer
from connector.output.document import build_document
from connector.output.file import OutputFile
from connector.signals import deferred

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import BinaryIO

    from connector.alm.records import Enrollment
    from connector.errors import ConnectorError
    from connector.output.document import Document, Totals, UserResult
    from connector.redact import Redactor
    from connector.settings import Inputs


class Collected(Protocol):
    """What one reading of a user is collected in."""

    def add(self, enrollments: Sequence[Enrollment]) -> None:
        """Take in one page's enrollments."""


class Sink(Protocol):
    """Takes users' results, those of one user at a time."""

    def prepare(self) -> Iterable[dict[str, Any]]:
        """Find out whether it can be written; yield what it has of each user since an earlier run."""

    def has(self, user_id: str) -> bool:
        """Return whether it has *user_id* since an earlier run."""

    def collect(self) -> Collected:
        """Return what a reading is to be collected in."""

    def take(self, place: int, result: UserResult, totals: Totals) -> None:
        """Take in the result of the user at *place* among those asked for."""

    def close(
        self,
        totals: Totals,
        error: ConnectorError | None,
        *,
        requested: int,
        requests: int,
        is_forgiven: bool,
    ) -> Document:
        """End it and return the run's document."""

    def abandon(self) -> None:
        """Let it be as it is: the run has ended otherwise."""


def open_sink(
    inputs: Inputs,
    redactor: Redactor,
    write: Callable[[bytes], None] | None,
    *,
    has_tally: bool = True,
) -> Sink:
    """Return where the records go that *inputs* ask for; *write* is standard output's, where it is to have them.

    With *has_tally* a summary can tell of records that no document has.
    """
    if inputs.output_file:
        return _InFile(inputs, redactor, has_tally=has_tally)
    if inputs.format != "json" and write:
        return _OnStream(inputs, redactor, write, has_tally=has_tally)
    return _InDocument(inputs)


class _List(list["Enrollment"]):
    def add(self, enrollments: Sequence[Enrollment]) -> None:
        self.extend(enrollments)


class _InDocument:
    """Keeps everything until the end."""

    def __init__(self, inputs: Inputs) -> None:
        self._allow_incomplete = inputs.allow_incomplete
        self._results: list[tuple[int, UserResult]] = []

    def prepare(self) -> Iterable[dict[str, Any]]:
        return ()

    def has(self, user_id: str) -> bool:  # noqa: ARG002 - a document begins empty
        return False

    def collect(self) -> Collected:
        return _List()

    def take(self, place: int, result: UserResult, totals: Totals) -> None:  # noqa: ARG002 - the document adds up by itself
        self._results.append((place, result))

    def close(
        self,
        totals: Totals,
        error: ConnectorError | None,
        *,
        requested: int,
        requests: int,
        is_forgiven: bool,
    ) -> Document:
        results = [result for _, result in sorted(self._results, key=lambda one: one[0])]
        return build_document(
            results,
            error,
            requested=requested,
            requests=requests,
            allow_incomplete=self._allow_incomplete,
            notes=totals.notes,
        )

    def abandon(self) -> None:
        self._results.clear()


class _InFile:
    """Appends each user to the output file as he is whole."""

    def __init__(self, inputs: Inputs, redactor: Redactor, *, has_tally: bool) -> None:
        made_with = {
            "lo_types": list(inputs.lo_types),
            "sort": inputs.sort,
            "state": inputs.state,
            "include": list(inputs.include),
            "max_enrollments": inputs.max_enrollments,
            "since": inputs.since.isoformat() if inputs.since else None,
            "base_url": inputs.base_url,
            "shard": "/".join(map(str, inputs.shard)) if inputs.shard else None,
        }
        self._file = OutputFile(
            Path(inputs.output_file or ""), inputs.format, made_with, redactor.clean_document
        )
        self._file.has_tally = has_tally
        self._resume = inputs.resume
        self._allow_incomplete = inputs.allow_incomplete

    def prepare(self) -> Iterable[dict[str, Any]]:
        return self._file.prepare(resume=self._resume)

    def has(self, user_id: str) -> bool:
        return self._file.has(user_id)

    def collect(self) -> Collected:
        return self._file.new_chunk()

    def take(self, place: int, result: UserResult, totals: Totals) -> None:  # noqa: ARG002 - users stand in the file as they finish
        if result.chunk is None:
            raise TypeError("a reading for a file is collected in a chunk")
        if result.error is None:
            # A signal that struck in between would leave records of a user in the file whom its journal does not know.
            with deferred():
                self._file.append(result.user_id, result.chunk, result.completeness)
                totals.add_buffer(result.chunk)
            return
        is_wanted = self._allow_incomplete and result.chunk.count > 0
        self._file.fail(
            result.user_id, error_as_dict(result.error), result.chunk if is_wanted else None
        )
        if is_wanted:
            totals.add_buffer(result.chunk)
        else:
            result.chunk.close()

    def close(
        self,
        totals: Totals,
        error: ConnectorError | None,
        *,
        requested: int,
        requests: int,
        is_forgiven: bool,
    ) -> Document:
        # What a signal leaves is for the user to take, or to go on with; what fails as a whole must not take a whole file's place.
        has_ended = (
            error is None
            or is_forgiven
            or isinstance(error, PartialError)
            or (isinstance(error, InterruptedRun) and totals.read)
        )
        path = self._file.finish(requested, requests) if has_ended else None
        if path is None:
            self._file.abandon()
            if error and totals.read:
                error.hint += f" {totals.read} users that were read are kept in {self._file.kept_in}: run again with resume."
        return totals.document(
            error,
            requested=requested,
            requests=requests,
            output_file=path,
            hands_on=error is None or is_forgiven,
        )

    def abandon(self) -> None:
        self._file.abandon()


class _OnStream:
    """Writes each user to standard output as he is whole."""

    def __init__(
        self, inputs: Inputs, redactor: Redactor, write: Callable[[bytes], None], *, has_tally: bool
    ) -> None:
        from connector.formats import FORMATS  # noqa: PLC0415 - the document needs none

        self._format = FORMATS[inputs.format]()
        self._lines: BinaryIO | None = None
        if inputs.format == "parquet":
            with _told():
                self._lines = tempfile.TemporaryFile()  # noqa: SIM115 - closed by abandon
        self._clean = redactor.clean_document
        self._allow_incomplete = inputs.allow_incomplete
        self._write = self._lines.write if self._lines else write
        self._write_out = write
        self._has_tally = has_tally
        self._has_begun = False
        self._has_rows = False

    def prepare(self) -> Iterable[dict[str, Any]]:
        return ()

    def has(self, user_id: str) -> bool:  # noqa: ARG002 - what was written is gone
        return False

    def collect(self) -> Collected:
        return RecordBuffer(self._format, self._clean, None, has_tally=self._has_tally)

    def take(self, place: int, result: UserResult, totals: Totals) -> None:  # noqa: ARG002
        chunk = result.chunk
        if chunk is None:
            raise TypeError("a reading for a stream is collected in a chunk")
        if chunk.count and (result.error is None or self._allow_incomplete):
            with _told():
                self._begin()
                self._write((self._format.between if self._has_rows else "").encode())
                self._has_rows = True
                for piece in chunk.pieces():
                    self._write(piece)
            totals.add_buffer(chunk)
        chunk.close()

    def _begin(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            self._write(self._format.begin.encode())

    def close(
        self,
        totals: Totals,
        error: ConnectorError | None,
        *,
        requested: int,
        requests: int,
        is_forgiven: bool,
    ) -> Document:
        if error is None or is_forgiven or totals.count:
            with _told():
                self._begin()
                self._write(self._format.end.encode())
                if self._lines:
                    self._copy_parquet(self._lines)
        self.abandon()
        return totals.document(
            error,
            requested=requested,
            requests=requests,
            output_file=None,
            hands_on=error is None or is_forgiven,
        )

    def _copy_parquet(self, lines: BinaryIO) -> None:
        from connector.formats.parquet import write_parquet  # noqa: PLC0415 - pyarrow, which only this format wants

        lines.seek(0)
        handle, name = tempfile.mkstemp(suffix=".parquet")
        os.close(handle)
        path = Path(name)
        try:
            write_parquet(lines, path)
            with path.open("rb") as file:
                while piece := file.read(1024 * 1024):
                    self._write_out(piece)
        finally:
            path.unlink()

    def abandon(self) -> None:
        if self._lines:
            # What its buffer still has would be refused as well.
            with contextlib.suppress(OSError):
                self._lines.close()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Tell what the folder for temporary files refuses in the words of an OutputError; nobody reading is no error of it."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(
            f"Records on their way to standard output cannot be kept in a temporary file: {error.strerror or error}.",
            hint="Make room for them, or name an output_file.",
        ) from error
