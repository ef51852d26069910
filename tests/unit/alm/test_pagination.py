"""Which links are followed, and the pages from the first to the last."""

from __future__ import annotations

import json
from itertools import count
from typing import TYPE_CHECKING

import pytest

from connector.alm.pagination import MAX_PAGES, next_request, read_pages
from connector.alm.protocol import Page, PageRequest, Query, first_request
from connector.errors import ProtocolError, TemporaryError
from tests.support.errors import facts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import requests

    from connector.alm.client import Client

HOST = "https://learningmanager.adobe.com"
PATH = "/primeapi/v2/users/20941371/enrollments"
QUERY = Query(("course",), "dateEnrolled", None, (), 10)
FIRST = first_request(HOST, "20941371", QUERY)
CURSOR = "eyJqb2JBaWQiOjAsImNvdXJzZSI6MywibGVhcm5pbmdQcm9ncmFtIjowLCJjZXJ0aWZpY2F0aW9uIjowfQ=="
DOCUMENTED = f"{HOST}{PATH}?page[limit]=10&filter.loTypes=course&sort=dateEnrolled&page[cursor]="
REFUSED = (
    "The connector did not follow it, because it is not this user's next page."
    " Look for a proxy between this machine and ALM."
)


def at(cursor: str, *more: tuple[str, str]) -> PageRequest:
    """Return the request for the page at *cursor*, with *more* parameters."""
    parameters = (*FIRST.parameters, ("page[cursor]", cursor), *more)
    return PageRequest("20941371", FIRST.url, parameters, cursor)


def test_next_request__last_page() -> None:
    """Without a link there is no further request."""
    assert next_request(FIRST, None) is None


@pytest.mark.parametrize(
    ("link", "cursor"),
    [
        pytest.param(f"{DOCUMENTED}{CURSOR}", CURSOR, id="documented"),
        pytest.param(f"{PATH}?page[cursor]={CURSOR}", CURSOR, id="absolute path"),
        pytest.param("enrollments?page[cursor]=x", "x", id="relative path"),
        pytest.param(f"//learningmanager.adobe.com{PATH}?page[cursor]=x", "x", id="host"),
        pytest.param("?page[cursor]=x", "x", id="query only"),
        pytest.param("?page%5Bcursor%5D=fQ%3D%3D", "fQ==", id="percent-encoded"),
        pytest.param("?page%5bcursor%5d=fQ%3d%3d", "fQ==", id="in lower case"),
        pytest.param("?page[cursor]=a+b/c==", "a+b/c==", id="a plus is no space"),
        pytest.param("?page[cursor]=a+b%2Fc==", "a+b/c==", id="encoded in part"),
        pytest.param("?page[cursor]=a%20b%26c", "a b&c", id="a space and an ampersand"),
        pytest.param("?page[cursor]=%C3%A9", "é", id="UTF-8"),
        pytest.param("?page[cursor]=\u2028", "\u2028", id="a line separator"),
        pytest.param("?page[cursor]=x#top", "x", id="fragment"),
        pytest.param("?&page[cursor]=x&", "x", id="empty parts"),
        pytest.param(
            f"HTTPS://LearningManager.Adobe.COM:443{PATH}?page[cursor]=x", "x", id="case, port"
        ),
        pytest.param(
            "/primeapi/v2/users/%32%30941371/enrollments?page[cursor]=x", "x", id="encoded path"
        ),
        pytest.param("?page[cursor]=" + "x" * 16_370, "x" * 16_370, id="longest"),
        *(
            pytest.param(f"{origin}{PATH}?page[cursor]=x", "x", id=f"host {origin}")
            for origin in (
                *("http://learningmanager.adobe.com", "http://learningmanager.adobe.com:443"),
                *("https://custom.example", "//custom.example", "https://captivateprime.adobe.com"),
                *(f"{HOST}:8443", f"{HOST}:0", f"{HOST}:port", f"{HOST}.", "https://[::1]:8443"),
                *("https://gateway.example/alm", "http://prime-api.internal:8080/v2"),
            )
        ),
        pytest.param(f"{PATH}/?page[cursor]=x", "x", id="a slash at the end"),
        pytest.param("/v2/users/020941371/enrollments?page[cursor]=x", "x", id="leading zero"),
    ],
)
def test_next_request__followed(link: str, cursor: str) -> None:
    """However a link to the same user is written, its cursor is sent to the run's own host."""
    assert next_request(FIRST, link) == at(cursor)


