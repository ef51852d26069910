"""The command: flags and environment in; messages, one document and an exit code out."""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import os
import sys
import traceback
from typing import TYPE_CHECKING

from connector import __version__, signals
from connector.channels import Place, RunOutputs, Written, deliver, find_channels, prepare
from connector.cli.flags import format_help, parse_command_line
from connector.errors import (
    ConnectorError,
    InternalError,
    InterruptedRun,
    OutputError,
    Problem,
    UsageError,
)
from connector.redact import Redactor
from connector.settings.sources import Environment, credential_names, variable
from connector.text import one_line, to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from connector.channels import Channel
    from connector.cli.flags import CommandLine
    from connector.cli.progress import Bar, Lines
    from connector.output.document import Document, Totals
    from connector.settings import Credentials, Inputs

_PROGRAM = "alm-enrollments"
_ENGINE_SECONDS = 0.5


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the command that *argv* names and return its exit code.

    Standard output carries the document and nothing else; it is the last thing that
    is written. Everything else goes to standard error, each message in one line.
    """
    command = _Command(argv, Environment(environ))
    with _messages(command):
        try:
            with signals.raised():
                return command.run()
        except ConnectorError as error:
            return command.fail(error)
        except Exception as error:  # noqa: BLE001 - the one place where a defect becomes an exit code
            if command.is_debug:
                for line in "".join(traceback.format_exception(error)).splitlines():
                    command.tell(line)
            defect = InternalError(
                f"A defect in {_PROGRAM}: {type(error).__name__}: {error}.",
                hint="Please report it, with what --debug tells.",
            )
            return command.fail(defect)
        finally:
            command.close_group()


class _Command:
    """One run of the command: what it was told, and where it tells what came of it."""

    def __init__(self, argv: Sequence[str], environ: Environment) -> None:
        self.is_debug = "--debug" in argv or environ.get("RUNNER_DEBUG") == "1"
        self._argv = argv
        self._environ = environ
        self._redactor = Redactor()
        self._channels: tuple[Channel, ...] = ()
        self._named_users: tuple[str, ...] = ()
        self._has_document = argv[:1] not in (["check"], ["sandbox"], ["serve"])
        self._has_open_group = False
        self._is_annotated = False
        self._has_records_on_stdout = False
        self._has_told = False
        self._watch: Bar | Lines | None = None
        self._totals: Totals | None = None

    def run(self) -> int:
        """Do what the command line says and return the exit code. Raises ConnectorError."""
        # JournalState before anything can go wrong, a slip such as a token given as user id included.
        for name in credential_names():
            self._redactor.add(self._environ.get(variable(name), "").strip())
        if self._argv[:1] == ["sandbox"]:
            from connector.sandbox.command import main as serve  # noqa: PLC0415 - an HTTP server, which no other command needs

            return serve(self._argv[1:], out=sys.stdout)
        if self._argv[:1] == ["serve"]:
            from connector.cli.serve import main as serve_http  # noqa: PLC0415 - the same

            self._redactor.add(self._environ.get("ALM_SERVE_KEY", "").strip())
            return serve_http(self._argv[1:], self._environ, out=sys.stdout)
        line = parse_command_line(self._argv)
        if line.help or line.version:
            return _print([format_help() if line.help else f"{_PROGRAM} {__version__}\n"])
        self._channels = find_channels(Place(self._environ, _say, line.output_dir, line.dotenv))
        for channel in self._channels:
            self._redactor.announce(channel.mask)
        if line.command == "merge":
            return self._merge(line)
        from connector.clock import SystemClock  # noqa: PLC0415 - as all below: --help and --version do without
        from connector.settings import load_inputs  # noqa: PLC0415

        inputs, credentials = load_inputs(
            line.inputs, self._environ, self._redactor, problems=line.problems
        )
        if line.command == "check":
            from connector.cli.check import check  # noqa: PLC0415

            lines = check(inputs, credentials, self._redactor, clock=SystemClock(), stdin=sys.stdin)
            return _print(self._redactor.clean(told) + "\n" for told in lines)
        self._named_users = inputs.user_id
        for channel in self._channels:
            channel.watch(inputs.user_id)
        prepare(self._channels)
        return self._fetch(inputs, credentials)

    def _fetch(self, inputs: Inputs, credentials: Credentials) -> int:
        from connector.cli.progress import Bar, Lines  # noqa: PLC0415
        from connector.clock import SystemClock  # noqa: PLC0415
        from connector.runner import RunHooks, execute  # noqa: PLC0415

        clock = SystemClock()
        self._has_records_on_stdout = inputs.format != "json" and inputs.output_file is None
        self._watch = (
            Bar() if sys.stderr is not None and sys.stderr.isatty() else Lines(self.tell, clock)
        )
        hooks = RunHooks(
            _write if self._has_records_on_stdout else None,
            self._watch,
            has_tally=bool(self._channels),
        )
        try:
            outcome = execute(
                inputs, credentials, self._redactor, clock=clock, stdin=sys.stdin, hooks=hooks
            )
        except BrokenPipeError:
            # Who reads has enough (`| head`).
            return 0
        finally:
            self._watch.close()
        self._totals = outcome.totals
        return self._finish(outcome.document, outcome.error)

    def _merge(self, line: CommandLine) -> int:
        from connector.output.merge import merge  # noqa: PLC0415

        if line.problems or line.inputs:
            extra = [
                Problem(name, "not for merge", "the file to write, then each shard's output file")
                for name in line.inputs
            ]
            raise UsageError.of([*line.problems, *extra], hint="Nothing was written.")
        prepare(self._channels)
        return self._finish(*merge(line.files, self._redactor.clean_document))

    def fail(self, error: ConnectorError) -> int:
        """Tell *error*, hand on the document of a run that came to nothing, and return the exit code."""
        if self._has_document:
            return self._finish(_failed(error), error)
        self.tell(f"error: {error}")
        self._annotate(error)
        return error.code

    def tell(self, text: str) -> None:
        """Write *text* to standard error as one line, without the run's secrets."""
        if self._channels and not self._has_open_group:
            self._has_open_group = True
            for channel in self._channels:
                channel.open_group()
        if self._watch:
            self._watch.hide()
        self._has_told = True
        _say(f"{_PROGRAM}: {one_line(self._redactor.clean(text))}")

    def close_group(self) -> None:
        """End the part of the log that can be folded, where one is open."""
        if self._has_open_group:
            self._has_open_group = False
            for channel in self._channels:
                channel.close_group()

    def _finish(self, document: Document, error: ConnectorError | None) -> int:
        if error:
            self.tell(f"error: {error}")
        elif forgiven := document["error"]:
            self.tell(
                f"incomplete, as allow_incomplete allows: {forgiven['message']} {forgiven['hint']}"
            )
        text = self._redactor.clean_document(to_json(document))
        for hand_on in (self._deliver, self._print_document):
            try:
                hand_on(text, error)
            except OutputError as unwritten:
                # What was to be handed on is not; where that was nothing, why it was nothing says more.
                if error is None or document["enrollment_count"]:
                    return self._finish(_failed(unwritten), unwritten)
                if str(unwritten) != str(error):
                    self.tell(f"error: {unwritten}")
        return error.code if error else 0

    def _deliver(self, text: str, error: ConnectorError | None) -> None:
        if not self._channels:
            return
        self.close_group()
        cleaned = self._without_secrets(error) if error else None
        try:
            deliver(
                self._channels,
                RunOutputs(json.loads(text), cleaned, self._named_users, self._written()),
            )
        finally:
            if error:
                self._annotate(error)

    def _written(self) -> Written | None:
        totals = self._totals
        if totals is None or not totals.kinds:
            return None
        told = {
            "kinds": [(*kind, count) for kind, count in totals.kinds.items()],
            "first": totals.first,
        }
        cleaned = json.loads(self._redactor.clean_document(to_json(told)))
        return Written(
            {(str(lo_type), str(state)): count for lo_type, state, count in cleaned["kinds"]},
            cleaned["first"],
        )

    def _print_document(self, text: str, _error: ConnectorError | None) -> None:
        # The document is the last line, also where both streams are one.
        self.close_group()
        if self._has_records_on_stdout:
            return
        if self._has_told and os.getpid() == 1:
            from connector.clock import SystemClock  # noqa: PLC0415

            # A container's engine reads two pipes as it comes to them: what was told before is to be in its log before.
            SystemClock().sleep(_ENGINE_SECONDS)
        _print([text, "\n"])

    def _annotate(self, error: ConnectorError) -> None:
        self.close_group()
        # One is seen; a second one, of what followed from the first, would hide it.
        if not self._is_annotated:
            self._is_annotated = True
            for channel in self._channels:
                channel.annotate(self._without_secrets(error))

    def _without_secrets(self, error: ConnectorError) -> ConnectorError:
        clean = self._redactor.clean
        cleaned = copy.copy(error)
        cleaned.message, cleaned.hint = clean(error.message), clean(error.hint)
        cleaned.request_id = error.request_id and clean(error.request_id)
        return cleaned


