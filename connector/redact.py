"""The run's secrets, and text without them, whichever way they are written in it."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import re
import threading
import traceback
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PLACEHOLDER = "***"
# A shorter piece of base64 stands in too much innocent text to be taken for a secret.
_SHORTEST_BASE64 = 8
# What is shorter, or a number, may be part of any id: a document without its ids would be worth nothing.
_SHORTEST_IN_DOCUMENT = 8

# As a pattern has them: a message that quotes a message, inside the document, escapes the escapes.
_ESCAPED = re.compile(r"""\\\\|["'/]""")
# What a message quotes is cut with an ellipsis, in a document written as an escape.
_CUT = re.compile(r"(…|\\u2026)")
_SHORTEST_BEGINNING = 6
_SHORTEST_TRACE = 4
# Runs side by side: removed from the list that a record of another run is just going through, a filter would have it skip the next one.
_filters_lock = threading.Lock()


class Redactor:
    """Knows the run's secrets and takes them out of text: raw, URL-encoded, base64 and JSON-escaped."""

    def __init__(self) -> None:
        self._secrets: list[str] = []
        self._announce: list[Callable[[str], None]] = []
        self._forms: set[str] = set()
        self._in_text: re.Pattern[str] | None = None
        self._in_document: re.Pattern[str] | None = None
        self._traces: frozenset[str] | None = frozenset()

    def __repr__(self) -> str:
        """Tell nothing of the secrets."""
        return "Redactor()"

    def add(self, secret: str) -> None:
        """Take *secret* out of every later text; an empty one is none."""
        if not secret or secret in self._secrets:
            return
        self._secrets.append(secret)
        for tell in self._announce:
            tell(secret)
        # Other threads may be going through the set that there is.
        self._forms = self._forms | {form for form in _forms(secret) if form}
        self._in_text = _pattern(self._forms)
        in_document = {
            form
            for form in self._forms
            if len(form) >= _SHORTEST_IN_DOCUMENT and not form.isdigit()
        }
        self._in_document = _pattern(in_document)
        self._traces = _traces(in_document)

    def announce(self, tell: Callable[[str], None]) -> None:
        """Call *tell* with each secret: those known by now, and later ones before they can be in any text."""
        self._announce.append(tell)
        for secret in self._secrets:
            tell(secret)

    def clean(self, text: str) -> str:
        """Return *text*, a message, with ``***`` for each secret, and for the beginning of one that a cut has left."""
        return (
            text
            if self._in_text is None
            else self._in_text.sub(PLACEHOLDER, self._without_beginnings(text))
        )

    def clean_document(self, text: str) -> str:
        """Return *text*, a JSON document, with ``***`` for each secret that cannot be mistaken for part of an id."""
        if self._in_document is None or self._is_plainly_clean(text):
            return text
        return self._in_document.sub(PLACEHOLDER, self._without_beginnings(text))

    def _is_plainly_clean(self, text: str) -> bool:
        """Return whether no trace of a secret is in *text*; the pattern alone takes thirty times as long to say so of a page."""
        if self._traces is None or not text.isascii() or r"\u2026" in text:
            return False
        lowered = text.lower()
        return not [trace for trace in self._traces if trace in lowered]

    def _without_beginnings(self, text: str) -> str:
        pieces = _CUT.split(text)
        for position in range(0, len(pieces) - 1, 2):
            pieces[position] = _without_end(pieces[position], self._forms)
        return "".join(pieces)


class _CleanedRecords(logging.Filter):
    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def filter(self, record: logging.LogRecord) -> bool:
        """Take the secrets out of *record*'s message and traceback."""
        record.msg, record.args = self._redactor.clean(record.getMessage()), ()
        if record.exc_info:
            record.exc_text = self._redactor.clean(
                "".join(traceback.format_exception(record.exc_info[1]))
            )
            record.exc_info = None
        return True


@contextlib.contextmanager
def cleaned_logs(redactor: Redactor, loggers: Iterable[str]) -> Iterator[None]:
    """Keep the secrets out of what *loggers* log inside, whoever writes it where."""
    cleaning = _CleanedRecords(redactor)
    cleaned = [logging.getLogger(name) for name in loggers]
    with _filters_lock:
        for logger in cleaned:
            logger.filters = [*logger.filters, cleaning]
    try:
        yield
    finally:
        with _filters_lock:
            for logger in cleaned:
                logger.filters = [one for one in logger.filters if one is not cleaning]


def _without_end(text: str, forms: set[str]) -> str:
    """Return *text* with ``***`` for the beginning of a form that it ends with."""
    lengths = [
        length
        for form in forms
        for length in range(_SHORTEST_BEGINNING, min(len(form), len(text) + 1))
        if text.endswith(form[:length])
    ]
    return text[: -max(lengths)] + PLACEHOLDER if lengths else text


def _pattern(forms: set[str]) -> re.Pattern[str] | None:
    longest_first = sorted(forms, key=len, reverse=True)
    # The document writes every second of two number signs that meet as an escape.
    written = (
        _ESCAPED.sub(_any_escape, re.escape(form).replace(r"\#", r"(?:\#|\\u0023)"))
        for form in longest_first
    )
    # Percent-encoding may be written in either case.
    return re.compile("|".join(written), re.IGNORECASE) if forms else None


def _traces(forms: set[str]) -> frozenset[str] | None:
    """Return what each of *forms* has in it however it is escaped, in lower case; ``None`` where one of them has too little of it."""
    found = {max(re.findall("[a-z0-9]+", form.lower()), key=len, default="") for form in forms}
    if any(len(trace) < _SHORTEST_TRACE for trace in found):
        return None
    return frozenset(
        trace for trace in found if not any(other != trace and other in trace for other in found)
    )


def _any_escape(escaped: re.Match[str]) -> str:
    return r"\\+" if escaped[0] == r"\\" else r"\\*" + escaped[0]


def _forms(secret: str) -> Iterator[str]:
    yield secret
    yield quote(secret, safe="")
    yield quote(secret)
    yield quote_plus(secret)
    # Written with escapes for what is not ASCII; those of quotes and back-slashes are the pattern's.
    yield json.dumps(secret)[1:-1]
    for shift in range(3):
        piece = _base64_piece(secret.encode(), shift)
        if len(piece) >= _SHORTEST_BASE64:
            yield piece
            yield piece.replace("+", "-").replace("/", "_")
            yield quote(piece, safe="")


def _base64_piece(secret: bytes, shift: int) -> str:
    """Return the base64 characters that *secret* alone decides where *shift* bytes stand before it in its group of three."""
    encoded = base64.b64encode(b"\0" * shift + secret).decode()
    start = (shift * 8 + 5) // 6
    whole = (shift + len(secret)) * 8 // 6
    return encoded[start:whole]
