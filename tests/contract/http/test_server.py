"""Callers that are slow, many, or speak no HTTP, and the end of the process: nobody else is kept waiting."""

from __future__ import annotations

import json
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

from .conftest import KEY

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Answered, Door, Serve, StartSandbox

HEAD = f"POST /v1/enrollments HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Type: application/json\r\n".encode()


def connect(door: Door) -> socket.socket:
    """Return a connection with *door* on which nothing was said."""
    parts = urlsplit(door.url)
    return socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10)


def exchange(door: Door, said: bytes) -> bytes:
    """Return all that *door* says to *said* until it hangs up."""
    with connect(door) as connection:
        connection.sendall(said)
        heard = b""
        while piece := connection.recv(65_536):
            heard += piece
        return heard


MALFORMED = {
    "no HTTP": (b"hello\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "two lengths": (HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
    "a negative length": (HEAD + b"Content-Length: -1\r\n\r\n", 400),
    "a space before the colon": (HEAD + b"Content-Length : 2\r\n\r\n{}", 400),
    "a bare line feed": (HEAD.replace(b"x\r\n", b"x\n", 1) + b"\r\n", 400),
    "a chunk without a size": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        400,
    ),
    "an unknown coding": (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    "coding and length": (
        HEAD + b"Transfer-Encoding: xchunked\r\nContent-Length: 2\r\n\r\n{}",
        501,
    ),
    "a long address": (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", 431),
    "a long header": (HEAD + b"X-A: " + b"a" * 20_000 + b"\r\n\r\n", 431),
    "a large body": (HEAD + b"Content-Length: 65537\r\n\r\n", 413),
    "a huge body": (HEAD + b"Content-Length: 99999999999999999999\r\n\r\n", 413),
    "large chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n10001\r\n" + b" " * 65_537, 413),
}


def test_malformed__is_refused(serve: Serve, start_sandbox: StartSandbox) -> None:
    """What is no HTTP, or too much, is refused with a document before more of it is read; the next request is answered as ever."""
    alm = start_sandbox()
    door = serve(alm=alm)

    for name, (said, status) in MALFORMED.items():
        head, _, body = exchange(door, said).partition(b"\r\n\r\n")
        assert head.startswith(f"HTTP/1.{'01'[b'HTTP/1.1' in head[:8]]} {status} ".encode()), (
            name,
            head,
        )
        assert json.loads(body)["error"]["code"] == 64, name
        assert b"waitress" not in head + body, name
    assert alm.requests == []
    assert door.get(user_id="20941371").status == 200
    assert "Traceback" not in door.written()


def test_body__of_the_limit(serve: Serve) -> None:
    """A body of exactly 64 KB is read."""
    body = b'{"user_id":"20941371"}'.ljust(65_536)

    assert (
        serve().ask("POST", data=body, headers={"Content-Type": "application/json"}).status == 200
    )


def test_smuggling__a_second_request_is_its_own(serve: Serve) -> None:
    """Of coding and length together the coding counts, and what follows the body is a request of its own that needs its own key."""
    second = b"GET /v1/enrollments?user_id=31 HTTP/1.1\r\nConnection: close\r\n\r\n"
    said = HEAD + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + second

    assert re.findall(rb"HTTP/1.1 (\d+)", exchange(serve(), said)) == [b"400", b"401"]


def test_slow__and_many(serve: Serve) -> None:
    """Hundreds that send nothing, half a request, or a byte now and then, keep nobody waiting: of too many the longest-waiting go."""
    door = serve()
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(door)) for _ in range(450)]
        for position, connection in enumerate(slow[40:]):
            connection.sendall((HEAD, HEAD + b"Content-Length: 60000\r\n\r\n{", b"G")[position % 3])

        began = time.monotonic()
        answers = [requests.get(f"{door.url}/healthz", timeout=5).status_code for _ in range(20)]

        assert answers == [200] * 20
        assert time.monotonic() - began < 3
        assert slow[0].recv(1) == b""
        slow[-1].settimeout(0.05)
        with pytest.raises(TimeoutError):
            slow[-1].recv(1)


def test_flood__of_requests(serve: Serve) -> None:
    """A flood of requests without a key, pipelined without reading, leaves room for those that have one."""
    door = serve("--threads", "8")
    said = b"GET /v1/enrollments HTTP/1.1\r\nHost: x\r\n\r\n" * 200
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(connect(door)).sendall(said)

        answered = door.get(user_id="20941371")

    assert answered.status == 200
    assert [
        line for line in door.written().splitlines() if not line.startswith("alm-enrollments")
    ] == []


def test_many__reads_at_once(serve: Serve, start_sandbox: StartSandbox) -> None:
    """Fifty callers at once are all answered, though ALM is slow: none waits for another."""
    door = serve(
        alm=start_sandbox("*:slow/1x*", rate_per_minute=600_000, burst=100_000),
        ALM_SERVE_DEADLINE="10",
    )
    assert ask(door) == 200
    statuses: list[int] = []
    callers = [threading.Thread(target=lambda: statuses.append(ask(door))) for _ in range(50)]

    began = time.monotonic()
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()

    assert statuses == [200] * 50
    assert time.monotonic() - began < 5


