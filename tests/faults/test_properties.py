"""For whatever enrollments and whatever befalls the reading of them: the whole list, or it is said that it is not."""

from __future__ import annotations

import base64
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from tests.faults.book import answer, body_of, count_cursor, page
from tests.faults.conftest import run_against
from tests.faults.server import FaultServer, Hang
from tests.faults.table import OK, PROTOCOL, TEMPFAIL

if TYPE_CHECKING:
    from tests.faults.server import Actions, Seen

_USER = "31"
_NEXT = f"/primeapi/v2/users/{_USER}/enrollments?page[cursor]="
_TYPES = ("course", "learningProgram", "jobAid", "certification")
# What befalls one request. Those of the second line change the page, the third the list behind it.
_TRANSPORT = ("503", "429", "cut", "html", "reset", "empty")
_PAGE = (
    "duplicate",
    "gap",
    "loop",
    "lying-cursor",
    "other-type-cursor",
    "empty-page",
    "next-again",
)
_LIST = ("vanish", "appear-behind", "appear-before")


@dataclass
class Alm:
    """ALM as it might be: enrollments in pages by offset, cursors that count or are opaque, and a fault a request.

    Left out are the losses of which the pages bear no trace, so that no reader could tell:
    a record that a page leaves out, or a cursor skips, where no count follows it (the last page;
    opaque cursors), and one that slips over a page's edge because one before it has vanished.
    """

    ids: list[str]
    size: int
    is_opaque: bool
    faults: list[str]
    ever: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    asked: int = 0

    def __post_init__(self) -> None:
        self.ever.update(self.ids)

    def answer(self, seen: Seen) -> Actions:
        """Return the page behind the request's cursor, with the fault whose turn it is."""
        fault = self.faults[self.asked] if self.asked < len(self.faults) else ""
        self.asked += 1
        if fault in _TRANSPORT:
            return self._broken(fault)
        start = self._offset(seen.cursor)
        self._change_list(fault, start)
        end = start + self.size
        served, has_next = self.ids[start:end], end < len(self.ids)
        cursor: str | None = self._cursor(self.ids[:end]) if has_next else None
        served, cursor = self._changed(fault, served, cursor, start, seen)
        return (answer(200, body_of(page(served, _NEXT + cursor if cursor else None))),)

    def _broken(self, fault: str) -> Actions:
        broken: dict[str, Actions] = {
            "503": (answer(503),),
            "429": (answer(429, b"", "Retry-After: 0.42"),),
            "cut": (answer(200, body_of(page(self.ids)))[:-7], Hang.FIN),
            "html": (answer(200, b"<html></html>"),),
            "reset": (Hang.RESET,),
            "empty": (answer(200),),
        }
        return broken[fault]

    def _change_list(self, fault: str, start: int) -> None:
        fresh = f"course:9{self.asked:03}_1_{_USER}"
        if fault == "vanish" and start < len(self.ids):
            self.lost.add(self.ids.pop(start))
        if fault == "appear-behind":
            self.ids.append(fresh)
        if fault == "appear-before":
            self.ids.insert(0, fresh)
        self.ever.update(self.ids)

    def _changed(
        self, fault: str, served: list[str], cursor: str | None, start: int, seen: Seen
    ) -> tuple[list[str], str | None]:
        end = start + self.size
        if fault == "duplicate" and served:
            return [*served, self.ids[0]], cursor
        if fault == "loop" and seen.cursor:
            return served, seen.cursor
        if fault == "next-again":
            return served, cursor or self._cursor(self.ids)
        if cursor is None or self.is_opaque:
            return served, cursor
        counted: dict[str, tuple[list[str], str]] = {
            "gap": (served[1:], cursor),
            "empty-page": ([], cursor),
            "lying-cursor": (served, self._cursor(self.ids[: end + 1])),
            "other-type-cursor": (served, self._cursor([f"x{one}" for one in self.ids[:end]])),
        }
        return counted.get(fault, (served, cursor))

    def _cursor(self, served: list[str]) -> str:
        return f"opaque-{len(served)}" if self.is_opaque else count_cursor(served)

    def _offset(self, cursor: str | None) -> int:
        if cursor is None:
            return 0
        if cursor.startswith("opaque-"):
            return int(cursor.removeprefix("opaque-"))
        counts: dict[str, int] = json.loads(base64.b64decode(cursor))
        return sum(counts.values())


