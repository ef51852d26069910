"""Measure the GitHub Action: its first use in a job, and each later use beyond the bare command.

Bash runs the script of action.yml, as a runner does, against the sandbox over HTTP.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from connector.action import installed_packages
from connector.sandbox import ACCESS_TOKEN, Settings
from connector.sandbox.server import SandboxServer

CHECKOUT = Path(__file__).parents[1]
RUNS = 11
POLL_SECONDS = 0.005
COMMAND = (sys.executable, "-m", "connector")
# What the command imports before its first request.
IMPORTS = """
import sys
sys.path[:0] = sys.argv[1:]
import connector.cli.commands, connector.runner, connector.alm.client, connector.cli.console
"""


def main() -> None:
    """Print the table."""
    (step,) = yaml.safe_load((CHECKOUT / "action.yml").read_text(encoding="utf-8"))["runs"]["steps"]
    with (
        tempfile.TemporaryDirectory() as root,
        SandboxServer(Settings(rate_per_minute=0)) as server,
    ):
        script = Path(root, "step.sh")
        script.write_text(step["run"], encoding="utf-8")
        inputs = {
            "ALM_ACCESS_TOKEN": ACCESS_TOKEN,
            "ALM_BASE_URL": server.url,
            "ALM_USER_ID": "20941371",
            "PYTHONPATH": str(CHECKOUT),
        }
        runner = {
            "GITHUB_ACTION_PATH": str(CHECKOUT),
            "GITHUB_OUTPUT": f"{root}/output",
            "RUNNER_TOOL_CACHE": f"{root}/tools",
        }
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environ = {**os.environ, **inputs, **runner, "PATH": path}
        action = ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail", str(script))
        print("| what | measured | promised |\n|---|---|---|")
        # The first job of a runner downloads the wheels and is not counted.
        first = [
            seconds_to_request(action, {**environ, "RUNNER_TEMP": new_folder(root)}, server)
            for _ in range(RUNS + 1)
        ][1:]
        row(
            "the action's first use in a job, wheels kept: to its first request",
            f"{statistics.median(first):.2f} s",
            "at most 1.5 s",
        )
        show_parts(root, runner)
        later = {**environ, "RUNNER_TEMP": tempfile.mkdtemp(dir=root)}
        seconds_to_request(action, later, server)
        pairs = [
            (
                seconds_to_request(action, later, server),
                seconds_to_request(COMMAND, environ, server),
            )
            for _ in range(RUNS)
        ]
        extra = statistics.median(ours - bare for ours, bare in pairs)
        ours, bare = (statistics.median(side) for side in zip(*pairs, strict=True))
        row(
            "a later use, beyond the bare command",
            f"{extra:.2f} s ({ours:.2f} s to {bare:.2f} s)",
            "at most 0.3 s",
        )


def show_parts(root: str, runner: dict[str, str]) -> None:
    """Print the lines of what the first use, once per job, consists of."""
    starts, installs, imports, again = [], [], [], []
    for _ in range(RUNS):
        starts.append(seconds_of((sys.executable, "-I", "-c", "")))
        began = time.perf_counter()
        folder = installed_packages({**runner, "RUNNER_TEMP": new_folder(root)})
        installs.append(time.perf_counter() - began)
        importing = (sys.executable, "-I", "-c", IMPORTS, str(folder), str(CHECKOUT))
        imports.append(seconds_of(importing) - starts[-1])
        again.append(seconds_of(importing) - starts[-1])
    row("of it: the start of Python", f"{statistics.median(starts):.2f} s")
    row("of it: hashes of the kept wheels, and unpacking", f"{statistics.median(installs):.2f} s")
    row("of it: imports", f"{statistics.median(again):.2f} s")
    compiled = statistics.median(first - later for first, later in zip(imports, again, strict=True))
    row("of it: byte code of what is imported", f"{compiled:.2f} s")


def new_folder(root: str) -> str:
    """Return a new folder for a job's files."""
    return tempfile.mkdtemp(dir=root)


def seconds_to_request(
    command: tuple[str, ...], environ: dict[str, str], server: SandboxServer
) -> float:
    """Return the seconds from the start of *command* to its first request at *server*.

    Raises CalledProcessError if it fails.
    """
    server.requests.clear()
    began = time.perf_counter()
    with subprocess.Popen(
        command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while not server.requests and process.poll() is None:
            time.sleep(POLL_SECONDS)
        seconds = time.perf_counter() - began
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return seconds


def seconds_of(command: tuple[str, ...]) -> float:
    """Return the wall time of *command*. Raises CalledProcessError if it fails."""
    began = time.perf_counter()
    subprocess.run(command, env={}, check=True)
    return time.perf_counter() - began


def row(what: str, measured: str, promised: str = "") -> None:
    """Print one line of the table."""
    print(f"| {what} | {measured} | {promised} |", flush=True)


if __name__ == "__main__":
    main()
