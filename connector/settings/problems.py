"""The problems of inputs and credentials in words, all at once, with suggestions."""

from __future__ import annotations

import difflib
import ipaddress
import json
import re
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from connector.clock import parse_moment, parse_relative
from connector.errors import Problem
from connector.files import files_of, find_shared
from connector.redact import MAX_SECRET_CHARACTERS, MIN_SECRET_CHARACTERS
from connector.schemas import allowed, explain, is_valid, load_schema
from connector.settings import (
    COMPRESSIONS,
    NAME_FIELDS,
    SANDBOX,
    SECRETS_DIR,
    credential_names,
    format_of,
    is_named,
    variable,
)
from connector.settings.users import STANDARD_INPUT
from connector.settings.values import parse_parameter, parse_shard
from connector.text import counted, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from pydantic import SecretStr

    from connector.files import NamedFiles
    from connector.redact import Redactor
    from connector.settings.sources import RawSettings

_MAX_QUOTED_ITEMS = 3
_OWN_FILE = (
    "a file that nothing else uses; FILE.part and FILE.users next to an output file belong to it"
)
_MAX_QUOTED_CHARACTERS = 60
# The formats that need an extra, each with the library that the extra installs.
_LIBRARIES = {"parquet": "pyarrow", "xlsx": "xlsxwriter", "html": "jinja2"}


def find_problems(
    raw: RawSettings, redactor: Redactor, outputs: NamedFiles, others: NamedFiles
) -> list[Problem]:
    """Return every problem of *raw*; the *redactor* removes the credentials from quoted values.

    *outputs* and *others* are files of the run that the settings do not name.
    """
    problems = shared_file_problems(
        {**_files(raw, "output_file"), **outputs},
        {**_files(raw, "user_ids_file", "env_file"), **others},
    )
    if not is_valid("inputs", raw.inputs, _FORMATS):
        problems += _input_problems(raw, redactor)
    if raw.inputs.get("base_url") != SANDBOX:
        problems += _credential_problems(raw.credentials, raw.closed_folder)
    invalid = {problem.name for problem in problems}
    valid = {name: value for name, value in raw.inputs.items() if name not in invalid}
    problems += _format_problems(valid, redactor)
    if invalid.isdisjoint(("include", "names")):
        problems += _column_problems(valid)
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
            yield Problem("output_file", "missing", "a path that can be written; `resume` needs it")
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
    rule = "ALM user ids, decimal digits each, or `user_email` or `user_ids_file` instead"
    given = [name for name in ("user_id", "user_email", "user_ids_file") if name in raw.inputs]
    if not given:
        return Problem("user_id", "missing", rule)
    name, *others = (raw.names.get(name, name) for name in given)
    return Problem(name, f"set together with {listed(others)}", rule)


def _format_problems(inputs: Mapping[str, Any], redactor: Redactor) -> Iterator[Problem]:
    name, output_file = inputs.get("format"), inputs.get("output_file")
    suffix_name = output_file and format_of(output_file)
    if output_file:
        quoted = _quoted(output_file, redactor)
        if name is None and suffix_name is None:
            rule = allowed(load_schema("inputs")["properties"]["format"])
            yield Problem("format", f"missing, and {quoted} has no known suffix", rule)
        elif None not in (name, suffix_name) and name != suffix_name:
            given = f'"{name}", but {quoted} has the suffix of {suffix_name}'
            yield Problem("format", given, f"{suffix_name}, or another suffix")
        if (name or suffix_name) in _LIBRARIES and output_file.lower().endswith(COMPRESSIONS):
            rule = "a name without .gz and .zst, which are for json, ndjson, csv and table"
            yield Problem("output_file", quoted, rule)
    name = name or suffix_name
    if name in _LIBRARIES and find_spec(_LIBRARIES[name]) is None:
        rule = f"{name} after pip install 'alm-enrollments-connector[{name}]', or another format"
        yield Problem("format", f"{name}, and {_LIBRARIES[name]} is not installed", rule)
    if name in (None, "json", "ndjson") and "columns" in inputs:
        given = f"set with format {name or 'json'}, which has every field"
        yield Problem("columns", given, "format csv, xlsx, parquet, table or html")


