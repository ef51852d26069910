"""Pages requested ahead: which are, which of them are used, and when no more are."""

from __future__ import annotations

import base64
import json
import threading
from typing import TYPE_CHECKING, cast

import pytest

from connector.alm.pagination import next_request, read_pages
from connector.alm.prefetch import MAX_AT_ONCE, Prefetcher, predict
from connector.alm.protocol import Page, PageRequest, Query, first_request
from connector.errors import ConnectorError, TemporaryError

if TYPE_CHECKING:
    from connector.alm.client import Client

FIRST = first_request("https://alm.example", "5", Query(("course",), "dateEnrolled", None, (), 10))
BUSY = TemporaryError("ALM failed.", hint="Run again.", http_status=503)


def cursor_of(served: int, **other: int) -> str:
    """Return ALM's cursor after so many courses."""
    counts = {"jobAid": 0, "course": served, "learningProgram": 0, **other}
    return base64.b64encode(json.dumps(counts, separators=(",", ":")).encode()).decode()


def at(cursor: str, link: str = "?page[cursor]={}") -> PageRequest:
    """Return the request for the page at *cursor*."""
    request = next_request(FIRST, link.format(cursor))
    assert request is not None
    return request


class FakeClient:
    """Has *count* full pages; *links* are the next links of single pages that are others.

    *results* are those of requests ahead of single pages: errors, or ``None`` if not sent.
    """

    def __init__(
        self,
        count: int,
        links: dict[int, int] | None = None,
        results: dict[int, ConnectorError | None] | None = None,
    ) -> None:
        self.in_sequence: list[int] = []
        self.ahead: list[int] = []
        self.given: list[Page | ConnectorError | None] = []
        self._count = count
        self._links = links or {}
        self._results = results or {}

    def fetch(self, request: PageRequest, ahead: Page | ConnectorError | None = None) -> Page:
        """Return the page."""
        if isinstance(ahead, Page):
            return ahead
        self.given.append(ahead)
        self.in_sequence.append(self._number(request))
        return self._page(request)

    def fetch_ahead(self, request: PageRequest) -> Page | ConnectorError | None:
        """Return the page, or what is said of its request."""
        number = self._number(request)
        self.ahead.append(number)
        return self._results.get(number, self._page(request))

    def _page(self, request: PageRequest) -> Page:
        number = self._number(request)
        following = self._links.get(number, number + 1)
        link = f"?page[cursor]={cursor_of(10 * following)}" if following < self._count else None
        return Page("5", request.cursor, [], [], link, None)

    def _number(self, request: PageRequest) -> int:
        counts = json.loads(base64.b64decode(request.cursor)) if request.cursor else {"course": 0}
        number: int = counts["course"] // 10
        return number


def read(client: FakeClient, most: int | None = None) -> list[str | None]:
    """Read all pages ahead of their links, and return their cursors."""
    prefetcher = Prefetcher(cast("Client", client), 10, most)
    return [page.cursor for page, _ in read_pages(prefetcher.fetch, FIRST)]


def cursors(count: int) -> list[str | None]:
    """Return the cursors of so many pages."""
    return [None, *(cursor_of(10 * number) for number in range(1, count))]


def test_predict__full_pages() -> None:
    """The pages that follow have the same parameters, and count so many records more."""
    request = at(f"{cursor_of(20)}&snapshot=1")

    predicted = list(predict(request, 10))

    expected = [at(f"{cursor_of(served)}&snapshot=1") for served in (30, 40, 50)]
    assert predicted == expected
    assert [one.address for one in predicted] == [one.address for one in expected]
    assert len(predicted) + 1 == MAX_AT_ONCE


@pytest.mark.parametrize(
    "cursor",
    [
        "opaque",
        cursor_of(0),
        cursor_of(9),
        cursor_of(10, jobAid=10),
        cursor_of(10).rstrip("="),
        base64.b64encode(b'{"course": 10}').decode(),
        base64.b64encode(b'{"course":10,"course":10}').decode(),
    ],
)
def test_predict__unpredictable(cursor: str) -> None:
    """Nothing follows a cursor that does not count full pages of one type, or is written else."""
    assert list(predict(at(cursor), 10)) == []
    assert list(predict(FIRST, 10)) == []


@pytest.mark.parametrize(("most", "count"), [(None, 3), (41, 3), (40, 2), (30, 1), (20, 0), (1, 0)])
def test_predict__never_past_max_enrollments(most: int | None, count: int) -> None:
    """No page is requested ahead if those before it have as many records as are wanted."""
    assert len(list(predict(at(cursor_of(10)), 10, most))) == count


