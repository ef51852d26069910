"""One fetch on a clock that jumps: the quota, the token, the retries, and what is never sent."""

from __future__ import annotations

import contextlib
import io
import random
from ssl import SSLCertVerificationError
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr
from requests import exceptions
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPResponse
from urllib3.connection import HTTPConnection
from urllib3.exceptions import MaxRetryError, NewConnectionError

from connector.alm.auth import TokenSource
from connector.alm.client import Client
from connector.alm.pagination import next_request
from connector.alm.protocol import Page, Query, first_request
from connector.alm.rate_limit import Quota, RateLimiter
from connector.alm.retry import Outage
from connector.alm.transport import RunEndedError
from connector.clock import Deadline
from connector.errors import (
    AuthenticationError,
    ConnectorError,
    DeadlineError,
    ProtocolError,
    TemporaryError,
    UnreachableError,
    UntrustedHostError,
)
from connector.settings import Credentials
from tests.support.clock import VirtualClock
from tests.support.errors import facts

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    import requests

    from connector.redact import Redactor

    Step = tuple[int, dict[str, str], bytes]
    OpenClient = Callable[..., Client]
    Sent = list[requests.PreparedRequest]

FIRST = first_request("https://alm.example", "5", Query(("course",), "dateEnrolled", None, (), 10))
EMPTY: Step = (200, {"x-request-id": "trace"}, b'{"data":[]}')
PAGE = Page("5", None, [], [], None, "trace")
TRIO = Credentials(
    None, SecretStr("an-id"), SecretStr("a client/secret"), SecretStr("a+refresh&token")
)
ALL_FOUR = Credentials(
    SecretStr("stale-token"), TRIO.client_id, TRIO.client_secret, TRIO.refresh_token
)
UNAUTHORIZED: Step = (401, {"x-request-id": "refused"}, b'{"title":"UNAUTHORIZED"}')
REFRESHED: Step = (200, {}, b'{"access_token":"fresh-token"}')
TOO_MANY: Step = (429, {"retry-after": "10.752"}, b'{"message":"429 Too many requests"}')
BUSY: Step = (503, {}, b"<html>")


def failed(client: Client) -> ConnectorError:
    """Return the error that a fetch ends with."""
    with pytest.raises(ConnectorError) as caught:
        client.fetch(FIRST)
    return caught.value


def methods(sent: Sent) -> list[str | None]:
    """Return the method of each request."""
    return [request.method for request in sent]


def block(rate_limiter: RateLimiter, clock: VirtualClock, seconds: float) -> None:
    """Block the limiter for *seconds*."""
    rate_limiter.block_until(clock.monotonic() + seconds, clock.monotonic())


def test_fetch__page(open_client: OpenClient, sent: Sent) -> None:
    """One request brings one page, and is counted."""
    client = open_client(EMPTY)

    assert client.fetch(FIRST) == PAGE
    assert [(request.method, request.url) for request in sent] == [("GET", FIRST.address)]
    assert (client.requests, client.waits, client.started_at) == (1, 0, 0.0)


@pytest.mark.parametrize(
    "query",
    [
        "page[cursor]=x-A-LONG-SECRET-y",
        "page[cursor]=x&snapshot=a-long-secret",
        "page[cursor]=a-long-secret&page[cursor]=x",
        "snapshot=a-long-secret&page[cursor]=x&snapshot=1",
        "page[cursor]=x&a-long-secret=1",
        "page[cursor]=x&a-long-%73ecret",
        "page[limit]=a-long-secret&page[cursor]=x",
        "page[cursor]=x#a-long-secret",
        "page[cursor]=x&z=YS1sb25nLXNlY3JldA==",
    ],
)
def test_fetch__secret_in_the_link(
    open_client: OpenClient, sent: Sent, redactor: Redactor, query: str
) -> None:
    """A link with one of the run's secrets in any parameter is not followed: URLs are logged."""
    redactor.add("a-long-secret")
    request = next_request(FIRST, f"?{query}")
    assert request is not None

    with pytest.raises(ProtocolError) as caught:
        open_client().fetch(request)

    text = (
        "ALM's link to the next page contains a secret of this run. The connector did not"
        " follow it. Look for a proxy between this machine and ALM."
    )
    assert facts(caught.value) == (ProtocolError, text, None, None)
    assert sent == []


def test_fetch__secret_of_the_own_parameters(open_client: OpenClient, redactor: Redactor) -> None:
    """A parameter of the run itself may look like a secret."""
    redactor.add("dateEnrolled")
    request = next_request(FIRST, "?page[cursor]=x")
    assert request is not None

    assert open_client(EMPTY).fetch(request).enrollments == []


class PatienceAdapter(HTTPAdapter):
    """Answers every request with an empty page, and records how long it may take."""

    def __init__(self) -> None:
        super().__init__()
        self.timeouts: list[Any] = []

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:  # type: ignore[override] # always called by keyword
        """Return an empty page."""
        self.timeouts.append(kwargs["timeout"])
        raw = HTTPResponse(body=io.BytesIO(EMPTY[2]), status=200, preload_content=False)
        return self.build_response(request, raw)


