"""What a request gets for an answer, under every server: status, document and headers, for all that can come of a run."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
import requests

from connector.sandbox import CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN

from .conftest import KEY

if TYPE_CHECKING:
    from .conftest import Pair, Serve, StartSandbox

TRIPLE = {
    "ALM_ACCESS_TOKEN": "",
    "ALM_CLIENT_ID": CLIENT_ID,
    "ALM_CLIENT_SECRET": CLIENT_SECRET,
    "ALM_REFRESH_TOKEN": REFRESH_TOKEN,
}
DEADLINE = 0.8
# What goes wrong for which learner, what is asked for, and: status, exit code, ALM's status. The limiter closes for all: it comes last.
OUTCOMES: dict[str, tuple[str, dict[str, str], tuple[int, int | None, int | None]]] = {
    "whole": ("", {"user_id": "20941371"}, (200, None, None)),
    "stopped as asked": (
        "",
        {"user_id": "31", "max_enrollments": "3", "lo_types": "all"},
        (200, None, None),
    ),
    "bad input": ("", {"user_id": "31", "page_limit": "50"}, (400, 64, None)),
    "refused by ALM": ("user=50:400x*", {"user_id": "50"}, (400, 64, 400)),
    "nobody": ("", {"user_id": "4041"}, (404, 67, 404)),
    "nobody beside somebody": ("", {"user_id": "31,4041"}, (404, 65, None)),
    "failing": ("user=51:503x*", {"user_id": "51"}, (502, 75, 503)),
    "failing beside nobody": ("user=51:503x*", {"user_id": "51,4041,31"}, (502, 65, None)),
    "no API": ("user=52:schemax*", {"user_id": "52"}, (502, 76, 200)),
    "token refused": ("user=53:401x*", {"user_id": "53"}, (502, 77, 401)),
    "out of scope": ("", {"user_id": "4031"}, (502, 77, 403)),
    "silence": ("user=54:stall-headersx*", {"user_id": "54"}, (504, 75, None)),
    "silence for two": ("user=54:stall-headersx*", {"user_id": "54,55"}, (504, 75, None)),
    "silence in mid-answer": ("user=55:stallx*", {"user_id": "55"}, (504, 75, None)),
    "byte by byte": ("user=56:dripx*", {"user_id": "56"}, (504, 75, None)),
    "resets": ("user=57:resetx*", {"user_id": "57"}, (504, 75, None)),
    "late": ("user=58:slow/5x*", {"user_id": "58"}, (504, 75, None)),
    "silence on the second page": (
        "user=59+page=2:stallx*",
        {"user_id": "59", "lo_types": "all"},
        (504, 75, None),
    ),
    "quota, and nobody": ("user=60:429/50x*", {"user_id": "60,4041"}, (429, 75, None)),
    "quota still used up": ("user=60:429/50x*", {"user_id": "60"}, (429, 75, 429)),
}


@pytest.mark.parametrize("server", ["waitress", "gunicorn"])
def test_outcomes__have_their_status(
    server: str, serve: Serve, start_sandbox: StartSandbox
) -> None:
    """Each outcome of a run has its status within the deadline; a failed one looks whole nowhere, and says when to come back."""
    faults = sorted({fault for fault, _, _ in OUTCOMES.values() if fault})
    door = serve(server=server, alm=start_sandbox(*faults), ALM_SERVE_DEADLINE=str(DEADLINE))

    for name, (_, inputs, (status, code, alm_status)) in OUTCOMES.items():
        began = time.monotonic()
        answered = door.get(**inputs)

        assert time.monotonic() - began < DEADLINE + 0.15, name
        error = answered.document["error"] or {"code": None, "http_status": None, "retry_at": None}
        assert (answered.status, error["code"]) == (status, code), (name, error)
        assert alm_status in (error["http_status"], None), name
        assert answered.headers["content-type"] == "application/json", name
        assert ("retry-after" in answered.headers) == (error["retry_at"] is not None), name
        assert answered.document["complete"] is (name == "whole"), name
        assert code in (None, 65) or not answered.document["enrollments"], name
    # What a run warns of names learners.
    assert "attempt" not in door.written()


@pytest.mark.parametrize("server", ["waitress", "gunicorn"])
def test_requests__say_the_same_in_both_ways(server: str, serve: Serve) -> None:
    """Query and body, lists as lists or as text, and every way to show the key have one answer: the newest first, each id once."""
    door = serve(server=server)
    basic = {"Authorization": requests.auth._basic_auth_str("anybody", KEY)}

    answers = [
        door.get(user_id="20941371,31", lo_types="course,jobAid"),
        door.post(user_id=["20941371", "31"], lo_types=["course", "jobAid"], state=None, since=""),
        door.post(
            user_id="20941371 31", lo_types="course jobAid", key=None, headers={"X-API-Key": KEY}
        ),
        door.get(
            user_id='["20941371","31"]', lo_types='["course","jobAid"]', key=None, headers=basic
        ),
        door.ask(
            "POST",
            data=iter([b'{"user_id":[20941371,31],', b'"lo_types":["course","jobAid"]}']),
            headers={"Content-Type": "application/json"},
        ),
    ]

    assert [answer.status for answer in answers] == [200] * 5
    assert all(answer.document == answers[0].document for answer in answers)
    mine = [one for one in answers[0].document["enrollments"] if one["user_id"] == "20941371"]
    assert [one["date_enrolled"] for one in mine] == sorted(
        (one["date_enrolled"] for one in mine), reverse=True
    )
    ids = [one["id"] for one in answers[0].document["enrollments"]]
    assert len(ids) == len(set(ids)) == answers[0].document["enrollment_count"]


def test_order__is_as_asked(serve: Serve) -> None:
    """Who asks for the oldest first gets them, whatever the server's own environment says of inputs."""
    door = serve(
        ALM_SORT="-dateEnrolled",
        ALM_LO_TYPES="jobAid",
        ALM_USER_ID="31",
        ALM_OUTPUT_FILE="out.json",
        ALM_FORMAT="csv",
    )

    oldest, newest = (
        door.get(user_id="20941371", sort=order).document["enrollment_ids"]
        for order in ("dateEnrolled", "-dateEnrolled")
    )

    assert (len(oldest), oldest) == (3, newest[::-1])
    assert door.get().error["message"].startswith("1 input is not valid: user_id is missing")
    assert sorted(path.name for path in door.log.parent.iterdir()) == [door.log.name]


