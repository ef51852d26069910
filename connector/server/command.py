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
    port, problems = _port(flags.port, environ)
    problems += _unknown(unknown, parser)
    if not _LEAST_THREADS <= flags.threads <= _MOST_THREADS:
        problems.append(
            Problem(
                "--threads",
                str(flags.threads),
                f"a whole number from {_LEAST_THREADS} to {_MOST_THREADS}",
            )
        )
    if problems:
        raise UsageError.of(problems, hint=_HINT)
    if find_spec("waitress") is None:
        raise UsageError(
            "serve wants waitress, which is not installed.",
            hint="pip install 'alm-enrollments-connector[serve]'",
        )
    from connector.server.app import make_application  # noqa: PLC0415 - --help does without
    from connector.server.listener import SPARE_THREADS  # noqa: PLC0415

    application = make_application(environ, most_reads=flags.threads - SPARE_THREADS)
    with _bound(flags.host, port) as listening:
        _serve(application, listening, flags.threads, out)
    return 0


def _serve(application: Application, listening: socket.socket, threads: int, out: TextIO) -> None:
    from connector.server.listener import Server  # noqa: PLC0415

    server = Server(application, listening, threads)
    log = logging.getLogger("connector")
    if log.level > logging.DEBUG:
        # What a run warns of names learners; each request has its own line.
        log.setLevel(logging.ERROR)

    signals.call_on_first(server.stop)
    host, port = listening.getsockname()[:2]
    out.write(
        f"alm-enrollments serves http://{f'[{host}]' if ':' in host else host}:{port}; end it with Ctrl-C.\n"
    )
    out.flush()
    server.run()


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


def _port(flag: str | None, environ: Mapping[str, str]) -> tuple[int, list[Problem]]:
    """Return the port of the *flag*, else of the environment, and what is wrong with it."""
    given = [("--port", flag), *((name, environ.get(name, "").strip()) for name in _PORT_VARIABLES)]
    name, text = next(((name, text) for name, text in given if text), ("", str(_PORT)))
    if (
        text.isascii()
        and text.isdigit()
        and len(text) < len(str(_LAST_PORT)) + 1
        and int(text) <= _LAST_PORT
    ):
        return int(text), []
    return 0, [Problem(name, "no port", f"a whole number from 0 to {_LAST_PORT}")]


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


def _bound(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address, family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "that is no host's name"
        problem = Problem(
            "--host and --port",
            f"{host} and {port}, which cannot be served: {reason}",
            "an address of this machine, a free port",
        )
        raise UsageError.of([problem], hint="Nothing was started.") from error
