"""No secret in any output: whatever fails, even if the server sends the credentials back."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.faults.conftest import BOTH, run
from tests.support.pages import FRESH_TOKEN, answer, body_of, head, page, record
from tests.support.secrets import SECRETS, TOKEN, TRIPLE, leaks, logged, traceback_of
from tests.support.server import FaultServer, Hang, actions_of, healthy

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.conftest import Play
    from tests.support.process import Command
    from tests.support.server import Actions, Request, Step

    Echo = Callable[[str], Actions]

# A wait that would cross the deadline is not begun: the command waits on the system's clock.
DEADLINE = "0.15"
ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "URL-encoded": lambda text: quote(text, safe=""),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64-url": lambda text: base64.urlsafe_b64encode(b"xy" + text.encode()).decode(),
    "JSON-escaped": lambda text: json.dumps(text)[1:-1],
}
_PATH = "/primeapi/v2/users/31/enrollments"


def _answer(status: int, document: object, *headers: str) -> Actions:
    return (answer(status, body_of(document), *headers),)


def _with_record(enrollment_id: str = "course:1_11_31", **attributes: str) -> Actions:
    return _answer(200, {"data": [record(enrollment_id, **attributes)]})


# Where a server may put the credential that it was sent.
ECHOES: dict[str, Echo] = {
    "error-info": lambda sent: _answer(
        403, {"status": "403", "title": "FORBIDDEN", "source": {"info": sent}}
    ),
    "error-message": lambda sent: _answer(400, {"message": f"no such header: {sent}"}),
    "error-behind-the-cut": lambda sent: _answer(400, {"message": "a" * 190 + sent}),
    "error-at-the-cut": lambda sent: _answer(400, {"message": "a" * (200 - len(sent) // 2) + sent}),
    "error-list": lambda sent: _answer(500, {"errors": [{"detail": sent}]}),
    "error-html": lambda sent: (answer(502, f"<html>{sent}</html>".encode()),),
    "refusal": lambda sent: _answer(401, {"message": sent}),
    "quota": lambda sent: _answer(429, {"message": sent}, "Retry-After: 500"),
    "redirect": lambda sent: (answer(302, b"", f"Location: https://evil.example/{sent}"),),
    "redirect-no-url": lambda sent: (answer(302, b"", f"Location: http://[{sent}"),),
    "request-id": lambda sent: (answer(500, b"", f"X-Request-Id: {sent}"),),
    "request-id-of-a-page": lambda sent: (answer(200, b'{"data":[]}', f"X-Request-Id: {sent}"),),
    "request-id-long": lambda sent: (answer(500, b"", f"X-Request-Id: {'a' * 180} {sent}"),),
    "retry-after": lambda sent: (answer(503, b"", f"Retry-After: {sent}"),),
    "retry-after-quota": lambda sent: (answer(429, b"", f"Retry-After: {sent}"),),
    "rate-limit": lambda sent: (
        answer(200, b'{"data":[]}', f"X-Rate-Limit: {sent}", f"X-Burst: {sent}"),
    ),
    "reason": lambda sent: (answer(500, reason=sent),),
    "cookie": lambda sent: (answer(500, b"", f"Set-Cookie: a={sent}"),),
    "header-name": lambda sent: (answer(500, b"", f"{sent}: a"),),
    "header-without-colon": lambda sent: (answer(500, b"", f"{sent}"),),
    "content-length": lambda sent: (head(f"Content-Length: 5, {sent}"), Hang.FIN),
    "content-type": lambda sent: (answer(200, b"<html>", f"Content-Type: {sent}"),),
    "content-encoding": lambda sent: (answer(200, b"<html>", f"Content-Encoding: {sent}"),),
    "transfer-encoding": lambda sent: (head(f"Transfer-Encoding: {sent}"), Hang.FIN),
    "chunk-size": lambda sent: (
        head("Transfer-Encoding: chunked") + f"{sent}\r\n".encode(),
        Hang.FIN,
    ),
    "status-line": lambda sent: (f"{sent}\r\n\r\n".encode(), Hang.FIN),
    "status": lambda sent: (f"HTTP/1.1 {sent}\r\n\r\n".encode(), Hang.FIN),
    "version": lambda sent: (f"HTTP/{sent.replace(' ', '')} 200 OK\r\n\r\n".encode(), Hang.FIN),
    "gzip-none": lambda sent: (answer(200, sent.encode(), "Content-Encoding: gzip"),),
    "body-cut": lambda sent: (answer(200, b'{"data":["' + sent.encode())[:-1], Hang.FIN),
    "html-200": lambda sent: (answer(200, f"<html>{sent}".encode()),),
    "json-text": lambda sent: _answer(200, sent),
    "next-host": lambda sent: _answer(200, page((), f"https://evil.example/{sent}")),
    "next-user-info": lambda sent: _answer(200, page((), f"https://{sent}@evil.example/")),
    "next-path": lambda sent: _answer(200, page((), f"/primeapi/v2/{sent}/enrollments")),
    "next-query": lambda sent: _answer(200, page((), f"{_PATH}?a={quote(sent, safe='')}")),
    "next-cursor": lambda sent: _answer(
        200, page((), f"{_PATH}?page[cursor]={quote(sent, safe='')}")
    ),
    "next-cursor-raw": lambda sent: _answer(200, page((), f"{_PATH}?page[cursor]={sent}")),
    "next-too-long": lambda sent: _answer(
        200, page((), f"{_PATH}?a={'b' * 150}{sent}{'c' * 20_000}")
    ),
    "next-of-another-type": lambda sent: _answer(200, {"data": [], "links": {"next": [sent]}}),
    "attribute": lambda sent: _with_record(state=sent, url=sent),
    "attribute-of-another-type": lambda sent: _answer(
        200, {"data": [record("course:1_11_31", state=[sent])]}
    ),
    "id": lambda sent: _answer(
        200, {"data": [{"id": sent, "type": "learningObjectInstanceEnrollment"}]}
    ),
    "id-twice": lambda sent: _answer(
        200, {"data": [{"id": sent, "type": "learningObjectInstanceEnrollment"}] * 2}
    ),
    "id-of-another-type": lambda sent: _answer(
        200, {"data": [{"id": {sent: sent}, "type": "learningObjectInstanceEnrollment"}]}
    ),
    "type": lambda sent: _answer(200, {"data": [{"id": "course:1_11_31", "type": sent}]}),
    "relationship": lambda sent: _answer(
        200,
        {
            "data": [
                {
                    **record("course:1_11_31"),
                    "relationships": {"learner": {"data": {"id": sent, "type": "user"}}},
                }
            ]
        },
    ),
    "included": lambda sent: _answer(
        200,
        {
            "data": [record("course:1_11_31")],
            "included": [{"id": "course:1", "type": "learningObject", "attributes": {sent: sent}}],
        },
    ),
}


def echoing(echo: Echo, encoding: str) -> Step:
    """Return the step that sends the credentials of a request back in *encoding*."""

    def step(request: Request) -> Actions:
        sent = request.headers.get("authorization") or request.body.decode()
        return echo(ENCODINGS[encoding](sent))

    return step


def written_by_run(server: FaultServer, credentials: dict[str, str]) -> str:
    """Return everything that a run in a Python program logs, raises and requests."""
    with logged() as records:
        ran = run(server, credentials, include="learningObject", deadline=120)
    targets = [request.target for request in server.requests]
    return "\n".join([*records, traceback_of(ran.outcome.error), *targets])


def written_by_command(server: FaultServer, command: Command) -> str:
    """Return everything that the command writes with ``--debug``: both streams and all files."""
    variables = {"ALM_BASE_URL": server.url, "ALM_DEADLINE": DEADLINE, "ALM_ACCESS_TOKEN": TOKEN}
    line = "--debug --user-id 31 --include learningObject"
    finished = command(line, **variables, **TRIPLE)
    return "\n".join([finished.stdout, finished.stderr, *command.files().values()])


@pytest.mark.parametrize("encoding", ["plain", "base64-url"])
@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
def test_echo__is_in_no_output(echo: Echo, encoding: str, play: Play, command: Command) -> None:
    """No log record, traceback, request, stream or file holds credentials that a server returns."""
    server = play(otherwise=echoing(echo, encoding))

    written = [written_by_run(server, {"access_token": TOKEN}), written_by_command(server, command)]

    assert server.requests != []
    assert [leaks(text) for text in written] == [[], []]


REFRESHES: dict[str, Echo] = {
    "refusal": lambda sent: _answer(400, {"message": sent}),
    "refusal-html": lambda sent: (answer(400, sent.encode()),),
    "failure": lambda sent: _answer(500, {"message": sent}, f"X-Request-Id: {sent[:200]}"),
    "no-token": lambda sent: _answer(200, {"sent": sent}),
    "token-not-sendable": lambda _: _answer(200, {"access_token": f"{FRESH_TOKEN} "}),
    "token-in-a-list": lambda _: _answer(200, [{"access_token": FRESH_TOKEN}]),
    "token-in-a-refusal": lambda _: _answer(400, {"access_token": FRESH_TOKEN}),
    "token-cut": lambda _: (answer(200, body_of({"access_token": FRESH_TOKEN}))[:-1], Hang.FIN),
    "token-in-html": lambda _: (answer(200, f"<html>{FRESH_TOKEN}</html>".encode()),),
    "same-token": lambda _: _answer(200, {"access_token": TOKEN}),
    "reset": lambda _: (Hang.RESET,),
    "garbage": lambda sent: (sent.encode(), Hang.FIN),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("echo", REFRESHES.values(), ids=REFRESHES)
def test_refresh__that_fails_is_in_no_output(
    echo: Echo, encoding: str, play: Play, command: Command
) -> None:
    """No output holds what a failed refresh sent, or a token that came back and is unusable."""
    refresh = echoing(echo, encoding)
    server = play(
        otherwise=lambda request: (
            actions_of(refresh, request) if request.method == "POST" else (answer(401),)
        )
    )

    written = [written_by_run(server, BOTH), written_by_command(server, command)]

    assert [leaks(text) for text in written] == [[], []]


@pytest.mark.parametrize("name", ["error-message", "attribute", "next-path", "request-id"])
def test_refreshed_token__is_in_no_output(name: str, play: Play, command: Command) -> None:
    """A token that the run receives is as secret as the one that it started with."""
    server = play((answer(401),), healthy, otherwise=echoing(ECHOES[name], "plain"))

    written = written_by_command(server, command)

    assert server.requests[2].headers["authorization"] == f"oauth {FRESH_TOKEN}"
    assert leaks(written) == []


def test_leaks__are_found() -> None:
    """The search finds every secret in every encoding, in the middle of other text."""
    texts = [encode(f"oauth {secret}") for secret in SECRETS for encode in ENCODINGS.values()]

    assert [text for text in texts if not leaks(f"…{text}…")] == []
