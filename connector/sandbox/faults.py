"""The fault script: its language, and which fault a request meets."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from connector.errors import Problem, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Faults of the response itself.
IN_THE_ANSWER = {
    "bad-gzip": "the body is not the gzip that its header says",
    "big": "a body of more than 32 MB",
    "bomb": "40 KB of gzip that unpack to 40 MB",
    "dead-token": "the access token dies: 401 until it is refreshed",
    "denied-token": "400 as to another learner's token: User mismatch",
    "duplicate": "an enrollment of the page before comes again",
    "empty": "200 with an empty body",
    "empty-next": "the next link is an empty text, as on a last page",
    "empty-page": "a page without enrollments, its next link where it was",
    "foreign-next": "the next link names another host, scheme and port; its query is the right one",
    "foreign-path": "the next link leads to another endpoint",
    "foreign-user": "the next link leads to another user",
    "gap": "an enrollment is missing that the cursor counts",
    "garbage": "200 with a body that is not JSON",
    "hidden": "hidden/N: the cursor counts N job aids, by default 1, that are never served",
    "html": "200 with an HTML page",
    "loop": "the next link is this page's own",
    "next-secret": "the next link repeats the access token in a parameter of its own",
    "next-userinfo": "the next link has user info in front of its host",
    "no-data": "links without data, as for a learner without enrollments",
    "no-object": "400 as for an object that does not exist: OBJECT_DOESNT_EXIST",
    "opaque": "the cursor has no counts",
    "redirect": "302 to another host",
    "same-token": "the access token is refused though it lives: refreshing gives it back",
    "schema": "JSON of another shape than the API's",
    "twice": "the page lists its first enrollment twice, byte for byte",
}
#: Faults of the response's transport.
ON_THE_WAY = {
    "close": "the connection ends before an answer",
    "cut": "the body ends in the middle",
    "cut-chunked": "the chunked body ends in the middle",
    "drip": "a byte of the body every 50 ms",
    "reset": "the connection is reset before an answer",
    "slow": "slow/SECONDS: the answer comes late",
    "stall": "headers, then silence",
    "stall-headers": "silence from the start",
}
_STATUSES = ("400", "401", "403", "404", "406", "429", *map(str, range(500, 600)))
_SEPARATOR = re.compile(r",(?=\s*(?:\*|page=|request=|user=))")


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault with its *value*, for requests that match all of *where*, *times* or always."""

    name: str
    value: str | None
    where: tuple[tuple[str, str], ...]
    times: int | None

    def matches(self, *, request: int, page: int, user: str) -> bool:
        """Return whether the fault is for this request."""
        actual = {"request": str(request), "page": str(page), "user": user}
        return all(actual[name] == value for name, value in self.where)


class FaultScript:
    """The faults that are still to happen."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self._faults = tuple(faults)
        self._remaining = [fault.times for fault in self._faults]

    def take(self, *, request: int, page: int, user: str) -> Fault | None:
        """Return the first fault for this request, and count it."""
        for index, fault in enumerate(self._faults):
            remaining = self._remaining[index]
            if remaining == 0 or not fault.matches(request=request, page=page, user=user):
                continue
            if remaining is not None:
                self._remaining[index] = remaining - 1
            return fault
        return None


def parse_faults(scripts: Iterable[str]) -> tuple[Fault, ...]:
    """Parse *scripts* such as ``page=2:503x3,user=7+page=1:cut``. Raises UsageError."""
    faults: list[Fault] = []
    problems: list[Problem] = []
    for script in scripts:
        for text in _SEPARATOR.split(script):
            fault = _parse_fault(text.strip())
            if isinstance(fault, Problem):
                problems.append(fault)
            else:
                faults.append(fault)
    if problems:
        raise UsageError.of(problems, hint="alm-enrollments sandbox --help lists every fault.")
    return tuple(faults)


def _parse_fault(text: str) -> Fault | Problem:
    where, _, rest = text.partition(":")
    places = _parse_places(where)
    match = re.fullmatch(
        r"(?P<name>[a-z0-9-]+?)(?:/(?P<value>.*?))?(?:x(?P<times>[1-9][0-9]*|\*))?", rest.strip()
    )
    if places is None or match is None:
        allowed = "WHERE:WHAT, where WHERE is page=N, request=N, user=ID, several with +, or *"
        return Problem("--fault", f'"{text}"', allowed)
    name, value, times = match["name"], match["value"], match["times"] or "1"
    names = (*IN_THE_ANSWER, *ON_THE_WAY)
    if name not in (*_STATUSES, *names):
        near = difflib.get_close_matches(name, (*_STATUSES, *names), n=1)
        allowed = f"a status, {', '.join(names)}"
        return Problem("--fault", f'"{text}"', allowed, "".join(near))
    if name == "slow" and not re.fullmatch(r"[0-9]{1,3}(\.[0-9]+)?", value or ""):
        return Problem("--fault", f'"{text}"', "slow/SECONDS")
    if name == "hidden" and not re.fullmatch("[1-9]", value or "1"):
        return Problem("--fault", f'"{text}"', "hidden/N, where N is a number from 1 to 9")
    return Fault(name, value, places, None if times == "*" else int(times))


def _parse_places(where: str) -> tuple[tuple[str, str], ...] | None:
    if where.strip() == "*":
        return ()
    places = []
    for place in where.split("+"):
        match = re.fullmatch(r"\s*(page|request|user)=([0-9]+)\s*", place)
        if match is None:
            return None
        places.append((match[1], match[2]))
    return tuple(places)
