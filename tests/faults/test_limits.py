"""What is too large is refused, as the contract says, and memory stays flat whatever the server sends."""

from __future__ import annotations

import gzip
import json
import zlib
from functools import cache
from typing import TYPE_CHECKING

import pytest

from tests.faults.book import Book, answer, body_of, head, page, record
from tests.faults.conftest import run_process
from tests.faults.server import FaultServer, Flood
from tests.faults.table import NOPERM, OK, PROTOCOL, TEMPFAIL

if TYPE_CHECKING:
    from tests.faults.conftest import Play, Run, RunProcess
    from tests.faults.server import Actions, Seen

MEGABYTE = 1024 * 1024
# The largest body allowed and what a growing buffer of it takes, with something over.
MOST_MEMORY = 64 * MEGABYTE
MOST_STDERR = 20_000


@pytest.fixture(scope="module")
def most_bytes(tmp_path_factory: pytest.TempPathFactory) -> int:
    """Return the memory that a process may have: that of one where nothing goes wrong, and one body of the largest size."""
    with FaultServer((), Book().answer) as server:
        return run_process(tmp_path_factory.mktemp("healthy"), server).peak_bytes + MOST_MEMORY


@cache
def _gzip_bomb() -> bytes:
    """Return half a megabyte that unpacks to half a gigabyte."""
    return gzip.compress(bytes(16 * MEGABYTE), 9) * 32


@cache
def _deflate_bomb() -> bytes:
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(MEGABYTE)) for _ in range(256)) + packer.flush()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _packed(body: bytes, coding: str, status: bytes = b"200") -> Actions:
    return (
        head(f"Content-Encoding: {coding}", f"Content-Length: {len(body)}").replace(
            b"200", status, 1
        ),
        body,
    )


def _endless(*headers: str) -> bytes:
    return head("Connection: close", *headers)


_SPACES = b" " * MEGABYTE
_NEXT = "/primeapi/v2/users/31/enrollments?page[cursor]="
_CHUNKED = head("Transfer-Encoding: chunked")
TOO_LARGE: dict[str, tuple[Actions, int]] = {
    "body-with-length": (
        (head(f"Content-Length: {256 * MEGABYTE}"), Flood(_SPACES, 256)),
        PROTOCOL,
    ),
    "body-of-absurd-length": ((head("Content-Length: " + "9" * 30), Flood(_SPACES, 256)), PROTOCOL),
    "body-without-length": ((_endless(), Flood(_SPACES, 256)), PROTOCOL),
    "body-chunked": ((_CHUNKED, Flood(_chunk(_SPACES), 256)), PROTOCOL),
    "body-in-one-chunk": ((_CHUNKED + b"ffffffffff\r\n", Flood(_SPACES, 256)), PROTOCOL),
    "gzip-bomb": (_packed(_gzip_bomb(), "gzip"), PROTOCOL),
    "gzip-bomb-chunked": (
        (
            head("Transfer-Encoding: chunked", "Content-Encoding: gzip"),
            _chunk(_gzip_bomb()),
            b"0\r\n\r\n",
        ),
        PROTOCOL,
    ),
    "gzip-bomb-in-gzip": (_packed(gzip.compress(_gzip_bomb(), 9), "gzip, gzip"), PROTOCOL),
    "gzip-bomb-packed-six-times": (_packed(b"a", ", ".join(["gzip"] * 6)), TEMPFAIL),
    "deflate-bomb": (_packed(_deflate_bomb(), "deflate"), PROTOCOL),
    "gzip-bomb-as-error": (_packed(_gzip_bomb(), "gzip", b"403"), PROTOCOL),
    "gzip-bomb-as-redirect": (
        (
            head("Location: /elsewhere", "Content-Encoding: gzip", "Connection: close").replace(
                b"200", b"302", 1
            ),
            _gzip_bomb(),
        ),
        PROTOCOL,
    ),
    "body-of-a-redirect": (
        (
            head("Location: /elsewhere", "Connection: close").replace(b"200", b"302", 1),
            Flood(_SPACES, 256),
        ),
        PROTOCOL,
    ),
    "header-line": ((b"HTTP/1.1 200 OK\r\nX-A: ", Flood(b"a" * MEGABYTE, 64)), PROTOCOL),
    "header-name": ((b"HTTP/1.1 200 OK\r\n", Flood(b"a" * MEGABYTE, 64)), PROTOCOL),
    "status-line": ((b"HTTP/1.1 200 ", Flood(b"a" * MEGABYTE, 64)), PROTOCOL),
    "chunk-size-line": ((_CHUNKED, Flood(b"0" * MEGABYTE, 64)), PROTOCOL),
    "trailer-line": ((_CHUNKED + b"0\r\nX-A: ", Flood(b"a" * MEGABYTE, 64)), PROTOCOL),
    "next-link": ((answer(200, body_of(page((), _NEXT + "a" * MEGABYTE))),), PROTOCOL),
    "id": (
        (answer(200, body_of(page(["course:1_1_31"])).replace(b"course:1_1_31", b"a" * MEGABYTE)),),
        PROTOCOL,
    ),
    "message": ((answer(403, body_of({"message": "a" * 8 * MEGABYTE})),), NOPERM),
    "number": ((answer(200, b'{"data":[],"count":' + b"9" * MEGABYTE + b"}"),), TEMPFAIL),
    "brackets": ((answer(200, b"[" * MEGABYTE),), TEMPFAIL),
    "braces": ((answer(200, b'{"data":' * MEGABYTE),), TEMPFAIL),
    "brackets-in-an-error": ((answer(403, b"[" * MEGABYTE),), NOPERM),
}


