"""How far a run is and how long it will take: a bar on a terminal, a message elsewhere."""

from __future__ import annotations

import contextlib
import math
import sys
import threading
from typing import TYPE_CHECKING, Any

from connector.alm.rate_limit import ASSUMED
from connector.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tqdm import tqdm

    from connector.clock import Clock
    from connector.runner import Progress

_SECONDS_BETWEEN_LINES = 30
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def describe(progress: Progress) -> str:
    """Return in words how far a run is."""
    totals, client = progress.totals, progress.client
    users = counted(totals.finished, "user")
    if progress.total is not None:
        users = f"{totals.finished:,} of {counted(progress.total, 'user')}"
    minutes = max(progress.clock.monotonic() - client.started_at, 1) / _MINUTE
    per_minute = client.requests / minutes
    quota = (client.quota or ASSUMED).rate * _MINUTE
    parts = [
        f"{users}, {counted(totals.records, 'enrollment')}",
        f"{counted(client.requests, 'request')}, {per_minute:.0f} per minute of {quota:.0f}",
    ]
    if client.waits:
        parts.append(f"{counted(client.waits, 'wait')} for the quota")
    left = seconds_left(progress)
    if left is not None:
        # A terminal's line ends before the rest.
        parts.insert(1, f"about {format_duration(left)} left")
    return "; ".join(parts)


def seconds_left(progress: Progress) -> float | None:
    """Return how long the other users take at the quota, if they need as many requests as these.

    ``None`` if that is unknown.
    """
    totals, client = progress.totals, progress.client
    # Users that the output file has since an earlier run need no request.
    fetched = totals.finished - totals.kept
    if progress.total is None or not fetched or not client.requests:
        return None
    still_kept = totals.in_file - totals.kept
    pending = max(progress.total - totals.finished - still_kept, 0)
    return pending * client.requests / fetched / (client.quota or ASSUMED).rate


class ProgressLines:
    """Logs the progress every 30 seconds."""

    def __init__(self, log: Callable[[str], None], clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._logged_at = clock.monotonic()

    def __call__(self, progress: Progress) -> None:
        """Log *progress* if it is time."""
        self.show(progress.totals.finished, progress.total, lambda: describe(progress))

    def show(self, done: int, total: int | None, describe: Callable[[], str]) -> None:  # noqa: ARG002 - as in ProgressBar
        """Log what *describe* returns if it is time."""
        if self._clock.monotonic() - self._logged_at >= _SECONDS_BETWEEN_LINES:
            self._logged_at = self._clock.monotonic()
            self._log(describe())


class ProgressBar:
    """Shows the progress on the last line of a terminal."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        # Other threads write messages, even while tqdm draws the bar for the first time.
        self._lock = threading.RLock()

    def __call__(self, progress: Progress) -> None:
        """Show *progress*."""
        self.show(progress.totals.finished, progress.total, lambda: describe(progress))

    def show(self, done: int, total: int | None, describe: Callable[[], str]) -> None:
        """Show *done* of *total*, and what *describe* returns."""
        with self._lock:
            if self._bar is None:
                from tqdm import tqdm

                bar_format = "{desc}" if total is None else "{percentage:3.0f}% {bar:10} {desc}"
                self._bar = tqdm(
                    total=total,
                    file=sys.stderr,
                    leave=False,
                    bar_format=bar_format,
                    dynamic_ncols=True,
                )
            self._bar.n = done
            self._bar.set_description_str(describe(), refresh=False)
            self._bar.refresh()

    @contextlib.contextmanager
    def hidden(self) -> Iterator[None]:
        """Leave the terminal's line free for what is written inside."""
        with self._lock:
            if self._bar is not None:
                self._bar.clear()
            yield

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()


def format_duration(seconds: float) -> str:
    """Return *seconds* in the unit that people would choose."""
    for unit, name in ((_DAY, "days"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{math.ceil(seconds)} s"
