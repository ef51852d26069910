"""The run's secrets; text and values without them, in whichever way a secret is encoded."""

from __future__ import annotations

import base64
import bisect
import contextlib
import json
import logging
import re
import threading
import traceback
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, quote_plus

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from connector.errors import ConnectorError

    Error = TypeVar("Error", bound=ConnectorError)

PLACEHOLDER = "***"
#: The length of a credential. A shorter one would occur in innocent text, which it would garble.
MIN_SECRET_CHARACTERS = 8
MAX_SECRET_CHARACTERS = 16 * 1024
# So long a part of a secret is removed from text that a server has sent, and may have cut.
_MIN_PART = 8
# A shorter piece of base64 occurs in too much innocent text to be taken for a secret.
_MIN_BASE64 = 8
_MIN_TRACE, _MAX_TRACE = 4, 32
# The forms of the longest secret take 300 KB: they are not kept for every caller of a server.
_MAX_CACHED_SECRETS = 32
# What quoting adds, once or repeatedly: backslashes, and the escape that stands for "#".
_QUOTING = re.compile(r"\\u0023|\\+")
# Messages quote text as JSON strings.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
# Loggers go through their filters while other runs add and remove theirs.
_filters_lock = threading.Lock()


class Redactor:
    """Removes the run's secrets from text and values: raw, URL-encoded, base64, JSON-escaped."""

    def __init__(self) -> None:
        self._secrets: list[str] = []
        self._callbacks: list[Callable[[str], None]] = []
        self._traces: frozenset[str] | None = frozenset()

    def __repr__(self) -> str:
        """Show no secret."""
        return "Redactor()"

    def add(self, secret: str) -> None:
        """Remove *secret* from every later text; one that is too short to be one is ignored."""
        if len(secret) < MIN_SECRET_CHARACTERS or secret in self._secrets:
            return
        # A new list, for other threads may be iterating over the old one.
        self._secrets = [*self._secrets, secret]
        for callback in self._callbacks:
            callback(secret)
        self._traces = _traces(self._forms_in_values())

    def on_secret(self, callback: Callable[[str], None]) -> None:
        """Call *callback* with each secret: the known ones now, later ones before any use."""
        self._callbacks.append(callback)
        for secret in self._secrets:
            callback(secret)

    def clean(self, text: str) -> str:
        """Return *text*, a message, with ``***`` for each complete secret."""
        return _substituted(self._forms(), text)

    def clean_quoting(self, text: str) -> str:
        """Return *text*, a message that quotes a server, without secrets.

        From what stands between quotes, ``clean_foreign`` removes parts of secrets too.
        """
        return self.clean(_QUOTED.sub(lambda segment: self.clean_foreign(segment[0]), text))

    def clean_foreign(self, text: str) -> str:
        """Return *text* from a server without secrets and without longer parts of any.

        A server may have cut them.
        """
        haystack = _Quotable(text)
        forms = "\n".join(map(_unquoted, self._forms()))
        spans = [
            haystack.span_in_original(start, start + _MIN_PART)
            for start in range(len(haystack.text) - _MIN_PART + 1)
            if haystack.text[start : start + _MIN_PART] in forms
        ]
        return self.clean(_without(text, spans))

    def clean_value(self, value: Any) -> Any:  # noqa: ANN401 - a JSON value, or a msgspec struct
        """Return a JSON value with ``***`` for each secret that cannot be part of an id.

        Returns *value* itself if it holds none.
        """
        if not self._secrets:
            return value
        with contextlib.suppress(UnicodeEncodeError):
            if self.is_clean(msgspec.json.encode(value)):
                return value
        return _cleaned(value, self._forms_in_values())

    def clean_error(self, error: Error, *, is_of_server: bool = False) -> Error:
        """Return *error* without secrets and without the traceback, whose frames hold some.

        The message of an error *is_of_server* quotes a server between quotes.
        """
        return error.replaced(
            message=(self.clean_quoting if is_of_server else self.clean)(error.message),
            hint=self.clean(error.hint),
            request_id=error.request_id and self.clean_foreign(error.request_id),
            retry_after=None,
        )

    def is_clean(self, text: str | bytes) -> bool:
        """Return whether *text* certainly holds no secret; much faster than to remove them."""
        if self._traces is None:
            return False
        lowered = text.lower() if isinstance(text, str) else text.lower().decode(errors="replace")
        return not any(trace in lowered for trace in self._traces)

    def _forms(self) -> list[str]:
        forms: list[str] = []
        for secret in self._secrets:
            forms += _forms(secret)
        return forms

    def _forms_in_values(self) -> list[str]:
        # A number may be an id: a document without its ids is worthless.
        return [form for form in self._forms() if not form.isdigit()]


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
        clean = self._redactor.clean_quoting
        # The warnings of libraries show what they could not read, without quotes.
        if record.levelno >= logging.WARNING and not record.name.startswith("connector."):
            clean = self._redactor.clean_foreign
        record.msg, record.args = clean(record.getMessage()), ()
        if record.exc_info:
            lines = traceback.format_exception(record.exc_info[1])
            record.exc_text = clean("".join(lines))
            record.exc_info = None
        return True


