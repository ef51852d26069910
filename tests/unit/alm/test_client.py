"""One request to one page, on a clock that jumps: headers, limits, refresh, repeats, and what it never does."""

from __future__ import annotations

import gzip
import io
from email.message import Message
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse

from connector import __version__
from connector.alm.auth import TokenSource
from connector.alm.client import MAX_BODY_BYTES, Client
from connector.alm.protocol import Page, Query, first_request
from connector.alm.rate_limit import Quota, RateLimiter
from connector.clock import Deadline
from connector.errors import (
    AuthenticationError,
    ConnectorError,
    ProtocolError,
    TemporaryError,
    UntrustedHostError,
    error_as_dict,
)
from connector.redact import Redactor
from connector.settings import Credentials

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import requests

    from connector.clock import Clock

    Step = tuple[int, dict[str, str], bytes]
    OpenClient = Callable[..., Client]
    Sent = list[requests.PreparedRequest]

FIRST = first_request("https://alm.example", "5", Query(("course",), "dateEnrolled", None, (), 10))
ADDRESS = "https://alm.example/primeapi/v2/users/5/enrollments?page%5Blimit%5D=10&filter.loTypes=course&sort=dateEnrolled"
EMPTY: Step = (200, {"x-request-id": "trace"}, b'{"data":[]}')
PAGE = Page("5", None, [], [], None, "trace")
FORM = "client_id=an-id&client_secret=a+client%2Fsecret&refresh_token=a%2Brefresh%26token"
TRIPLE = Credentials(
    None, SecretStr("an-id"), SecretStr("a client/secret"), SecretStr("a+refresh&token")
)
ALL_FOUR = Credentials(
    SecretStr("stale-token"), TRIPLE.client_id, TRIPLE.client_secret, TRIPLE.refresh_token
)
UNAUTHORIZED: Step = (401, {"x-request-id": "refused"}, b'{"status":"401","title":"UNAUTHORIZED"}')
REFRESHED: Step = (200, {}, b'{"access_token":"fresh-token"}')
TOO_MANY: Step = (429, {"retry-after": "10.752"}, b'{"message":"429 Too many requests"}')
BUSY: Step = (503, {}, b"<html>")


def authorizations(sent: Sent) -> list[tuple[str | None, str | None]]:
    """Return method and Authorization of each request."""
    return [(request.method, request.headers.get("Authorization")) for request in sent]


def test_fetch__page(open_client: OpenClient, sent: Sent) -> None:
    """One request, one page; the address is the one that was asked for."""
    client = open_client(EMPTY)

    page = client.fetch(FIRST)

    assert page == PAGE
    assert [(request.method, request.url, request.body) for request in sent] == [
        ("GET", ADDRESS, None)
    ]
    assert client.requests == 1


def test_fetch__headers(open_client: OpenClient, sent: Sent) -> None:
    """These four headers leave, and no other."""
    open_client(EMPTY).fetch(FIRST)

    assert dict(sent[0].headers) == {
        "Accept": "application/vnd.api+json",
        "Accept-Encoding": "gzip",
        "Authorization": "oauth the-token",
        "User-Agent": f"alm-enrollments/{__version__}",
    }


def test_fetch__headers_of_refresh(open_client: OpenClient, sent: Sent) -> None:
    """A refresh carries its secrets in the form's body, never in the address, and no token."""
    open_client(REFRESHED, EMPTY, credentials=TRIPLE).fetch(FIRST)

    assert (sent[0].method, sent[0].url, sent[0].body) == (
        "POST",
        "https://alm.example/oauth/token/refresh",
        FORM,
    )
    assert dict(sent[0].headers) == {
        "Accept": "application/vnd.api+json",
        "Accept-Encoding": "gzip",
        "Content-Length": str(len(FORM)),
        "Content-Type": "application/x-www-form-urlencoded",
        "User-Agent": f"alm-enrollments/{__version__}",
    }


def test_fetch__netrc(
    open_client: OpenClient, sent: Sent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credentials in a .netrc never replace the token, nor join a refresh."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine alm.example login someone password else\n")
    netrc.chmod(0o600)
    # requests is told the file's place by the environment alone.
    monkeypatch.setenv("NETRC", str(netrc))

    open_client(REFRESHED, EMPTY, credentials=TRIPLE).fetch(FIRST)

    assert authorizations(sent) == [("POST", None), ("GET", "oauth fresh-token")]


