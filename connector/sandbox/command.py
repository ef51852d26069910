"""``alm-enrollments sandbox``: its flags, its help, and serving until a signal ends it."""

from __future__ import annotations

import argparse
import contextlib
import difflib
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from connector.errors import InterruptedRun, OutputError, Problem, UsageError
from connector.sandbox.answer import Settings
from connector.sandbox.faults import IN_THE_ANSWER, ON_THE_WAY, parse_faults
from connector.sandbox.learners import DOCUMENTED_USER, LO_TYPES
from connector.sandbox.server import HOST, SandboxServer
from connector.sandbox.tokens import ACCESS_TOKEN, CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

_PORT = 8484
_LAST_PORT = 65_535
_FAULTS = "\n".join(
    f"  {name:14} {text}" for name, text in sorted({**IN_THE_ANSWER, **ON_THE_WAY}.items())
)
_EPILOG = f"""\
users:
  {DOCUMENTED_USER}       the documented example; 404… is nobody, 403… is out of the token's scope
  any other id   8 to 60 enrollments over all four types, always the same for the same id

faults, as WHERE:WHAT, several separated by commas:
  WHERE   page=N  request=N  user=ID, joined by + ; or * for everywhere
  WHAT    a status (400, 401, 403, 404, 406, 429, 5xx), 429/0.42 with that retry-after, or a name below
  xK      behind it: K times instead of once; x* always

{_FAULTS}

  alm-enrollments sandbox --fault page=2:503x3 --fault 'user=7:429/0.42'
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError.of(
            [Problem("the command line", f"not understood: {message}")],
            hint="alm-enrollments sandbox --help tells every flag.",
        )


def main(argv: Sequence[str], *, out: TextIO) -> int:
    """Serve the sandbox that *argv* describes until a signal's exception ends it; tell *out* how to reach it.

    Raises UsageError for flags that are none, OutputError where the log cannot be written.
    """
    parser = _parser()
    flags, unknown = parser.parse_known_args(argv)
    if flags.help:
        out.write(parser.format_help())
        return 0
    problems = [*_unknown(unknown, parser), *_problems(flags)]
    try:
        faults = parse_faults(flags.fault)
    except UsageError as error:
        problems += error.problems
        faults = ()
    if problems:
        raise UsageError.of(problems, hint="alm-enrollments sandbox --help tells every flag.")
    settings = Settings(
        rate_per_minute=flags.rate_limit,
        burst=flags.burst,
        faults=faults,
        enrollments_per_user=flags.enrollments,
        only_type=flags.only_type,
        has_excess_header=flags.excess_header,
        token_lifetime=flags.token_lifetime,
    )
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(_opened(flags.request_log)) if flags.request_log else None
        server = _bound(settings, flags, log)
        stack.callback(server.close)
        # Being stopped is how a server ends.
        with contextlib.suppress(InterruptedRun):
            out.write(_told(server.url))
            out.flush()
            server.serve()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="alm-enrollments sandbox",
        usage="alm-enrollments sandbox [--port N] [flags]",
        description="Serves a stand-in for ALM on this machine: try the connector, your pipeline, and what it does when things go wrong.",
        epilog=_EPILOG,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(
            prog, max_help_position=28, width=100
        ),
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("-h", "--help", action="store_true", help="this text")
    parser.add_argument(
        "--port",
        type=int,
        default=_PORT,
        metavar="N",
        help=f"on {HOST}; 0 is any free one (default {_PORT})",
    )
    parser.add_argument(
        "--rate-limit",
        type=float,
        default=100,
        metavar="N",
        help="requests a minute; 0 is no limiter (default 100)",
    )
    parser.add_argument(
        "--burst",
        type=float,
        default=100,
        metavar="N",
        help="requests at once beyond the rate (default 100)",
    )
    parser.add_argument(
        "--excess-header",
        action="store_true",
        help="tell the bucket's fill in x-excess-requests-per-second",
    )
    parser.add_argument(
        "--latency-ms",
        type=float,
        default=0,
        metavar="N",
        help="how late each answer comes (default 0)",
    )
    parser.add_argument(
        "--enrollments", type=int, metavar="N", help="so many for every user but the documented one"
    )
    parser.add_argument("--only-type", choices=LO_TYPES, metavar="TYPE", help="all of this type")
    parser.add_argument(
        "--token-lifetime",
        type=int,
        metavar="N",
        help="requests after which the access token expires (default: never)",
    )
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="SCRIPT",
        help="what is to go wrong, see below; may be repeated",
    )
    parser.add_argument(
        "--request-log", metavar="FILE", help="a line of JSON for each request, without secrets"
    )
    return parser


def _unknown(words: Sequence[str], parser: argparse.ArgumentParser) -> list[Problem]:
    known = [flag for action in parser._actions for flag in action.option_strings]  # noqa: SLF001 - argparse has no other list of them
    return [
        Problem(
            word,
            "no flag",
            near=next(iter(difflib.get_close_matches(word.partition("=")[0], known, n=1)), ""),
        )
        for word in words
    ]


def _problems(flags: argparse.Namespace) -> list[Problem]:
    ranges = (
        ("--port", flags.port, 0, _LAST_PORT),
        ("--rate-limit", flags.rate_limit, 0, 1e9),
        ("--burst", flags.burst, 0, 1e9),
        ("--latency-ms", flags.latency_ms, 0, 3.6e6),
        ("--enrollments", flags.enrollments, 0, 99_999),
        ("--token-lifetime", flags.token_lifetime, 1, 1e9),
    )
    return [
        Problem(name, f"{value:g}", f"a number from {least:g} to {most:g}")
        for name, value, least, most in ranges
        if value is not None and not least <= value <= most
    ]


def _opened(path: str) -> TextIO:
    try:
        return Path(path).open("a", encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"The request log {path} cannot be written: {error.strerror}.",
            hint="Name a file in a folder that is there.",
        ) from error


def _bound(settings: Settings, flags: argparse.Namespace, log: TextIO | None) -> SandboxServer:
    try:
        return SandboxServer(
            settings, port=flags.port, latency_seconds=flags.latency_ms / 1000, log=log
        )
    except OSError as error:
        problem = Problem(
            "--port",
            f"{flags.port}, which cannot be served: {error.strerror}",
            "a free port, or 0 for any",
        )
        raise UsageError.of([problem], hint="Nothing was started.") from error


def _told(url: str) -> str:
    return f"""\
The sandbox serves {url}; end it with Ctrl-C. In another terminal:

  export ALM_BASE_URL={url} ALM_ACCESS_TOKEN={ACCESS_TOKEN}
  alm-enrollments --user-id {DOCUMENTED_USER}

or, to have tokens refreshed: ALM_CLIENT_ID={CLIENT_ID} ALM_CLIENT_SECRET={CLIENT_SECRET} ALM_REFRESH_TOKEN={REFRESH_TOKEN}
"""
