"""How GitHub's runner, and the agent of Azure Pipelines, read what a step writes. Shares no code with what it judges.

After the parsers in actions/runner (FileCommandManager.cs, ActionCommand.cs, ActionCommandManager.cs, OutputManager.cs,
JobRunner's outputs) and in microsoft/azure-pipelines-agent (Command.cs, CommandStringConvertor.cs).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

LARGEST_OUTPUTS = 1_048_576
LARGEST_SUMMARY = 1_048_576
#: What the runner obeys; all else of the same form is text.
_COMMANDS = (
    *(
        "add-mask",
        "add-matcher",
        "add-path",
        "debug",
        "echo",
        "endgroup",
        "error",
        "group",
        "notice",
    ),
    *("remove-matcher", "save-state", "set-env", "set-output", "stop-commands", "warning"),
)
# In the order in which they are read back: the percent sign last, so that none is read twice.
_GITHUB_DATA = (("%0D", "\r"), ("%0A", "\n"), ("%25", "%"))
_GITHUB_PROPERTY = (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%"))
_GITHUB_LEGACY = (("%3B", ";"), ("%0D", "\r"), ("%0A", "\n"), ("%5D", "]"), ("%25", "%"))
_AZURE = (("%3B", ";"), ("%0D", "\r"), ("%0A", "\n"), ("%5D", "]"), ("%AZP25", "%"))


class AuthenticationError(Exception):
    """What was written fails the step, or is thrown away with a warning that nobody reads."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command as it was understood."""

    name: str
    data: str
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Log:
    """What came of a step's streams: commands obeyed in order, lines shown, and how many groups are still open."""

    commands: list[Command] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)
    open_groups: int = 0

    def named(self, name: str) -> list[Command]:
        """Return the commands *name*."""
        return [command for command in self.commands if command.name == name]

    def masked(self, text: str) -> str:
        """Return *text* without what is masked by now."""
        return _without(self.masks, text)


def parse_outputs(file: bytes) -> dict[str, str]:
    """Return the outputs of the *file* ``GITHUB_OUTPUT``. Raises AuthenticationError where the runner fails the step."""
    lines = file.decode("utf-8-sig", errors="replace").split("\n")
    # What stands behind the last line end is a line only where there is something.
    unread = iter(lines if lines[-1] else lines[:-1])
    outputs: dict[str, str] = {}
    for line in filter(None, unread):
        name, sign, rest = re.fullmatch(r"(.*?)(?:(=|<<)(.*))?", line, re.DOTALL).groups()  # type: ignore[union-attr] # it matches all
        if not name or not sign or (sign == "<<" and not rest):
            raise AuthenticationError(f"Invalid format '{line}'")
        outputs[name] = rest if sign == "=" else "\n".join(_until(rest, unread))
    return outputs


def _until(delimiter: str, unread: Iterable[str]) -> list[str]:
    value: list[str] = []
    for line in unread:
        if line == delimiter:
            return value
        value.append(line)
    raise AuthenticationError(f"Invalid value. Matching delimiter not found '{delimiter}'")


def job_outputs(outputs: Mapping[str, str], masks: Iterable[str] = ()) -> dict[str, str]:
    """Return what a later job gets of *outputs*: no empty one, none that holds masked text. Raises AuthenticationError over 1 MB."""
    if (
        sum(len((name + value).encode("utf-16-le")) for name, value in outputs.items())
        > LARGEST_OUTPUTS
    ):
        raise AuthenticationError("The job's outputs are larger than 1 MB.")
    return {
        name: value for name, value in outputs.items() if value and _without(masks, value) == value
    }


def read_summary(file: bytes, masks: Iterable[str] = ()) -> str:
    """Return the Markdown of ``GITHUB_STEP_SUMMARY`` as it is uploaded. Raises AuthenticationError over 1 MiB."""
    if len(file) > LARGEST_SUMMARY:
        raise AuthenticationError(
            "$GITHUB_STEP_SUMMARY upload aborted, supports content up to a size of 1024k."
        )
    return "".join(f"{_without(masks, line)}\n" for line in lines_of(file.decode(errors="replace")))


def lines_of(stream: str) -> list[str]:
    """Return the lines of *stream* as .NET reads them: a lone CR ends one, too."""
    lines = re.split("\r\n|\r|\n", stream)
    return lines if lines[-1] else lines[:-1]


def read_github(*streams: str) -> Log:
    """Return what GitHub's runner makes of a step's *streams*."""
    return _read(streams, _parse_github)


def read_azure(*streams: str) -> Log:
    """Return what the agent of Azure Pipelines makes of a task's *streams*."""
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
    return _parse_at_the_beginning(line.lstrip()) or _parse_anywhere(line)


def _parse_at_the_beginning(line: str) -> Command | None:
    """``::name property=value,property=value::data``."""
    told, end, data = line.removeprefix("::").partition("::")
    name, _, properties = told.partition(" ")
    if not line.startswith("::") or not end or name.lower() not in _COMMANDS:
        return None
    return Command(
        name.lower(),
        _read_back(data, _GITHUB_DATA),
        _properties(properties.strip(), ",", _GITHUB_PROPERTY),
    )


def _parse_anywhere(line: str) -> Command | None:
    """``##[name property=value;property=value]data``, in whatever follows what."""
    _, begin, rest = line.partition("##[")
    told, end, data = rest.partition("]")
    name, _, properties = told.partition(" ")
    if not begin or not end or name.lower() not in _COMMANDS:
        return None
    return Command(
        name.lower(), _read_back(data, _GITHUB_LEGACY), _properties(properties, ";", _GITHUB_LEGACY)
    )


def _parse_azure(line: str) -> Command | None:
    """Parse ``##vso[area.action property=value;property=value]data``, or the log's ``##[group]`` and the like.

    The agent takes the first ``##vso[`` of a line and all of the data behind its bracket. Only lines
    that are not its commands reach the log, whose viewer knows ``##[group]``.
    """
    _, begin, rest = line.partition("##vso[")
    head, end, data = rest.partition("]")
    name, _, properties = head.partition(" ")
    if begin and end and len(list(filter(None, name.split(".")))) == 2:
        return Command(
            name.lower(), _read_back(data, _AZURE), _properties(properties, ";", _AZURE)
        )
    if match := re.search(r"##\[(\w+)\](.*)", line, re.DOTALL):
        return Command(match[1], match[2])
    return None


def _properties(text: str, separator: str, escapes: Iterable[tuple[str, str]]) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in text.split(separator))
    return {name: _read_back(value, escapes) for name, _, value in pairs if name and value}


def _read_back(text: str, escapes: Iterable[tuple[str, str]]) -> str:
    for written, meant in escapes:
        text = text.replace(written, meant)
    return text


def _without(masks: Iterable[str], text: str) -> str:
    for mask in sorted(masks, key=len, reverse=True):
        text = text.replace(mask, "***")
    return text