class _Quotable:
    """A text in lower case without what quoting adds, and the way back to the original."""

    def __init__(self, original: str) -> None:
        self._starts: list[int] = []
        self._original_starts: list[int] = []
        pieces: list[str] = []
        length = end = 0
        for quoting in [*_QUOTING.finditer(original), None]:
            start = quoting.start() if quoting else len(original)
            kept = [(end, original[end:start])]
            if quoting and quoting[0][-1] != "\\":
                kept.append((start, "#"))
            for position, piece in kept:
                self._starts.append(length)
                self._original_starts.append(position)
                pieces.append(piece)
                length += len(piece)
            end = quoting.end() if quoting else start
        self.text = _lowered("".join(pieces))

    def span_in_original(self, start: int, end: int) -> tuple[int, int]:
        """Return where the characters from *start* to *end* are in the original."""
        return self._position(start), self._position(end - 1) + 1

    def _position(self, index: int) -> int:
        piece = bisect.bisect_right(self._starts, index) - 1
        return self._original_starts[piece] + index - self._starts[piece]


def _unquoted(form: str) -> str:
    return _QUOTING.sub(lambda quoting: "" if quoting[0][-1] == "\\" else "#", form)


def _lowered(text: str) -> str:
    # The one character whose lower case is longer would move all that follows.
    return text.replace("\u0130", "\ufffd").lower()


def _substituted(forms: Iterable[str], text: str) -> str:
    lowered = _lowered(text)
    quotable = _Quotable(text) if _QUOTING.search(text) else None
    spans: list[tuple[int, int]] = []
    for form in forms:
        spans += _find_all(form, lowered)
        if quotable and len(unquoted := _unquoted(form)) >= MIN_SECRET_CHARACTERS:
            spans += [
                quotable.span_in_original(*span) for span in _find_all(unquoted, quotable.text)
            ]
    return _without(text, spans)


def _find_all(form: str, text: str) -> Iterator[tuple[int, int]]:
    end = 0
    for piece in text.split(form)[:-1]:
        start = end + len(piece)
        end = start + len(form)
        yield start, end


def _without(text: str, spans: list[tuple[int, int]]) -> str:
    """Return *text* with a placeholder for each of *spans*, one for those that overlap."""
    pieces, end = [], 0
    for start, stop in sorted(spans):
        if start >= end:
            pieces += [text[end:start], PLACEHOLDER]
        end = max(end, stop)
    return "".join([*pieces, text[end:]])


def _cleaned(value: Any, forms: list[str]) -> Any:  # noqa: ANN401 - see clean_value
    if isinstance(value, str):
        return _substituted(forms, value)
    if isinstance(value, dict):
        return {_cleaned(name, forms): _cleaned(item, forms) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([_cleaned(item, forms) for item in value])
    if isinstance(value, msgspec.Struct):
        # A secret may equal the name of a field.
        fields = msgspec.structs.asdict(value)
        cleaned = {name: _cleaned(item, forms) for name, item in fields.items()}
        return msgspec.structs.replace(value, **cleaned)
    return value


def _traces(forms: Iterable[str]) -> frozenset[str] | None:
    """Return for each of *forms* a piece that no escape changes; ``None`` without one.

    Text without any of these pieces holds no secret.
    """
    found = {max(re.findall("[a-z0-9]+", form), key=len, default="")[:_MAX_TRACE] for form in forms}
    if any(len(trace) < _MIN_TRACE for trace in found):
        return None
    redundant = {trace for trace in found for other in found - {trace} if other in trace}
    return frozenset(found - redundant)


@lru_cache(_MAX_CACHED_SECRETS)
def _forms(secret: str) -> tuple[str, ...]:
    """Return every form of *secret*, in lower case: percent-encoding may be in either case."""
    # The environment may hold bytes that are not UTF-8; Python reads them as lone surrogates.
    encoded = secret.encode(errors="surrogatepass")
    # The escapes are JSON's of non-ASCII characters, and those of a representation.
    escaped = (json.dumps(secret)[1:-1], repr(secret)[1:-1])
    forms = [secret, quote(encoded, safe=""), quote(encoded), quote_plus(encoded), *escaped]
    for shift in range(3):
        piece = _base64_piece(encoded, shift)
        if len(piece) >= _MIN_BASE64:
            url_safe = piece.replace("+", "-").replace("/", "_")
            forms += [piece, url_safe, quote(piece, safe="")]
    return tuple(dict.fromkeys(map(_lowered, forms)))


def _base64_piece(secret: bytes, shift: int) -> str:
    """Return the base64 characters that depend on *secret* only, *shift* bytes into a group."""
    encoded = base64.b64encode(b"\0" * shift + secret).decode()
    start = (shift * 8 + 5) // 6
    end = (shift + len(secret)) * 8 // 6
    return encoded[start:end]
