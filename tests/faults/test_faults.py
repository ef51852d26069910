"""Whatever the network, a proxy or ALM does, the run ends with the whole answer or with a named failure."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest

from tests.faults.book import IDS, USER, Book, answer, body_of, count_cursor, head, order, page
from tests.faults.conftest import TOKEN
from tests.faults.server import Hang, OnConnect, Pause
from tests.faults.table import FAULTS, NOPERM, OK, PROTOCOL, TEMPFAIL, UNAVAILABLE, USAGE

if TYPE_CHECKING:
    from tests.faults.conftest import Play, Run, RunProcess
    from tests.faults.server import Actions, Seen, Step
    from tests.faults.table import Fault

ATTEMPTS = 5
PARTIAL = 65
BY_NAME = [pytest.param(fault, id=fault.name) for fault in FAULTS]
BOOK = Book()


def test_healthy__all_of_it(play: Play, run: Run) -> None:
    """Where nothing goes wrong, each page is asked for once, nothing is waited for, and the answer is proved."""
    server = play()

    ran = run(server)

    assert (ran.code, ran.document["enrollment_ids"], ran.slept) == (OK, list(IDS), [])
    assert ran.document["completeness"] == {
        "status": "proved",
        "reasons": [],
        "pages": 2,
        "requests": 2,
    }
    assert order(server.requests) == "AB"


@pytest.mark.parametrize("fault", BY_NAME)
@pytest.mark.parametrize(
    ("before", "there", "after"),
    [("", "A", "B"), ("A", "B", "")],
    ids=["first page", "second page"],
)
def test_once__passes_or_ends_it(
    fault: Fault, before: str, there: str, after: str, play: Play, run: Run
) -> None:
    """A fault that passes leaves no trace in the answer; one that asking again cannot mend ends the run at once, by its exit code."""
    server = play(*[BOOK.answer for _ in before], fault.step)

    ran = run(server)

    is_whole = fault.again or fault.ends == OK
    assert (ran.code, ran.document["complete"]) == ((OK, True) if is_whole else (fault.ends, False))
    assert ran.document["enrollment_ids"] == (list(IDS) if is_whole else [])
    assert order(server.requests) == before + there + there * fault.again + after * is_whole
    assert len(ran.slept) == fault.again
    assert sum(ran.slept) <= 1


@pytest.mark.parametrize("fault", BY_NAME)
@pytest.mark.parametrize(
    ("before", "there"), [("", "A"), ("A", "B")], ids=["first page", "second page"]
)
def test_always__ends_by_its_exit_code(
    fault: Fault, before: str, there: str, play: Play, run: Run
) -> None:
    """A fault that stays ends the run by its exit code, after five attempts where it might have passed, within a quarter of a minute."""
    server = play(*[BOOK.answer for _ in before], otherwise=fault.step)

    ran = run(server)

    error = ran.document["error"]
    assert (ran.code, ran.document["complete"], error["code"] if error else OK) == (
        fault.ends,
        fault.ends == OK,
        fault.ends,
    )
    assert ran.document["enrollment_ids"] == (list(IDS) if fault.ends == OK else [])
    assert order(server.requests) == (
        before + there * (ATTEMPTS if fault.again else 1) if fault.ends else "AB"
    )
    assert len(ran.slept) == (ATTEMPTS - 1) * fault.again
    assert sum(ran.slept) <= 1 + 2 + 4 + 8
    assert fault.http_status in (None, error and error["http_status"])
    assert bool(error and error["retry_at"]) == fault.again


@pytest.mark.parametrize(
    "fault", [pytest.param(fault, id=fault.name) for fault in FAULTS if fault.ends != OK]
)
def test_always__allow_incomplete_marks_it(fault: Fault, play: Play, run: Run) -> None:
    """What was read before a failure is handed on under allow_incomplete, and is never called complete."""
    server = play(BOOK.answer, otherwise=fault.step)

    ran = run(server, allow_incomplete=True)

    assert (ran.code, ran.document["complete"], ran.document["error"]["code"]) == (
        OK,
        False,
        fault.ends,
    )
    assert ran.document["enrollment_ids"][:2] == list(IDS[:2])
    assert ran.document["completeness"]["status"] == "incomplete"


@pytest.mark.parametrize("fault", BY_NAME)
@pytest.mark.parametrize("concurrency", [1, 8])
def test_several_users__one_of_them_fails(
    fault: Fault, concurrency: int, play: Play, run: Run
) -> None:
    """One user's failure costs no other user's enrollments, unless it would be every user's."""
    server = play(otherwise=_only_for("32", fault.step))

    ran = run(server, user_id="30,31,32,33", concurrency=concurrency)

    others = [one for user in ("30", "31", "33") for one in BOOK.of(user)]
    everyone = [one for user in ("30", "31", "32", "33") for one in BOOK.of(user)]
    is_everyones = fault.ends in (USAGE, UNAVAILABLE) or fault.http_status == 401
    expected = (
        (everyone, OK)
        if fault.ends == OK
        else ([], fault.ends)
        if is_everyones
        else (others, PARTIAL)
    )
    assert (ran.document["enrollment_ids"], ran.code) == expected
    assert [(one["user_id"], one["error"]["code"]) for one in ran.document["users"]["failed"]] == [
        ("32", fault.ends)
    ] * (fault.ends != OK)
    assert ran.document["complete"] == (fault.ends == OK)


