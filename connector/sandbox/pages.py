"""One page of a learner's enrollments: filtered, sorted, cut, linked. Knows no HTTP and no faults' timing."""

from __future__ import annotations

import base64
import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from connector.sandbox.learners import DOCUMENTED_USER, LO_TYPES
from connector.sandbox.related import RELATIONSHIPS, related_to

if TYPE_CHECKING:
    from collections.abc import Sequence

    from connector.sandbox.learners import Resource

_OPAQUE = "opaque-"
# The order of the documented cursor and of the documented link.
_CURSOR_TYPES = ("jobAid", "course", "learningProgram", "certification")
_LINKED = ("page[limit]", "filter.loTypes", "filter.states", "sort", "include")
_LIMITS = tuple(map(str, range(1, 11)))
_DOCUMENTED_LIMIT = 3
# Faults of the next link itself: it is there even where nothing follows.
_LINKING = ("loop", "empty-page", "foreign-next", "foreign-user")


class BadParameterError(ValueError):
    """The query breaks ALM's rules; the message says how."""


@dataclass(frozen=True, slots=True)
class PageQuery:
    """What a request asks for. *offset* is how many enrollments came before this page; *given* are the parameters as they came."""

    lo_types: tuple[str, ...]
    limit: int
    offset: int
    is_active: bool
    is_descending: bool
    include: tuple[str, ...]
    given: tuple[tuple[str, str], ...]
    cursor: str | None

    @property
    def number(self) -> int:
        """The page's number, from 1 on."""
        return self.offset // self.limit + 1


def parse_query(text: str) -> PageQuery:
    """Return what the query *text* asks for; repeated and comma-separated lists are the same. Raises BadParameterError."""
    pairs = parse_qsl(text, keep_blank_values=True)
    values = dict(pairs)
    listed = [
        item
        for name, value in pairs
        if name == "filter.loTypes"
        for item in value.split(",")
        if item
    ]
    lo_types = tuple(dict.fromkeys(listed)) or ("course",)
    include = tuple(path for path in values.get("include", "").split(",") if path)
    limit, sort, cursor = (
        values.get("page[limit]", "10"),
        values.get("sort", "dateEnrolled"),
        values.get("page[cursor]"),
    )
    _demand(limit in _LIMITS, f"page[limit] {limit} is not from 1 to 10")
    _demand(set(lo_types) <= set(LO_TYPES), f"filter.loTypes {','.join(lo_types)} is not known")
    _demand(values.get("filter.states", "active") == "active", "filter.states is not active")
    _demand(sort in ("dateEnrolled", "-dateEnrolled"), f"sort {sort} is not known")
    _demand(
        all(path.split(".")[0] in RELATIONSHIPS for path in include),
        f"include {','.join(include)} is not known",
    )
    given = tuple(
        (name, ",".join(listed) if name == "filter.loTypes" else values[name])
        for name in _LINKED
        if name in values
    )
    is_active, is_descending = "filter.states" in values, sort.startswith("-")
    return PageQuery(
        lo_types,
        int(limit),
        decode_cursor(cursor) if cursor else 0,
        is_active,
        is_descending,
        include,
        given,
        cursor,
    )


def _demand(holds: bool, message: str) -> None:  # noqa: FBT001 - reads as the sentence that it is
    if not holds:
        raise BadParameterError(message)


def encode_cursor(served: Sequence[Resource], *, is_opaque: bool = False) -> str:
    """Return the cursor behind *served*: how many of each type came, as in the documented exchange, or the same unreadable."""
    if is_opaque:
        return f"{_OPAQUE}{len(served):06}"
    counts = Counter(lo_type_of(one) for one in served)
    ordered = {lo_type: counts[lo_type] for lo_type in _CURSOR_TYPES}
    return base64.b64encode(json.dumps(ordered, separators=(",", ":")).encode()).decode()


def decode_cursor(cursor: str) -> int:
    """Return how many enrollments came before *cursor*. Raises BadParameterError."""
    counts: list[Any]
    try:
        if cursor.startswith(_OPAQUE):
            counts = [int(cursor.removeprefix(_OPAQUE))]
        else:
            told = json.loads(base64.b64decode(cursor, validate=True))
            counts = [told[lo_type] for lo_type in _CURSOR_TYPES]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadParameterError("page[cursor] is none of this API's") from None
    _demand(
        all(isinstance(count, int) and count >= 0 for count in counts),
        "page[cursor] is none of this API's",
    )
    return sum(counts)


def lo_type_of(enrollment: Resource) -> str:
    """Return the type of learning object, which the id begins with."""
    return str(enrollment["id"]).partition(":")[0]


def build_page(
    enrollments: Sequence[Resource], query: PageQuery, address: str, user_id: str, what: str = ""
) -> dict[str, Any]:
    """Return the JSON:API document of a page; *address* is the URL without its query, *what* the fault that the page is to have."""
    matching = [
        one
        for one in enrollments
        if lo_type_of(one) in query.lo_types and not (query.is_active and _is_over(one))
    ]
    ordered = matching[::-1] if query.is_descending else matching
    end = query.offset + query.limit
    page = ordered[query.offset : end]
    links = {"self": _link(address, query, query.cursor)}
    if end < len(ordered) or what in _LINKING or _is_documented(query, user_id):
        stays = what in ("loop", "empty-page")
        cursor = query.cursor if stays else encode_cursor(ordered[:end], is_opaque=what == "opaque")
        links["next"] = _link(_foreign(address, what), query, cursor)
    page = {
        "gap": page[1:],
        "empty-page": [],
        "duplicate": [*(ordered[query.offset - 1 : query.offset] or page[:1]), *page],
    }.get(what, page)
    document: dict[str, Any] = {"links": links, "data": page}
    if query.include:
        document["included"] = related_to(page, query.include)
    return document


def _is_documented(query: PageQuery, user_id: str) -> bool:
    """Return whether this is the documented request, whose answer has a next link though no enrollment follows."""
    is_first_of_courses = (
        query.offset == 0 and query.lo_types == ("course",) and not query.is_descending
    )
    return user_id == DOCUMENTED_USER and query.limit == _DOCUMENTED_LIMIT and is_first_of_courses


def _is_over(enrollment: Resource) -> bool:
    return enrollment["attributes"]["state"] in ("COMPLETED", "REJECTED")


def _foreign(address: str, what: str) -> str:
    if what == "foreign-next":
        return address.replace("://", "://evil.example/", 1)
    return address.replace("/users/", "/users/9", 1) if what == "foreign-user" else address


def _link(address: str, query: PageQuery, cursor: str | None) -> str:
    # As ALM writes them: neither the brackets nor the base64 encoded.
    written = [
        f"{name}={value}"
        for name, value in (*query.given, *((("page[cursor]", cursor),) if cursor else ()))
    ]
    return f"{address}?{'&'.join(written)}"
