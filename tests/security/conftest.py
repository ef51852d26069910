"""Attackers on loopback: hostile servers, other accounts, and clients that break rules."""

from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.action.conftest import job, new_job, packages, python
from tests.contract.http.conftest import start_server
from tests.faults.conftest import play
from tests.support.installer import cached_wheel, environ, fake_python, index, lock
from tests.support.process import command
from tests.support.sandbox import sandbox, start_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "cached_wheel",
    "command",
    "environ",
    "fake_python",
    "index",
    "job",
    "lock",
    "new_job",
    "packages",
    "play",
    "python",
    "sandbox",
    "start_sandbox",
    "start_server",
]

MEGABYTE = 1024 * 1024
#: An account on the machine that is not this one; only root can act as it.
OTHER_USER = 60_612
_STATUS = Path("/proc/self/status")


def _kilobytes(name: str) -> int:
    return int(re.findall(rf"{name}:\s+(\d+) kB", _STATUS.read_text(encoding="utf-8"))[0])


@contextlib.contextmanager
def bounded(*, megabytes: int = 96, seconds: float = 10.0) -> Iterator[None]:
    """Fail if this process needs more memory or processor time inside (memory: Linux, proc(5))."""
    before, began = 0, time.process_time()
    if _STATUS.exists():
        # Resets the peak to the present.
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        before = _kilobytes("VmRSS")
    yield
    spent = time.process_time() - began
    grown = _kilobytes("VmHWM") - before if _STATUS.exists() else 0
    assert grown < megabytes * 1024, f"{grown // 1024} MB"
    assert spent < seconds, f"{spent:.1f} s"
