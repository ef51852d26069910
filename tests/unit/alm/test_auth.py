"""Which token is sent: the given one, or a refreshed one, got once for all threads."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from connector.alm.auth import TokenSource, read_refresh
from connector.alm.protocol import Response
from connector.errors import AuthenticationError, ConnectorError, TemporaryError
from connector.redact import Redactor
from connector.settings import Credentials
from tests.support.errors import facts

if TYPE_CHECKING:
    from collections.abc import Mapping

STALE, FRESH = SecretStr("stale-token"), SecretStr("fresh-token")
TRIO = (SecretStr("an-id"), SecretStr("a-client-secret"), SecretStr("a-refresh-token"))
FORM = {
    "client_id": "an-id",
    "client_secret": "a-client-secret",
    "refresh_token": "a-refresh-token",
}
SAME_TOKEN = (
    "ALM refuses the access token, and a refresh returns the same one: the token is valid, but not"
    " for this host. Check that `base_url` is the account's region, and that the application has"
    " the scope admin:read."
)
CHECK_TRIO = (
    "Check `ALM_CLIENT_ID`, `ALM_CLIENT_SECRET` and `ALM_REFRESH_TOKEN`, and that `base_url` is"
    " the account's region."
)


class FakeSend:
    """Returns or raises the next of *results* for each refresh, and records the forms."""

    def __init__(self, *results: SecretStr | ConnectorError) -> None:
        self.forms: list[dict[str, str]] = []
        self._results = iter(results)

    def __call__(self, form: Mapping[str, SecretStr]) -> SecretStr:
        """Return the next token, or raise the next error."""
        self.forms.append({name: secret.get_secret_value() for name, secret in form.items()})
        result = next(self._results)
        if isinstance(result, ConnectorError):
            raise result
        return result


def tokens(access_token: SecretStr | None, *, trio: bool = True) -> TokenSource:
    """Return the source for these credentials."""
    return TokenSource(Credentials(access_token, *(TRIO if trio else ())), Redactor())


@pytest.mark.parametrize("trio", [False, True])
def test_token__given(*, trio: bool) -> None:
    """A token that was given is used first, whether or not it can be refreshed."""
    send, source = FakeSend(), tokens(STALE, trio=trio)

    assert (source.token(send), source.can_refresh, send.forms) == (STALE, trio, [])


def test_token__first() -> None:
    """Without a token the first one is got by one refresh, with the three secrets."""
    send, source = FakeSend(FRESH), tokens(None)

    assert [source.token(send), source.token(send)] == [FRESH, FRESH]
    assert source.can_refresh
    assert send.forms == [FORM]


def test_refresh__replaces_once() -> None:
    """A refused token is replaced for all later requests; a token replaced since is kept."""
    send, source = FakeSend(FRESH), tokens(STALE)

    source.refresh(STALE, send)
    source.refresh(STALE, send)

    assert (source.token(send), len(send.forms)) == (FRESH, 1)


@pytest.mark.parametrize("given", [STALE, None], ids=["refused", "first"])
def test_refresh__once_for_all_threads(given: SecretStr | None) -> None:
    """Eight threads that need a new token at the same moment refresh it once."""
    send, together, source = FakeSend(FRESH), Barrier(8), tokens(given)

    def need_token(_thread: int) -> SecretStr:
        together.wait(timeout=10)
        if given:
            source.refresh(given, send)
        return source.token(send)

    with ThreadPoolExecutor(8) as threads:
        got = list(threads.map(need_token, range(8)))

    assert (got, len(send.forms)) == ([FRESH] * 8, 1)


@pytest.mark.parametrize("given", [FRESH, None], ids=["given", "refreshed"])
def test_refresh__same_token(given: SecretStr | None) -> None:
    """The same token in return is valid but refused here: another refresh would loop."""
    send, source = FakeSend(FRESH, FRESH), tokens(given)
    refused = source.token(send)

    with pytest.raises(AuthenticationError) as caught:
        source.refresh(refused, send)

    assert facts(caught.value) == (AuthenticationError, SAME_TOKEN, 401, None)
    assert source.redactor.clean("fresh-token") == "***"


def test_refresh__fails() -> None:
    """The error of a refresh that may pass is raised as it is, and the next call refreshes."""
    error = TemporaryError("no", hint="none")
    send, source = FakeSend(error, FRESH), tokens(None)

    with pytest.raises(TemporaryError) as caught:
        source.token(send)

    assert caught.value is error
    assert (source.token(send), len(send.forms)) == (FRESH, 2)


@pytest.mark.parametrize("given", [STALE, None], ids=["refused", "first"])
@pytest.mark.parametrize("result", [AuthenticationError("no", hint="none"), STALE])
def test_refresh__refused_once(
    given: SecretStr | None, result: SecretStr | AuthenticationError
) -> None:
    """Eight threads of a run send a refresh that ALM refuses, or that changes nothing, once."""
    first = [STALE] if given is None and result == STALE else []
    send, together, source = FakeSend(*first, result), Barrier(8), tokens(given)
    if first:
        source.token(send)

    def need_token(_thread: int) -> str:
        together.wait(timeout=10)
        with pytest.raises(AuthenticationError) as caught:
            source.refresh(STALE, send) if given or first else source.token(send)
        return str(caught.value)

    with ThreadPoolExecutor(8) as threads:
        texts = set(threads.map(need_token, range(8)))

    assert texts == {SAME_TOKEN if result == STALE else "no none"}
    assert len(send.forms) == len(first) + 1


def test_refresh__refused_in_another_run() -> None:
    """A run sends the refresh that ALM refused an earlier run on the same credential."""
    earlier, source = FakeSend(AuthenticationError("no", hint="none")), tokens(None)
    with pytest.raises(AuthenticationError):
        source.token(earlier)

    assert source.token(FakeSend(FRESH)) == FRESH


def test_token_source__redacts_new_tokens() -> None:
    """Every token that the run gets is removed from later texts."""
    source = tokens(None)

    source.token(FakeSend(FRESH))
    source.refresh(FRESH, FakeSend(SecretStr("third-token")))

    assert source.redactor.clean("oauth fresh-token, oauth third-token") == "oauth ***, oauth ***"


@pytest.mark.parametrize(
    "token",
    ["12345678", "eea25e6e1e03c379c46e5ccc29932899", "a.b-c_d~e+f/g==", "x" * 16_384],
)
def test_read_refresh__token(token: str) -> None:
    """A token of 8 to 16,384 of the characters that tokens have is returned unchanged."""
    body = {"access_token": token, "refresh_token": "r", "expires_in": 604_800, "user_id": "1"}

    assert read_refresh(Response(200, {}, json.dumps(body).encode())) == token


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"<html>Sign in</html>", b"null", b"[]", b"{}", b"[" * 100_000, b"\xff", b'"x"'),
        *(b'{"access_token":%s}' % value for value in (b"null", b'""', b"7", b'["x"]')),
        *(b'{"access_token":"%s"}' % value for value in (b"a b", b"a\\r\\nX-Injected: b", b"a\\n")),
        *(b'{"access_token":"%s"}' % value for value in (b"\\u00e9", b"\\u0000", b"\\ud800")),
        *(b'{"access_token":"%s"}' % value for value in (b"1234567", b"x" * 16_385)),
        *(
            b'{"access_token":"%s"}' % value
            for value in (b'\\"lo_type\\":', b"12345678=9", b"#" * 9)
        ),
        b'{"access_token":"12345678","a":[%s]}' % b",".join([b"1"] * 500_000),
    ],
)
def test_read_refresh__no_token(body: bytes) -> None:
    """A response without a token that can be sent is temporary: a retry may bring one."""
    with pytest.raises(TemporaryError) as caught:
        read_refresh(Response(200, {"x-request-id": "trace"}, body))

    text = "ALM answered a refresh of the access token without a token. Run again."
    assert facts(caught.value) == (TemporaryError, f"{text} (request id trace)", 200, None)


@pytest.mark.parametrize("status", [201, 204, 301, 302, 400, 401, 403, 404, 405, 415])
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            b'{"title":"BAD_REQUEST","source":{"info":"Invalid token"}}',
            ': "BAD_REQUEST: Invalid token"',
        ),
        (b'{"message":"no"}', ': "no"'),
        (b"<html>", ""),
        (b'{"access_token":"x"}', ""),
    ],
)
def test_read_refresh__refused(status: int, body: bytes, message: str) -> None:
    """Any other status is a refusal, described with ALM's own message if it has one."""
    with pytest.raises(AuthenticationError) as caught:
        read_refresh(Response(status, {"x-request-id": "trace"}, body))

    text = f"ALM refuses to refresh the access token ({status}{message}). {CHECK_TRIO}"
    assert facts(caught.value) == (
        AuthenticationError,
        f"{text} (request id trace)",
        status,
        None,
    )


@pytest.mark.parametrize(
    ("status", "happened"),
    [
        *((408, "ALM timed out"), (429, "ALM's quota is used up")),
        *((status, "ALM failed") for status in (500, 502, 503, 504, 599)),
    ],
)
def test_read_refresh__temporary(status: int, happened: str) -> None:
    """A failure that may pass is described as that of a page, with the time that ALM names."""
    with pytest.raises(TemporaryError) as caught:
        read_refresh(Response(status, {"retry-after": "2.5"}, b"<html>"))

    assert caught.value.message == f"{happened} while reading a new access token ({status})."
    assert (caught.value.http_status, caught.value.retry_after) == (status, "2.5")
