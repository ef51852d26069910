"""Which token to send. Refreshes it once for all who were refused with it, and notices when nothing changes."""

from __future__ import annotations

import json
import re
import threading
from typing import TYPE_CHECKING, Protocol

from connector.alm.protocol import error_for, parse_message, read_request_id, shown
from connector.errors import AuthenticationError, TemporaryError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import SecretStr

    from connector.redact import Redactor
    from connector.settings import Credentials

_OK = 200
_SERVER_ERRORS = 5
_TEMPORARY = (408, 429)


class SendRefresh(Protocol):
    """Sends the refresh form and returns ALM's access token; raises AuthenticationError where ALM refuses it."""

    def __call__(
        self, *, client_id: SecretStr, client_secret: SecretStr, refresh_token: SecretStr
    ) -> SecretStr:
        """Send it."""
        ...


class TokenSource:
    """Holds the run's access token, and makes a new one where the credentials allow it."""

    def __init__(self, credentials: Credentials, redactor: Redactor) -> None:
        self._lock = threading.Lock()
        self._credentials = credentials
        self._redactor = redactor
        self._token = credentials.access_token

    @property
    def can_refresh(self) -> bool:
        """Whether a new token can be had."""
        return self._credentials.refresh_token is not None

    def clean(self, text: str) -> str:
        """Return *text* without the run's secrets."""
        return self._redactor.clean(text)

    def are_in(self, cursor: str | None) -> bool:
        """Return whether *cursor* holds one of the run's secrets."""
        return cursor is not None and self._redactor.clean_document(cursor) != cursor

    def token(self, send: SendRefresh) -> SecretStr:
        """Return the token to send, which *send* gets first where none was given."""
        with self._lock:
            if self._token is None:
                self._token = self._refreshed(send)
            return self._token

    def refresh(self, refused: SecretStr, send: SendRefresh) -> None:
        """Replace the token *refused*, unless another thread has done so.

        Raises AuthenticationError where ALM gives the same token back.
        """
        with self._lock:
            if self._token != refused:
                return
            fresh = self._refreshed(send)
            # Refreshing a token that is still valid returns the same one (ALM_API.md, Tokens): asking again would loop.
            if fresh == refused:
                raise AuthenticationError(
                    "ALM refuses the access token, and gives the same one back when asked to refresh it: it is valid, but not here.",
                    hint="Check that base_url is the account's region, and that the application has the scope admin:read or learner:read.",
                    http_status=401,
                )
            self._token = fresh

    def _refreshed(self, send: SendRefresh) -> SecretStr:
        held = self._credentials
        if held.client_id is None or held.client_secret is None or held.refresh_token is None:
            raise TypeError(
                "load_inputs lets no credentials through that can neither be sent nor refreshed"
            )
        fresh = send(
            client_id=held.client_id,
            client_secret=held.client_secret,
            refresh_token=held.refresh_token,
        )
        self._redactor.add(fresh.get_secret_value())
        return fresh


def read_refresh(status: int, headers: Mapping[str, str], body: bytes) -> str:
    """Return the access token that the answer to a refresh brought.

    Raises AuthenticationError where ALM refuses it, TemporaryError where asking again may help.
    """
    request_id = read_request_id(headers)
    if status // 100 == _SERVER_ERRORS or status in _TEMPORARY:
        raise error_for(status, headers, body, asked_for="the access token's refresh")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    token = document.get("access_token") if isinstance(document, dict) else None
    if status == _OK and isinstance(token, str) and re.fullmatch(r"[!-~]+", token):
        return token
    if status == _OK:
        raise TemporaryError(
            "ALM answered a refresh of the access token without a token.",
            hint="Run again.",
            http_status=status,
            request_id=request_id,
        )
    said = parse_message(body)
    raise AuthenticationError(
        f"ALM refuses to refresh the access token ({status}{f': {shown(said)}' if said else ''}).",
        hint="Check ALM_CLIENT_ID, ALM_CLIENT_SECRET and ALM_REFRESH_TOKEN, and that base_url is the account's region.",
        http_status=status,
        request_id=request_id,
    )