def _only_for(user_id: str, step: Step) -> Step:
    """Return the step that is *step* for *user_id*, and what the book says for everyone else."""

    def judge(seen: Seen) -> Actions:
        chosen = step if seen.user_id == user_id else BOOK.answer
        return chosen(seen) if callable(chosen) else chosen

    return judge


# What the limiter sends, and the seconds to wait: not less than the first, not more than the second. Where the header tells
# nothing it is our own back-off, or one place in the bucket at half the assumed pace with its jitter (quota.py), if that is longer.
OWN = (0.0, 2.4)
RETRY_AFTER = [
    pytest.param(["Retry-After: 3"], (3, 3.35), id="integer"),
    pytest.param(["Retry-After: 10.752"], (10.752, 11.752), id="fraction"),
    pytest.param(["Retry-After:  4 "], (4, 4.45), id="spaces"),
    pytest.param(["Retry-After: 0"], (0, 2.4), id="zero"),
    pytest.param(["Retry-After: Sun, 09 Jun 2024 13:05:39 GMT"], (30, 31), id="HTTP date"),
    pytest.param(["Retry-After: Sun Jun  9 13:05:39 2024"], (30, 31), id="asctime date"),
    pytest.param(["Retry-After: Sun, 09 Jun 2024 13:00:00 GMT"], OWN, id="date in the past"),
    pytest.param(["Retry-After: Fri, 31 Dec 9999 23:59:59 GMT"], OWN, id="date in 9999"),
    pytest.param([], OWN, id="absent"),
    pytest.param(["Retry-After: "], OWN, id="empty"),
    pytest.param(["Retry-After: nan"], OWN, id="nan"),
    pytest.param(["Retry-After: inf"], OWN, id="infinite"),
    pytest.param(["Retry-After: -5"], OWN, id="negative"),
    pytest.param(["Retry-After: 1e3"], OWN, id="exponent"),
    pytest.param(["Retry-After: 999999999"], OWN, id="absurd"),
    pytest.param(["Retry-After: " + "9" * 5000], OWN, id="five thousand digits"),
    pytest.param(["Retry-After: soon"], OWN, id="word"),
    pytest.param(["Retry-After: \xb2\xb3"], OWN, id="superscripts"),
    pytest.param(["Retry-After: 3", "Retry-After: 5"], OWN, id="two headers"),
]


