"""The problems of inputs and credentials in words, all at once, with suggestions."""

from __future__ import annotations

import difflib
import ipaddress
import json
import re
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from connector.clock import parse_moment
from connector.errors import Problem
from connector.schemas import allowed, explain, is_valid, load_schema
from connector.settings import SANDBOX, SECRETS_DIR, credential_names, variable
from connector.settings.values import parse_parameter, parse_shard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from pydantic import SecretStr

    from connector.redact import Redactor
    from connector.settings.sources import RawSettings

_MAX_QUOTED_ITEMS = 3
_MAX_QUOTED_CHARACTERS = 60


def find_problems(raw: RawSettings, redactor: Redactor) -> list[Problem]:
    """Return every problem of *raw*; the *redactor* removes the credentials from quoted values."""
    problems: list[Problem] = []
    if not is_valid("inputs", raw.inputs, _FORMATS):
        problems += _input_problems(raw, redactor)
    if raw.inputs.get("base_url") != SANDBOX:
        problems += _credential_problems(raw.credentials)
    if raw.inputs.get("format") == "parquet":
        problems += _parquet_problems(raw.inputs.get("output_file"), redactor)
    return problems


def _input_problems(raw: RawSettings, redactor: Redactor) -> Iterator[Problem]:
    rules = load_schema("inputs")["properties"]
    invalid: dict[str, list[Any]] = {}
    for error in explain("inputs", raw.inputs, _FORMATS):
        if error.path:
            invalid.setdefault(str(error.path[0]), []).append(error.value)
        elif error.keyword == "additionalProperties":
            unknown = [name for name in raw.inputs if name not in rules]
            yield from (_unknown_input(name, rules) for name in unknown)
        elif error.keyword == "oneOf":
            yield _users_problem(raw)
        else:
            yield Problem(
                "output_file", "missing", "a path that can be written, which resume needs"
            )
    for name, items in invalid.items():
        rule = rules[name]
        quoted = ", ".join(_quoted(item, redactor) for item in items[:_MAX_QUOTED_ITEMS])
        if len(items) > _MAX_QUOTED_ITEMS:
            quoted += f" and {len(items) - _MAX_QUOTED_ITEMS} more"
        choices = rule.get("enum") or rule.get("items", {}).get("enum") or rule.get("x-choices", ())
        yield Problem(name, quoted, allowed(rule), _nearest(str(items[0]), choices))


def _unknown_input(name: str, rules: Iterable[str]) -> Problem:
    if name in credential_names():
        rule = f"{variable(name)} in the environment, in --env-file or in {SECRETS_DIR}"
        return Problem(name, "not an input", rule)
    return Problem(name, "not an input", near=_nearest(name, rules))


def _users_problem(raw: RawSettings) -> Problem:
    rule = "ALM user ids, decimal digits each, or user_email or user_ids_file instead"
    given = [name for name in ("user_id", "user_email", "user_ids_file") if name in raw.inputs]
    if not given:
        return Problem("user_id", "missing", rule)
    name, *others = (raw.names.get(name, name) for name in given)
    return Problem(name, f"given together with {' and '.join(others)}", rule)


def _parquet_problems(output_file: object, redactor: Redactor) -> Iterator[Problem]:
    if find_spec("pyarrow") is None:
        rule = "what is installed; Parquet wants pip install 'alm-enrollments-connector[parquet]'"
        yield Problem("format", '"parquet"', rule)
    if str(output_file).endswith((".gz", ".zst")):
        rule = "a name without .gz and .zst: Parquet is compressed in itself"
        yield Problem("output_file", _quoted(output_file, redactor), rule)


def _credential_problems(credentials: Mapping[str, SecretStr]) -> Iterator[Problem]:
    schema = load_schema("inputs#credentials")
    trio = schema["dependentRequired"]
    absent = [variable(name) for name in trio if name not in credentials]
    if not credentials:
        rule = f"it, or {', '.join(absent)} together"
        yield Problem(variable("access_token"), "missing", rule)
    elif not is_valid("inputs#credentials", dict.fromkeys(credentials, "")):
        present = " and ".join(variable(name) for name in trio if name in credentials)
        rule = "the three together, with or without an access token"
        yield Problem(" and ".join(absent), f"missing beside {present}", rule)
    for name, secret in credentials.items():
        if not re.fullmatch(r"(?!(['\"]).*\1$)[!-~]+", secret.get_secret_value()):
            rule = "the bare value: no space, no quotes' leftovers, ASCII alone"
            yield Problem(variable(name), "not to be sent as it is", rule)


def _nearest(text: str, choices: Iterable[str]) -> str:
    by_lower = {choice.lower(): choice for choice in choices}
    matches = difflib.get_close_matches(text.lower(), by_lower, n=1)
    return by_lower[matches[0]] if matches else ""


def _quoted(value: object, redactor: Redactor) -> str:
    # The redactor comes first: it does not recognize a secret that was cut.
    text = re.sub(r"//[^/\s]*@", "//***@", redactor.clean(json.dumps(value)))
    if len(text) > _MAX_QUOTED_CHARACTERS:
        text = f"{text[:_MAX_QUOTED_CHARACTERS]}…"
    return text


def _is_base_url(text: str) -> bool:
    if text == SANDBOX:
        return True
    # urlsplit accepts characters that no URL has; some parsers read a backslash as a slash.
    if not re.fullmatch(r"[!-~]+", text) or re.search(r"[@?#\\]|\.\.", text):
        return False
    try:
        parts = urlsplit(text)
        is_complete = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    is_secure = parts.scheme == "https"
    is_local = parts.scheme == "http" and _is_loopback(parts.hostname or "")
    return is_complete and (is_secure or is_local)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


_FORMATS: dict[str, Callable[[str], bool]] = {
    "alm-moment": lambda text: parse_moment(text) is not None,
    "alm-base-url": _is_base_url,
    "alm-parameter": lambda text: parse_parameter(text) is not None,
    "alm-shard": lambda text: parse_shard(text) is not None,
}
