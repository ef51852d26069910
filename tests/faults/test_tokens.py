"""Which token goes out after which answer: refreshed once where that can help, in mid-run too, and never round in circles."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import pytest

from tests.faults.book import FRESH_TOKEN, IDS, Book, answer, body_of, order
from tests.faults.conftest import TOKEN, TRIPLE
from tests.faults.server import Hang
from tests.faults.table import NOPERM, OK, TEMPFAIL

if TYPE_CHECKING:
    from tests.faults.conftest import Play, Run
    from tests.faults.server import Actions, Seen, Step

ALONE = {"ALM_ACCESS_TOKEN": TOKEN}
BOTH = {**ALONE, **TRIPLE}
BOOK = Book()
NO = (answer(401, body_of({"status": "401", "title": "UNAUTHORIZED"})),)
SAME = (answer(200, body_of({"access_token": TOKEN})),)
FRESH = (answer(200, body_of({"access_token": FRESH_TOKEN})),)

RUNS = [
    pytest.param(ALONE, [NO], "A", NOPERM, id="refused-no-refresh"),
    pytest.param(ALONE, [BOOK.answer, NO], "AB", NOPERM, id="refused-no-refresh-in-mid-run"),
    pytest.param(BOTH, [NO], "ARAB", OK, id="refused-and-refreshed"),
    pytest.param(BOTH, [BOOK.answer, NO], "ABRB", OK, id="refreshed-in-mid-run"),
    pytest.param(
        BOTH, [BOOK.answer, (answer(503),), NO], "ABBRB", OK, id="refreshed-between-retries"
    ),
    pytest.param(BOTH, [NO, FRESH, (Hang.RESET,)], "ARAAB", OK, id="reset-behind-a-refresh"),
    pytest.param(BOTH, [NO, FRESH, NO], "ARA", NOPERM, id="refused-after-the-refresh"),
    pytest.param(BOTH, [NO, SAME], "AR", NOPERM, id="same-token"),
    pytest.param(BOTH, [BOOK.answer, NO, SAME], "ABR", NOPERM, id="same-token-in-mid-run"),
    pytest.param(BOTH, [(answer(403),)], "A", NOPERM, id="out-of-scope-is-not-refreshed"),
    pytest.param(TRIPLE, [], "RAB", OK, id="triple-alone"),
    pytest.param(TRIPLE, [FRESH, NO], "RAR", NOPERM, id="triple-alone-same-token"),
    pytest.param(TRIPLE, [(answer(500),)], "RRAB", OK, id="triple-alone-500-then-ok"),
    pytest.param(
        BOTH, [NO, (answer(500),)], "ARAB", OK, id="refresh-500-then-the-token-is-good-again"
    ),
    pytest.param(BOTH, [NO, (answer(500),), NO], "ARARAB", OK, id="refresh-500-then-ok"),
    pytest.param(
        BOTH,
        [NO, (answer(429, b"", "Retry-After: 3"),), NO],
        "ARARAB",
        OK,
        id="refresh-429-then-ok",
    ),
    pytest.param(BOTH, [NO, (Hang.FIN,), NO], "ARARAB", OK, id="refresh-cut-then-ok"),
    *(
        pytest.param(
            BOTH,
            [NO, (answer(status, body_of({"message": "no"})),)],
            "AR",
            NOPERM,
            id=f"refresh-{status}",
        )
        for status in (400, 401, 403, 404, 302)
    ),
]


@pytest.mark.parametrize(("environ", "script", "expected", "code"), RUNS)
def test_tokens__order_of_requests(
    environ: dict[str, str], script: list[Step], expected: str, code: int, play: Play, run: Run
) -> None:
    """Each refusal leads to the requests that can help, and to no other."""
    server = play(*script)

    ran = run(server, environ=environ)

    assert (order(server.requests), ran.code) == (expected, code)
    assert ran.document["enrollment_ids"] == (list(IDS) if code == OK else [])
    assert ran.document["complete"] == (code == OK)


USELESS = {
    "html": (answer(200, b"<html></html>"),),
    "empty": (answer(200),),
    "json-null": (answer(200, b"null"),),
    "json-list": (answer(200, b"[]"),),
    "without-token": (answer(200, b'{"refresh_token":"abc"}'),),
    "token-null": (answer(200, b'{"access_token":null}'),),
    "token-empty": (answer(200, b'{"access_token":""}'),),
    "token-two-lines": (answer(200, b'{"access_token":"a\\r\\nX-Evil: b"}'),),
    "token-not-ascii": (answer(200, '{"access_token":"tökén"}'.encode()),),
    "cut": (answer(200, b'{"access_token":"abc"}')[:-3], Hang.FIN),
    "reset": (Hang.RESET,),
    "fin": (Hang.FIN,),
    "gzip-none": (answer(200, b"abc", "Content-Encoding: gzip"),),
    "500": (answer(500),),
    "503": (answer(503, b"", "Retry-After: 2"),),
    "408": (answer(408),),
}


@pytest.mark.parametrize("useless", [pytest.param(step, id=name) for name, step in USELESS.items()])
def test_refresh__that_stays_useless(useless: Actions, play: Play, run: Run) -> None:
    """A refresh that brings no token, and may yet, is tried five times and ends with 75; nothing of it is sent as a token."""
    server = play(otherwise=lambda seen: useless if seen.method == "POST" else NO)

    ran = run(server, environ=BOTH)

    assert (order(server.requests), ran.code, len(ran.slept)) == ("AR" * 5, TEMPFAIL, 4)
    assert {seen.headers.get("authorization") for seen in server.requests} == {
        f"oauth {TOKEN}",
        None,
    }


def test_refresh__what_goes_out(play: Play, run: Run) -> None:
    """The secrets go in the form, not in the address; the new token goes where the old one went."""
    server = play(NO)

    run(server, environ=BOTH)

    _, refresh, *rest = server.requests
    assert (refresh.target, refresh.headers.get("authorization")) == ("/oauth/token/refresh", None)
    assert parse_qs(refresh.body.decode()) == {
        "client_id": [TRIPLE["ALM_CLIENT_ID"]],
        "client_secret": [TRIPLE["ALM_CLIENT_SECRET"]],
        "refresh_token": [TRIPLE["ALM_REFRESH_TOKEN"]],
    }
    assert [seen.headers["authorization"] for seen in rest] == [f"oauth {FRESH_TOKEN}"] * 2


@pytest.mark.parametrize("concurrency", [1, 8])
def test_refresh__once_for_all_threads(concurrency: int, play: Play, run: Run) -> None:
    """However many threads are refused together, the token is refreshed once, and no user is lost."""
    users = [str(number) for number in range(31, 47)]
    server = play(
        otherwise=lambda seen: (
            NO if seen.headers.get("authorization") == f"oauth {TOKEN}" else BOOK.answer(seen)
        )
    )

    ran = run(server, environ=BOTH, user_id=users, concurrency=concurrency)

    assert ran.code == OK
    assert ran.document["enrollment_ids"] == [one for user in users for one in BOOK.of(user)]
    assert order(server.requests).count("R") == 1


@pytest.mark.parametrize("concurrency", [1, 8])
def test_refresh__refused_for_all_threads(concurrency: int, play: Play, run: Run) -> None:
    """A refused refresh is every user's failure: the run ends with it, and nothing is asked without end."""
    users = [str(number) for number in range(31, 47)]
    server = play(otherwise=lambda seen: (answer(400),) if seen.method == "POST" else NO)

    ran = run(server, environ=BOTH, user_id=users, concurrency=concurrency)

    assert (ran.code, ran.document["enrollment_ids"]) == (NOPERM, [])
    assert len(server.requests) <= 2 * concurrency + 2


def test_refresh__one_user_is_refused_whatever_the_token(play: Play, run: Run) -> None:
    """A 401 for one user behind a good refresh ends the run once, not in a refresh a page."""

    def step(seen: Seen) -> Actions:
        return NO if seen.user_id == "32" else BOOK.answer(seen)

    server = play(otherwise=step)

    ran = run(server, environ=BOTH, user_id="31,32,33", concurrency=1)

    assert (ran.code, order(server.requests)) == (NOPERM, "ABARA")
