"""How far a run is: complete texts, an honest time left, and no more messages than needed."""

from __future__ import annotations

import io
import sys
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from connector.cli.progress import (
    ProgressBar,
    ProgressLines,
    describe,
    format_duration,
    seconds_left,
)
from connector.runner import Progress

if TYPE_CHECKING:
    from tests.support.clock import VirtualClock


def progress_of(
    clock: VirtualClock,
    *,
    finished: int,
    total: int | None,
    rate: float | None = 10.0,
    kept: int = 0,
    **values: int,
) -> Progress:
    """Return the progress of a run that started with the clock; a fetched user has 12 records."""
    values = {"requests": 30, "waits": 0, "in_file": kept, **values}
    quota = SimpleNamespace(rate=rate) if rate else None
    records = 12 * (finished - kept)
    totals: Any = SimpleNamespace(
        finished=finished, kept=kept, in_file=values.pop("in_file"), records=records
    )
    client: Any = SimpleNamespace(quota=quota, started_at=0.0, **values)
    return Progress(totals, client, total, clock)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (
            {"finished": 1_000, "total": 50_000, "requests": 3_000},
            (
                "1,000 of 50,000 users, 12,000 enrollments; about 4.1 h left;"
                " 3,000 requests, 3000 per minute of 600"
            ),
        ),
        (
            {"finished": 10, "total": None, "waits": 12},
            "10 users, 120 enrollments; 30 requests, 30 per minute of 600; 12 waits for the quota",
        ),
        (
            {"finished": 1, "total": 2, "requests": 1, "rate": None},
            "1 of 2 users, 12 enrollments; about 1 s left; 1 request, 1 per minute of 100",
        ),
    ],
    ids=["a list", "a pipe", "before the quota is known"],
)
def test_describe__complete_text(values: dict[str, Any], text: str, clock: VirtualClock) -> None:
    """Users, records, requests and quota, and the time left unless a pipe hides the total."""
    clock.sleep(60)

    assert describe(progress_of(clock, **values)) == text


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ({"finished": 10, "total": 10}, 0.0),
        ({"finished": 10, "total": 20}, 3.0),
        ({"finished": 10, "total": None}, None),
        ({"finished": 10, "total": 20, "requests": 0}, None),
        ({"finished": 0, "total": 5}, None),
        # 10 users took 20 requests. Of 80 others the file has 50: 30 take 60 requests.
        ({"finished": 20, "total": 100, "kept": 10, "in_file": 60, "requests": 20}, 6.0),
    ],
)
def test_seconds_left__at_the_quota(
    values: dict[str, Any], seconds: float | None, clock: VirtualClock
) -> None:
    """Other users need as many requests as those that were fetched; kept users need none."""
    assert seconds_left(progress_of(clock, **values)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.2, "1 s"),
        (119, "119 s"),
        (120, "2.0 min"),
        (7_199, "120.0 min"),
        (7_200, "2.0 h"),
        (172_799, "48.0 h"),
        (172_800, "2.0 days"),
    ],
)
def test_format_duration__in_the_unit_that_people_choose(seconds: float, text: str) -> None:
    """A unit is used from two of it on."""
    assert format_duration(seconds) == text


def test_progress_lines__every_thirty_seconds(clock: VirtualClock) -> None:
    """However often it is called, it logs when thirty seconds have passed since the last time."""
    logged: list[str] = []
    lines, progress = ProgressLines(logged.append, clock), progress_of(clock, finished=9, total=20)

    counts = []
    for _ in range(12):
        lines(progress)
        counts.append(len(logged))
        clock.sleep(7.5)

    assert counts == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
    assert logged[0].startswith("9 of 20 users, 108 enrollments; ")


@pytest.mark.parametrize("total", [20, None])
def test_progress_bar__shows_and_clears_a_line(
    total: int | None, clock: VirtualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bar shows the text on one line, clears it for a message, and leaves nothing."""
    progress = progress_of(clock, finished=9, total=total)
    bar = ProgressBar()
    with bar.hidden():
        bar(progress)
    bar(progress)
    shown = capsys.readouterr().err
    with bar.hidden():
        hidden = capsys.readouterr().err
    bar.close()

    assert describe(progress) in shown
    assert (shown.count("\n"), hidden.strip(), capsys.readouterr().err.strip()) == (0, "", "")


def test_progress_bar__message_while_it_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message of another thread, while the bar is drawn for the first time, has its own line."""
    terminal, bar = io.StringIO(), ProgressBar()
    writes = terminal.write

    def write_message() -> None:
        with bar.hidden():
            writes("message")

    message = threading.Thread(target=write_message)

    def write(text: str) -> int:
        count = writes(text)
        if message.ident is None:
            message.start()
            message.join(0.2)
        return count

    monkeypatch.setattr(terminal, "write", write)
    monkeypatch.setattr(sys, "stderr", terminal)
    bar.show(0, 3, lambda: "0 of 3 users")
    message.join()

    before, _, after = terminal.getvalue().partition("message")
    assert "0 of 3 users" in before
    assert (before[-1], after) == ("\r", "")


def test_progress_bar__unused_leaves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A bar of a run that ended before it read anything was never shown."""
    ProgressBar().close()

    assert capsys.readouterr().err == ""
