"""The client of a run: for ALM with the account's token and quota, or for the embedded sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import SecretStr

from connector.alm.auth import TokenSource
from connector.alm.rate_limit import Quota, RateLimiter
from connector.clock import Deadline
from connector.redact import Redactor
from connector.runner.connection import Account, open_client, request_for
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
    )

    assert request_for("31", inputs).address == (
        "http://127.0.0.1:1/primeapi/v2/users/31/enrollments?page%5Blimit%5D=5"
        "&filter.loTypes=course%2CjobAid&filter.states=active&sort=dateEnrolled&include=learner"
    )


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