@pytest.mark.parametrize(("headers", "seconds"), RETRY_AFTER)
@pytest.mark.parametrize(
    "body", [b'{"message":"429 Too many requests"}', b""], ids=["message", "empty"]
)
def test_quota__is_waited_for(
    headers: list[str], seconds: tuple[float, float], body: bytes, play: Play, run: Run
) -> None:
    """After a 429 nothing leaves before Retry-After has passed, in any way it is written, nor much later."""
    server = play((answer(429, body, *headers),))

    ran = run(server)

    assert (ran.code, ran.document["enrollment_ids"]) == (OK, list(IDS))
    assert order(server.requests) == "AAB"
    assert seconds[0] <= ran.slept[0] <= seconds[1]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [case for case in RETRY_AFTER if case.id in ("integer", "fraction", "HTTP date")],
)
def test_server_error__retry_after_counts_too(
    headers: list[str], seconds: tuple[float, float], play: Play, run: Run
) -> None:
    """A 503 that names a moment is asked again then."""
    server = play((answer(503, b"", *headers),))

    ran = run(server)

    assert (ran.code, order(server.requests)) == (OK, "AAB")
    assert seconds[0] <= sum(ran.slept) <= seconds[1]


def test_quota__longer_than_the_deadline(play: Play, run: Run) -> None:
    """A wait that would cross the deadline is not begun, and the document says when to come back."""
    server = play(otherwise=(answer(429, b"", "Retry-After: 700"),))

    ran = run(server)

    assert (ran.code, ran.slept, order(server.requests)) == (TEMPFAIL, [], "A")
    assert "2024-06-09T13:16:49Z" <= ran.document["error"]["retry_at"] <= "2024-06-09T13:16:51Z"


def test_quota__used_up_for_good(play: Play, run: Run) -> None:
    """A quota that stays used up is waited for until the deadline, not a second longer, and asked no oftener than it says."""
    server = play(otherwise=(answer(429, b"", "Retry-After: 10"),))

    ran = run(server, deadline=300)

    assert ran.code == TEMPFAIL
    assert 250 <= sum(ran.slept) <= 300
    assert 10 <= len(server.requests) <= 30
    assert ran.document["error"]["retry_at"] > "2024-06-09T13:09"


def test_connection__refused(run: Run, play: Play) -> None:
    """A port where nobody listens ends with 69 after five attempts."""
    server = play()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        unused = f"http://127.0.0.1:{listener.getsockname()[1]}"

    ran = run(server, base_url=unused)

    assert (ran.code, len(ran.slept), server.requests) == (UNAVAILABLE, ATTEMPTS - 1, [])
    assert (
        ran.document["error"]["message"]
        == f"{unused[7:]} cannot be reached, asked for user 31, 5 times."
    )


@pytest.mark.parametrize("hang", [Hang.RESET, Hang.FIN])
def test_connection__gone_before_the_request(hang: Hang, play: Play, run: Run) -> None:
    """A connection that ends as soon as it is made is made anew."""
    server = play(OnConnect((hang,)))

    ran = run(server)

    assert (ran.code, ran.document["enrollment_ids"]) == (OK, list(IDS))
    assert (order(server.requests)[-2:], server.connections, len(ran.slept)) == ("AB", 2, 1)


@pytest.mark.parametrize("hang", [Hang.RESET, Hang.FIN])
@pytest.mark.parametrize("seconds", [0, 0.02])
def test_connection__closed_behind_an_answer(
    hang: Hang, seconds: float, play: Play, run: Run
) -> None:
    """A kept connection that the server has closed, or closes just then, loses neither page."""
    server = play(lambda seen: (answer(200, BOOK.body(seen)), Pause(seconds), hang))

    ran = run(server)

    assert (ran.code, ran.document["enrollment_ids"]) == (OK, list(IDS))
    assert (order(server.requests)[-1], server.connections) == ("B", 2)


@pytest.mark.parametrize("status", [101, 102, 103, 199, 204, 304])
def test_connection__late_answer_is_nobody_elses(status: int, play: Play, run: Run) -> None:
    """What comes late behind an answer without a body is not taken for the next user's page."""
    late = answer(200, body_of(page(())))
    server = play((f"HTTP/1.1 {status} Some\r\n\r\n".encode(), Pause(0.05), late))

    ran = run(server, user_id="31,32", concurrency=1)

    assert (ran.code, ran.document["enrollment_ids"]) in (
        (PARTIAL, list(BOOK.of("32"))),
        (OK, [*IDS, *BOOK.of("32")]),
        (PROTOCOL, []),
    )


