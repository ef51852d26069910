"""What is wrong with the inputs, in words: every problem at once, by the inputs schema. Knows not where they came from."""

from __future__ import annotations

import difflib
import ipaddress
import json
import re
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import jsonschema_rs

from connector.clock import parse_moment
from connector.errors import Problem
from connector.schemas import load_schema
from connector.settings.sources import SECRETS_DIR, credential_names, variable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from jsonschema.exceptions import ValidationError
    from pydantic import SecretStr

    from connector.redact import Redactor

SANDBOX = "sandbox"
_SHOWN_ITEMS = 3
_SHOWN_CHARACTERS = 60


def find_problems(
    values: Mapping[str, Any], credentials: Mapping[str, SecretStr], redactor: Redactor
) -> list[Problem]:
    """Return every problem of *values*, by the inputs schema, and of *credentials*; what is shown of them is cleaned first."""
    shown = partial(_shown, redactor)
    found = list(_input_problems(values, load_schema("inputs"), shown))
    if values.get("base_url") != SANDBOX:
        found += _credential_problems(credentials)
    return [*found, *_format_problems(values, shown)]


def _format_problems(
    values: Mapping[str, Any], shown: Callable[[object], str]
) -> Iterator[Problem]:
    if values.get("format") != "parquet":
        return
    if find_spec("pyarrow") is None:
        yield Problem(
            "format",
            '"parquet"',
            "what is installed; Parquet wants pip install 'alm-enrollments-connector[parquet]'",
        )
    if str(values.get("output_file", "")).endswith((".gz", ".zst")):
        yield Problem(
            "output_file",
            shown(values["output_file"]),
            "a name without .gz and .zst: Parquet is compressed in itself",
        )


def _input_problems(
    values: Mapping[str, Any], schema: dict[str, Any], shown: Callable[[object], str]
) -> Iterator[Problem]:
    if _is_plainly_valid(values, schema):
        return
    import jsonschema  # noqa: PLC0415 - an eighth of the whole start, for inputs that have something to be explained

    checker = jsonschema.FormatChecker(formats=())
    for name, is_of_format in _FORMATS.items():
        checker.checks(name)(
            lambda value, judge=is_of_format: not isinstance(value, str) or judge(value)
        )
    validator = jsonschema.Draft202012Validator(schema, format_checker=checker)
    wrong_items: dict[str, list[Any]] = {}
    for error in validator.iter_errors(values):
        if not error.absolute_path:
            yield from _whole_problems(error, values, schema)
        else:
            wrong_items.setdefault(str(error.absolute_path[0]), []).append(error.instance)
    for name, items in wrong_items.items():
        yield _value_problem(name, items, schema["properties"][name], shown)


def _whole_problems(
    error: ValidationError, values: Mapping[str, Any], schema: Mapping[str, Any]
) -> Iterator[Problem]:
    """Yield what is wrong between inputs rather than with one: names that are none, and inputs that need or exclude each other."""
    if error.validator == "additionalProperties":
        for name in (name for name in values if name not in schema["properties"]):
            if name in credential_names():
                yield Problem(
                    name,
                    "not an input",
                    f"{variable(name)} in the environment, in --env-file or in {SECRETS_DIR}",
                )
            else:
                yield Problem(name, "not an input", near=_near(name, schema["properties"]))
    elif error.validator == "oneOf":
        given = "given together with user_ids_file" if "user_id" in values else "missing"
        yield Problem(
            "user_id", given, "ALM user ids, decimal digits each, or user_ids_file instead"
        )
    else:
        yield Problem("output_file", "missing", "a path that can be written, which resume needs")


def _value_problem(
    name: str, items: list[Any], rule: Mapping[str, Any], shown: Callable[[object], str]
) -> Problem:
    given = ", ".join(map(shown, items[:_SHOWN_ITEMS]))
    more = f" and {len(items) - _SHOWN_ITEMS} more" if len(items) > _SHOWN_ITEMS else ""
    choices = _choices(rule)
    return Problem(name, given + more, allowed(rule), _near(str(items[0]), choices))


def _choices(rule: Mapping[str, Any]) -> list[str]:
    listed: list[str] = (
        rule.get("enum") or rule.get("items", {}).get("enum") or rule.get("x-choices", [])
    )
    return listed


def allowed(rule: Mapping[str, Any]) -> str:
    """Return in words what the inputs schema's *rule* allows."""
    choices = rule.get("enum") or rule.get("items", {}).get("enum")
    if "x-allowed" in rule:
        return str(rule["x-allowed"])
    if choices:
        return ", ".join(choices)
    if rule["type"] == "boolean":
        return "true or false"
    kind = "a whole number" if rule["type"] == "integer" else "a number"
    least = (
        f"above {rule['exclusiveMinimum']}"
        if "exclusiveMinimum" in rule
        else f"from {rule['minimum']}"
    )
    return f"{kind} {least} to {rule['maximum']}" if "maximum" in rule else f"{kind} {least}"


def _near(given: str, choices: Any) -> str:  # noqa: ANN401
    by_lower = {choice.lower(): choice for choice in choices}
    return next(
        (by_lower[match] for match in difflib.get_close_matches(given.lower(), by_lower, n=1)), ""
    )


def _shown(redactor: Redactor, value: object) -> str:
    # A secret that was cut would no longer be known as one.
    text = re.sub(r"//[^/\s]*@", "//***@", redactor.clean(json.dumps(value)))
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _credential_problems(credentials: Mapping[str, SecretStr]) -> Iterator[Problem]:
    triple = [name for name in credential_names() if name != "access_token"]
    absent = [variable(name) for name in triple if name not in credentials]
    if not credentials:
        yield Problem(variable("access_token"), "missing", f"it, or {', '.join(absent)} together")
    elif absent and len(absent) < len(triple):
        given = " and ".join(variable(name) for name in triple if name in credentials)
        yield Problem(
            " and ".join(absent),
            f"missing beside {given}",
            "the three together, with or without an access token",
        )
    for name, secret in credentials.items():
        if not re.fullmatch(r"(?!(['\"]).*\1$)[!-~]+", secret.get_secret_value()):
            yield Problem(
                variable(name),
                "not to be sent as it is",
                "the bare value: no space, no quotes' leftovers, ASCII alone",
            )


def _is_base_url(text: str) -> bool:
    if text == SANDBOX:
        return True
    # urlsplit forgives what a URL must not hold; a back-slash is a slash to some parsers and none to others.
    if not re.fullmatch(r"[!-~]+", text) or re.search(r"[@?#\\]|\.\.", text):
        return False
    try:
        parts = urlsplit(text)
        reachable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return reachable and (
        parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or ""))
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_shard(text: str) -> tuple[int, int] | None:
    """Return the number of the shard and how many there are; ``None`` where *text* is no shard."""
    match = re.fullmatch(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})", text)
    shard = (int(match[1]), int(match[2])) if match else None
    return shard if shard and shard[0] <= shard[1] else None


_FORMATS: dict[str, Callable[[str], bool]] = {
    "alm-moment": lambda text: parse_moment(text) is not None,
    "alm-base-url": _is_base_url,
    "alm-shard": lambda text: parse_shard(text) is not None,
}


def _is_plainly_valid(values: Mapping[str, Any], schema: dict[str, Any]) -> bool:
    validator = jsonschema_rs.Draft202012Validator(schema, formats=_FORMATS, validate_formats=True)
    try:
        return validator.is_valid(values)
    except ValueError:
        # It knows JSON's types alone, and connector.run may be given anything.
        return False
