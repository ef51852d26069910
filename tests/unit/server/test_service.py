"""One run for each request: its credentials, users and deadline."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from connector.errors import DeadlineError, UsageError, UserNotFoundError
from connector.sandbox import ACCESS_TOKEN
from connector.server.service import EnrollmentService
from connector.server.settings import ServerSettings
from connector.settings import Credentials
from tests.support.clock import VirtualClock
from tests.unit.server.conftest import KEY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sandbox import StartSandbox
    from tests.unit.server.conftest import SetVariables

DEADLINE = 20.0


@pytest.fixture
def sandboxed(set_variables: SetVariables) -> None:
    """Let the server read from the embedded sandbox."""
    set_variables(ALM_BASE_URL="sandbox")


def make_service(
    clock: VirtualClock | None = None,
    *,
    user_ids: frozenset[str] | None = None,
    secrets_dir: Path | None = None,
) -> EnrollmentService:
    """Return a service with these settings."""
    settings = ServerSettings(SecretStr(KEY), DEADLINE, user_ids, secrets_dir)
    return EnrollmentService(settings, clock or VirtualClock())


def read_ids(service: EnrollmentService, **values: Any) -> list[str]:
    """Return the enrollment ids that the service reads for the inputs *values*."""
    ids: list[str] = service.read(values, None, 0.0).document["enrollment_ids"]
    return ids


@pytest.mark.usefixtures("sandboxed")
@pytest.mark.parametrize("sort", [None, "", " "])
def test_read__the_newest_first(sort: str | None, set_variables: SetVariables) -> None:
    """The newest enrollment comes first, unless the request says otherwise."""
    set_variables(ALM_SORT="dateEnrolled")
    service = make_service()

    oldest_first = read_ids(service, user_id="20941371", sort="dateEnrolled")

    assert read_ids(service, user_id="20941371", sort=sort) == oldest_first[::-1]
    assert len(oldest_first) == 3


@pytest.mark.usefixtures("sandboxed")
def test_read__with_no_other_input_of_the_environment(set_variables: SetVariables) -> None:
    """The environment's inputs for other commands take no part in a request."""
    set_variables(ALM_USER_ID="31", ALM_OUTPUT_FILE="out.json", ALM_LO_TYPES="jobAid")
    service = make_service()

    assert len(read_ids(service, user_id="20941371")) == 3
    # Leading zeros make no other user of it.
    assert service.read({"user_id": "0032"}, None, 0.0).document["users"]["read"] == 1
    with pytest.raises(
        UsageError,
        match=r"valid: user_id is missing \(allowed: ALM user ids, .*each, or `user_email`\)",
    ):
        service.read({}, None, 0.0)


@pytest.mark.usefixtures("sandboxed")
def test_users__that_the_server_serves() -> None:
    """If one user of a request is not served, none of them is read."""
    service = make_service(user_ids=frozenset({"20941371", "32"}))

    assert len(read_ids(service, user_id="20941371")) == 3
    # Leading zeros make no other user of it.
    assert service.read({"user_id": "0032"}, None, 0.0).document["users"]["read"] == 1
    with pytest.raises(UserNotFoundError) as caught:
        service.read({"user_id": "20941371,33"}, None, 0.0)
    assert caught.value.message == "This server does not serve user 33."


@pytest.mark.usefixtures("sandboxed")
def test_users__by_address() -> None:
    """Only addresses that are listed lead to a user, whatever user they lead to."""
    service = make_service(user_ids=frozenset({"31", "ada.31@example.com"}))

    document = service.read({"user_email": "Ada.31@example.com"}, None, 0.0).document
    with pytest.raises(UserNotFoundError) as caught:
        service.read({"user_email": "b.31@example.com"}, None, 0.0)

    assert document["users"] == {"requested": 1, "read": 1, "failed": []}
    assert caught.value.message == "This server does not serve user b.31@example.com."


def test_credentials__of_the_request(
    set_variables: SetVariables, start_sandbox: StartSandbox
) -> None:
    """The server's own credentials take no part in a request that brings a token."""
    alm = start_sandbox()
    set_variables(ALM_BASE_URL=alm.url, ALM_ACCESS_TOKEN=ACCESS_TOKEN)
    service = make_service()

    errors = [
        service.read({"user_id": "31"}, token, 0.0).document["error"]
        for token in (None, ACCESS_TOKEN, "a-wrong-token")
    ]

    assert errors[:2] == [None, None]
    assert (errors[2]["code"], errors[2]["http_status"]) == (77, 401)


def test_credentials__are_missing(set_variables: SetVariables) -> None:
    """Without credentials of the server, a request must bring a token."""
    set_variables(ALM_BASE_URL="https://alm.example")

    with pytest.raises(UsageError) as caught:
        make_service().read({"user_id": "31"}, None, 0.0)

    assert caught.value.message == (
        "1 input is not valid: X-ALM-Token is missing"
        " (allowed: ALM's access token: this server has none of its own)."
    )


def test_credentials__of_the_request_are_named_by_their_header(set_variables: SetVariables) -> None:
    """A problem with the request's token names the header, not the server's variable."""
    set_variables(ALM_BASE_URL="https://alm.example")

    with pytest.raises(UsageError, match="valid: X-ALM-Token is not valid"):
        make_service().read({"user_id": "31"}, "'a-quoted-token'", 0.0)


