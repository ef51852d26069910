"""Whatever the network, a proxy or ALM does, a run has every enrollment or a named failure."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tests.faults.conftest import run
from tests.faults.table import (
    FAULTS,
    NOPERM,
    OK,
    PARTIAL,
    PROTOCOL,
    TEMPFAIL,
    UNAVAILABLE,
    USAGE,
)
from tests.support.completeness import CONSISTENT, INCOMPLETE, INCONSISTENT, VERIFIED
from tests.support.pages import (
    IDS,
    USER,
    answer,
    body_of,
    count_cursor,
    head,
    ids_of_user,
    next_link,
    page,
    page_body,
    respond,
)
from tests.support.secrets import TOKEN, leaks, logged, traceback_of
from tests.support.server import (
    Actions,
    Hang,
    OnConnect,
    Pause,
    Request,
    actions_of,
    healthy,
    only_for,
)

if TYPE_CHECKING:
    from tests.faults.conftest import Play
    from tests.faults.table import Fault
    from tests.support.server import Step

ATTEMPTS = 5
# Enough for four back-offs, each with its jitter.
MAX_WAIT_SECONDS = 1 + 2 + 4 + 8
BY_NAME = {fault.name: fault for fault in FAULTS}
# One fault per outcome, and one per way to fail for all users.
OUTCOMES = [BY_NAME[name] for name in ("400", "401", "403", "404", "407", "503", "json null")]
FAILING = pytest.mark.parametrize("fault", OUTCOMES, ids=lambda fault: fault.name)


# Time for the other users' threads to send their requests, on a busy machine too.
LATE = Pause(1.0)


def late(step: Step) -> Step:
    """Return a step that is *step*, but late."""
    return lambda request: (LATE, *actions_of(step, request))


def late_behind(count: int, response: bytes) -> Step:
    """Return a step that sends *response*: at once to *count* users from 30 on, late to others."""

    def step(request: Request) -> Actions:
        return (response,) if int(request.user_id) < 30 + count else (LATE, response)

    return step


def test_healthy__every_page_is_requested_once(play: Play) -> None:
    """Without a fault, the run requests each page once, never waits, and verifies the result."""
    server = play()

    ran = run(server)

    assert (ran.code, ran.document["enrollment_ids"], ran.slept) == (OK, list(IDS), [])
    counts = {"reasons": [], "pages": 2, "requests": 2}
    assert ran.document["completeness"] == {"status": VERIFIED, **counts}
    assert (server.order, server.connections) == ("AB", 1)


@pytest.mark.parametrize("fault", FAULTS, ids=BY_NAME)
def test_fault__that_persists_ends_with_its_exit_code(fault: Fault, play: Play) -> None:
    """A persistent fault ends the run with its exit code; only one that may pass is retried."""
    server = play(healthy, otherwise=fault.step)

    with logged() as records:
        ran = run(server)

    error = ran.document["error"] or {"code": OK, "http_status": None, "retry_at": None}
    attempts = ATTEMPTS if fault.is_retried else 1
    assert (ran.code, error["code"]) == (fault.code, fault.code)
    assert fault.http_status in (None, error["http_status"])
    assert ran.document["complete"] is (fault.code == OK)
    assert ran.document["enrollment_ids"] == (list(IDS) if fault.code == OK else [])
    assert server.order == "A" + "B" * attempts
    assert (len(ran.slept), bool(error["retry_at"])) == (attempts - 1, fault.is_retried)
    assert sum(ran.slept) <= MAX_WAIT_SECONDS
    assert leaks("\n".join([*records, traceback_of(ran.outcome.error), repr(ran)])) == []


@pytest.mark.parametrize("name", ["503", "reset-in-body", "gzip-truncated", "html-200"])
@pytest.mark.parametrize("before", ["", "A"], ids=["first page", "second page"])
def test_fault__that_passes_leaves_no_trace(name: str, before: str, play: Play) -> None:
    """After a fault that passes, the same request is sent again, and the result is complete."""
    server = play(*[healthy for _ in before], BY_NAME[name].step)

    ran = run(server)

    assert (ran.code, ran.document["enrollment_ids"]) == (OK, list(IDS))
    assert ran.document["completeness"]["status"] == VERIFIED
    assert server.order == ("ABB" if before else "AAB")
    assert len(ran.slept) == 1
    assert sum(ran.slept) <= 1


@FAILING
def test_fault__on_the_first_page_ends_with_the_same_code(fault: Fault, play: Play) -> None:
    """A fault ends the run with the same exit code if it persists from the first request on."""
    server = play(otherwise=fault.step)

    ran = run(server, allow_incomplete=True)

    assert (ran.code, ran.document["enrollment_ids"]) == (fault.code, [])
    assert server.order == "A" * (ATTEMPTS if fault.is_retried else 1)


@FAILING
def test_fault__with_allow_incomplete_marks_the_document(fault: Fault, play: Play) -> None:
    """With allow_incomplete, the document holds the pages before the failure, marked incomplete."""
    server = play(healthy, otherwise=fault.step)

    ran = run(server, allow_incomplete=True)

    document = ran.document
    assert (ran.code, document["complete"], document["error"]["code"]) == (OK, False, fault.code)
    assert document["enrollment_ids"] == list(IDS[:2])
    assert document["completeness"]["status"] == INCOMPLETE


@FAILING
@pytest.mark.parametrize("concurrency", [1, 8])
def test_fault__of_one_user_costs_no_other_user(fault: Fault, concurrency: int, play: Play) -> None:
    """One user's failure does not affect the others, unless it would affect every user."""
    # A proxy that refuses before the host has answered anybody affects every user.
    step = late(fault.step) if fault.http_status == 407 else fault.step
    server = play(otherwise=only_for("32", step))

    ran = run(server, user_id="30,31,32,33", concurrency=concurrency)

    failed = [(user["user_id"], user["error"]["code"]) for user in ran.document["users"]["failed"]]
    affects_all = fault.http_status == 401
    others = [ids for user in ("30", "31", "33") for ids in ids_of_user(user)]
    assert ran.code == (fault.code if affects_all else PARTIAL)
    assert ran.document["enrollment_ids"] == ([] if affects_all else others)
    assert (failed, ran.document["complete"]) == ([("32", fault.code)], False)


