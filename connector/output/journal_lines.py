"""The lines of a journal: what each kind of line has, and whether a text is one."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import msgspec

from connector.alm.completeness import Status  # noqa: TC001 - msgspec reads the types

_Kinds = dict[Any, msgspec.json.Decoder[Any]]
#: What the first line says of the form of the others.
VERSION = 2
_Count = Annotated[int, msgspec.Meta(ge=0)]
_Shard = Annotated[str, msgspec.Meta(pattern="^[1-9][0-9]{0,5}/[1-9][0-9]{0,5}$")]
_Moment = Annotated[str, msgspec.Meta(pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}")]
_Text = Annotated[str, msgspec.Meta(min_length=1)]


class _Inputs(TypedDict):
    alm_enrollments: Literal[2]
    format: str
    end: _Count
    crc32: _Count
    base_url: NotRequired[str]
    shard: NotRequired[_Shard | None]
    lo_types: NotRequired[list[str]]
    sort: NotRequired[str]
    state: NotRequired[str | None]
    include: NotRequired[list[str]]
    names: NotRequired[bool]
    locale: NotRequired[str]
    columns: NotRequired[list[str]]
    query: NotRequired[list[str]]
    max_enrollments: NotRequired[int | None]
    since: NotRequired[str | None]
    completed_since: NotRequired[str | None]
    moments: NotRequired[dict[Literal["since", "completed_since"], _Moment]]


class _User(TypedDict):
    user_id: str
    enrollments: _Count
    end: _Count
    crc32: _Count
    answered_at: _Moment | None
    status: Status
    reasons: list[str]
    pages: _Count
    counts: list[tuple[str | None, str | None, int]]
    user_email: NotRequired[str]
    enrollment_ids: NotRequired[list[str]]
    resource_grade_ids: NotRequired[list[str]]


class _Error(TypedDict):
    code: Literal[64, 65, 67, 69, 70, 73, 75, 76, 77]
    message: _Text
    hint: _Text
    http_status: int | None
    request_id: str | None
    retry_at: str | None


class _Failure(TypedDict):
    user_id: str | None
    error: _Error
    user_email: NotRequired[str]


class _End(TypedDict):
    end: _Count
    size: _Count
    crc32: _Count
    requested: _Count
    missing: _Count
    requests: _Count
    users_crc32: NotRequired[_Count]


_FIRST: _Kinds = {_Inputs: msgspec.json.Decoder(_Inputs)}
# The most frequent kind first.
_OTHERS: _Kinds = {kind: msgspec.json.Decoder(kind) for kind in (_User, _Failure, _End)}


def parse_line(line: bytes, *, is_first: bool) -> dict[str, Any] | None:
    """Return the entry that a *line* of a journal is; ``None`` if it is not one."""
    entry: dict[str, Any]
    for kind, decoder in (_FIRST if is_first else _OTHERS).items():
        try:
            entry = decoder.decode(line)
        except msgspec.ValidationError:
            continue
        except msgspec.DecodeError:
            # Python's own reader accepts half a surrogate pair, which an id or a reason may have.
            try:
                entry = msgspec.convert(json.loads(line), kind)
            except (ValueError, msgspec.ValidationError):
                continue
        return entry
    return None
