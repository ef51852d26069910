"""What the run is told: gathered, judged by the inputs schema, frozen. Knows nothing of ALM's answers."""

from __future__ import annotations

import difflib
import ipaddress
import json
import math
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import jsonschema_rs
from pydantic import SecretStr

from connector.clock import parse_moment
from connector.errors import Problem, UsageError
from connector.schemas import load_schema
from connector.settings import PREFIX, credential_names, gather, variable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime

    from jsonschema.exceptions import ValidationError

    from connector.redact import Redactor

SANDBOX = "sandbox"
SECRETS_DIR = Path("/run/secrets")
_TRUTHS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
# What this version can do of these inputs; anything else is refused rather than ignored.
_BUILT = {"format": "json", "output_file": None, "resume": False}
_SHOWN_ITEMS = 3
_SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Inputs:
    """One run's inputs as the schema knows them, defaults filled in. ``since`` has an offset; ``lo_types`` names no ``all``."""

    user_id: tuple[str, ...]
    user_ids_file: str | None
    lo_types: tuple[str, ...]
    sort: str
    state: str | None
    include: tuple[str, ...]
    page_limit: int
    max_enrollments: int | None
    since: datetime | None
    base_url: str
    deadline: float
    allow_incomplete: bool
    concurrency: int
    quota_share: float
    shard: tuple[int, int] | None
    format: str
    output_file: str | None
    resume: bool


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access token, or what makes one, or both. None of them prints."""

    access_token: SecretStr | None = None
    client_id: SecretStr | None = None
    client_secret: SecretStr | None = None
    refresh_token: SecretStr | None = None


def load_inputs(
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    redactor: Redactor,
    *,
    problems: Iterable[Problem] = (),
    secrets_dir: Path = SECRETS_DIR,
) -> tuple[Inputs, Credentials]:
    """Return what the run is told by *flags*, *environ*, the env-file that *flags* name, and *secrets_dir*.

    The *redactor* learns every secret first. Raises UsageError with every problem at
    once, *problems* that were found before among them.
    """
    given = gather(flags, environ, secrets_dir=secrets_dir)
    for secret in given.credentials.values():
        redactor.add(secret.get_secret_value().strip())
    schema = load_schema("inputs")
    values = {name: _read_value(value, schema["properties"].get(name, {})) for name, value in given.inputs.items()}
    shown = partial(_shown, redactor)
    credentials = {name: SecretStr(secret.get_secret_value().strip()) for name, secret in given.credentials.items()}
    found = [*problems, *given.problems, *_input_problems(values, schema, shown)]
    if values.get("base_url") != SANDBOX:
        found += _credential_problems(credentials)
    named = {problem.name for problem in found}
    found += [
        Problem(name, shown(values[name]), "left out, in this version")
        for name, only in _BUILT.items()
        if name not in named and values.get(name, only) != only
    ]
    if found:
        raise UsageError.of(found, hint=_hint(found))
    return _freeze(values, schema), Credentials(**credentials)


def _hint(problems: list[Problem]) -> str:
    if any(problem.name.startswith(PREFIX) and problem.given.startswith("missing") for problem in problems):
        return (
            "Set ALM_ACCESS_TOKEN, or ALM_CLIENT_ID, ALM_CLIENT_SECRET and ALM_REFRESH_TOKEN together, in the environment;"
            " runs of forks and of Dependabot get no secrets. Nothing was sent."
        )
    return "Nothing was sent; alm-enrollments --help tells every input."


def _read_value(value: Any, rule: Mapping[str, Any]) -> Any:  # noqa: ANN401 - anything may be given; the schema judges it
    """Return *value* in the type that *rule* asks for where it can be read so, else as it is for the schema to refuse."""
    if isinstance(value, str):
        return _READERS.get(rule.get("type", ""), str.strip)(value)
    if rule.get("type") == "array":
        return _unique([_plain(item) for item in (value if isinstance(value, (list, tuple)) else [value])])
    if isinstance(value, float):
        # No comparison holds for nan: the schema would let it pass. To JSON Schema 10.0 is an integer, to a query it is not.
        return _whole(value) if math.isfinite(value) else str(value)
    return str(value) if isinstance(value, Path) else _plain(value)


def _plain(value: Any) -> Any:  # noqa: ANN401
    """Return *value* if JSON can say it, else an object that names its type, which no input takes."""
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return {"type": type(value).__name__}
    return value


def _whole(number: float) -> float:
    return int(number) if number.is_integer() else number


def _read_list(text: str) -> Any:  # noqa: ANN401
    if text.lstrip().startswith("["):
        try:
            items = json.loads(text)
        except (ValueError, RecursionError):
            return text
        return _unique(items) if isinstance(items, list) else text
    return _unique([item for item in re.split(r"[,\s]+", text) if item])


def _unique(items: list[Any]) -> list[Any]:
    read = [str(item) if isinstance(item, int) and not isinstance(item, bool) else item for item in items]
    stripped = [item.strip() if isinstance(item, str) else item for item in read]
    return list(dict.fromkeys(stripped)) if all(isinstance(item, str) for item in stripped) else stripped


def _read_number(text: str) -> Any:  # noqa: ANN401
    if re.fullmatch(r"\s*[+-]?[0-9]{1,300}\s*", text):
        return int(text)
    plain = re.fullmatch(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?\s*", text)
    number = float(text) if plain else math.nan
    return _whole(number) if math.isfinite(number) else text


def _read_truth(text: str) -> Any:  # noqa: ANN401
    return _TRUTHS.get(text.strip().lower(), text)


_READERS = {"array": _read_list, "integer": _read_number, "number": _read_number, "boolean": _read_truth}


def _input_problems(values: Mapping[str, Any], schema: dict[str, Any], shown: Callable[[object], str]) -> Iterator[Problem]:
    if _is_plainly_valid(values, schema):
        return
    import jsonschema  # noqa: PLC0415 - an eighth of the whole start, for inputs that have something to be explained

    checker = jsonschema.FormatChecker(formats=())
    for name, is_of_format in _FORMATS.items():
        checker.checks(name)(lambda value, judge=is_of_format: not isinstance(value, str) or judge(value))
    validator = jsonschema.Draft202012Validator(schema, format_checker=checker)
    wrong_items: dict[str, list[Any]] = {}
    for error in validator.iter_errors(values):
        if not error.absolute_path:
            yield from _whole_problems(error, values, schema)
        else:
            wrong_items.setdefault(str(error.absolute_path[0]), []).append(error.instance)
    for name, items in wrong_items.items():
        yield _value_problem(name, items, schema["properties"][name], shown)


def _whole_problems(error: ValidationError, values: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is wrong between inputs rather than with one: names that are none, and inputs that need or exclude each other."""
    if error.validator == "additionalProperties":
        for name in (name for name in values if name not in schema["properties"]):
            if name in credential_names():
                yield Problem(name, "not an input", f"{variable(name)} in the environment, in --env-file or in {SECRETS_DIR}")
            else:
                yield Problem(name, "not an input", near=_near(name, schema["properties"]))
    elif error.validator == "oneOf":
        given = "given together with user_ids_file" if "user_id" in values else "missing"
        yield Problem("user_id", given, "ALM user ids, decimal digits each, or user_ids_file instead")
    else:
        yield Problem("output_file", "missing", "a path that can be written, which resume needs")