@pytest.mark.parametrize("concurrency", [1, 8])
def test_fault__of_the_proxy_ends_the_run(concurrency: int, play: Play) -> None:
    """A proxy that refuses from the beginning is never the fault of one user."""
    server = play(otherwise=(answer(407),))
    users = ",".join(map(str, range(30, 130)))

    ran = run(server, user_id=users, concurrency=concurrency)

    assert (ran.code, ran.document["error"]["code"]) == (UNAVAILABLE, UNAVAILABLE)
    assert len(server.requests) <= concurrency


@pytest.mark.parametrize("concurrency", [1, 8])
def test_fault__of_the_request_itself_ends_the_run(concurrency: int, play: Play) -> None:
    """A 400 with the same text for the first two users is about the request: the run ends."""
    server = play(otherwise=late_behind(2, answer(400, b'{"message":"no such include"}')))
    users = ",".join(map(str, range(30, 130)))

    ran = run(server, user_id=users, concurrency=concurrency)

    error = ran.document["error"]
    assert (ran.code, error["code"]) == (USAGE, USAGE)
    assert error["message"] == 'ALM refuses the request for user 30 (400: "no such include").'
    assert len(server.requests) <= 2 + 2 * concurrency


@pytest.mark.parametrize("concurrency", [1, 8])
def test_fault__of_a_token_that_reads_nobody_ends_the_run(concurrency: int, play: Play) -> None:
    """If the token may read none of the first 20 users, the other 80 are not asked for."""
    server = play(otherwise=late_behind(20, answer(403)))
    users = ",".join(map(str, range(30, 130)))

    ran = run(server, user_id=users, concurrency=concurrency)

    assert ran.code == NOPERM
    assert ran.document["error"]["message"] == (
        "ALM does not let this token read user 30 (403); the same is true for all"
        " of the first 20 users."
    )
    assert len(server.requests) <= 20 + 2 * concurrency
    assert ran.document["users"]["read"] == 0