def ask(door: Door) -> int:
    """Return the status of a whole request on a connection of its own."""
    return requests.get(
        f"{door.url}/v1/enrollments?user_id=20941371", headers={"X-API-Key": KEY}, timeout=20
    ).status_code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals__finish_what_is_running(
    number: signal.Signals, serve: Serve, start_sandbox: StartSandbox
) -> None:
    """A signal lets what is being answered be answered, takes nothing new, and ends the process with 0."""
    alm = start_sandbox("*:slow/1")
    door = serve(alm=alm)
    answers: list[Answered] = []
    caller = threading.Thread(target=lambda: answers.append(door.get(user_id="20941371")))
    idle = connect(door)
    caller.start()
    while not alm.requests:
        time.sleep(0.02)

    door.process.send_signal(number)
    time.sleep(0.3)
    with pytest.raises(OSError, match="refused"):
        connect(door)
    exit_code = door.process.wait(timeout=5)
    caller.join()

    assert exit_code == 0
    assert answers[0].document["enrollment_count"] == 3
    assert idle.recv(1) == b""
    idle.close()
    assert door.written().count("\n") == 2


def test_signals__within_the_deadline(serve: Serve, start_sandbox: StartSandbox) -> None:
    """However ALM stands still, the process ends when the last request's deadline has passed; a second signal ends it at once."""
    alm = start_sandbox("*:stall-headersx*")
    for deadline, signals, seconds in ((1.5, 1, 2.0), (20, 2, 1.0)):
        door = serve(alm=alm, ALM_SERVE_DEADLINE=str(deadline))
        asked = len(alm.requests)
        caller = threading.Thread(target=ask_in_vain, args=(door,))
        caller.start()
        while len(alm.requests) == asked:
            time.sleep(0.02)

        began = time.monotonic()
        for _ in range(signals):
            door.process.terminate()
            time.sleep(0.3)
        exit_code = door.process.wait(timeout=10)

        assert exit_code == (0 if signals == 1 else -signal.SIGTERM)
        assert time.monotonic() - began < seconds
        caller.join()


def ask_in_vain(door: Door) -> None:
    """Ask, and be hung up on or answered."""
    try:
        ask(door)
    except requests.ConnectionError:
        return


def test_output__is_one_line(serve: Serve) -> None:
    """Standard output has the address, and nothing else whatever is asked."""
    door = serve()
    door.get(user_id="31", state="x")

    listening, request = door.written().splitlines()

    assert listening == f"alm-enrollments serves {door.url}; end it with Ctrl-C."
    assert request.startswith("alm-enrollments: GET /v1/enrollments 400 ")


@pytest.mark.parametrize("name", ["PORT", "FUNCTIONS_CUSTOMHANDLER_PORT"])
def test_port__of_the_platform(name: str, environ: dict[str, str]) -> None:
    """Where the platform names a port, it listens there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    process = subprocess.Popen(
        [sys.executable, "-m", "connector", "serve"],
        env={**environ, "ALM_BASE_URL": "sandbox", "ALM_SERVE_KEY": KEY, name: port},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None

    told = process.stdout.readline()
    process.terminate()

    assert told == f"alm-enrollments serves http://127.0.0.1:{port}; end it with Ctrl-C.\n"
    assert process.wait(timeout=10) == 0
    process.stdout.close()


def test_waitress__is_named_where_it_is_missing(environ: dict[str, str], tmp_path: Path) -> None:
    """Without the extra it ends with 64, and says what to install."""
    without = (
        "import sys, importlib.util as u; find = u.find_spec;"
        "u.find_spec = lambda name, *more: None if name == 'waitress' else find(name, *more);"
        "from connector.cli.commands import main; sys.exit(main(['serve'], {'ALM_SERVE_KEY': 'x' * 16, 'ALM_BASE_URL': 'sandbox'}))"
    )

    finished = subprocess.run(
        [sys.executable, "-c", without],
        env=environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert (finished.returncode, finished.stdout) == (64, "")
    assert finished.stderr == (
        "alm-enrollments: error: serve wants waitress, which is not installed. pip install 'alm-enrollments-connector[serve]'\n"
    )


def test_help__tells_every_setting(environ: dict[str, str]) -> None:
    """--help tells flags and settings, and needs none of them."""
    finished = subprocess.run(
        [sys.executable, "-m", "connector", "serve", "--help"],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )

    assert re.findall(r"^  (ALM_SERVE_\w+|--\w+)", finished.stdout, flags=re.MULTILINE) == [
        "--debug", "--host", "--port", "--threads", "ALM_SERVE_KEY", "ALM_SERVE_DEADLINE", "ALM_SERVE_USER_IDS",
    ]  # fmt: skip