@pytest.mark.parametrize(("include", "seconds"), [((), 60), (("learner.manager",), 120)])
def test_fetch__patience(
    clock: VirtualClock, redactor: Redactor, include: tuple[str, ...], seconds: float
) -> None:
    """ALM has twice the time if resources are included."""
    query = Query(("course",), "dateEnrolled", None, include, 10)
    adapter = PatienceAdapter()
    tokens = TokenSource(Credentials(SecretStr("the-token")), redactor)
    deadline = Deadline(clock, 600)
    client = Client("https://alm.example", tokens, RateLimiter(), deadline, adapter=adapter)

    client.fetch(first_request("https://alm.example", "5", query))

    assert adapter.timeouts == [(10, seconds)]


def test_fetch__waits_for_quota(
    open_client: OpenClient, rate_limiter: RateLimiter, clock: VirtualClock
) -> None:
    """A request waits for the quota if the deadline allows, and the wait is counted."""
    client = open_client(EMPTY)
    block(rate_limiter, clock, 40)

    assert client.fetch(FIRST) == PAGE
    assert (clock.slept, client.waits, client.requests) == ([40], 1, 1)


def test_fetch__quota_wait_past_deadline(
    open_client: OpenClient, rate_limiter: RateLimiter, clock: VirtualClock, sent: Sent
) -> None:
    """A wait for the quota past the deadline is not started: the error says when to return."""
    block(rate_limiter, clock, 40)

    error = failed(open_client(EMPTY, deadline=10))

    text = (
        "The deadline of 10 s leaves no time for the next request, due in 40.0 s."
        " Run again after 2023-06-29 12:00:40 UTC, or set a longer `deadline`."
    )
    assert facts(error) == (DeadlineError, text, 429, "2023-06-29T12:00:40Z")
    assert (sent, clock.slept) == ([], [])


def use_up(rate_limiter: RateLimiter, clock: VirtualClock, seconds: float) -> float:
    """Book requests until the next one waits so many *seconds*; return how long the last waits."""
    # The start is over.
    for _ in range(100):
        rate_limiter.update({}, clock.monotonic())
    while (wait := rate_limiter.acquire(clock.monotonic()) or 0.0) < seconds:
        pass
    return wait


def test_fetch__releases_its_booking(
    open_client: OpenClient, rate_limiter: RateLimiter, clock: VirtualClock
) -> None:
    """Runs that end before they send keep nobody waiting: the next one waits no longer."""
    use_up(rate_limiter, clock, 30)

    errors = [failed(open_client(EMPTY, deadline=10, jitter=0.0)) for _ in range(3)]

    assert len({error.message for error in errors}) == 1
    assert {error.http_status for error in errors} == {None}


def test_fetch__waits_until_the_deadline(
    open_client: OpenClient, rate_limiter: RateLimiter, clock: VirtualClock
) -> None:
    """A wait that ends at the deadline itself is not started."""
    block(rate_limiter, clock, 40)

    assert type(failed(open_client(deadline=40))) is DeadlineError
    assert clock.slept == []


def test_fetch__short_block_past_deadline(
    open_client: OpenClient, rate_limiter: RateLimiter, clock: VirtualClock
) -> None:
    """The error of a wait that a refusal causes has its status, however short the wait is."""
    block(rate_limiter, clock, 0.5)

    assert failed(open_client(deadline=0.25)).http_status == 429


def test_fetch__waits_at_random(
    open_client: OpenClient, rate_limiter: RateLimiter, clock: VirtualClock
) -> None:
    """A request that waits for the quota waits for up to one more request, at random."""
    waits = []
    for jitter in (0.0, 1.0):
        wait = use_up(rate_limiter, clock, 5)
        rate_limiter.release(clock.monotonic())
        open_client(EMPTY, jitter=jitter).fetch(FIRST)
        waits.append(clock.slept[-1] - wait)

    assert waits == pytest.approx([0.0, 1 / rate_limiter.quota.rate])


def test_fetch__waits_for_a_place(
    open_client: OpenClient, rate_limiter: RateLimiter, clock: VirtualClock, sent: Sent
) -> None:
    """At the start a request waits, unsent, until the run's first one has its response."""
    rate_limiter.acquire(clock.monotonic())
    meanwhile = Meanwhile(clock, lambda: None)
    counts: list[int] = []

    def respond() -> None:
        counts.append(len(sent))
        if len(counts) == 3:
            rate_limiter.update({}, clock.monotonic())
        else:
            meanwhile._pending.append(respond)

    meanwhile._pending = [respond]
    open_client(EMPTY, clock=meanwhile).fetch(FIRST)

    assert (counts, len(sent)) == ([0, 0, 0], 1)


