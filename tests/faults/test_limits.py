"""What is too large is refused, and memory stays flat whatever the server sends."""

from __future__ import annotations

import contextlib
import gzip
import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults.conftest import BOTH, run
from tests.faults.table import NOPERM, OK, PROTOCOL, TEMPFAIL
from tests.support.pages import USER, answer, body_of, head, next_link, page, page_body, record
from tests.support.sandbox import DOCUMENTED_USER
from tests.support.server import Flood

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.conftest import Play
    from tests.support.process import Command
    from tests.support.server import Actions

MEGABYTE = 1024 * 1024
# The largest allowed body in a growing buffer, with a margin; the bombs have four times as much.
MAX_GROWTH = 100 * MEGABYTE
MAX_MESSAGE = 2_000
_STATUS = Path("/proc/self/status")


def _kilobytes(name: str) -> int:
    return int(re.findall(rf"{name}:\s+(\d+) kB", _STATUS.read_text(encoding="utf-8"))[0])


@contextlib.contextmanager
def flat_memory() -> Iterator[None]:
    """Fail if this process needs much more memory inside than before (Linux only: proc(5))."""
    if not _STATUS.exists():
        yield
        return
    # Resets the peak to the present.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _kilobytes("VmRSS")
    yield
    assert (_kilobytes("VmHWM") - before) * 1024 < MAX_GROWTH


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _packed(body: bytes, coding: str, status: int = 200, *headers: str) -> Actions:
    length = f"Content-Length: {len(body)}"
    return (head(f"Content-Encoding: {coding}", length, *headers, status=status), body)


_SPACES = Flood(b" " * MEGABYTE, 512)
_LETTERS = Flood(b"a" * MEGABYTE, 512)
_GZIP_BOMB = gzip.compress(bytes(16 * MEGABYTE), 9) * 32
_DEFLATE_BOMB = zlib.compress(bytes(512 * MEGABYTE), 9)
_ENDLESS = "Connection: close"
_CHUNKED = head("Transfer-Encoding: chunked")
_MOVED = "Location: /elsewhere"
TOO_LARGE: dict[str, Actions] = {
    "body with a length": (head(f"Content-Length: {512 * MEGABYTE}"), _SPACES),
    "body of absurd length": (head("Content-Length: " + "9" * 30), _SPACES),
    "body without a length": (head(_ENDLESS), _SPACES),
    "body in chunks": (_CHUNKED, Flood(_chunk(b" " * MEGABYTE), 512)),
    "body in one chunk": (_CHUNKED + b"ffffffffff\r\n", _SPACES),
    "gzip bomb": _packed(_GZIP_BOMB, "gzip"),
    "gzip bomb in a chunk": (
        head("Transfer-Encoding: chunked", "Content-Encoding: gzip"),
        _chunk(_GZIP_BOMB) + b"0\r\n\r\n",
    ),
    "gzip bomb in gzip": _packed(gzip.compress(_GZIP_BOMB, 9), "gzip, gzip"),
    "deflate bomb": _packed(_DEFLATE_BOMB, "deflate"),
    "gzip bomb as an error": _packed(_GZIP_BOMB, "gzip", 403),
    "gzip bomb as a redirect": _packed(_GZIP_BOMB, "gzip", 302, _MOVED),
    "body of a redirect": (head(_MOVED, _ENDLESS, status=302), _SPACES),
    "status line": (b"HTTP/1.1 200 ", _LETTERS),
    "header line": (b"HTTP/1.1 200 OK\r\nX-A: ", _LETTERS),
    "header name": (b"HTTP/1.1 200 OK\r\n", _LETTERS),
    "chunk size line": (_CHUNKED, Flood(b"0" * MEGABYTE, 512)),
    "trailer line": (_CHUNKED + b"0\r\nX-A: ", _LETTERS),
    "next link": (answer(200, body_of(page((), next_link(USER, "a" * MEGABYTE)))),),
    "id": (answer(200, body_of(page([f"course:1_{'1' * MEGABYTE}_31"]))),),
}
CODES = {
    **{name: (actions, PROTOCOL) for name, actions in TOO_LARGE.items()},
    "codings": (_packed(b"a", ", ".join(["gzip"] * 6)), TEMPFAIL),
    "message": ((answer(403, body_of({"message": "a" * 8 * MEGABYTE})),), NOPERM),
    "number": ((answer(200, b'{"data":[],"count":' + b"9" * MEGABYTE + b"}"),), TEMPFAIL),
    "brackets": ((answer(200, b"[" * MEGABYTE),), TEMPFAIL),
    "braces": ((answer(200, b'{"data":' * MEGABYTE),), TEMPFAIL),
    "brackets in an error": ((answer(403, b"[" * MEGABYTE),), NOPERM),
}


