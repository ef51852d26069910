"""The command line: its flags, made from the inputs schema, and its help. Judges no value."""

from __future__ import annotations

import argparse
import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from connector.errors import Problem
from connector.schemas import load_schema
from connector.settings.sources import credential_names, variable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COMMANDS = {
    "fetch": "read the enrollments and print the document (this is what runs where no command is named)",
    "merge": "join shards' output files: alm-enrollments merge FILE SHARD1 SHARD2 …; no network",
    "check": "try inputs, token and quota with a one-record read; print no document",
    "serve": "answer HTTP requests with the document, for what can call nothing else; has a --help of its own",
    "sandbox": "serve a stand-in for ALM on this machine, to try things against; has a --help of its own",
}
_OWN_FLAGS = ("env_file", "output_dir", "dotenv", "debug", "help", "version")
_EXIT_CODES = """\
  0 the whole answer      64 inputs invalid        65 some users failed
 67 no such user          69 host not reached      70 a defect of ours
 73 output not writable   75 try again later       76 ALM's answer is wrong
 77 token refused        130 SIGINT               143 SIGTERM"""
_EPILOG = f"""\
exit codes:
{_EXIT_CODES}

first steps:
  ALM_USER_ID=20941371 ALM_BASE_URL=sandbox alm-enrollments        no network, no credentials
  ALM_USER_ID=20941371 ALM_ACCESS_TOKEN=… alm-enrollments check    your account
  alm-enrollments --user-id 20941371,20941372 --lo-types all | jq .enrollment_ids
"""


@dataclass(frozen=True, slots=True)
class CommandLine:
    """What the command line says, as text, and what in it says nothing."""

    command: str
    inputs: dict[str, Any]
    debug: bool
    help: bool
    version: bool
    problems: tuple[Problem, ...]
    output_dir: str | None = None
    dotenv: str | None = None
    files: tuple[str, ...] = ()


def parse_command_line(argv: Sequence[str]) -> CommandLine:
    """Return what *argv* says; a flag that is none is a problem, and never shown with its value, which may be a secret."""
    command, rest = (argv[0], argv[1:]) if argv and argv[0] in COMMANDS else ("fetch", argv)
    parser = _parser(load_schema("inputs")["properties"])
    joined, problems = _joined(rest, parser)
    known, unknown = parser.parse_known_args(joined)
    given = {name: value for name, value in vars(known).items() if value is not None}
    own = {name: bool(given.pop(name, False)) for name in ("debug", "help", "version")}
    # Empty means not given, as with every input.
    output_dir, dotenv = (given.pop(name, "").strip() or None for name in ("output_dir", "dotenv"))
    # A list's flag may be repeated.
    inputs = {
        name: "\n".join(value) if isinstance(value, list) else value
        for name, value in given.items()
    }
    files = (
        tuple(word for word in unknown if not word.startswith("-")) if command == "merge" else ()
    )
    told = (*problems, *_unknown([word for word in unknown if word not in files]))
    return CommandLine(
        command, inputs, **own, output_dir=output_dir, dotenv=dotenv, files=files, problems=told
    )


def format_help() -> str:
    """Return the text of ``--help``."""
    return _parser(load_schema("inputs")["properties"]).format_help()


