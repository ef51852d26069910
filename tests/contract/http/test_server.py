"""The process of ``serve``: many clients, signals, and its output."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import requests

from tests.support.process import PATIENCE_SECONDS, wait_until
from tests.support.sandbox import NOTE

from .conftest import KEY, environ

if TYPE_CHECKING:
    from .conftest import Response, RunningServer, StartSandbox, StartServer

HEAD = f"POST /v1/enrollments HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n".encode()


def connect(api: RunningServer) -> socket.socket:
    """Return a connection with *api* on which nothing was sent."""
    parts = urlsplit(api.url)
    address = (parts.hostname or "", parts.port or 0)
    return socket.create_connection(address, timeout=PATIENCE_SECONDS)


def status_of(api: RunningServer) -> int:
    """Return the status of a request on a connection of its own."""
    url = f"{api.url}/v1/enrollments?user_id=20941371"
    return requests.get(url, headers={"X-API-Key": KEY}, timeout=PATIENCE_SECONDS).status_code


def test_many__slow_clients(start_server: StartServer) -> None:
    """Hundreds of slow clients keep nobody waiting: of too many, the oldest are disconnected."""
    api = start_server()
    beginnings = (HEAD, HEAD + b"Content-Length: 60000\r\n\r\n{", b"G")
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(api)) for _ in range(450)]
        for position, connection in enumerate(slow[60:]):
            connection.sendall(beginnings[position % 3])

        began = time.monotonic()
        assert [status_of(api) for _ in range(20)] == [200] * 20
        # Far less than the 30 s after which slow clients are disconnected.
        assert time.monotonic() - began < 20
        assert slow[0].recv(1) == b""
        slow[-1].settimeout(0.05)
        with pytest.raises(TimeoutError):
            slow[-1].recv(1)


def test_many__pipelined_requests(start_server: StartServer) -> None:
    """Clients that pipeline requests and never read leave the server to the others."""
    api = start_server("--threads", "8")
    with ExitStack() as stack:
        for _ in range(20):
            connection = stack.enter_context(connect(api))
            connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 200)

        assert api.get(user_id="20941371").status == 200

    assert api.written().count("GET /openapi.json 200 ") == 20


def test_many__reads_at_once(start_server: StartServer, start_sandbox: StartSandbox) -> None:
    """Fifty clients at once are served at once: none waits for another."""
    alm = start_sandbox("*:slow/1x*")
    api = start_server(alm=alm, ALM_SERVE_DEADLINE="25")
    assert status_of(api) == 200
    statuses: list[int] = []
    clients = [threading.Thread(target=lambda: statuses.append(status_of(api))) for _ in range(50)]

    began = time.monotonic()
    for client in clients:
        client.start()
    for client in clients:
        client.join()

    assert statuses == [200] * 50
    # One after the other they would take 50 s.
    assert time.monotonic() - began < 25


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal__finishes_running_requests(
    number: signal.Signals, start_server: StartServer, start_sandbox: StartSandbox
) -> None:
    """A signal lets running requests finish, refuses new ones, and ends the process with 0."""
    alm = start_sandbox("*:slow/2")
    api = start_server(alm=alm)
    responses: list[Response] = []
    client = threading.Thread(target=lambda: responses.append(api.get(user_id="20941371")))
    with connect(api) as idle:
        client.start()
        wait_until(lambda: alm.requests)

        api.process.send_signal(number)

        assert idle.recv(1) == b""
        with pytest.raises(OSError, match="refused"):
            connect(api)
    assert api.process.wait(timeout=PATIENCE_SECONDS) == 0
    client.join()
    assert responses[0].document["enrollment_count"] == 3


@pytest.mark.parametrize(
    ("deadline", "signals", "exit_code"), [("1.5", 1, 0), ("600", 2, -signal.SIGTERM)]
)
def test_signal__while_alm_hangs(
    deadline: str,
    signals: int,
    exit_code: int,
    start_server: StartServer,
    start_sandbox: StartSandbox,
) -> None:
    """The process ends when the last request's deadline has passed, or at a second signal."""
    alm = start_sandbox("*:stall-headersx*")
    api = start_server(alm=alm, ALM_SERVE_DEADLINE=deadline)
    with connect(api) as client, connect(api) as idle:
        client.sendall(
            f"GET /v1/enrollments?user_id=31 HTTP/1.1\r\nX-API-Key: {KEY}\r\n\r\n".encode()
        )
        wait_until(lambda: alm.requests)

        api.process.terminate()
        assert idle.recv(1) == b""
        for _ in range(signals - 1):
            api.process.terminate()

        assert api.process.wait(timeout=15) == exit_code


@pytest.mark.parametrize("name", ["PORT", "FUNCTIONS_CUSTOMHANDLER_PORT"])
def test_output__is_the_address_and_the_log(name: str) -> None:
    """Standard output has the address, on the platform's port; standard error has the log."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    with subprocess.Popen(
        [sys.executable, "-m", "connector", "serve"],
        env=environ(ALM_BASE_URL="sandbox", ALM_SERVE_KEY=KEY, **{name: port}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline()
        requests.get(f"http://127.0.0.1:{port}/healthz", timeout=PATIENCE_SECONDS)
        process.terminate()
        stdout, stderr = process.communicate(timeout=PATIENCE_SECONDS)

    assert address == f"alm-enrollments serves http://127.0.0.1:{port}; end it with Ctrl-C.\n"
    assert (process.returncode, stdout, stderr.count("\n")) == (0, "", 2)
    assert stderr.startswith(f"{NOTE}alm-enrollments: GET /healthz 200 ")


def test_help__has_every_setting() -> None:
    """--help lists flags and settings, and needs none of them."""
    finished = subprocess.run(
        [sys.executable, "-m", "connector", "serve", "--help"],
        env=environ(),
        capture_output=True,
        text=True,
        check=True,
    )

    names = re.findall(r"^ +(ALM_SERVE_\w+|--\w+)", finished.stdout, flags=re.MULTILINE)
    assert {"--host", "--port", "--threads"} <= set(names)
    assert {"ALM_SERVE_KEY", "ALM_SERVE_DEADLINE", "ALM_SERVE_USER_IDS"} <= set(names)
