"""How far a run is, and how long it will take yet. A bar on a terminal; elsewhere a line every 30 seconds."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from connector.alm.rate_limit import ASSUMED

if TYPE_CHECKING:
    from collections.abc import Callable

    from tqdm import tqdm

    from connector.alm.client import Client
    from connector.clock import Clock
    from connector.output.document import Totals

_SECONDS_BETWEEN_LINES = 30
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


@dataclass(frozen=True, slots=True)
class Progress:
    """A run under way; *total* is ``None`` where only the end tells how many users there are."""

    totals: Totals
    client: Client
    total: int | None
    clock: Clock

    def told(self) -> str:
        """Return in words how far it is."""
        quota = (self.client.quota or ASSUMED).rate * _MINUTE
        minutes = max(self.clock.monotonic() - self.client.began_at, 1) / _MINUTE
        finished = f"{self.totals.finished:,}" + (
            f" of {self.total:,}" if self.total is not None else ""
        )
        left = self.seconds_left()
        parts = [
            f"{finished} users, {self.totals.records:,} enrollments",
            f"{self.client.requests:,} requests, {self.client.requests / minutes:.0f} a minute of {quota:.0f}",
            f"{self.client.waits:,} waits for the quota" if self.client.waits else "",
            f"about {duration(left)} left" if left is not None else "",
        ]
        return "; ".join(filter(None, parts))

    def seconds_left(self) -> float | None:
        """Return how long the users that are left take at this quota, going by the requests of those that were read."""
        # Those whom the file had before cost nothing, neither those passed over by now nor those to come.
        asked_for = self.totals.finished - self.totals.kept
        if self.total is None or not asked_for or not self.client.requests:
            return None
        to_ask_for = max(
            self.total - self.totals.finished - (self.totals.in_file - self.totals.kept), 0
        )
        requests = to_ask_for * self.client.requests / asked_for
        return requests / (self.client.quota or ASSUMED).rate


class Lines:
    """Tells now and then, where nobody looks."""

    def __init__(self, tell: Callable[[str], None], clock: Clock) -> None:
        self._tell = tell
        self._clock = clock
        self._told_at = clock.monotonic()

    def __call__(self, progress: Progress) -> None:
        """Tell how far it is, if 30 seconds have passed."""
        if self._clock.monotonic() - self._told_at >= _SECONDS_BETWEEN_LINES:
            self._told_at = self._clock.monotonic()
            self._tell(progress.told())

    def hide(self) -> None:
        """Nothing is in the way of another line."""

    def close(self) -> None:
        """Nothing is left behind."""


class Bar:
    """A bar on a terminal, with what ``Lines`` would tell behind it."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None

    def __call__(self, progress: Progress) -> None:
        """Show how far it is."""
        bar = self._bar
        if bar is None:
            from tqdm import tqdm  # noqa: PLC0415 - only where somebody looks

            shown = "{desc}" if progress.total is None else "{bar:20} {desc}"
            self._bar = bar = tqdm(
                total=progress.total,
                file=sys.stderr,
                leave=False,
                bar_format=shown,
                dynamic_ncols=True,
            )
        bar.n = progress.totals.finished
        bar.set_description_str(progress.told(), refresh=False)
        bar.refresh()

    def hide(self) -> None:
        """Make room for a line."""
        if self._bar is not None:
            self._bar.clear()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()


def duration(seconds: float) -> str:
    """Return *seconds* in the unit that people would take."""
    for unit, name in ((_DAY, "days"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{math.ceil(seconds)} s"