@pytest.mark.parametrize(
    "link",
    [
        "?page[limit]=100&filter.loTypes=jobAid&sort=-dateEnrolled&page[cursor]=x",
        "?page%5Blimit%5D=7&page[cursor]=x",
    ],
)
def test_next_request__own_parameters_stay(link: str) -> None:
    """A link cannot change the run's own parameters, however it writes their names."""
    assert next_request(FIRST, link) == at("x")


def test_next_request__extra_parameters() -> None:
    """Parameters that the server adds are sent back, as they may be part of the position."""
    link = "?page[cursor]=x&snapshot=2024&empty="

    assert next_request(FIRST, link) == at("x", ("snapshot", "2024"), ("empty", ""))


@pytest.mark.parametrize(
    ("link", "cursor"),
    [("?page[offset]=10", "page%5Boffset%5D=10"), ("?page[limit]=10", ""), ("?", "")],
)
def test_next_request__without_cursor(link: str, cursor: str) -> None:
    """Without a cursor everything that the link adds counts as one, so a loop is noticed."""
    request = next_request(FIRST, link)

    assert request is not None
    assert request.cursor == cursor


@pytest.mark.parametrize(
    ("link", "reason"),
    [
        *(
            (f"{origin}{PATH}?page[cursor]=x", "has user info")
            for origin in (
                *(f"{HOST}@evil.example", f"{HOST}\\@evil.example", "//alm@evil.example"),
                *(
                    "https://user:pw@learningmanager.adobe.com",
                    "https://@learningmanager.adobe.com",
                ),
            )
        ),
        ("javascript:alert(1)", "leads to another path"),
        ("file:///etc/passwd", "leads to another path"),
        ("https://learningmanager.adobe.com?page[cursor]=x", "leads to another path"),
        ("/primeapi/v2/users/20941372/enrollments?page[cursor]=x", "leads to another path"),
        ("/primeapi/v2/users/209413710/enrollments?page[cursor]=x", "leads to another path"),
        ("/primeapi/v2/users/1/users2/20941371/enrollments", "leads to another path"),
        ("/primeapi/v2/users/20941371/badges", "leads to another path"),
        ("/primeapi/v2/users/20941371/enrollments/1", "leads to another path"),
        ("/primeapi/v2/enrollments?page[cursor]=x", "leads to another path"),
        (f"{HOST}{PATH}s?page[cursor]=x", "leads to another path"),
        ("/primeapi/v2/users/1/../20941371/../20941372/enrollments", "leads to another path"),
        (f"{HOST}{PATH}/../../20941372/enrollments", "leads to another path"),
        ("https:///primeapi/v2/users/20941371/badges", "leads to another path"),
        (f"https://[::1{PATH}", "is no URL"),
        (f"https://[garbage]{PATH}", "is no URL"),
        *(
            (link, "is no URL")
            for link in ("?page[cursor]=a\r\nb", "?page[cursor]=a\tb", "\x00?page[cursor]=a")
        ),
        ("?page[cursor]=\ud800", "is no URL"),
        ("?page[cursor]=\x7f", "is no URL"),
    ],
)
def test_next_request__refused(link: str, reason: str) -> None:
    """A link to another user or endpoint, or with user info, is refused, and quoted."""
    with pytest.raises(ProtocolError) as caught:
        next_request(FIRST, link)

    text = f"ALM's link to the next page {reason}: {json.dumps(link)}. {REFUSED}"
    assert facts(caught.value) == (ProtocolError, text, None, None)


def test_next_request__too_long() -> None:
    """A link that no proxy would accept is refused, and its message is cut."""
    link = "?page[cursor]=" + "x" * 16_371

    with pytest.raises(ProtocolError) as caught:
        next_request(FIRST, link)

    assert caught.value.message == (
        f'ALM\'s link to the next page is longer than 16384 characters: "{link[:200]}\\u2026".'
    )


def test_next_request__path_of_base_url() -> None:
    """Behind a gateway with a path of its own, that path stays."""
    first = first_request("https://gateway.example/alm", "1", QUERY)

    request = next_request(first, f"{HOST}/primeapi/v2/users/1/enrollments?page[cursor]=x")

    assert request is not None
    assert request.url == "https://gateway.example/alm/primeapi/v2/users/1/enrollments"


