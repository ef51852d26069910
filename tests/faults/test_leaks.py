"""No secret in any sink, in any form: whatever goes wrong, and even where the server sends back the very header that it was sent."""

from __future__ import annotations

import base64
import json
import logging
import traceback
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

import pytest

from connector.cli.commands import main
from tests.faults.book import FRESH_TOKEN, Book, answer, body_of, head, page, record
from tests.faults.conftest import TOKEN, TRIPLE
from tests.faults.server import Hang
from tests.faults.table import FAULTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.faults.conftest import Play, Run
    from tests.faults.server import Actions, FaultServer, Seen, Step

SECRETS = (TOKEN, FRESH_TOKEN, *TRIPLE.values())
BOTH = {"ALM_ACCESS_TOKEN": TOKEN, **TRIPLE}
BOOK = Book()
# A wait that would cross it is not begun: the command itself waits on the machine's own clock.
SOON = "0.15"


def forms(secret: str) -> set[str]:
    """Return *secret* as it may be written: raw, URL-encoded, JSON-escaped up to three times, in base64 at any alignment."""
    written = {
        secret,
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        repr(secret)[1:-1],
        repr(secret.encode())[2:-1],
    }
    once = json.dumps(secret)[1:-1]
    twice = json.dumps(once)[1:-1]
    written |= {once, twice, json.dumps(twice)[1:-1], once.replace("/", "\\/")}
    for shift in range(3):
        piece = base64.b64encode(b"x" * shift + secret.encode()).decode()[4:-4]
        written |= {piece, piece.replace("+", "-").replace("/", "_"), quote(piece, safe="")}
    return written


FORMS = {form.lower(): secret for secret in SECRETS for form in forms(secret)}


def leaks(text: str) -> set[str]:
    """Return the secrets that *text* holds, in any form."""
    lower = text.lower()
    return {secret for form, secret in FORMS.items() if form in lower}


class Records(logging.Handler):
    """Keeps what is logged by anything at all, as a handler of the user's own would write it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep message, arguments and traceback."""
        self.lines.append(f"{record.name} {self.format(record)} {record.args!r}")


@pytest.fixture
def records() -> Iterator[Records]:
    """Return what is logged at DEBUG, urllib3's and requests' own records among it."""
    handler, names = Records(), ("", "connector", "urllib3", "urllib3.connectionpool", "requests")
    before = {name: logging.getLogger(name).level for name in names}
    logging.getLogger().addHandler(handler)
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    yield handler
    logging.getLogger().removeHandler(handler)
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def told_by(error: BaseException | None) -> str:
    """Return *error* as a reporter of crashes would: its whole chain, with every frame's locals."""
    return (
        "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
        if error
        else ""
    )


