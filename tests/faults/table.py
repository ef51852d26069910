"""Every fault by its name: what the server does in place of a page, and the exit code of a run in which it stays so."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import TYPE_CHECKING, NamedTuple

from tests.faults.book import Book, answer, body_of, chunked, head, page
from tests.faults.server import Hang

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.server import Actions, Seen, Step

OK, USAGE, NOUSER, UNAVAILABLE, TEMPFAIL, PROTOCOL, NOPERM = 0, 64, 67, 69, 75, 76, 77
_BOOK = Book()
_HTML = b"<!DOCTYPE html><html><head><title>502</title></head><body>Bad Gateway</body></html>"
_JSON_API = body_of({"status": "400", "title": "BAD_REQUEST", "source": {"info": "no such thing"}})


class Fault(NamedTuple):
    """A misdeed with its *name*; *ends* is the exit code where it stays so, 0 where the answer is as good as any."""

    name: str
    step: Step
    ends: int
    http_status: int | None = None

    @property
    def again(self) -> bool:
        """Whether the request is sent again."""
        return self.ends == TEMPFAIL


def _with(build: Callable[[bytes], bytes], *after: Hang) -> Step:
    """Return the step that sends what *build* makes of the page's proper body."""

    def step(seen: Seen) -> Actions:
        return (build(_BOOK.body(seen)), *after)

    return step


def _gzipped(change: Callable[[bytes], bytes]) -> Step:
    return _with(lambda body: answer(200, change(gzip.compress(body)), "Content-Encoding: gzip"))