class CookieAdapter(HTTPAdapter):
    """Answers with a cookie each time, as a proxy does that watches sessions."""

    def __init__(self, sent: Sent) -> None:
        super().__init__()
        self._sent = sent

    def send(
        self, request: requests.PreparedRequest, *_args: object, **_kwargs: object
    ) -> requests.Response:
        """Return an empty page and a cookie."""
        self._sent.append(request)
        raw = HTTPResponse(body=io.BytesIO(b'{"data":[]}'), status=200, preload_content=False)
        # Where requests looks for an answer's cookies.
        vars(raw)["_original_response"] = _WithCookie()
        return self.build_response(request, raw)


class _WithCookie:
    """What http.client leaves of an answer with a cookie."""

    def __init__(self) -> None:
        self.msg = Message()
        self.msg["Set-Cookie"] = "session=x; Path=/"

    def isclosed(self) -> bool:
        """Return that there is nothing more to come."""
        return True

    def close(self) -> None:
        """Do nothing."""


def test_fetch__cookies(clock: Clock, sent: Sent) -> None:
    """A cookie that comes with one answer is not sent with the next request."""
    tokens = TokenSource(Credentials(SecretStr("the-token")), Redactor())
    client = Client(
        "https://alm.example",
        tokens,
        RateLimiter(),
        Deadline(clock, 600),
        adapter=CookieAdapter(sent),
    )

    client.fetch(FIRST)
    client.fetch(FIRST)

    assert [request.headers.get("Cookie") for request in sent] == [None, None]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location",
    [
        "https://evil.example/",
        "https://alm.example/primeapi/v2/users/5/enrollments",
        "/login",
        "",
        "https://",
        "http://[",
        "/caf\xe9",
        "javascript:alert(1)",
    ],
)
def test_fetch__redirect(open_client: OpenClient, sent: Sent, status: int, location: str) -> None:
    """A redirect is not followed, wherever it leads and however broken its address is: it ends the run with what to set."""
    client = open_client((status, {"location": location, "x-request-id": "trace"}, b"moved"))

    with pytest.raises(ConnectorError) as caught:
        client.fetch(FIRST)

    assert error_as_dict(caught.value) == {
        "code": 76,
        "message": f"ALM's address redirects, asked for user 5 ({status}).",
        "hint": "It was not followed, so that the token goes nowhere else; set base_url to ALM's own host for this account.",
        "http_status": status,
        "request_id": "trace",
        "retry_at": None,
    }
    assert len(sent) == 1


class Endless(io.RawIOBase):
    """A body without end, which counts what was read of it."""

    def __init__(self) -> None:
        self.given = 0

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return as much as is asked for; all of it would be too much even for a test."""
        if size < 0 or self.given > 2 * MAX_BODY_BYTES:
            raise AssertionError("the whole of an endless body was asked for")
        self.given += size
        return b" " * size

    read1 = read


@pytest.mark.parametrize(
    ("status", "headers"),
    [(200, {}), (404, {}), (500, {}), (302, {"location": "https://evil.example/"})],
    ids=["200", "404", "500", "302"],
)
def test_fetch__endless_body(
    open_client: OpenClient, sent: Sent, status: int, headers: dict[str, str]
) -> None:
    """More than 32 MB of body are never read, whatever the status, and asking again is no use."""
    body = Endless()
    client = open_client((status, {**headers, "x-request-id": "trace"}, body))

    with pytest.raises(ProtocolError) as caught:
        client.fetch(FIRST)

    assert error_as_dict(caught.value) == {
        "code": 76,
        "message": "ALM's answer for user 5 is larger than 32 MB.",
        "hint": "Nothing of it was used; a page of 10 enrollments has some 10 KB. Check base_url, or include less.",
        "http_status": status,
        "request_id": "trace",
        "retry_at": None,
    }
    assert (body.given <= MAX_BODY_BYTES + 64 * 1024, len(sent)) == (True, 1)


def test_fetch__largest_body(open_client: OpenClient) -> None:
    """A body of exactly 32 MB is still read."""
    body = b'{"data":[]}'.ljust(MAX_BODY_BYTES)

    assert open_client((200, {"x-request-id": "trace"}, body)).fetch(FIRST) == PAGE


def test_fetch__unpacked_body(open_client: OpenClient) -> None:
    """The cap holds for what a compressed body unpacks to."""
    bomb = gzip.compress(b" " * (MAX_BODY_BYTES + 1))
    client = open_client((200, {"content-encoding": "gzip"}, bomb))

    with pytest.raises(ProtocolError, match="is larger than 32 MB"):
        client.fetch(FIRST)


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip"])
def test_fetch__gzip(open_client: OpenClient, encoding: str) -> None:
    """A compressed page is unpacked."""
    client = open_client(
        (
            200,
            {"content-encoding": encoding, "x-request-id": "trace"},
            gzip.compress(b'{"data":[]}'),
        )
    )

    assert client.fetch(FIRST) == PAGE


def test_fetch__broken_gzip_then_page(open_client: OpenClient, slept: list[float]) -> None:
    """A body whose compression is broken is asked for again."""
    client = open_client((200, {"content-encoding": "gzip"}, b"no gzip"), EMPTY)

    assert client.fetch(FIRST) == PAGE
    assert slept == [0.5]


class Dripping(io.BytesIO):
    """A body of which each piece takes 300 s."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(b"  " + b'{"data":[]}')
        self._clock = clock

    def read1(self, _size: int | None = -1, /) -> bytes:
        """Return one byte, late."""
        self._clock.sleep(300)
        return super().read1(1)


