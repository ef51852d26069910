"""The command tree: which command gets the words, and what is wrong with them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import click
import pytest
from click.shell_completion import get_completion_class
from hypothesis import given
from hypothesis import strategies as st

from connector.cli.commands import cli
from connector.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Command, Parsed

CANARY = "canary-0042-secret"
QUOTES = "options and their values; PowerShell needs quotes around a list"
STRAY = Problem("", "unexpected argument on the command line", QUOTES)
FLAGS = [name for option in cli.commands["fetch"].params for name in option.opts]


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ([], "fetch"),
        (["fetch"], "fetch"),
        (["--user-id", "1"], "fetch"),
        (["--user-id", "check"], "fetch"),
        (["--output-file", "-hidden"], "fetch"),
        (["check", "--user-id", "1"], "check"),
        (["merge", "out", "1", "2"], "merge"),
        (["serve"], "serve"),
        (["sandbox"], "sandbox"),
    ],
)
def test_group__the_first_word_names_the_command(
    words: list[str], command: str, parse: Callable[..., Parsed]
) -> None:
    """The first word names the command; without a command's name the words are for fetch."""
    parsed = parse(*words)

    assert (parsed.command, parsed.problems) == (command, [])


@pytest.mark.parametrize("rest", [f"={CANARY}", ""])
@pytest.mark.parametrize(
    ("flag", "near"),
    [
        ("--lo-type", "--lo-types"),
        ("--user_id", "--user-id"),
        ("--verson", ""),
        ("--pag", ""),
        ("-x", ""),
    ],
)
def test_command__names_an_unknown_flag(
    flag: str, near: str, rest: str, parse: Callable[..., Parsed]
) -> None:
    """An unknown flag is a problem with a suggestion, shows no value, and loses no other input."""
    parsed = parse(f"{flag}{rest}", "--user-id", "1")

    assert parsed.problems == [Problem(flag, "an unknown option", near=near)]
    assert parsed.values == {"user_id": "1"}


@pytest.mark.parametrize("name", ["access_token", "client_id", "client_secret", "refresh_token"])
@pytest.mark.parametrize("rest", [[f"={CANARY}"], ["", CANARY], [""]])
def test_command__refuses_credentials(
    name: str, rest: list[str], parse: Callable[..., Parsed]
) -> None:
    """A credential is no option; the problem says where it belongs, and does not show it."""
    flag = f"--{name.replace('_', '-')}"

    parsed = parse(f"{flag}{rest[0]}", *rest[1:])

    allowed = f"ALM_{name.upper()} in the environment"
    reason = "not accepted as an option, since other users can read a command line"
    assert parsed.problems == [Problem(flag, reason, allowed)]
    assert CANARY not in repr(parsed)


@pytest.mark.parametrize(
    "words", [[CANARY], [CANARY, CANARY], ["-"], [""], ["--resume", "false", CANARY], ["--", "-x"]]
)
def test_command__does_not_show_a_word_that_is_no_value(
    words: list[str], parse: Callable[..., Parsed]
) -> None:
    """A word that belongs to no flag is one problem, and is not shown: it may be a secret."""
    parsed = parse("--user-id", "1", *words)

    assert (parsed.problems, parsed.values["user_id"]) == ([STRAY], "1")
    assert CANARY not in repr(parsed)


@pytest.mark.parametrize(
    ("word", "near"), [("serv", "serve"), ("sandboxx", "sandbox"), ("foo", ""), ("31", "")]
)
def test_group__names_an_unknown_command(
    word: str, near: str, parse: Callable[..., Parsed]
) -> None:
    """A first word that is no command is named with a suggestion, if it cannot be a secret."""
    allowed = "fetch, merge, diff, check, serve, sandbox"

    assert parse(word).problems == [Problem("", f"unknown command '{word}'", allowed, near)]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--sort"], "Option '--sort' requires an argument"),
        ([f"--debug={CANARY}"], "Option '--debug' does not take a value"),
    ],
)
def test_command__reports_a_flag_with_a_value_too_few_or_too_many(
    words: list[str], reason: str, parse: Callable[..., Parsed]
) -> None:
    """A value that is missing, or not allowed, is a problem; the options before it still count."""
    parsed = parse("--user-id", "1", *words)

    assert parsed.problems == [Problem("", reason)]
    assert parsed.values == {"user_id": "1"}


@given(
    st.lists(st.sampled_from([*FLAGS, "--", "-", "check", "merge"]) | st.text() | st.text("-=hx1"))
)
def test_command__never_fails_on_any_words(parse: Callable[..., Parsed], words: list[str]) -> None:
    """Whatever the words are, they are parsed, or reported, or ask for help."""
    problems: list[Problem] = []
    with contextlib.suppress(click.exceptions.Exit):
        problems = parse(*words).problems

    assert {type(problem) for problem in problems} <= {Problem}


@pytest.mark.parametrize(
    ("words", "begun", "completions"),
    [
        ("", "", ["check", "diff", "fetch", "merge", "sandbox", "serve"]),
        ("", "se", ["serve"]),
        ("", "--vers", ["--version"]),
        ("", "--user", ["--user-id", "--user-email", "--user-ids-file"]),
        ("check", "--quo", ["--quota-share"]),
        ("merge", "--", ["--output-dir", "--dotenv", "--debug", "--help"]),
        ("--sort", "d", ["dateEnrolled"]),
        ("fetch --format", "n", ["ndjson"]),
        ("--include", "learnerB", ["learnerBadge"]),
        ("--resume", "", ["true", "false"]),
        ("--base-url", "s", ["sandbox"]),
        ("sandbox --only-type", "j", ["jobAid"]),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion__offers_what_fits(
    shell: str, words: str, begun: str, completions: list[str]
) -> None:
    """Shells complete commands, the flags of fetch without its name, and the values of a flag."""
    kind = get_completion_class(shell)
    assert kind is not None

    items = kind(cli, {}, "alm-enrollments", "X").get_completions(words.split(), begun)

    assert [item.value for item in items] == completions


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion__is_switched_on_by_a_script(shell: str, command: Command) -> None:
    """The command prints the script of each shell, as docs/COMPLETION.md uses it."""
    finished = command.as_process(_ALM_ENROLLMENTS_COMPLETE=f"{shell}_source")

    assert (finished.exit_code, finished.stderr) == (0, "")
    assert f"_ALM_ENROLLMENTS_COMPLETE={shell}_complete" in finished.stdout


def test_completion__of_files(command: Command) -> None:
    """Flags that name a file leave its completion to the shell."""
    finished = command.as_process(
        _ALM_ENROLLMENTS_COMPLETE="bash_complete",
        COMP_WORDS="alm-enrollments --output-file en",
        COMP_CWORD="2",
    )

    assert (finished.exit_code, finished.stdout, finished.stderr) == (0, "file,en\n", "")
