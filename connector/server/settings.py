"""What the door is told by the environment: its own settings, and what every run through it shares. Answers nothing."""

from __future__ import annotations

import difflib
import io
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from connector.errors import Problem, UsageError
from connector.redact import Redactor
from connector.schemas import load_schema
from connector.settings import load_inputs, read_value
from connector.settings.problems import SANDBOX, allowed
from connector.settings.sources import PREFIX, SECRETS_DIR, Environment, input_names, variable
from connector.settings.users import read_user_ids

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

# What of the inputs is the server's and no request's; every other one in the environment is meant for other commands.
_OF_THE_SERVER = ("base_url", "concurrency", "quota_share")
# Feeds and polls take the first of what they get for the latest.
_NEWEST_FIRST = "-dateEnrolled"
_NEAR = 0.9
_HINT = "The server was not started; alm-enrollments serve --help tells every setting."


@dataclass(frozen=True, slots=True)
class Settings:
    """The door's settings. *user_ids* are ``None`` where any learner may be asked for; *environ* is what its runs see."""

    key: SecretStr
    deadline: float
    user_ids: frozenset[str] | None
    environ: Environment
    has_credentials: bool
    secrets_dir: Path | None


def load_settings(
    environ: Mapping[str, str], *, secrets_dir: Path | None = SECRETS_DIR
) -> Settings:
    """Return the settings that *environ* tells.

    Raises UsageError with every problem of the door's own settings at once, or with
    those of ALM's credentials; none at all are no problem, requests may bring theirs.
    """
    redactor = Redactor()
    rules = load_schema("serve")["properties"]
    given = {name: value for name in rules if (value := environ.get(variable(name), "").strip())}
    redactor.add(given.get("serve_key", ""))
    file = (
        given.pop("serve_user_ids")[1:].strip()
        if given.get("serve_user_ids", "").startswith("@")
        else None
    )
    values = {name: read_value(value, rules[name]) for name, value in given.items()}
    problems = [*_problems(values, redactor), *_slips(environ, rules)]
    if problems:
        raise UsageError.of(problems, hint=_HINT)
    others = {variable(name) for name in input_names() if name not in _OF_THE_SERVER}
    own = Environment(
        {name: value for name, value in environ.items() if name.upper() not in others}
    )
    own[variable("sort")] = _NEWEST_FIRST
    user_ids = values.get("serve_user_ids")
    return Settings(
        key=SecretStr(values["serve_key"]),
        deadline=values.get("serve_deadline", rules["serve_deadline"]["default"]),
        user_ids=_ids_of_file(file or "-")
        if file is not None
        else frozenset(user_ids)
        if user_ids
        else None,
        environ=own,
        has_credentials=_has_credentials(own, redactor, secrets_dir),
        secrets_dir=secrets_dir,
    )


def _problems(values: Mapping[str, Any], redactor: Redactor) -> Iterator[Problem]:
    schema = load_schema("serve")
    if "serve_key" not in values:
        yield Problem(variable("serve_key"), "missing", allowed(schema["properties"]["serve_key"]))
    import jsonschema  # noqa: PLC0415 - once at the start

    for name, rule in schema["properties"].items():
        if name in values and not jsonschema.Draft202012Validator(rule).is_valid(values[name]):
            shown = (
                "not fit to be one" if rule.get("writeOnly") else redactor.clean(repr(values[name]))
            )
            yield Problem(variable(name), shown, allowed(rule))


def _slips(environ: Mapping[str, str], rules: Mapping[str, Any]) -> Iterator[Problem]:
    known = [variable(name) for name in rules]
    for name in environ:
        if name.startswith(PREFIX) and name not in known:
            # Kubernetes tells of a service alm-serve in variables that begin like these.
            for near in difflib.get_close_matches(name, known, n=1, cutoff=_NEAR):
                yield Problem(name, "no setting", near=near)


def _has_credentials(environ: Environment, redactor: Redactor, secrets_dir: Path | None) -> bool:
    """Return whether the server has credentials of its own. Raises UsageError where what it has cannot be used."""
    try:
        load_inputs({"user_id": ["1"]}, environ, redactor, secrets_dir=secrets_dir)
    except UsageError as error:
        missing = variable("access_token")
        if [(problem.name, problem.given) for problem in error.problems] != [(missing, "missing")]:
            raise UsageError.of(error.problems, hint=_HINT) from None
        return False
    return True


def _ids_of_file(path: str) -> frozenset[str]:
    inputs, _ = load_inputs(
        {"user_ids_file": path, "base_url": SANDBOX}, Environment(), Redactor(), secrets_dir=None
    )
    try:
        return frozenset(read_user_ids(inputs, io.StringIO()).ids)
    except UsageError as error:
        renamed = [replace(problem, name=variable("serve_user_ids")) for problem in error.problems]
        raise UsageError.of(renamed, hint=_HINT) from None