def test_fetch__deadline_in_mid_body(
    open_client: OpenClient, clock: Clock, slept: list[float]
) -> None:
    """The deadline ends a body that drips, at the piece that crosses it, and nothing is tried again."""
    client = open_client((200, {"x-request-id": "trace"}, Dripping(clock)))

    with pytest.raises(TemporaryError) as caught:
        client.fetch(FIRST)

    assert caught.value.message.startswith(
        "The deadline of 600 s passed while ALM's answer for user 5 was coming in"
    )
    assert (caught.value.http_status, caught.value.request_id) == (200, "trace")
    assert caught.value.retry_at is not None
    assert slept == [300, 300]


def test_fetch__deadline_has_passed(open_client: OpenClient, clock: Clock, sent: Sent) -> None:
    """After the deadline nothing is sent any more."""
    client = open_client(EMPTY)
    clock.sleep(600)

    with pytest.raises(TemporaryError) as caught:
        client.fetch(FIRST)

    assert error_as_dict(caught.value) == {
        "code": 75,
        "message": "The deadline of 600 s leaves no time for the next request, due in 0.0 s.",
        "hint": "Run again after 2024-06-09 13:15:09 UTC, or give it a longer deadline.",
        "http_status": None,
        "request_id": None,
        "retry_at": "2024-06-09T13:15:09Z",
    }
    assert sent == []


def test_fetch__quota_wait_past_deadline(
    open_client: OpenClient, gate: RateLimiter, clock: Clock, sent: Sent, slept: list[float]
) -> None:
    """A wait for the quota that would cross the deadline is not begun: the run ends at once, with the moment to come again."""
    client = open_client(EMPTY, deadline=10)
    gate.block_until(clock.monotonic() + 40, clock.monotonic())

    with pytest.raises(TemporaryError) as caught:
        client.fetch(FIRST)

    assert error_as_dict(caught.value) == {
        "code": 75,
        "message": "The deadline of 10 s leaves no time for the next request, due in 40.0 s.",
        "hint": "Run again after 2024-06-09 13:05:49 UTC, or give it a longer deadline.",
        "http_status": 429,
        "request_id": None,
        "retry_at": "2024-06-09T13:05:49Z",
    }
    assert (sent, slept) == ([], [])


def test_fetch__a_place_that_is_not_used_is_given_back(
    open_client: OpenClient, gate: RateLimiter, clock: Clock
) -> None:
    """Runs that end because their turn comes too late keep nobody waiting: the next one's wait is what it would have been without them."""
    while gate.reserve(clock.monotonic()) < 30:
        pass
    waits = []

    for _ in range(3):
        with pytest.raises(TemporaryError) as caught:
            open_client(EMPTY, deadline=10, jitter=0.0).fetch(FIRST)
        waits.append(caught.value.message)

    assert len(set(waits)) == 1


def test_fetch__waits_for_quota(
    open_client: OpenClient, gate: RateLimiter, clock: Clock, slept: list[float]
) -> None:
    """A wait that the deadline allows is kept, then the request leaves."""
    client = open_client(EMPTY)
    gate.block_until(clock.monotonic() + 40, clock.monotonic())

    assert client.fetch(FIRST) == PAGE
    assert slept == pytest.approx([40])


def test_fetch__keeps_within_burst(open_client: OpenClient, slept: list[float]) -> None:
    """Requests beyond the burst leave at the rate that the headers told."""
    client = open_client(
        *[(200, {"x-rate-limit": "2r/s", "x-burst": "3"}, b'{"data":[]}')] * 6, jitter=0.0
    )

    for _ in range(6):
        client.fetch(FIRST)

    assert slept == pytest.approx([0.5, 0.5, 0.5])
    assert client.quota == Quota(2, 3)


