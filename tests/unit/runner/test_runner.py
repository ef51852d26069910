"""Users to results: what several failures come to, and what is everyone's."""

from __future__ import annotations

import io
import threading
from typing import TYPE_CHECKING, Any

import pytest

from connector.errors import PartialError, TemporaryError, UserNotFoundError
from connector.redact import Redactor
from connector.runner import Outcome, execute
from connector.sandbox import ACCESS_TOKEN, Settings
from connector.sandbox.faults import parse_faults
from connector.sandbox.server import SandboxServer
from connector.settings import load_inputs

if TYPE_CHECKING:
    from connector.clock import Clock


def outcome_of(*faults: str, clock: Clock, **inputs: Any) -> tuple[Outcome, int]:
    """Return what a run against a sandbox with *faults* comes to, and how many requests it took."""
    redactor = Redactor()
    with SandboxServer(Settings(rate_per_minute=0, faults=parse_faults(faults))) as server:
        loaded, credentials = load_inputs(
            {"base_url": server.url, **inputs}, {"ALM_ACCESS_TOKEN": ACCESS_TOKEN}, redactor
        )
        outcome = execute(loaded, credentials, redactor, clock=clock, stdin=io.StringIO())
    return outcome, len(server.requests)


def test_execute__all_users_failed_alike(clock: Clock) -> None:
    """Where no user could be read, the run fails as they did, not as one that read some."""
    outcome, _ = outcome_of(clock=clock, user_id="4041 4042 4043 4044")

    assert type(outcome.error) is UserNotFoundError
    assert (
        outcome.error.message
        == "None of the 4 users could be read: 4041 (exit code 67), 4042 (exit code 67), 4043 (exit code 67) and 1 more."
    )


def test_execute__all_users_failed_one_of_them_for_now(clock: Clock) -> None:
    """Where one of the failures may pass, the run may be tried again."""
    outcome, _ = outcome_of("user=7:503x*", clock=clock, user_id="4041,7")

    assert type(outcome.error) is TemporaryError
    assert (
        outcome.error.message
        == "None of the 2 users could be read: 4041 (exit code 67), 7 (exit code 75)."
    )
    assert outcome.error.retry_at is not None


def test_execute__some_users_failed_for_now(clock: Clock) -> None:
    """The run that some users failed in can be repeated when the last of them can."""
    outcome, _ = outcome_of("user=7:503x*", clock=clock, user_id="8,7")

    assert type(outcome.error) is PartialError
    assert (
        outcome.document["users"]["failed"][0]["error"]["retry_at"]
        == outcome.document["error"]["retry_at"]
    )


@pytest.mark.parametrize("concurrency", [1, 4])
def test_execute__a_refused_token_is_everyones(concurrency: int, clock: Clock) -> None:
    """A token that ALM refuses would be refused for every user: nobody else is asked for."""
    users = ",".join(map(str, range(1000, 1100)))

    outcome, requests = outcome_of("*:401x*", clock=clock, user_id=users, concurrency=concurrency)

    assert outcome.error is not None
    assert outcome.error.code == 77
    assert requests < 100


def test_execute__a_scope_that_does_not_reach_is_one_users(clock: Clock) -> None:
    """A user whom the token does not reach does not stop the others."""
    outcome, _ = outcome_of(clock=clock, user_id="4031,20941371", concurrency=1)

    assert type(outcome.error) is PartialError
    assert outcome.document["enrollment_count"] == 3


def test_execute__an_empty_shard_is_complete(clock: Clock) -> None:
    """A shard that no user falls into has nothing missing, and asks for nothing."""
    outcome, requests = outcome_of(clock=clock, user_id="31", shard="1/500000")

    assert (outcome.error, outcome.document["complete"], requests) == (None, True, 0)


def test_execute__a_refused_link_loses_no_page_that_may_be_handed_on(clock: Clock) -> None:
    """Under allow_incomplete the page whose next link is refused is handed on all the same."""
    outcome, _ = outcome_of(
        "page=1:foreign-next", clock=clock, user_id="31", lo_types="all", allow_incomplete=True
    )

    assert outcome.error is None
    assert outcome.document["enrollment_count"] == 10


def test_execute__a_contradiction_handed_on_has_no_duplicates(clock: Clock) -> None:
    """Under allow_incomplete what contradicts itself is handed on as violated, each enrollment once."""
    outcome, _ = outcome_of(
        "page=2:duplicatex*", clock=clock, user_id="31", lo_types="all", allow_incomplete=True
    )

    ids = outcome.document["enrollment_ids"]
    assert outcome.document["completeness"]["status"] == "violated"
    assert (len(ids), outcome.document["enrollment_count"]) == (len(set(ids)), len(ids))


def test_execute__nobody_asks_on_when_the_run_has_ended(clock: Clock) -> None:
    """Once the run has ended, threads that still read for it send nothing further."""
    redactor = Redactor()
    with SandboxServer(
        Settings(rate_per_minute=0, faults=parse_faults(["user=1:401x*"])), latency_seconds=0.02
    ) as server:
        users = [1, *range(1000, 1100)]
        given = {"base_url": server.url, "user_id": users, "page_limit": 1, "lo_types": "all"}
        loaded, credentials = load_inputs(given, {"ALM_ACCESS_TOKEN": ACCESS_TOKEN}, redactor)
        outcome = execute(loaded, credentials, redactor, clock=clock, stdin=io.StringIO())
        at_the_end = len(server.requests)
        threading.Event().wait(0.5)

        assert outcome.error is not None
        assert outcome.error.code == 77
        assert (
            outcome.document["completeness"]["reasons"][-1] == "100 of 101 users were not reached"
        )
        assert len(server.requests) <= at_the_end + loaded.concurrency
