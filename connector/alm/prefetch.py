"""Requests the next pages of one user ahead, and uses each only if ALM's own link names it.

ALM's cursors count what was served, so those of the next pages can be predicted. Pages that are
read at the same time may be of different moments: if an enrollment is inserted between two pages,
the page behind it must be read later than they were, to show the enrollment that moved up twice.
So the next requests are sent after all pages of the last ones, and the last page is never one
that was requested ahead.
"""

from __future__ import annotations

import base64
import json
import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING

from connector.alm.completeness import decode_cursor
from connector.alm.pagination import CURSOR
from connector.alm.protocol import Page

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from connector.alm.client import Client
    from connector.alm.protocol import PageRequest
    from connector.errors import ConnectorError

#: Pages requested at once: the one that ALM named, and those predicted to follow it.
MAX_AT_ONCE = 4


class Prefetcher:
    """Fetches the pages of one reading, the next ones ahead of ALM's links to them.

    *page_limit* records fill a page; *max_enrollments* are enough, if that is not ``None``. After
    a link other than the predicted one, or an error, it predicts no more.
    """

    def __init__(self, client: Client, page_limit: int, max_enrollments: int | None) -> None:
        self._client = client
        self._page_limit = page_limit
        self._max_enrollments = max_enrollments
        self._is_reliable = True
        # In the order of the pages; ``None`` is the result of a request that was not sent.
        self._ahead: deque[tuple[PageRequest, Future[Page | ConnectorError | None]]] = deque()

    def fetch(self, request: PageRequest) -> Page:
        """Return the page for *request*, the first one or one that ALM named.

        Raises what ``Client.fetch`` raises.
        """
        # What could not be sent at once is predicted anew, with the pages behind it.
        while self._ahead and _is_unsent(self._ahead[-1][1]):
            self._ahead.pop()
        if not self._ahead:
            self._request_ahead(request)
            return self._client.fetch(request)
        predicted, future = self._ahead.popleft()
        if predicted != request:
            self._ahead.clear()
            self._is_reliable = False
            return self._client.fetch(request)
        result = future.result()
        if isinstance(result, Page):
            is_last = result.next_link is None
            return self._client.fetch(request, None if is_last else result)
        self._is_reliable = self._is_reliable and result is None
        return self._client.fetch(request, result)

    def _request_ahead(self, request: PageRequest) -> None:
        """Request the pages that are predicted to follow *request*, each in a thread."""
        if not self._is_reliable:
            return
        for predicted in predict(request, self._page_limit, self._max_enrollments):
            future: Future[Page | ConnectorError | None] = Future()
            try:
                threading.Thread(target=self._send, args=(predicted, future), daemon=True).start()
            except RuntimeError:
                # The system starts no further thread: go on without.
                self._is_reliable = False
                return
            self._ahead.append((predicted, future))

    def _send(self, request: PageRequest, future: Future[Page | ConnectorError | None]) -> None:
        try:
            future.set_result(self._client.fetch_ahead(request))
        except BaseException as error:  # noqa: BLE001 - raised in the thread that needs the page
            future.set_exception(error)


def _is_unsent(future: Future[Page | ConnectorError | None]) -> bool:
    return future.done() and future.exception() is None and future.result() is None


def predict(
    request: PageRequest, page_limit: int, max_enrollments: int | None = None
) -> Iterator[PageRequest]:
    """Yield the requests that follow *request* if every page is full, and are wanted.

    None do unless its cursor counts records of one type, byte for byte as ALM writes it.
    """
    cursor = request.cursor or ""
    counts = decode_cursor(cursor)
    if counts is None or _encode_cursor(counts) != cursor:
        return
    served = [lo_type for lo_type, count in counts.items() if count]
    if len(served) != 1 or counts[served[0]] % page_limit:
        return
    for _ in range(MAX_AT_ONCE - 1):
        counts[served[0]] += page_limit
        if max_enrollments is not None and counts[served[0]] >= max_enrollments:
            return
        following = _encode_cursor(counts)
        parameters = tuple(
            (name, following if name == CURSOR else value) for name, value in request.parameters
        )
        yield replace(request, parameters=parameters, cursor=following)


def _encode_cursor(counts: Mapping[str, int]) -> str:
    return base64.b64encode(json.dumps(counts, separators=(",", ":")).encode()).decode()
