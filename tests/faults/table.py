"""Every fault by name: what the server sends instead of a page, and the resulting exit code."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import TYPE_CHECKING, NamedTuple

from tests.support.pages import answer, body_of, chunked, head, page, page_body
from tests.support.server import Hang

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.server import Actions, Request, Step

OK, USAGE, PARTIAL, NOUSER, UNAVAILABLE, TEMPFAIL, PROTOCOL, NOPERM = 0, 64, 65, 67, 69, 75, 76, 77
PATH = "/primeapi/v2/users"
_FIN, _RESET = Hang.FIN, Hang.RESET
_GZIP, _DEFLATE = "Content-Encoding: gzip", "Content-Encoding: deflate"
_CHUNKED = head("Transfer-Encoding: chunked")
_HTML = b"<!DOCTYPE html><html><head><title>502</title></head><body>Bad Gateway</body></html>"


class Fault(NamedTuple):
    """A fault; a run in which it persists ends with *code* and *http_status*, if that is set."""

    name: str
    step: Step
    code: int
    http_status: int | None

    @property
    def is_retried(self) -> bool:
        """Whether the client sends the request again."""
        return self.code == TEMPFAIL


def _sends(build: Callable[[bytes], bytes], *after: Hang) -> Step:
    """Return the step that sends the bytes that *build* makes of the page's body."""

    def step(request: Request) -> Actions:
        return (build(page_body(request.user_id, request.cursor)), *after)

    return step


def _gzipped(change: Callable[[bytes], bytes]) -> Step:
    return _sends(lambda body: answer(200, change(gzip.compress(body)), _GZIP))


def _replaced(old: bytes, new: bytes) -> Step:
    return _sends(lambda body: answer(200, body).replace(old, new, 1))


def _in_body(old: bytes, new: bytes) -> Step:
    return _sends(lambda body: answer(200, body.replace(old, new, 1)))


def _link(link: str) -> Step:
    return (answer(200, body_of(page((), link))),)


def _in_chunks(text: bytes) -> Step:
    return (_CHUNKED + text, _FIN)


