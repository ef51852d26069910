"""For any enrollments and any faults: the complete list, or a document that says otherwise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from tests.faults.conftest import run
from tests.faults.table import OK, PROTOCOL, TEMPFAIL
from tests.support.completeness import CONSISTENT, VERIFIED
from tests.support.pages import USER, answer, body_of, count_cursor, next_link, offset_of, page
from tests.support.server import FaultServer, Hang

if TYPE_CHECKING:
    from tests.support.runner import Ran
    from tests.support.server import Actions, Request

TYPES = ("course", "learningProgram", "jobAid", "certification")
IN_TRANSPORT: dict[str, Actions] = {
    "503": (answer(503),),
    "429": (answer(429, b"", "Retry-After: 0.42"),),
    "cut": (answer(200, body_of(page(["course:1_11_31"])))[:-7], Hang.FIN),
    "html": (answer(200, b"<html></html>"),),
    "reset": (Hang.RESET,),
    "empty": (answer(200),),
}
ON_THE_PAGE = (
    *("duplicate", "gap", "loop", "lying cursor", "other cursor", "no records", "no end"),
    *("twice", "gap", "duplicate"),
)
IN_THE_LIST = ("vanish", "appear after", "appear before")
EVERYTHING = (*IN_TRANSPORT, *ON_THE_PAGE, *IN_THE_LIST)


@dataclass
class Alm:
    """An ALM with *ids* in pages of *size*, and one of *faults* per request.

    It counts *hidden* ids and never serves them. It leaves out the losses that no reader could
    detect: a record missing without a later count (the last page, opaque cursors), and one that
    slips over a page's edge because an earlier one has vanished.
    """

    ids: list[str]
    size: int
    is_opaque: bool
    faults: list[str]
    hidden: frozenset[str] = frozenset()
    ever: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    # What each reading was not given although it was counted.
    withheld: list[set[str]] = field(default_factory=list)
    requests: int = 0

    @property
    def withheld_twice(self) -> set[str]:
        """What the last reading was not given, nor an earlier one: it looks like a hidden row."""
        *earlier, last = self.withheld
        return last & set().union(*earlier)

    def answer(self, request: Request) -> Actions:
        """Return the requested page, with the fault of this request."""
        fault = self.faults[self.requests] if self.requests < len(self.faults) else ""
        self.requests += 1
        if fault in IN_TRANSPORT:
            return IN_TRANSPORT[fault]
        if request.cursor is None:
            self.withheld.append(set())
        start = self._offset(request.cursor)
        self._change_list(fault, start)
        end = start + self.size
        cursor = self._cursor(self.ids[:end]) if end < len(self.ids) else None
        served = [one for one in self.ids[start:end] if one not in self.hidden]
        if fault == "duplicate" and served and self.ids[0] not in self.hidden:
            served = [*served, self.ids[0]]
        elif fault == "twice":
            served = [*served[:1], *served]
        elif fault == "loop" and request.cursor:
            cursor = request.cursor
        elif fault == "no end":
            cursor = cursor or self._cursor(self.ids)
        elif cursor and not self.is_opaque:
            served, cursor = self._contradicting(fault, served, cursor, end)
        return (answer(200, body_of(page(served, cursor and next_link(USER, cursor)))),)

    def _contradicting(
        self, fault: str, served: list[str], cursor: str, end: int
    ) -> tuple[list[str], str]:
        """Return records and cursor that contradict each other, if that is the *fault*."""
        match fault:
            case "gap":
                self.withheld[-1].update(served[:1])
                return served[1:], cursor
            case "no records":
                self.withheld[-1].update(served)
                return [], cursor
            case "lying cursor":
                # The next page begins behind the record that it counts too many.
                self.withheld[-1].update(self.ids[end : end + 1])
                return served, count_cursor(self.ids[: end + 1])
            case "other cursor":
                return served, count_cursor([f"x{enrollment}" for enrollment in self.ids[:end]])
        return served, cursor

    def _change_list(self, fault: str, start: int) -> None:
        self.ever.update(self.ids)
        fresh = f"course:9{self.requests:03}_1_{USER}"
        if fault == "vanish" and start < len(self.ids):
            self.lost.add(self.ids.pop(start))
        elif fault == "appear after":
            self.ids.append(fresh)
        elif fault == "appear before":
            self.ids.insert(0, fresh)
        self.ever.update(self.ids)

    def _cursor(self, served: list[str]) -> str:
        return f"opaque-{len(served)}" if self.is_opaque else count_cursor(served)

    def _offset(self, cursor: str | None) -> int:
        if cursor and self.is_opaque:
            return int(cursor.removeprefix("opaque-"))
        return offset_of(cursor)


@st.composite
def alms(draw: st.DrawFn, faults: tuple[str, ...] = (), *, hides: bool = False) -> Alm:
    """Draw a list, a page size, a kind of cursor, and the faults of the first requests.

    If it *hides* rows, which these are.
    """
    shortest = draw(st.sampled_from((0, 6, 12)))
    types = draw(st.lists(st.sampled_from(TYPES), min_size=shortest, max_size=24))
    ids = [f"{lo_type}:{number}_{number}1_{USER}" for number, lo_type in enumerate(types, 1)]
    size = draw(st.sampled_from((2, 3, 1, 5, 10)))
    fewest = draw(st.sampled_from((0, 4, 8)))
    script = st.lists(st.sampled_from(("", "", *faults)), min_size=fewest, max_size=16)
    hidden = draw(st.frozensets(st.sampled_from(ids), max_size=4)) if hides and ids else frozenset()
    is_opaque = not hides and draw(st.booleans())
    return Alm(draw(st.permutations(ids)), size, is_opaque, draw(script), hidden)


def reading(alm: Alm, *, allow_incomplete: bool) -> Ran:
    """Return the run that reads *alm*."""
    with FaultServer((), alm.answer) as server:
        return run(server, lo_types="all", allow_incomplete=allow_incomplete)


MANY = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@MANY
@given(
    alm=st.sampled_from((tuple(IN_TRANSPORT), ON_THE_PAGE, IN_THE_LIST, EVERYTHING)).flatmap(alms),
    allow_incomplete=st.booleans(),
)
def test_any_faults__lose_nothing_silently(alm: Alm, *, allow_incomplete: bool) -> None:
    """Whatever goes wrong, a document that is called complete holds everything that stayed."""
    check_any_faults(alm, allow_incomplete=allow_incomplete)


# The more kinds of faults there are, the seldomer two readings look alike.
HIDING = (("gap",), ("gap", "no records"), (*ON_THE_PAGE, *IN_THE_LIST, "503"))


@MANY
@given(
    alm=st.sampled_from(HIDING).flatmap(lambda faults: alms(faults, hides=True)),
    allow_incomplete=st.booleans(),
)
def test_hidden_rows__lose_nothing_silently(alm: Alm, *, allow_incomplete: bool) -> None:
    """So it does for any mix of hidden rows, repeats and shifts."""
    check_any_faults(alm, allow_incomplete=allow_incomplete)


def check_any_faults(alm: Alm, *, allow_incomplete: bool) -> None:
    """Check that a run is complete, or does not say so."""
    before = list(alm.ids)

    ran = reading(alm, allow_incomplete=allow_incomplete)

    ids = ran.document["enrollment_ids"]
    event(ran.document["completeness"]["status"] if ran.code == OK else f"exit {ran.code}")
    assert ran.code in (OK, TEMPFAIL, PROTOCOL)
    assert len(ids) == len(set(ids)) == ran.document["enrollment_count"]
    assert set(ids) <= alm.ever
    if ran.document["complete"]:
        assert ran.code == OK
        missing = set(before) - alm.lost - alm.hidden - set(ids)
        assert missing <= alm.withheld_twice
        if missing:
            assert ran.document["completeness"]["status"] == CONSISTENT
            assert "that it does not return" in ran.document["completeness"]["reasons"][0]
        assert [one for one in before if one in ids] == [one for one in ids if one in before]
    else:
        assert ran.document["error"]
        assert allow_incomplete or ids == []


@MANY
@given(alm=alms(hides=True), allow_incomplete=st.booleans())
def test_hidden_rows__are_no_loss(alm: Alm, *, allow_incomplete: bool) -> None:
    """Without a fault, an ALM that hides rows is read completely, twice if a cursor counts them."""
    pages = -(-len(alm.ids) // alm.size) or 1
    counted = alm.ids[: (pages - 1) * alm.size]
    readings = 1 if alm.hidden.isdisjoint(counted) else 2

    ran = reading(alm, allow_incomplete=allow_incomplete)

    assert ran.document["enrollment_ids"] == [one for one in alm.ids if one not in alm.hidden]
    assert alm.requests == pages * readings
    status = VERIFIED if readings == 1 else CONSISTENT
    assert (ran.code, ran.document["completeness"]["status"]) == (OK, status)


@MANY
@given(alm=alms(), allow_incomplete=st.booleans())
def test_no_faults__give_the_list_itself(alm: Alm, *, allow_incomplete: bool) -> None:
    """Without a fault the document holds the list in its order, from one request per page."""
    pages = -(-len(alm.ids) // alm.size) or 1

    ran = reading(alm, allow_incomplete=allow_incomplete)

    assert (ran.document["enrollment_ids"], alm.requests) == (alm.ids, pages)
    status = CONSISTENT if alm.is_opaque and pages > 1 else VERIFIED
    assert ran.document["completeness"]["status"] == status