@pytest.mark.parametrize(
    ("actions", "code"), [pytest.param(*case, id=name) for name, case in TOO_LARGE.items()]
)
def test_too_large__is_refused_in_flat_memory(
    actions: Actions, code: int, play: Play, process: RunProcess, most_bytes: int
) -> None:
    """It ends with a named failure and a short message, and the process never holds much more than one body of the largest size."""
    server = play(otherwise=actions)

    finished = process(server, "--deadline", "1" if code == TEMPFAIL else "20")

    assert (
        finished.exit_code,
        json.loads(finished.stdout)["error"]["code"],
        finished.is_complete,
    ) == (code, code, False)
    assert finished.peak_bytes < most_bytes
    assert len(finished.stderr) < MOST_STDERR


HEADERS = {
    "hundreds": [f"X-{number}: a" for number in range(500)],
    "hundreds-the-same": ["X-Request-Id: a"] * 500,
    "megabytes-together": [f"X-{number}: {'a' * 60_000}" for number in range(90)],
    "cookies": [f"Set-Cookie: a{number}={'b' * 4_000}" for number in range(90)],
}


@pytest.mark.parametrize(
    "headers", [pytest.param(headers, id=name) for name, headers in HEADERS.items()]
)
def test_headers__many_of_them(
    headers: list[str], play: Play, process: RunProcess, most_bytes: int
) -> None:
    """Headers beyond all measure are refused or read past; they are not kept, and nothing fails without a name."""
    server = play(otherwise=lambda seen: (answer(200, Book().body(seen), *headers),))

    finished = process(server, "--deadline", "1")

    assert finished.exit_code in (OK, TEMPFAIL, PROTOCOL)
    assert finished.is_complete == (finished.exit_code == OK)
    assert finished.peak_bytes < most_bytes
    assert len(finished.stderr) < MOST_STDERR


@pytest.mark.parametrize("depth", [100, 900, 960, 5_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_depth__is_read_or_refused(
    depth: int, opening: str, closing: str, play: Play, process: RunProcess
) -> None:
    """What is nested deeply, in a resource that goes into the document, is handed on or refused; it is no defect of ours."""
    nested = opening * depth + ("1" if closing == "}" else "") + closing * depth
    document = body_of(
        {
            "data": [record("course:1_11_31")],
            "included": [{"id": "course:1", "type": "learningObject", "attributes": 0}],
        }
    )
    body = document.replace(b'"attributes": 0', b'"attributes": {"a": ' + nested.encode() + b"}")
    server = play(otherwise=(answer(200, body),))

    finished = process(server, "--include", "learningObject", "--deadline", "1")

    assert finished.exit_code in (OK, TEMPFAIL, PROTOCOL)
    assert finished.is_complete == (finished.exit_code == OK)


def test_infinity__in_a_related_resource(play: Play, process: RunProcess) -> None:
    """A number beyond a float's reach, in a resource that goes into the document, is handed on or refused; it is no defect of ours."""
    related = {"id": "course:1", "type": "learningObject", "attributes": {"a": "b"}}
    body = body_of({"data": [record("course:1_11_31")], "included": [related]}).replace(
        b'"b"', b"1e999"
    )
    server = play(otherwise=(answer(200, body),))

    finished = process(server, "--include", "learningObject", "--deadline", "1")

    assert finished.exit_code in (OK, TEMPFAIL, PROTOCOL)


def test_refresh__too_large(play: Play, process: RunProcess, most_bytes: int) -> None:
    """The answer to a refresh is bounded as a page is."""
    server = play((answer(401),), otherwise=_packed(_gzip_bomb(), "gzip"))
    triple = {
        "ALM_CLIENT_ID": "an-id",
        "ALM_CLIENT_SECRET": "a-secret",
        "ALM_REFRESH_TOKEN": "a-refresh-token",
    }

    finished = process(server, environ=triple)

    assert finished.exit_code == PROTOCOL
    assert finished.peak_bytes < most_bytes


def test_pages__without_an_end(play: Play, run: Run) -> None:
    """Pages that go on and on, each with a cursor and an enrollment of its own, are given up after ten thousand."""
    quota = "X-Rate-Limit: 100000r/s", "X-Burst: 100000"

    def step(seen: Seen) -> Actions:
        number = int((seen.cursor or "opaque-0").removeprefix("opaque-"))
        return (
            answer(
                200, body_of(page([f"course:{number}_1_31"], f"{_NEXT}opaque-{number + 1}")), *quota
            ),
        )

    server = play(otherwise=step)

    ran = run(server)

    assert (ran.code, len(server.requests)) == (PROTOCOL, 10_000)
    assert (
        ran.document["error"]["message"] == "ALM's pages for user 31 do not end: 10000 were read."
    )
    assert ran.document["enrollment_ids"] == []