def test_next_request__parts_of_the_link() -> None:
    """What the link consists of is known, for the search for secrets, but for the run's own."""
    query = "page[limit]=10&page[limit]=3&a=1&page[cursor]=x&a=%32&%62"

    request = next_request(FIRST, f"https://other.example{PATH}?{query}#top")

    assert request is not None
    parts = ("page[limit]", "3", "a", "1", "page[cursor]", "x", "a", "2", "b", "")
    assert request.link_parts == ("other.example", "top", *parts)


class FakeClient:
    """Returns or raises the next of *steps* for each fetch, and records the requests."""

    def __init__(self, steps: Iterable[Page | Exception]) -> None:
        self.fetched: list[PageRequest] = []
        self._steps = iter(steps)

    def fetch(self, request: PageRequest) -> Page:
        """Return or raise the next step."""
        self.fetched.append(request)
        step = next(self._steps)
        if isinstance(step, Exception):
            raise step
        return step


def page(link: str | None) -> Page:
    """Return a page with this next link."""
    return Page("20941371", None, [], [], link, "trace")


def test_read_pages__in_order() -> None:
    """Pages come in order, each with the request for the next one, however its link is written."""
    links = ["?page[cursor]=a", f"{PATH}?page[cursor]=b", None]
    client = FakeClient(map(page, links))

    pages = list(read_pages(client.fetch, FIRST))

    assert pages == [(page(links[0]), at("a")), (page(links[1]), at("b")), (page(None), None)]
    assert client.fetched == [FIRST, at("a"), at("b")]


def test_read_pages__lazy() -> None:
    """A caller that stops early causes no further request."""
    client = FakeClient([page("?page[cursor]=a"), AssertionError("requested too much")])

    assert next(read_pages(client.fetch, FIRST)) == (page("?page[cursor]=a"), at("a"))
    assert client.fetched == [FIRST]


def test_read_pages__failure() -> None:
    """The error of a page is raised as it is, after the pages before it."""
    error = TemporaryError("busy", hint="wait")
    pages = read_pages(FakeClient([page("?page[cursor]=a"), error]).fetch, FIRST)

    first = next(pages)
    with pytest.raises(TemporaryError) as caught:
        next(pages)

    assert (first, caught.value) == ((page("?page[cursor]=a"), at("a")), error)


def test_read_pages__foreign_link() -> None:
    """A page whose link is refused is yielded, then the error is raised; nothing is sent."""
    foreign = page("/primeapi/v2/users/1/enrollments?page[cursor]=a")
    client = FakeClient([foreign])
    pages = read_pages(client.fetch, FIRST)

    assert next(pages) == (foreign, None)
    with pytest.raises(ProtocolError, match="leads to another path"):
        next(pages)
    assert client.fetched == [FIRST]


def test_read_pages__endless() -> None:
    """Pages without end, each with a new cursor, are given up after 10,000."""
    client = FakeClient(page(f"?page[cursor]={number}") for number in count())

    with pytest.raises(ProtocolError) as caught:
        list(read_pages(client.fetch, FIRST))

    text = (
        "ALM's pages for user 20941371 do not end: 10000 were read. Report this with the"
        " request id. (request id trace)"
    )
    assert facts(caught.value) == (ProtocolError, text, None, None)
    assert len(client.fetched) == MAX_PAGES


def test_read_pages__longest() -> None:
    """The 10,000th page may be the last."""
    links = [f"?page[cursor]={number}" for number in range(MAX_PAGES - 1)]
    client = FakeClient(map(page, [*links, None]))

    assert len(list(read_pages(client.fetch, FIRST))) == MAX_PAGES


def test_read_pages__sends_the_cursor(
    open_client: Callable[..., Client], sent: list[requests.PreparedRequest]
) -> None:
    """The client sends a cursor percent-encoded, after the run's own parameters."""
    first = first_request("https://alm.example", "5", QUERY)
    body = b'{"data":[],"links":{"next":"?page[limit]=99&page[cursor]=a+b=="}}'

    pages = list(read_pages(open_client((200, {}, body), (200, {}, b'{"data":[]}')).fetch, first))

    assert len(pages) == 2
    assert [request.url for request in sent] == [
        first.address,
        f"{first.address}&page%5Bcursor%5D=a%2Bb%3D%3D",
    ]