def test_fetch__keeps_within_burst(open_client: OpenClient, clock: VirtualClock) -> None:
    """Requests beyond the burst are sent at the rate that the headers named."""
    headers = {"x-rate-limit": "2r/s", "x-burst": "3"}
    client = open_client(*[(200, headers, b'{"data":[]}')] * 6, jitter=0.0)
    before = client.quota

    for _ in range(6):
        client.fetch(FIRST)

    assert clock.slept == pytest.approx([0.5, 0.5, 0.5])
    assert (before, client.quota) == (None, Quota(2, 3))


def test_fetch__learns_from_errors(open_client: OpenClient) -> None:
    """An error's headers name the limits as well."""
    client = open_client((404, {"x-rate-limit": "100r/m", "x-burst": "100"}, b""))

    failed(client)

    assert client.quota == Quota(100 / 60, 100)


DATED = {"date": "Thu, 29 Jun 2023 11:59:58 GMT"}
LATER = {"date": "Thu, 29 Jun 2023 13:00:00 GMT"}


@pytest.mark.parametrize(
    ("script", "answered_at"),
    [
        ([EMPTY], "12:00:00"),
        ([(200, DATED, b'{"data":[]}')], "11:59:58"),
        ([(200, LATER, b'{"data":[]}'), (200, DATED, b'{"data":[]}')], "11:59:58"),
        # A user who does not exist yet may come, and enroll, before the first page.
        ([(404, DATED, b""), (200, LATER, b'{"data":[]}')], "11:59:58"),
        # Neither a failure nor a page that is not read is an answer.
        ([(403, DATED, b""), (200, LATER, b'{"data":[]}')], "13:00:00"),
        ([(200, DATED, b'{"data":{}}'), (200, LATER, b'{"data":[]}')], "13:00:00"),
        ([(401, DATED, b"")], None),
    ],
)
def test_fetch__first_answer(
    open_client: OpenClient, script: list[Step], answered_at: str | None
) -> None:
    """The first answer is the earliest by the server's own time, by this clock without one."""
    client = open_client(*script)

    for _ in script:
        with contextlib.suppress(ConnectorError):
            client.fetch(FIRST)

    moment = client.answered_at
    assert (moment and f"{moment:%H:%M:%S}") == answered_at


def test_fetch__refreshes_once(
    open_client: OpenClient, sent: Sent, clock: VirtualClock, redactor: Redactor
) -> None:
    """A refused token is refreshed, and the same page is requested again at once."""
    client = open_client(UNAUTHORIZED, REFRESHED, EMPTY, EMPTY, credentials=ALL_FOUR)

    pages = [client.fetch(FIRST), client.fetch(FIRST)]

    refresh = "https://alm.example/oauth/token/refresh"
    assert pages == [PAGE, PAGE]
    assert [(request.url, request.headers.get("Authorization")) for request in sent] == [
        (FIRST.address, "oauth stale-token"),
        (refresh, None),
        *[(FIRST.address, "oauth fresh-token")] * 2,
    ]
    assert sent[1].body == (
        "client_id=an-id&client_secret=a+client%2Fsecret&refresh_token=a%2Brefresh%26token"
    )
    assert (client.requests, clock.slept, redactor.clean("fresh-token")) == (3, [], "***")


CHECK_REGION = (
    "Check that `base_url` is the account's region, and that the application has the scope"
    " admin:read. (request id refused)"
)
SIGN_IN = (
    "Tokens live seven days. Create a new one, or set `ALM_CLIENT_ID`, `ALM_CLIENT_SECRET` and"
    " `ALM_REFRESH_TOKEN`: the connector then refreshes it. (request id refused)"
)


@pytest.mark.parametrize(
    ("script", "credentials", "hint", "expected"),
    [
        ([UNAUTHORIZED], None, SIGN_IN, ["GET"]),
        ([UNAUTHORIZED, REFRESHED, UNAUTHORIZED], ALL_FOUR, CHECK_REGION, ["GET", "POST", "GET"]),
    ],
    ids=["cannot refresh", "fresh token refused"],
)
def test_fetch__unauthorized(
    open_client: OpenClient,
    sent: Sent,
    script: list[Step],
    credentials: Credentials | None,
    hint: str,
    expected: list[str],
) -> None:
    """A refused token ends the run if it cannot be refreshed or was refreshed once.

    The hint does not ask for credentials that are set, and have made a token.
    """
    error = failed(open_client(*script, credentials=credentials))

    text = f'ALM refuses the access token while reading user 5 (401: "UNAUTHORIZED"). {hint}'
    assert facts(error) == (AuthenticationError, text, 401, None)
    assert methods(sent) == expected


