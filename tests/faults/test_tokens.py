"""Which token is sent after which response: refreshed if that can help, and never in circles."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import pytest

from tests.faults.conftest import BOTH, ONLY_TOKEN, run
from tests.faults.table import NOPERM, OK, TEMPFAIL
from tests.support.pages import FRESH_TOKEN, IDS, answer, body_of, ids_of_user
from tests.support.secrets import CREDENTIALS, TOKEN
from tests.support.server import Hang, actions_of, healthy, only_for

if TYPE_CHECKING:
    from tests.faults.conftest import Play
    from tests.support.server import Actions, Request, Step

REFUSED = (answer(401, body_of({"status": "401", "title": "UNAUTHORIZED"})),)
SAME_TOKEN = {**BOTH, "access_token": FRESH_TOKEN}
FRESH = (answer(200, body_of({"access_token": FRESH_TOKEN})),)
USERS = [str(number) for number in range(31, 47)]

# The credentials, the server's script, and the requests: A, B for pages, R for a refresh.
RUNS: dict[str, tuple[dict[str, str], list[Step], str, int]] = {
    "refused, no refresh": (ONLY_TOKEN, [REFUSED], "A", NOPERM),
    "refused on page two, no refresh": (ONLY_TOKEN, [healthy, REFUSED], "AB", NOPERM),
    "refused and refreshed": (BOTH, [REFUSED], "ARAB", OK),
    "refreshed on page two": (BOTH, [healthy, REFUSED], "ABRB", OK),
    "refreshed between retries": (BOTH, [healthy, (answer(503),), REFUSED], "ABBRB", OK),
    "reset after a refresh": (BOTH, [REFUSED, FRESH, (Hang.RESET,)], "ARAAB", OK),
    "refused after the refresh": (BOTH, [REFUSED, FRESH, REFUSED], "ARA", NOPERM),
    "same token": (SAME_TOKEN, [REFUSED, FRESH], "AR", NOPERM),
    "same token on page two": (SAME_TOKEN, [healthy, REFUSED, FRESH], "ABR", NOPERM),
    "403 is not refreshed": (BOTH, [(answer(403),)], "A", NOPERM),
    "no token to start with": (CREDENTIALS, [], "RAB", OK),
    "no token, same token": (CREDENTIALS, [FRESH, REFUSED], "RAR", NOPERM),
    "no token, 500 first": (CREDENTIALS, [(answer(500),)], "RRAB", OK),
    "refresh 500, token accepted": (BOTH, [REFUSED, (answer(500),)], "ARAB", OK),
    "refresh 500 first": (BOTH, [REFUSED, (answer(500),), REFUSED], "ARARAB", OK),
    "refresh 429 first": (
        BOTH,
        [REFUSED, (answer(429, b"", "Retry-After: 3"),), REFUSED],
        "ARARAB",
        OK,
    ),
    "refresh cut first": (BOTH, [REFUSED, (Hang.FIN,), REFUSED], "ARARAB", OK),
    **{
        f"refresh {status}": (BOTH, [REFUSED, (answer(status, b'{"message":"no"}'),)], "AR", NOPERM)
        for status in (400, 401, 403, 404, 302)
    },
}


@pytest.mark.parametrize(("credentials", "script", "order", "code"), RUNS.values(), ids=RUNS)
def test_tokens__order_of_requests(
    credentials: dict[str, str], script: list[Step], order: str, code: int, play: Play
) -> None:
    """Each refusal leads to the requests that can help, and to no other."""
    server = play(*script)

    ran = run(server, credentials)

    assert (server.order, ran.code) == (order, code)
    assert ran.document["enrollment_ids"] == (list(IDS) if code == OK else [])
    assert ran.document["complete"] is (code == OK)


USELESS: dict[str, Actions] = {
    "html": (answer(200, b"<html></html>"),),
    "empty": (answer(200),),
    "null": (answer(200, b"null"),),
    "list": (answer(200, b"[]"),),
    "no token": (answer(200, b'{"refresh_token":"abc"}'),),
    "null token": (answer(200, b'{"access_token":null}'),),
    "empty token": (answer(200, b'{"access_token":""}'),),
    "token of two lines": (answer(200, b'{"access_token":"a\\r\\nX-Evil: b"}'),),
    "token not ASCII": (answer(200, '{"access_token":"tökén"}'.encode()),),
    "cut": (answer(200, b'{"access_token":"abc"}')[:-3], Hang.FIN),
    "reset": (Hang.RESET,),
    "no gzip": (answer(200, b"abc", "Content-Encoding: gzip"),),
    "503": (answer(503, b"", "Retry-After: 2"),),
    "408": (answer(408),),
}


def refreshed_with(step: Step, otherwise: Step = REFUSED) -> Step:
    """Return the step that answers a refresh with *step*, and a page request with *otherwise*."""
    return lambda request: actions_of(step if request.method == "POST" else otherwise, request)


@pytest.mark.parametrize("useless", USELESS.values(), ids=USELESS)
def test_refresh__without_a_usable_token_is_retried(useless: Actions, play: Play) -> None:
    """A refresh without a usable token is tried five times, then the run ends with 75."""
    server = play(otherwise=refreshed_with(useless))

    ran = run(server, BOTH)

    assert (server.order, ran.code, len(ran.slept)) == ("AR" * 5, TEMPFAIL, 4)
    sent = {request.headers.get("authorization") for request in server.requests}
    assert sent == {f"oauth {TOKEN}", None}


def test_refresh__sends_the_secrets_in_the_form(play: Play) -> None:
    """A refresh sends the secrets in its body only; the new token replaces the old one."""
    server = play(REFUSED)

    run(server, BOTH)

    _, refresh, *pages = server.requests
    assert (refresh.target, refresh.headers.get("authorization")) == ("/oauth/token/refresh", None)
    form = {name: [secret] for name, secret in CREDENTIALS.items()}
    assert parse_qs(refresh.body.decode()) == form
    assert [request.headers["authorization"] for request in pages] == [f"oauth {FRESH_TOKEN}"] * 2


@pytest.mark.parametrize("concurrency", [1, 8])
def test_refresh__is_shared_by_all_threads(concurrency: int, play: Play) -> None:
    """However many threads are refused, the token is refreshed once, and every user is read."""

    def step(request: Request) -> Actions:
        is_old = request.headers.get("authorization") == f"oauth {TOKEN}"
        return REFUSED if is_old else healthy(request)

    server = play(otherwise=step)

    ran = run(server, BOTH, user_id=USERS, concurrency=concurrency)

    assert ran.code == OK
    assert ran.document["enrollment_ids"] == [ids for user in USERS for ids in ids_of_user(user)]
    assert server.order.count("R") == 1


@pytest.mark.parametrize("concurrency", [1, 8])
def test_refresh__refused_ends_the_run(concurrency: int, play: Play) -> None:
    """A refused refresh fails every user: no user costs more than one request and one refresh."""
    server = play(otherwise=refreshed_with((answer(400),)))

    ran = run(server, BOTH, user_id=USERS, concurrency=concurrency)

    assert (ran.code, ran.document["enrollment_ids"]) == (NOPERM, [])
    assert max(map(server.order.count, "AR")) <= len(USERS)


def test_refresh__does_not_loop_for_one_refused_user(play: Play) -> None:
    """A user who is refused with a fresh token as well ends the run after one refresh."""
    server = play(otherwise=only_for("32", REFUSED))

    ran = run(server, BOTH, user_id="31,32,33", concurrency=1)

    assert (ran.code, server.order) == (NOPERM, "ABARA")
