"""One deadline covers everything: whatever stalls or drips, the run does not outlast it."""

from __future__ import annotations

import contextlib
import gzip
import json
import time
from typing import TYPE_CHECKING

import pytest

from connector.clock import SystemClock
from tests.faults.conftest import BOTH, run
from tests.faults.table import TEMPFAIL
from tests.support.pages import USER, answer, body_of, chunked, head, record
from tests.support.process import PATIENCE_SECONDS
from tests.support.secrets import TOKEN
from tests.support.server import Drip, Flood, OnConnect, Pause, healthy, only_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.conftest import Play
    from tests.support.process import Command
    from tests.support.server import Action, Step

DEADLINE = 0.3
# Far more than the deadline, and far less than any of the faults lasts.
MAX_SECONDS = 10.0
LONG = Pause(60)
FOREVER = 10_000_000
CHUNKED = head("Transfer-Encoding: chunked")
GZIPPED = head("Content-Encoding: gzip", "Connection: close")
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def _drip(data: bytes) -> Drip:
    """Return *data* in pieces every 30 ms, for a minute: each one is well before the deadline."""
    return Drip(data, 0.03, max(len(data) // 2_000, 1))


SLOW: dict[str, tuple[Action, ...]] = {
    "stall before headers": (LONG,),
    "stall in status line": (b"HTTP/1.1 2", LONG),
    "stall in headers": (b"HTTP/1.1 200 OK\r\nContent-Le", LONG),
    "stall before body": (head("Content-Length: 99"), LONG),
    "stall in body": (head("Content-Length: 99") + b'{"data":', LONG),
    "stall in body without length": (head("Connection: close") + b'{"data":', LONG),
    "stall before chunk": (CHUNKED, LONG),
    "stall in chunk": (CHUNKED + b"ff\r\n{", LONG),
    "stall before last chunk": (chunked(b'{"data":[]}')[:-5], LONG),
    "stall in gzip": (GZIPPED + gzip.compress(b'{"data":[]}')[:12], LONG),
    "stall in error body": (head("Content-Length: 99", status=503), LONG),
    "stall after 100 continue": (CONTINUE, LONG),
    "drip of the status line": (_drip(b"HTTP/1.1 200 " + b"a" * 2_000),),
    "drip of a header": (b"HTTP/1.1 200 OK\r\nX-A: ", _drip(b"a" * 2_000)),
    "drip of headers": (b"HTTP/1.1 200 OK\r\n", _drip(b"X-A: b\r\n" * 90), LONG),
    "drip of 100 continue": (_drip(CONTINUE * 100),),
    "flood of 100 continue": (Flood(CONTINUE * 1000, FOREVER),),
    "flood of tiny chunks": (CHUNKED, Flood(b"1\r\n \r\n" * 10_000, FOREVER)),
    "flood of trailers": (chunked(b'{"data":[]}')[:-2], Flood(b"X-A: b\r\n" * 10_000, 500), LONG),
    "drip of the body": (head("Content-Length: 2000"), _drip(b" " * 2_000)),
    "drip of the body without length": (head("Connection: close"), _drip(b" " * 2_000)),
    "drip of chunks": (CHUNKED, _drip(b"1\r\n \r\n" * 2_000)),
    "drip of a chunk size": (CHUNKED, _drip(b"0" * 2_000)),
    "drip of a chunk extension": (CHUNKED + b"5;", _drip(b"a" * 2_000)),
    "drip of trailers": (chunked(b'{"data":[]}')[:-2], _drip(b"X-A: b\r\n" * 2_000)),
    "drip of gzip": (GZIPPED, _drip(gzip.compress(b" " * 100)[:10] + bytes(2_000))),
    "drip of a gzip name": (GZIPPED + b"\x1f\x8b\x08\x08\0\0\0\0\0\3", _drip(b"a" * 2_000)),
    "drip of empty gzip blocks": (
        GZIPPED + b"\x1f\x8b\x08\0\0\0\0\0\0\3",
        _drip(b"\0\0\0\xff\xff" * 400),
    ),
    "drip of an error body": (head("Content-Length: 2000", status=403), _drip(b" " * 2_000)),
}


@contextlib.contextmanager
def ends_in_time() -> Iterator[None]:
    """Fail if the block outlasts the deadline by more than a busy machine explains."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < MAX_SECONDS


@pytest.mark.parametrize("actions", SLOW.values(), ids=SLOW)
def test_slow__ends_at_the_deadline(actions: tuple[Action, ...], play: Play) -> None:
    """The run ends with 75 at its deadline, and requests nothing more."""
    server = play(otherwise=actions)

    with ends_in_time():
        ran = run(server, clock=SystemClock(), deadline=DEADLINE)

    assert (ran.code, ran.document["complete"]) == (TEMPFAIL, False)
    # On a busy machine the deadline may pass before the first request.
    assert server.order in ("A", "")


@pytest.mark.parametrize(
    "script",
    [[OnConnect((LONG,))], [healthy, (b"HTTP/1.1 200 OK\r\n", LONG)]],
    ids=["no request is read", "second page"],
)
def test_slow__anywhere_ends_at_the_deadline(script: list[Step | OnConnect], play: Play) -> None:
    """A server that accepts and reads nothing, or stalls on a later page, ends it in time too."""
    server = play(*script, otherwise=(LONG,))

    with ends_in_time():
        ran = run(server, clock=SystemClock(), deadline=DEADLINE)

    assert ran.code == TEMPFAIL


def test_slow__refresh_ends_at_the_deadline(play: Play) -> None:
    """A refresh that stalls ends the run at its deadline, although every thread waits for it."""
    server = play(otherwise=lambda request: (LONG,) if request.method == "POST" else (answer(401),))
    four = {"user_id": "31,32,33,34", "concurrency": 4}

    with ends_in_time():
        ran = run(server, BOTH, SystemClock(), deadline=DEADLINE, **four)

    assert ran.code == TEMPFAIL


def test_slow__user_until_the_deadline(play: Play, tmp_path: Path) -> None:
    """A user whose response stalls is not reached: the run is out of time, the others are kept."""
    server = play(otherwise=only_for("32", SLOW["stall in body"]))

    with ends_in_time():
        ran = run(
            server,
            clock=SystemClock(),
            deadline=2,
            user_id="31,32,33",
            format="ndjson",
            output_file=tmp_path / "out",
        )

    assert ran.code == TEMPFAIL
    assert ran.document["users"] == {"requested": 3, "read": 2, "failed": []}
    assert "2 users are kept in" in ran.document["error"]["hint"]
    kept = [json.loads(line) for line in (tmp_path / "out.part").read_bytes().splitlines()]
    assert {record["user_id"] for record in kept} == {"31", "33"}


@pytest.mark.parametrize("name", ["csv", "html"])
def test_slow__reader_of_standard_output(name: str, command: Command, play: Play) -> None:
    """A reader that takes no more records does not keep a run beyond its deadline."""
    records = [record(f"course:{number}_1_{USER}", url="x" * 200) for number in range(800)]
    server = play(otherwise=(answer(200, body_of({"data": records})),))
    process = command.start(
        f"--user-id {USER} --format {name} --columns id,url --deadline 5",
        ALM_BASE_URL=server.url,
        ALM_ACCESS_TOKEN=TOKEN,
    )

    # Nobody reads standard output, whose pipe holds 64 KB.
    exit_code = process.wait(PATIENCE_SECONDS)

    stdout, stderr = process.communicate()
    assert exit_code == TEMPFAIL
    assert 0 < len(stdout) < 100_000
    message = "The deadline of 5 s passed while the reader of standard output took no more records."
    assert message in stderr
