"""Outputs besides standard output, each found by its own variable, file or flag."""

from __future__ import annotations

from typing import TYPE_CHECKING

from connector.channels.azure import AzurePipelines
from connector.channels.folder import Dotenv, OutputFolder
from connector.channels.github import GitHub, StepSummary
from connector.channels.interface import Channel, ChannelContext, RunOutputs, Tally
from connector.channels.kubernetes import AirflowXCom, TerminationLog
from connector.errors import OutputError
from connector.files import advice_for
from connector.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: A new channel is a class of its own and a line here.
CHANNELS: tuple[type[Channel], ...] = (
    GitHub,
    StepSummary,
    AzurePipelines,
    AirflowXCom,
    TerminationLog,
    OutputFolder,
    Dotenv,
)

__all__ = [
    "CHANNELS",
    "Channel",
    "ChannelContext",
    "RunOutputs",
    "Tally",
    "deliver",
    "find_channels",
    "prepare",
]


def find_channels(context: ChannelContext) -> tuple[Channel, ...]:
    """Return the channels that *context* has."""
    return tuple(channel(context) for channel in CHANNELS if channel.is_available(context))


def prepare(channels: Sequence[Channel]) -> None:
    """Check before the first request that all *channels* can be written. Raises OutputError."""
    _for_each(channels, lambda channel: channel.prepare(), so_far="Nothing was sent.")


def deliver(channels: Sequence[Channel], outputs: RunOutputs) -> None:
    """Write *outputs* to every channel, and warn of those that only inform and cannot be written.

    Raises one OutputError for all others that cannot be written.
    """
    _for_each(channels, lambda channel: channel.write(outputs))


def _for_each(
    channels: Sequence[Channel], action: Callable[[Channel], None], *, so_far: str = ""
) -> None:
    failures, hints = [], [so_far]
    for channel in channels:
        try:
            action(channel)
        except OSError as error:
            path = f" ({error.filename})" if error.filename else ""
            failure = f"{channel.name} cannot be written: {error.strerror or error}{path}"
            if channel.has_results:
                failures.append(failure)
                hints.append(advice_for(error))
            else:
                channel.warn(one_line(f"{failure[0].upper()}{failure[1:]}."))
    if failures:
        text = "; ".join(failures)
        hint = " ".join(dict.fromkeys(filter(None, hints)))
        raise OutputError(f"{text[0].upper()}{text[1:]}.", hint=hint)