def _failed(error: ConnectorError) -> Document:
    from connector.output.document import build_document  # noqa: PLC0415

    return build_document([], error, requested=0, requests=0, allow_incomplete=False)


def _print(texts: Iterable[str]) -> int:
    if sys.stdout is None:
        raise OutputError(
            "Standard output is closed.", hint="Nothing was handed on; give it one and run again."
        )
    try:
        for text in texts:
            sys.stdout.write(text)
        sys.stdout.flush()
    except InterruptedRun as stopped:
        # Part of the line may be out: nothing may follow it, and who reads may have stopped reading.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        stopped.hint = "What is on standard output may end in the middle; run it again."
        raise
    except BrokenPipeError:
        # Who reads has enough (`| head`). Python would try to write the rest once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OutputError(
            f"Standard output cannot be written: {error.strerror}.",
            hint="Nothing was handed on; mend it and run again.",
        ) from error
    return 0


def _write(piece: bytes) -> None:
    """Write *piece* of the records to standard output. Raises BrokenPipeError where nobody reads any more, OutputError."""
    if sys.stdout is None:
        raise OutputError(
            "Standard output is closed.", hint="Nothing was handed on; give it one and run again."
        )
    try:
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    except BaseException as error:
        # Whatever is still to be written must not be written behind it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            raise OutputError(
                f"Standard output cannot be written: {error.strerror}.",
                hint="What is on it ends in the middle; mend it and run again.",
            ) from error
        raise


def _say(line: str) -> None:
    # Without standard error there is nobody to tell.
    if sys.stderr is None:
        return
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


class _Messages(logging.Handler):
    """Writes the log to standard error, one line a message, without the run's secrets."""

    def __init__(self, command: _Command) -> None:
        super().__init__()
        self._command = command

    def emit(self, record: logging.LogRecord) -> None:
        self._command.tell(record.getMessage())


@contextlib.contextmanager
def _messages(command: _Command) -> Iterator[None]:
    log, handler = logging.getLogger("connector"), _Messages(command)
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG if command.is_debug else logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)
        log.removeHandler(handler)