@pytest.mark.parametrize(
    ("script", "credentials", "message", "expected"),
    [
        (
            [UNAUTHORIZED, (200, {}, b'{"access_token":"stale-token"}')],
            ALL_FOUR,
            "a refresh returns the same one",
            ["GET", "POST"],
        ),
        ([(403, {}, b"")], ALL_FOUR, "does not let this token read user 5", ["GET"]),
        ([(400, {}, b"")], TRIO, "refuses to refresh the access token", ["POST"]),
    ],
    ids=["same token", "forbidden", "refresh refused"],
)
def test_fetch__no_further_token(
    open_client: OpenClient,
    sent: Sent,
    script: list[Step],
    credentials: Credentials,
    message: str,
    expected: list[str],
) -> None:
    """The same token in return, a missing scope and a refused refresh end the run at once."""
    error = failed(open_client(*script, credentials=credentials))

    assert isinstance(error, AuthenticationError)
    assert message in error.message
    assert methods(sent) == expected


@pytest.mark.parametrize("step", [BUSY, (200, {}, b"<html>")])
def test_fetch__retries_a_refresh(
    open_client: OpenClient, sent: Sent, clock: VirtualClock, step: Step
) -> None:
    """A refresh that fails for a while is retried after a wait."""
    client = open_client(step, REFRESHED, EMPTY, credentials=TRIO)

    assert client.fetch(FIRST) == PAGE
    assert (methods(sent), clock.slept) == (["POST", "POST", "GET"], [0.5])


@pytest.mark.parametrize("seconds", [10.752, 0.5])
def test_fetch__refresh_over_quota(
    open_client: OpenClient, sent: Sent, clock: VirtualClock, seconds: float
) -> None:
    """A refresh that exceeds the quota waits as long as ALM says."""
    step: Step = (429, {"retry-after": str(seconds)}, b"")
    client = open_client(step, step, REFRESHED, EMPTY, credentials=TRIO, jitter=0.0)

    assert client.fetch(FIRST) == PAGE
    assert methods(sent) == ["POST", "POST", "POST", "GET"]
    assert clock.slept[:2] == pytest.approx([seconds, seconds])
    assert client.waits == len(clock.slept)


@pytest.mark.parametrize(
    "step",
    [
        *((status, {}, b"") for status in (408, 500, 502, 503, 504)),
        *((200, {}, body) for body in (b"", b"<html>", b'{"data":[')),
        (200, {"content-encoding": "gzip"}, b"no gzip"),
        *(ConnectionResetError(104, "reset"), TimeoutError("timed out")),
    ],
)
def test_fetch__retries(open_client: OpenClient, clock: VirtualClock, step: Any) -> None:
    """A failure that may pass is retried, each time after twice the wait."""
    client = open_client(*[step] * 4, EMPTY)

    assert client.fetch(FIRST) == PAGE
    assert (clock.slept, client.requests) == ([0.5, 1, 2, 4], 5)


def test_fetch__five_attempts(open_client: OpenClient, clock: VirtualClock) -> None:
    """After the fifth failure it gives up; the error has the cause of the last attempt."""
    broken = ConnectionResetError(104, "reset")
    client = open_client(*[broken] * 5)

    error = failed(client)

    text = (
        "The connection with alm.example broke while reading user 5, 5 times. Run again. If it"
        " happens again, look for a proxy between this machine and ALM."
    )
    assert facts(error) == (TemporaryError, text, None, "2023-06-29T12:00:16Z")
    assert (error.__cause__, clock.slept, client.requests) == (broken, [0.5, 1, 2, 4], 5)


@pytest.mark.parametrize(
    ("status", "body"),
    [*((status, b"") for status in (400, 404, 406, 407, 418, 204, 302)), (200, b'{"data":{}}')],
)
def test_fetch__no_retry(
    open_client: OpenClient, sent: Sent, clock: VirtualClock, status: int, body: bytes
) -> None:
    """A failure that no retry helps is requested once."""
    error = failed(open_client((status, {}, body)))

    assert (error.http_status, len(sent), clock.slept) == (status, 1, [])


@pytest.mark.parametrize(("refusals", "jitter", "first"), [(1, 1.0, 11.752), (20, 0.0, 10.752)])
def test_fetch__quota_then_page(
    open_client: OpenClient, clock: VirtualClock, refusals: int, jitter: float, first: float
) -> None:
    """A used-up quota is waited for any number of times, and never shorter than ALM says."""
    client = open_client(*[TOO_MANY] * refusals, EMPTY, jitter=jitter)

    assert client.fetch(FIRST) == PAGE
    assert len(clock.slept) == refusals
    assert clock.slept[0] == pytest.approx(first)
    assert min(clock.slept) == pytest.approx(first)


def test_fetch__broken_refresh(open_client: OpenClient) -> None:
    """The error of a refresh says that it was one."""
    error = failed(open_client(UNTRUSTED, credentials=TRIO))

    text = "The certificate of alm.example is not trusted while reading a new access token."
    assert error.message == text


class SlowReadingClock(VirtualClock):
    """Lets a minute pass between a response and its page: a response without a date asks for it."""

    def now(self) -> datetime:
        """Return the moment after another minute."""
        self.sleep(60)
        return super().now()


