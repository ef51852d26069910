"""The commands, one function each. What they do is elsewhere, and imported when it is needed."""

from __future__ import annotations

import sys
import traceback
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from connector import signals
from connector.cli.console import PROGRAM, Console, write_line, write_text
from connector.cli.group import CommandGroup
from connector.cli.help import (
    FETCH_EXAMPLES,
    check_tables,
    diff_tables,
    fetch_tables,
    merge_tables,
)
from connector.cli.options import ENV_FILE, FILE, HELP, OUTPUTS, VERSION, input_options
from connector.cli.servers import sandbox, serve
from connector.errors import ConnectorError, InternalError, UsageError
from connector.settings import credential_names, load, variable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from connector.channels import Tally
    from connector.output.results import RunTotals
    from connector.redact import Redactor
    from connector.settings import Credentials, Inputs

_INPUTS = [*input_options(), ENV_FILE, *OUTPUTS]


def main(argv: Sequence[str], environ: Mapping[str, str], *, is_action: bool = False) -> int:
    """Run the command that *argv* names and return its exit code.

    Standard output carries the document and nothing else; it is the last thing that is written.
    Everything else goes to standard error, each message in one line. *environ* is that of the
    channels; settings read the process's own environment. *is_action* is as in ``run_command``.
    """
    console = Console(environ, is_action=is_action)
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
                f"Internal error in {PROGRAM}: {type(error).__name__}: {error}.",
                hint="Please report it with the output of --debug.",
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


@cli.command(params=_INPUTS, tables=fetch_tables, document="outputs")
@click.pass_obj
def fetch(console: Console, /, **flags: str | None) -> int:
    """Read the enrollments and print the document; the default command.

    Every input is a variable, too: --user-id is ALM_USER_ID. Lists are separated by commas,
    spaces or newlines, or are JSON arrays; a repeated option adds to its list.
    """
    try:
        inputs, credentials = _load(console, flags)
    except UsageError as error:
        if console.is_bare and console.is_interactive and _names_no_user(error):
            write_line(_short_help())
            return console.end_failed(console.surface.error(console.redactor.clean_error(error)))
        raise
    console.describe_source(inputs, credentials)
    console.prepare_channels(inputs.user_id or inputs.user_email)
    from connector.clock import Deadline, SystemClock
    from connector.runner import RunHooks, execute

    clock = SystemClock()
    deadline = Deadline(clock, inputs.deadline)
    console.shows_names = inputs.names
    console.has_records_on_stdout = inputs.format != "json" and inputs.output_file is None
    write = partial(console.write_records, deadline=deadline)
    try:
        with console.progress(clock) as on_progress:
            hooks = RunHooks(
                write if console.has_records_on_stdout else None,
                on_progress,
                has_tally=bool(console.channels),
            )
            outcome = execute(
                inputs, credentials, console.redactor, clock=clock, stdin=sys.stdin, hooks=hooks
            )
    except BrokenPipeError:
        # The reader closed the pipe, as `| head` does.
        return 0
    if outcome.document["enrollment_count"]:
        # A run that failed delivers no records, and its summary counts none.
        console.tally = _tally(outcome.totals, console.redactor)
    if len(console.named_users) == 1 and outcome.totals.only_user:
        # An address by now has its id.
        console.named_users = (console.redactor.clean(outcome.totals.only_user),)
    return console.finish(outcome.document, outcome.error)


def _load(console: Console, flags: Mapping[str, str | None]) -> tuple[Inputs, Credentials]:
    if unknown := [problem for problem in console.problems if not problem.name]:
        # Which inputs are missing depends on the command.
        hint = f"Nothing was sent. Run {PROGRAM} --help to see every command."
        raise UsageError.of(unknown, hint=hint)
    given = {name: value for name, value in flags.items() if value}
    outputs, others = console.files()
    return load(
        given,
        console.redactor,
        problems=console.problems,
        outputs=outputs,
        others=others,
        surface=console.surface,
    )


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
    formatter.write_paragraph()
    formatter.write_text(f"{PROGRAM} --help describes every command and option.")
    return formatter.getvalue().rstrip()


def _tally(totals: RunTotals, redactor: Redactor) -> Tally | None:
    from connector.channels import Tally

    if not totals.counts:
        return None
    counts = redactor.clean_value([[*kind, count] for kind, count in totals.counts.items()])
    return Tally(
        {(str(lo_type), str(state)): count for lo_type, state, count in counts},
        redactor.clean_value(totals.first),
        totals.delivered_users,
    )


