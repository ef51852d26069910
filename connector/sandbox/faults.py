"""The fault script: which request is to go wrong, and how. Parses and matches; the answers are made elsewhere."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from connector.errors import Problem, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: What the answer itself gets wrong.
IN_THE_ANSWER = {
    "bad-gzip": "the body is not the gzip that its header says",
    "big": "a body of more than 32 MB",
    "bomb": "40 KB of gzip that unpack to 40 MB",
    "dead-token": "the access token dies: 401 until it is refreshed",
    "duplicate": "an enrollment of the page before comes again",
    "empty": "200 with an empty body",
    "empty-page": "a page without enrollments, its next link where it was",
    "foreign-next": "the next link leads to another host",
    "foreign-user": "the next link leads to another user",
    "gap": "an enrollment is missing that the cursor counts",
    "garbage": "200 with a body that is not JSON",
    "html": "200 with an HTML page",
    "loop": "the next link is this page's own",
    "opaque": "the cursor does not tell its counts",
    "redirect": "302 to another host",
    "same-token": "the access token is refused though it lives: refreshing gives it back",
    "schema": "JSON of another shape than the API's",
}
#: How the answer's bytes travel.
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
_FIRST_OF_NEXT = re.compile(r",(?=\s*(?:\*|page=|request=|user=))")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong: *what*, with its *value*, at each place of *where*, so many *times* (``None``: always)."""

    what: str
    value: str | None
    where: tuple[tuple[str, str], ...]
    times: int | None

    def is_at(self, *, request: int, page: int, user: str) -> bool:
        """Return whether the fault's place is here."""
        here = {"request": str(request), "page": str(page), "user": user}
        return all(here[name] == value for name, value in self.where)


def parse_faults(scripts: Iterable[str]) -> tuple[Fault, ...]:
    """Return the faults of *scripts*, such as ``page=2:503x3,user=7+page=1:cut``. Raises UsageError for what is none."""
    faults: list[Fault] = []
    problems: list[Problem] = []
    for script in scripts:
        for part in _FIRST_OF_NEXT.split(script):
            found = _parse_fault(part.strip())
            (faults if isinstance(found, Fault) else problems).append(found)  # type: ignore[arg-type] # the list is chosen by the type
    if problems:
        raise UsageError.of(problems, hint="alm-enrollments sandbox --help tells every fault.")
    return tuple(faults)


def _parse_fault(text: str) -> Fault | Problem:
    where, colon, rest = text.partition(":")
    places = tuple(_parse_places(where))
    match = re.fullmatch(
        r"(?P<what>[a-z0-9-]+?)(?:/(?P<value>.*?))?(?:x(?P<times>[1-9][0-9]*|\*))?", rest.strip()
    )
    if not colon or None in places or match is None:
        return Problem(
            "--fault",
            f'"{text}"',
            "WHERE:WHAT, where WHERE is page=N, request=N, user=ID, several with +, or *",
        )
    what = match["what"]
    known = (*_STATUSES, *IN_THE_ANSWER, *ON_THE_WAY)
    if what not in known:
        near = next(iter(difflib.get_close_matches(what, known, n=1)), "")
        return Problem(
            "--fault", f'"{text}"', f"a status, {', '.join((*IN_THE_ANSWER, *ON_THE_WAY))}", near
        )
    if what == "slow" and not re.fullmatch(r"[0-9]{1,3}(\.[0-9]+)?", match["value"] or ""):
        return Problem("--fault", f'"{text}"', "slow/SECONDS")
    times = None if match["times"] == "*" else int(match["times"] or 1)
    return Fault(what, match["value"], tuple(place for place in places if place), times)


def _parse_places(where: str) -> Iterator[tuple[str, str] | None]:
    if where.strip() == "*":
        return
    for place in where.split("+"):
        match = re.fullmatch(r"\s*(page|request|user)=([0-9]+)\s*", place)
        yield (match[1], match[2]) if match else None


class FaultScript:
    """The faults that have not happened yet."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self._left = [[fault, fault.times] for fault in faults]

    def take(self, *, request: int, page: int, user: str) -> Fault | None:
        """Return the first fault whose place is here, and count it as happened; ``None`` where nothing goes wrong."""
        for entry in self._left:
            fault, times = entry
            if (
                isinstance(fault, Fault)
                and times != 0
                and fault.is_at(request=request, page=page, user=user)
            ):
                entry[1] = times - 1 if isinstance(times, int) else None
                return fault
        return None
