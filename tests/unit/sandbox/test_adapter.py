"""The adapter answers a session as the server answers it: whatever is tried here in the process holds over HTTP, too."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest
import requests
from urllib3.exceptions import DecodeError

from connector.sandbox import (
    ACCESS_TOKEN,
    CLIENT_ID,
    CLIENT_SECRET,
    REFRESH_TOKEN,
    Sandbox,
    Settings,
)
from connector.sandbox.adapter import SandboxAdapter
from connector.sandbox.faults import IN_THE_ANSWER, parse_faults
from connector.sandbox.learners import LO_TYPES
from connector.sandbox.server import SandboxServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from connector.clock import Clock

BASE = "https://sandbox.invalid"
USER_7 = f"/primeapi/v2/users/7/enrollments?page[limit]=10&filter.loTypes={','.join(LO_TYPES)}&include=learningObject"
REFRESH = "/oauth/token/refresh"
FORM = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "refresh_token": REFRESH_TOKEN}
HEADERS = {
    "Accept": "application/vnd.api+json",
    "Accept-Encoding": "gzip",
    "Authorization": f"oauth {ACCESS_TOKEN}",
}

Told = tuple[int, str, str, dict[str, str], bytes]


@pytest.fixture
def session() -> Iterator[requests.Session]:
    """Return a session that knows neither proxies nor netrc, and says what the connector says."""
    with requests.Session() as made:
        made.trust_env = False
        made.headers.update(HEADERS)
        yield made


def told(response: requests.Response) -> Told:
    """Return all that came but the moment: status, reason, address, headers, and the body's bytes as they travelled."""
    with response:
        headers = {
            name.lower(): value
            for name, value in response.headers.items()
            if name.lower() != "date"
        }
        return (
            response.status_code,
            response.reason,
            response.url,
            headers,
            response.raw.read(decode_content=False),
        )


def asked(
    session: requests.Session,
    url: str,
    method: str = "GET",
    data: str | None = None,
    **headers: str | None,
) -> Told:
    """Return what *session* is answered."""
    extra = {name.replace("_", "-"): value for name, value in headers.items()}
    return told(
        session.request(
            method, url, data=data, headers=extra, stream=True, allow_redirects=False, timeout=10
        )
    )


def mounted(
    session: requests.Session, clock: Clock, settings: Settings, base: str = BASE
) -> requests.Session:
    """Return *session* with a sandbox in the place of *base*."""
    session.mount(base, SandboxAdapter(Sandbox(settings, clock)))
    return session


@pytest.mark.parametrize(
    ("method", "target", "data", "headers"),
    [
        ("GET", USER_7, None, {}),
        ("GET", USER_7, None, {"Accept_Encoding": "identity"}),
        ("GET", USER_7, None, {"Accept_Encoding": None}),
        (
            "GET",
            "/primeapi/v2/users/20941371/enrollments",
            None,
            {"Authorization": f"Bearer {ACCESS_TOKEN}"},
        ),
        ("GET", "/primeapi/v2/users/%37/enrollments?page%5Blimit%5D=2", None, {}),
        ("GET", USER_7, None, {"Authorization": None}),
        ("GET", USER_7, None, {"Accept": "text/html"}),
        ("GET", "/primeapi/v2/users/7/enrollments?page[limit]=11", None, {}),
        ("GET", "/primeapi/v2/users/404/enrollments", None, {}),
        ("GET", "/primeapi/v2/users/403/enrollments", None, {}),
        ("GET", "/", None, {}),
        ("PUT", USER_7, "{}", {}),
        ("PATCH", USER_7, "{}", {}),
        ("DELETE", USER_7, None, {}),
        ("HEAD", USER_7, None, {}),
        ("POST", REFRESH, urlencode(FORM), {"Content_Type": "application/x-www-form-urlencoded"}),
        ("POST", REFRESH, urlencode({**FORM, "client_secret": "x"}), {}),
        ("POST", f"{REFRESH}?{urlencode(FORM)}", None, {}),
    ],
)
def test_send__as_the_server(
    method: str,
    target: str,
    data: str | None,
    headers: dict[str, str | None],
    session: requests.Session,
    clock: Clock,
) -> None:
    """The same request gets the same status, headers and bytes from adapter and server."""
    with SandboxServer(Settings()) as server:
        over_http = asked(session, server.url + target, method, data, **headers)

    in_the_process = asked(
        mounted(session, clock, Settings(), server.url),
        server.url + target,
        method,
        data,
        **headers,
    )

    assert in_the_process == over_http