@cli.command(params=[*OUTPUTS], tables=merge_tables, document="outputs")
@click.argument("files", nargs=-1, type=FILE, metavar="FILE SHARD...")
@click.pass_obj
def merge(console: Console, files: tuple[str, ...]) -> int:
    """Join the output files of shards in FILE; needs no network."""
    from connector.files import files_of
    from connector.output.journal import journal_of
    from connector.output.merge import merge as merge_files
    from connector.settings.problems import shared_file_problems

    target, *given = map(Path, files or ("",))
    outputs, others = console.files()
    shards = {"a shard": [*given, *map(journal_of, given)]}
    console.problems += shared_file_problems(
        {"the merged file": files_of(target), **outputs}, others
    )
    console.problems += shared_file_problems(outputs, shards)
    console.raise_problems("Nothing was written.")
    console.prepare_channels(())
    document, error = merge_files(files, console.redactor)
    return console.finish(document, error and console.redactor.clean_error(error))


@cli.command(params=[*OUTPUTS], tables=diff_tables, document="diff")
@click.argument("files", nargs=-1, type=FILE, metavar="OLD NEW")
@click.option(
    "--output-file",
    type=FILE,
    metavar="FILE",
    help="Write each change with the record before and after to FILE: .ndjson or .csv.",
)
@click.option(
    "--ignore",
    multiple=True,
    metavar="FIELD,...",
    help="Ignore changes of these fields. Default: last_access_date.",
)
@click.option(
    "--assume-complete",
    is_flag=True,
    help="Take a file as complete that has no journal and is no document.",
)
@click.option("--exit-code", is_flag=True, help="End with 1 if anything changed.")
@click.pass_obj
def diff(console: Console, /, files: tuple[str, ...], **flags: Any) -> int:  # noqa: ANN401 - their types are above
    """Report what changed from OLD to NEW; needs no network.

    OLD and NEW are output files of full runs with the same inputs, in json, ndjson, csv, parquet
    or xlsx. Only users that both have completely are compared.
    """
    from connector.channels import Tally
    from connector.clock import SystemClock
    from connector.output.diff import IGNORED, DiffOptions, Scan, compare
    from connector.output.journal import journal_of
    from connector.settings import read_value
    from connector.settings.problems import shared_file_problems
    from connector.text import counted

    output_file = (flags["output_file"] or "").strip() or None
    outputs, others = console.files()
    paths = list(map(Path, files))
    console.problems += shared_file_problems(
        {"output_file": [Path(output_file)] if output_file else [], **outputs}, others
    )
    compared = {"OLD or NEW": [*paths, *map(journal_of, paths)]}
    console.problems += shared_file_problems(outputs, compared)
    console.raise_problems("Nothing was written.")
    console.prepare_channels(())
    ignored = read_value("\n".join(flags["ignore"]), {"type": "array"}) or IGNORED
    options = DiffOptions(output_file, ignored, flags["assume_complete"])
    with console.progress(SystemClock()) as bar:

        def show(scan: Scan) -> None:
            signals.check()
            bar.show(
                scan.done,
                scan.total,
                lambda: f"{scan.path.name}: {counted(scan.done, 'record')} read",
            )

        difference = compare(files, options, console.redactor, show)
    console.shows_names = difference.has_names
    console.tally = Tally(difference.counts, difference.completions)
    exit_code = console.finish(difference.document, None)
    if flags["exit_code"] and difference.counts:
        return exit_code or 1
    return exit_code


@cli.command(params=_INPUTS, tables=check_tables)
@click.pass_obj
def check(console: Console, /, **flags: str | None) -> int:
    """Try inputs, token and quota with a read of one record.

    Takes the inputs of fetch, and estimates how long a complete read takes. Prints no document.
    """
    inputs, credentials = _load(console, flags)
    console.describe_source(inputs, credentials)
    from connector.cli.check import check as describe
    from connector.clock import SystemClock

    clock = SystemClock()
    for line in describe(inputs, credentials, console.redactor, clock=clock, stdin=sys.stdin):
        write_text(console.redactor.clean(line), "\n")
    return 0


cli.add_command(serve)
cli.add_command(sandbox)
