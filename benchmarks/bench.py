"""Compare the command with its floor, in one run: the first table of docs/PERFORMANCE.md.

Machines are noisy: the two sides of a ratio run in turn, and the ratio is the median of the pairs'
ratios. Absolute figures depend on the machine, ratios much less.
"""

from __future__ import annotations

import compileall
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from connector.alm.pagination import next_request
from connector.alm.protocol import Response, read_page
from connector.clock import SystemClock
from connector.output.document import build_document
from connector.output.results import RunTotals
from connector.output.sinks import open_sink
from connector.redact import Redactor
from connector.runner.connection import request_for
from connector.runner.one_user import read_user
from connector.sandbox import ACCESS_TOKEN, Request, Sandbox, Settings
from connector.sandbox.server import SandboxServer
from connector.settings import load_given
from connector.text import to_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from connector.alm.protocol import Page, PageRequest
    from connector.settings import Inputs

CHECKOUT = Path(__file__).parents[1]
USER = "20941371"
ORIGIN = "http://127.0.0.1"
RECORDS = 560
RUNS = 21
FLOOR = """
import sys
import jsonschema, pydantic_settings, requests
headers = {"Accept": "application/vnd.api+json", "Authorization": "oauth " + sys.argv[2]}
requests.get(sys.argv[1], headers=headers).raise_for_status()
"""


def main() -> None:
    """Print the table."""
    # An installed package has its byte code; a fresh checkout would be measured while it compiles.
    compileall.compile_dir(str(CHECKOUT / "connector"), quiet=2)
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    print(f"{platform.python_implementation()} {platform.python_version()}, {machine}\n")
    print("| what | ours | floor | ratio | at most |\n|---|---|---|---|---|")
    cold_start()
    bytes_to_document()


def cold_start() -> None:
    """Compare processes: the command, and an import of its libraries followed by one GET."""
    with SandboxServer(Settings(rate_per_minute=0)) as server:
        environ = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
        inputs = {
            "ALM_USER_ID": USER,
            "ALM_BASE_URL": server.url,
            "ALM_ACCESS_TOKEN": ACCESS_TOKEN,
        }
        url = f"{server.url}/primeapi/v2/users/{USER}/enrollments?page%5Blimit%5D=10"
        ours = wall_of([sys.executable, "-m", "connector"], {**environ, **inputs})
        floor = wall_of([sys.executable, "-c", FLOOR, url, ACCESS_TOKEN], environ)
        row("cold run of the process, one page", "ms", 1.10, *pairs(ours, floor))


def wall_of(command: list[str], environ: dict[str, str]) -> Callable[[], float]:
    """Return a function that measures the wall time of *command*, in milliseconds."""

    def measure() -> float:
        began = time.perf_counter()
        subprocess.run(command, env=environ, cwd=CHECKOUT, stdout=subprocess.DEVNULL, check=True)
        return (time.perf_counter() - began) * 1000

    return measure


class Replay:
    """A client that parses and returns recorded pages, in order."""

    answered_at = None

    def __init__(self, bodies: list[bytes]) -> None:
        self._bodies = iter(bodies)

    def fetch(self, request: PageRequest) -> Page:
        """Return the next recorded page."""
        return read_page(request, Response(200, {}, next(self._bodies)))


def inputs_of(**values: object) -> Inputs:
    """Return the inputs of a learner with every type of learning object."""
    given = {"base_url": ORIGIN, "user_id": "77", "lo_types": "all", "access_token": ACCESS_TOKEN}
    return load_given({**given, **values}, Redactor())[0]


def bytes_to_document() -> None:
    """Compare CPU times: pages to the printed document, and json.loads and json.dumps of it."""
    bodies = recorded_pages()
    document = json.loads(document_of(bodies))

    def floor() -> None:
        for body in bodies:
            json.loads(body)
        json.dumps(document)

    measured = pairs(cpu_of(lambda: document_of(bodies)), cpu_of(floor))
    row(f"CPU per record, bytes to printed document ({RECORDS} records)", "µs", 3.0, *measured)


def recorded_pages() -> list[bytes]:
    """Return the bodies of every page of a learner with ``RECORDS`` enrollments."""
    sandbox = Sandbox(Settings(rate_per_minute=0, enrollments_per_user=RECORDS), SystemClock())
    headers = {"accept": "application/vnd.api+json", "authorization": f"oauth {ACCESS_TOKEN}"}
    first = request_for("77", inputs_of())
    bodies: list[bytes] = []
    request: PageRequest | None = first
    while request:
        target = request.address.removeprefix(ORIGIN)
        bodies.append(sandbox.answer(Request("GET", target, headers, ORIGIN)).body)
        page = read_page(request, Response(200, {}, bodies[-1]))
        request = next_request(first, page.next_link)
    return bodies


def document_of(bodies: list[bytes]) -> str:
    """Return the printed document of *bodies*, made by everything except HTTP."""
    inputs, totals = inputs_of(), RunTotals(is_of_many=False)
    sink = open_sink(inputs, Redactor(), SystemClock(), None)
    result = read_user("77", inputs, Replay(bodies), sink)  # type: ignore[arg-type]
    totals.add_result(0, result, sink.take(0, result))
    totals.end(requested=1, requests=len(bodies))
    return to_json(build_document(totals, sink.close(totals, None, is_forgiven=False), None))


def cpu_of(work: Callable[[], object]) -> Callable[[], float]:
    """Return a function that measures the CPU time of *work*, in microseconds per record."""

    def measure() -> float:
        began = time.process_time()
        work()
        return (time.process_time() - began) / RECORDS * 1e6

    return measure


def pairs(ours: Callable[[], float], floor: Callable[[], float]) -> tuple[float, float, float]:
    """Warm both up, then return the medians of *ours*, of *floor* and of their pairs' ratios."""
    ours()
    floor()
    measured = [(ours(), floor()) for _ in range(RUNS)]
    return (
        statistics.median(our_time for our_time, _ in measured),
        statistics.median(floor_time for _, floor_time in measured),
        statistics.median(our_time / floor_time for our_time, floor_time in measured),
    )


def row(what: str, unit: str, most: float, ours: float, floor: float, ratio: float) -> None:
    """Print one line of the table."""
    print(
        f"| {what} | {ours:.1f} {unit} | {floor:.1f} {unit} | {ratio:.2f} | {most:.2f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
