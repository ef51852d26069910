"""What the run is told: gathered, judged by the inputs schema, frozen. Knows nothing of ALM's answers."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from connector.clock import parse_moment
from connector.errors import UsageError
from connector.schemas import load_schema
from connector.settings.problems import SANDBOX as SANDBOX, allowed as allowed, find_problems, parse_shard
from connector.settings.sources import (
    PREFIX as PREFIX,
    SECRETS_DIR as SECRETS_DIR,
    Environment,
    credential_names as credential_names,
    gather,
    input_names as input_names,
    variable as variable,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from connector.errors import Problem
    from connector.redact import Redactor

_TRUTHS = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}


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
    secrets_dir: Path | None = SECRETS_DIR,
) -> tuple[Inputs, Credentials]:
    """Return what the run is told by *flags*, *environ*, the env-file that *flags* name, and *secrets_dir*.

    The *redactor* learns every secret first. Raises UsageError with every problem at
    once, *problems* that were found before among them.
    """
    given = gather(flags, environ, secrets_dir=secrets_dir)
    for secret in given.credentials.values():
        redactor.add(secret.get_secret_value().strip())
    schema = load_schema("inputs")
    values = {
        name: read_value(value, schema["properties"].get(name, {}))
        for name, value in given.inputs.items()
    }
    credentials = {
        name: SecretStr(secret.get_secret_value().strip())
        for name, secret in given.credentials.items()
    }
    found = [*problems, *given.problems, *find_problems(values, credentials, redactor)]
    if found:
        raise UsageError.of(found, hint=_hint(found))
    return _freeze(values, schema), Credentials(**credentials)


def _hint(problems: list[Problem]) -> str:
    if any(
        problem.name.startswith(PREFIX) and problem.given.startswith("missing")
        for problem in problems
    ):
        return (
            "Set ALM_ACCESS_TOKEN, or ALM_CLIENT_ID, ALM_CLIENT_SECRET and ALM_REFRESH_TOKEN together, in the environment;"
            " runs of forks and of Dependabot get no secrets. Nothing was sent."
        )
    return "Nothing was sent; alm-enrollments --help tells every input."


def read_value(value: Any, rule: Mapping[str, Any]) -> Any:  # noqa: ANN401 - anything may be given; the schema judges it
    """Return *value* in the type that *rule* asks for where it can be read so, else as it is for the schema to refuse."""
    if isinstance(value, str):
        return _READERS.get(rule.get("type", ""), str.strip)(value)
    if rule.get("type") == "array":
        return _unique(
            [_plain(item) for item in (value if isinstance(value, (list, tuple)) else [value])]
        )
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
    read = [
        str(item) if isinstance(item, int) and not isinstance(item, bool) else item
        for item in items
    ]
    stripped = [item.strip() if isinstance(item, str) else item for item in read]
    return (
        list(dict.fromkeys(stripped))
        if all(isinstance(item, str) for item in stripped)
        else stripped
    )


def _read_number(text: str) -> Any:  # noqa: ANN401
    if re.fullmatch(r"\s*[+-]?[0-9]{1,300}\s*", text):
        return int(text)
    plain = re.fullmatch(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?\s*", text)
    number = float(text) if plain else math.nan
    return _whole(number) if math.isfinite(number) else text


def read_truth(text: str) -> Any:  # noqa: ANN401
    """Return whether *text* says true or false; itself where it says neither."""
    return _TRUTHS.get(text.strip().lower(), text)


_READERS = {
    "array": _read_list,
    "integer": _read_number,
    "number": _read_number,
    "boolean": read_truth,
}


def _freeze(values: Mapping[str, Any], schema: Mapping[str, Any]) -> Inputs:
    filled = {
        name: values.get(name, rule.get("default")) for name, rule in schema["properties"].items()
    }
    all_types = [
        choice for choice in schema["properties"]["lo_types"]["items"]["enum"] if choice != "all"
    ]
    filled["user_id"] = tuple(filled["user_id"] or ())
    filled["lo_types"] = tuple(all_types if "all" in filled["lo_types"] else filled["lo_types"])
    filled["include"] = tuple(filled["include"] or ())
    filled["since"] = parse_moment(filled["since"]) if filled["since"] else None
    filled["shard"] = parse_shard(filled["shard"]) if filled["shard"] else None
    filled["base_url"] = filled["base_url"].rstrip("/").removesuffix("/primeapi/v2")
    return Inputs(**filled)


def load_given(values: Mapping[str, Any], redactor: Redactor) -> tuple[Inputs, Credentials]:
    """Return the inputs and credentials of *values*, both by name; nothing else is read."""
    credentials = {}
    for name in credential_names():
        value = values.get(name)
        if value is not None:
            credentials[variable(name)] = (
                value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            )
    given = {name: value for name, value in values.items() if name not in credential_names()}
    return load_inputs(given, Environment(credentials), redactor, secrets_dir=None)
