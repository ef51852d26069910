"""The JSON Schemas: names, defaults and limits, each stated once, and what breaks them."""

from __future__ import annotations

import contextlib
import json
import pkgutil
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import jsonschema_rs

# The wheel carries the schemas inside the package; a checkout has them next to it.
_FOLDERS = ("schemas", "../schemas")
_NO_FORMATS: Mapping[str, Callable[[str], bool]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class SchemaError:
    """One part of a value that breaks a schema: its path, the schema's keyword, and the part."""

    path: tuple[str | int, ...]
    keyword: str
    value: Any


@cache
def load_schema(name: str) -> dict[str, Any]:
    """Return the schema *name*: ``inputs``, ``enrollments-page``, ``outputs`` or ``serve``.

    ``inputs#credentials`` is the definition ``credentials`` of the schema ``inputs``.
    """
    file, _, definition = name.partition("#")
    schema: dict[str, Any] = json.loads(read_file(f"{file}.schema.json"))
    if definition:
        schema = schema["$defs"][definition]
    return schema


def read_file(name: str) -> bytes:
    """Return the content of the file *name* in the folder of the schemas."""
    for folder in _FOLDERS:
        with contextlib.suppress(OSError):
            # Unlike a path, it reads from a zip file too.
            if data := pkgutil.get_data("connector", f"{folder}/{name}"):
                return data
    raise FileNotFoundError(name)


def is_valid(
    name: str,
    value: object,
    formats: Mapping[str, Callable[[str], bool]] = _NO_FORMATS,
) -> bool:
    """Return whether *value* is valid by the schema *name*; *formats* check its custom formats."""
    try:
        return _validator(name, tuple(formats.items())).is_valid(value)
    except ValueError:
        # Python has values that JSON has no form for.
        return False


def first_error(name: str, value: object) -> tuple[str, str]:
    """Return the path (``data/0/id``) and the message of the first error of an invalid *value*."""
    import jsonschema_rs  # noqa: PLC0415 - as below

    try:
        # It stops there. All errors of a hostile value take a hundred times the value's memory.
        _validator(name, ()).validate(value)
    except jsonschema_rs.ValidationError as error:
        return "/".join(map(str, error.instance_path)), error.message
    raise AssertionError(name)


def explain(
    name: str,
    value: object,
    formats: Mapping[str, Callable[[str], bool]] = _NO_FORMATS,
) -> Iterator[SchemaError]:
    """Yield every error of *value* by the schema *name*.

    Slower than ``is_valid`` by an import that takes an eighth of a command's start.
    """
    import jsonschema  # noqa: PLC0415 - the import named above

    checker = jsonschema.FormatChecker(formats=())
    for format_name, check in formats.items():
        checker.checks(format_name)(
            lambda text, check=check: not isinstance(text, str) or check(text)
        )
    validator = jsonschema.Draft202012Validator(load_schema(name), format_checker=checker)
    for error in validator.iter_errors(value):
        yield SchemaError(tuple(error.absolute_path), str(error.validator), error.instance)


@cache
def _validator(
    name: str, formats: tuple[tuple[str, Callable[[str], bool]], ...]
) -> jsonschema_rs.Draft202012Validator:
    import jsonschema_rs  # noqa: PLC0415 - `--help` validates nothing

    return jsonschema_rs.Draft202012Validator(
        load_schema(name), formats=dict(formats), validate_formats=bool(formats)
    )


def allowed(rule: Mapping[str, Any]) -> str:
    """Return in words which values *rule*, of the inputs or of the server's settings, allows."""
    if "x-allowed" in rule:
        return str(rule["x-allowed"])
    choices = rule.get("enum") or rule.get("items", {}).get("enum")
    if choices:
        return ", ".join(choices)
    if rule["type"] == "boolean":
        return "true or false"
    text = {"integer": "a whole number", "number": "a number"}[rule["type"]]
    if "exclusiveMinimum" in rule:
        text += f" above {rule['exclusiveMinimum']}"
    else:
        text += f" from {rule['minimum']}"
    if "maximum" in rule:
        text += f" to {rule['maximum']}"
    return text
