"""From the first page to the one without a next link, and never without end."""

from __future__ import annotations

import json
from itertools import count
from typing import TYPE_CHECKING, cast

import pytest

from connector.alm.pagination import MAX_PAGES, walk
from connector.alm.protocol import Page, PageRequest, Query, first_request
from connector.errors import ProtocolError, TemporaryError, UserNotFoundError, error_as_dict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import requests

    from connector.alm.client import Client

FIRST = first_request("https://alm.example", "5", Query(("course",), "dateEnrolled", None, (), 10))


class FakeClient:
    """Answers each fetch with the next of *steps*, and keeps the requests."""

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

    def as_client(self) -> Client:
        """Return itself as what it stands in for."""
        return cast("Client", self)


def page(link: str | None) -> Page:
    """Return a page with this next link."""
    return Page("5", None, [], [], link, "trace")


def at(cursor: str) -> PageRequest:
    """Return the request for the page at *cursor*."""
    return PageRequest("5", FIRST.url, (*FIRST.parameters, ("page[cursor]", cursor)), cursor)


def test_walk__single_page() -> None:
    """A page without a next link is the last."""
    client = FakeClient([page(None)])

    assert list(walk(client.as_client(), FIRST)) == [(page(None), None)]
    assert client.fetched == [FIRST]


def test_walk__several_pages() -> None:
    """Pages come in order, each with the request that its link stands for, however the link is written."""
    links = ["?page[cursor]=a", "/primeapi/v2/users/5/enrollments?page[cursor]=b", None]
    client = FakeClient(map(page, links))

    assert list(walk(client.as_client(), FIRST)) == [
        (page(links[0]), at("a")),
        (page(links[1]), at("b")),
        (page(None), None),
    ]
    assert client.fetched == [FIRST, at("a"), at("b")]


def test_walk__asks_only_when_wanted() -> None:
    """Who has read enough simply stops: the next page is not asked for."""
    client = FakeClient([page("?page[cursor]=a"), AssertionError("asked for too much")])

    assert next(walk(client.as_client(), FIRST)) == (page("?page[cursor]=a"), at("a"))
    assert client.fetched == [FIRST]


@pytest.mark.parametrize(
    "error", [TemporaryError("busy", hint="wait"), UserNotFoundError("gone", hint="check")]
)
def test_walk__failure(error: Exception) -> None:
    """What a page fails with ends the walk as it is; the pages before it were handed on."""
    client = FakeClient([page("?page[cursor]=a"), error])
    pages = walk(client.as_client(), FIRST)

    first = next(pages)
    with pytest.raises(type(error)) as caught:
        next(pages)

    assert (first, caught.value) == ((page("?page[cursor]=a"), at("a")), error)


def test_walk__foreign_link() -> None:
    """A link to elsewhere ends the walk, and nothing is sent there."""
    client = FakeClient([page("https://evil.example/?page[cursor]=a")])

    with pytest.raises(ProtocolError, match="leads to another host"):
        list(walk(client.as_client(), FIRST))

    assert client.fetched == [FIRST]


def test_walk__does_not_end() -> None:
    """Pages without end, each with a new cursor, are given up after 10,000."""
    client = FakeClient(page(f"?page[cursor]={number}") for number in count())

    with pytest.raises(ProtocolError) as caught:
        list(walk(client.as_client(), FIRST))

    assert error_as_dict(caught.value) == {
        "code": 76,
        "message": "ALM's pages for user 5 do not end: 10000 were read.",
        "hint": "No learner has so many enrollments; report it with the request id.",
        "http_status": None,
        "request_id": "trace",
        "retry_at": None,
    }
    assert len(client.fetched) == MAX_PAGES


def test_walk__just_ends() -> None:
    """The 10,000th page may be the last."""
    client = FakeClient(
        map(page, [f"?page[cursor]={number}" for number in range(MAX_PAGES - 1)] + [None])
    )

    assert len(list(walk(client.as_client(), FIRST))) == MAX_PAGES


def test_walk__through_the_client(
    open_client: Callable[..., Client], sent: list[requests.PreparedRequest]
) -> None:
    """Through the real client the cursor goes back percent-encoded, the run's own parameters before it."""
    body = json.dumps(
        {"data": [], "links": {"next": "?page[limit]=99&page[cursor]=a+b=="}}
    ).encode()

    pages = list(walk(open_client((200, {}, body), (200, {}, b'{"data":[]}')), FIRST))

    assert len(pages) == 2
    assert [request.url for request in sent] == [
        FIRST.address,
        f"{FIRST.address}&page%5Bcursor%5D=a%2Bb%3D%3D",
    ]
