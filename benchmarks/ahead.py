"""Measure what requesting the pages of one learner ahead saves, at 50 ms a response: one minute.

The server has its pages ready: what the sandbox computes for each would be measured, too.
"""

from __future__ import annotations

import base64
import json
import statistics
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from connector.runner import run_given
from connector.sandbox import ACCESS_TOKEN

CHECKOUT = Path(__file__).parents[1]
PAGE_LIMIT = 10
LATENCY_SECONDS = 0.05
RUNS = 9


def main() -> None:
    """Print the table."""
    print("| what | ahead | in sequence | ratio | requests | aimed at |")
    print("|---|---|---|---|---|---|", flush=True)
    row("one learner of 40 pages, 50 ms per response", 40, "at least 3, at most 43 requests")
    row("one learner of 3 pages", 3, "at least 1, at most 6 requests")


def row(name: str, pages: int, aim: str) -> None:
    """Print the line of a learner with so many *pages*."""
    command = [sys.executable, "-m", "benchmarks.ahead", str(pages)]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().strip() if process.stdout else ""
        try:
            read(url, prefetch=True)
            pairs = [(read(url, prefetch=True), read(url, prefetch=False)) for _ in range(RUNS)]
        finally:
            process.terminate()
    ahead = statistics.median(fast[0] for fast, _ in pairs)
    in_sequence = statistics.median(slow[0] for _, slow in pairs)
    ratio = statistics.median(slow[0] / fast[0] for fast, slow in pairs)
    most = max(fast[1] for fast, _ in pairs)
    print(
        f"| {name} | {ahead:.2f} s | {in_sequence:.2f} s | {ratio:.2f} | {most} | {aim} |",
        flush=True,
    )


def read(url: str, *, prefetch: bool) -> tuple[float, int]:
    """Return the seconds that a run takes, and its requests."""
    inputs = {"user_id": "77", "base_url": url, "access_token": ACCESS_TOKEN}
    began = time.perf_counter()
    document = run_given({**inputs, "prefetch": prefetch})
    return time.perf_counter() - began, document["completeness"]["requests"]


def bodies_of(pages: int) -> dict[int, bytes]:
    """Return the bodies of so many pages, by the number of records before each."""
    bodies = {}
    for number in range(pages):
        start, end = number * PAGE_LIMIT, (number + 1) * PAGE_LIMIT
        counts = {"jobAid": 0, "course": end, "learningProgram": 0, "certification": 0}
        cursor = base64.b64encode(json.dumps(counts, separators=(",", ":")).encode()).decode()
        links = {} if number == pages - 1 else {"next": f"?page[cursor]={cursor}"}
        data = [
            {
                "id": f"course:{record}_1_77",
                "type": "learningObjectInstanceEnrollment",
                "attributes": {"dateEnrolled": "2023-01-01T00:00:00.000Z", "state": "ENROLLED"},
            }
            for record in range(start, end)
        ]
        bodies[start] = json.dumps({"links": links, "data": data}).encode()
    return bodies


def serve(pages: int) -> None:
    """Serve a learner with so many *pages*, and print the address."""
    bodies = bodies_of(pages)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_GET(self) -> None:
            cursors = parse_qs(urlsplit(self.path).query).get("page[cursor]")
            start = json.loads(base64.b64decode(cursors[0]))["course"] if cursors else 0
            body = bodies.get(start, b'{"links":{},"data":[]}')
            time.sleep(LATENCY_SECONDS)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Rate-Limit", "600000r/m")
            self.send_header("X-Burst", "100000")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1])) if sys.argv[1:] else main()
