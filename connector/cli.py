"""The command: flags and environment in; messages, one document and an exit code out."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import traceback
from typing import TYPE_CHECKING, NoReturn

from connector import __version__
from connector.errors import ConnectorError, DefectError, InterruptedRun, OutputError, one_line
from connector.flags import format_help, parse_command_line
from connector.redact import Redactor
from connector.settings import Environment, credential_names, variable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from types import FrameType

    from connector.document import Document

_PROGRAM = "alm-enrollments"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the command that *argv* names and return its exit code.

    Standard output carries the document and nothing else; it is the last thing that
    is written. Everything else goes to standard error, each message in one line.
    """
    environ = Environment(environ)
    redactor = Redactor()
    # Known before anything can go wrong, a slip such as a token given as user id included.
    for name in credential_names():
        redactor.add(environ.get(variable(name), "").strip())
    is_debug = "--debug" in argv or environ.get("RUNNER_DEBUG") == "1"
    with _messages(redactor, is_debug=is_debug):
        try:
            with _signals():
                return _run(argv, environ, redactor)
        except ConnectorError as error:
            return _fail(error, redactor, has_document=argv[:1] not in (["check"], ["sandbox"]))
        except Exception as error:  # noqa: BLE001 - the one place where a defect becomes an exit code
            if is_debug:
                for line in "".join(traceback.format_exception(error)).splitlines():
                    _write_error(line, redactor)
            defect = DefectError(
                f"A defect in {_PROGRAM}: {type(error).__name__}: {error}.",
                hint="Please report it, with what --debug tells.",
            )
            return _fail(defect, redactor, has_document=argv[:1] not in (["check"], ["sandbox"]))


def _run(argv: Sequence[str], environ: Environment, redactor: Redactor) -> int:
    if argv[:1] == ["sandbox"]:
        from connector.sandbox.command import main as serve  # noqa: PLC0415 - an HTTP server, which no other command needs

        return serve(argv[1:], out=sys.stdout)
    line = parse_command_line(argv)
    if line.help or line.version:
        return _print([format_help() if line.help else f"{_PROGRAM} {__version__}\n"])
    from connector.clock import SystemClock  # noqa: PLC0415 - as all below: --help and --version do without
    from connector.inputs import load_inputs  # noqa: PLC0415

    inputs, credentials = load_inputs(line.inputs, environ, redactor, problems=line.problems)
    if line.command == "check":
        from connector.check import check  # noqa: PLC0415

        lines = check(inputs, credentials, redactor, clock=SystemClock(), stdin=sys.stdin)
        return _print(redactor.clean(told) + "\n" for told in lines)
    from connector.job import execute  # noqa: PLC0415

    outcome = execute(inputs, credentials, redactor, clock=SystemClock(), stdin=sys.stdin)
    if outcome.error:
        _write_error(_told(outcome.error), redactor)
    elif forgiven := outcome.document["error"]:
        _write_error(f"incomplete, as allow_incomplete allows: {forgiven['message']} {forgiven['hint']}", redactor)
    _print_document(outcome.document, redactor)
    return outcome.error.code if outcome.error else 0


def _fail(error: ConnectorError, redactor: Redactor, *, has_document: bool) -> int:
    """Tell *error*, print the document of a run that came to nothing, and return the exit code."""
    _write_error(_told(error), redactor)
    # A document that could not be written is not tried again.
    if has_document and not isinstance(error, OutputError):
        from connector.document import build_document  # noqa: PLC0415

        document = build_document([], error, requested=0, requests=0, allow_incomplete=False)
        try:
            _print_document(document, redactor)
        except OutputError as unwritten:
            _write_error(_told(unwritten), redactor)
    return error.code


def _told(error: ConnectorError) -> str:
    return f"error: {error}"


def _print_document(document: Document, redactor: Redactor) -> None:
    from connector.document import to_json  # noqa: PLC0415

    _print([redactor.clean_document(to_json(document)), "\n"])


def _print(texts: Iterable[str]) -> int:
    if sys.stdout is None:
        raise OutputError("Standard output is closed.", hint="Nothing was handed on; give it one and run again.")
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
            f"Standard output cannot be written: {error.strerror}.", hint="Nothing was handed on; mend it and run again."
        ) from error
    return 0


def _write_error(text: str, redactor: Redactor) -> None:
    # Without standard error there is nobody to tell.
    if sys.stderr is None:
        return
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{_PROGRAM}: {one_line(redactor.clean(text))}\n")
        sys.stderr.flush()


class _Messages(logging.Handler):
    """Writes the log to standard error, one line a message, without the run's secrets."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def emit(self, record: logging.LogRecord) -> None:
        _write_error(record.getMessage(), self._redactor)


@contextlib.contextmanager
def _messages(redactor: Redactor, *, is_debug: bool) -> Iterator[None]:
    log, handler = logging.getLogger("connector"), _Messages(redactor)
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG if is_debug else logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)
        log.removeHandler(handler)


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Turn SIGINT and SIGTERM into an InterruptedRun, wherever the run is just then."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # A signal that whoever started the run has it ignore stays ignored.
    heeded = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, _interrupt) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    raise InterruptedRun(number)
