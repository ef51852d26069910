"""From the first page to the one without a next link. Knows nothing of what the pages hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from connector.alm.protocol import next_request
from connector.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from connector.alm.client import Client
    from connector.alm.protocol import Page, PageRequest

MAX_PAGES = 10_000


def walk(client: Client, first: PageRequest) -> Iterator[tuple[Page, PageRequest | None]]:
    """Yield every page from *first* to the one without a next link, in order, each with the request that its link stands for.

    Raises ProtocolError for a link that must not be followed, and past ``MAX_PAGES``.
    """
    request = first
    for _ in range(MAX_PAGES):
        page = client.fetch(request)
        try:
            following = next_request(first, page.next_link)
        except ProtocolError:
            # The page itself is in order, and may be handed on where an incomplete answer is allowed.
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