def test_fault__of_several_users_names_them(play: Play) -> None:
    """The message and the document name the failed users in the order of the input."""
    server = play(otherwise=only_for("31", (answer(403),)))

    ran = run(server, user_id="33,31")

    failed = [(user["user_id"], user["error"]["code"]) for user in ran.document["users"]["failed"]]
    assert (ran.code, failed) == (PARTIAL, [("31", NOPERM)])
    assert ran.document["error"]["message"].startswith("1 of 2 users could not be read: 31 (")


# The longest own wait: a back-off, or one request at half the assumed quota, with jitter.
OWN = (0.0, 2.4)
RETRY_AFTER = {
    "3": (3, 3.35),
    "10.752": (10.752, 11.752),
    " 4 ": (4, 4.45),
    "0": OWN,
    "Thu, 29 Jun 2023 12:00:30 GMT": (30, 31),
    "Thu Jun 29 12:00:30 2023": (30, 31),
    "Thu, 29 Jun 2023 11:59:00 GMT": OWN,
    "Fri, 31 Dec 9999 23:59:59 GMT": OWN,
    **dict.fromkeys(("", "nan", "inf", "-5", "1e3", "999999999", "9" * 5000), OWN),
    **dict.fromkeys(("soon", "\xb2\xb3", "3\r\nRetry-After: 5"), OWN),
}


@pytest.mark.parametrize(("header", "seconds"), RETRY_AFTER.items())
def test_quota__waits_for_retry_after(
    header: str, seconds: tuple[float, float], play: Play
) -> None:
    """After a 429 nothing is sent before Retry-After, in whichever way it is written."""
    server = play((answer(429, b"", f"Retry-After: {header}"),))

    ran = run(server)

    assert (ran.code, ran.document["enrollment_ids"]) == (OK, list(IDS))
    assert server.order == "AAB"
    assert seconds[0] <= ran.slept[0] <= seconds[1]


@pytest.mark.parametrize("header", ["10.752", "Thu, 29 Jun 2023 12:00:30 GMT"])
def test_server_error__waits_for_retry_after(header: str, play: Play) -> None:
    """A 503 with Retry-After is retried at that moment."""
    server = play((answer(503, b"", f"Retry-After: {header}"),))

    ran = run(server)

    shortest, longest = RETRY_AFTER[header]
    assert (ran.code, server.order) == (OK, "AAB")
    assert shortest <= sum(ran.slept) <= longest


def test_quota__does_not_wait_past_the_deadline(play: Play) -> None:
    """A wait that would cross the deadline is not begun; the document says when to run again."""
    server = play(otherwise=(answer(429, b"", "Retry-After: 700"),))

    ran = run(server)

    assert (ran.code, ran.slept, server.order) == (TEMPFAIL, [], "A")
    assert "2023-06-29T12:11:40Z" <= ran.document["error"]["retry_at"] <= "2023-06-29T12:11:42Z"


def test_quota__waits_until_the_deadline(play: Play) -> None:
    """A quota that stays used up is awaited until the deadline, with no more requests than due."""
    server = play(otherwise=(answer(429, b"", "Retry-After: 10"),))

    ran = run(server, deadline=300)

    assert ran.code == TEMPFAIL
    # At the slowest pace a request waits for up to a minute; the last wait is not begun.
    assert 300 - 60 <= sum(ran.slept) <= 300
    assert 10 <= len(server.requests) <= 30
    assert ran.document["error"]["retry_at"] > "2023-06-29T12:04"


def test_connection__refused_ends_with_69(play: Play) -> None:
    """A port without a listener ends the run with 69 after five attempts."""
    server = play()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        unused = f"127.0.0.1:{listener.getsockname()[1]}"

    ran = run(server, base_url=f"http://{unused}")

    assert (ran.code, len(ran.slept), server.requests) == (UNAVAILABLE, ATTEMPTS - 1, [])
    message = f"{unused} cannot be reached while reading user 31, 5 times."
    assert ran.document["error"]["message"] == message


