"""Where the JSON Schemas are, and what they say. The one source of names, defaults and limits."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs

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


@cache
def _validator(name: str) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(load_schema(name))


def is_valid(name: str, value: Any) -> bool:
    return _validator(name).is_valid(value)


def first_error(name: str, value: Any) -> tuple[str, str]:
    error = next(iter(_validator(name).iter_errors(value)))
    return "/".join(map(str, error.instance_path)), error.message
