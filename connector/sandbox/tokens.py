"""The sandbox's credentials, and which access token is alive."""

from __future__ import annotations

from urllib.parse import parse_qs

ACCESS_TOKEN = "sandbox-access-token"  # noqa: S105 - it opens nothing
CLIENT_ID = "sandbox-client-id"
CLIENT_SECRET = "sandbox-client-secret"  # noqa: S105 - as above
REFRESH_TOKEN = "sandbox-refresh-token"  # noqa: S105 - as above
_FORM = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "refresh_token": REFRESH_TOKEN}


class Tokens:
    """Knows the live access token; a refresh while it lives gives the same one back, as ALM does."""

    def __init__(self) -> None:
        self._generation = 1
        self._is_alive = True
        self._is_refused = False

    @property
    def current(self) -> str:
        """The newest token, alive or not."""
        return ACCESS_TOKEN if self._generation == 1 else f"{ACCESS_TOKEN}-{self._generation}"

    def accepts(self, authorization: str) -> bool:
        """Return whether the header *authorization* opens the door: ``oauth TOKEN``, or ``Bearer TOKEN``."""
        scheme, _, token = authorization.partition(" ")
        return (
            scheme.lower() in ("oauth", "bearer")
            and token.strip() == self.current
            and self._is_alive
            and not self._is_refused
        )

    def kill(self) -> None:
        """Let the token die: it is refused until it is refreshed."""
        self._is_alive = False

    def refuse(self) -> None:
        """Refuse the token although it lives: refreshing gives the same one back."""
        self._is_refused = True

    def refresh(self, body: bytes) -> str | None:
        """Return the token for the form *body*; ``None`` where its credentials are wrong."""
        form = {
            name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()
        }
        if any(form.get(name) != value for name, value in _FORM.items()):
            return None
        if not self._is_alive:
            self._generation += 1
            self._is_alive = True
        return self.current
