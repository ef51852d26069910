"""Prints what the README claims: this command against its floor, side by side in one run, medians of pairs.

Machines are noisy: the two sides of a ratio run in turn, and the ratio is the
median of the pairs' ratios. Absolute figures are this machine's, the ratios travel.
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

from connector.runner.selection import Selection

from connector.alm.completeness import CompletenessTracker
from connector.alm.protocol import PageRequest, Query, first_request, next_request, read_page
from connector.alm.records import read_enrollments
from connector.clock import SystemClock
from connector.output.document import UserResult, build_document
from connector.sandbox import ACCESS_TOKEN, Request, Sandbox, Settings
from connector.sandbox.server import SandboxServer
from connector.text import to_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from connector.alm.records import Enrollment

CHECKOUT = Path(__file__).parents[1]
USER = "20941371"
EVERY_TYPE = ("course", "learningProgram", "jobAid", "certification")
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
    # An installed package has its byte code beside it; a fresh checkout would be measured compiling.
    compileall.compile_dir(str(CHECKOUT / "connector"), quiet=2)
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    print(f"{platform.python_implementation()} {platform.python_version()}, {machine}\n")
    print("| what | ours | floor | ratio | at most |\n|---|---|---|---|---|")
    cold_start()
    bytes_to_document()


def cold_start() -> None:
    """Compare whole processes: the command, and importing its libraries plus one GET."""
    with SandboxServer(Settings(rate_per_minute=0)) as server:
        environ = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
        told = {"ALM_USER_ID": USER, "ALM_BASE_URL": server.url, "ALM_ACCESS_TOKEN": ACCESS_TOKEN}
        url = f"{server.url}/primeapi/v2/users/{USER}/enrollments?page%5Blimit%5D=10"
        ours = wall_of([sys.executable, "-m", "connector"], {**environ, **told})
        floor = wall_of([sys.executable, "-c", FLOOR, url, ACCESS_TOKEN], environ)
        row("cold run of the whole process, one page", "ms", 1.10, *pairs(ours, floor))


def wall_of(command: list[str], environ: dict[str, str]) -> Callable[[], float]:
    """Return what measures *command*'s wall time, in milliseconds."""

    def measure() -> float:
        began = time.perf_counter()
        subprocess.run(command, env=environ, cwd=CHECKOUT, stdout=subprocess.DEVNULL, check=True)  # noqa: S603 - this project's own command
        return (time.perf_counter() - began) * 1000

    return measure


def bytes_to_document() -> None:
    """Compare CPU times: pages' bytes to the printed document, and json.loads plus json.dumps of the same."""
    first, bodies = recorded_pages()
    document = json.loads(document_of(first, bodies))

    def floor() -> None:
        for body in bodies:
            json.loads(body)
        json.dumps(document)

    measured = pairs(cpu_of(lambda: document_of(first, bodies)), cpu_of(floor))
    row(f"CPU a record, bytes to printed document ({RECORDS} records)", "µs", 3.0, *measured)


def recorded_pages() -> tuple[PageRequest, list[bytes]]:
    """Return the first request and the bodies of every page of a learner with ``RECORDS`` enrollments."""
    sandbox = Sandbox(Settings(rate_per_minute=0, enrollments_per_user=RECORDS), SystemClock())
    first = first_request("http://127.0.0.1", "77", Query(EVERY_TYPE, "dateEnrolled", None, (), 10))
    headers = {"accept": "application/vnd.api+json", "authorization": f"oauth {ACCESS_TOKEN}"}
    bodies: list[bytes] = []
    request: PageRequest | None = first
    while request:
        target = request.address.removeprefix("http://127.0.0.1")
        bodies.append(sandbox.answer(Request("GET", target, headers, "http://127.0.0.1")).body)
        request = next_request(first, read_page(request, {}, bodies[-1]).next_link)
    return first, bodies


def document_of(first: PageRequest, bodies: list[bytes]) -> str:
    """Return the printed document of *bodies*, through everything but HTTP."""
    witness, selection = CompletenessTracker(), Selection(since=None, most=None, newest_first=False)
    kept: list[Enrollment] = []
    for body in bodies:
        page = read_page(first, {}, body)
        enrollments = read_enrollments(page)
        following = next_request(first, page.next_link)
        witness.observe(
            [(one.id, one.lo_type) for one in enrollments], following.cursor if following else None
        )
        kept += selection.take(enrollments)
    result = UserResult(first.user_id, kept, witness.verdict())
    return to_json(
        build_document([result], None, requested=1, requests=len(bodies), allow_incomplete=False)
    )


def cpu_of(work: Callable[[], object]) -> Callable[[], float]:
    """Return what measures the CPU time of *work*, in microseconds a record."""

    def measure() -> float:
        began = time.process_time()
        work()
        return (time.process_time() - began) / RECORDS * 1e6

    return measure


def pairs(ours: Callable[[], float], floor: Callable[[], float]) -> tuple[float, float, float]:
    """Return the medians of *ours* and *floor*, and of the ratios of their pairs, after a warm-up of each."""
    ours()
    floor()
    measured = [(ours(), floor()) for _ in range(RUNS)]
    return (
        statistics.median(one for one, _ in measured),
        statistics.median(other for _, other in measured),
        statistics.median(one / other for one, other in measured),
    )


def row(what: str, unit: str, most: float, ours: float, floor: float, ratio: float) -> None:
    """Print one line of the table."""
    print(
        f"| {what} | {ours:.1f} {unit} | {floor:.1f} {unit} | {ratio:.2f} | {most:.2f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
