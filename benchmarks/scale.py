"""Measure many users: memory, CPU and time, side by side in one run of about five minutes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bench import RECORDS, Replay, cpu_of, inputs_of, pairs, recorded_pages
from connector.clock import SystemClock
from connector.output.results import RunTotals
from connector.output.sinks import open_sink
from connector.redact import Redactor
from connector.runner.one_user import read_user
from connector.sandbox import ACCESS_TOKEN, Settings
from connector.sandbox.server import SandboxServer
from connector.schemas import load_schema
from connector.text import to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from connector.settings import Inputs

CHECKOUT = Path(__file__).parents[1]
# No run waits for this quota. Without quota headers, the client assumes the documented limits.
PER_MINUTE, BURST = 600_000, 100_000
# How often one learner's pages go into a file: with few records an empty file would be measured.
READINGS = 5
# The access token that ALM's documentation shows: a search for it takes as long as for a real one.
DOCUMENTED_TOKEN = "eea25e6e1e03c379c46e5ccc29932899"  # noqa: S105 - a published one
LOOP = """
import json, sys, requests
session = requests.Session()
session.headers = {"Accept": "application/vnd.api+json", "Authorization": "oauth " + sys.argv[2]}
for user in sys.stdin.read().split():
    url = f"{sys.argv[1]}/primeapi/v2/users/{user}/enrollments?page[limit]=10"
    url += "&filter.loTypes=course,learningProgram,jobAid,certification"
    while url:
        page = session.get(url).json()
        for record in page["data"]:
            sys.stdout.write(json.dumps(record) + chr(10))
        url = page["links"].get("next")
"""
# The peak memory of a process includes that of its parent at the start: this parent is small.
LAUNCHING = """
import os, sys
pid = os.fork()
if not pid:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.execvp(sys.argv[1], sys.argv[1:])
_, status, usage = os.wait4(pid, 0)
print(usage.ru_maxrss, usage.ru_utime + usage.ru_stime)
sys.exit(os.waitstatus_to_exitcode(status))
"""
READING = """
import json, sys
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        for line in file:
            json.loads(line)
"""
CURL = """
while read -r user; do
  url="$1/primeapi/v2/users/$user/enrollments?page%5Blimit%5D=10"
  url+="&filter.loTypes=course,learningProgram,jobAid,certification"
  while [ "$url" ]; do
    page=$(curl -sg -H "Accept: application/vnd.api+json" -H "Authorization: oauth $2" "$url")
    jq -c '.data[]' <<< "$page"
    url=$(jq -r '.links.next // empty' <<< "$page")
  done
