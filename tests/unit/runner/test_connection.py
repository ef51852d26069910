"""The client of a run: for ALM with the account's token and quota, or for the embedded sandbox."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from connector.alm.auth import TokenSource
from connector.alm.rate_limit import Quota, RateLimiter
from connector.clock import Deadline
from connector.redact import Redactor
from connector.runner.connection import Account, open_client, request_for, warnings_of
from connector.sandbox import ACCESS_TOKEN, CLIENT_SECRET
from connector.sandbox.days import enrollments_on
from connector.settings import Credentials
from tests.support.inputs import inputs_of

if TYPE_CHECKING:
    from connector.clock import Clock

CREDENTIALS = Credentials(SecretStr("a-token-0042"))
HEADERS = {"x-rate-limit": "120r/m", "x-burst": "10"}


def test_request_for__of_the_inputs() -> None:
    """The first request names the user, and has the query of the inputs."""
    inputs = inputs_of(
        base_url="http://127.0.0.1:1",
        access_token="a-token-0042",
        lo_types="course,jobAid",
        state="active",
        include="learner",
        page_limit=5,
        query="a=1&2",
    )

    assert request_for("31", inputs).address == (
        "http://127.0.0.1:1/primeapi/v2/users/31/enrollments?page%5Blimit%5D=5"
        "&filter.loTypes=course%2CjobAid&filter.states=active&sort=dateEnrolled&include=learner"
        "&a=1%262"
    )


@pytest.mark.parametrize(
    ("base_url", "credentials", "named"),
    [
        ("sandbox", Credentials(), []),
        ("sandbox", Credentials(SecretStr(ACCESS_TOKEN)), []),
        ("sandbox", CREDENTIALS, ["`ALM_ACCESS_TOKEN` is not used"]),
        (
            "sandbox",
            Credentials(
                SecretStr(ACCESS_TOKEN), *map(SecretStr, ("an-id-0042", CLIENT_SECRET, "trio-0042"))
            ),
            ["`ALM_CLIENT_ID` and `ALM_REFRESH_TOKEN` are not used"],
        ),
        (
            "sandbox",
            Credentials(None, *map(SecretStr, ("an-id-0042", "a-secret-0042", "trio-0042"))),
            ["`ALM_CLIENT_ID`, `ALM_CLIENT_SECRET` and `ALM_REFRESH_TOKEN` are not used"],
        ),
        ("https://alm.example", CREDENTIALS, []),
    ],
)
def test_warnings_of__credentials_that_the_sandbox_ignores(
    base_url: str, credentials: Credentials, named: list[str]
) -> None:
    """A run on the sandbox with ALM's credentials warns that its records are made up."""
    warnings = list(warnings_of(base_url, credentials))

    assert [text.partition(":")[0] for text in warnings] == named
    assert all("made up. To read ALM, set `base_url`" in text for text in warnings)


def test_request_for__the_sandbox() -> None:
    """The sandbox's address never resolves, so that its token reaches no other host (RFC 6761)."""
    assert request_for("31", inputs_of()).url.startswith("https://sandbox.invalid/")


def test_open_client__shares_an_account(clock: Clock) -> None:
    """Runs with one account share its quota; a run without one has a quota of its own."""
    inputs = inputs_of(base_url="http://127.0.0.1:1", access_token="a-token-0042")
    redactor = Redactor()
    account = Account(TokenSource(CREDENTIALS, redactor), RateLimiter(1.0))
    deadline = Deadline(clock, 600)
    shared = open_client(inputs, CREDENTIALS, redactor, deadline, account)
    own = open_client(inputs, CREDENTIALS, redactor, deadline)

    account.rate_limiter.update(HEADERS, clock.monotonic())

    assert (shared.quota, own.quota) == (Quota(2.0, 10.0), None)
    for client in (shared, own):
        client.close()


def test_open_client__the_sandbox_has_its_own_account(clock: Clock) -> None:
    """The embedded sandbox gets neither the account's token nor its quota, and answers."""
    redactor, inputs = Redactor(), inputs_of()
    account = Account(TokenSource(CREDENTIALS, redactor), RateLimiter(1.0))
    client = open_client(inputs, CREDENTIALS, redactor, Deadline(clock, 600), account)

    page = client.fetch(request_for("20941371", inputs))

    assert len(page.enrollments) == 3
    assert account.rate_limiter.seen is None
    client.close()


def test_open_client__the_sandbox_of_a_day(clock: Clock) -> None:
    """The embedded sandbox has the learners of the day that the inputs name."""
    inputs = replace(inputs_of(), sandbox_day=30)
    client = open_client(inputs, CREDENTIALS, Redactor(), Deadline(clock, 60))

    page = client.fetch(request_for("20941371", inputs))

    expected = [enrollment["id"] for enrollment in enrollments_on(30, "20941371")]
    courses = [enrollment_id for enrollment_id in expected if enrollment_id.startswith("course:")]
    assert [enrollment["id"] for enrollment in page.enrollments] == courses
    client.close()
