"""Parse a request: its key, its inputs, the token that it brings."""

from __future__ import annotations

import difflib
import hashlib
import hmac
import json
import re
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import parse_qsl

from werkzeug.exceptions import RequestEntityTooLarge, Unauthorized, UnsupportedMediaType

from connector.errors import Problem, UsageError
from connector.redact import MAX_SECRET_CHARACTERS, MIN_SECRET_CHARACTERS
from connector.settings import credential_names, input_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flask import Request
    from pydantic import SecretStr

#: The inputs that a request may set: no address, no file, no share of the server.
INPUTS = (
    "user_id",
    "user_email",
    "lo_types",
    "sort",
    "state",
    "include",
    "names",
    "locale",
    "page_limit",
    "max_enrollments",
    "since",
    "completed_since",
    "deadline",
    "allow_incomplete",
    "prefetch",
)
_FILE_PATHS = ("/v1/enrollments.csv", "/v1/enrollments.xlsx")
#: The inputs of a request for a file.
FILE_INPUTS = (*INPUTS, "columns")
MAX_BODY_BYTES = 64 * 1024
MAX_QUERY_FIELDS = 100
TOKEN_HEADER = "X-ALM-Token"  # noqa: S105 - the header's name
_TOKEN = re.compile(rf"[!-~]{{{MIN_SECRET_CHARACTERS},{MAX_SECRET_CHARACTERS}}}")
_MAX_QUOTED_CHARACTERS = 60


def usage_error(*problems: Problem) -> UsageError:
    """Return the error that refuses a request for *problems*."""
    hint = "Nothing was sent to ALM; /openapi.json lists every input."
    return UsageError.of(problems, hint=hint)


def check_key(request: Request, key: SecretStr) -> None:
    """Raise Unauthorized unless *key* is the bearer token, Basic's password or ``X-API-Key``."""
    expected = _digest(key.get_secret_value())
    # In constant time, so that nobody can measure how much of a key is right.
    if not any(hmac.compare_digest(_digest(sent), expected) for sent in _sent_keys(request)):
        raise Unauthorized


def _sent_keys(request: Request) -> Iterator[str]:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    # werkzeug would take a bearer token with "=" in its middle for parameters.
    if scheme.lower() == "bearer":
        yield value.strip()
    elif request.authorization and request.authorization.type == "basic":
        yield request.authorization.password or ""
    yield request.headers.get("X-API-Key", "").strip()


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def read_token(request: Request) -> str | None:
    """Return the ALM token that *request* brings, or ``None`` without such a header.

    Raises UsageError for a token that cannot be sent. That includes an empty one: the client
    meant to bring a token, and must not get what the server's own credentials can read.
    """
    token = request.headers.get(TOKEN_HEADER)
    if token is not None and not _TOKEN.fullmatch(token):
        value = "not valid" if token else "empty"
        allowed = (
            f"ALM's access token, {MIN_SECRET_CHARACTERS} to {MAX_SECRET_CHARACTERS:,} characters"
            " without spaces, or no such header"
        )
        raise usage_error(Problem(TOKEN_HEADER, value, allowed))
    return token


def read_body(request: Request) -> dict[str, Any]:
    """Return the inputs in the JSON body of *request*.

    Raises RequestEntityTooLarge, UnsupportedMediaType, and UsageError for anything but an object
    of inputs.
    """
    if request.query_string:
        allowed = "the inputs in one of them"
        raise usage_error(Problem("the query", "set together with a body", allowed))
    body = request.get_data()
    if len(body) > MAX_BODY_BYTES:
        raise RequestEntityTooLarge
    if request.mimetype != "application/json":
        raise UnsupportedMediaType
    example = 'an object such as {"user_id": ["20941371"]}'
    try:
        inputs = json.loads(
            body.decode("utf-8-sig"),
            object_pairs_hook=_unique_names,
            parse_constant=_refuse_constant,
        )
    except (ValueError, RecursionError):
        problem = Problem("the body", "not JSON", f"{example}, each name once")
        raise usage_error(problem) from None
    if not isinstance(inputs, dict):
        raise usage_error(Problem("the body", "not a JSON object", example))
    if unknown := _unknown_inputs(inputs, INPUTS):
        raise usage_error(*unknown)
    return inputs


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError
    return values


def _refuse_constant(_: str) -> NoReturn:
    # NaN and Infinity, which Python reads and JSON does not have.
    raise ValueError


def read_query(request: Request, allowed_inputs: Sequence[str] = INPUTS) -> dict[str, str]:
    """Return the inputs in the query of *request*, each of *allowed_inputs*.

    Raises UsageError for an unknown name, a name that comes twice, and text that is not UTF-8.
    """
    try:
        # request.args would replace what is not UTF-8.
        pairs = parse_qsl(
            request.query_string.decode("latin-1"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MAX_QUERY_FIELDS,
        )
    except ValueError:
        allowed = f"UTF-8, percent-encoded, at most {MAX_QUERY_FIELDS} fields"
        raise usage_error(Problem("the query", "not valid", allowed)) from None
    names = [name for name, _ in pairs]
    problems = [
        Problem(_quoted(name), "given twice", "once; several values with commas")
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    problems += _unknown_inputs(dict(pairs), allowed_inputs)
    if problems:
        raise usage_error(*problems)
    return dict(pairs)


def _unknown_inputs(values: dict[str, Any], inputs: Sequence[str]) -> list[Problem]:
    problems = []
    for name in values:
        if name in credential_names():
            allowed = f"ALM's token in the header {TOKEN_HEADER}, which no log has"
            problems.append(Problem(name, "not an input of a request", allowed))
        elif name in input_names() and name not in inputs:
            allowed = f"for files: {', '.join(_FILE_PATHS)}" if name == "format" else ""
            problems.append(Problem(name, "not an input of this request", allowed))
        elif name not in inputs:
            near = difflib.get_close_matches(name[:_MAX_QUOTED_CHARACTERS], inputs, n=1)
            problems.append(Problem(_quoted(name), "not an input of a request", near="".join(near)))
    return problems


def _quoted(name: str) -> str:
    if len(name) <= _MAX_QUOTED_CHARACTERS:
        return name
    return f"{name[:_MAX_QUOTED_CHARACTERS]}…"
