"""``alm-enrollments serve``: its flags, its help, and serving until a signal ends it."""

from __future__ import annotations

import argparse
import difflib
import logging
import socket
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NoReturn

from connector import signals
from connector.errors import Problem, UsageError
from connector.schemas import load_schema
from connector.settings.sources import variable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TextIO

    from connector.server.app import Application

_HOST = "127.0.0.1"
_PORT = 8080
# Those by which platforms tell what they start where to listen.
_PORT_VARIABLES = ("PORT", "FUNCTIONS_CUSTOMHANDLER_PORT")
_LAST_PORT = 65_535
_THREADS = 64
_LEAST_THREADS, _MOST_THREADS = 8, 512
_BACKLOG = 1024
_HINT = "Nothing was started; alm-enrollments serve --help tells every flag."


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError.of([Problem("the command line", f"not understood: {message}")], hint=_HINT)


def main(argv: Sequence[str], environ: Mapping[str, str], *, out: TextIO) -> int:
    """Serve what *environ* configures until a signal comes, finish what is being answered, and return 0; tell *out* the address.

    Raises UsageError for flags and settings that cannot be used, and where waitress is not installed.
    """
    parser = _parser()
    flags, unknown = parser.parse_known_args(argv)
    if flags.help:
        out.write(parser.format_help())
        return 0
    if unknown:
        raise UsageError.of(_unknown(unknown, parser), hint=_HINT)
    from connector.server import run

    def on_ready(url: str) -> None:
        out.write(f"alm-enrollments serves {url}; end it with Ctrl-C.\n")
        out.flush()

    run(flags.host, int(flags.port or environ.get("PORT") or environ.get("FUNCTIONS_CUSTOMHANDLER_PORT") or 8080), flags.threads, on_ready)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="alm-enrollments serve",
        usage="alm-enrollments serve [--host HOST] [--port N] [--threads N]",
        description="Answers GET and POST /v1/enrollments with the document of a run. It speaks plain HTTP: put what ends TLS in front.",
        epilog=_epilog(),
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(
            prog, max_help_position=28, width=100
        ),
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("-h", "--help", action="store_true", help="this text")
    parser.add_argument("--debug", action="store_true", help="tell every request to ALM, too")
    parser.add_argument(
        "--host",
        default=_HOST,
        metavar="HOST",
        help=f"the address to listen on; 0.0.0.0 is every one (default {_HOST})",
    )
    told = f"0 is any free one (default: {' or '.join(_PORT_VARIABLES)} where set, else {_PORT})"
    parser.add_argument("--port", metavar="N", help=told)
    parser.add_argument(
        "--threads",
        type=int,
        default=_THREADS,
        metavar="N",
        help=f"requests answered at once, a few fewer of which read (default {_THREADS})",
    )
    return parser


def _epilog() -> str:
    rules = load_schema("serve")["properties"]
    lines = [f"  {variable(name):20} {_told(rule)}" for name, rule in rules.items()]
    return (
        "settings, from the environment:\n"
        + "\n".join(lines)
        + "\n  ALM_BASE_URL, ALM_QUOTA_SHARE, ALM_CONCURRENCY and ALM's credentials: as every command has them\n"
    )


def _told(rule: Mapping[str, Any]) -> str:
    default = f" Default: {rule['default']}." if "default" in rule else ""
    return f"{rule['description']}{default}".replace("`", "")


def _unknown(words: Sequence[str], parser: argparse.ArgumentParser) -> list[Problem]:
    known = [flag for action in parser._actions for flag in action.option_strings]  # noqa: SLF001 - argparse has no other list of them
    # Without its value, which may be a key in the wrong place.
    flags = [word.partition("=")[0] for word in words if word.startswith("--")]
    problems = [
        Problem(flag, "no flag", near=next(iter(difflib.get_close_matches(flag, known, n=1)), ""))
        for flag in flags
    ]
    return problems or (
        [Problem("the command line", "not understood: a word in it is no flag's value")]
        if words
        else []
    )