def test_quota__until_it_is_told(open_client: OpenClient) -> None:
    """Before the first answer the account's limits are not known."""
    assert open_client().quota is None


def test_fetch__learns_from_errors(open_client: OpenClient) -> None:
    """An answer that is an error tells the limits as well."""
    client = open_client((404, {"x-rate-limit": "100r/m", "x-burst": "100"}, b""))

    with pytest.raises(ConnectorError):
        client.fetch(FIRST)

    assert client.quota == Quota(100 / 60, 100)


def test_fetch__refreshes_and_repeats(
    open_client: OpenClient, sent: Sent, slept: list[float], redactor: Redactor
) -> None:
    """A refused token is refreshed, and the same page asked for again, at once."""
    client = open_client(UNAUTHORIZED, REFRESHED, EMPTY, EMPTY, credentials=ALL_FOUR)

    pages = [client.fetch(FIRST), client.fetch(FIRST)]

    assert pages == [PAGE, PAGE]
    assert authorizations(sent) == [
        ("GET", "oauth stale-token"),
        ("POST", None),
        *[("GET", "oauth fresh-token")] * 2,
    ]
    assert [sent[0].url, sent[2].url] == [ADDRESS, ADDRESS]
    assert (client.requests, slept, redactor.clean("fresh-token")) == (3, [], "***")


REFUSED: dict[str, Any] = {
    "code": 77,
    "message": 'ALM refuses the access token, asked for user 5 (401: "UNAUTHORIZED").',
    "hint": "Tokens live seven days: make a new one, or set ALM_CLIENT_ID, ALM_CLIENT_SECRET and ALM_REFRESH_TOKEN to have it refreshed.",
    "http_status": 401,
    "request_id": "refused",
    "retry_at": None,
}


def test_fetch__cannot_refresh(open_client: OpenClient, sent: Sent) -> None:
    """Without the means to refresh, a refused token ends the run at once."""
    with pytest.raises(AuthenticationError) as caught:
        open_client(UNAUTHORIZED).fetch(FIRST)

    assert error_as_dict(caught.value) == REFUSED
    assert len(sent) == 1


def test_fetch__fresh_token_refused(open_client: OpenClient, sent: Sent) -> None:
    """A fresh token that is refused too ends the run: one refresh a request is enough."""
    with pytest.raises(AuthenticationError) as caught:
        open_client(UNAUTHORIZED, REFRESHED, UNAUTHORIZED, credentials=ALL_FOUR).fetch(FIRST)

    assert error_as_dict(caught.value) == REFUSED
    assert [request.method for request in sent] == ["GET", "POST", "GET"]


def test_fetch__same_token_back(open_client: OpenClient, sent: Sent) -> None:
    """The same token back is reported, not tried again."""
    with pytest.raises(
        AuthenticationError, match="gives the same one back when asked to refresh it"
    ):
        open_client(
            UNAUTHORIZED, (200, {}, b'{"access_token":"stale-token"}'), credentials=ALL_FOUR
        ).fetch(FIRST)

    assert [request.method for request in sent] == ["GET", "POST"]


def test_fetch__forbidden_is_not_refreshed(open_client: OpenClient, sent: Sent) -> None:
    """403 is a matter of scope: no other token would help."""
    with pytest.raises(AuthenticationError, match="does not let this token read user 5"):
        open_client((403, {}, b""), credentials=ALL_FOUR).fetch(FIRST)

    assert len(sent) == 1


def test_fetch__refused_refresh(open_client: OpenClient, sent: Sent) -> None:
    """A refused refresh ends the run at once."""
    with pytest.raises(AuthenticationError, match="refuses to refresh the access token"):
        open_client((400, {}, b'{"title":"BAD_REQUEST"}'), credentials=TRIPLE).fetch(FIRST)

    assert len(sent) == 1


@pytest.mark.parametrize("answer", [BUSY, (200, {}, b"<html>")])
def test_fetch__failed_refresh_then_page(
    open_client: OpenClient, sent: Sent, slept: list[float], answer: object
) -> None:
    """A refresh that fails for a while is tried again, after a wait."""
    client = open_client(answer, REFRESHED, EMPTY, credentials=TRIPLE)

    assert client.fetch(FIRST) == PAGE
    assert ([request.method for request in sent], slept) == (["POST", "POST", "GET"], [0.5])


