"""Text and Python values as the JSON values of the inputs schema.

No reader refuses anything: a value that it cannot read stays as it is, for the schema to refuse.
"""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_TRUE = ("true", "1", "yes", "on")
_FALSE = ("false", "0", "no", "off")


def read_value(value: object, rule: Mapping[str, Any]) -> Any:  # noqa: ANN401 - depends on the rule
    """Return *value* in the type of the schema's *rule*."""
    return _READERS.get(rule["type"], read_text)(value)


def read_text(value: object) -> object:
    """Return a text without white space around it, a path as text, a whole ``10.0`` as 10."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, Path):
        return str(value)
    if not isinstance(value, float):
        return _json_value(value)
    # Every comparison with nan is false, so the schema would accept it.
    return _whole(value) if math.isfinite(value) else str(value)


def read_moment(value: object) -> object:
    """Return the text of a date, or of a moment: UTC if it has no offset."""
    if isinstance(value, datetime) and value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    return value.isoformat() if isinstance(value, date) else read_text(value)


def read_list(value: object) -> object:
    """Return the items of a list, a JSON array or a text, each once; text by comma or space."""
    if not isinstance(value, str):
        items = value if isinstance(value, (list, tuple)) else [value]
        return _unique([_json_value(item) for item in items])
    if not value.lstrip().startswith("["):
        return _unique([item for item in re.split(r"[,\s]+", value) if item])
    try:
        return _unique(json.loads(value))
    except (ValueError, RecursionError):
        return value


def read_number(value: object) -> object:
    """Return the number that *value* writes in decimal digits, with or without an exponent."""
    if not isinstance(value, str):
        return read_text(value)
    if re.fullmatch(r"\s*[+-]?[0-9]{1,300}\s*", value):
        return int(value)
    if re.fullmatch(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?\s*", value):
        number = float(value)
        if math.isfinite(number):
            return _whole(number)
    return value


def read_boolean(value: object) -> object:
    """Return true or false for ``true``, ``1``, ``yes``, ``on`` and their opposites."""
    if not isinstance(value, str):
        return read_text(value)
    word = value.strip().lower()
    if word in _TRUE:
        return True
    return False if word in _FALSE else value


def parse_shard(text: str) -> tuple[int, int] | None:
    """Return the shard's number and how many shards there are; ``None`` if *text* is no shard."""
    match = re.fullmatch(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})", text)
    if match is None or int(match[1]) > int(match[2]):
        return None
    return int(match[1]), int(match[2])


def _json_value(value: object) -> object:
    """Return *value* if JSON has a form for it, else an object, which no input takes."""
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return {"type": type(value).__name__}
    return value


def _whole(number: float) -> float:
    return int(number) if number.is_integer() else number


def _unique(items: list[Any]) -> list[object]:
    texts: list[object] = []
    for item in items:
        if isinstance(item, int) and not isinstance(item, bool):
            texts.append(str(item))
        elif isinstance(item, str):
            texts.append(item.strip())
        else:
            texts.append(item)
    if all(isinstance(text, str) for text in texts):
        return list(dict.fromkeys(texts))
    return texts


_READERS = {
    "array": read_list,
    "integer": read_number,
    "number": read_number,
    "boolean": read_boolean,
}