def test_fetch__page_read_past_the_deadline(open_client: OpenClient) -> None:
    """A page that arrives in time, and is still being read at the deadline, ends the run."""
    error = failed(open_client(EMPTY, deadline=30, clock=SlowReadingClock()))

    text = (
        "The deadline of 30 s passed while ALM's page for user 5 was being read."
        " Run again with a longer `deadline`. (request id trace)"
    )
    assert facts(error) == (DeadlineError, text, 200, "2023-06-29T12:00:30Z")


@pytest.mark.parametrize(("deadline", "is_late"), [(60.0, True), (60.5, False)])
def test_fetch__page_read_just_before_the_deadline(
    open_client: OpenClient, deadline: float, *, is_late: bool
) -> None:
    """The deadline's own moment is too late, and half a second before it is not."""
    with pytest.raises(DeadlineError) if is_late else contextlib.nullcontext():
        open_client(EMPTY, deadline=deadline, clock=SlowReadingClock()).fetch(FIRST)


def test_fetch__quota_until_deadline(open_client: OpenClient, clock: VirtualClock) -> None:
    """A wait past the deadline is not started; the error says when to run again."""
    error = failed(open_client(TOO_MANY, TOO_MANY, deadline=15, jitter=0.0))

    text = (
        'ALM\'s quota is used up while reading user 5 (429: "429 Too many requests"); the deadline'
        " leaves no time for another attempt, due in 10.8 s. Run again after 2023-06-29 12:00:22"
        " UTC, or set a longer `deadline`."
    )
    assert facts(error) == (DeadlineError, text, 429, "2023-06-29T12:00:22Z")
    assert clock.slept == pytest.approx([10.752])


REFUSED = NewConnectionError(HTTPConnection("alm.example"), "refused")
GONE: Any = exceptions.ConnectionError(
    MaxRetryError(HTTPConnectionPool("alm.example"), "/", REFUSED)
)
UNTRUSTED: Any = exceptions.SSLError(SSLCertVerificationError(1, "verify failed"))
WAITING = "waiting for the host to come back: alm.example cannot be reached while reading user 5."


def test_fetch__host_that_never_answered(open_client: OpenClient, clock: VirtualClock) -> None:
    """A host that has not answered yet is tried five times: it is unreachable."""
    error = failed(open_client(*[GONE] * 5))

    assert type(error) is UnreachableError
    assert error.message == "alm.example cannot be reached while reading user 5, 5 times."
    assert clock.slept == [0.5, 1, 2, 4]


def test_fetch__waits_for_a_host_that_answered(
    open_client: OpenClient, clock: VirtualClock, sent: Sent, caplog: pytest.LogCaptureFixture
) -> None:
    """A host that has answered is waited for as long as it takes, and each wait is logged."""
    client = open_client(EMPTY, *[GONE] * 9, EMPTY)

    pages = [client.fetch(FIRST), client.fetch(FIRST)]

    assert pages == [PAGE, PAGE]
    assert clock.slept == [0.75, 1.5, 3, 6, 12, 22.5, 22.5, 22.5, 22.5]
    assert (len(sent), client.requests) == (11, 11)
    assert [record.getMessage() for record in caplog.records] == [WAITING] * 9


def test_fetch__books_the_quota_after_the_outage(
    open_client: OpenClient, rate_limiter: RateLimiter, clock: VirtualClock
) -> None:
    """What waits for the host has no booking: afterwards all requests keep to the rate."""
    client = open_client(EMPTY, GONE, EMPTY, jitter=0.0)
    client.fetch(FIRST)
    levels: list[float] = []
    meanwhile = Meanwhile(clock, lambda: levels.append(rate_limiter._level))
    client._clock = meanwhile

    client.fetch(FIRST)

    # Two requests were booked before the wait, and the third one is after it.
    assert levels == [2]


def test_fetch__waits_for_the_host_until_the_deadline(
    open_client: OpenClient, clock: VirtualClock
) -> None:
    """If the host stays away until the deadline, the run is out of time, not the host unknown."""
    client = open_client(EMPTY, *[GONE] * 20, deadline=60)
    client.fetch(FIRST)

    error = failed(client)

    text = (
        "ALM's host can no longer be reached, and the deadline of 60 s leaves no time to wait for"
        " it. Run again after 2023-06-29 12:01:00 UTC, or set a longer `deadline`."
    )
    assert facts(error) == (DeadlineError, text, None, "2023-06-29T12:01:00Z")
    assert 59 < sum(clock.slept) < 60


class AnsweringOutage(Outage):
    """The host answers another thread just after the fifth failure of this one."""

    def add_failure(self, now: float, jitter: float, seconds_left: float) -> bool:
        """Note the failure, and after the fifth one that the host has answered."""
        has_answered = super().add_failure(now, jitter, seconds_left)
        self.count = getattr(self, "count", 0) + 1
        if self.count == 5:
            self.end()
        return has_answered