def test_incomplete__as_allowed(serve: Serve, start_sandbox: StartSandbox) -> None:
    """Under allow_incomplete what could be read comes with 200, marked as incomplete, with the error beside it."""
    door = serve(alm=start_sandbox("page=2:503x*"), ALM_SERVE_DEADLINE=str(DEADLINE))

    answered = door.post(user_id="31", lo_types="all", allow_incomplete=True)

    assert (
        answered.status,
        answered.document["complete"],
        answered.document["enrollment_count"],
    ) == (200, False, 10)
    assert answered.error["code"] == 75


def test_deadline__of_the_request(serve: Serve, start_sandbox: StartSandbox) -> None:
    """A request may have itself answered earlier, and no later than the server's own deadline."""
    door = serve(alm=start_sandbox("*:stall-headersx*"), ALM_SERVE_DEADLINE="1.5")
    seconds = []

    for deadline in ("0.5", "600"):
        began = time.monotonic()
        assert door.get(user_id="31", deadline=deadline).status == 504
        seconds.append(time.monotonic() - began)

    assert seconds == [pytest.approx(0.45, abs=0.2), pytest.approx(1.4, abs=0.2)]


def test_quota__has_one_gate(serve: Serve, start_sandbox: StartSandbox) -> None:
    """Requests on one credential keep its quota together: what one has learned of it, none of the others overruns."""
    server = start_sandbox(rate_per_minute=600, burst=8)
    door = serve(alm=server)
    door.get(user_id="20941371")

    with ThreadPoolExecutor(12) as callers:
        answers = list(callers.map(lambda _: door.get(user_id="20941371"), range(24)))

    assert {answer.status for answer in answers} == {200}
    assert [request["status"] for request in server.requests] == [200] * 25


def test_tokens__are_refreshed_once(serve: Serve, start_sandbox: StartSandbox) -> None:
    """A token that one request had made is every later request's, on the same credentials."""
    server = start_sandbox()
    door = serve(alm=server, **TRIPLE)

    with ThreadPoolExecutor(4) as callers:
        answers = list(callers.map(lambda _: door.get(user_id="20941371"), range(8)))

    assert {answer.status for answer in answers} == {200}
    assert [request["method"] for request in server.requests].count("POST") == 1


def test_unreachable__is_502(serve: Serve) -> None:
    """An ALM that cannot be reached is told as such."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        door = serve(
            ALM_BASE_URL=f"http://127.0.0.1:{closed.getsockname()[1]}",
            ALM_ACCESS_TOKEN="t",
            ALM_SERVE_DEADLINE="1",
        )

        answered = door.get(user_id="31")

    assert (answered.status, answered.error["code"]) == (502, 69)


def test_retry_after__is_that_of_the_document(serve: Serve, start_sandbox: StartSandbox) -> None:
    """Retry-After counts the seconds to retry_at, which is ALM's own: never fewer."""
    door = serve(alm=start_sandbox("*:429/30x*"), ALM_SERVE_DEADLINE="1")

    answered = door.get(user_id="31")

    left = (datetime.fromisoformat(answered.error["retry_at"]) - datetime.now(UTC)).total_seconds()
    assert answered.status == 429
    assert left <= int(answered.headers["retry-after"]) <= left + 2
    assert 28 < left < 35


@pytest.mark.parametrize("path", ["/healthz", "/openapi.json", "/swagger.json"])
def test_public__needs_no_key(path: str, shared: Pair) -> None:
    """What says nothing of anybody is there for everybody, to be had with GET and HEAD alone."""
    door = shared.door

    got, head, posted = (
        door.session.request(method, door.url + path, timeout=10)
        for method in ("GET", "HEAD", "POST")
    )

    assert (got.status_code, head.status_code, posted.status_code) == (200, 200, 405)
    assert (head.content, head.headers["content-length"]) == (b"", str(len(got.content)))
    assert posted.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "DELETE", "TRACE", "PROPFIND"])
def test_methods__that_are_not_there(method: str, shared: Pair) -> None:
    """Every other method is refused with those that there are, and leads to no run."""
    door = shared.door

    answer = door.session.request(
        method, f"{door.url}/v1/enrollments?user_id=31", headers={"X-API-Key": KEY}, timeout=10
    )

    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")
