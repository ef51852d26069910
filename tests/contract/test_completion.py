"""Shells complete commands, flags and values with the scripts that the command prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.process import command

if TYPE_CHECKING:
    from tests.support.process import Command

__all__ = ["command"]

VARIABLE = "_ALM_ENROLLMENTS_COMPLETE"
TYPES = ["course", "learningProgram", "jobAid", "certification", "all"]
# Each shell passes what was typed in its own variables.
TYPED = {"COMP_WORDS": "alm-enrollments --lo-types ", "COMP_CWORD": "2"}


@pytest.mark.parametrize(
    ("shell", "start"),
    [
        ("bash", "_alm_enrollments_completion() {"),
        ("zsh", "#compdef alm-enrollments"),
        ("fish", "function _alm_enrollments_completion"),
        ("powershell", "Register-ArgumentCompleter -Native -CommandName alm-enrollments"),
    ],
)
def test_script__is_the_shells_own(shell: str, start: str, command: Command) -> None:
    """The command prints a script for each shell, and nothing else."""
    finished = command.as_process(**{VARIABLE: f"{shell}_source"})

    assert (finished.exit_code, finished.stderr) == (0, "")
    assert finished.stdout.startswith(start)


@pytest.mark.parametrize("shell", ["bash", "zsh", "powershell"])
def test_values__are_completed(shell: str, command: Command) -> None:
    """A script's question is answered with the values of a flag, in each shell's own form."""
    finished = command.as_process(**{VARIABLE: f"{shell}_complete", **TYPED})

    words = finished.stdout.replace(",", "\n").split()
    assert [word for word in words if word in TYPES] == TYPES


def test_values__are_completed_in_fish(command: Command) -> None:
    """Fish names the word that is being typed instead of its number."""
    typed = {"COMP_WORDS": "alm-enrollments --lo-types c", "COMP_CWORD": "c"}

    finished = command.as_process(**{VARIABLE: "fish_complete", **typed})

    assert finished.stdout.splitlines() == ["plain,course", "plain,certification"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ('alm-enrollments --lo-types ""', TYPES),
        ("alm-enrollments --format x", ["xlsx"]),
        ("alm-enrollments ch", ["check"]),
        ("alm-enrollments --user-i", ["--user-id", "--user-ids-file"]),
        ("alm-enrollments merge --de", ["--debug"]),
    ],
)
def test_bash__completes(words: str, expected: list[str], command: Command) -> None:
    """In bash the block of the page completes commands, flags and values."""
    script = f"""
        eval "$({VARIABLE}=bash_source alm-enrollments)"
        COMP_WORDS=({words})
        COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
        _alm_enrollments_completion alm-enrollments
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """

    finished = command.shell(script)

    assert (finished.stderr, finished.stdout.splitlines()) == ("", expected)
