"""What the command writes: messages, the document or records on standard output, and channels."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import sys
from typing import TYPE_CHECKING, TextIO

from connector.errors import DeadlineError, InterruptedRun, OutputError, UsageError
from connector.redact import Redactor
from connector.settings import SANDBOX
from connector.settings.surfaces import Surface
from connector.text import one_line, to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from connector.channels import Channel, Tally
    from connector.cli.progress import ProgressBar, ProgressLines
    from connector.clock import Clock, Deadline
    from connector.errors import ConnectorError, Problem
    from connector.files import NamedFiles
    from connector.output.document import Document
    from connector.settings import Credentials, Inputs

PROGRAM = "alm-enrollments"
_ENGINE_SECONDS = 0.5
# A pipe that is ready takes so many bytes at once.
_MAX_PIPE_BYTES = getattr(select, "PIPE_BUF", 65_536)
_log = logging.getLogger("connector")


class Console:
    """The streams and channels of one command. No secret that the redactor knows reaches them.

    Messages go to standard error, one line each. The document is the last thing that is written
    to either stream.
    """

    def __init__(self, environ: Mapping[str, str], *, is_action: bool = False) -> None:
        self._environ = environ
        self._is_action = is_action
        self.surface = Surface.ACTION if is_action else Surface.COMMAND
        self.redactor = Redactor()
        #: What is wrong with the command line; the command reports it with its other problems.
        self.problems: list[Problem] = []
        self.is_debug = environ.get("RUNNER_DEBUG") == "1"
        #: Whether the command got no word at all.
        self.is_bare = False
        #: The schema of the command's document, ``None`` if it has none.
        self.document: str | None = "outputs"
        self.has_records_on_stdout = False
        self.channels: tuple[Channel, ...] = ()
        self.named_users: tuple[str, ...] = ()
        self.tally: Tally | None = None
        self.shows_names = False
        self._bar: ProgressBar | None = None
        self._has_open_group = False
        self._has_messages = False
        self._is_annotated = False

    def open_channels(self, output_dir: str | None, dotenv: str | None) -> None:
        """Find the channels, and let each mask the secrets."""
        from connector.channels import ChannelContext, find_channels

        # An empty value means "not given", as for every input.
        folder, report = [(path or "").strip() or None for path in (output_dir, dotenv)]
        context = ChannelContext(
            self._environ, write_line, folder, report, is_action=self._is_action
        )
        self.channels = find_channels(context)
        for channel in self.channels:
            self.redactor.on_secret(channel.mask)

    def files(self) -> tuple[NamedFiles, NamedFiles]:
        """Return the files of the channels that flags name, and those that no flag names."""
        outputs = {channel.flag: channel.files() for channel in self.channels if channel.flag}
        others: dict[str, Iterable[Path | int]] = {
            channel.name: channel.files() for channel in self.channels if not channel.flag
        }
        streams = {
            "standard input": sys.stdin,
            "standard output": sys.stdout,
            "standard error": sys.stderr,
        }
        for name, stream in streams.items():
            # A stream that is closed, or none of the system's.
            with contextlib.suppress(AttributeError, OSError, ValueError):
                others[name] = [stream.fileno()]
        return outputs, others

    def prepare_channels(self, named_users: tuple[str, ...]) -> None:
        """Check that the channels can take the outputs of *named_users*. Raises OutputError.

        The document, or the records, need standard output.
        """
        from connector.channels import prepare

        if sys.stdout is None:
            raise _closed_output()
        self.named_users = named_users
        for channel in self.channels:
            channel.check_user_ids(named_users)
        prepare(self.channels)

    @property
    def is_interactive(self) -> bool:
        """Whether standard output is a terminal."""
        return _is_terminal(sys.stdout)

    def raise_problems(self, hint: str) -> None:
        """Raise UsageError if something is wrong with the command line."""
        if self.problems:
            raise UsageError.of(self.problems, hint=hint)

    def enable_debug(self) -> None:
        """Log every request, and the traceback of an internal error."""
        self.is_debug = True
        _log.setLevel(logging.DEBUG)

    def log(self, text: str) -> None:
        """Write *text* to standard error as one line."""
        if self.channels and not self._has_open_group:
            self._has_open_group = True
            for channel in self.channels:
                channel.open_group()
        self._has_messages = True
        with self._progress_hidden():
            write_line(f"{PROGRAM}: {one_line(self.redactor.clean(self.surface.text(text)))}")

    def warn(self, text: str) -> None:
        """Show *text* as a warning, on the page of the run too if the platform has one."""
        text = one_line(self.redactor.clean(self.surface.text(text)))
        self._has_messages = True
        # The channels of platforms come first.
        with self._progress_hidden():
            for channel in self.channels[:1]:
                channel.warn(text)
            if not self.channels:
                write_line(f"{PROGRAM}: warning: {text}")

    def describe_source(self, inputs: Inputs, credentials: Credentials) -> None:
        """Log that the records come from the sandbox if they do; warn if ALM was perhaps meant."""
        if inputs.base_url == SANDBOX:
            from connector.runner import warnings_of

            self.log("reading the sandbox: learners and enrollments are made up")
            for text in warnings_of(inputs.base_url, credentials):
                self.warn(text)

    def close_group(self) -> None:
        """End the lines that a platform's log folds, if there are any."""
        if self._has_open_group:
            self._has_open_group = False
            for channel in self.channels:
                channel.close_group()

    @contextlib.contextmanager
    def show_logs(self) -> Iterator[None]:
        """Write the warnings that the connector logs inside as messages."""
        handler, level = _LogLines(self), _log.level
        _log.addHandler(handler)
        _log.setLevel(logging.DEBUG if self.is_debug else logging.WARNING)
        try:
            yield
        finally:
            _log.setLevel(level)
            _log.removeHandler(handler)

    @contextlib.contextmanager
    def progress(self, clock: Clock) -> Iterator[ProgressBar | ProgressLines]:
        """Yield what shows progress: a bar on a terminal, elsewhere messages."""
        from connector.cli.progress import ProgressBar, ProgressLines

        if not _is_terminal(sys.stderr):
            yield ProgressLines(self.log, clock)
            return
        self._bar = ProgressBar()
        try:
            yield self._bar
        finally:
            self._bar.close()

    def _progress_hidden(self) -> contextlib.AbstractContextManager[None]:
        return self._bar.hidden() if self._bar else contextlib.nullcontext()

    def write_records(self, piece: bytes, deadline: Deadline) -> None:
        """Write a *piece* of the records to standard output.

        Raises OutputError, DeadlineError if the reader is not ready before *deadline*, and
        BrokenPipeError if the reader closed the pipe, as `| head` does, and no channel gets the
        results: nobody needs the rest then.
        """
        hint = "What it has ends in the middle. Fix this and run again."
        try:
            with self._progress_hidden(), _standard_output(hint) as stdout:
                for start in range(0, len(piece), _MAX_PIPE_BYTES):
                    _wait_for_reader(stdout, deadline)
                    stdout.buffer.write(piece[start : start + _MAX_PIPE_BYTES])
                    stdout.buffer.flush()
        except BrokenPipeError:
            if not any(channel.has_results for channel in self.channels):
                raise

    def fail(self, error: ConnectorError) -> int:
        """Report *error*, which ended the command, and return its exit code."""
        if isinstance(error, UsageError):
            # A channel whose file is another one's, too, would destroy that.
            refused = {problem.name for problem in error.problems if problem.name}
            self.channels = tuple(
                channel for channel in self.channels if channel.flag not in refused
            )
        error = self.surface.error(self.redactor.clean_error(error))
        self.log(f"error: {error}")
        return self.end_failed(error)

    def end_failed(self, error: ConnectorError) -> int:
        """Deliver *error*, which is reported already, and return its exit code."""
        if self.document is None:
            self._annotate(error)
            return error.code
        if self.document == "diff":
            from connector.output.diff import failed_difference as failed_document
        else:
            from connector.output.document import failed_document
        return self._end(failed_document(error), error)

    def finish(self, document: Document, error: ConnectorError | None) -> int:
        """Deliver *document*, report *error*, and return the exit code. Both have no secrets."""
        try:
            return self._finish(document, error)
        except InterruptedRun as interruption:
            path = document["output_file"]
            if path is None:
                raise
            hint = f"{path} was written before. Run again for the other outputs."
            raise interruption.replaced(hint=hint) from None

    def _finish(self, document: Document, error: ConnectorError | None) -> int:
        document = self.surface.document(document)
        if error:
            error = self.surface.error(error)
            self.log(f"error: {error}")
        elif forgiven := document["error"]:
            reason = f"{forgiven['message']} {forgiven['hint']}"
            self.log(f"incomplete, as allow_incomplete allows: {reason}")
        return self._end(document, error)

    def _end(self, document: Document, error: ConnectorError | None) -> int:
        for write in (self._deliver, self._write_document):
            try:
                write(document, error)
            except OutputError as unwritten:
                # The results are lost. If there were none, the first error explains more.
                if error is None or document.get("enrollment_count"):
                    return self.fail(unwritten)
                # What could not be written before the run cannot be written now either.
                name = self.redactor.clean_error(unwritten).message.partition(" cannot ")[0]
                if name not in error.message:
                    self.log(f"error: {unwritten}")
        return error.code if error else 0

    def _deliver(self, document: Document, error: ConnectorError | None) -> None:
        if not self.channels:
            return
        from connector.channels import RunOutputs, deliver

        self.close_group()
        try:
            outputs = RunOutputs(document, error, self.named_users, self.tally, self.shows_names)
            deliver(self.channels, outputs)
        finally:
            if error:
                self._annotate(error)

    def _write_document(self, document: Document, error: ConnectorError | None) -> None:
        # The document is the last line, even if both streams are one.
        self.close_group()
        if self.has_records_on_stdout:
            return
        if isinstance(error, UsageError) and self.is_interactive:
            return
        if self._has_messages and os.getpid() == 1:
            from connector.clock import SystemClock

            # A container's engine reads two pipes in any order: it logs the messages first now.
            SystemClock().sleep(_ENGINE_SECONDS)
        write_text(to_json(document), "\n")

    def _annotate(self, error: ConnectorError) -> None:
        self.close_group()
        # A second annotation, of an error that followed from the first, would hide the first.
        if not self._is_annotated:
            self._is_annotated = True
            for channel in self.channels:
                channel.annotate(error)