def _parser(rules: Mapping[str, Any]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="alm-enrollments",
        usage="alm-enrollments [fetch | merge | check | serve | sandbox] [--user-id ID …] [flags]",
        description="Brings every enrollment of an Adobe Learning Manager learner into whatever runs next, or says what is missing.",
        epilog=_EPILOG,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(
            prog, max_help_position=28, width=100
        ),
        add_help=False,
        allow_abbrev=False,
    )
    commands = parser.add_argument_group(
        "commands", "\n".join(f"{name:9} {text}" for name, text in COMMANDS.items())
    )
    commands.add_argument("-h", "--help", action="store_true", default=None, help="this text")
    commands.add_argument("--version", action="store_true", default=None, help="the version")
    commands.add_argument(
        "--debug",
        action="store_true",
        default=None,
        help="tell every request on standard error, and a defect's traceback",
    )
    inputs = parser.add_argument_group(
        "inputs",
        "each also as a variable: --user-id is ALM_USER_ID; lists by comma, space, newline or as JSON",
    )
    for name, rule in rules.items():
        _add_flag(inputs, name, rule)
    inputs.add_argument(
        "--env-file",
        metavar="FILE",
        help="NAME=value lines, where flags and environment do not say; none is read unasked",
    )
    outputs = parser.add_argument_group(
        "outputs, besides standard output and what the CI system that runs it offers"
    )
    outputs.add_argument(
        "--output-dir",
        metavar="DIR",
        help="one file a field of the document but the enrollments: Tekton, Argo, Concourse",
    )
    outputs.add_argument(
        "--dotenv",
        metavar="FILE",
        help="the same fields as NAME=value lines: GitLab's dotenv report",
    )
    credentials = "\n".join(
        f"{variable(name):19} {rule['description']}"
        for name, rule in load_schema("inputs")["$defs"]["credentials"]["properties"].items()
    )
    parser.add_argument_group(
        "credentials: the token, or the other three, from the environment, --env-file or /run/secrets",
        credentials,
    )
    return parser


def _add_flag(group: Any, name: str, rule: Mapping[str, Any]) -> None:  # noqa: ANN401 - argparse names no type for its groups
    default = rule.get("default")
    written = ",".join(default) if isinstance(default, list) else str(default)
    told = rule["description"] + (f" Default: {written}." if default not in (None, False) else "")
    flag, text = f"--{name.replace('_', '-')}", told.replace("%", "%%").replace("`", "")
    choices = rule.get("enum") or rule.get("items", {}).get("enum")
    if rule["type"] == "boolean":
        group.add_argument(flag, nargs="?", const="true", metavar="true|false", help=text)
    else:
        metavar = (
            "|".join(choices)
            if choices
            else rule["type"].upper().replace("ARRAY", "LIST").replace("STRING", "TEXT")
        )
        group.add_argument(
            flag,
            action="append" if rule["type"] == "array" else "store",
            metavar=metavar,
            help=text,
        )


def _joined(
    argv: Sequence[str], parser: argparse.ArgumentParser
) -> tuple[list[str], list[Problem]]:
    """Return *argv* with each value joined to its flag, and the flags that lack a value or have one too many.

    To argparse ``--sort -dateEnrolled`` would be two flags, and one wrong flag would end it all.
    """
    valued = {
        flag for action in parser._actions if action.nargs is None for flag in action.option_strings
    }
    bare = {
        flag for action in parser._actions if action.nargs == 0 for flag in action.option_strings
    }
    joined: list[str] = []
    problems: list[Problem] = []
    words = iter(argv)
    for given in words:
        # argparse would take it for -h and further flags of one letter.
        word = given.lstrip("-") if given.startswith("-h") and given != "-h" else given
        flag, has_value, value = word.partition("=")
        if flag in valued and not has_value:
            value = next(words, "--")
        if flag in bare and has_value:
            problems.append(Problem(flag, "given a value, and takes none"))
        elif flag in valued and value == "--":
            # argparse drops two dashes that stand alone, a value though they be.
            problems.append(Problem(flag, "without its value"))
        else:
            joined.append(f"{flag}={value}" if flag in valued else word)
    return joined, problems


def _unknown(words: Sequence[str]) -> list[Problem]:
    known = [
        f"--{name.replace('_', '-')}"
        for name in (*load_schema("inputs")["properties"], *_OWN_FLAGS)
    ]
    problems = []
    for word in words:
        flag = word.partition("=")[0]
        name = flag.removeprefix("--").replace("-", "_")
        if name in credential_names():
            problems.append(
                Problem(
                    flag,
                    "no flag, for everyone can read a command line",
                    f"{variable(name)} in the environment",
                )
            )
        elif flag.startswith("--"):
            problems.append(
                Problem(
                    flag,
                    "no flag",
                    near=next(iter(difflib.get_close_matches(flag, known, n=1, cutoff=0.7)), ""),
                )
            )
        elif not problems:
            words = f"a command as its first word: {', '.join(COMMANDS)}"
            problems.append(
                Problem(
                    "the command line", "not understood: a word in it is no flag's value", words
                )
            )
    return problems