done
"""


def main() -> None:
    """Print the table."""
    print("| what | measured | against | ratio | aimed at |\n|---|---|---|---|---|", flush=True)
    memory_of_records()
    memory_of_files()
    memory_of_ids()
    cpu_of_a_record()
    cpu_of_files()
    users_at_once()
    side_by_side()
    differences()


def memory_of_records() -> None:
    """Compare the peak memory for many records and for few, of one learner and of many."""
    # Ten learners would not need every thread, and each thread takes memory.
    for what, few, many, records in (
        ("one learner", 1, 1, 560),
        ("learners of 56", 50, 750, 2_800),
    ):
        of_few = peak_mb(range(1_000, 1_000 + few), records // few)
        of_many = peak_mb(range(1_000, 1_000 + many), 42_000 // many)
        row(
            f"peak memory, 42,000 records against {records:,}, {what}",
            f"{of_many:.1f} MB",
            f"{of_few:.1f} MB",
            of_many / of_few,
            "at most 1.05",
        )


def memory_of_files() -> None:
    """Compare the peak memory of files that are made at the end, of many records and of few."""
    for suffix, aim in (("xlsx", "at most 1.05"), ("html", "flat beyond 5,000 rows")):
        few = peak_mb(range(1_000, 1_100), 56, "--names", suffix=suffix)
        many = peak_mb(range(1_000, 1_750), 56, "--names", suffix=suffix)
        row(
            f"peak memory of {suffix}, 42,000 records with names against 5,600",
            f"{many:.1f} MB",
            f"{few:.1f} MB",
            many / few,
            aim,
        )


def memory_of_ids() -> None:
    """Compare the peak memory for a million ids, 99 % of them of other shards, and for 10,000."""
    of_many = peak_mb(range(1_000_000, 2_000_000), 0, "--shard=1/100")
    of_few = peak_mb(range(1_000_000, 1_010_000), 0, "--shard=1/100")
    row(
        "peak memory, 1,000,000 ids of which 1 % are read, against 10,000",
        f"{of_many:.1f} MB",
        f"{of_few:.1f} MB",
        of_many / of_few,
        "flat",
    )


def cpu_of_a_record() -> None:
    """Compare CPU times: from pages to written lines, and json.loads of the same pages."""
    bodies, inputs = recorded_pages(), inputs_of(format="ndjson")

    def floor() -> None:
        for body in bodies:
            json.loads(body)

    ours, least, ratio = pairs(cpu_of(lambda: write_lines(bodies, inputs)), cpu_of(floor))
    row(
        f"CPU per record, page to NDJSON line ({RECORDS} records)",
        f"{ours:.1f} µs",
        f"{least:.1f} µs json.loads",
        ratio,
        "at most 3.5",
    )


def write_lines(bodies: list[bytes], inputs: Inputs) -> None:
    """Do with *bodies* everything that a run does, except HTTP."""
    redactor = Redactor()
    redactor.add(DOCUMENTED_TOKEN)
    sink = open_sink(inputs, redactor, SystemClock(), lambda _: None, has_tally=False)
    read_user("77", inputs, Replay(bodies), sink)  # type: ignore[arg-type]


def cpu_of_files() -> None:
    """Compare CPU times: the formats that are made at the end, and CSV of the same records."""
    bodies = recorded_pages()
    for suffix, aim in (("xlsx", "at most 2.5"), ("html", "at most 1.5")):
        measured = pairs(
            cpu_of(partial(write_records, bodies, suffix)),
            cpu_of(partial(write_records, bodies, "csv")),
        )
        row(
            f"CPU per record, page to {suffix} file ({READINGS * RECORDS:,} records)",
            f"{measured[0] / READINGS:.1f} µs",
            f"{measured[1] / READINGS:.1f} µs csv",
            measured[2],
            aim,
        )


def write_records(bodies: list[bytes], suffix: str) -> None:
    """Do with *bodies*, several times, what a run with an output file does, except HTTP."""
    redactor, clock, totals = Redactor(), SystemClock(), RunTotals(is_of_many=True)
    with tempfile.TemporaryDirectory() as folder:
        inputs = inputs_of(output_file=f"{folder}/out.{suffix}")
        sink = open_sink(inputs, redactor, clock, None)
        sink.open()
        for place in range(READINGS):
            result = read_user("77", inputs, Replay(bodies), sink)  # type: ignore[arg-type]
            totals.add_result(place, result, sink.take(place, result))
        totals.end(requested=READINGS, requests=READINGS * len(bodies))
        sink.close(totals, None, is_forgiven=False)


def users_at_once() -> None:
    """Compare 16 users at once with one after the other, if each response takes 50 ms."""
    with SandboxServer(
        Settings(rate_per_minute=PER_MINUTE, burst=BURST, enrollments_per_user=30),
        latency_seconds=0.05,
    ) as server:
        users = range(1_000, 1_400)
        at_once = seconds_of(ours(server.url, "--format=ndjson", "--concurrency=16"), users)
        in_turn = seconds_of(ours(server.url, "--format=ndjson", "--concurrency=1"), users)
    row(
        "400 learners of 3 pages, 50 ms per response, 16 at once",
        f"{at_once:.1f} s",
        f"{in_turn:.1f} s in turn",
        in_turn / at_once,
        "at least 10",
    )


def side_by_side() -> None:
    """Compare with a requests loop on one connection, and with curl and jq, for the same users."""
    with SandboxServer(
        Settings(rate_per_minute=PER_MINUTE, burst=BURST, enrollments_per_user=30),
        latency_seconds=0.05,
    ) as server:
        users = range(1_000, 1_040)
        ourselves = seconds_of(ours(server.url, "--format=ndjson"), users)
        loop = seconds_of([sys.executable, "-c", LOOP, server.url, ACCESS_TOKEN], users)
        row(
            "40 learners of 3 pages, 50 ms per response: a requests loop",
            f"{ourselves:.1f} s",
            f"{loop:.1f} s",
            loop / ourselves,
            "",
        )
        if shutil.which("curl") and shutil.which("jq"):
            curl = seconds_of(["bash", "-c", CURL, "bash", server.url, ACCESS_TOKEN], users)
            row(
                "the same: curl and jq", f"{ourselves:.1f} s", f"{curl:.1f} s", curl / ourselves, ""
            )
        else:
            print("| the same: curl and jq | not installed here | | | |", flush=True)


def differences() -> None:
    """Compare a comparison with reading both files, and its memory with that of small files."""
    with tempfile.TemporaryDirectory() as folder:
        files = {
            size: [write_file(Path(folder, f"{size}-{day}.ndjson"), size, day) for day in (1, 2)]
            for size in (100_000, 1_000_000)
        }
        compare = [sys.executable, "-m", "connector", "diff", "--assume-complete", "--output-file"]
        compare.append(f"{folder}/changes.ndjson")
        read = [sys.executable, "-c", READING]
        _, many, seconds = usage_of([*compare, *files[1_000_000]], ())
        _, _, floor = usage_of([*read, *files[1_000_000]], ())
        _, few, _ = usage_of([*compare, *files[100_000]], ())
    row(
        "CPU, diff of 1,000,000 records a side, 10,000 changed",
        f"{seconds:.1f} s",
        f"{floor:.1f} s json.loads of both",
        seconds / floor,
        "at most 3.5",
    )
    row(
        "peak memory, diff of 1,000,000 records a side against 100,000",
        f"{many:.1f} MB",
        f"{few:.1f} MB",
        many / few,
        "at most 1.2",
    )


def write_file(path: Path, records: int, day: int) -> str:
    """Write a file of *records*, 20 a user, of which one in a hundred differs from day to day."""
    (example,) = load_schema("outputs")["examples"]
    (record,) = example["enrollments"]
    with path.open("w", encoding="utf-8") as file:
        for number in range(records):
            user = str(20_000_000 + number // 20)
            instance = f"course:{1_000_000 + number * 7_919 % 8_999_999}_7877507"
            grades = [{"id": f"{instance}_1_0_{user}", "module_id": "1", "module_version": 0}]
            own = {"id": f"{instance}_{user}", "user_id": user, "resource_grades": grades}
            progress = 50 if day == 2 and number % 100 == 0 else 0  # noqa: PLR2004 - the second day
            file.write(f"{to_json({**record, **own, 'progress_percent': progress})}\n")
    return str(path)


def ours(url: str, *flags: str) -> list[str]:
    """Return the command that reads the users of standard input."""
    inputs = ["--user-ids-file=-", "--lo-types=all", "--deadline=3600"]
    return [sys.executable, "-m", "connector", f"--base-url={url}", *inputs, *flags]


def peak_mb(users: Iterable[int], enrollments: int, *flags: str, suffix: str = "ndjson") -> float:
    """Return the peak memory of the command over *users* with so many *enrollments* each."""
    with sandbox_process(enrollments) as url, tempfile.TemporaryDirectory() as folder:
        output = [f"--format={suffix}", f"--output-file={folder}/out.{suffix}"]
        return usage_of([*ours(url, *flags), *output], users)[1]


@contextlib.contextmanager
def sandbox_process(enrollments: int) -> Iterator[str]:
    """Serve a sandbox in another process: a command starts with the memory of its parent."""
    quota = [f"--rate-limit={PER_MINUTE}", f"--burst={BURST}"]
    flags = ["--port=0", *quota, f"--enrollments={enrollments}"]
    command = [sys.executable, "-m", "connector", "sandbox", *flags]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as process:
        first_line = process.stdout.readline() if process.stdout else ""
        try:
            yield first_line.split(";")[0].split()[-1]
        finally:
            process.terminate()


def seconds_of(command: list[str], users: Iterable[int]) -> float:
    """Return the wall time of *command* over *users*."""
    return usage_of(command, users)[0]


def usage_of(command: list[str], users: Iterable[int]) -> tuple[float, float, float]:
    """Return the wall time in seconds, the peak memory in MB and the CPU time of *command*.

    Raises CalledProcessError if it fails.
    """
    environ = {**os.environ, "PYTHONPATH": str(CHECKOUT), "ALM_ACCESS_TOKEN": ACCESS_TOKEN}
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as listed:
        listed.writelines(f"{user}\n" for user in users)
        listed.seek(0)
        launched = subprocess.run(
            [sys.executable, "-I", "-S", "-c", LAUNCHING, *command],
            env=environ,
            stdin=listed,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
        )
    seconds = time.monotonic() - began
    kilobytes, cpu_seconds = map(float, launched.stdout.split())
    return seconds, kilobytes / 1024, cpu_seconds


def row(what: str, measured: str, against: str, ratio: float, promised: str) -> None:
    """Print one line of the table."""
    print(f"| {what} | {measured} | {against} | {ratio:.2f} | {promised} |", flush=True)


if __name__ == "__main__":
    main()