class _LogLines(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        # The others report the course of a run, such as retries; formats, what their file lacks.
        if record.name.startswith("connector.formats."):
            self._console.warn(record.getMessage())
        else:
            self._console.log(record.getMessage())


def write_line(line: str) -> None:
    """Write *line* to standard error as it is; without standard error it is lost."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()


def write_text(*texts: str) -> None:
    """Write *texts* to standard output. Raises OutputError.

    A reader that closed the pipe, as `| head` does, is no error.
    """
    try:
        with _standard_output("No document was written. Fix this and run again.") as stdout:
            # `writelines` loses the exception of a signal.
            for text in texts:
                stdout.write(text)
            stdout.flush()
    except BrokenPipeError:
        pass
    except InterruptedRun as interruption:
        hint = "What is on standard output may end in the middle; run it again."
        raise interruption.replaced(hint=hint) from None


def _wait_for_reader(stdout: TextIO, deadline: Deadline) -> None:
    """Wait until standard output takes another piece. Raises DeadlineError."""
    ready = [stdout]
    # On Windows, select takes only sockets. A stream in memory has no file descriptor.
    with contextlib.suppress(OSError, ValueError):
        _, ready, _ = select.select([], [stdout], [], max(deadline.left(), 0.0))
    if not ready:
        raise DeadlineError(
            f"The deadline of {deadline.seconds:g} s passed while the reader of standard output"
            " took no more records.",
            hint="What it has ends in the middle. Read it faster, or set `output_file`.",
            retry_at=deadline.moment(),
        )


@contextlib.contextmanager
def _standard_output(hint: str) -> Iterator[TextIO]:
    if sys.stdout is None:
        raise _closed_output()
    try:
        yield sys.stdout
    except BaseException as error:
        # Nothing may follow a text that ends in the middle, not even what Python still buffers.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            raise OutputError(
                f"Standard output cannot be written: {error.strerror}.", hint=hint
            ) from error
        raise


def _closed_output() -> OutputError:
    return OutputError(
        "Standard output is closed.", hint="No document was written. Open it and run again."
    )


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()