@pytest.mark.parametrize("what", sorted(IN_THE_ANSWER))
def test_send__faults_as_the_server(what: str, session: requests.Session, clock: Clock) -> None:
    """Every fault in the answer arrives the same way by both."""
    settings = Settings(faults=parse_faults([f"*:{what}"]), has_excess_header=True)
    with SandboxServer(settings) as server:
        over_http = asked(session, server.url + USER_7)

    in_the_process = asked(mounted(session, clock, settings, server.url), server.url + USER_7)

    assert in_the_process == over_http


@pytest.mark.parametrize(
    "script",
    [
        "*:400",
        "*:401",
        "*:403",
        "*:404",
        "*:406",
        "*:429/0.42",
        "*:500",
        "*:502",
        "*:503",
        "*:504",
        "*:599",
    ],
)
def test_send__statuses_as_the_server(script: str, session: requests.Session, clock: Clock) -> None:
    """Every status of the script arrives the same way by both."""
    settings = Settings(faults=parse_faults([script]))
    with SandboxServer(settings) as server:
        over_http = asked(session, server.url + USER_7)

    in_the_process = asked(mounted(session, clock, settings, server.url), server.url + USER_7)

    assert in_the_process == over_http


@pytest.mark.parametrize("size", [1, 7, 1_000, 1_000_000])
def test_send__streams(size: int, session: requests.Session, clock: Clock) -> None:
    """A streamed body comes in pieces of at most the size asked for, unpacked, and whole in the end."""
    whole = mounted(session, clock, Settings()).get(BASE + USER_7).content

    with session.get(BASE + USER_7, stream=True) as response:
        pieces = list(iter(lambda: response.raw.read1(size, decode_content=True), b""))

    assert b"".join(pieces) == whole
    assert max(map(len, pieces)) <= size
    assert response.headers["content-encoding"] == "gzip"


def test_send__bomb_unpacks_by_pieces(session: requests.Session, clock: Clock) -> None:
    """What unpacks to 40 MB can be stopped after the first piece."""
    mounted(session, clock, Settings(faults=parse_faults(["*:bomb"])))

    with session.get(BASE + USER_7, stream=True) as response:
        piece = response.raw.read1(1_000, decode_content=True)

    assert piece == b" " * 1_000


def test_send__bad_gzip_is_noticed(session: requests.Session, clock: Clock) -> None:
    """A body that is no gzip breaks where it is read, as it does over HTTP."""
    mounted(session, clock, Settings(faults=parse_faults(["*:bad-gzip"])))

    with session.get(BASE + USER_7, stream=True) as response, pytest.raises(DecodeError) as raised:
        response.raw.read1(1_000, decode_content=True)

    assert isinstance(raised.value.__cause__, zlib.error)


def test_send__documented_exchange(
    session: requests.Session, clock: Clock, documented: list[dict[str, object]]
) -> None:
    """A session reads the documented exchange from an address that does not exist."""
    mounted(session, clock, Settings())
    address = f"{BASE}/primeapi/v2/users/20941371/enrollments?page[limit]=3&filter.loTypes=course&sort=dateEnrolled"

    document = session.get(address).json()

    cursor = "eyJqb2JBaWQiOjAsImNvdXJzZSI6MywibGVhcm5pbmdQcm9ncmFtIjowLCJjZXJ0aWZpY2F0aW9uIjowfQ=="
    assert document == {
        "links": {"self": address, "next": f"{address}&page[cursor]={cursor}"},
        "data": documented,
    }


def test_send__walks_by_next_links(session: requests.Session, clock: Clock) -> None:
    """A next link can be asked for as it stands."""
    mounted(session, clock, Settings())
    first = session.get(f"{BASE}/primeapi/v2/users/20941371/enrollments?page[limit]=2").json()

    second = session.get(first["links"]["next"]).json()

    assert [one["id"] for one in second["data"]] == ["course:7236827_7877699_20941371"]
    assert second["links"] == {"self": first["links"]["next"]}


@pytest.mark.parametrize("data", [urlencode(FORM), urlencode(FORM).encode(), FORM])
def test_send__bodies(
    data: str | bytes | dict[str, str], session: requests.Session, clock: Clock
) -> None:
    """A form may come as text, bytes or fields."""
    mounted(session, clock, Settings())

    response = session.post(BASE + REFRESH, data=data)

    assert response.json()["access_token"] == ACCESS_TOKEN


def test_send__one_sandbox_for_all_requests(session: requests.Session, clock: Clock) -> None:
    """The sandbox behind the adapter remembers: numbers go on, the bucket fills."""
    mounted(session, clock, Settings(rate_per_minute=60, burst=1))

    responses = [session.get(BASE + USER_7) for _ in range(3)]

    told_of_each = [
        (response.status_code, response.headers["x-request-id"]) for response in responses
    ]
    assert told_of_each == [(200, "sandbox-1"), (200, "sandbox-2"), (429, "sandbox-3")]