@pytest.mark.parametrize("hang", Hang)
def test_connection__closed_before_the_request_is_reopened(hang: Hang, play: Play) -> None:
    """A connection that ends at once is made again."""
    server = play(OnConnect((hang,)))

    ran = run(server)

    assert (ran.code, ran.document["enrollment_ids"]) == (OK, list(IDS))
    assert (server.order[-2:], server.connections, len(ran.slept)) == ("AB", 2, 1)


@pytest.mark.parametrize("hang", Hang)
@pytest.mark.parametrize("seconds", [0, 0.02])
def test_connection__closed_after_a_response_loses_no_page(
    hang: Hang, seconds: float, play: Play
) -> None:
    """A kept connection that the server closes, before or during the next request, is replaced."""
    server = play(lambda _: (answer(200, page_body(USER, None)), Pause(seconds), hang))

    ran = run(server)

    assert (ran.code, ran.document["enrollment_ids"]) == (OK, list(IDS))
    assert (server.order[-1], server.connections) == ("B", 2)


@pytest.mark.parametrize("status", [103, 199, 204, 304])
def test_connection__late_response_is_not_the_next_users(status: int, play: Play) -> None:
    """A late body after a response without one is never taken for the next user's page."""
    late = answer(200, body_of(page(())))
    server = play((f"HTTP/1.1 {status} Some\r\n\r\n".encode(), Pause(0.05), late))

    ran = run(server, user_id="31,32", concurrency=1)

    if status // 100 == 1:
        # It is no final response, so the late one is this user's own: a page without records.
        assert (ran.code, ran.document["enrollment_ids"]) == (OK, ids_of_user("32"))
        return
    assert (ran.code, ran.document["enrollment_ids"]) in (
        (PARTIAL, ids_of_user("32")),
        (OK, [*IDS, *ids_of_user("32")]),
        (PROTOCOL, []),
    )


def test_connection__bytes_after_the_body_are_not_a_response(play: Play) -> None:
    """Bytes after the end that Content-Length names are never taken for the next page."""
    stray = answer(200, body_of(page(())))
    server = play(lambda request: (respond("GET", USER, request.cursor) + stray,))

    ran = run(server)

    assert (ran.code, ran.document["enrollment_ids"]) == (OK, list(IDS))


def test_request__is_always_the_same_and_complete(play: Play) -> None:
    """After any fault each request is complete, and only its header holds the token."""
    server = play((answer(503),), (Hang.RESET,), (head("Content-Length: 99"), Hang.FIN))

    run(server)

    assert [request.headers["authorization"] for request in server.requests] == [
        f"oauth {TOKEN}"
    ] * 5
    assert {request.target.partition("?")[0] for request in server.requests} == {
        f"/primeapi/v2/users/{USER}/enrollments"
    }
    assert {(request.method, request.body) for request in server.requests} == {("GET", b"")}


def _pages(
    first: list[str], cursor: str | None, second: list[str], following: str | None = None
) -> Step:
    """Return the step that serves *first* with a link to *cursor*, then *second*."""

    def step(request: Request) -> Actions:
        ids, cursor_after = (second, following) if request.cursor else (first, cursor)
        link = next_link(USER, cursor_after) if cursor_after else None
        return (answer(200, body_of(page(ids, link))),)

    return step


ONE, TWO, THREE = IDS
AFTER_TWO = count_cursor([ONE, TWO])
# What each contradiction is, and the requests of a reading, which goes on to the end.
CONTRADICTIONS = {
    "duplicate on the next page": (_pages([ONE, TWO], AFTER_TWO, [TWO, THREE]), "AB"),
    "one too many": (_pages([ONE, TWO, THREE], AFTER_TWO, []), "AB"),
    "another type": (_pages([ONE, TWO], count_cursor(["jobAid:1", TWO]), [THREE]), "AB"),
    "loop of an empty page": (_pages([ONE, TWO], AFTER_TWO, [], AFTER_TWO), "AB"),
    "loop": (_pages([ONE, TWO], AFTER_TWO, [THREE], AFTER_TWO), "AB"),
    "loop of the first page": (_pages([ONE, TWO], AFTER_TWO, [ONE, TWO], AFTER_TWO), "AB"),
    "nothing, over and over": (_pages([], count_cursor([]), [], count_cursor([])), "AA"),
}
CONTRADICTING = pytest.mark.parametrize(
    ("step", "reading"), CONTRADICTIONS.values(), ids=CONTRADICTIONS
)


