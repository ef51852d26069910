"""Pages requested ahead change nothing but the time: the same document, whatever goes wrong."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.alm.prefetch import MAX_AT_ONCE
from tests.faults.conftest import BOTH, run
from tests.faults.test_properties import IN_TRANSPORT, MANY, Alm
from tests.support.pages import USER, answer, body_of, count_cursor, next_link, offset_of, page
from tests.support.process import wait_until
from tests.support.server import FaultServer, Pause

if TYPE_CHECKING:
    from tests.faults.conftest import Play
    from tests.support.process import Command
    from tests.support.runner import Ran
    from tests.support.server import Actions, Request

SIZE = 10
FINAL = {str(status): (answer(status),) for status in (400, 403, 404, 406)}
ALL = {**IN_TRANSPORT, **FINAL, "no data": (answer(200, b'{"data":{}}'),)}


@dataclass
class Pages:
    """An ALM with *count* records, of which each page has its own faults, whoever asks when.

    *failures* are those of a page's first requests, *links* what a page says in place of its link.
    """

    count: int
    failures: dict[int, list[str]]
    links: dict[int, str]
    asked: Counter[int] = field(default_factory=Counter)

    def answer(self, request: Request) -> Actions:
        """Return the requested page, or its next failure."""
        start = offset_of(request.cursor)
        number = start // SIZE
        self.asked[number] += 1
        failures = self.failures.get(number, [])
        if self.asked[number] <= len(failures):
            return ALL[failures[self.asked[number] - 1]]
        user = request.user_id
        ids = [f"course:{record}_1_{user}" for record in range(self.count)]
        cursor = count_cursor(ids[: start + SIZE]) if start + SIZE < self.count else None
        match self.links.get(number):
            case "end":
                cursor = None
            case "loop":
                cursor = request.cursor or cursor
            case "skip":
                cursor = count_cursor(ids[: start + 2 * SIZE])
            case "opaque":
                cursor = cursor and f"{cursor}="
        link = next_link(user, cursor) if cursor else None
        return (answer(200, body_of(page(ids[start : start + SIZE], link))),)


@st.composite
def pages(draw: st.DrawFn) -> tuple[int, dict[int, list[str]], dict[int, str]]:
    """Draw how many records there are, and the faults of some pages."""
    failures = st.lists(st.sampled_from([*IN_TRANSPORT, *IN_TRANSPORT, *ALL]), max_size=6)
    return (
        draw(st.integers(0, 120)),
        draw(st.dictionaries(st.integers(0, 12), failures, max_size=3)),
        draw(
            st.dictionaries(
                st.integers(0, 12), st.sampled_from(["end", "loop", "skip"]), max_size=1
            )
        ),
    )


def outcome_of(drawn: tuple[Any, ...], *, prefetch: bool, **inputs: Any) -> tuple[Ran, int]:
    """Return the run that reads *drawn* pages, and how many requests they got."""
    alm = Pages(*drawn)
    with FaultServer((), alm.answer) as server:
        ran = run(server, BOTH, prefetch=prefetch, deadline=3600, **inputs)
        return ran, sum(alm.asked.values())


def without_counts(ran: Ran) -> dict[str, Any]:
    """Return the document without what may differ: requests, moments and the server's port."""
    text = json.dumps(ran.document).replace(str(ran.document["source"]), "")
    document: dict[str, Any] = json.loads(re.sub(r"127\.0\.0\.1:[0-9]+", "", text))
    document["next_since"] = document["completeness"]["requests"] = None
    for error in filter(
        None, [document["error"], *(u["error"] for u in document["users"]["failed"])]
    ):
        error["retry_at"] = None
    return document


@MANY
@given(
    drawn=pages(),
    allow_incomplete=st.booleans(),
    most=st.sampled_from([None, None, 1, 10, 35, 60]),
    newest_first=st.booleans(),
)
def test_prefetch__gives_the_same_document(
    drawn: tuple[Any, ...], most: int | None, *, allow_incomplete: bool, newest_first: bool
) -> None:
    """With any faults of pages, the document is that of a run in sequence, for 3 requests more."""
    inputs: dict[str, Any] = {"allow_incomplete": allow_incomplete, "max_enrollments": most}
    inputs["sort"] = "-dateEnrolled" if newest_first else "dateEnrolled"

    ahead, requests = outcome_of(drawn, prefetch=True, **inputs)
    in_sequence, fewest = outcome_of(drawn, prefetch=False, **inputs)

    assert ahead.code == in_sequence.code
    assert without_counts(ahead) == without_counts(in_sequence)
    assert requests <= fewest + 3


@MANY
@given(
    count=st.integers(20, 90),
    faults=st.lists(
        st.sampled_from(("", "", "appear after", "appear before")), min_size=4, max_size=12
    ),
)
def test_prefetch__loses_nothing_silently(count: int, faults: list[str]) -> None:
    """If enrollments appear while pages are read at once, the others are there, or it is said.

    If one vanishes, another may slip over a page's edge unseen, as in a reading in sequence.
    """
    ids = [f"course:{number}_1_{USER}" for number in range(count)]
    alm = Alm(list(ids), SIZE, is_opaque=False, faults=faults)

    with FaultServer((), alm.answer) as server:
        ran = run(server)

    if ran.document["complete"]:
        assert set(ids) <= set(ran.document["enrollment_ids"])