def test_credentials__in_files_may_change(
    set_variables: SetVariables, start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    """Each request uses the credentials that the files have at its time."""
    set_variables(ALM_BASE_URL=start_sandbox().url)
    service = make_service(secrets_dir=tmp_path)
    errors = []

    for token in ("a-wrong-token", ACCESS_TOKEN):
        (tmp_path / "alm_access_token").write_text(token, encoding="utf-8")
        errors.append(service.read({"user_id": "31"}, None, 0.0).error)

    assert [error and error.code for error in errors] == [77, None]


def token(text: str) -> Credentials:
    """Return credentials that are one access token."""
    return Credentials(SecretStr(text))


def test_account__is_shared_by_requests() -> None:
    """Requests on one credential share an account, however many come at once."""
    service = make_service()
    barrier = threading.Barrier(8)

    def account(_: int) -> object:
        barrier.wait()
        return service.account(token("token-one"), 1.0, is_own=True)

    with ThreadPoolExecutor(8) as threads:
        accounts = {id(account) for account in threads.map(account, range(8))}
    assert len(accounts) == 1


def test_account__of_other_credentials() -> None:
    """Credentials that differ in anything share nothing."""
    service = make_service()
    x, y, z = map(SecretStr, "xyz")
    credentials = [
        token("a-token"),
        token("b-token"),
        Credentials(None, x, y, z),
        Credentials(x, None, y, z),
    ]

    accounts = {id(service.account(credential, 1.0, is_own=False)[0]) for credential in credentials}

    assert len(accounts) == 4


def test_account__limits() -> None:
    """256 tokens of requests are kept, the latest used ones, apart from the server's own."""
    service = make_service()
    own = service.account(token("own-token"), 1.0, is_own=True)
    used = service.account(token("used-token"), 1.0, is_own=False)
    first = service.account(token("token-0"), 1.0, is_own=False)

    for number in range(1, 300):
        service.account(token(f"token-{number}"), 1.0, is_own=False)
        assert service.account(token("used-token"), 1.0, is_own=False) is used

    assert service.account(token("own-token"), 1.0, is_own=True) is own
    assert service.account(token("token-0"), 1.0, is_own=False) is not first
    assert service.account(token("token-299"), 1.0, is_own=False) is not first


def test_account__redacts_its_secrets() -> None:
    """An account's redactor knows the credentials and the server's key."""
    _, redactor = make_service().account(token("a-brought-token"), 1.0, is_own=False)

    assert redactor.clean(f"{KEY} a-brought-token") == "*** ***"


def test_account__has_the_quota_share() -> None:
    """The rate limiter uses the share of the quota that the server is given."""
    half, full = (
        make_service().account(token("a-token"), share, is_own=True)[0].rate_limiter.quota.rate
        for share in (0.5, 1.0)
    )

    assert half * 2 == full


@pytest.mark.parametrize(
    ("deadline", "waited", "waits"), [("600", 0, 2), ("600", 11, 1), ("5", 0, 0)]
)
def test_deadline__counts_from_the_arrival(
    deadline: str,
    waited: float,
    waits: int,
    set_variables: SetVariables,
    start_sandbox: StartSandbox,
) -> None:
    """Waiting for a thread is part of the deadline, which the server's own deadline limits."""
    set_variables(ALM_BASE_URL=start_sandbox("*:429/7x*").url, ALM_ACCESS_TOKEN=ACCESS_TOKEN)
    clock = VirtualClock()

    outcome = make_service(clock).read({"user_id": "31", "deadline": deadline}, None, -waited)

    assert outcome.document["error"]["code"] == 75
    assert len(clock.slept) == waits


class StuckClock(VirtualClock):
    """A clock on which waiting takes far longer than asked, as looking up a host name may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_end = threading.Event()

    def sleep(self, seconds: float) -> None:
        """Let an hour pass, and return when it may."""
        super().sleep(seconds + 3600)
        self.may_end.wait()


def test_deadline__of_a_run_that_hangs(
    set_variables: SetVariables, start_sandbox: StartSandbox
) -> None:
    """The response comes in time, even if the run itself hangs."""
    set_variables(ALM_BASE_URL=start_sandbox("*:503x*").url, ALM_ACCESS_TOKEN=ACCESS_TOKEN)
    clock = StuckClock()

    outcome = make_service(clock).read({"user_id": "31"}, None, 0.0)
    clock.may_end.set()

    assert type(outcome.error) is DeadlineError
    assert outcome.error.message == "The deadline of 19 s passed before the run ended."


@pytest.mark.parametrize(("waited", "is_late"), [(18.9, False), (19.0, True), (25.0, True)])
def test_deadline__that_has_passed(
    *, waited: float, is_late: bool, set_variables: SetVariables, start_sandbox: StartSandbox
) -> None:
    """Of a request that has waited until its deadline nothing is sent to ALM."""
    sandbox = start_sandbox()
    set_variables(ALM_BASE_URL=sandbox.url, ALM_ACCESS_TOKEN=ACCESS_TOKEN)
    service = make_service(VirtualClock())

    with pytest.raises(DeadlineError) if is_late else contextlib.nullcontext():
        service.read({"user_id": "31"}, None, -waited)

    assert bool(sandbox.requests) is not is_late
