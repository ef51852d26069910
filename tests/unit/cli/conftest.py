"""The command in this process, and its words parsed without running it."""

from __future__ import annotations

import contextlib
import os
import pty
import shlex
import subprocess
import sys
import termios
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import pytest

from connector.cli.commands import cli
from connector.cli.console import Console
from tests.support.process import (
    CHECKOUT,
    PATIENCE_SECONDS,
    Command,
    Finished,
    command,
    needed_variables,
)
from tests.support.sandbox import StartSandbox, start_sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from connector.errors import Problem

__all__ = [
    "Command",
    "Finished",
    "OnTerminal",
    "Parsed",
    "StartSandbox",
    "command",
    "on_terminal",
    "parse",
    "start_sandbox",
]


class Parsed(NamedTuple):
    """The command that a command line names, the values of its options, and its problems."""

    command: str
    values: dict[str, Any]
    problems: list[Problem]


@pytest.fixture(scope="session")
def parse() -> Callable[..., Parsed]:
    """Return a function that parses a command line and runs nothing."""

    def parse(*words: str) -> Parsed:
        console = Console({})
        # The level that --debug sets ends with the block.
        with console.show_logs():
            group = cli.make_context("alm-enrollments", list(words), obj=console)
            name, command, rest = cli.resolve_command(group, [*group._protected_args, *group.args])
            assert name is not None
            assert command is not None
            context = command.make_context(name, rest, parent=group)
        values = {name: value for name, value in context.params.items() if value}
        return Parsed(name, values, console.problems)

    return parse


class OnTerminal(Protocol):
    """Runs the command with a terminal of 80 columns as standard output."""

    def __call__(
        self, line: str, variables: Mapping[str, str], *, has_both: bool = False
    ) -> Finished:
        """Return what it leaves, with the terminal's text as standard output.

        With *has_both* the terminal shows standard error, too.
        """


@pytest.fixture
def on_terminal() -> OnTerminal:
    """Return a function that runs the command on a terminal."""

    def run(line: str, variables: Mapping[str, str], *, has_both: bool = False) -> Finished:
        terminal, end = pty.openpty()
        termios.tcsetwinsize(end, (24, 80))
        process = subprocess.Popen(
            [sys.executable, "-m", "connector", *shlex.split(line)],
            env={**needed_variables(), "PYTHONPATH": str(CHECKOUT), **variables},
            stdin=subprocess.DEVNULL,
            stdout=end,
            stderr=end if has_both else subprocess.PIPE,
            text=True,
        )
        os.close(end)
        shown = b""
        # Linux reports the end of a terminal's output as an error.
        with contextlib.suppress(OSError):
            while piece := os.read(terminal, 65_536):
                shown += piece
        os.close(terminal)
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
        return Finished(process.returncode, shown.decode(), errors or "")

    return run