def test_fetch__refresh_over_quota(open_client: OpenClient, sent: Sent, slept: list[float]) -> None:
    """A refresh that is refused for the quota waits as long as ALM says before it is sent again."""
    client = open_client(TOO_MANY, TOO_MANY, REFRESHED, EMPTY, credentials=TRIPLE, jitter=0.0)

    assert client.fetch(FIRST) == PAGE
    assert [request.method for request in sent] == ["POST", "POST", "POST", "GET"]
    assert slept == pytest.approx([10.752, 10.752])


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_fetch__repeats_what_may_pass(
    open_client: OpenClient, slept: list[float], status: int
) -> None:
    """What may pass is asked for again, each time after twice the wait."""
    client = open_client(*[(status, {}, b"")] * 4, EMPTY)

    assert client.fetch(FIRST) == PAGE
    assert (slept, client.requests) == ([0.5, 1, 2, 4], 5)


def test_fetch__five_attempts(open_client: OpenClient, slept: list[float], sent: Sent) -> None:
    """After the fifth failure it gives up, and says so."""
    client = open_client(*[BUSY] * 5)

    with pytest.raises(TemporaryError) as caught:
        client.fetch(FIRST)

    assert error_as_dict(caught.value) == {
        "code": 75,
        "message": "ALM failed, asked for user 5 (503), 5 times.",
        "hint": "Run again; if it stays so, report it with the request id.",
        "http_status": 503,
        "request_id": None,
        "retry_at": "2024-06-09T13:05:25Z",
    }
    assert (slept, len(sent), client.requests) == ([0.5, 1, 2, 4], 5, 5)


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"data":[', b"\x00"])
def test_fetch__broken_body_then_page(
    open_client: OpenClient, slept: list[float], body: bytes
) -> None:
    """A body that is no JSON is asked for again."""
    assert open_client((200, {}, body), EMPTY).fetch(FIRST) == PAGE
    assert slept == [0.5]


@pytest.mark.parametrize("error", [ConnectionResetError(104, "reset"), TimeoutError("timed out")])
def test_fetch__broken_connection_then_page(
    open_client: OpenClient, slept: list[float], error: Exception
) -> None:
    """A connection that breaks is made again."""
    assert open_client(error, EMPTY).fetch(FIRST) == PAGE
    assert slept == [0.5]


@pytest.mark.parametrize("status", [400, 404, 406, 409, 418, 204])
def test_fetch__never_repeats_the_rest(
    open_client: OpenClient, sent: Sent, slept: list[float], status: int
) -> None:
    """What asking again would not mend is asked once."""
    with pytest.raises(ConnectorError) as caught:
        open_client((status, {}, b"")).fetch(FIRST)

    assert (caught.value.http_status, len(sent), slept) == (status, 1, [])


def test_fetch__breach_is_not_repeated(open_client: OpenClient, sent: Sent) -> None:
    """A page that breaks the schema would break it again."""
    with pytest.raises(ProtocolError, match="not of the documented shape"):
        open_client((200, {}, b'{"data":{}}')).fetch(FIRST)

    assert len(sent) == 1


def test_fetch__proxy_refuses(open_client: OpenClient, sent: Sent) -> None:
    """A proxy that wants credentials is not asked again."""
    with pytest.raises(UntrustedHostError):
        open_client((407, {}, b"")).fetch(FIRST)

    assert len(sent) == 1


def test_fetch__quota_then_page(open_client: OpenClient, slept: list[float], sent: Sent) -> None:
    """After a 429 nothing leaves until ALM's fractional time, and a little more, has passed."""
    client = open_client(TOO_MANY, EMPTY, jitter=1.0)

    assert client.fetch(FIRST) == PAGE
    assert slept == pytest.approx([11.752])
    assert len(sent) == 2


def test_fetch__quota_many_times(open_client: OpenClient, slept: list[float]) -> None:
    """A 429 is waited for however often it comes, while the deadline allows, and never shorter than ALM says."""
    client = open_client(*[TOO_MANY] * 20, EMPTY, jitter=0.0)

    assert client.fetch(FIRST) == PAGE
    assert len(slept) == 20
    assert min(slept) == pytest.approx(10.752)


def test_fetch__quota_until_deadline(open_client: OpenClient, slept: list[float]) -> None:
    """The wait that would cross the deadline is not begun; the error has the moment to come again."""
    client = open_client(TOO_MANY, TOO_MANY, deadline=15, jitter=0.0)

    with pytest.raises(TemporaryError) as caught:
        client.fetch(FIRST)

    assert error_as_dict(caught.value) == {
        "code": 75,
        "message": 'ALM\'s quota is used up, asked for user 5 (429: "429 Too many requests"); '
        "the deadline leaves no time for another attempt, due in 10.8 s.",
        "hint": "Run again after 2024-06-09 13:05:31 UTC, or give it a longer deadline.",
        "http_status": 429,
        "request_id": None,
        "retry_at": "2024-06-09T13:05:31Z",
    }
    assert slept == pytest.approx([10.752])


class Meanwhile:
    """A clock during whose first wait something happens."""

    def __init__(self, clock: Clock, happens: Callable[[], None]) -> None:
        self._clock = clock
        self._pending = [happens]
        self.monotonic, self.now = clock.monotonic, clock.now

    def sleep(self, seconds: float) -> None:
        """Wait; the first time something happens at the end of it."""
        self._clock.sleep(seconds)
        self._pending.pop()() if self._pending else None


def test_fetch__refused_while_waiting(
    clock: Clock, gate: RateLimiter, sent: Sent, slept: list[float]
) -> None:
    """A thread that waits for its place is held back by what another one is refused meanwhile."""
    gate.block_until(clock.monotonic() + 10, clock.monotonic())
    refused = Meanwhile(clock, lambda: gate.block_until(clock.monotonic() + 50, clock.monotonic()))
    tokens = TokenSource(Credentials(SecretStr("the-token")), Redactor())
    client = Client(
        "https://alm.example",
        tokens,
        gate,
        Deadline(refused, 600),
        adapter=CookieAdapter(sent),
        jitter=lambda: 0.0,
    )

    client.fetch(FIRST)

    assert slept == pytest.approx([10, 50])
    assert len(sent) == 1


def test_fetch__quota_closes_the_gate_for_all(
    open_client: OpenClient, gate: RateLimiter, clock: Clock
) -> None:
    """It is the credential's one gate that a 429 closes, so every other thread is held back until the same moment."""
    refused_at = clock.monotonic()
    open_client((429, {"retry-after": "200"}, b""), EMPTY, jitter=0.0).fetch(FIRST)

    assert gate.reserve(refused_at) == pytest.approx(200)


def test_fetch__quota_stays_closed_past_the_deadline(
    open_client: OpenClient, gate: RateLimiter, clock: Clock, sent: Sent
) -> None:
    """A run that a 429 ends leaves the gate closed: the next one on the credential asks nothing, and may come at the same moment."""
    messages = []

    for _ in range(3):
        with pytest.raises(TemporaryError) as caught:
            open_client((429, {"retry-after": "200"}, b""), deadline=25, jitter=0.0).fetch(FIRST)
        messages.append((caught.value.http_status, caught.value.retry_at))

    assert len(sent) == 1
    assert len(set(messages)) == 1
    assert gate.reserve(clock.monotonic()) == pytest.approx(200, abs=1)


def test_fetch__cause_is_kept(open_client: OpenClient) -> None:
    """The error that remains names what it came of."""
    broken = ConnectionResetError(104, "reset")

    with pytest.raises(TemporaryError) as caught:
        open_client(*[broken] * 5).fetch(FIRST)

    assert caught.value.__cause__ is broken
    assert (
        caught.value.message == "The connection with alm.example broke, asked for user 5, 5 times."
    )


def test_fetch__tells_each_wait(open_client: OpenClient, caplog: pytest.LogCaptureFixture) -> None:
    """Each failed attempt is logged once, with its wait and the request id, and without the token."""
    open_client((503, {"x-request-id": "trace"}, b""), EMPTY).fetch(FIRST)

    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "attempt 1 failed, the next one in 0.50 s: ALM failed, asked for user 5 (503). (request id trace)"
    ]
    assert "the-token" not in caplog.text


def test_fetch__logs_no_secret(open_client: OpenClient, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing of a refresh's secrets stands in the debug log."""
    caplog.set_level("DEBUG", logger="connector")

    open_client(UNAUTHORIZED, REFRESHED, EMPTY, credentials=ALL_FOUR).fetch(FIRST)

    assert len(caplog.records) == 4
    assert [
        secret
        for secret in ("stale-token", "fresh-token", "secret", "a+refresh")
        if secret in caplog.text
    ] == []


def test_close__gives_connections_back(open_client: OpenClient) -> None:
    """Closing a client that never asked for anything is no error."""
    open_client().close()
