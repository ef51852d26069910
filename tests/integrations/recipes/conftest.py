"""The recipes' files, and what runs them: the sandbox, a process for code, the HTTP API."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from connector.sandbox import ACCESS_TOKEN
from tests.support.process import CHECKOUT, PATIENCE_SECONDS, command, needed_variables, wait_until
from tests.support.sandbox import reaching, sandbox, start_sandbox, unlimited_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["command", "sandbox", "start_sandbox"]

EXAMPLES = CHECKOUT / "examples"
PAGES = CHECKOUT / "docs/recipes"
KEY = "canary-serve-key-0123456789"


def example(path: str) -> str:
    """Return the text of a recipe's file."""
    return (EXAMPLES / path).read_text(encoding="utf-8")


def recipe(path: str) -> Any:
    """Return the content of a recipe's YAML or JSON file."""
    return yaml.safe_load(example(path))


@pytest.fixture(scope="session")
def api_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the HTTP API with the container command of the recipe for Cloud Run."""
    (container,) = recipe("cloud-run/service.yaml")["spec"]["template"]["spec"]["containers"]
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("api") / "log"
    environ = {**needed_variables(), "PYTHONPATH": str(CHECKOUT), "PYTHONUNBUFFERED": "1"}
    with unlimited_sandbox() as server, log.open("wb") as stream:
        secrets = {"ALM_SERVE_KEY": KEY, "ALM_ACCESS_TOKEN": ACCESS_TOKEN, "PORT": str(port)}
        process = subprocess.Popen(
            [sys.executable, "-m", "connector", *container["args"]],
            env={**environ, **reaching(server, **secrets)},
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        wait_until(lambda: process.poll() is not None or f":{port};" in log.read_text())
        yield f"http://127.0.0.1:{port}"
        process.terminate()
        assert process.wait(timeout=PATIENCE_SECONDS) == 0


def run_python(code: str, folder: Path, stdin: str, variables: dict[str, str]) -> str:
    """Run *code* in a process that can import what is in *folder*, and return what it prints."""
    environ = {
        **needed_variables(),
        "PYTHONPATH": f"{CHECKOUT}{os.pathsep}{folder}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    finished = subprocess.run(
        [sys.executable, "-c", code],
        env={**environ, **variables},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout
