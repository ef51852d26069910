"""Where outputs go besides standard output. A channel is detected by what it is, not by whose it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from connector.channels.azure import AzurePipelines
from connector.channels.folder import Dotenv, OutputFolder
from connector.channels.github import GitHub
from connector.channels.interface import Channel, Place, RunOutputs, Written
from connector.channels.kubernetes import AirflowXCom, TerminationLog
from connector.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Every channel that there is; a new one is a class of its own and a line here.
CHANNELS: tuple[type[Channel], ...] = (
    GitHub,
    AzurePipelines,
    AirflowXCom,
    TerminationLog,
    OutputFolder,
    Dotenv,
)

__all__ = [
    "CHANNELS",
    "Channel",
    "Place",
    "RunOutputs",
    "Written",
    "deliver",
    "find_channels",
    "prepare",
]


def find_channels(place: Place) -> tuple[Channel, ...]:
    """Return the channels that *place* has."""
    return tuple(kind(place) for kind in CHANNELS if kind.is_there(place))


def prepare(channels: Sequence[Channel]) -> None:
    """Find out whether *channels* can be written. Raises OutputError, before anything was asked."""
    _each(channels, lambda channel: channel.prepare(), "Nothing was sent; mend it and run again.")


def deliver(channels: Sequence[Channel], handover: RunOutputs) -> None:
    """Write *handover* to each of *channels*, whatever becomes of the others. Raises OutputError for those that cannot be written."""
    _each(channels, lambda channel: channel.write(handover), "Mend it and run again.")


def _each(channels: Sequence[Channel], do: Callable[[Channel], None], hint: str) -> None:
    failed = []
    for channel in channels:
        try:
            do(channel)
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            failed.append(f"{channel.name} cannot be written: {error.strerror or error}{where}")
    if failed:
        told = "; ".join(failed)
        raise OutputError(f"{told[0].upper()}{told[1:]}.", hint=hint)
