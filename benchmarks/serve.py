"""Measure the HTTP API: 50 clients for half a minute, then 500 connections that stall."""

from __future__ import annotations

import contextlib
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
from urllib.parse import parse_qs, urlsplit

import requests

from connector.clock import SystemClock
from connector.sandbox import ACCESS_TOKEN, Settings
from connector.sandbox.server import SandboxServer
from connector.server.app import ARRIVED_AT, MAX_READS, Application, make_application
from connector.server.listener import Server

if TYPE_CHECKING:
    from collections.abc import Iterable

CHECKOUT = Path(__file__).parents[1]
CLIENTS, SECONDS, SETTLED_SECONDS = 50, 30.0, 8.0
# The ramp uses the burst up: after it, requests go at the limiter's pace.
RAMP_SECONDS = 5.0
PER_MINUTE, BURST, LATENCY_SECONDS = 1_200, 20, 0.05
THREADS = 64
# The server accepts the connections, and responds to those that never read, before the probes.
STALLED, STALLED_SECONDS, PROBES = 500, 1.0, 100
# What each third of them sends. The last third never reads its response.
STALLS = (
    b"",
    b"GET /healthz HTTP/1.1\r\nHost: a",
    b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n",
)
KEY = "a-key-for-the-benchmark"


def main() -> None:
    """Print the table."""
    settings = Settings(rate_per_minute=PER_MINUTE, burst=BURST)
    with SandboxServer(settings, latency_seconds=LATENCY_SECONDS) as alm:
        access = {"ALM_BASE_URL": alm.url, "ALM_ACCESS_TOKEN": ACCESS_TOKEN, "ALM_SERVE_KEY": KEY}
        with subprocess.Popen(
            [sys.executable, "-m", "benchmarks.serve", "--server"],
            env={**os.environ, "PYTHONPATH": str(CHECKOUT), **access},
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as server:
            if server.stdout is None:
                raise TypeError("its output is a pipe")
            url = server.stdout.readline().strip()
            statuses, memory = put_under_load(url, server.pid)
            health_seconds, stalled_memory = stall(url, server.pid)
            server.send_signal(signal.SIGTERM)
            own_seconds = json.loads(server.stdout.read())
        refused = [request["status"] for request in alm.requests].count(429)
    counts = ", ".join(f"{number} with {status}" for status, number in sorted(statuses.items()))
    cuts = statistics.quantiles(own_seconds, n=100)
    median, p99 = (f"{cuts[position] * 1000:.0f} ms" for position in (49, 98))
    print("| what | measured | promised |\n|---|---|---|")
    print(f"| {CLIENTS} callers at once for {SECONDS:g} s, responses | {counts} | no 5xx |")
    print(f"| the same, refused by ALM's limiter | {refused} of {len(alm.requests)} | none |")
    print(f"| our own share of a response, median and p99 | {median}, {p99} | p99 at most 30 ms |")
    print(
        f"| memory after {SETTLED_SECONDS:g} s, and at the end"
        f" | {memory[0]:.1f} MB, {memory[1]:.1f} MB | flat |"
    )
    print(
        f"| `/healthz` with {STALLED} stalled connections, median and longest"
        f" | {statistics.median(health_seconds) * 1000:.0f} ms, {max(health_seconds) * 1000:.0f} ms"
        " | at most 100 ms |"
    )
    print(f"| memory with them | {stalled_memory:.1f} MB | at most 120 MB |")


def put_under_load(url: str, process: int) -> tuple[Counter[int], tuple[float, float]]:
    """Return the responses by status, and the memory of *process* in MB, settled and at the end."""
    statuses: Counter[int] = Counter()
    users = count(1_000_000)
    ends_at = time.monotonic() + SECONDS
    never = threading.Event()

    def call() -> None:
        with requests.Session() as session:
            while time.monotonic() < ends_at:
                # Two pages at most: the subject is the server.
                query = {"user_id": str(next(users)), "max_enrollments": "20"}
                response = session.get(
                    f"{url}/v1/enrollments", params=query, headers={"X-API-Key": KEY}, timeout=60
                )
                statuses[response.status_code] += 1

    clients = [threading.Thread(target=call) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
        never.wait(RAMP_SECONDS / CLIENTS)
    never.wait(SETTLED_SECONDS - RAMP_SECONDS)
    settled = resident_mb(process)
    for client in clients:
        client.join()
    return statuses, (settled, resident_mb(process))


def stall(url: str, process: int) -> tuple[list[float], float]:
    """Return the times of ``/healthz`` with stalled connections, and the memory of *process*."""
    address = urlsplit(url)
    seconds = []
    with contextlib.ExitStack() as stack, requests.Session() as session:
        for number in range(STALLED):
            client = socket.create_connection((address.hostname, address.port))
            stack.enter_context(client)
            # The server closes the longest idle ones.
            with contextlib.suppress(OSError):
                client.sendall(STALLS[number % len(STALLS)])
        time.sleep(STALLED_SECONDS)
        for _ in range(PROBES):
            began = time.perf_counter()
            session.get(f"{url}/healthz", timeout=60).raise_for_status()
            seconds.append(time.perf_counter() - began)
        return seconds, resident_mb(process)


def resident_mb(process: int) -> float:
    """Return the resident memory of *process*."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


class CountingClock(SystemClock):
    """Counts, in each thread, the seconds of waiting for ALM's quota."""

    def __init__(self) -> None:
        self._of_thread = threading.local()

    def sleep(self, seconds: float) -> None:
        """Wait, and count it."""
        began = self.monotonic()
        super().sleep(seconds)
        self._of_thread.seconds = self.waited() + self.monotonic() - began

    def waited(self) -> float:
        """Return the seconds that this thread has waited."""
        return float(getattr(self._of_thread, "seconds", 0.0))


class RequestTimes(logging.Handler):
    """Adds up, from the client's log, the time that ALM and its quota took for each user.

    Each run has one user here, and a thread of its own.
    """

    def __init__(self, clock: CountingClock) -> None:
        super().__init__()
        self._clock = clock
        self._milliseconds: Counter[str] = Counter()
        self.seconds: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Add the time of one request."""
        if found := re.search(r"/users/(\d+)/.* after (\d+) ms", record.getMessage()):
            user_id = found[1]
            self._milliseconds[user_id] += int(found[2])
            waited = self._clock.waited()
            self.seconds[user_id] = waited + self._milliseconds[user_id] / 1000


class Measured:
    """The application, and the time of each response without that of ALM."""

    def __init__(self, application: Application, clock: CountingClock) -> None:
        self._application = application
        self._times = RequestTimes(clock)
        log = logging.getLogger("connector.alm.client")
        log.setLevel(logging.DEBUG)
        log.addHandler(self._times)
        self.own_seconds: list[float] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401 - WSGI's
        """Respond, and measure it from the arrival of the request."""
        response = self._application(environ, start_response)
        seconds = time.monotonic() - environ[ARRIVED_AT]
        for user_id in parse_qs(environ["QUERY_STRING"]).get("user_id", []):
            self.own_seconds.append(seconds - self._times.seconds.pop(user_id, 0.0))
        return response


def serve() -> None:
    """Serve until SIGTERM, then print the measured times."""
    clock = CountingClock()
    application = make_application(secrets_dir=None, max_reads=MAX_READS, clock=clock)
    measured = Measured(application, clock)
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        server = Server(measured, listening, threads=THREADS, grace=application.deadline)
        signal.signal(signal.SIGTERM, lambda *_: server.stop())
        print(server.url, flush=True)
        server.run()
    print(json.dumps(measured.own_seconds))


if __name__ == "__main__":
    serve() if "--server" in sys.argv else main()