@st.composite
def alms(draw: st.DrawFn, faults: tuple[str, ...]) -> Alm:
    """Draw a list, a page size, a kind of cursor, and what befalls the first requests."""
    types = draw(
        st.lists(st.sampled_from(_TYPES), min_size=draw(st.sampled_from((0, 6, 12))), max_size=24)
    )
    ids = [f"{lo_type}:{number}_{number}1_{_USER}" for number, lo_type in enumerate(types, 1)]
    script = draw(
        st.lists(
            st.sampled_from(("", "", *faults)),
            min_size=draw(st.sampled_from((0, 4, 8))),
            max_size=16,
        )
    )
    return Alm(
        draw(st.permutations(ids)),
        draw(st.sampled_from((2, 3, 1, 5, 10))),
        draw(st.booleans()),
        script,
    )


def _check(alm: Alm, *, allow_incomplete: bool) -> None:
    at_first = list(alm.ids)
    with tempfile.TemporaryDirectory() as folder, FaultServer((), alm.answer) as server:
        ran = run_against(server, Path(folder), lo_types="all", allow_incomplete=allow_incomplete)

    ids = ran.document["enrollment_ids"]
    event(ran.document["completeness"]["status"] if ran.code == OK else f"exit {ran.code}")
    assert ran.code in (OK, TEMPFAIL, PROTOCOL)
    assert len(ids) == len(set(ids))
    assert set(ids) <= alm.ever
    if ran.document["complete"]:
        assert ran.code == OK
        assert set(at_first) - alm.lost <= set(ids)
        assert [one for one in at_first if one in ids] == [one for one in ids if one in at_first]
        assert ran.document["enrollment_count"] == len(ids)
    elif ran.code == OK:
        assert allow_incomplete
        assert ran.document["error"]
    else:
        assert allow_incomplete or ids == []


_MANY = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@_MANY
@given(alm=alms(_TRANSPORT), allow_incomplete=st.booleans())
def test_transport__nothing_is_lost(alm: Alm, *, allow_incomplete: bool) -> None:
    """Broken answers cost waits, or the run, but no enrollment."""
    _check(alm, allow_incomplete=allow_incomplete)


@_MANY
@given(alm=alms(_PAGE), allow_incomplete=st.booleans())
def test_pages__nothing_is_lost(alm: Alm, *, allow_incomplete: bool) -> None:
    """Pages that repeat, leave out, loop or lie are noticed."""
    _check(alm, allow_incomplete=allow_incomplete)


@_MANY
@given(alm=alms(_LIST), allow_incomplete=st.booleans())
def test_list__what_stayed_is_not_lost(alm: Alm, *, allow_incomplete: bool) -> None:
    """Enrollments that come or go during the reading cost none that was there throughout."""
    _check(alm, allow_incomplete=allow_incomplete)


@_MANY
@given(alm=alms((*_TRANSPORT, *_PAGE, *_LIST)), allow_incomplete=st.booleans())
def test_everything__nothing_is_lost(alm: Alm, *, allow_incomplete: bool) -> None:
    """All of it at once: the whole list, or it is said that it is not."""
    _check(alm, allow_incomplete=allow_incomplete)


@_MANY
@given(alm=alms(()), allow_incomplete=st.booleans())
def test_nothing__is_the_list_itself(alm: Alm, *, allow_incomplete: bool) -> None:
    """Where nothing goes wrong the document holds the list, in its order, proved by counting cursors or consistent with opaque ones."""
    pages = -(-len(alm.ids) // alm.size) or 1

    with tempfile.TemporaryDirectory() as folder, FaultServer((), alm.answer) as server:
        ran = run_against(server, Path(folder), lo_types="all", allow_incomplete=allow_incomplete)

    assert (ran.document["enrollment_ids"], len(server.requests)) == (alm.ids, pages)
    assert ran.document["completeness"]["status"] == (
        "consistent" if alm.is_opaque and pages > 1 else "proved"
    )
