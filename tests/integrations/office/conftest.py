"""LibreOffice and Chromium, installed if they are missing, and files of the command to open."""

from __future__ import annotations

import fcntl
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from connector.runner import run_given

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = Path(__file__).parents[3]
BUILT = CHECKOUT / "build/office"
USERS = ["20941371", *map(str, range(1000, 1030))]
# Pages and formulas that would do something if they were markup or formulas; ALM lets people
# write such names.
HOSTILE_NAMES = (
    "<script>window.hacked = true; alert(1)</script>",
    '"><img src="https://evil.example/x.png" onerror="window.hacked = true">',
    "javascript:alert(document.cookie)",
    "</style><link rel=stylesheet href=//evil.example/x.css>",
    "\u202egnp.exe",
    "مرحبا \u200f1 אב",
    "n" * 10_000,
    '=HYPERLINK("https://evil.example","click")',
    "+1+1",
    "@SUM(A1:A9)",
    "<r><t>x</t></r>",
    "_x0041_ & <b>",
    " leading and trailing ",
    "tab\tand\nline",
)  # fmt: skip


@pytest.fixture(scope="session")
def office() -> Iterator[Path]:
    """Return the Python that drives Chromium; other sessions wait until this one has installed."""
    BUILT.parent.mkdir(parents=True, exist_ok=True)
    with (BUILT.parent / "office.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run([CHECKOUT / "tests/integrations/office/install"], check=True)
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield BUILT / "bin/python"


@dataclass(frozen=True, slots=True)
class Chromium:
    """Opens pages in Chromium on a desktop and a phone, light and dark."""

    python: Path
    folder: Path

    def open(self, page: Path) -> dict[str, Any]:
        """Return what *page* shows and does; its screenshots are in the folder."""
        script = CHECKOUT / "tests/integrations/office/browser.py"
        finished = subprocess.run(
            [self.python, script, page, self.folder],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert finished.returncode == 0, finished.stderr
        seen: dict[str, Any] = json.loads(finished.stdout)
        return seen


@pytest.fixture
def chromium(office: Path, tmp_path: Path) -> Chromium:
    """Return Chromium."""
    return Chromium(office, tmp_path)


def write(path: Path, **inputs: Any) -> dict[str, Any]:
    """Write the file of a run against the sandbox; return the run's document."""
    values = {"user_id": USERS, "base_url": "sandbox", "lo_types": "all", **inputs}
    return run_given({**values, "output_file": str(path)})
