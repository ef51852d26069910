"""An ALM without a network, on the clock of the runs: pages, quota, tokens, outages, failures."""

from __future__ import annotations

import json
import resource
import threading
from dataclasses import dataclass, field
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from connector.alm.protocol import Response
from connector.alm.retry import out_of_time
from connector.alm.transport import READ_SECONDS, RunEndedError
from connector.errors import TemporaryError, UnreachableError
from tests.support.pages import count_cursor, offset_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from pydantic import SecretStr

    from connector.clock import Clock, Deadline

    # What a request is answered with instead of its page: a status and a body; ``None`` for a page.
    Fault = Callable[[str], tuple[int, str] | None]

_HEAD = '{"links":%s,"data":[%s]}'
_RECORD = (
    '{"id":"%s","type":"learningObjectInstanceEnrollment",'
    '"attributes":{"dateEnrolled":"%s","state":"ENROLLED"}}'
)
DATE = "2023-01-01T00:00:00.000Z"


@dataclass
class Quota:
    """A leaky bucket, as ALM's own; ``None`` of a request that fits, else when to come back."""

    per_minute: float = 100.0
    burst: float = 30.0
    level: float = 0.0
    drained_at: float = 0.0

    def take(self, now: float) -> float | None:
        """Take one request; return the seconds to wait if it is one too many."""
        rate = self.per_minute / 60
        self.level = max(self.level - (now - self.drained_at) * rate, 0.0)
        self.drained_at = now
        if self.level > self.burst + 1:
            return (self.level - self.burst) / rate
        self.level += 1
        return None


@dataclass
class FakeAlm:
    """What ALM has and does. *enrollments_of* returns a user's ids and dates, oldest first.

    Between the moments of each of *outages* it cannot be reached. A token is valid for
    *token_seconds*; ``None`` accepts every token.
    """

    clock: Clock
    enrollments_of: Callable[[str], Sequence[tuple[str, str]]]
    latency_of: Callable[[str], float] = lambda _: 0.0
    fault: Fault = lambda _: None
    #: The ``Retry-After`` of every fault.
    retry_after: str = ""
    now: Callable[[], datetime] | None = None
    quota: Quota | None = None
    outages: Sequence[tuple[float, float]] = ()
    token_seconds: float | None = None
    page_size: int = 10
    #: The users of the requests that reached it, and how many connections failed.
    requests: list[str] = field(default_factory=list)
    refreshes: int = 0
    unreachable: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _token_made_at: float = float("-inf")
    _dated_at: tuple[datetime | None, str] = (None, "")

    def transport(self, _url: str, deadline: Deadline, *_: object) -> FakeTransport:
        """Return the transport of a run."""
        return FakeTransport(self, deadline)

    def answer(self, method: str, user_id: str, query: str, token: str) -> Response:
        """Return the response to a request that has reached ALM."""
        now = self.clock.monotonic()
        headers = {"date": self._date(), **self._quota_headers}
        if method == "POST":
            self.refreshes += 1
            self._token_made_at = now
            body = json.dumps({"access_token": f"token-of-refresh-{self.refreshes}"})
            return Response(200, headers, body.encode())
        self.requests.append(user_id)
        wait = self.quota and self.quota.take(now)
        if wait:
            return Response(429, {**headers, "retry-after": f"{wait:.3f}"}, b"")
        is_valid = token == f"token-of-refresh-{self.refreshes}"
        if self.token_seconds and not (is_valid and now < self._token_made_at + self.token_seconds):
            return Response(401, headers, b"")
        if fault := self.fault(user_id):
            named = {"retry-after": self.retry_after} if self.retry_after else {}
            return Response(fault[0], {**headers, **named}, fault[1].encode())
        return Response(200, headers, self._page(user_id, query).encode())

    def _date(self) -> str:
        moment = (self.now or self.clock.now)().replace(microsecond=0)
        if moment != self._dated_at[0]:
            self._dated_at = moment, format_datetime(moment, usegmt=True)
        return self._dated_at[1]

    @property
    def _quota_headers(self) -> dict[str, str]:
        if self.quota is None:
            return {}
        return {
            "x-rate-limit": f"{self.quota.per_minute:g}r/m",
            "x-burst": f"{self.quota.burst:g}",
        }

    def _page(self, user_id: str, query: str) -> str:
        served = list(self.enrollments_of(user_id))
        if "sort=-" in query:
            served.reverse()
        start = 0
        if "cursor" in query:
            (cursor,) = parse_qs(query)["page[cursor]"]
            start = offset_of(cursor)
        end = start + self.page_size
        links = "{}"
        if end < len(served):
            cursor = count_cursor([enrollment_id for enrollment_id, _ in served[:end]])
            links = json.dumps({"next": f"?page[cursor]={cursor}"})
        return _HEAD % (links, ",".join([_RECORD % record for record in served[start:end]]))


class FakeTransport:
    """The transport of one run, as ``connector.alm.transport.Transport``."""

    def __init__(self, alm: FakeAlm, deadline: Deadline) -> None:
        self._alm = alm
        self._deadline = deadline
        self._is_closed = False

    def send(
        self,
        method: str,
        url: str,
        subject: str,
        *,
        token: SecretStr | None = None,
        form: Mapping[str, SecretStr] | None = None,  # noqa: ARG002 - as the real one
        read_seconds: float = READ_SECONDS,  # noqa: ARG002 - the same
    ) -> Response:
        """Return the response, after the latency, or raise what the real transport does."""
        if self._is_closed:
            raise RunEndedError
        clock, left = self._alm.clock, self._deadline.left()
        if left <= 0:
            raise out_of_time(self._deadline.seconds, 0, now=clock.now())
        if self._is_away():
            self._alm.unreachable += 1
            raise UnreachableError(f"The host cannot be reached while reading {subject}.", hint="h")
        path, _, query = url.partition("?")
        user_id = path.rpartition("/users/")[2].removesuffix("/enrollments")
        latency = self._alm.latency_of(user_id)
        if latency:
            clock.sleep(min(latency, left))
        if latency >= left:
            raise TemporaryError(f"The host stopped answering while reading {subject}.", hint="h")
        with self._alm._lock:
            secret = token.get_secret_value() if token else ""
            return self._alm.answer(method, user_id, query, secret)

    def close(self) -> None:
        """Let a thread that still reads for an ended run send nothing more."""
        self._is_closed = True

    def _is_away(self) -> bool:
        now = self._alm.clock.monotonic()
        return any(start <= now < end for start, end in self._alm.outages)


def one_enrollment(user_id: str) -> list[tuple[str, str]]:
    """Return the only enrollment of a user."""
    return [(f"course:1_2_{user_id}", DATE)]


def facts_of(document: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return how many users a document requested, read, and lists as failed."""
    users = document["users"]
    return users["requested"], users["read"], len(users["failed"])


def resident_bytes() -> int:
    """Return how much memory this process holds."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()
