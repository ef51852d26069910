"""GitHub's runner and the agent of Azure Pipelines, as far as they read a step's files and streams.

Modelled on the parsers in actions/runner (FileCommandManager.cs, ActionCommand.cs,
ActionCommandManager.cs, OutputManager.cs, JobRunner's outputs) and in
microsoft/azure-pipelines-agent (Command.cs, CommandStringConvertor.cs, WorkerCommandManager.cs).
Shares no code with the channels.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

MAX_JOB_OUTPUTS = 1_048_576
MAX_SUMMARY = 1_048_576
#: Commands of the runner; everything else of the same form is text.
_COMMANDS = (
    *("add-mask", "add-matcher", "add-path", "debug", "echo", "endgroup", "error", "group"),
    *("notice", "remove-matcher", "save-state", "set-env", "set-output", "stop-commands"),
    "warning",
)
# In the order in which they are undone: the percent sign last, so that nothing is undone twice.
_GITHUB_DATA = (("%0D", "\r"), ("%0A", "\n"), ("%25", "%"))
_GITHUB_PROPERTY = (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%"))
_GITHUB_LEGACY = (("%3B", ";"), ("%0D", "\r"), ("%0A", "\n"), ("%5D", "]"), ("%25", "%"))
_AZURE = (("%3B", ";"), ("%0D", "\r"), ("%0A", "\n"), ("%5D", "]"), ("%AZP25", "%"))


class RejectedError(Exception):
    """A file that fails the step, or that the runner drops with a warning."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command as the runner understands it."""

    name: str
    data: str
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Log:
    """A step's streams as the runner reads them: commands, other lines, masks, open groups."""

    commands: list[Command] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)
    open_groups: int = 0

    def named(self, name: str) -> list[Command]:
        """Return the commands *name*."""
        return [command for command in self.commands if command.name == name]

    def masked(self, text: str) -> str:
        """Return *text* with the masks so far."""
        return _masked(self.masks, text)


def parse_outputs(file: bytes) -> dict[str, str]:
    """Return the outputs in the *file* ``GITHUB_OUTPUT``. Raises RejectedError."""
    lines = file.decode("utf-8-sig", errors="replace").split("\n")
    if not lines[-1]:
        lines.pop()
    unread = iter(lines)
    outputs: dict[str, str] = {}
    for line in filter(None, unread):
        match = re.fullmatch(r"(?!=|<<)(.+?)(?:=(.*)|<<(.+))", line, re.DOTALL)
        if not match:
            raise RejectedError(f"Invalid format '{line}'")
        name, value, delimiter = match.groups()
        outputs[name] = "\n".join(_until(delimiter, unread)) if delimiter else value
    return outputs


def _until(delimiter: str, unread: Iterable[str]) -> list[str]:
    value: list[str] = []
    for line in unread:
        if line == delimiter:
            return value
        value.append(line)
    raise RejectedError(f"Invalid value. Matching delimiter not found '{delimiter}'")


def job_outputs(outputs: Mapping[str, str], masks: Iterable[str] = ()) -> dict[str, str]:
    """Return the outputs that later jobs get: not empty, not masked. Raises RejectedError."""
    texts = [name + value for name, value in outputs.items()]
    if sum(len(text.encode("utf-16-le")) for text in texts) > MAX_JOB_OUTPUTS:
        raise RejectedError("The job's outputs are larger than 1 MB.")
    return {
        name: value for name, value in outputs.items() if value and _masked(masks, value) == value
    }


def read_summary(file: bytes, masks: Iterable[str] = ()) -> str:
    """Return the Markdown of ``GITHUB_STEP_SUMMARY`` as it is uploaded. Raises RejectedError."""
    if len(file) > MAX_SUMMARY:
        raise RejectedError(
            "$GITHUB_STEP_SUMMARY upload aborted, supports content up to a size of 1024k."
        )
    return "".join(f"{_masked(masks, line)}\n" for line in lines_of(file.decode(errors="replace")))


def lines_of(stream: str) -> list[str]:
    """Return the lines of *stream* as .NET reads them: a lone CR ends one, too."""
    lines = re.split("\r\n|\r|\n", stream)
    return lines if lines[-1] else lines[:-1]


def read_github(*streams: str) -> Log:
    """Read a step's *streams* as GitHub's runner does."""
    return _read(streams, _parse_github)


def read_azure(*streams: str) -> Log:
    """Read a task's *streams* as the agent of Azure Pipelines does."""
    return _read(streams, _parse_azure)


def _read(streams: Iterable[str], parse: Callable[[str], Command | None]) -> Log:
    log = Log()
    for line in (line for stream in streams for line in lines_of(stream)):
        command = parse(line)
        if command is None:
            log.lines.append(log.masked(line))
        elif command.name in ("add-mask", "task.setsecret"):
            log.masks += [command.data] if command.data.strip() else []
            log.commands.append(command)
        else:
            log.open_groups += {"group": 1, "endgroup": -1}.get(command.name, 0)
            log.commands.append(Command(command.name, log.masked(command.data), command.properties))
    return log


def _parse_github(line: str) -> Command | None:
    """Parse ``::name a=b,c=d::data`` at the beginning, or ``##[name a=b;c=d]data`` anywhere."""
    if (begin := line.lstrip()).startswith("::"):
        head, end, data = begin.removeprefix("::").partition("::")
        name, _, properties = head.partition(" ")
        if end and name.lower() in _COMMANDS:
            pairs = _properties(properties.strip(), ",", _GITHUB_PROPERTY)
            return Command(name.lower(), _unescaped(data, _GITHUB_DATA), pairs)
    _, found, rest = line.partition("##[")
    head, end, data = rest.partition("]")
    name, _, properties = head.partition(" ")
    if found and end and name.lower() in _COMMANDS:
        pairs = _properties(properties, ";", _GITHUB_LEGACY)
        return Command(name.lower(), _unescaped(data, _GITHUB_LEGACY), pairs)
    return None


def _parse_azure(line: str) -> Command | None:
    """Parse ``##vso[area.action a=b;c=d]data``, or the log's ``##[group]`` and the like.

    The agent takes the first ``##vso[`` of a line, and all text behind its bracket as data. Only
    lines that are not its commands reach the log, whose viewer knows ``##[group]``.
    """
    _, begin, rest = line.partition("##vso[")
    head, end, data = rest.partition("]")
    name, _, properties = head.partition(" ")
    if begin and end and len(list(filter(None, name.split(".")))) == 2:
        return Command(name.lower(), _unescaped(data, _AZURE), _properties(properties, ";", _AZURE))
    if match := re.search(r"##\[(\w+)\](.*)", line, re.DOTALL):
        return Command(match[1], match[2])
    return None


def _properties(text: str, separator: str, escapes: Iterable[tuple[str, str]]) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in text.split(separator))
    return {name: _unescaped(value, escapes) for name, _, value in pairs if name and value}


def _unescaped(text: str, escapes: Iterable[tuple[str, str]]) -> str:
    for escape, character in escapes:
        text = text.replace(escape, character)
    return text


def _masked(masks: Iterable[str], text: str) -> str:
    for mask in sorted(masks, key=len, reverse=True):
        text = text.replace(mask, "***")
    return text
