"""Credentials that appear nowhere else, and the search for them in whatever a run wrote."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import traceback
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

from tests.support.pages import FRESH_TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterator

CANARY = "k4nari/t0ken+A%b=="
# Written with escapes in JSON, in a representation and in a URL.
TOKEN = 'canary/t0ken+A%b"q\\z=='
CREDENTIALS = {
    "client_id": "canary-client-id",
    "client_secret": "canary+client/secret",
    "refresh_token": "canary~refresh~token",
}
TRIPLE = {f"ALM_{name.upper()}": secret for name, secret in CREDENTIALS.items()}
SECRETS = (CANARY, TOKEN, FRESH_TOKEN, *CREDENTIALS.values())
_LOGGERS = ("", "connector", "urllib3", "urllib3.connectionpool", "requests")


@cache
def forms(secret: str) -> frozenset[str]:
    """Return *secret* as text may hold it: plain, URL-encoded, JSON-escaped, in base64."""
    once = json.dumps(secret)[1:-1]
    twice = json.dumps(once)[1:-1]
    thrice = json.dumps(twice)[1:-1]
    written = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret)}
    written |= {repr(secret)[1:-1], repr(secret.encode())[2:-1]}
    written |= {once, twice, thrice, once.replace("/", "\\/")}
    for shift in range(3):
        piece = base64.b64encode(b"x" * shift + secret.encode()).decode()[4:-4]
        written |= {piece, piece.replace("+", "-").replace("/", "_"), quote(piece, safe="")}
    return frozenset(form.lower() for form in written)


def leaks(text: str) -> list[str]:
    """Return the secrets that *text* holds in any form."""
    lowered = text.lower()
    return [secret for secret in SECRETS if any(form in lowered for form in forms(secret))]


class _Records(logging.Handler):
    """Keeps message, arguments and traceback of every record, as a user's own handler would."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.DEBUG)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Keep *record*."""
        self._lines.append(f"{record.name} {self.format(record)} {record.args!r}")


@contextlib.contextmanager
def logged() -> Iterator[list[str]]:
    """Return the list that receives every log record inside, at DEBUG."""
    lines: list[str] = []
    handler = _Records(lines)
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    loggers[0].addHandler(handler)
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        loggers[0].removeHandler(handler)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def traceback_of(error: BaseException | None) -> str:
    """Return *error* as a crash reporter writes it: its chain, with the locals of every frame."""
    if error is None:
        return ""
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