def command(server: FaultServer, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run the command with ``--debug`` in this process and return all that it wrote, to files in *folder* too."""
    environ = {**BOTH, "ALM_BASE_URL": server.url, "ALM_USER_ID": "31", "ALM_DEADLINE": SOON}
    main(["--debug", "--include", "learningObject"], environ)
    written = capsys.readouterr()
    files = [
        path.read_text(encoding="utf-8", errors="replace")
        for path in folder.rglob("*")
        if path.is_file()
    ]
    return "\n".join([written.out, written.err, *files])


BY_NAME = [pytest.param(fault.step, id=fault.name) for fault in FAULTS]


@pytest.mark.parametrize("step", BY_NAME)
def test_faults__in_a_program_of_ones_own(
    step: Step, play: Play, run: Run, records: Records
) -> None:
    """Whatever fails, neither the log records nor the exception's chain, locals included, hold a secret."""
    server = play(BOOK.answer, otherwise=step)

    ran = run(server, environ=BOTH)

    assert len(server.requests) > 1
    assert leaks("\n".join(records.lines)) == set()
    assert leaks(told_by(ran.outcome.error)) == set()
    assert leaks(repr(ran)) == set()


@pytest.mark.parametrize("step", BY_NAME)
def test_faults__as_a_command(
    step: Step, play: Play, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever fails, neither stream of the command nor any file holds a secret."""
    assert leaks(command(play(otherwise=step), tmp_path, capsys)) == set()


HOW: dict[str, Callable[[str], str]] = {
    "raw": lambda text: text,
    "url-encoded": lambda text: quote(text, safe=""),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64-url": lambda text: base64.urlsafe_b64encode(b"xy" + text.encode()).decode(),
    "json-escaped": lambda text: json.dumps(text)[1:-1],
}
_PATH = "/primeapi/v2/users/31/enrollments"


def _answer(status: int, document: object, *headers: str) -> Actions:
    return (answer(status, body_of(document), *headers),)


def _with_record(enrollment_id: str = "course:1_11_31", **attributes: str) -> Actions:
    return _answer(200, {"data": [record(enrollment_id, **attributes)]})


# Where a server may put what it was sent.
WHERE: dict[str, Callable[[str], Actions]] = {
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
ECHOES = [
    pytest.param(where, how, id=f"{place}-{form}")
    for place, where in WHERE.items()
    for form, how in HOW.items()
]


def _echo(where: Callable[[str], Actions], how: Callable[[str], str]) -> Step:
    """Return the step that puts the request's own secrets *where*, written *how*."""

    def step(seen: Seen) -> Actions:
        return where(how(seen.headers.get("authorization") or seen.body.decode()))

    return step


@pytest.mark.parametrize(("where", "how"), ECHOES)
def test_echo__in_a_program_of_ones_own(
    where: Callable[[str], Actions],
    how: Callable[[str], str],
    play: Play,
    run: Run,
    records: Records,
) -> None:
    """What the server sends back of a request's secrets is in no log record and nowhere in an exception's chain."""
    server = play(otherwise=_echo(where, how))

    ran = run(server, environ={"ALM_ACCESS_TOKEN": TOKEN}, include="learningObject", deadline=120)

    assert leaks("\n".join(records.lines)) == set()
    assert leaks(told_by(ran.outcome.error)) == set()


@pytest.mark.parametrize(("where", "how"), ECHOES)
def test_echo__as_a_command(
    where: Callable[[str], Actions],
    how: Callable[[str], str],
    play: Play,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What the server sends back of a request's secrets is in neither stream of the command, nor in a file."""
    assert leaks(command(play(otherwise=_echo(where, how)), tmp_path, capsys)) == set()


@pytest.mark.parametrize(("where", "how"), ECHOES)
def test_echo__is_not_sent_on(
    where: Callable[[str], Actions], how: Callable[[str], str], play: Play, run: Run
) -> None:
    """What the server sends back of a secret goes out again in no address: addresses are written to logs on the way."""
    server = play(otherwise=_echo(where, how))

    run(server, environ={"ALM_ACCESS_TOKEN": TOKEN}, deadline=120)

    assert leaks("\n".join(seen.target for seen in server.requests)) == set()


REFRESHES: dict[str, Callable[[str], Actions]] = {
    "refusal": lambda sent: _answer(400, {"message": sent}),
    "refusal-html": lambda sent: (answer(400, sent.encode()),),
    "failure": lambda sent: _answer(500, {"message": sent}, f"X-Request-Id: {sent[:200]}"),
    "no-token": lambda sent: _answer(200, {"sent": sent}),
    "token-not-to-be-sent": lambda _: _answer(200, {"access_token": f"{FRESH_TOKEN} "}),
    "token-in-a-list": lambda _: _answer(200, [{"access_token": FRESH_TOKEN}]),
    "token-in-a-refusal": lambda _: _answer(400, {"access_token": FRESH_TOKEN}),
    "token-cut": lambda _: (answer(200, body_of({"access_token": FRESH_TOKEN}))[:-1], Hang.FIN),
    "token-in-html": lambda _: (answer(200, f"<html>{FRESH_TOKEN}</html>".encode()),),
    "same-token": lambda _: _answer(200, {"access_token": TOKEN}),
    "reset": lambda _: (Hang.RESET,),
    "garbage": lambda sent: (sent.encode(), Hang.FIN),
}


@pytest.mark.parametrize(
    "where", [pytest.param(where, id=name) for name, where in REFRESHES.items()]
)
@pytest.mark.parametrize("how", [pytest.param(how, id=name) for name, how in HOW.items()])
def test_refresh__in_a_program_of_ones_own(
    where: Callable[[str], Actions],
    how: Callable[[str], str],
    play: Play,
    run: Run,
    records: Records,
) -> None:
    """A refresh that fails shows nothing of what was sent, nor of a token that came and could not be used."""
    server = play(
        otherwise=lambda seen: (
            where(how(seen.body.decode())) if seen.method == "POST" else (answer(401),)
        )
    )

    ran = run(server, environ=BOTH)

    assert leaks("\n".join(records.lines)) == set()
    assert leaks(told_by(ran.outcome.error)) == set()


@pytest.mark.parametrize(
    "where", [pytest.param(where, id=name) for name, where in REFRESHES.items()]
)
@pytest.mark.parametrize("how", [pytest.param(how, id=name) for name, how in HOW.items()])
def test_refresh__as_a_command(
    where: Callable[[str], Actions],
    how: Callable[[str], str],
    play: Play,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The same, as a command."""
    server = play(
        otherwise=lambda seen: (
            where(how(seen.body.decode())) if seen.method == "POST" else (answer(401),)
        )
    )

    assert leaks(command(server, tmp_path, capsys)) == set()


@pytest.mark.parametrize("where", [pytest.param(where, id=place) for place, where in WHERE.items()])
@pytest.mark.parametrize(
    "how", [pytest.param(HOW[form], id=form) for form in ("raw", "base64-url")]
)
def test_refreshed_token__as_a_command(
    where: Callable[[str], Actions],
    how: Callable[[str], str],
    play: Play,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A token that the run itself was given is as secret as the one that it began with."""
    server = play((answer(401),), BOOK.answer, otherwise=_echo(where, how))

    written = command(server, tmp_path, capsys)

    assert [seen.headers.get("authorization") for seen in server.requests][
        2
    ] == f"oauth {FRESH_TOKEN}"
    assert leaks(written) == set()


def test_leaks__are_found() -> None:
    """The search itself finds every form, in the middle of other text."""
    written = [how(f"oauth {secret}") for secret in SECRETS for how in HOW.values()]

    assert [text for text in written if not leaks(f"…{text}…")] == []