@CONTRADICTING
def test_contradiction__that_passes_is_read_again(step: Step, reading: str, play: Play) -> None:
    """Pages that contradict one another are read again from the start, without a wait."""
    server = play(*[step for _ in reading])

    ran = run(server)

    assert (ran.code, ran.document["enrollment_ids"]) == (OK, list(IDS))
    assert ran.document["completeness"]["status"] == VERIFIED
    assert (server.order, ran.slept) == (reading + "AB", [])


@CONTRADICTING
@pytest.mark.parametrize(("allow_incomplete", "code"), [(False, PROTOCOL), (True, OK)])
def test_contradiction__that_persists_is_never_complete(
    step: Step, reading: str, code: int, play: Play, *, allow_incomplete: bool
) -> None:
    """After three contradictory readings the run fails, or marks what it read as inconsistent."""
    server = play(otherwise=step)

    ran = run(server, allow_incomplete=allow_incomplete)

    ids = ran.document["enrollment_ids"]
    assert (ran.code, ran.document["complete"]) == (code, False)
    assert ran.document["completeness"]["status"] == INCONSISTENT
    assert len(ids) == len(set(ids))
    assert (server.order, ran.slept) == (reading * 3, [])
    assert allow_incomplete or ids == []


@pytest.mark.parametrize(
    ("step", "counted"),
    [
        (_pages([ONE], count_cursor([ONE, TWO]), [THREE]), "1 row"),
        (_pages([ONE], count_cursor([ONE, "jobAid:1_-1_31", "jobAid:2_-1_31"]), [THREE]), "2 rows"),
    ],
)
def test_hidden_rows__are_read_twice(step: Step, counted: str, play: Play) -> None:
    """Rows that ALM counts and never serves are no loss; a reading that lacks none proves it."""
    server = play(otherwise=step)

    ran = run(server)

    (reason,) = ran.document["completeness"]["reasons"]
    assert (ran.code, ran.document["enrollment_ids"]) == (OK, [ONE, THREE])
    assert reason.startswith(f"ALM counts {counted} that it does not return")
    assert (server.order, ran.document["completeness"]["status"]) == ("ABAB", CONSISTENT)


def test_hidden_rows__that_were_a_loss(play: Play) -> None:
    """Counts that agree in the second reading show what the first one lost."""
    server = play(_pages([ONE], count_cursor([ONE, TWO]), [THREE]), _pages([], None, [THREE]))

    ran = run(server)

    assert (ran.code, ran.document["enrollment_ids"]) == (OK, list(IDS))
    assert ran.document["completeness"]["status"] == VERIFIED


ODD_RECORD = '{"data":[{"id":"%s","type":"learningObjectInstanceEnrollment","attributes":{%s}}]}'
ODD_BODIES = {
    "surrogate in a name": '{"data":[],"\\ud800":1}',
    "surrogate in a state": ODD_RECORD % ("course:1_11_31", '"state":"\\udfff"'),
    "surrogate in an id": ODD_RECORD % ("\\ud800", ""),
    "number beyond a float": ODD_RECORD % ("course:1_11_31", '"score":1e999'),
    "number of 4,000 digits": ODD_RECORD % ("course:1_11_31", f'"score":{"9" * 4_000}'),
    "number of 5,000 digits": ODD_RECORD % ("course:1_11_31", f'"score":{"9" * 5_000}'),
    "minus zero": ODD_RECORD % ("course:1_11_31", '"score":-0.0'),
    "empty id": ODD_RECORD % ("", ""),
    "long id": ODD_RECORD % ("a" * 5_000, ""),
}


@pytest.mark.parametrize("body", ODD_BODIES.values(), ids=ODD_BODIES)
def test_odd_values__are_read_or_refused(body: str, play: Play) -> None:
    """JSON at the edge of the standard is read or refused, and never an internal error."""
    server = play(otherwise=(answer(200, body.encode()),))

    ran = run(server)

    assert ran.code in (OK, TEMPFAIL, PROTOCOL)
    assert ran.document["complete"] is (ran.code == OK)
