"""Measure how well runs use ALM's quota, as processes against the sandbox: four minutes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from connector.sandbox import ACCESS_TOKEN, Settings
from connector.sandbox.server import SandboxServer

CHECKOUT = Path(__file__).parents[1]
PER_MINUTE, BURST = 1_200, 20
USERS, PAGES = 200, 3


def main() -> None:
    """Print the table."""
    print("| what | of the bound | refused (429) | promised |\n|---|---|---|---|")
    row(f"one run, {USERS} users", runs=1, share=1.0, promised="at least 95 %, none")
    row(
        f"four runs at once, {USERS} users each",
        runs=4,
        share=1.0,
        promised="at least 80 %, at most 5 %",
    )
    row(f"one run with half a share, {USERS} users", runs=1, share=0.5, promised="half the rate")


def row(what: str, *, runs: int, share: float, promised: str) -> None:
    """Measure *runs* at once and print their line. Raises CalledProcessError if one fails."""
    with SandboxServer(
        Settings(rate_per_minute=PER_MINUTE, burst=BURST, enrollments_per_user=10 * PAGES)
    ) as server:
        inputs = {
            "ALM_BASE_URL": server.url,
            "ALM_ACCESS_TOKEN": ACCESS_TOKEN,
            "ALM_LO_TYPES": "all",
            "ALM_QUOTA_SHARE": str(share),
        }
        environ = {**os.environ, "PYTHONPATH": str(CHECKOUT), **inputs}
        began = time.monotonic()
        processes = [start_run(environ, first_user=1_000_000 * (run + 1)) for run in range(runs)]
        codes = [process.wait() for process in processes]
        seconds = time.monotonic() - began
        statuses = [request["status"] for request in server.requests]
    if any(codes):
        raise subprocess.CalledProcessError(max(codes), "connector")
    bound = (runs * USERS * PAGES - BURST) / (PER_MINUTE / 60 * share)
    refused = statuses.count(429)
    print(
        f"| {what} | {bound / seconds:.0%}"
        f" | {refused} of {len(statuses)} ({refused / len(statuses):.1%}) | {promised} |",
        flush=True,
    )


def start_run(environ: dict[str, str], *, first_user: int) -> subprocess.Popen[bytes]:
    """Start a run over its own users, from *first_user* on."""
    users = ",".join(str(user) for user in range(first_user, first_user + USERS))
    return subprocess.Popen(
        [sys.executable, "-m", "connector"],
        env={**environ, "ALM_USER_ID": users},
        cwd=CHECKOUT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


if __name__ == "__main__":
    main()