def test_prefetch__only_in_the_first_reading() -> None:
    """Pages that contradict one another are read again in sequence."""
    ids = [f"course:{number}_1_{USER}" for number in range(50)]
    alm = Alm(ids, SIZE, is_opaque=False, faults=[])
    contradictions = [[*ids[SIZE : 2 * SIZE], ids[0]]]

    def contradict_once(request: Request) -> Actions:
        if offset_of(request.cursor) == SIZE and contradictions:
            link = next_link(USER, count_cursor(ids[: 2 * SIZE]))
            return (answer(200, body_of(page(contradictions.pop(), link))),)
        return alm.answer(request)

    with FaultServer((), contradict_once) as server:
        ran = run(server)

    assert (ran.code, ran.document["enrollment_ids"]) == (0, ids)
    offsets = [offset_of(request.cursor) for request in server.requests]
    second = offsets[offsets.index(0, 1) :]
    # Of the first reading, requests for pages that do not exist may arrive later.
    assert [offset for offset in second if offset < len(ids)] == [0, 10, 20, 30, 40]


class Inserting:
    """Serves four full pages, and inserts a record into the second after the others were read."""

    def __init__(self, *, is_in_order: bool) -> None:
        self.ids = [f"course:{number}_1_{USER}" for number in range(40)]
        self._others_are_read = threading.Semaphore(0)
        self._is_in_order = is_in_order

    def answer(self, request: Request) -> Actions:
        """Return the page; the second one waits for the two behind it."""
        start = offset_of(request.cursor)
        if start == SIZE and not self._is_in_order:
            for _ in range(2):
                self._others_are_read.acquire(timeout=10)
            self.ids.insert(15, f"course:99_1_{USER}")
            self._is_in_order = True
        ids = self.ids[start : start + SIZE]
        cursor = count_cursor(self.ids[: start + SIZE]) if start + SIZE < len(self.ids) else None
        if start in (2 * SIZE, 3 * SIZE):
            self._others_are_read.release()
        return (answer(200, body_of(page(ids, next_link(USER, cursor) if cursor else None))),)


class ParallelServer(FaultServer):
    """Makes the responses of several requests at the same time."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self._respond = answer

    def _next_actions(self, request: Request) -> Actions:
        actions: Actions = self._respond(request)
        return actions


def test_prefetch__insertion_behind_the_pages() -> None:
    """A record inserted after later pages were read moves another one, which is not lost."""
    alm = Inserting(is_in_order=False)

    with ParallelServer(alm.answer) as server:
        ran = run(server)

    assert ran.document["complete"]
    assert ran.document["enrollment_ids"] == alm.ids


def stalled_behind(page_number: int, pages: int) -> Any:
    """Return what serves the first of so many *pages*, and never answers for later ones."""
    alm = Pages(SIZE * pages, {}, {})

    def respond(request: Request) -> Actions:
        is_later = offset_of(request.cursor) >= SIZE * page_number
        return (Pause(60),) if is_later else alm.answer(request)

    return respond


def test_prefetch__does_not_keep_the_process(play: Play, command: Command) -> None:
    """Responses that nobody needs any more do not keep the process from ending."""
    server = play(otherwise=stalled_behind(2, pages=2))

    finished = command.as_process(
        f"--user-id {USER} --base-url {server.url} --deadline 50", ALM_ACCESS_TOKEN="a-long-token"
    )

    assert (finished.exit_code, finished.document["enrollment_count"]) == (0, 2 * SIZE)


def test_prefetch__killed_while_pages_are_in_flight(play: Play, command: Command) -> None:
    """A signal ends the run at once, whatever its requests still wait for."""
    server = play(otherwise=stalled_behind(1, pages=5))
    line = f"--user-id {USER} --base-url {server.url} --deadline 50"

    with command.start(line, ALM_ACCESS_TOKEN="a-long-token") as process:
        wait_until(lambda: len(server.requests) == 1 + MAX_AT_ONCE or process.poll() is not None)
        process.send_signal(signal.SIGTERM)
        stdout, _ = process.communicate(timeout=20)

    assert process.returncode == 143
    assert json.loads(stdout)["enrollment_ids"] == []


@pytest.mark.parametrize(
    ("inputs", "requests"),
    [
        ({}, None),
        ({"prefetch": False}, 4),
        ({"lo_types": "course,jobAid"}, 4),
        ({"since": "2020-01-01", "sort": "-dateEnrolled"}, 4),
        ({"since": "2020-01-01"}, None),
        ({"page_limit": 9}, 4),
        ({"max_enrollments": 20}, 2),
    ],
)
def test_prefetch__only_where_it_helps(
    inputs: dict[str, Any], requests: int | None, play: Play
) -> None:
    """Only a run of one learner and one type that is likely to need the pages requests ahead."""
    server = play(otherwise=Pages(4 * SIZE, {}, {}).answer)

    ran = run(server, **inputs)

    sent = ran.document["completeness"]["requests"]
    assert ran.code == 0
    assert sent == requests if requests else 4 < sent <= 4 + 3


def test_prefetch__not_of_several_learners(play: Play) -> None:
    """With several learners the threads that read them use the quota."""
    server = play(otherwise=Pages(4 * SIZE, {}, {}).answer)

    assert run(server, user_id="31,32").document["completeness"]["requests"] == 8
