"""What the server knows when nothing goes wrong: learners' enrollments in pages, and answers as ALM writes them."""

from __future__ import annotations

import base64
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.faults.server import Actions, Seen

USER = "31"
PAGE_SIZE = 2
IDS = ("course:1_11_31", "course:2_21_31", "course:3_31_31")
FRESH_TOKEN = "fresh-canary+t0ken/2=="
_TYPES = ("jobAid", "course", "learningProgram", "certification")


def record(enrollment_id: str, **attributes: Any) -> dict[str, Any]:
    """Return the enrollment *enrollment_id* as a JSON:API resource."""
    instance, _, user = enrollment_id.rpartition("_")
    related = {
        "learner": user,
        "learningObject": instance.rpartition("_")[0],
        "loInstance": instance,
    }
    return {
        "id": enrollment_id,
        "type": "learningObjectInstanceEnrollment",
        "attributes": {
            "state": "ENROLLED",
            "dateEnrolled": "2023-06-29T11:34:50.000Z",
            **attributes,
        },
        "relationships": {
            name: {"data": {"id": one, "type": name}} for name, one in related.items()
        },
    }


def page(ids: Sequence[str], next_link: str | None = None) -> dict[str, Any]:
    """Return the JSON:API document of a page."""
    return {"links": {"next": next_link} if next_link else {}, "data": [record(one) for one in ids]}


def body_of(document: object) -> bytes:
    """Return *document* as bytes of JSON."""
    return json.dumps(document).encode()


def answer(status: int, body: bytes = b"", *headers: str, reason: str = "Some") -> bytes:
    """Return an answer as it goes over the wire, with its Content-Length."""
    lines = [f"HTTP/1.1 {status} {reason}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def head(*headers: str) -> bytes:
    """Return the head of a 200 answer."""
    return "\r\n".join(["HTTP/1.1 200 OK", *headers, "", ""]).encode("latin-1")


def chunked(body: bytes, *headers: str) -> bytes:
    """Return a 200 answer in two chunks."""
    half = len(body) // 2
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:half], body[half:]))
    return head("Transfer-Encoding: chunked", *headers) + chunks + b"0\r\n\r\n"


def count_cursor(served: Sequence[str]) -> str:
    """Return ALM's cursor behind *served*: how many of each type came."""
    counts = Counter(one.partition(":")[0] for one in served)
    return base64.b64encode(
        json.dumps({name: counts[name] for name in _TYPES}, separators=(",", ":")).encode()
    ).decode()


def offset_of(cursor: str | None) -> int:
    """Return how many enrollments came before *cursor*."""
    if cursor is None:
        return 0
    counts: dict[str, int] = json.loads(base64.b64decode(cursor))
    return sum(counts.values())


@dataclass(frozen=True, slots=True)
class Book:
    """The enrollments of each user; of a user who is not in it, what *IDS* are of user 31."""

    ids: Mapping[str, Sequence[str]] = field(default_factory=lambda: {USER: IDS})
    size: int = PAGE_SIZE

    def of(self, user_id: str) -> Sequence[str]:
        """Return the enrollments of *user_id*."""
        return self.ids.get(user_id, [one.removesuffix(USER) + user_id for one in IDS])

    def body(self, seen: Seen) -> bytes:
        """Return the body of the page that was asked for."""
        everything, start = self.of(seen.user_id), offset_of(seen.cursor)
        end = start + self.size
        cursor = count_cursor(everything[:end])
        link = (
            f"/primeapi/v2/users/{seen.user_id}/enrollments?page[cursor]={cursor}"
            if end < len(everything)
            else None
        )
        return body_of(page(everything[start:end], link))

    def answer(self, seen: Seen) -> Actions:
        """Return the answer where nothing goes wrong: a page, or a fresh token."""
        if seen.method == "POST":
            return (answer(200, body_of({"access_token": FRESH_TOKEN, "expires_in": 604800})),)
        return (answer(200, self.body(seen)),)


def order(requests: Sequence[Seen], size: int = PAGE_SIZE) -> str:
    """Return the requests in the order they came: ``A`` for a first page, ``B`` for a second, ``R`` for a refresh."""
    return "".join(
        "R" if seen.method == "POST" else chr(ord("A") + offset_of(seen.cursor) // size)
        for seen in requests
    )