def _value_problem(name: str, items: list[Any], rule: Mapping[str, Any], shown: Callable[[object], str]) -> Problem:
    given = ", ".join(map(shown, items[:_SHOWN_ITEMS]))
    more = f" and {len(items) - _SHOWN_ITEMS} more" if len(items) > _SHOWN_ITEMS else ""
    choices = _choices(rule)
    return Problem(name, given + more, allowed(rule), _near(str(items[0]), choices))


def _choices(rule: Mapping[str, Any]) -> list[str]:
    listed: list[str] = rule.get("enum") or rule.get("items", {}).get("enum") or rule.get("x-choices", [])
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
    least = f"above {rule['exclusiveMinimum']}" if "exclusiveMinimum" in rule else f"from {rule['minimum']}"
    return f"{kind} {least} to {rule['maximum']}" if "maximum" in rule else f"{kind} {least}"


def _near(given: str, choices: Any) -> str:  # noqa: ANN401
    by_lower = {choice.lower(): choice for choice in choices}
    return next((by_lower[match] for match in difflib.get_close_matches(given.lower(), by_lower, n=1)), "")


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
        yield Problem(" and ".join(absent), f"missing beside {given}", "the three together, with or without an access token")
    for name, secret in credentials.items():
        if not re.fullmatch(r"(?!(['\"]).*\1$)[!-~]+", secret.get_secret_value()):
            yield Problem(variable(name), "not to be sent as it is", "the bare value: no space, no quotes' leftovers, ASCII alone")


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
    return reachable and (parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or "")))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _parse_shard(text: str) -> tuple[int, int] | None:
    match = re.fullmatch(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})", text)
    shard = (int(match[1]), int(match[2])) if match else None
    return shard if shard and shard[0] <= shard[1] else None


_FORMATS: dict[str, Callable[[str], bool]] = {
    "alm-moment": lambda text: parse_moment(text) is not None,
    "alm-base-url": _is_base_url,
    "alm-shard": lambda text: _parse_shard(text) is not None,
}


def _is_plainly_valid(values: Mapping[str, Any], schema: dict[str, Any]) -> bool:
    validator = jsonschema_rs.Draft202012Validator(schema, formats=_FORMATS, validate_formats=True)
    try:
        return validator.is_valid(values)
    except ValueError:
        # It knows JSON's types alone, and connector.run may be given anything.
        return False


def _freeze(values: Mapping[str, Any], schema: Mapping[str, Any]) -> Inputs:
    filled = {name: values.get(name, rule.get("default")) for name, rule in schema["properties"].items()}
    all_types = [choice for choice in schema["properties"]["lo_types"]["items"]["enum"] if choice != "all"]
    filled["user_id"] = tuple(filled["user_id"] or ())
    filled["lo_types"] = tuple(all_types if "all" in filled["lo_types"] else filled["lo_types"])
    filled["include"] = tuple(filled["include"] or ())
    filled["since"] = parse_moment(filled["since"]) if filled["since"] else None
    filled["shard"] = _parse_shard(filled["shard"]) if filled["shard"] else None
    filled["base_url"] = filled["base_url"].rstrip("/").removesuffix("/primeapi/v2")
    return Inputs(**filled)
