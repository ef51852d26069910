"""Prints how the HTTP door holds under load: fifty callers at once for half a minute, behind them the sandbox's limiter."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import requests

from connector.clock import SystemClock
from connector.sandbox import ACCESS_TOKEN, Settings
from connector.sandbox.server import SandboxServer
from connector.server.app import ARRIVED_AT, Application, make_application
from connector.server.listener import SPARE_THREADS, Server

if TYPE_CHECKING:
    from collections.abc import Iterable

CHECKOUT = Path(__file__).parents[1]
CALLERS, SECONDS, SETTLED = 50, 30.0, 8.0
# All are there when the burst is used up: what follows is the limiter's pace.
RAMP_SECONDS = 5.0
PER_MINUTE, BURST, LATENCY_SECONDS = 1_200, 20, 0.05
THREADS = 64
KEY = "a-key-for-the-benchmark"


def main() -> None:
    """Print the table."""
    settings = Settings(rate_per_minute=PER_MINUTE, burst=BURST)
    with SandboxServer(settings, latency_seconds=LATENCY_SECONDS) as alm:
        told = {"ALM_BASE_URL": alm.url, "ALM_ACCESS_TOKEN": ACCESS_TOKEN, "ALM_SERVE_KEY": KEY}
        environ = {**os.environ, "PYTHONPATH": str(CHECKOUT), **told}
        with subprocess.Popen(
            [sys.executable, "-m", "benchmarks.serve", "--door"],
            env=environ,
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as door:
            if door.stdout is None:
                raise TypeError("its output is a pipe")
            url = door.stdout.readline().strip()
            statuses, memory = under_load(url, door.pid)
            door.send_signal(signal.SIGTERM)
            own = json.loads(door.stdout.read())
        refused = [request["status"] for request in alm.requests].count(429)
    print("| what | measured | promised |\n|---|---|---|")
    told_statuses = ", ".join(
        f"{number} with {status}" for status, number in sorted(statuses.items())
    )
    print(f"| {CALLERS} callers at once for {SECONDS:g} s, answers | {told_statuses} | no 5xx |")
    print(f"| the same, refused by ALM's limiter | {refused} of {len(alm.requests)} | none |")
    cuts = statistics.quantiles(own, n=100)
    print(
        f"| our own share of an answer, median and p99 | {cuts[49] * 1000:.0f} ms, {cuts[98] * 1000:.0f} ms | p99 at most 50 ms |"
    )
    print(
        f"| memory after {SETTLED:g} s, and at the end | {memory[0]:.1f} MB, {memory[1]:.1f} MB | flat |"
    )


def under_load(url: str, process: int) -> tuple[Counter[int], tuple[float, float]]:
    """Return how often each status came, and the memory of *process* in MB when the load had settled and at its end."""
    statuses: Counter[int] = Counter()
    users = count(1_000_000)
    ends_at = time.monotonic() + SECONDS
    time_passes = threading.Event()

    def call() -> None:
        with requests.Session() as session:
            while time.monotonic() < ends_at:
                # Of two pages at most: what is measured is the door.
                query = {"user_id": str(next(users)), "max_enrollments": "20"}
                statuses[
                    session.get(
                        f"{url}/v1/enrollments",
                        params=query,
                        headers={"X-API-Key": KEY},
                        timeout=60,
                    ).status_code
                ] += 1

    callers = [threading.Thread(target=call) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
        time_passes.wait(RAMP_SECONDS / CALLERS)
    time_passes.wait(SETTLED - RAMP_SECONDS)
    settled = resident_mb(process)
    for caller in callers:
        caller.join()
    return statuses, (settled, resident_mb(process))


def resident_mb(process: int) -> float:
    """Return the resident memory of *process*."""
    found = re.search(
        r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text(encoding="ascii")
    )
    return int(found[1]) / 1024 if found else 0.0


class Waits(SystemClock):
    """Counts, in each thread, the seconds that were waited for ALM's quota."""

    def __init__(self) -> None:
        self.of_thread = threading.local()

    def sleep(self, seconds: float) -> None:
        """Wait, and count it."""
        began = self.monotonic()
        super().sleep(seconds)
        self.of_thread.seconds = self.waited() + self.monotonic() - began

    def waited(self) -> float:
        """Return the seconds that this thread has waited."""
        return float(getattr(self.of_thread, "seconds", 0.0))


class NotOurs(logging.Handler):
    """Learns from the client's log what each learner's requests took ALM; a run has a thread, and here one learner, of its own."""

    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self._waits = waits
        self._alm: Counter[str] = Counter()
        self.seconds: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Add up one request's time."""
        if found := re.search(r"/users/(\d+)/.* in (\d+) ms", record.getMessage()):
            self._alm[found[1]] += int(found[2])
            self.seconds[found[1]] = self._waits.waited() + self._alm[found[1]] / 1000


class Measured:
    """The application, and how long each of its answers took less what was not ours."""

    def __init__(self, application: Application, waits: Waits) -> None:
        self._application = application
        self.deadline = application.deadline
        self._not_ours = NotOurs(waits)
        log = logging.getLogger("connector.alm.client")
        log.setLevel(logging.DEBUG)
        log.addHandler(self._not_ours)
        self.own: list[float] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401 - WSGI's
        """Answer, and measure it from the moment that the request had arrived."""
        answer = self._application(environ, start_response)
        user_id = parse_qs(environ["QUERY_STRING"])["user_id"][0]
        self.own.append(
            time.monotonic() - environ[ARRIVED_AT] - self._not_ours.seconds.pop(user_id, 0.0)
        )
        return answer


def door() -> None:
    """Serve until SIGTERM, then print what was measured."""
    waits = Waits()
    measured = Measured(
        make_application(
            os.environ, secrets_dir=None, most_reads=THREADS - SPARE_THREADS, clock=waits
        ),
        waits,
    )
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        server = Server(measured, listening, THREADS)
        signal.signal(signal.SIGTERM, lambda *_: server.stop())
        print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
        server.run()
    print(json.dumps(measured.own))


if __name__ == "__main__":
    door() if "--door" in sys.argv else main()
