"""The commands, one function each. What they do is elsewhere, and imported when it is needed."""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
import traceback
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from connector import signals
from connector.cli.console import PROGRAM, Console, write_line, write_records, write_text
from connector.cli.group import CommandGroup
from connector.cli.help import (
    FETCH_EXAMPLES,
    check_tables,
    fetch_tables,
    merge_tables,
    sandbox_tables,
    serve_tables,
)
from connector.cli.options import (
    ENV_FILE,
    FILE,
    HELP,
    OUTPUTS,
    VERSION,
    input_options,
    number_option,
)
from connector.errors import (
    ConnectorError,
    InternalError,
    InterruptedRun,
    OutputError,
    Problem,
    UsageError,
)
from connector.schemas import load_schema
from connector.settings import credential_names, load, variable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from connector.channels import Tally
    from connector.output.results import RunTotals
    from connector.redact import Redactor
    from connector.settings import Credentials, Inputs

_INPUTS = [*input_options(), ENV_FILE, *OUTPUTS]
_LO_TYPES = load_schema("inputs")["properties"]["lo_types"]["items"]["enum"]
_MAX_PORT = 65_535
_BACKLOG = 1024


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the command that *argv* names and return its exit code.

    Standard output carries the document and nothing else; it is the last thing that is written.
    Everything else goes to standard error, each message in one line. *environ* is that of the
    channels; settings read the process's own environment.
    """
    console = Console(environ)
    with console.show_logs():
        try:
            # Before anything is parsed: a token may have been passed as a user id.
            for name in (*credential_names(), "serve_key"):
                console.redactor.add(environ.get(variable(name), "").strip())
            with signals.raised():
                exit_code: int = cli.main(
                    list(argv), prog_name=PROGRAM, standalone_mode=False, obj=console
                )
                return exit_code
        except ConnectorError as error:
            return console.fail(error)
        except Exception as error:  # noqa: BLE001 - the only place that makes it an exit code
            if console.is_debug:
                for line in "".join(traceback.format_exception(error)).splitlines():
                    console.log(line)
            defect = InternalError(
                f"A defect in {PROGRAM}: {type(error).__name__}: {error}.",
                hint="Please report it, with what --debug tells.",
            )
            return console.fail(defect)
        finally:
            console.close_group()


cli = CommandGroup(
    PROGRAM,
    default="fetch",
    params=[VERSION, HELP],
    help="Read every enrollment of Adobe Learning Manager learners, or report what is missing.",
    options_metavar="",
    subcommand_metavar="[COMMAND] [OPTIONS]",
    # The terminal's own width, however wide it is.
    context_settings={"help_option_names": [], "max_content_width": sys.maxsize},
)


@cli.command(params=_INPUTS, tables=fetch_tables, has_document=True)
@click.pass_obj
def fetch(console: Console, /, **flags: str | None) -> int:
    """Read the enrollments and print the document.

    Every input is a variable, too: --user-id is ALM_USER_ID. Lists are separated by commas,
    spaces or newlines, or are JSON arrays; a repeated option adds to its list.
    """
    try:
        inputs, credentials = _load(console, flags)
    except UsageError as error:
        if console.is_bare and console.is_interactive and _names_no_user(error):
            write_line(_short_help())
            return console.end_failed(console.redactor.clean_error(error))
        raise
    console.prepare_channels(inputs.user_id)
    from connector.clock import SystemClock  # noqa: PLC0415 - as all below: --help does without
    from connector.runner import RunHooks, execute  # noqa: PLC0415

    clock = SystemClock()
    console.has_records_on_stdout = inputs.format != "json" and inputs.output_file is None
    write = write_records if console.has_records_on_stdout else None
    try:
        with console.progress(clock) as on_progress:
            hooks = RunHooks(write, on_progress, has_tally=bool(console.channels))
            outcome = execute(
                inputs, credentials, console.redactor, clock=clock, stdin=sys.stdin, hooks=hooks
            )
    except BrokenPipeError:
        # The reader closed the pipe, as `| head` does.
        return 0
    console.tally = _tally(outcome.totals, console.redactor)
    return console.finish(outcome.document, outcome.error)


def _load(console: Console, flags: Mapping[str, str | None]) -> tuple[Inputs, Credentials]:
    given = {name: value for name, value in flags.items() if value}
    return load(given, console.redactor, problems=console.problems)


def _names_no_user(error: UsageError) -> bool:
    return any(
        (problem.name, problem.given) == ("user_id", "missing") for problem in error.problems
    )


def _short_help() -> str:
    ctx = click.get_current_context().find_root()
    formatter = ctx.make_formatter()
    ctx.command.format_usage(ctx, formatter)
    ctx.command.format_help_text(ctx, formatter)
    with formatter.section("Examples"):
        formatter.write_dl(list(FETCH_EXAMPLES.items()))
    formatter.write_text(f"\n{PROGRAM} --help describes every command and option.")
    return formatter.getvalue().rstrip()


def _tally(totals: RunTotals, redactor: Redactor) -> Tally | None:
    from connector.channels import Tally  # noqa: PLC0415

    if not totals.counts:
        return None
    counts = redactor.clean_value([[*kind, count] for kind, count in totals.counts.items()])
    return Tally(
        {(str(lo_type), str(state)): count for lo_type, state, count in counts},
        redactor.clean_value(totals.first),
    )


@cli.command(params=OUTPUTS, tables=merge_tables, has_document=True)
@click.argument("files", nargs=-1, type=FILE, metavar="FILE SHARD...")
@click.pass_obj
def merge(console: Console, files: tuple[str, ...]) -> int:
    """Join the output files of shards in FILE, without asking ALM."""
    from connector.output.merge import merge as merge_files  # noqa: PLC0415

    console.raise_problems("Nothing was written.")
    console.prepare_channels(())
    document, error = merge_files(files, console.redactor)
    return console.finish(document, error and console.redactor.clean_error(error))


@cli.command(params=_INPUTS, tables=check_tables)
@click.pass_obj
def check(console: Console, /, **flags: str | None) -> int:
    """Try inputs, token and quota with a read of one record.

    Takes the inputs of fetch, and estimates how long a complete read takes. Prints no document.
    """
    inputs, credentials = _load(console, flags)
    from connector.cli.check import check as describe  # noqa: PLC0415
    from connector.clock import SystemClock  # noqa: PLC0415

    clock = SystemClock()
    for line in describe(inputs, credentials, console.redactor, clock=clock, stdin=sys.stdin):
        write_text(console.redactor.clean(line), "\n")
    return 0


@cli.command(tables=serve_tables)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="HOST",
    help="Listen on this address; 0.0.0.0 is all of them.",
)
@number_option(
    "--port",
    int,
    (0, _MAX_PORT),
    "Listen on this port; 0 is any free one.",
    default="8080",
    # What platforms set for the programs that they start.
    envvar=["PORT", "FUNCTIONS_CUSTOMHANDLER_PORT"],
    show_envvar=True,
)
@number_option(
    "--threads",
    int,
    (8, 512),
    "Answer so many requests at once; a few fewer of them read.",
    default="64",
)
@click.pass_obj
def serve(console: Console, host: str, port: int, threads: int) -> int:
    """Answer HTTP requests with the document.

    GET and POST /v1/enrollments are a run each. The server speaks plain HTTP: put TLS in front.
    """
    console.raise_problems(f"Nothing was started; {PROGRAM} serve --help tells every flag.")
    if find_spec("waitress") is None:
        raise UsageError(
            "serve wants waitress, which is not installed.",
            hint="pip install 'alm-enrollments-connector[serve]'",
        )
    from connector.server.app import make_application  # noqa: PLC0415
    from connector.server.listener import SPARE_THREADS, Server  # noqa: PLC0415

    application = make_application(console.environ, most_reads=threads - SPARE_THREADS)
    with _listening(host, port) as listener:
        server = Server(application, listener, threads)
        log = logging.getLogger("connector")
        if log.level > logging.DEBUG:
            # A run's warnings name learners; each request has a line of its own.
            log.setLevel(logging.ERROR)
        signals.call_on_first(server.stop)
        address, bound_port = listener.getsockname()[:2]
        if ":" in address:
            address = f"[{address}]"
        write_text(f"{PROGRAM} serves http://{address}:{bound_port}; end it with Ctrl-C.\n")
        server.run()
    return 0


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address, family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "that is no host's name"
        problem = Problem(
            "--host and --port",
            f"{host} and {port}, which cannot be served: {reason}",
            "an address of this machine, a free port",
        )
        raise UsageError.of([problem], hint="Nothing was started.") from error


@cli.command(tables=sandbox_tables)
@number_option(
    "--port", int, (0, _MAX_PORT), "Listen on this port; 0 is any free one.", default="8484"
)
@number_option(
    "--rate-limit", float, (0, 1e9), "Limit requests per minute; 0 is no limiter.", default="100"
)
@number_option(
    "--burst", float, (0, 1e9), "Allow so many requests at once beyond the rate.", default="100"
)
@click.option(
    "--excess-header", is_flag=True, help="Send the bucket's fill as x-excess-requests-per-second."
)
@number_option("--latency-ms", float, (0, 3.6e6), "Delay each response.", default="0")
@number_option(
    "--enrollments", int, (0, 99_999), "Make so many for every user except the documented one."
)
@click.option(
    "--only-type",
    type=click.Choice(_LO_TYPES[:-1]),
    metavar="TYPE",
    help="Make all enrollments of this type.",
)
@number_option("--token-lifetime", int, (1, 1e9), "Expire the access token after so many requests.")
@click.option(
    "--fault", multiple=True, metavar="SCRIPT", help="Fail as described below; repeatable."
)
@click.option(
    "--request-log",
    type=FILE,
    metavar="FILE",
    help="Append a line of JSON per request, without secrets.",
)
@click.pass_obj
def sandbox(console: Console, /, **flags: Any) -> int:  # noqa: ANN401 - their types are above
    """Serve a mock ALM server on this machine, to try things against.

    Try the connector, your pipeline, and what they do when something fails.
    """
    from connector.sandbox import Settings  # noqa: PLC0415 - no other command serves it
    from connector.sandbox.faults import parse_faults  # noqa: PLC0415
    from connector.sandbox.server import SandboxServer  # noqa: PLC0415

    try:
        faults = parse_faults(flags["fault"])
    except UsageError as error:
        console.problems += error.problems
    console.raise_problems(f"{PROGRAM} sandbox --help tells every flag.")
    settings = Settings(
        rate_per_minute=flags["rate_limit"],
        burst=flags["burst"],
        faults=faults,
        enrollments_per_user=flags["enrollments"],
        only_type=flags["only_type"],
        has_excess_header=flags["excess_header"],
        token_lifetime=flags["token_lifetime"],
    )
    port, latency_seconds = flags["port"], flags["latency_ms"] / 1000
    with _opened(flags["request_log"]) as log:
        try:
            server = SandboxServer(settings, port=port, latency_seconds=latency_seconds, log=log)
        except OSError as error:
            given = f"{port}, which cannot be served: {error.strerror}"
            problem = Problem("--port", given, "a free port, or 0 for any")
            raise UsageError.of([problem], hint="Nothing was started.") from error
        # A signal is how the server ends.
        with contextlib.closing(server), contextlib.suppress(InterruptedRun):
            write_text(_instructions(server.url))
            server.serve()
    return 0


def _opened(path: str | None) -> contextlib.AbstractContextManager[TextIO | None]:
    if path is None:
        return contextlib.nullcontext()
    try:
        return Path(path).open("a", encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"The request log {path} cannot be written: {error.strerror}.",
            hint="Name a file in a folder that is there.",
        ) from error


def _instructions(url: str) -> str:
    from connector.sandbox import ACCESS_TOKEN, CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN  # noqa: PLC0415
    from connector.sandbox.learners import DOCUMENTED_USER  # noqa: PLC0415

    trio = (
        f"ALM_CLIENT_ID={CLIENT_ID} ALM_CLIENT_SECRET={CLIENT_SECRET}"
        f" ALM_REFRESH_TOKEN={REFRESH_TOKEN}"
    )
    return f"""\
The sandbox serves {url}; end it with Ctrl-C. In another terminal:

  export ALM_BASE_URL={url} ALM_ACCESS_TOKEN={ACCESS_TOKEN}
  alm-enrollments --user-id {DOCUMENTED_USER}

or, to have tokens refreshed: {trio}
"""