def test_connection__rest_of_a_body_is_nobodys_answer(play: Play, run: Run) -> None:
    """What comes behind the end that Content-Length named is not taken for the next page."""
    stray = answer(200, body_of(page(())))
    server = play(lambda seen: (answer(200, BOOK.body(seen)) + stray,))

    ran = run(server)

    assert (ran.code, ran.document["enrollment_ids"]) == (OK, list(IDS))


def _pages(
    first: list[str], cursor: str | None, second: list[str], again: str | None = None
) -> Step:
    """Return the step that serves *first* with a link to *cursor*, and behind it *second* with a link to *again*."""

    def step(seen: Seen) -> Actions:
        ids, following = (second, again) if seen.cursor else (first, cursor)
        link = f"/primeapi/v2/users/31/enrollments?page[cursor]={following}" if following else None
        return (answer(200, body_of(page(ids, link))),)

    return step


ONE, TWO, THREE = IDS
CONTRADICTIONS = [
    pytest.param(
        _pages([ONE, TWO], count_cursor([ONE, TWO]), [TWO, THREE]),
        "AB",
        id="duplicate-on-the-next-page",
    ),
    pytest.param(
        _pages([ONE, ONE], count_cursor([ONE, TWO]), [THREE]), "A", id="duplicate-on-one-page"
    ),
    pytest.param(_pages([ONE], count_cursor([ONE, TWO]), [THREE]), "A", id="gap"),
    pytest.param(_pages([ONE, TWO, THREE], count_cursor([ONE, TWO]), []), "A", id="one-too-many"),
    pytest.param(
        _pages([ONE, TWO], count_cursor(["jobAid:1", TWO]), [THREE]),
        "A",
        id="counted-under-another-type",
    ),
    pytest.param(
        _pages([ONE, TWO], count_cursor([ONE, TWO]), [], count_cursor([ONE, TWO])),
        "AB",
        id="loop-of-an-empty-page",
    ),
    pytest.param(
        _pages([ONE, TWO], count_cursor([ONE, TWO]), [THREE], count_cursor([ONE, TWO])),
        "AB",
        id="loop",
    ),
    pytest.param(
        _pages([ONE, TWO], count_cursor([ONE, TWO]), [ONE, TWO], count_cursor([ONE, TWO])),
        "AB",
        id="loop-of-the-first-page",
    ),
    pytest.param(_pages([], count_cursor([]), [], count_cursor([])), "AA", id="nothing-and-again"),
]


@pytest.mark.parametrize(("step", "reading"), CONTRADICTIONS)
def test_contradiction__that_passes(step: Step, reading: str, play: Play, run: Run) -> None:
    """Pages that contradict themselves are read again from the start, without a wait."""
    server = play(*[step for _ in reading])

    ran = run(server)

    assert (ran.code, ran.document["enrollment_ids"], ran.document["completeness"]["status"]) == (
        OK,
        list(IDS),
        "proved",
    )
    assert (order(server.requests), ran.slept) == (reading + "AB", [])


@pytest.mark.parametrize(("step", "reading"), CONTRADICTIONS)
def test_contradiction__that_stays(step: Step, reading: str, play: Play, run: Run) -> None:
    """Pages that contradict themselves three readings over end the run with 76."""
    server = play(otherwise=step)

    ran = run(server)

    assert (ran.code, ran.document["enrollment_ids"], ran.document["completeness"]["status"]) == (
        PROTOCOL,
        [],
        "violated",
    )
    assert (order(server.requests), ran.slept) == (reading * 3, [])


@pytest.mark.parametrize(("step", "reading"), CONTRADICTIONS)
def test_contradiction__allow_incomplete_marks_it(
    step: Step, reading: str, play: Play, run: Run
) -> None:
    """Under allow_incomplete they are handed on, each enrollment once, and never called complete."""
    server = play(otherwise=step)

    ran = run(server, allow_incomplete=True)

    ids = ran.document["enrollment_ids"]
    assert (ran.code, ran.document["complete"], ran.document["completeness"]["status"]) == (
        OK,
        False,
        "violated",
    )
    assert len(ids) == len(set(ids))
    assert order(server.requests) == reading * 3


