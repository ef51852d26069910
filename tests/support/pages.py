"""Enrollments in pages, as ALM writes them: bodies, cursors and raw HTTP responses."""

from __future__ import annotations

import base64
import json
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

USER = "31"
PAGE_SIZE = 2
IDS = ("course:1_11_31", "course:2_21_31", "course:3_31_31")
FRESH_TOKEN = "fresh-canary+t0ken/2=="
#: The server's own time when it first answered in a run.
ANSWERED_AT = datetime(2023, 6, 29, 11, 59, 58, tzinfo=UTC)
_TYPES = ("jobAid", "course", "learningProgram", "certification")


def record(enrollment_id: str, **attributes: Any) -> dict[str, Any]:
    """Return the enrollment *enrollment_id* as a JSON:API resource."""
    instance, _, user = enrollment_id.rpartition("_")
    related = {
        "learner": user,
        "learningObject": instance.rpartition("_")[0],
        "loInstance": instance,
    }
    dates = {"state": "ENROLLED", "dateEnrolled": "2023-06-29T11:34:50.000Z"}
    return {
        "id": enrollment_id,
        "type": "learningObjectInstanceEnrollment",
        "attributes": dates | attributes,
        "relationships": {
            name: {"data": {"id": related_id, "type": name}} for name, related_id in related.items()
        },
    }


def page(ids: Sequence[str], next_link: str | None = None) -> dict[str, Any]:
    """Return the JSON:API document of a page."""
    links = {"next": next_link} if next_link else {}
    return {"links": links, "data": [record(enrollment_id) for enrollment_id in ids]}


def body_of(document: object) -> bytes:
    """Return *document* as bytes of JSON."""
    return json.dumps(document).encode()


def answer(status: int, body: bytes = b"", *headers: str, reason: str = "Some") -> bytes:
    """Return a raw response with its Content-Length."""
    lines = [f"HTTP/1.1 {status} {reason}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def head(*headers: str, status: int = 200) -> bytes:
    """Return the head of a raw response."""
    return "\r\n".join([f"HTTP/1.1 {status} OK", *headers, "", ""]).encode("latin-1")


def chunked(body: bytes, *headers: str) -> bytes:
    """Return a raw response with *body* in two chunks."""
    half = len(body) // 2
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:half], body[half:]))
    return head("Transfer-Encoding: chunked", *headers) + chunks + b"0\r\n\r\n"


def count_cursor(served: Sequence[str]) -> str:
    """Return ALM's cursor after *served*: how many of each type were served."""
    counts = Counter(enrollment_id.partition(":")[0] for enrollment_id in served)
    text = json.dumps({name: counts[name] for name in _TYPES}, separators=(",", ":"))
    return base64.b64encode(text.encode()).decode()


def offset_of(cursor: str | None) -> int:
    """Return how many enrollments were served before *cursor*."""
    counts: dict[str, int] = json.loads(base64.b64decode(cursor)) if cursor else {}
    return sum(counts.values())


def next_link(user_id: str, cursor: str) -> str:
    """Return ALM's link to the page after *cursor*."""
    return f"/primeapi/v2/users/{user_id}/enrollments?page[cursor]={cursor}"


def ids_of_user(user_id: str) -> list[str]:
    """Return the enrollments of *user_id*: every user has those of user 31."""
    return [enrollment_id.removesuffix(USER) + user_id for enrollment_id in IDS]


def page_body(user_id: str, cursor: str | None) -> bytes:
    """Return the body of the page of *user_id* after *cursor*."""
    ids, start = ids_of_user(user_id), offset_of(cursor)
    end = start + PAGE_SIZE
    link = next_link(user_id, count_cursor(ids[:end])) if end < len(ids) else None
    return body_of(page(ids[start:end], link))


def respond(method: str, user_id: str, cursor: str | None) -> bytes:
    """Return the response of an ALM without faults: a page, or a fresh token."""
    if method == "POST":
        return answer(200, body_of({"access_token": FRESH_TOKEN, "expires_in": 604800}))
    return answer(200, page_body(user_id, cursor))


def letter_of(method: str, cursor: str | None) -> str:
    """Return ``A`` for a first page, ``B`` for a second one, ``R`` for a refresh."""
    return "R" if method == "POST" else chr(ord("A") + offset_of(cursor) // PAGE_SIZE)
