"""A page of a learner's enrollments: filtered, sorted, cut, linked. Knows no HTTP."""

from __future__ import annotations

import base64
import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from connector.sandbox.learners import (
    DOCUMENTED_USER,
    LO_TYPES,
    RELATIONSHIPS,
    related_to,
    users_with,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from connector.sandbox.learners import Resource

_OPAQUE = "opaque-"
#: The number by which fault scripts call the look-up of an address.
LOOK_UP_PAGE = 0
# In the order of the documented cursor, and of the documented link.
_CURSOR_TYPES = ("jobAid", "course", "learningProgram", "certification")
_LINKED = ("page[limit]", "filter.loTypes", "filter.states", "sort", "include")
_LIMITS = tuple(map(str, range(1, 11)))
_DOCUMENTED_LIMIT = 3
# Faults of the next link for which the last page has one, too.
_LINK_FAULTS = (
    *("loop", "empty-page", "empty-next", "foreign-path", "foreign-user"),
    *("next-secret", "next-userinfo"),
)


class BadParameterError(ValueError):
    """The query breaks ALM's rules; the message says how."""


@dataclass(frozen=True, slots=True)
class PageQuery:
    """A request for a page; *offset* enrollments come before it, *given* repeats the query."""

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
    """Parse a query; lists may be repeated or separated by commas. Raises BadParameterError."""
    pairs = parse_qsl(text, keep_blank_values=True)
    values = dict(pairs)
    if "filter.loTypes" in values:
        lists = [value for name, value in pairs if name == "filter.loTypes"]
        values["filter.loTypes"] = ",".join(filter(None, ",".join(lists).split(",")))
    lo_types = tuple(dict.fromkeys(filter(None, values.get("filter.loTypes", "").split(","))))
    lo_types = lo_types or ("course",)
    include = tuple(filter(None, values.get("include", "").split(",")))
    limit, sort = values.get("page[limit]", "10"), values.get("sort", "dateEnrolled")
    if limit not in _LIMITS:
        raise BadParameterError(f"page[limit] {limit} is not from 1 to 10")
    if not set(lo_types) <= set(LO_TYPES):
        raise BadParameterError(f"filter.loTypes {','.join(lo_types)} is not known")
    if values.get("filter.states", "active") != "active":
        raise BadParameterError("filter.states is not active")
    if sort not in ("dateEnrolled", "-dateEnrolled"):
        raise BadParameterError(f"sort {sort} is not known")
    if not {path.split(".")[0] for path in include} <= RELATIONSHIPS:
        raise BadParameterError(f"include {','.join(include)} is not known")
    cursor, offset = values.get("page[cursor]"), 0
    if cursor:
        offset = decode_cursor(cursor)
    return PageQuery(
        lo_types=lo_types,
        limit=int(limit),
        offset=offset,
        is_active="filter.states" in values,
        is_descending=sort.startswith("-"),
        include=include,
        given=tuple((name, values[name]) for name in _LINKED if name in values),
        cursor=cursor,
    )


def encode_cursor(served: Sequence[Resource], *, is_opaque: bool = False) -> str:
    """Return the cursor after *served*: their number per type, as documented, or unreadable."""
    if is_opaque:
        return f"{_OPAQUE}{len(served):06}"
    counts = Counter(map(lo_type_of, served))
    ordered = {lo_type: counts[lo_type] for lo_type in _CURSOR_TYPES}
    return base64.b64encode(json.dumps(ordered, separators=(",", ":")).encode()).decode()


def decode_cursor(cursor: str) -> int:
    """Return the number of enrollments before *cursor*. Raises BadParameterError."""
    counts: list[Any]
    try:
        if cursor.startswith(_OPAQUE):
            counts = [int(cursor.removeprefix(_OPAQUE))]
        else:
            decoded = json.loads(base64.b64decode(cursor, validate=True))
            counts = [decoded[lo_type] for lo_type in _CURSOR_TYPES]
    except (ValueError, KeyError, TypeError, RecursionError):
        counts = [None]
    if not all(isinstance(count, int) and count >= 0 for count in counts):
        raise BadParameterError("page[cursor] is not one of this API's")
    return sum(counts)


def lo_type_of(enrollment: Resource) -> str:
    """Return the type of learning object, with which the id begins."""
    return str(enrollment["id"]).partition(":")[0]


def build_page(
    enrollments: Sequence[Resource], query: PageQuery, url: str, user_id: str, fault: str = ""
) -> dict[str, Any]:
    """Return the JSON:API document of a page; *url* is without query.

    *fault* is the name of the fault that it meets, with its value behind a slash if it has one.
    """
    fault_name, _, fault_value = fault.partition("/")
    matching = [
        enrollment
        for enrollment in enrollments
        if lo_type_of(enrollment) in query.lo_types
        and not (query.is_active and enrollment["attributes"]["state"] in ("COMPLETED", "REJECTED"))
    ]
    if query.is_descending:
        matching.reverse()
    if fault_name == "hidden" and len(matching) >= query.limit:
        hidden = _hidden_rows(min(int(fault_value or 1), query.limit))
        start = query.limit - len(hidden)
        matching[start:start] = hidden
    end = query.offset + query.limit
    page = [row for row in matching[query.offset : end] if "attributes" in row]
    links = {"self": _link(url, query, query.cursor)}
    if end < len(matching) or fault_name in _LINK_FAULTS or _is_documented(query, user_id):
        cursor = encode_cursor(matching[:end], is_opaque=fault_name == "opaque")
        next_link = _link(url, query, cursor)
        links["next"] = _faulty_link(next_link, links["self"], fault_name, fault_value)
    if fault_name == "no-data":
        return {"links": {"self": links["self"]}}
    before = matching[query.offset - 1 : query.offset] or page[:1]
    data = _faulty_rows(page, before, fault_name)
    document: dict[str, Any] = {"links": links, "data": data}
    if query.include:
        document["included"] = related_to(data, query.include)
    return document


def _faulty_rows(
    page: Sequence[Resource], before: Sequence[Resource], fault_name: str
) -> Sequence[Resource]:
    """Return the rows of *page* as the fault makes them; *before* is the row before it."""
    match fault_name:
        case "gap":
            return page[1:]
        case "empty-page":
            return []
        case "duplicate":
            return [*before, *page]
        case "twice":
            return [*page[:1], *page]
    return page


def _faulty_link(link: str, own_link: str, fault_name: str, fault_value: str) -> str:
    """Return the next link as the fault makes it; *own_link* is that of the page itself."""
    scheme, _, rest = link.partition("://")
    if fault_name == "empty-next":
        return ""
    if fault_name in ("loop", "empty-page"):
        return own_link
    if fault_name == "foreign-next":
        other = "http" if scheme == "https" else "https"
        return f"{other}://alm.internal.example:8443/{rest.partition('/')[2]}"
    replacements = {
        "foreign-path": ("/enrollments?", "/badges?"),
        "foreign-user": ("/users/", "/users/9"),
        "next-secret": ("?", f"?snapshot={fault_value}&snapshot=1&"),
        "next-userinfo": ("://", "://alm@"),
    }
    return link.replace(*replacements.get(fault_name, ("", "")), 1)


def build_users_page(query_text: str, url: str) -> dict[str, Any]:
    """Return the JSON:API document of the users with the address in ``ids=email:ADDRESS``."""
    values = dict(parse_qsl(query_text))
    kind, _, email = values.get("ids", "").partition(":")
    users = users_with(email) if kind == "email" else []
    return {"links": {"self": f"{url}?{query_text}"}, "data": users}


def _hidden_rows(count: int) -> list[dict[str, Any]]:
    """Return outdated job aids, which ALM counts and does not serve."""
    return [{"id": f"jobAid:{number}_-1_0"} for number in range(count)]


def _is_documented(query: PageQuery, user_id: str) -> bool:
    """Return whether this is the documented request: its page has a next link, but is the last."""
    is_first_of_courses = (
        query.offset == 0 and query.lo_types == ("course",) and not query.is_descending
    )
    return user_id == DOCUMENTED_USER and query.limit == _DOCUMENTED_LIMIT and is_first_of_courses


def _link(url: str, query: PageQuery, cursor: str | None) -> str:
    parameters = [f"{name}={value}" for name, value in query.given]
    if cursor:
        parameters.append(f"page[cursor]={cursor}")
    # As ALM writes them: neither the brackets nor the base64 encoded.
    return f"{url}?{'&'.join(parameters)}"