def _zlib_raw(body: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflate.compress(body) + deflate.flush()


def _longer(body: bytes) -> bytes:
    return head(f"Content-Length: {len(body) + 5}") + body


def _gzip_twice(body: bytes) -> bytes:
    half = len(body) // 2
    return answer(
        200, gzip.compress(body[:half]) + gzip.compress(body[half:]), "Content-Encoding: gzip"
    )


CONNECTION = [
    Fault("reset-after-request", (Hang.RESET,), TEMPFAIL),
    Fault("fin-without-answer", (Hang.FIN,), TEMPFAIL),
    Fault("reset-in-status-line", (b"HTTP/1.1 20", Hang.RESET), TEMPFAIL),
    Fault("fin-in-status-line", (b"HTTP/1.1 20", Hang.FIN), TEMPFAIL),
    Fault("reset-in-headers", (b"HTTP/1.1 200 OK\r\nContent-Le", Hang.RESET), TEMPFAIL),
    Fault("fin-in-headers", (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n", Hang.FIN), TEMPFAIL),
    Fault("reset-in-body", _with(lambda body: answer(200, body)[:-9], Hang.RESET), TEMPFAIL),
    Fault("fin-in-body", _with(lambda body: answer(200, body)[:-9], Hang.FIN), TEMPFAIL),
    Fault("fin-before-body", (head("Content-Length: 99"), Hang.FIN), TEMPFAIL),
    Fault(
        "fin-in-body-without-length",
        _with(lambda body: head("Connection: close") + body[:-9], Hang.FIN),
        TEMPFAIL,
    ),
    Fault(
        "body-ends-with-the-connection",
        _with(lambda body: head("Connection: close") + body, Hang.FIN),
        OK,
    ),
    Fault("content-length-too-long", _with(_longer, Hang.FIN), TEMPFAIL),
    Fault(
        "content-length-too-short",
        _with(lambda body: head(f"Content-Length: {len(body) - 5}") + body),
        TEMPFAIL,
    ),
    Fault(
        "content-length-twice",
        _with(
            lambda body: head("Content-Length: 3", f"Content-Length: {len(body)}") + body, Hang.FIN
        ),
        TEMPFAIL,
    ),
    Fault(
        "content-length-no-number",
        _with(lambda body: head("Content-Length: many") + body, Hang.FIN),
        OK,
    ),
    Fault(
        "content-length-negative",
        _with(lambda body: head("Content-Length: -5") + body, Hang.FIN),
        OK,
    ),
    Fault("chunked", _with(chunked), OK),
    Fault("chunked-with-length", _with(lambda body: chunked(body, "Content-Length: 5")), OK),
    Fault(
        "chunked-with-trailers", _with(lambda body: chunked(body)[:-2] + b"X-Sum: 1\r\n\r\n"), OK
    ),
    Fault("chunked-cut", _with(lambda body: chunked(body)[:-20], Hang.FIN), TEMPFAIL),
    Fault(
        "chunked-cut-between-chunks",
        _with(lambda body: chunked(body)[: -len(body) // 2 - 12], Hang.FIN),
        TEMPFAIL,
    ),
    Fault("chunked-reset", _with(lambda body: chunked(body)[:-20], Hang.RESET), TEMPFAIL),
    Fault(
        "chunk-size-no-number",
        (head("Transfer-Encoding: chunked") + b"ten\r\n0123456789\r\n0\r\n\r\n", Hang.FIN),
        TEMPFAIL,
    ),
    Fault(
        "chunk-size-negative",
        (head("Transfer-Encoding: chunked") + b"-5\r\n01234\r\n0\r\n\r\n", Hang.FIN),
        TEMPFAIL,
    ),
    Fault(
        "chunk-size-too-large",
        (head("Transfer-Encoding: chunked") + b"ffffffffff\r\n01234\r\n0\r\n\r\n", Hang.FIN),
        TEMPFAIL,
    ),
    Fault(
        "chunk-size-empty",
        (head("Transfer-Encoding: chunked") + b"\r\n01234\r\n0\r\n\r\n", Hang.FIN),
        TEMPFAIL,
    ),
    Fault("chunked-without-end", _with(lambda body: chunked(body)[:-5], Hang.FIN), TEMPFAIL),
    Fault(
        "chunked-in-name-only",
        _with(lambda body: head("Transfer-Encoding: chunked") + body, Hang.FIN),
        TEMPFAIL,
    ),
]

CODING = [
    Fault("gzip", _gzipped(bytes), OK),
    Fault("gzip-in-two-members", _with(_gzip_twice), OK),
    Fault("gzip-with-garbage-behind", _gzipped(lambda packed: packed + b"\0garbage"), OK),
    Fault(
        "gzip-chunked",
        _with(lambda body: chunked(gzip.compress(body), "Content-Encoding: gzip")),
        OK,
    ),
    Fault(
        "gzip-is-none", (answer(200, b"certainly not gzip", "Content-Encoding: gzip"),), TEMPFAIL
    ),
    Fault(
        "gzip-named-but-identity",
        _with(lambda body: answer(200, body, "Content-Encoding: gzip")),
        TEMPFAIL,
    ),
    Fault("gzip-truncated", _gzipped(lambda packed: packed[: len(packed) // 2]), TEMPFAIL),
    Fault("gzip-head-alone", _gzipped(lambda packed: packed[:10]), TEMPFAIL),
    Fault(
        "gzip-bad-crc", _gzipped(lambda packed: packed[:-8] + b"\0\0\0\0" + packed[-4:]), TEMPFAIL
    ),
    Fault(
        "gzip-bad-middle",
        _gzipped(lambda packed: packed[:40] + b"\xff\xff\xff\xff" + packed[44:]),
        TEMPFAIL,
    ),
    Fault("gzip-not-named", _with(lambda body: answer(200, gzip.compress(body))), TEMPFAIL),
    Fault(
        "deflate",
        _with(lambda body: answer(200, zlib.compress(body), "Content-Encoding: deflate")),
        OK,
    ),
    Fault(
        "deflate-raw",
        _with(lambda body: answer(200, _zlib_raw(body), "Content-Encoding: deflate")),
        OK,
    ),
    Fault(
        "deflate-is-none",
        (answer(200, b"\xff\xff\xff\xff\xff", "Content-Encoding: deflate"),),
        TEMPFAIL,
    ),
    Fault(
        "coding-unknown",
        (answer(200, b"\x8b\x02\x80garbled\x03", "Content-Encoding: xz-rot13"),),
        TEMPFAIL,
    ),
]


BODY = [
    Fault("html-200", (answer(200, _HTML, "Content-Type: text/html"),), TEMPFAIL, 200),
    Fault("empty-200", (answer(200),), TEMPFAIL, 200),
    Fault("blank-200", (answer(200, b" \r\n\t"),), TEMPFAIL, 200),
    Fault("text-200", (answer(200, b"OK"),), TEMPFAIL, 200),
    Fault("json-cut", _with(lambda body: answer(200, body[:-1])), TEMPFAIL, 200),
    Fault("json-and-more", _with(lambda body: answer(200, body + b"{}")), TEMPFAIL, 200),
    Fault("json-null", (answer(200, b"null"),), PROTOCOL, 200),
    Fault("json-number", (answer(200, b"1"),), PROTOCOL, 200),
    Fault("json-text", (answer(200, b'"data"'),), PROTOCOL, 200),
    Fault("json-list", (answer(200, b"[]"),), PROTOCOL, 200),
    Fault("json-empty-object", (answer(200, b"{}"),), PROTOCOL, 200),
    Fault("json-data-null", (answer(200, b'{"data":null}'),), PROTOCOL, 200),
    Fault("json-data-object", (answer(200, b'{"data":{}}'),), PROTOCOL, 200),
    Fault("json-error-as-200", (answer(200, b'{"errors":[{"status":"500"}]}'),), PROTOCOL, 200),
    Fault(
        "json-nan",
        _with(lambda body: answer(200, body.replace(b'"ENROLLED"', b"NaN", 1))),
        TEMPFAIL,
        200,
    ),
    Fault(
        "json-infinity",
        _with(lambda body: answer(200, body.replace(b'"ENROLLED"', b"-Infinity", 1))),
        TEMPFAIL,
        200,
    ),
    Fault("byte-order-mark", _with(lambda body: answer(200, b"\xef\xbb\xbf" + body)), OK),
    Fault("utf-16", _with(lambda body: answer(200, body.decode().encode("utf-16"))), OK),
    Fault(
        "utf-8-invalid",
        _with(lambda body: answer(200, body.replace(b"ENROLLED", b"\xff\xfe\xfd", 1))),
        TEMPFAIL,
        200,
    ),
    Fault("next-empty", (answer(200, b'{"data":[],"links":{"next":""}}'),), PROTOCOL, 200),
    Fault("next-number", (answer(200, b'{"data":[],"links":{"next":7}}'),), PROTOCOL, 200),
    Fault(
        "next-foreign-host",
        (
            answer(
                200, body_of(page((), "https://evil.example/primeapi/v2/users/31/enrollments?a=b"))
            ),
        ),
        PROTOCOL,
    ),
    Fault(
        "next-foreign-user",
        (answer(200, body_of(page((), "/primeapi/v2/users/32/enrollments?a=b"))),),
        PROTOCOL,
    ),
    Fault(
        "next-other-path",
        (answer(200, body_of(page((), "/primeapi/v2/users?page[cursor]=1"))),),
        PROTOCOL,
    ),
    Fault(
        "next-parent-path",
        (answer(200, body_of(page((), "../../users/32/enrollments"))),),
        PROTOCOL,
    ),
    Fault(
        "next-no-scheme",
        (answer(200, body_of(page((), "//evil.example/primeapi/v2/users/31/enrollments"))),),
        PROTOCOL,
    ),
    Fault(
        "next-no-url",
        (answer(200, body_of(page((), "http://[/primeapi/v2/users/31/enrollments"))),),
        PROTOCOL,
    ),
    Fault("next-script", (answer(200, body_of(page((), "javascript:alert(1)"))),), PROTOCOL),
    Fault(
        "next-too-long",
        (answer(200, body_of(page((), "/primeapi/v2/users/31/enrollments?a=" + "b" * 20_000))),),
        PROTOCOL,
    ),
    Fault("wrong-user", (answer(200, body_of(page(["course:1_11_99"]))),), PROTOCOL, 200),
    Fault(
        "id-against-relationship",
        (answer(200, body_of(page(["course:1_11_31"])).replace(b'"course:1"', b'"course:9"')),),
        PROTOCOL,
        200,
    ),
]

FRAMING = [
    Fault(
        "100-continue-first",
        _with(lambda body: b"HTTP/1.1 100 Continue\r\n\r\n" + answer(200, body)),
        OK,
    ),
    Fault(
        "100-continue-thrice",
        _with(lambda body: b"HTTP/1.1 100 Continue\r\nX-A: b\r\n\r\n" * 3 + answer(200, body)),
        OK,
    ),
    Fault(
        "http-1.0-close",
        _with(lambda body: answer(200, body).replace(b"HTTP/1.1", b"HTTP/1.0", 1), Hang.FIN),
        OK,
    ),
    Fault(
        "http-1.0-keep-alive",
        _with(
            lambda body: answer(200, body, "Connection: keep-alive").replace(
                b"HTTP/1.1", b"HTTP/1.0", 1
            )
        ),
        OK,
    ),
    Fault("http-0.9", _with(bytes, Hang.FIN), TEMPFAIL),
    Fault(
        "http-2", _with(lambda body: answer(200, body).replace(b"HTTP/1.1", b"HTTP/2", 1)), TEMPFAIL
    ),
    Fault(
        "status-line-garbage",
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", Hang.FIN),
        TEMPFAIL,
    ),
    Fault("status-line-empty", (b"\r\n\r\n", Hang.FIN), TEMPFAIL),
    Fault("status-line-of-ftp", (b"220 ready\r\n", Hang.FIN), TEMPFAIL),
    Fault("status-no-number", (b"HTTP/1.1 OK 200\r\n\r\n", Hang.FIN), TEMPFAIL),
    Fault("status-two-digits", (b"HTTP/1.1 20 OK\r\n\r\n", Hang.FIN), TEMPFAIL),
    Fault(
        "status-without-reason",
        _with(lambda body: answer(200, body).replace(b"200 Some", b"200", 1)),
        OK,
    ),
    Fault(
        "bare-line-feeds",
        _with(lambda body: head(f"Content-Length: {len(body)}").replace(b"\r", b"") + body),
        OK,
    ),
    Fault("header-without-colon", _with(lambda body: answer(200, body, "no colon in here")), OK),
    Fault(
        "header-in-latin-1", _with(lambda body: answer(200, body, "X-Request-Id: \xe9\xff\x80")), OK
    ),
    Fault("header-folded", _with(lambda body: answer(200, body, "X-Long: one\r\n two")), OK),
    Fault(
        "cookie",
        _with(lambda body: answer(200, body, "Set-Cookie: a=b; Path=/; Expires=never")),
        OK,
    ),
]

_ENDS = {
    **dict.fromkeys((201, 202, 203, 205, 206, 226), PROTOCOL),
    **dict.fromkeys((300, 305, 306), PROTOCOL),
    **dict.fromkeys((301, 302, 303, 307, 308), PROTOCOL),
    **dict.fromkeys(
        (
            402,
            405,
            406,
            409,
            410,
            411,
            412,
            413,
            414,
            415,
            416,
            417,
            418,
            421,
            422,
            425,
            426,
            428,
            431,
            451,
            499,
        ),
        PROTOCOL,
    ),
    400: USAGE,
    401: NOPERM,
    403: NOPERM,
    404: NOUSER,
    407: UNAVAILABLE,
    408: TEMPFAIL,
    **dict.fromkeys(
        (500, 501, 502, 503, 504, 505, 507, 508, 511, 520, 521, 522, 523, 524, 525, 529, 530, 599),
        TEMPFAIL,
    ),
}
_BODIES = {"json": _JSON_API, "html": _HTML, "nothing": b"", "message": b'{"message":"so it is"}'}
STATUSES = [
    *(
        Fault(
            f"{status}-{kind}",
            (answer(status, body, "Location: /elsewhere" if status // 100 == 3 else "X-A: b"),),
            ends,
            status,
        )
        for status, ends in _ENDS.items()
        for kind, body in _BODIES.items()
        if kind == "json" or status in (400, 401, 403, 404, 500, 503)
    ),
    Fault("204", (b"HTTP/1.1 204 No Content\r\n\r\n",), PROTOCOL, 204),
    Fault("204-with-body", (answer(204, _JSON_API),), PROTOCOL, 204),
    Fault("304", (b"HTTP/1.1 304 Not Modified\r\n\r\n",), PROTOCOL, 304),
    Fault("302-without-location", (answer(302),), PROTOCOL, 302),
    Fault(
        "302-to-another-host", (answer(302, b"", "Location: https://evil.example/"),), PROTOCOL, 302
    ),
    Fault("302-to-itself", (answer(302, b"", "Location: ?"),), PROTOCOL, 302),
    Fault("302-to-no-url", (answer(302, b"", "Location: http://[::1"),), PROTOCOL, 302),
    Fault("302-to-no-port", (answer(302, b"", "Location: http://127.0.0.1:port/"),), PROTOCOL, 302),
    Fault("302-in-latin-1", (answer(302, b"", "Location: /caf\xe9"),), PROTOCOL, 302),
    Fault(
        "302-cut", (head("Content-Length: 99").replace(b"200", b"302") + b"cut", Hang.FIN), TEMPFAIL
    ),
    Fault("503-with-retry-after-garbage", (answer(503, b"", "Retry-After: soon"),), TEMPFAIL, 503),
    Fault("error-list-empty", (answer(500, b'{"errors":[]}'),), TEMPFAIL, 500),
    Fault("error-deep", (answer(500, b'{"errors":' + b"[" * 100_000),), TEMPFAIL, 500),
    Fault(
        "error-of-odd-types",
        (answer(500, json.dumps({"title": 1, "source": [], "message": {}}).encode()),),
        TEMPFAIL,
        500,
    ),
    Fault(
        "error-with-controls",
        (answer(500, body_of({"message": "\x1b[2J\r\n::error::##vso[x]\u2028"})),),
        TEMPFAIL,
        500,
    ),
    Fault("error-half-a-surrogate", (answer(500, b'{"message":"\\ud800"}'),), TEMPFAIL, 500),
    Fault(
        "early-hints", (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", Hang.FIN), PROTOCOL, 103
    ),
    Fault(
        "switching-protocols",
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n", Hang.FIN),
        PROTOCOL,
        101,
    ),
]

FAULTS = [*CONNECTION, *CODING, *BODY, *FRAMING, *STATUSES]