def test_fetch__host_answers_another_thread_first(open_client: OpenClient) -> None:
    """A thread that used up its attempts before another one reached the host goes on."""
    client = open_client(*[GONE] * 5, EMPTY)
    client._outage = AnsweringOutage()

    assert client.fetch(FIRST) == PAGE


@pytest.mark.parametrize("step", [BUSY, (407, {}, b"")])
def test_fetch__trial_with_another_result(open_client: OpenClient, step: Any) -> None:
    """A trial that fails in another way leaves the next one to any thread, without a wait."""
    client = open_client(EMPTY, GONE, step, EMPTY, EMPTY)
    client.fetch(FIRST)

    with contextlib.suppress(UntrustedHostError):
        client.fetch(FIRST)

    assert client.fetch(FIRST) == PAGE


def test_fetch__untrusted_host(open_client: OpenClient, clock: VirtualClock) -> None:
    """A certificate that was never trusted does not pass: nothing is repeated."""
    assert type(failed(open_client(UNTRUSTED))) is UntrustedHostError
    assert clock.slept == []


def test_fetch__host_no_longer_trusted(open_client: OpenClient, clock: VirtualClock) -> None:
    """A host whose certificate was trusted in this run is waited for, as one that disappears."""
    client = open_client(EMPTY, UNTRUSTED, UNTRUSTED, EMPTY)
    client.fetch(FIRST)

    assert client.fetch(FIRST) == PAGE
    assert clock.slept == [0.75, 1.5]


@pytest.mark.parametrize("before", [[], [EMPTY]])
def test_fetch__proxy_that_refuses(open_client: OpenClient, before: list[Step]) -> None:
    """A proxy's refusal is not the answer of ALM's host, and is not waited for."""
    client = open_client(*before, (407, {}, b""))
    for _ in before:
        client.fetch(FIRST)

    assert type(failed(client)) is UntrustedHostError
    assert client.has_answered == bool(before)


class Meanwhile:
    """A clock during whose first sleep something happens."""

    def __init__(self, clock: VirtualClock, happen: Callable[[], None]) -> None:
        self.slept = clock.slept
        self._clock = clock
        self._pending = [happen]

    def monotonic(self) -> float:
        """Return the seconds of the clock."""
        return self._clock.monotonic()

    def now(self) -> datetime:
        """Return the moment of the clock."""
        return self._clock.now()

    def sleep(self, seconds: float) -> None:
        """Sleep; the first time something happens at the end of it."""
        self._clock.sleep(seconds)
        if self._pending:
            self._pending.pop()()


def test_fetch__refused_while_waiting(
    open_client: OpenClient, rate_limiter: RateLimiter, clock: VirtualClock, sent: Sent
) -> None:
    """A request that waits for the quota waits again if another one is refused meanwhile."""
    block(rate_limiter, clock, 10)
    meanwhile = Meanwhile(clock, lambda: block(rate_limiter, clock, 50))

    open_client(EMPTY, clock=meanwhile, jitter=0.0).fetch(FIRST)

    assert (clock.slept, len(sent)) == ([10, 50], 1)


def test_fetch__interrupted_while_waiting(
    open_client: OpenClient, rate_limiter: RateLimiter, clock: VirtualClock
) -> None:
    """A signal during the wait releases the booking for other runs."""
    before = use_up(rate_limiter, clock, 5)
    rate_limiter.release(clock.monotonic())

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_client(EMPTY, clock=Meanwhile(clock, interrupt), jitter=0.0).fetch(FIRST)

    assert rate_limiter.acquire(clock.monotonic()) == pytest.approx(before - clock.slept[0])


def test_fetch__refusal_blocks_the_credential(
    open_client: OpenClient, rate_limiter: RateLimiter, clock: VirtualClock
) -> None:
    """A refused request blocks every other one of the credential until the same moment."""
    refused_at = clock.monotonic()

    open_client((429, {"retry-after": "50"}, b""), EMPTY, jitter=0.0).fetch(FIRST)

    assert rate_limiter.acquire(refused_at) == pytest.approx(50)


def test_fetch__a_long_refusal_blocks_for_a_minute(
    open_client: OpenClient, rate_limiter: RateLimiter, clock: VirtualClock
) -> None:
    """A refused request waits as long as ALM names; other requests may try after a minute."""
    refused_at = clock.monotonic()

    open_client((429, {"retry-after": "200"}, b""), EMPTY, jitter=0.0).fetch(FIRST)

    assert clock.slept == [200]
    assert rate_limiter.acquire(refused_at) == pytest.approx(60)


def test_fetch__block_outlasts_the_run(
    open_client: OpenClient, rate_limiter: RateLimiter, clock: VirtualClock, sent: Sent
) -> None:
    """A run that a refusal ends leaves the credential blocked: the next run sends nothing."""
    step = (429, {"retry-after": "50"}, b"")

    errors = [failed(open_client(step, deadline=25, jitter=0.0)) for _ in range(3)]

    assert len(sent) == 1
    assert {error.http_status for error in errors} == {429}
    assert len({error.retry_at for error in errors}) == 1
    assert rate_limiter.acquire(clock.monotonic()) == pytest.approx(50, abs=1)


