"""Where the JSON Schemas are, and what they say. The one source of names, defaults and limits."""

from __future__ import annotations

import json
from functools import cache
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHIPPED = Path(__file__).parent
# The wheel carries the schemas inside the package; a checkout has them beside it.
FOLDERS = (_SHIPPED / "schemas", _SHIPPED.parent / "schemas")


@cache
def load_schema(name: str) -> dict[str, Any]:
    """Return the schema *name*: ``inputs``, ``enrollments-page``, ``outputs`` or ``serve``."""
    schema: dict[str, Any] = json.loads(read_file(f"{name}.schema.json"))
    return schema


def read_file(name: str) -> bytes:
    """Return what the file *name* beside the schemas holds."""
    paths = [folder / name for folder in FOLDERS]
    return next(path for path in paths if path.is_file()).read_bytes()


@dataclass(frozen=True, slots=True)
class SchemaError:
    """One part of a value that breaks a schema: its path, the schema's keyword, and the part."""

    path: tuple[str | int, ...]
    keyword: str
    value: Any


def explain(name: str, value: object) -> Iterator[SchemaError]:
    """Yield every error of *value* by the schema *name*."""
    import jsonschema  # noqa: PLC0415

    for error in jsonschema.Draft202012Validator(load_schema(name)).iter_errors(value):
        yield SchemaError(tuple(error.absolute_path), str(error.validator), error.instance)


def allowed(rule: dict[str, Any]) -> str:
    """Return in words which values *rule* allows."""
    from connector.settings.problems import allowed as words  # noqa: PLC0415

    return words(rule)
