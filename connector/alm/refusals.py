"""What ALM says when it refuses a request, and whether that is about the user or the request."""

from __future__ import annotations

import json
import re
from enum import Enum, auto
from http import HTTPStatus
from typing import Any

# In the order in which they explain most: "errors" is JSON:API's list, "error_description" OAuth's.
_MEMBERS = (
    *("errors", "code", "title", "error", "error_description", "detail", "message"),
    *("source", "info", "meta"),
)
# Far above an error of ALM's; JSON takes many times its size in memory.
_MAX_BYTES = 256 * 1024
_MAX_MESSAGES = 5
_MAX_DEPTH = 4
_MAX_CHARACTERS = 1_000
# ALM's words for a user who does not exist, and for an id that is none.
_MISSING = re.compile(
    r"\b(does ?no?t|doesn t|do not|dont|did not|didnt|not|non|no longer) ?exist"
    r"|\bnot (be )?found\b|\b(cannot|cant|could not|couldnt) (be )?(find|found|locate)"
    r"|\bnumber format\b|\bfor input string\b"
)
_INVALID = re.compile(
    r"\b(invalid|malformed|unknown|illegal|incorrect|wrong|unrecogni[sz]ed|deleted|no such)\b"
    r"|\bno (user|learner|object)\b"
    r"|\bnot (a )?(valid|number|numeric)\b"
)
_MISMATCH = re.compile(r"\bmis ?match|\b(does ?no?t|do not|not) match")
_USER = re.compile(r"\b(users?|learners?|object|ids?)\b")
# Parts of the request that are the same for all users; and other things than users.
_PARAMETERS = re.compile(
    r"\b(param(eter)?s?|includes?|relation(ship)?s?|sort|filters?|fields?|attributes?|cursor|page"
    r"|limit|offset|quer(y|ies)|headers?|accept|types?|values?|json)\b"
    r"|\b(learner|learner ?badge|learning ?object|lo ?instance|lo ?resource ?grades?)\.\w"
)
_OTHERS = re.compile(r"\b(tokens?|scopes?|accounts?|clients?|roles?|url|uri|path|endpoint)\b")
# "Invalid value for parameter userId" and "in path" are about the user.
_ID_PARAMETERS = tuple(
    re.compile(pattern)
    for pattern in (
        r"\b(in|from) (the )?(request )?(path|url|uri)( (param(eter)?|variable))?\b",
        r"\b(value )?(for |of )?(the )?(path |url )?(param|parameter|variable) (user )?id\b",
        r"\b(user |learner )?id (path |url )?(param(eter)?|variable|value)\b",
        r"\bvalue \S+ (for |of )?(the )?(user |learner )?id\b",
    )
)


class Meaning(Enum):
    """What a 400 refuses."""

    NO_SUCH_USER = auto()
    ANOTHERS_TOKEN = auto()
    REQUEST = auto()


def read_messages(body: bytes) -> list[str]:
    """Return the texts in an error's *body* that say what happened, in any of ALM's shapes."""
    if len(body) > _MAX_BYTES:
        return []
    try:
        return find_messages(json.loads(body))
    except (ValueError, RecursionError):
        return []


def find_messages(value: Any, depth: int = 0) -> list[str]:  # noqa: ANN401 - any JSON value
    """Return the different texts in an error's document, up to a limit.

    JSON:API's ``errors``, a bare ``title`` with ``source.info``, ``meta`` with ``error`` and
    ``detail``, or ``message``.
    """
    found: list[str] = []
    if isinstance(value, str):
        found = [value[:_MAX_CHARACTERS].strip()]
    elif isinstance(value, list) and depth < _MAX_DEPTH:
        for item in value[:_MAX_MESSAGES]:
            found += find_messages(item, depth + 1)
    elif isinstance(value, dict) and depth < _MAX_DEPTH:
        for name in _MEMBERS:
            found += find_messages(value.get(name), depth + 1)
        status = value.get("status")
        # In words it repeats the HTTP status, or it is all that ALM says.
        is_word = isinstance(status, str) and not status.isdigit()
        if is_word and (status not in HTTPStatus.__members__ or not any(found)):
            found = [*find_messages(status), *found]
    return list(dict.fromkeys(filter(None, found)))[:_MAX_MESSAGES]


def meaning_of(messages: list[str]) -> Meaning:
    """Return what a 400 with these *messages* refuses."""
    for text in map(_normalized, messages):
        names_user = _USER.search(text)
        if names_user and _MISMATCH.search(text):
            return Meaning.ANOTHERS_TOKEN
        if _PARAMETERS.search(text):
            continue
        is_missing = _MISSING.search(text)
        if is_missing and names_user:
            return Meaning.NO_SUCH_USER
        is_invalid = names_user and _INVALID.search(text)
        if (is_missing or is_invalid) and not _OTHERS.search(text):
            return Meaning.NO_SUCH_USER
    return Meaning.REQUEST


def _normalized(message: str) -> str:
    """Return *message* in lower case and single words: ``OBJECT_DOESNT_EXIST``, ``userId``."""
    text = re.sub(r"['`\u2019\xb4]", "", message)
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    text = re.sub(r"[^\w.]+|_+", " ", text).lower()
    for pattern in _ID_PARAMETERS:
        text = pattern.sub("user id", text)
    return text
