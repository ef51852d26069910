"""What a request asks for: its key, its inputs, the credentials that it brings. Runs nothing."""

from __future__ import annotations

import base64
import binascii
import difflib
import hashlib
import hmac
import json
import re
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import parse_qsl

from connector.errors import Problem, UsageError
from connector.server.response import HttpError
from connector.settings.sources import credential_names, variable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic import SecretStr

#: The inputs that a request may give: those that name no address, no file and no share of the server.
INPUTS = (
    "user_id",
    "lo_types",
    "sort",
    "state",
    "include",
    "page_limit",
    "max_enrollments",
    "since",
    "deadline",
    "allow_incomplete",
)
MAX_BODY_BYTES = 64 * 1024
MOST_FIELDS = 100
TOKEN_HEADER = "X-ALM-Token"  # noqa: S105 - the header's name
HINT = "Nothing was sent to ALM; /openapi.json tells every input."
_ELSEWHERE = ", or user_ids_file instead"
_SHOWN_CHARACTERS = 60
_CHALLENGES = (
    ("WWW-Authenticate", 'Bearer realm="alm-enrollments"'),
    ("WWW-Authenticate", 'Basic realm="alm-enrollments", charset="UTF-8"'),
)


def check_key(environ: Mapping[str, Any], key: SecretStr) -> None:
    """Raise HttpError 401 unless the request shows the key: as bearer token, as Basic's password or in ``X-API-Key``."""
    # In constant time: how much of a key is right is not to be measured.
    if not any(
        hmac.compare_digest(_digest(shown), _digest(key.get_secret_value()))
        for shown in _shown_keys(environ)
    ):
        raise HttpError(
            HTTPStatus.UNAUTHORIZED,
            "The request shows no key of this server, or a wrong one.",
            hint="Send it as Authorization: Bearer KEY, as Basic's password, or as X-API-Key. Nothing was sent to ALM.",
            headers=_CHALLENGES,
        )


def _shown_keys(environ: Mapping[str, Any]) -> Iterator[str]:
    scheme, _, rest = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() == "bearer":
        yield rest.strip()
    elif scheme.lower() == "basic":
        try:
            yield (
                base64.b64decode(rest.strip(), validate=True)
                .decode("utf-8", "surrogateescape")
                .partition(":")[2]
            )
        except (binascii.Error, ValueError):
            yield ""
    yield environ.get("HTTP_X_API_KEY", "").strip()


def _digest(key: str) -> bytes:
    # Of one length, whatever is shown.
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def read_token(environ: Mapping[str, Any]) -> str | None:
    """Return ALM's token that the request brings; ``None`` where it has no such header.

    Raises UsageError for one that cannot be sent, an empty one among them: whoever
    meant to bring his own must not be answered with what the server's reaches.
    """
    token: str | None = environ.get("HTTP_X_ALM_TOKEN")
    if token is not None and not re.fullmatch(r"[!-~]+", token):
        _refuse(
            [
                Problem(
                    TOKEN_HEADER,
                    "empty" if not token else "not to be sent as it is",
                    "ALM's access token, without spaces, or no such header",
                )
            ]
        )
    return token


def read_body(environ: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs in a JSON body. Raises HttpError for one that is too large or no JSON, UsageError for what is no input."""
    if environ.get("QUERY_STRING"):
        _refuse([Problem("the query", "given together with a body", "the inputs in one of them")])
    kind = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    body = _bytes_of(environ)
    if kind != "application/json":
        raise HttpError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "The body is not declared as JSON.",
            hint="Send it as Content-Type: application/json.",
        )
    try:
        inputs = json.loads(
            body.decode("utf-8-sig"), object_pairs_hook=_each_once, parse_constant=_no_number
        )
    except (ValueError, RecursionError):
        _refuse(
            [
                Problem(
                    "the body",
                    "not JSON",
                    'an object such as {"user_id": ["20941371"]}, each name once',
                )
            ]
        )
    if not isinstance(inputs, dict):
        _refuse(
            [Problem("the body", "no JSON object", 'an object such as {"user_id": ["20941371"]}')]
        )
    return _known(inputs)


def _bytes_of(environ: Mapping[str, Any]) -> bytes:
    length: str = environ.get("CONTENT_LENGTH") or ""
    # Of chunks the server knows no length; it says that it ends them, or there is no body to be read.
    most = (
        int(length)
        if re.fullmatch("[0-9]{1,18}", length)
        else MAX_BODY_BYTES + 1
        if environ.get("wsgi.input_terminated")
        else 0
    )
    body = bytearray()
    if not length or most <= MAX_BODY_BYTES:
        while len(body) < most and (piece := environ["wsgi.input"].read(most - len(body))):
            body += piece
    if max(len(body), most if length else 0) > MAX_BODY_BYTES:
        raise too_large()
    return bytes(body)


def too_large() -> HttpError:
    """Return the refusal of a body over the limit; nothing more of it is read."""
    return HttpError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"The body is larger than {MAX_BODY_BYTES // 1024} KB.",
        hint="Ask for fewer learners at once.",
    )


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError
    return found


def _no_number(_: str) -> NoReturn:
    raise ValueError


def read_query(environ: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs in the query, as text. Raises UsageError for what is no input, or given twice."""
    try:
        pairs = parse_qsl(
            environ.get("QUERY_STRING", ""),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MOST_FIELDS,
        )
    except ValueError:
        _refuse(
            [
                Problem(
                    "the query",
                    "not to be understood",
                    f"UTF-8, percent-encoded, at most {MOST_FIELDS} fields",
                )
            ]
        )
    names = [name for name, _ in pairs]
    twice = [
        Problem(_shown(name), "given twice", "once; several values with commas")
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    return _known(dict(pairs), twice)


def _known(inputs: dict[str, Any], problems: list[Problem] | None = None) -> dict[str, Any]:
    found = [*(problems or ()), *(_stranger(name) for name in inputs if name not in INPUTS)]
    if found:
        _refuse(found)
    return inputs


def _stranger(name: str) -> Problem:
    if name in credential_names():
        return Problem(
            name,
            "no input of a request",
            f"ALM's token in the header {TOKEN_HEADER}, where everything but headers is written to logs",
        )
    return Problem(
        _shown(name),
        "no input of a request",
        near=next(iter(difflib.get_close_matches(name[:_SHOWN_CHARACTERS], INPUTS, n=1)), ""),
    )


def _shown(name: str) -> str:
    return name if len(name) <= _SHOWN_CHARACTERS else f"{name[:_SHOWN_CHARACTERS]}…"


def _refuse(problems: list[Problem]) -> NoReturn:
    raise UsageError.of(problems, hint=HINT)


def retold(error: UsageError) -> UsageError:
    """Return *error* of the inputs' judgement in the words of this way in."""
    if not error.problems:
        return error
    renamed = {variable("access_token"): TOKEN_HEADER}
    told = [
        replace(
            one, name=renamed.get(one.name, one.name), allowed=one.allowed.removesuffix(_ELSEWHERE)
        )
        for one in error.problems
    ]
    return UsageError.of(told, hint=HINT)
