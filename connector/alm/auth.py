"""Which token to send: refreshed once for all threads, and never twice to the same token."""

from __future__ import annotations

import json
import re
import threading
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeGuard

from connector.alm.protocol import (
    describe_status,
    error_for,
    has_too_many_values,
    read_request_id,
)
from connector.errors import AuthenticationError, TemporaryError
from connector.redact import MAX_SECRET_CHARACTERS, MIN_SECRET_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic import SecretStr

    from connector.alm.protocol import Response
    from connector.redact import Redactor
    from connector.settings import Credentials

    # Sends the form of a refresh and returns ALM's access token, or raises a ConnectorError.
    SendRefresh = Callable[[Mapping[str, SecretStr]], SecretStr]

#: The way out if ALM refuses a token that it has just made.
CHECK_REGION = (
    "Check that `base_url` is the account's region, and that the application has the scope"
    " admin:read."
)
# RFC 6750, 2.1: a token with other characters cannot be sent, and would look like something else.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_TEMPORARY = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


class TokenSource:
    """Holds the run's access token, and gets a new one if the credentials allow it."""

    def __init__(self, credentials: Credentials, redactor: Redactor) -> None:
        form = {
            "client_id": credentials.client_id,
            "client_secret": credentials.client_secret,
            "refresh_token": credentials.refresh_token,
        }
        self.redactor = redactor
        self._lock = threading.Lock()
        self._token = credentials.access_token
        #: What a refresh sends; empty if only an access token was given.
        self._form = {name: secret for name, secret in form.items() if secret is not None}
        # The last refusal of a refresh, and the run that sent it.
        self._refusal: tuple[SendRefresh, AuthenticationError] | None = None

    @property
    def can_refresh(self) -> bool:
        """Whether the credentials suffice to get a new token."""
        return bool(self._form)

    def token(self, send: SendRefresh) -> SecretStr:
        """Return the token to send; *send* gets the first one if none was given."""
        with self._lock:
            if self._token is None:
                self._token = self._refresh(send)
            return self._token

    def refresh(self, refused: SecretStr, send: SendRefresh) -> None:
        """Replace the token *refused*, unless another thread has done so.

        Raises AuthenticationError if ALM returns the same token.
        """
        with self._lock:
            if self._token != refused:
                return
            fresh = self._refresh(send)
            # ALM returns the same token while it is valid: to refresh it again would loop.
            if fresh == refused:
                error = AuthenticationError(
                    "ALM refuses the access token, and a refresh returns the same one:"
                    " the token is valid, but not for this host.",
                    hint=CHECK_REGION,
                    http_status=HTTPStatus.UNAUTHORIZED,
                )
                self._refusal = send, error
                raise error.replaced()
            self._token = fresh

    def _refresh(self, send: SendRefresh) -> SecretStr:
        # The run's other threads, which wait for the lock, must not repeat a refused refresh.
        if self._refusal and self._refusal[0] == send:
            raise self._refusal[1].replaced()
        try:
            fresh = send(self._form)
        except AuthenticationError as error:
            self._refusal = send, error.replaced()
            raise
        self.redactor.add(fresh.get_secret_value())
        return fresh


def read_refresh(response: Response) -> str:
    """Return the access token in the *response* to a refresh.

    Raises AuthenticationError if ALM refuses it, TemporaryError if a retry may help.
    """
    status = response.status
    if status in _TEMPORARY or status // 100 == HTTPStatus.INTERNAL_SERVER_ERROR // 100:
        raise error_for(response, "a new access token")
    request_id = read_request_id(response.headers)
    if status != HTTPStatus.OK:
        raise AuthenticationError(
            f"ALM refuses to refresh the access token ({describe_status(response)}).",
            hint="Check `ALM_CLIENT_ID`, `ALM_CLIENT_SECRET` and `ALM_REFRESH_TOKEN`,"
            " and that `base_url` is the account's region.",
            http_status=status,
            request_id=request_id,
        )
    try:
        document = {} if has_too_many_values(response.body) else json.loads(response.body)
        token = document["access_token"]
    except (ValueError, RecursionError, TypeError, KeyError):
        token = None
    if not _is_token(token):
        raise TemporaryError(
            "ALM answered a refresh of the access token without a token.",
            hint="Run again.",
            http_status=status,
            request_id=request_id,
        )
    return token


def _is_token(value: object) -> TypeGuard[str]:
    return (
        isinstance(value, str)
        and MIN_SECRET_CHARACTERS <= len(value) <= MAX_SECRET_CHARACTERS
        and _TOKEN.fullmatch(value) is not None
    )