def test_fetch__logs_each_wait(open_client: OpenClient, caplog: pytest.LogCaptureFixture) -> None:
    """Each failed attempt is logged once, with its wait and the request id."""
    open_client((503, {"x-request-id": "trace"}, b""), EMPTY).fetch(FIRST)

    text = "ALM failed while reading user 5 (503), retrying in 0.50 s"
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [f"{text} (attempt 1 of 5, request id trace)"]


class SlowBody(io.BytesIO):
    """A body that takes a quarter of a second."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(EMPTY[2])
        self._clock = clock

    def read1(self, size: int | None = -1, /) -> bytes:
        """Return all of it, late."""
        piece = super().read1(size)
        if piece:
            self._clock.sleep(0.25)
        return piece


def test_fetch__logs_milliseconds(
    open_client: OpenClient, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The debug log says how long a response took."""
    caplog.set_level("DEBUG", logger="connector")

    open_client((200, {}, SlowBody(clock))).fetch(FIRST)

    text = f"GET {FIRST.address}: status 200 after 250 ms, request id none"
    assert [record.getMessage() for record in caplog.records] == [text]


def test_fetch__logs_no_secret(
    open_client: OpenClient,
    rate_limiter: RateLimiter,
    clock: VirtualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The debug log has each request and each wait, and no secret of a refresh."""
    caplog.set_level("DEBUG", logger="connector")
    block(rate_limiter, clock, 2)

    open_client(UNAUTHORIZED, REFRESHED, EMPTY, credentials=ALL_FOUR, jitter=0.0).fetch(FIRST)

    refresh = "https://alm.example/oauth/token/refresh"
    assert [record.getMessage() for record in caplog.records] == [
        "waiting 2.00 s for the quota",
        f"GET {FIRST.address}: status 401 after 0 ms, request id refused",
        "ALM refuses the access token, refreshing it (request id refused)",
        f"POST {refresh}: status 200 after 0 ms, request id none",
        "waiting 0.40 s for the quota",
        f"GET {FIRST.address}: status 200 after 0 ms, request id trace",
    ]


def test_fetch_ahead__page(open_client: OpenClient, sent: Sent) -> None:
    """One request brings the page, which is the result of its fetch."""
    client = open_client(EMPTY)

    ahead = client.fetch_ahead(FIRST)

    assert (ahead, client.fetch(FIRST, ahead)) == (PAGE, PAGE)
    assert (len(sent), client.requests) == (1, 1)


def test_fetch_ahead__never_waits_for_the_quota(
    open_client: OpenClient, rate_limiter: RateLimiter, clock: VirtualClock, sent: Sent
) -> None:
    """Nothing is sent, nor booked, if it would have to wait for the quota."""
    client = open_client()
    block(rate_limiter, clock, 40)
    before = rate_limiter._level

    assert client.fetch_ahead(FIRST) is None
    assert (sent, client.requests, clock.slept) == ([], 0, [])
    assert rate_limiter._level == before


def test_fetch_ahead__never_waits_for_the_host(
    open_client: OpenClient, clock: VirtualClock, sent: Sent
) -> None:
    """In an outage nothing is sent ahead; an unreachable host begins one, and is no attempt."""
    client = open_client(EMPTY, GONE, EMPTY)
    client.fetch(FIRST)

    errors = [client.fetch_ahead(FIRST), client.fetch_ahead(FIRST)]

    assert isinstance(errors[0], UnreachableError)
    assert (errors[1], len(sent), clock.slept) == (None, 2, [])
    assert client.fetch(FIRST, errors[0]) == PAGE
    assert clock.slept == [0.75]


def test_fetch_ahead__secret_in_the_link(
    open_client: OpenClient, sent: Sent, redactor: Redactor
) -> None:
    """A link with a secret is not followed ahead either; nor is its page used."""
    redactor.add("a-long-secret")
    request = next_request(FIRST, "?page[cursor]=x#a-long-secret")
    assert request is not None
    client = open_client()

    assert isinstance(client.fetch_ahead(request), ProtocolError)
    with pytest.raises(ProtocolError, match="secret"):
        client.fetch(request, PAGE)
    assert sent == []


def test_fetch_ahead__is_the_first_attempt(open_client: OpenClient, clock: VirtualClock) -> None:
    """Its failure does not raise or wait; it is the first of five attempts of a needed page."""
    client = open_client(*[BUSY] * 5)

    ahead = client.fetch_ahead(FIRST)
    slept = [*clock.slept]
    with pytest.raises(TemporaryError, match="5 times"):
        client.fetch(FIRST, ahead)

    assert (slept, clock.slept, client.requests) == ([], [0.5, 1, 2, 4], 5)


@pytest.mark.parametrize("status", [400, 403, 404, 406])
def test_fetch_ahead__final_error(open_client: OpenClient, status: int) -> None:
    """An error that no retry helps is raised if the page is needed, without another request."""
    client = open_client((status, {}, b""))

    ahead = client.fetch_ahead(FIRST)
    with pytest.raises(ConnectorError) as caught:
        client.fetch(FIRST, ahead)

    assert caught.value is ahead
    assert client.requests == 1


@pytest.mark.parametrize(("deadline", "seconds"), [(600, 50), (25, 50)])
def test_fetch_ahead__refusal_blocks_the_credential(
    open_client: OpenClient,
    rate_limiter: RateLimiter,
    clock: VirtualClock,
    deadline: float,
    seconds: float,
) -> None:
    """A refused request blocks the limiter at once, whether or not its page is needed."""
    client = open_client((429, {"retry-after": "50"}, b""), deadline=deadline, jitter=0.0)

    ahead = client.fetch_ahead(FIRST)

    assert isinstance(ahead, TemporaryError)
    assert rate_limiter.blocked_for(clock.monotonic()) == pytest.approx(seconds, abs=1)
    assert clock.slept == []


def test_fetch_ahead__refreshes_when_needed(open_client: OpenClient, sent: Sent) -> None:
    """A token that was refused ahead is refreshed as soon as the page is needed."""
    client = open_client(UNAUTHORIZED, UNAUTHORIZED, REFRESHED, EMPTY, EMPTY, credentials=ALL_FOUR)

    ahead = client.fetch_ahead(FIRST)

    assert methods(sent) == ["GET"]
    assert client.fetch(FIRST, ahead) == PAGE
    assert methods(sent) == ["GET", "GET", "POST", "GET"]
    assert client.fetch(FIRST, ahead) == PAGE
    assert methods(sent)[4:] == ["GET"]


def test_fetch_ahead__leaves_random_to_the_caller(
    scripted: Callable[..., HTTPAdapter], rate_limiter: RateLimiter, redactor: Redactor
) -> None:
    """A failure draws nothing from random: the caller may have seeded it, and gone on."""
    client = Client(
        "https://alm.example",
        TokenSource(Credentials(SecretStr("the-token")), redactor),
        rate_limiter,
        Deadline(VirtualClock(), 600),
        adapter=scripted(BUSY),
    )
    before = random.getstate()

    assert isinstance(client.fetch_ahead(FIRST), TemporaryError)

    assert random.getstate() == before


def test_fetch_ahead__after_the_end(open_client: OpenClient, sent: Sent) -> None:
    """A thread of an ended run sends nothing."""
    client = open_client(EMPTY)
    client.close()

    with pytest.raises(RunEndedError):
        client.fetch_ahead(FIRST)

    assert sent == []


def test_fetch_ahead__sends_the_token(open_client: OpenClient, sent: Sent) -> None:
    """Without a token yet, one is requested first."""
    open_client(REFRESHED, EMPTY, credentials=TRIO).fetch_ahead(FIRST)

    assert methods(sent) == ["POST", "GET"]
    assert sent[1].headers["Authorization"] == "oauth fresh-token"


def test_fetch_ahead__refusal_without_a_time(
    open_client: OpenClient, rate_limiter: RateLimiter, clock: VirtualClock
) -> None:
    """A refusal that names no time blocks as long as a first attempt's does."""
    refusal: Step = (429, {}, b"")
    open_client(refusal, jitter=1.0).fetch_ahead(FIRST)
    ahead = rate_limiter.blocked_for(clock.monotonic())
    other = RateLimiter()
    client = open_client(refusal, jitter=1.0, deadline=ahead)
    client._rate_limiter = other

    failed(client)

    assert other.blocked_for(clock.monotonic()) == pytest.approx(ahead)


def test_redacted__part_of_a_secret(open_client: OpenClient, redactor: Redactor) -> None:
    """From what an error quotes of ALM, parts of secrets are removed too."""
    redactor.add("a-secret-of-thirty-characters!")
    error = TemporaryError('ALM says "secret-of-thirty-chara" now.', hint="Run again.")

    assert open_client().redacted(error).message == 'ALM says "***" now.'


def test_redacted__error(open_client: OpenClient, redactor: Redactor) -> None:
    """An error is redacted in a copy: ALM may have sent a secret back."""
    redactor.add("the-token")
    error = TemporaryError(
        "ALM says the-token.", hint="Run again.", request_id="x-the-token", retry_after="the-token"
    )

    redacted = open_client().redacted(error)

    assert str(redacted) == "ALM says ***. Run again. (request id x-***)"
    assert (redacted.retry_after, error.message) == (None, "ALM says the-token.")


def test_close__unused(open_client: OpenClient) -> None:
    """A client that has sent nothing can be closed."""
    open_client().close()
