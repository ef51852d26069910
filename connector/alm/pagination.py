"""From the first page to the last: which request a next link stands for, and the pages in order."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import unquote, urlencode, urljoin, urlsplit

from connector.alm.protocol import PageRequest
from connector.errors import ProtocolError
from connector.text import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from urllib.parse import SplitResult

    from connector.alm.client import Client
    from connector.alm.protocol import Page

MAX_PAGES = 10_000
# Proxies refuse longer request lines.
MAX_LINK_CHARACTERS = 16_384
_CURSOR = "page[cursor]"
_DEFAULT_PORTS = {"http": 80, "https": 443}


def next_request(first: PageRequest, link: str | None) -> PageRequest | None:
    """Return the request that *link* stands for; ``None`` without a link, on the last page.

    The link is data: its origin and path must be those of *first*, and only its query is used, in
    which the run's own parameters keep their values. Raises ProtocolError for any other link.
    """
    if link is None:
        return None
    if len(link) > MAX_LINK_CHARACTERS:
        _refuse(link, f"is longer than {MAX_LINK_CHARACTERS} characters")
    # urlsplit drops control characters silently; half a surrogate pair cannot be sent.
    if not link.isprintable() and re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", link):
        _refuse(link, "is no URL")
    own = urlsplit(first.url)
    try:
        # Most links are absolute; to join and compare costs more than all the rest.
        target = urlsplit(link if link.startswith(first.url) else urljoin(first.url, link))
        has_own_origin = target[:2] == own[:2] or _origin(target) == _origin(own)
    except ValueError:
        _refuse(link, "is no URL")
    if not has_own_origin or "@" in target.netloc:
        _refuse(link, "leads to another host")
    if unquote(target.path) != unquote(own.path):
        _refuse(link, "leads to another path")
    own_names = {name for name, _ in first.parameters}
    added = [(name, value) for name, value in _parse_query(target.query) if name not in own_names]
    # Without a cursor everything that the link adds identifies the page, so a loop is noticed.
    cursor = dict(added).get(_CURSOR) or urlencode(added)
    return PageRequest(first.user_id, first.url, (*first.parameters, *added), cursor)


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    port = _DEFAULT_PORTS.get(url.scheme) if url.port is None else url.port
    return url.scheme, url.hostname, port


def _parse_query(query: str) -> list[tuple[str, str]]:
    # ALM does not encode the base64 in its links: a plus is a plus, not a form's space.
    pairs = [part.partition("=") for part in query.split("&") if part]
    if "%" not in query:
        return [(name, value) for name, _, value in pairs]
    return [(unquote(name), unquote(value)) for name, _, value in pairs]


def _refuse(link: str, reason: str) -> NoReturn:
    raise ProtocolError(
        f"ALM's link to the next page {reason}: {quoted(link)}.",
        hint="It was not followed, so that the token goes nowhere else;"
        " check that base_url is ALM's own host for this account.",
    )


def read_pages(client: Client, first: PageRequest) -> Iterator[tuple[Page, PageRequest | None]]:
    """Yield every page from *first* to the last, in order, each with the request for the next one.

    Raises ProtocolError for a link that must not be followed, and after ``MAX_PAGES``.
    """
    request = first
    for _ in range(MAX_PAGES):
        page = client.fetch(request)
        try:
            following = next_request(first, page.next_link)
        except ProtocolError:
            # The page itself is valid, and a run that allows incomplete results uses it.
            yield page, None
            raise
        yield page, following
        if following is None:
            return
        request = following
    raise ProtocolError(
        f"ALM's pages for user {first.user_id} do not end: {MAX_PAGES} were read.",
        hint="No learner has so many enrollments; report it with the request id.",
        request_id=page.request_id,
    )
