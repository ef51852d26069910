"""What a request gets under every server: status, document and headers of each outcome."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import requests

from .conftest import KEY, SERVERS

if TYPE_CHECKING:
    from .conftest import StartSandbox, StartServer

DEADLINE = 0.8
# For outcomes that do not wait for it.
AMPLE_DEADLINE = 20
# Fault, query, and: status, exit code, ALM's status. A closed rate limiter is everybody's: last.
OUTCOMES: dict[str, tuple[str, dict[str, str], tuple[int, int | None, int | None]]] = {
    "complete": ("", {"user_id": "20941371"}, (200, None, None)),
    "stopped by max_enrollments": (
        "",
        {"user_id": "31", "max_enrollments": "3", "lo_types": "all"},
        (200, None, None),
    ),
    "invalid input": ("", {"user_id": "31", "page_limit": "50"}, (400, 64, None)),
    "refused by ALM": ("user=50:400x*", {"user_id": "50"}, (400, 64, 400)),
    "no such user": ("", {"user_id": "4041"}, (404, 67, 404)),
    "one user of two": ("", {"user_id": "31,4041"}, (404, 65, None)),
    "failing": ("user=51:503/0x*", {"user_id": "51"}, (502, 75, 503)),
    "failing, and no such user": ("user=51:503/0x*", {"user_id": "51,4041,31"}, (502, 65, None)),
    "not the API": ("user=52:schemax*", {"user_id": "52"}, (502, 76, 200)),
    "token refused": ("user=53:401x*", {"user_id": "53"}, (502, 77, 401)),
    "out of scope": ("", {"user_id": "4031"}, (502, 77, 403)),
    "no answer": ("user=54:stall-headersx*", {"user_id": "54"}, (504, 75, None)),
    "no answer for two": ("user=54:stall-headersx*", {"user_id": "54,55"}, (504, 75, None)),
    "half an answer": ("user=55:stallx*", {"user_id": "55"}, (504, 75, None)),
    "byte by byte": ("user=56:dripx*", {"user_id": "56"}, (504, 75, None)),
    "resets": ("user=57:resetx*", {"user_id": "57"}, (504, 75, None)),
    "late": ("user=58:slow/5x*", {"user_id": "58"}, (504, 75, None)),
    "no second page": (
        "user=59+page=2:stallx*",
        {"user_id": "59", "lo_types": "all"},
        (504, 75, None),
    ),
    "incomplete as allowed": (
        "user=62+page=2:503/0x*",
        {"user_id": "62", "lo_types": "all", "allow_incomplete": "true"},
        (200, 75, None),
    ),
    "quota used up, and no such user": (
        "user=60:429/50x*",
        {"user_id": "60,4041"},
        (429, 75, None),
    ),
    "quota still used up": ("user=60:429/50x*", {"user_id": "60"}, (429, 75, 429)),
}


@pytest.mark.parametrize("server", SERVERS)
def test_outcomes__have_their_status(
    server: str, start_server: StartServer, start_sandbox: StartSandbox
) -> None:
    """Each outcome has its status within the deadline; no failed one looks complete."""
    faults = sorted({fault for fault, _, _ in OUTCOMES.values() if fault})
    alm = start_sandbox(*faults)
    late, api = (
        start_server(server=server, alm=alm, ALM_SERVE_DEADLINE=str(deadline))
        for deadline in (DEADLINE, AMPLE_DEADLINE)
    )

    for name, (_, query, (status, code, alm_status)) in OUTCOMES.items():
        began = time.monotonic()
        response = (late if status == 504 else api).get(**query)

        assert time.monotonic() - began < AMPLE_DEADLINE, name
        error = response.document["error"] or {"code": None, "http_status": None, "retry_at": None}
        assert (response.status, error["code"]) == (status, code), (name, error)
        assert alm_status in (error["http_status"], None), name
        may_wait = status != 200 and error["retry_at"] is not None
        assert ("Retry-After" in response.headers) is may_wait, name
        assert response.document["complete"] is (name == "complete"), name
        assert status == 200 or code == 65 or not response.document["enrollments"], name
    # The warnings of a run name learners.
    assert "attempt" not in api.written()


@pytest.mark.parametrize("server", SERVERS)
def test_requests__in_every_form(server: str, start_server: StartServer) -> None:
    """Query and body, lists and text, and every way to send the key get the same document."""
    api = start_server(server=server)
    basic = {"Authorization": requests.auth._basic_auth_str("anybody", KEY)}
    types = ["course", "jobAid"]
    chunks = [b'{"user_id":[20941371,31],', b'"lo_types":["course","jobAid"]}']
    responses = [
        api.get(user_id="20941371,31", lo_types="course,jobAid"),
        api.get(None, basic, user_id='["20941371","31"]', lo_types='["course","jobAid"]'),
        api.send("POST", json={"user_id": ["20941371", "31"], "lo_types": types, "since": ""}),
        api.send(
            "POST",
            key=None,
            headers={"X-API-Key": KEY},
            json={"user_id": "20941371 31", "lo_types": "course jobAid", "state": None},
        ),
        api.send("POST", data=iter(chunks), headers={"Content-Type": "application/json"}),
    ]

    assert [response.status for response in responses] == [200] * 5
    # All but the time of the response is equal.
    documents = [{**response.document, "next_since": None} for response in responses]
    assert all(document == documents[0] for document in documents)
    ids = responses[0].document["enrollment_ids"]
    assert len(ids) == len(set(ids)) == responses[0].document["enrollment_count"]


def test_quota__is_kept_by_all_requests(
    start_server: StartServer, start_sandbox: StartSandbox
) -> None:
    """Requests on one credential keep its quota together, after the first has learned it."""
    alm = start_sandbox(rate_per_minute=600, burst=8)
    api = start_server(alm=alm)
    api.get(user_id="20941371")

    with ThreadPoolExecutor(12) as callers:
        responses = list(callers.map(lambda _: api.get(user_id="20941371"), range(24)))

    assert {response.status for response in responses} == {200}
    # Each by itself, 15 would be refused. On a busy machine requests are late, and come together.
    assert [request["status"] for request in alm.requests].count(429) <= 2
