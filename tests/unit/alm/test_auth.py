"""Which token is sent: the first one, the refreshed one, once for all, and never the same one twice."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from connector.alm.auth import TokenSource, read_refresh
from connector.errors import AuthenticationError, TemporaryError, error_as_dict
from connector.redact import Redactor
from connector.settings import Credentials

if TYPE_CHECKING:
    from connector.errors import ConnectorError

STALE, FRESH = SecretStr("stale-token"), SecretStr("fresh-token")
TRIPLE = (SecretStr("an-id"), SecretStr("a-client-secret"), SecretStr("a-refresh-token"))
SAME_TOKEN = "ALM refuses the access token, and gives the same one back when asked to refresh it: it is valid, but not here."
CHECK_REGION = "Check that base_url is the account's region, and that the application has the scope admin:read or learner:read."
CHECK_TRIPLE = "Check ALM_CLIENT_ID, ALM_CLIENT_SECRET and ALM_REFRESH_TOKEN, and that base_url is the account's region."


class FakeSend:
    """Answers each refresh with the next of *answers*, and keeps what it was sent."""

    def __init__(self, *answers: SecretStr | ConnectorError) -> None:
        self.sent: list[tuple[str, str, str]] = []
        self._answers = iter(answers)

    def __call__(
        self, *, client_id: SecretStr, client_secret: SecretStr, refresh_token: SecretStr
    ) -> SecretStr:
        """Return the next token, or raise the next error."""
        self.sent.append(
            (
                client_id.get_secret_value(),
                client_secret.get_secret_value(),
                refresh_token.get_secret_value(),
            )
        )
        answer = next(self._answers)
        if isinstance(answer, SecretStr):
            return answer
        raise answer


def test_token__given() -> None:
    """A token that was given is sent as it is; nothing is asked for."""
    send = FakeSend()
    tokens = TokenSource(Credentials(STALE), Redactor())

    assert tokens.token(send) == STALE
    assert (tokens.can_refresh, send.sent) == (False, [])


def test_token__first() -> None:
    """Without a token the first one is got by a refresh, once, with the three secrets."""
    send = FakeSend(FRESH)
    tokens = TokenSource(Credentials(None, *TRIPLE), Redactor())

    assert [tokens.token(send), tokens.token(send)] == [FRESH, FRESH]
    assert (tokens.can_refresh, send.sent) == (
        True,
        [("an-id", "a-client-secret", "a-refresh-token")],
    )


def test_token__all_four() -> None:
    """With all four the access token is used first."""
    send = FakeSend()
    tokens = TokenSource(Credentials(STALE, *TRIPLE), Redactor())

    assert (tokens.token(send), tokens.can_refresh, send.sent) == (STALE, True, [])


def test_refresh__replaces() -> None:
    """A refused token is replaced for all requests to come."""
    send = FakeSend(FRESH)
    tokens = TokenSource(Credentials(STALE, *TRIPLE), Redactor())

    tokens.refresh(STALE, send)

    assert tokens.token(send) == FRESH


def test_refresh__already_replaced() -> None:
    """Who was refused with a token that has been replaced since asks for nothing."""
    send = FakeSend(FRESH)
    tokens = TokenSource(Credentials(STALE, *TRIPLE), Redactor())

    tokens.refresh(STALE, send)
    tokens.refresh(STALE, send)

    assert (tokens.token(send), len(send.sent)) == (FRESH, 1)


def test_refresh__once_for_all_threads() -> None:
    """Eight threads that were refused at the same moment lead to one refresh."""
    send, together = FakeSend(FRESH), Barrier(8)
    tokens = TokenSource(Credentials(STALE, *TRIPLE), Redactor())

    def refused(_thread: int) -> SecretStr:
        together.wait(timeout=10)
        tokens.refresh(STALE, send)
        return tokens.token(send)

    with ThreadPoolExecutor(8) as threads:
        got = list(threads.map(refused, range(8)))

    assert (got, len(send.sent)) == ([FRESH] * 8, 1)


def test_token__first_once_for_all_threads() -> None:
    """Eight threads that need the first token lead to one refresh as well."""
    send, together = FakeSend(FRESH), Barrier(8)
    tokens = TokenSource(Credentials(None, *TRIPLE), Redactor())

    def first(_thread: int) -> SecretStr:
        together.wait(timeout=10)
        return tokens.token(send)

    with ThreadPoolExecutor(8) as threads:
        got = list(threads.map(first, range(8)))

    assert (got, len(send.sent)) == ([FRESH] * 8, 1)


def test_refresh__same_token() -> None:
    """The same token back means that it is valid but refused here: to ask again would loop for ever."""
    tokens = TokenSource(Credentials(STALE, *TRIPLE), Redactor())

    with pytest.raises(AuthenticationError) as caught:
        tokens.refresh(STALE, FakeSend(SecretStr("stale-token")))

    assert error_as_dict(caught.value) == {
        "code": 77,
        "message": SAME_TOKEN,
        "hint": CHECK_REGION,
        "http_status": 401,
        "request_id": None,
        "retry_at": None,
    }


def test_refresh__same_token_as_the_first_one() -> None:
    """The same holds for a token that this run has got itself."""
    send = FakeSend(FRESH, FRESH)
    tokens = TokenSource(Credentials(None, *TRIPLE), Redactor())
    first = tokens.token(send)

    with pytest.raises(AuthenticationError, match="gives the same one back"):
        tokens.refresh(first, send)


@pytest.mark.parametrize("kind", [AuthenticationError, TemporaryError])
def test_refresh__fails(kind: type[ConnectorError]) -> None:
    """A refresh that fails passes its error on, and leaves the token for the next try."""
    error = kind("no", hint="none")
    send = FakeSend(error, FRESH)
    tokens = TokenSource(Credentials(STALE, *TRIPLE), Redactor())

    with pytest.raises(kind) as caught:
        tokens.refresh(STALE, send)
    tokens.refresh(STALE, send)

    assert caught.value is error
    assert tokens.token(send) == FRESH


def test_token__first_fails() -> None:
    """Where the first token cannot be had, the error passes on, and the next call tries again."""
    send = FakeSend(TemporaryError("no", hint="none"), FRESH)
    tokens = TokenSource(Credentials(None, *TRIPLE), Redactor())

    with pytest.raises(TemporaryError):
        tokens.token(send)

    assert tokens.token(send) == FRESH


def test_token_source__redactor_learns() -> None:
    """Every token that the run gets is taken out of later texts."""
    redactor = Redactor()
    tokens = TokenSource(Credentials(None, *TRIPLE), redactor)

    tokens.token(FakeSend(FRESH))
    tokens.refresh(FRESH, FakeSend(SecretStr("third-token")))

    assert redactor.clean("oauth fresh-token, oauth third-token") == "oauth ***, oauth ***"


def test_token_source__redactor_learns_before_refusal() -> None:
    """A token that is refused at once is learned all the same."""
    redactor = Redactor()
    tokens = TokenSource(Credentials(STALE, *TRIPLE), redactor)

    with pytest.raises(AuthenticationError):
        tokens.refresh(STALE, FakeSend(STALE))

    assert redactor.clean("stale-token") == "***"


@pytest.mark.parametrize(
    "token",
    ["x", "eea25e6e1e03c379c46e5ccc29932899", "a.b-c_d~e+f/g==", "!\"#$%&'()*", "x" * 4_000],
)
def test_read_refresh__token(token: str) -> None:
    """Whatever can stand in a header is taken as it is."""
    body = json.dumps(
        {
            "access_token": token,
            "refresh_token": "r",
            "expires_in": 604_800,
            "user_role": "admin",
            "user_id": "1",
        }
    )

    assert read_refresh(200, {}, body.encode()) == token


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Sign in</html>",
        b"null",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b"\xff",
        b'{"access_token":null}',
        b'{"access_token":""}',
        b'{"access_token":7}',
        b'{"access_token":["x"]}',
        b'{"access_token":"a b"}',
        b'{"access_token":"a\\r\\nX-Injected: b"}',
        b'{"access_token":"a\\n"}',
        b'{"access_token":"\\u00e9"}',
        b'{"access_token":"\\u0000"}',
        b'{"access_token":"\\ud800"}',
    ],
)
def test_read_refresh__no_token(body: bytes) -> None:
    """An answer without a token that can be sent is none; another try may bring one."""
    with pytest.raises(TemporaryError) as caught:
        read_refresh(200, {"x-request-id": "trace"}, body)

    assert error_as_dict(caught.value) == {
        "code": 75,
        "message": "ALM answered a refresh of the access token without a token.",
        "hint": "Run again.",
        "http_status": 200,
        "request_id": "trace",
        "retry_at": None,
    }


@pytest.mark.parametrize("status", [201, 204, 301, 302, 400, 401, 403, 404, 405, 415])
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            b'{"status":"400","title":"BAD_REQUEST","source":{"info":"Invalid refresh token"}}',
            ': "BAD_REQUEST: Invalid refresh token"',
        ),
        (b'{"message":"no"}', ': "no"'),
        (b"<html>", ""),
        (b"", ""),
    ],
)
def test_read_refresh__refused(status: int, body: bytes, said: str) -> None:
    """Any other answer is a refusal, in ALM's own words where it has some."""
    with pytest.raises(AuthenticationError) as caught:
        read_refresh(status, {"x-request-id": "trace"}, body)

    assert error_as_dict(caught.value) == {
        "code": 77,
        "message": f"ALM refuses to refresh the access token ({status}{said}).",
        "hint": CHECK_TRIPLE,
        "http_status": status,
        "request_id": "trace",
        "retry_at": None,
    }


@pytest.mark.parametrize(
    ("status", "happened"),
    [
        (408, "ALM timed out"),
        (429, "ALM's quota is used up"),
        (500, "ALM failed"),
        (502, "ALM failed"),
        (503, "ALM failed"),
        (504, "ALM failed"),
        (599, "ALM failed"),
    ],
)
def test_read_refresh__temporary(status: int, happened: str) -> None:
    """What may pass is told as for a page, the time that ALM names with it."""
    with pytest.raises(TemporaryError) as caught:
        read_refresh(status, {"retry-after": "2.5"}, b"<html>")

    assert caught.value.message == f"{happened}, asked for the access token's refresh ({status})."
    assert (caught.value.http_status, caught.value.retry_after) == (status, "2.5")