@pytest.mark.parametrize(
    ("count", "in_sequence", "ahead"),
    [
        (1, [0], []),
        (2, [0, 1], [2, 3, 4]),
        (3, [0, 1, 2], [2, 3, 4]),
        (5, [0, 1, 4], [2, 3, 4]),
        (6, [0, 1, 5], [2, 3, 4, 6, 7, 8]),
        (7, [0, 1, 5, 6], [2, 3, 4, 6, 7, 8]),
    ],
)
def test_fetch__four_at_once(count: int, in_sequence: list[int], ahead: list[int]) -> None:
    """The page that ALM named is requested with the three after it, and the last one by itself.

    An enrollment inserted while they are read moves another one behind a page that was read
    before: only a page read after all others shows it.
    """
    client = FakeClient(count)

    assert read(client) == cursors(count)
    assert (client.in_sequence, sorted(client.ahead)) == (in_sequence, ahead)
    assert len(in_sequence) + len(ahead) <= count + MAX_AT_ONCE - 1


def test_fetch__never_past_max_enrollments() -> None:
    """No page is requested ahead that would come after enough records."""
    client = FakeClient(9)

    read(client, most=35)

    assert (client.in_sequence[:2], sorted(client.ahead)) == ([0, 1], [2, 3])


def test_fetch__link_other_than_predicted() -> None:
    """At the first other link the rest is discarded, and nothing more is predicted."""
    client = FakeClient(12, links={2: 4})

    assert read(client) == [*cursors(3), *cursors(12)[4:]]
    assert client.in_sequence == [0, 1, *range(4, 12)]
    assert sorted(client.ahead) == [2, 3, 4]


@pytest.mark.parametrize("link", ["?page[cursor]={}&a=1", "?a=1&page[cursor]={}"])
def test_fetch__link_with_another_parameter(link: str) -> None:
    """A link with the predicted cursor and another parameter is not the predicted one.

    The pages behind it are discarded, though a later link may name one of them.
    """
    client = FakeClient(12)
    prefetcher = Prefetcher(cast("Client", client), 10, None)
    prefetcher.fetch(at(cursor_of(10)))

    prefetcher.fetch(at(cursor_of(20), link))
    prefetcher.fetch(at(cursor_of(30)))

    assert client.in_sequence == [1, 2, 3]


def test_fetch__error_of_a_page_that_is_needed() -> None:
    """The error counts as the page's first attempt, and nothing more is predicted."""
    client = FakeClient(12, results={3: BUSY})

    assert read(client) == cursors(12)
    assert client.in_sequence == [0, 1, 3, *range(5, 12)]
    assert [one for one in client.given if one] == [BUSY]
    assert sorted(client.ahead) == [2, 3, 4]


def test_fetch__error_of_a_page_that_is_not_needed() -> None:
    """It is discarded."""
    client = FakeClient(3, results={3: BUSY, 4: BUSY})

    assert read(client) == cursors(3)
    assert client.given == [None] * 3


def test_fetch__not_sent() -> None:
    """A request that would have had to wait is sent in its turn, and prediction goes on."""
    client = FakeClient(9, results={3: None})

    assert read(client) == cursors(9)
    assert client.in_sequence == [0, 1, 3, 5, 8]
    assert sorted(client.ahead) == [2, 3, 4, 6, 7, 8]


def test_fetch__rest_not_sent() -> None:
    """If the last ones would have had to wait, the pages after those sent are requested anew."""
    client = FakeClient(9, results={3: None, 4: None, 5: BUSY})
    prefetcher = Prefetcher(cast("Client", client), 10, None)

    for number in (1, 2, 3):
        prefetcher.fetch(at(cursor_of(10 * number)))
        for _, future in prefetcher._ahead:
            future.exception(timeout=10)

    assert client.in_sequence == [1, 3]
    assert sorted(client.ahead) == [2, 3, 4, 4, 5, 6]


def test_fetch__no_further_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the system starts no further thread, the pages are read in sequence."""
    refused: list[threading.Thread] = []

    def refuse(thread: threading.Thread) -> None:
        refused.append(thread)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    client = FakeClient(9)

    assert read(client) == cursors(9)
    assert (client.in_sequence, client.ahead, len(refused)) == ([*range(9)], [], 1)


def test_fetch__threads_do_not_keep_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The threads are daemons: a page that is not needed keeps no process from ending."""
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def record(thread: threading.Thread) -> None:
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", record)

    read(FakeClient(3))

    assert [thread.daemon for thread in started] == [True] * 3


def test_fetch__internal_error_of_a_needed_page() -> None:
    """What nobody expected in a thread is raised in the one that needs the page."""
    client = FakeClient(9)
    client._results = cast("dict[int, ConnectorError | None]", None)

    with pytest.raises(AttributeError):
        read(client)