@pytest.mark.parametrize(("actions", "code"), CODES.values(), ids=CODES)
def test_too_large__is_refused_in_flat_memory(actions: Actions, code: int, play: Play) -> None:
    """A response that is too large ends in a named failure with a short message, in flat memory."""
    server = play(otherwise=actions)

    with flat_memory():
        ran = run(server)

    error = ran.document["error"]
    assert (ran.code, error["code"], ran.document["complete"]) == (code, code, False)
    assert len(error["message"]) + len(error["hint"]) < MAX_MESSAGE


def test_refresh__too_large_is_refused_in_flat_memory(play: Play) -> None:
    """The response to a refresh is bounded as a page is."""
    server = play((answer(401),), otherwise=_packed(_GZIP_BOMB, "gzip"))

    with flat_memory():
        ran = run(server, BOTH)

    assert ran.code == PROTOCOL


HEADERS = {
    "hundreds": [f"X-{number}: a" for number in range(500)],
    "hundreds of one name": ["X-Request-Id: a"] * 500,
    "megabytes together": [f"X-{number}: {'a' * 60_000}" for number in range(90)],
    "cookies": [f"Set-Cookie: a{number}={'b' * 4_000}" for number in range(90)],
}


@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
def test_headers__too_many_are_refused_or_skipped(headers: list[str], play: Play) -> None:
    """Excessive headers are refused or skipped, and never kept."""
    body = page_body(USER, None)
    server = play((answer(200, body, *headers),))

    with flat_memory():
        ran = run(server)

    assert ran.code in (OK, TEMPFAIL, PROTOCOL)
    assert ran.document["complete"] is (ran.code == OK)


NESTED = {
    "960 lists": "[" * 960 + "]" * 960,
    "960 objects": '{"a":' * 960 + "1" + "}" * 960,
    "5,000 objects": '{"a":' * 5_000 + "1" + "}" * 5_000,
    "number beyond a float": "1e999",
}


@pytest.mark.parametrize("value", NESTED.values(), ids=NESTED)
def test_included_value__is_emitted_or_refused(value: str, play: Play, command: Command) -> None:
    """An extreme value in an included resource is emitted or refused: never an internal error."""
    included = {"id": "course:1", "type": "learningObject", "attributes": {"a": "VALUE"}}
    document = body_of({"data": [record("course:1_11_31")], "included": [included]})
    server = play(otherwise=(answer(200, document.replace(b'"VALUE"', value.encode())),))
    variables = {"ALM_BASE_URL": server.url, "ALM_ACCESS_TOKEN": "a-token", "ALM_DEADLINE": "0.5"}

    finished = command.as_process("--user-id 31 --include learningObject", **variables)

    assert finished.exit_code in (OK, TEMPFAIL, PROTOCOL)
    # Not parsed: it may be nested more deeply than this process can read.
    assert ('"complete":true' in finished.stdout) is (finished.exit_code == OK)


def test_process__has_a_small_peak(play: Play, command: Command) -> None:
    """A process that reads a bomb needs little more memory than one that reads the sandbox."""
    print_peak = (
        "import os, pathlib, re; from connector.cli.commands import main;"
        "main([], os.environ); status = pathlib.Path('/proc/self/status').read_text();"
        "print(re.findall(r'VmHWM:\\s+(\\d+)', status)[0])"
    )
    bomb = play(otherwise=_packed(_GZIP_BOMB, "gzip"))
    peaks = []

    for url, user in (("sandbox", DOCUMENTED_USER), (bomb.url, USER)):
        variables = {"ALM_BASE_URL": url, "ALM_USER_ID": user, "ALM_ACCESS_TOKEN": "a-token"}
        process = command.start_python(["-c", print_peak], **variables)
        peaks.append(int(process.communicate()[0].splitlines()[-1]) * 1024)

    assert peaks[1] - peaks[0] < MAX_GROWTH
