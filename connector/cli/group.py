"""The command tree: a default command, and commands that report what is wrong with their words."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

import click

from connector.cli.options import DEBUG, HELP
from connector.errors import Problem
from connector.redact import MIN_SECRET_CHARACTERS
from connector.settings import credential_names, variable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from click.shell_completion import CompletionItem

    from connector.cli.console import Console
    from connector.cli.help import Tables

    # The package has no types.
    DefaultGroup = click.Group
else:
    from click_default_group import DefaultGroup


class Command(click.Command):
    """A command that leaves problems with its words to the console, for one report of all.

    Its help ends with *tables*. *document* names the schema of its document, if it has one.
    """

    def __init__(
        self,
        *,
        tables: Callable[[], Tables],
        document: str | None = None,
        **attributes: Any,  # noqa: ANN401 - those of click's own class
    ) -> None:
        super().__init__(**attributes)
        self.params = [*self.params, DEBUG, HELP]
        self._tables = tables
        self._document = document

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the words, and open the channels that they name."""
        if ctx.resilient_parsing:
            return super().parse_args(ctx, args)
        console: Console = ctx.obj
        console.document = self._document
        console.is_bare = not args
        words = list(args)
        try:
            super().parse_args(ctx, args)
        except click.UsageError as error:
            console.problems = [_problem(error, words, ctx)]
            # The other options count all the same: the report goes to the outputs that they name.
            ctx.resilient_parsing = ctx.ignore_unknown_options = True
            super().parse_args(ctx, words)
        if "dotenv" in ctx.params:
            console.open_channels(ctx.params.pop("output_dir"), ctx.params.pop("dotenv"))
        return []

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Write the tables."""
        for title, rows in self._tables().items():
            with formatter.section(title):
                formatter.write_dl(list(rows.items()))


class CommandGroup(DefaultGroup):
    """The command. Unless the first word names one of its commands, the default one is meant."""

    command_class = Command
    default_cmd_name: str

    @property
    def default_command(self) -> click.Command:
        """The command that gets the words if they name no other."""
        return self.commands[self.default_cmd_name]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default command before words that name no command."""
        names = [*self.commands, *(name for option in self.params for name in option.opts)]
        # While a shell completes the first word, that may still become a command.
        is_first_word = ctx.resilient_parsing and not args
        if not is_first_word and (not args or args[0] not in names):
            args.insert(0, self.default_cmd_name)
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, the commands, and the default command's options."""
        super().format_options(ctx, formatter)
        options = [option for option in self.default_command.params if option not in self.params]
        records = [option.get_help_record(ctx) for option in options]
        with formatter.section(f"Options of {self.default_cmd_name}"):
            formatter.write_dl([record for record in records if record])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the default command's tables."""
        self.default_command.format_epilog(ctx, formatter)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands and options that fit, the default command's options included."""
        items = super().shell_complete(ctx, incomplete)
        items += self.default_command.shell_complete(
            click.Context(self.default_command), incomplete
        )
        return list({item.value: item for item in items}.values())


def _problem(error: click.UsageError, words: Sequence[str], ctx: click.Context) -> Problem:
    if isinstance(error, click.NoSuchOption):
        flag = error.option_name
        name = flag.removeprefix("--").replace("-", "_")
        if name in credential_names():
            reason = "not accepted as an option, since other users can read a command line"
            return Problem(flag, reason, f"{variable(name)} in the environment")
        return Problem(flag, "an unknown option", near=(error.possibilities or [""])[0])
    if type(error) is click.UsageError:
        return _unexpected(words, ctx)
    return Problem("", error.format_message().rstrip("."))


def _unexpected(words: Sequence[str], ctx: click.Context) -> Problem:
    """Return the problem of a word that is neither a command nor an option's value."""
    group: Any = ctx.find_root().command
    commands = list(group.commands)
    first = next(iter(words), "")
    # In a container, the image's entrypoint is the program.
    if first == ctx.find_root().info_name:
        given = f"unexpected argument '{first}'"
        return Problem("", given, "options and commands, without the program's name")
    near = difflib.get_close_matches(first, commands, n=1)
    # Any other word of the length of a credential may be one.
    if near or re.fullmatch(rf"\w{{1,{MIN_SECRET_CHARACTERS - 1}}}", first):
        return Problem("", f"unknown command '{first}'", ", ".join(commands), "".join(near))
    allowed = "options and their values; PowerShell needs quotes around a list"
    return Problem("", "unexpected argument on the command line", allowed)