def _column_problems(inputs: Mapping[str, Any]) -> Iterator[Problem]:
    # Records of users who are given by address have it.
    has_addresses = not {"user_email", "user_ids_file"}.isdisjoint(inputs)
    for column in inputs.get("columns", ()):
        field = "module_name" if column == "module_names" else column
        if field not in NAME_FIELDS or inputs.get("names"):
            continue
        if column == "user_email" and has_addresses:
            continue
        if not is_named(field, inputs.get("include", ())):
            given = f'"{column}", which ALM sends only on request'
            yield Problem("columns", given, f"`names` true, or {NAME_FIELDS[field]} in `include`")


def _credential_problems(
    credentials: Mapping[str, SecretStr], closed_folder: Path | None
) -> Iterator[Problem]:
    schema = load_schema("inputs#credentials")
    trio = schema["dependentRequired"]
    absent = [variable(name) for name in trio if name not in credentials]
    if not credentials:
        given = (
            f"missing, and this user may not enter {closed_folder}" if closed_folder else "missing"
        )
        yield Problem(variable("access_token"), given)
    elif not is_valid("inputs#credentials", dict.fromkeys(credentials, "")):
        present = listed([f"`{variable(name)}`" for name in trio if name in credentials])
        for name in absent:
            yield Problem(name, f"missing, and needed with {present}")
    for name, secret in credentials.items():
        text = secret.get_secret_value()
        if not re.fullmatch(r"(?!(['\"]).*\1$)[!-~]+", text):
            given = "not valid in an HTTP header"
            if scheme := re.match(r"(?i)(bearer|oauth)\s", text):
                given = f"given with '{scheme[1]}' before it"
            rule = "only the value: visible ASCII, without spaces and quotes around it"
            yield Problem(variable(name), given, rule)
        elif not MIN_SECRET_CHARACTERS <= len(text) <= MAX_SECRET_CHARACTERS:
            rule = f"{MIN_SECRET_CHARACTERS} to {MAX_SECRET_CHARACTERS:,} characters"
            yield Problem(
                variable(name),
                f"{counted(len(text), 'character')} long",
                rule,
            )


def shared_file_problems(outputs: NamedFiles, others: NamedFiles) -> list[Problem]:
    """Return a problem for each of *outputs* that would replace another one, or one of *others*."""
    return [
        Problem(name, f"also the file of {other}", _OWN_FILE)
        for name, other in find_shared(outputs, others)
    ]


def _files(raw: RawSettings, *names: str) -> dict[str, list[Path]]:
    """Return the files that the inputs *names* have; of an output file those next to it, too."""
    values = {**raw.inputs, "env_file": raw.env_file}
    files = {}
    for name in names:
        path = values.get(name)
        if isinstance(path, str) and path != STANDARD_INPUT and "\0" not in path:
            named = files_of(Path(path)) if name == "output_file" else [Path(path)]
            files[raw.names.get(name, name)] = named
    return files


def _nearest(text: str, choices: Iterable[str]) -> str:
    by_lower = {choice.lower(): choice for choice in choices}
    matches = difflib.get_close_matches(text.lower(), by_lower, n=1)
    return by_lower[matches[0]] if matches else ""


def _quoted(value: object, redactor: Redactor) -> str:
    # The redactor comes first: it does not recognize a secret that was cut.
    text = re.sub(r"//.*@", "//***@", redactor.clean(json.dumps(value)))
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


def _is_moment(text: str) -> bool:
    return (parse_moment(text) or parse_relative(text, datetime.now(UTC))) is not None


_FORMATS: dict[str, Callable[[str], bool]] = {
    "alm-moment": _is_moment,
    "alm-base-url": _is_base_url,
    "alm-parameter": lambda text: parse_parameter(text) is not None,
    "alm-shard": lambda text: parse_shard(text) is not None,
}
