"""The run's secrets; text and values without them, in whichever way a secret is encoded."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import re
import threading
import traceback
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, quote_plus

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from connector.errors import ConnectorError

    Error = TypeVar("Error", bound=ConnectorError)

PLACEHOLDER = "***"
# A shorter piece of base64 occurs in too much innocent text to be taken for a secret.
_MIN_BASE64 = 8
# Shorter secrets and numbers may be part of any id: a document without its ids is worthless.
_MIN_IN_VALUES = 8
# Quoted text that was cut ends in an ellipsis; the beginning of a secret may stand before it.
_ELLIPSIS = re.compile(r"(…|\\u2026)")
_MIN_BEGINNING = 6
_MIN_TRACE = 4
# What each secret's characters look like in a pattern: text that quotes text escapes the escapes.
_ESCAPED = re.compile(r"""\\\\|["'/]""")
# Loggers go through their filters while other runs add and remove theirs.
_filters_lock = threading.Lock()


class Redactor:
    """Removes the run's secrets from text and values: raw, URL-encoded, base64, JSON-escaped."""

    def __init__(self) -> None:
        self._secrets: list[str] = []
        self._callbacks: list[Callable[[str], None]] = []
        self._forms: set[str] = set()
        self._in_text: re.Pattern[str] | None = None
        self._in_values: re.Pattern[str] | None = None
        self._traces: frozenset[str] | None = frozenset()

    def __repr__(self) -> str:
        """Show no secret."""
        return "Redactor()"

    def add(self, secret: str) -> None:
        """Remove *secret* from every later text; an empty one is ignored."""
        if not secret or secret in self._secrets:
            return
        self._secrets.append(secret)
        for callback in self._callbacks:
            callback(secret)
        # A new set, for other threads may be iterating over the old one.
        self._forms = self._forms | {form for form in _forms(secret) if form}
        self._in_text = _pattern(self._forms)
        in_values = {
            form for form in self._forms if len(form) >= _MIN_IN_VALUES and not form.isdigit()
        }
        self._in_values = _pattern(in_values)
        self._traces = _traces(in_values)

    def on_secret(self, callback: Callable[[str], None]) -> None:
        """Call *callback* with each secret: the known ones now, later ones before any use."""
        self._callbacks.append(callback)
        for secret in self._secrets:
            callback(secret)

    def clean(self, text: str) -> str:
        """Return *text*, a message, with ``***`` for each secret and each beginning of one."""
        return self._substituted(self._in_text, text)

    def clean_value(self, value: Any) -> Any:  # noqa: ANN401 - a JSON value, or a msgspec struct
        """Return a JSON value with ``***`` for each secret that cannot be part of an id.

        Returns *value* itself if it holds none.
        """
        if self._in_values is None:
            return value
        with contextlib.suppress(UnicodeEncodeError):
            if self.is_clean(msgspec.json.encode(value)):
                return value
        return self._cleaned(value)

    def clean_error(self, error: Error) -> Error:
        """Return *error* without secrets and without the traceback, whose frames hold some."""
        return error.replaced(
            message=self.clean(error.message),
            hint=self.clean(error.hint),
            request_id=error.request_id and self.clean(error.request_id),
            retry_after=None,
        )

    def is_clean(self, text: str | bytes) -> bool:
        """Return whether *text* certainly holds no secret; thirty times faster than the pattern."""
        if self._in_values is None:
            return True
        if self._traces is None:
            return False
        lowered = text.lower() if isinstance(text, str) else text.lower().decode(errors="replace")
        if _ELLIPSIS.search(lowered):
            return False
        return not any(trace in lowered for trace in self._traces)

    def _cleaned(self, value: Any) -> Any:  # noqa: ANN401
        if isinstance(value, str):
            return self._substituted(self._in_values, value)
        if isinstance(value, dict):
            return {self._cleaned(name): self._cleaned(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(map(self._cleaned, value))
        if isinstance(value, msgspec.Struct):
            # A secret may equal the name of a field.
            fields = msgspec.structs.asdict(value)
            cleaned = {name: self._cleaned(item) for name, item in fields.items()}
            return msgspec.structs.replace(value, **cleaned)
        return value

    def _substituted(self, pattern: re.Pattern[str] | None, text: str) -> str:
        if pattern is None:
            return text
        pieces = _ELLIPSIS.split(text)
        for position in range(0, len(pieces) - 1, 2):
            pieces[position] = self._without_beginning(pieces[position])
        return pattern.sub(PLACEHOLDER, "".join(pieces))

    def _without_beginning(self, text: str) -> str:
        """Return *text* with ``***`` for the longest beginning of a secret that it ends with."""
        longest = 0
        for form in self._forms:
            for length in range(_MIN_BEGINNING, min(len(form), len(text) + 1)):
                if text.endswith(form[:length]):
                    longest = max(longest, length)
        return text[:-longest] + PLACEHOLDER if longest else text


@contextlib.contextmanager
def redacted_logs(redactor: Redactor, loggers: Iterable[str]) -> Iterator[None]:
    """Keep the secrets out of what *loggers* log inside, whichever handler writes it."""
    cleaning = _RedactingFilter(redactor)
    redacted = [logging.getLogger(name) for name in loggers]
    with _filters_lock:
        for logger in redacted:
            logger.filters = [*logger.filters, cleaning]
    try:
        yield
    finally:
        with _filters_lock:
            for logger in redacted:
                logger.filters = [item for item in logger.filters if item is not cleaning]


class _RedactingFilter(logging.Filter):
    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def filter(self, record: logging.LogRecord) -> bool:
        """Remove the secrets from *record*'s message and traceback."""
        record.msg, record.args = self._redactor.clean(record.getMessage()), ()
        if record.exc_info:
            lines = traceback.format_exception(record.exc_info[1])
            record.exc_text = self._redactor.clean("".join(lines))
            record.exc_info = None
        return True


def _pattern(forms: set[str]) -> re.Pattern[str] | None:
    if not forms:
        return None
    # The document writes the second of two adjacent number signs as an escape.
    written = [
        _ESCAPED.sub(_any_escape, re.escape(form).replace(r"\#", r"(?:\#|\\u0023)"))
        for form in sorted(forms, key=len, reverse=True)
    ]
    # Percent-encoding may be in either case.
    return re.compile("|".join(written), re.IGNORECASE)


def _any_escape(escaped: re.Match[str]) -> str:
    return r"\\+" if escaped[0] == r"\\" else r"\\*" + escaped[0]


def _traces(forms: set[str]) -> frozenset[str] | None:
    """Return for each of *forms* a lower-case piece that no escape changes; ``None`` without one.

    Text without any of these pieces holds no secret.
    """
    found = {max(re.findall("[a-z0-9]+", form.lower()), key=len, default="") for form in forms}
    if any(len(trace) < _MIN_TRACE for trace in found):
        return None
    redundant = {trace for trace in found for other in found - {trace} if other in trace}
    return frozenset(found - redundant)


def _forms(secret: str) -> Iterator[str]:
    # The environment may hold bytes that are not UTF-8; Python reads them as lone surrogates.
    encoded = secret.encode(errors="surrogatepass")
    yield secret
    yield quote(encoded, safe="")
    yield quote(encoded)
    yield quote_plus(encoded)
    # JSON's escapes of non-ASCII characters; the pattern covers those of quotes and backslashes.
    yield json.dumps(secret)[1:-1]
    for shift in range(3):
        piece = _base64_piece(encoded, shift)
        if len(piece) >= _MIN_BASE64:
            yield piece
            yield piece.replace("+", "-").replace("/", "_")
            yield quote(piece, safe="")


def _base64_piece(secret: bytes, shift: int) -> str:
    """Return the base64 characters that depend on *secret* only, *shift* bytes into a group."""
    encoded = base64.b64encode(b"\0" * shift + secret).decode()
    start = (shift * 8 + 5) // 6
    end = (shift + len(secret)) * 8 // 6
    return encoded[start:end]
