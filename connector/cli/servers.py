"""The commands that serve HTTP until a signal ends them: the HTTP API and the sandbox."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from connector.cli.console import PROGRAM, write_text
from connector.cli.group import Command
from connector.cli.help import sandbox_tables, serve_tables
from connector.cli.options import FILE, number_option
from connector.errors import InterruptedRun, OutputError, Problem, UsageError
from connector.settings import MAX_SANDBOX_DAY

if TYPE_CHECKING:
    from connector.cli.console import Console

_LO_TYPES = ("course", "learningProgram", "jobAid", "certification")
_MAX_PORT = 65_535


@click.command(cls=Command, tables=serve_tables)
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
    "Answer this many requests at once; four of them never read, and refuse when all others read.",
    default="64",
)
@click.pass_obj
def serve(console: Console, host: str, port: int, threads: int) -> int:
    """Answer HTTP requests with the document.

    Each GET and POST /v1/enrollments is a run. The server speaks plain HTTP: put TLS in front.
    """
    console.raise_problems(f"Nothing was started; {PROGRAM} serve --help lists every option.")
    from connector.server import run

    def announce(url: str) -> None:
        write_text(f"{PROGRAM} serves {url}; end it with Ctrl-C.\n")

    run(host, port, threads, announce)
    return 0


@click.command(cls=Command, tables=sandbox_tables)
@number_option(
    "--port", int, (0, _MAX_PORT), "Listen on this port; 0 is any free one.", default="8484"
)
@number_option(
    "--rate-limit",
    float,
    (0, 1e9),
    "Limit the requests per minute; 0 means no limit.",
    default="100",
)
@number_option(
    "--burst", float, (0, 1e9), "Allow this many requests at once beyond the rate.", default="100"
)
@click.option(
    "--excess-header", is_flag=True, help="Send the bucket's fill as x-excess-requests-per-second."
)
@number_option("--latency-ms", float, (0, 3.6e6), "Delay each response.", default="0")
@number_option(
    "--enrollments",
    int,
    (0, 99_999),
    "Make this many enrollments for every user except the documented one.",
)
@click.option(
    "--only-type",
    type=click.Choice(_LO_TYPES),
    metavar="TYPE",
    help="Make all enrollments of this type.",
)
@number_option(
    "--day",
    int,
    (0, MAX_SANDBOX_DAY),
    "Serve the learners of this day: from day to day enrollments appear, progress, complete and"
    " disappear. Without it they never change. For --base-url sandbox set ALM_SANDBOX_DAY.",
)
@number_option(
    "--token-lifetime", int, (1, 1e9), "Expire the access token after this many requests."
)
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
    """Serve a mock ALM server on this machine, for tests.

    See how the connector and your pipeline handle failures.
    """
    from connector.sandbox import Settings
    from connector.sandbox.faults import parse_faults
    from connector.sandbox.server import SandboxServer

    try:
        faults = parse_faults(flags["fault"])
    except UsageError as error:
        console.problems += error.problems
    console.raise_problems(f"{PROGRAM} sandbox --help lists every option.")
    settings = Settings(
        rate_per_minute=flags["rate_limit"],
        burst=flags["burst"],
        faults=faults,
        enrollments_per_user=flags["enrollments"],
        only_type=flags["only_type"],
        has_excess_header=flags["excess_header"],
        token_lifetime=flags["token_lifetime"],
        day=flags["day"],
    )
    port, latency_seconds = flags["port"], flags["latency_ms"] / 1000
    with _opened(flags["request_log"]) as log:
        try:
            server = SandboxServer(settings, port=port, latency_seconds=latency_seconds, log=log)
        except OSError as error:
            given = f"{port}, where the server cannot listen: {error.strerror}"
            problem = Problem("--port", given, "a free port, or 0 for any")
            raise UsageError.of([problem], hint="Nothing was started.") from error
        # A signal is how the server ends.
        with contextlib.suppress(InterruptedRun):
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
            hint="Name a file in a folder that exists.",
        ) from error


def _instructions(url: str) -> str:
    from connector.sandbox import ACCESS_TOKEN, CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN
    from connector.sandbox.learners import DOCUMENTED_USER

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
