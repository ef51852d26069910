"""From the first page to the last: which request a next link stands for, and the pages in order."""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import unquote, urlencode, urljoin, urlsplit

from connector.alm.protocol import PageRequest
from connector.compact_set import canonical_id
from connector.errors import ProtocolError
from connector.text import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from connector.alm.protocol import Page

MAX_PAGES = 10_000
# Proxies refuse longer request lines.
MAX_LINK_CHARACTERS = 16_384
CURSOR = "page[cursor]"


def next_request(first: PageRequest, link: str | None) -> PageRequest | None:
    """Return the request that *link* stands for; ``None`` without a link, on the last page.

    The link is data: only its query is used, on the origin and path of *first*, whatever host it
    names, and the run's own parameters keep their values. Raises ProtocolError for a link that
    names another user or endpoint, or has user info, and for one that is no URL.
    """
    if link is None:
        return None
    if len(link) > MAX_LINK_CHARACTERS:
        _refuse(link, f"is longer than {MAX_LINK_CHARACTERS} characters")
    # urlsplit drops control characters silently; half a surrogate pair cannot be sent.
    if not link.isprintable() and re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", link):
        _refuse(link, "is no URL")
    try:
        # Most links are absolute; to join costs more than all the rest.
        target = urlsplit(link if link.startswith(first.url) else urljoin(first.url, link))
    except ValueError:
        _refuse(link, "is no URL")
    if "@" in target.netloc:
        _refuse(link, "has user info")
    if target.path != urlsplit(first.url).path and not _is_of_user(target.path, first.user_id):
        _refuse(link, "leads to another path")
    own_names = {name for name, _ in first.parameters}
    query = _parse_query(target.query)
    added = [(name, value) for name, value in query if name not in own_names]
    # Without a cursor everything that the link adds identifies the page, so a loop is noticed.
    cursor = dict(added).get(CURSOR) or urlencode(added)
    foreign = [pair for pair in query if pair not in first.parameters]
    parts = (target.netloc, target.fragment, *chain.from_iterable(foreign))
    return PageRequest(first.user_id, first.url, (*first.parameters, *added), cursor, parts)


def _is_of_user(path: str, user_id: str) -> bool:
    """Return whether *path* ends as that of the user's enrollments, behind whatever a host has."""
    match = re.search(r"/users/([0-9]+)/enrollments/?\Z", unquote(path))
    return match is not None and canonical_id(match[1]) == canonical_id(user_id)


def _parse_query(query: str) -> list[tuple[str, str]]:
    # ALM does not encode the base64 in its links: a plus is a plus, not a form's space.
    pairs = [part.partition("=") for part in query.split("&") if part]
    if "%" not in query:
        return [(name, value) for name, _, value in pairs]
    return [(unquote(name), unquote(value)) for name, _, value in pairs]


def _refuse(link: str, reason: str) -> NoReturn:
    raise ProtocolError(
        f"ALM's link to the next page {reason}: {quoted(link)}.",
        hint="The connector did not follow it, because it is not this user's next page."
        " Look for a proxy between this machine and ALM.",
    )


def read_pages(
    fetch: Callable[[PageRequest], Page], first: PageRequest
) -> Iterator[tuple[Page, PageRequest | None]]:
    """Yield every page from *first* to the last, in order, each with the request for the next one.

    *fetch* returns the page for a request. Raises ProtocolError for a link that must not be
    followed, and after ``MAX_PAGES``.
    """
    request = first
    for _ in range(MAX_PAGES):
        page = fetch(request)
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
        hint="Report this with the request id.",
        request_id=page.request_id,
    )