HARMLESS: dict[str, Step] = {
    "body-ends-with-the-connection": _sends(lambda body: head("Connection: close") + body, _FIN),
    "length-no-number": _sends(lambda body: head("Content-Length: many") + body, _FIN),
    "length-negative": _sends(lambda body: head("Content-Length: -5") + body, _FIN),
    "chunked": _sends(chunked),
    "chunked-with-length": _sends(lambda body: chunked(body, "Content-Length: 5")),
    "chunked-with-trailers": _sends(lambda body: chunked(body)[:-2] + b"X-Sum: 1\r\n\r\n"),
    "gzip": _gzipped(bytes),
    "gzip-in-two-members": _sends(
        lambda body: answer(200, gzip.compress(body[:9]) + gzip.compress(body[9:]), _GZIP)
    ),
    "gzip-with-garbage-behind": _gzipped(lambda packed: packed + b"\0garbage"),
    "gzip-chunked": _sends(lambda body: chunked(gzip.compress(body), _GZIP)),
    "deflate": _sends(lambda body: answer(200, zlib.compress(body), _DEFLATE)),
    "deflate-raw": _sends(lambda body: answer(200, zlib.compress(body, wbits=-15), _DEFLATE)),
    "byte-order-mark": _sends(lambda body: answer(200, b"\xef\xbb\xbf" + body)),
    "utf-16": _sends(lambda body: answer(200, body.decode().encode("utf-16"))),
    "100-continue-first": _replaced(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "100-continue-thrice": _replaced(b"", b"HTTP/1.1 100 Continue\r\nX-A: b\r\n\r\n" * 3),
    "http-1.0-close": _sends(
        lambda body: answer(200, body).replace(b"HTTP/1.1", b"HTTP/1.0", 1), _FIN
    ),
    "http-1.0-keep-alive": _replaced(
        b"HTTP/1.1 200 Some\r\n", b"HTTP/1.0 200 Some\r\nConnection: keep-alive\r\n"
    ),
    "status-without-reason": _replaced(b"200 Some", b"200"),
    "bare-line-feeds": _sends(
        lambda body: head(f"Content-Length: {len(body)}").replace(b"\r", b"") + body
    ),
    "next-empty": _in_body(b'"links": {}', b'"links": {"next": ""}'),
    "header-without-colon": _sends(lambda body: answer(200, body, "no colon in here")),
    "header-in-latin-1": _sends(lambda body: answer(200, body, "X-Request-Id: \xe9\xff\x80")),
    "header-folded": _sends(lambda body: answer(200, body, "X-Long: one\r\n two")),
    "cookie": _sends(lambda body: answer(200, body, "Set-Cookie: a=b; Path=/; Expires=never")),
}

BROKEN_CONNECTIONS: dict[str, Step] = {
    "reset-after-request": (_RESET,),
    "fin-without-answer": (_FIN,),
    "reset-in-status-line": (b"HTTP/1.1 20", _RESET),
    "fin-in-status-line": (b"HTTP/1.1 20", _FIN),
    "reset-in-headers": (b"HTTP/1.1 200 OK\r\nContent-Le", _RESET),
    "fin-in-headers": (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n", _FIN),
    "reset-in-body": _sends(lambda body: answer(200, body)[:-9], _RESET),
    "fin-in-body": _sends(lambda body: answer(200, body)[:-9], _FIN),
    "fin-before-body": (head("Content-Length: 99"), _FIN),
    "fin-without-length": _sends(lambda body: head("Connection: close") + body[:-9], _FIN),
    "length-too-long": _sends(lambda body: head(f"Content-Length: {len(body) + 5}") + body, _FIN),
    "length-too-short": _sends(lambda body: head(f"Content-Length: {len(body) - 5}") + body),
    "length-twice": _sends(
        lambda body: head("Content-Length: 3", f"Content-Length: {len(body)}") + body, _FIN
    ),
    "chunked-cut": _sends(lambda body: chunked(body)[:-20], _FIN),
    "chunked-cut-between-chunks": _sends(lambda body: chunked(body)[: -len(body) // 2 - 12], _FIN),
    "chunked-reset": _sends(lambda body: chunked(body)[:-20], _RESET),
    "chunked-without-end": _sends(lambda body: chunked(body)[:-5], _FIN),
    "chunked-in-name-only": _sends(lambda body: _CHUNKED + body, _FIN),
    "chunk-size-no-number": _in_chunks(b"ten\r\n0123456789\r\n0\r\n\r\n"),
    "chunk-size-negative": _in_chunks(b"-5\r\n01234\r\n0\r\n\r\n"),
    "chunk-size-too-large": _in_chunks(b"ffffffffff\r\n01234\r\n0\r\n\r\n"),
    "chunk-size-empty": _in_chunks(b"\r\n01234\r\n0\r\n\r\n"),
    "gzip-is-none": (answer(200, b"certainly not gzip", _GZIP),),
    "gzip-named-but-identity": _sends(lambda body: answer(200, body, _GZIP)),
    "gzip-truncated": _gzipped(lambda packed: packed[: len(packed) // 2]),
    "gzip-head-only": _gzipped(lambda packed: packed[:10]),
    "gzip-bad-crc": _gzipped(lambda packed: packed[:-8] + b"\0\0\0\0" + packed[-4:]),
    "gzip-bad-middle": _gzipped(lambda packed: packed[:40] + b"\xff" * 4 + packed[44:]),
    "gzip-not-named": _sends(lambda body: answer(200, gzip.compress(body))),
    "deflate-is-none": (answer(200, b"\xff\xff\xff\xff\xff", _DEFLATE),),
    "coding-unknown": (answer(200, b"\x8b\x02\x80", "Content-Encoding: xz-rot13"),),
    "http-0.9": _sends(bytes, _FIN),
    "http-2": _replaced(b"HTTP/1.1", b"HTTP/2"),
    "status-line-of-tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", _FIN),
    "status-line-empty": (b"\r\n\r\n", _FIN),
    "status-line-of-ftp": (b"220 ready\r\n", _FIN),
    "status-no-number": (b"HTTP/1.1 OK 200\r\n\r\n", _FIN),
    "status-two-digits": (b"HTTP/1.1 20 OK\r\n\r\n", _FIN),
    "302-cut": (head("Content-Length: 99", status=302) + b"cut", _FIN),
}

BROKEN_BODIES: dict[str, Step] = {
    "html-200": (answer(200, _HTML, "Content-Type: text/html"),),
    "empty-200": (answer(200),),
    "blank-200": (answer(200, b" \r\n\t"),),
    "text-200": (answer(200, b"OK"),),
    "json-cut": _sends(lambda body: answer(200, body[:-1])),
    "json-and-more": _sends(lambda body: answer(200, body + b"{}")),
    "json-nan": _in_body(b'"ENROLLED"', b"NaN"),
    "json-infinity": _in_body(b'"ENROLLED"', b"-Infinity"),
    "utf-8-invalid": _in_body(b"ENROLLED", b"\xff\xfe\xfd"),
}

UNDOCUMENTED_BODIES: dict[str, Step] = {
    **{
        f"json {text}": (answer(200, text.encode()),)
        for text in ("null", "1", '"data"', "[]", "{}", '{"data":null}', '{"data":{}}')
    },
    "json-error-as-200": (answer(200, b'{"errors":[{"status":"500"}]}'),),
    "links-and-an-error": (answer(200, b'{"links":{},"errors":[]}'),),
    "next-number": (answer(200, b'{"data":[],"links":{"next":7}}'),),
    "wrong-user": (answer(200, body_of(page(["course:1_11_99"]))),),
    "id-against-relationship": (
        answer(200, body_of(page(["course:1_11_31"])).replace(b'"course:1"', b'"course:9"')),
    ),
}

FOREIGN_LINKS: dict[str, Step] = {
    "next-user-info": _link(f"https://alm@evil.example{PATH}/31/enrollments?a=b"),
    "next-foreign-user": _link(f"{PATH}/32/enrollments?a=b"),
    "next-other-path": _link(f"{PATH}?page[cursor]=1"),
    "next-parent-path": _link("../../users/32/enrollments"),
    "next-no-scheme": _link(f"//evil.example{PATH}/32/enrollments"),
    "next-no-url": _link(f"http://[{PATH}/31/enrollments"),
    "next-script": _link("javascript:alert(1)"),
    "next-too-long": _link(f"{PATH}/31/enrollments?a=" + "b" * 20_000),
}

_STATUS_CODES = {
    400: USAGE,
    401: NOPERM,
    403: NOPERM,
    404: NOUSER,
    407: UNAVAILABLE,
    408: TEMPFAIL,
    **dict.fromkeys((201, 202, 203, 205, 206, 226), PROTOCOL),
    **dict.fromkeys((300, 301, 302, 303, 305, 306, 307, 308), PROTOCOL),
    **dict.fromkeys((402, 405, 406, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418), PROTOCOL),
    **dict.fromkeys((421, 422, 425, 426, 428, 431, 451, 499), PROTOCOL),
    **dict.fromkeys((500, 501, 502, 503, 504, 505, 507, 508, 511, 520, 521, 522), TEMPFAIL),
    **dict.fromkeys((523, 524, 525, 529, 530, 599), TEMPFAIL),
}
_ERROR = body_of({"status": "400", "title": "BAD_REQUEST", "source": {"info": "no such thing"}})
_BODIES = {"html": _HTML, "nothing": b"", "message": b'{"message":"so it is"}'}
_ODD_ERRORS = {
    "error-list-empty": b'{"errors":[]}',
    "error-deep": b'{"errors":' + b"[" * 100_000,
    "error-of-odd-types": json.dumps({"title": 1, "source": [], "message": {}}).encode(),
    "error-with-controls": body_of({"message": "\x1b[2J\r\n::error::##vso[x]\u2028"}),
    "error-half-a-surrogate": b'{"message":"\\ud800"}',
}
_UNUSABLE_LOCATIONS = (
    "https://evil.example/",
    "?",
    "http://[::1",
    "http://127.0.0.1:port/",
    "/\xe9",
)
STATUSES = [
    *(
        Fault(str(status), (answer(status, _ERROR, "Location: /elsewhere"),), code, status)
        for status, code in _STATUS_CODES.items()
    ),
    *(
        Fault(f"{status}-{kind}", (answer(status, body),), _STATUS_CODES[status], status)
        for status in (400, 404, 503)
        for kind, body in _BODIES.items()
    ),
    *(
        Fault(f"302 {location}", (answer(302, b"", f"Location: {location}"),), PROTOCOL, 302)
        for location in _UNUSABLE_LOCATIONS
    ),
    *(Fault(name, (answer(500, body),), TEMPFAIL, 500) for name, body in _ODD_ERRORS.items()),
    Fault("302-without-location", (answer(302),), PROTOCOL, 302),
    Fault("204", (b"HTTP/1.1 204 No Content\r\n\r\n",), PROTOCOL, 204),
    Fault("204-with-body", (answer(204, _ERROR),), PROTOCOL, 204),
    Fault("304", (b"HTTP/1.1 304 Not Modified\r\n\r\n",), PROTOCOL, 304),
    Fault("early-hints", (head("Link: </a>", status=103), _FIN), PROTOCOL, 103),
    Fault("switching-protocols", (head("Upgrade: h2c", status=101), _FIN), PROTOCOL, 101),
]


def _faults(steps: dict[str, Step], code: int, http_status: int | None = None) -> list[Fault]:
    return [Fault(name, step, code, http_status) for name, step in steps.items()]


FAULTS = [
    *_faults(HARMLESS, OK),
    *_faults(BROKEN_CONNECTIONS, TEMPFAIL),
    *_faults(BROKEN_BODIES, TEMPFAIL, 200),
    *_faults(UNDOCUMENTED_BODIES, PROTOCOL, 200),
    *_faults(FOREIGN_LINKS, PROTOCOL),
    *STATUSES,
]