@pytest.mark.parametrize(
    "body",
    [
        b'{"data":[],"\\ud800":1}',
        b'{"data":[{"id":"course:1_11_31","type":"learningObjectInstanceEnrollment","attributes":{"state":"\\udfff"}}]}',
        b'{"data":[{"id":"\\ud800","type":"learningObjectInstanceEnrollment"}]}',
        b'{"data":[{"id":"course:1_11_31","type":"learningObjectInstanceEnrollment","attributes":{"score":1e999}}]}',
        b'{"data":[{"id":"course:1_11_31","type":"learningObjectInstanceEnrollment","attributes":{"score":%s}}]}'
        % (b"9" * 4_000),
        b'{"data":[{"id":"course:1_11_31","type":"learningObjectInstanceEnrollment","attributes":{"score":%s}}]}'
        % (b"9" * 5_000),
        b'{"data":[{"id":"course:1_11_31","type":"learningObjectInstanceEnrollment","attributes":{"score":-0.0}}]}',
        b'{"data":[{"id":"","type":"learningObjectInstanceEnrollment"}]}',
        b'{"data":[{"id":"%s","type":"learningObjectInstanceEnrollment"}]}' % (b"a" * 5_000),
    ],
    ids=[
        "surrogate-name",
        "surrogate-state",
        "surrogate-id",
        "1e999",
        "big",
        "too-big",
        "minus-zero",
        "empty-id",
        "long-id",
    ],
)
def test_odd_values__end_in_an_answer_or_a_named_failure(body: bytes, play: Play, run: Run) -> None:
    """JSON at the edge of what JSON allows is read or refused; it is no defect of ours."""
    server = play(otherwise=(answer(200, body),))

    ran = run(server)

    assert ran.code in (OK, TEMPFAIL, PROTOCOL)
    assert ran.document["complete"] == (ran.code == OK)


def test_same_connection__is_kept(play: Play, run: Run) -> None:
    """One user's pages come over one connection."""
    server = play()

    run(server)

    assert server.connections == 1


def test_every_request__is_alms_own(play: Play, run: Run) -> None:
    """Whatever answers there were before, each request is a whole one, with the token in its header and nowhere else."""
    server = play((answer(503),), (Hang.RESET,), (head("Content-Length: 99"), Hang.FIN))

    run(server)

    assert [seen.headers["authorization"] for seen in server.requests] == [f"oauth {TOKEN}"] * 5
    assert {seen.target.partition("?")[0] for seen in server.requests} == {
        f"/primeapi/v2/users/{USER}/enrollments"
    }
    assert {(seen.method, seen.body) for seen in server.requests} == {("GET", b"")}


def test_refused__names_are_told(play: Play, run: Run) -> None:
    """The users that failed are named with their own errors, in the order given."""
    server = play(otherwise=_only_for("31", (answer(403),)))

    ran = run(server, user_id="33,31")

    assert ran.code == PARTIAL
    assert ran.document["error"]["message"].startswith("1 of 2 users could not be read: 31 (")
    assert [(one["user_id"], one["error"]["code"]) for one in ran.document["users"]["failed"]] == [
        ("31", NOPERM)
    ]


AS_PROCESS = [
    pytest.param((Hang.RESET,), TEMPFAIL, id="reset"),
    pytest.param((answer(200, b"<html></html>"),), TEMPFAIL, id="html"),
    pytest.param((answer(403),), NOPERM, id="403"),
    pytest.param((answer(404),), 67, id="404"),
    pytest.param((answer(400),), USAGE, id="400"),
    pytest.param((answer(200, b"null"),), PROTOCOL, id="schema"),
    pytest.param((b"\0\r\n\r\n", Hang.FIN), TEMPFAIL, id="garbage"),
]


@pytest.mark.parametrize(("actions", "code"), AS_PROCESS)
def test_process__exit_code(actions: Actions, code: int, play: Play, process: RunProcess) -> None:
    """The process ends by the exit code that its document names, with each message in one line and no traceback."""
    finished = process(play(otherwise=actions), "--deadline", "0.5")

    assert (
        finished.exit_code,
        json.loads(finished.stdout)["error"]["code"],
        finished.is_complete,
    ) == (code, code, False)
    assert {line.partition(":")[0] for line in finished.stderr.splitlines()} == {"alm-enrollments"}
