"""One deadline over everything: whatever stands still or drips, in whichever part of an answer, does not outlast it."""

from __future__ import annotations

import gzip
import time
from typing import TYPE_CHECKING

import pytest

from connector.clock import SystemClock
from tests.faults.book import Book, answer, chunked, head, order
from tests.faults.server import Drip, Flood, OnConnect, Pause
from tests.faults.table import TEMPFAIL

if TYPE_CHECKING:
    from tests.faults.conftest import Play, Run
    from tests.faults.server import Action, Step

DEADLINE = 0.3
GRACE = 0.9
LONG = Pause(3)
CHUNKED = head("Transfer-Encoding: chunked")
GZIPPED = head("Content-Encoding: gzip", "Connection: close")
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def _drip(data: bytes) -> Drip:
    """Return *data* in a hundred pieces, over three seconds."""
    return Drip(data, 0.03, max(len(data) // 100, 1))


SLOW: dict[str, tuple[Action, ...]] = {
    "stall-before-headers": (LONG,),
    "stall-in-status-line": (b"HTTP/1.1 2", LONG),
    "stall-in-headers": (b"HTTP/1.1 200 OK\r\nContent-Le", LONG),
    "stall-before-body": (head("Content-Length: 99"), LONG),
    "stall-in-body": (head("Content-Length: 99") + b'{"data":', LONG),
    "stall-in-body-without-length": (head("Connection: close") + b'{"data":', LONG),
    "stall-before-chunk": (CHUNKED, LONG),
    "stall-in-chunk": (CHUNKED + b"ff\r\n{", LONG),
    "stall-before-last-chunk": (chunked(b'{"data":[]}')[:-5], LONG),
    "stall-in-gzip": (GZIPPED + gzip.compress(b'{"data":[]}')[:12], LONG),
    "stall-in-error-body": (head("Content-Length: 99").replace(b"200", b"503"), LONG),
    "stall-after-100-continue": (CONTINUE, LONG),
    "drip-status-line": (_drip(b"HTTP/1.1 200 " + b"a" * 100),),
    "drip-header": (b"HTTP/1.1 200 OK\r\nX-A: ", _drip(b"a" * 100)),
    "drip-headers": (b"HTTP/1.1 200 OK\r\n", _drip(b"X-A: b\r\n" * 90)),
    "drip-100-continue": (_drip(CONTINUE * 100),),
    "flood-of-100-continue": (Flood(CONTINUE * 1000, 3_000), LONG),
    "flood-of-tiny-chunks": (CHUNKED, Flood(b"1\r\n \r\n" * 10_000, 10_000), LONG),
    "flood-of-trailers": (chunked(b'{"data":[]}')[:-2], Flood(b"X-A: b\r\n" * 10_000, 1_000), LONG),
    "drip-body": (head("Content-Length: 100"), _drip(b" " * 100)),
    "drip-body-without-length": (head("Connection: close"), _drip(b" " * 100)),
    "drip-chunks": (CHUNKED, _drip(b"1\r\n \r\n" * 100)),
    "drip-chunk-size": (CHUNKED, _drip(b"0" * 100)),
    "drip-chunk-extension": (CHUNKED + b"5;", _drip(b"a" * 100)),
    "drip-trailers": (chunked(b'{"data":[]}')[:-2], _drip(b"X-A: b\r\n" * 100)),
    "drip-gzip": (GZIPPED, _drip(gzip.compress(b" " * 100)[:10] + bytes(100))),
    "drip-gzip-name": (GZIPPED + b"\x1f\x8b\x08\x08\0\0\0\0\0\3", _drip(b"a" * 100)),
    "drip-gzip-of-empty-blocks": (
        GZIPPED + b"\x1f\x8b\x08\0\0\0\0\0\0\3",
        _drip(b"\0\0\0\xff\xff" * 100),
    ),
    "drip-error-body": (head("Content-Length: 100").replace(b"200", b"403"), _drip(b" " * 100)),
}


@pytest.mark.parametrize(
    "actions", [pytest.param(actions, id=name) for name, actions in SLOW.items()]
)
def test_slow__ends_at_the_deadline(actions: tuple[Action, ...], play: Play, run: Run) -> None:
    """The run ends within a second of its deadline, with 75, and asks for nothing more."""
    server = play(otherwise=actions)
    began = time.monotonic()

    ran = run(server, clock=SystemClock(), deadline=DEADLINE)

    assert time.monotonic() - began < DEADLINE + GRACE
    assert (ran.code, ran.document["complete"], order(server.requests)) == (TEMPFAIL, False, "A")


@pytest.mark.parametrize(
    "step",
    [OnConnect((LONG,)), (b"HTTP/1.1 200 OK\r\n", LONG)],
    ids=["no request is read", "second page"],
)
def test_slow__second_page(step: Step | OnConnect, play: Play, run: Run) -> None:
    """What stands still in mid-run ends it at the deadline too, and under allow_incomplete hands on what was read before."""
    server = play(*[Book().answer] * (not isinstance(step, OnConnect)), step, otherwise=(LONG,))
    began = time.monotonic()

    ran = run(server, clock=SystemClock(), deadline=DEADLINE)

    assert time.monotonic() - began < DEADLINE + GRACE
    assert ran.code == TEMPFAIL


def test_slow__refresh(play: Play, run: Run) -> None:
    """A refresh that stands still holds the run no longer than the deadline, for none of its threads."""
    server = play(otherwise=lambda seen: (LONG,) if seen.method == "POST" else (answer(401),))
    triple = {
        "ALM_ACCESS_TOKEN": "a-token",
        "ALM_CLIENT_ID": "id",
        "ALM_CLIENT_SECRET": "secret",
        "ALM_REFRESH_TOKEN": "refresh",
    }
    began = time.monotonic()

    ran = run(
        server,
        clock=SystemClock(),
        deadline=DEADLINE,
        environ=triple,
        user_id="31,32,33,34",
        concurrency=4,
    )

    assert time.monotonic() - began < DEADLINE + GRACE
    assert ran.code == TEMPFAIL


@pytest.mark.parametrize("name", ["stall-in-body", "stall-before-headers"])
def test_slow__one_of_several_users(name: str, play: Play, run: Run) -> None:
    """A user whose answer stands still costs no other user's enrollments."""
    book = Book()
    server = play(otherwise=lambda seen: SLOW[name] if seen.user_id == "32" else book.answer(seen))

    ran = run(server, clock=SystemClock(), deadline=1, user_id="31,32,33", concurrency=8)

    assert ran.code == 65
    assert ran.document["enrollment_ids"] == [*book.of("31"), *book.of("33")]
    assert [one["error"]["code"] for one in ran.document["users"]["failed"]] == [TEMPFAIL]
