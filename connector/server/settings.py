"""The settings of the server, from the environment."""

from __future__ import annotations

import difflib
import io
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from connector.compact_set import canonical_id
from connector.errors import Problem, UsageError
from connector.redact import Redactor
from connector.schemas import explain, load_schema
from connector.settings import PREFIX, SANDBOX, allowed, load_given, read_value, variable
from connector.settings.sources import read_sources
from connector.settings.users import read_user_ids

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

# Other inputs in the environment are for other commands.
_OWN_INPUTS = ("base_url", "concurrency", "quota_share")
# A less similar variable is no misspelled setting: Kubernetes sets ALM_SERVE_SERVICE_HOST and
# others for a service with the name alm-serve.
_MIN_SIMILARITY = 0.9
_HINT = "The server was not started; alm-enrollments serve --help lists every setting."


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The server's own settings.

    *user_ids* have no leading zeros; ``None`` if it serves every user.
    """

    key: SecretStr
    deadline: float
    user_ids: frozenset[str] | None
    secrets_dir: Path | None

    def load_own(self) -> tuple[dict[str, Any], dict[str, SecretStr]]:
        """Return the inputs and the credentials that the server sets for requests.

        Reads credentials in files again, since they may be replaced while the server runs.
        """
        own = read_sources({}, self.secrets_dir)
        inputs = {name: own.inputs[name] for name in _OWN_INPUTS if name in own.inputs}
        return inputs, own.credentials


def load_settings(secrets_dir: Path | None) -> ServerSettings:
    """Return the settings of the environment; the credentials for ALM may also be files.

    Raises UsageError with all problems at once. Missing credentials are no problem, for requests
    may bring a token.
    """
    rules = load_schema("serve")["properties"]
    texts = {name: os.environ.get(variable(name), "").strip() for name in rules}
    redactor = Redactor()
    redactor.add(texts["serve_key"])
    path = None
    if texts["serve_user_ids"].startswith("@"):
        path = texts.pop("serve_user_ids")[1:].strip() or "-"
    values = {name: read_value(text, rules[name]) for name, text in texts.items() if text}
    problems = [*_invalid(values, redactor), *_misspelled(rules)]
    user_ids = values.get("serve_user_ids")
    if path:
        try:
            inputs, _ = load_given({"user_ids_file": path, "base_url": SANDBOX}, redactor)
            user_ids = read_user_ids(inputs, io.StringIO()).ids
        except UsageError as error:
            name = variable("serve_user_ids")
            problems += [replace(problem, name=name) for problem in error.problems]
    settings = ServerSettings(
        key=SecretStr(texts["serve_key"]),
        deadline=values.get("serve_deadline", rules["serve_deadline"]["default"]),
        user_ids=user_ids and frozenset(map(canonical_id, user_ids)),
        secrets_dir=secrets_dir,
    )
    problems += _own_problems(settings, redactor)
    if problems:
        raise UsageError.of(problems, hint=_HINT)
    return settings


def _invalid(values: Mapping[str, Any], redactor: Redactor) -> Iterator[Problem]:
    # The only error without a path is a missing key.
    names = {error.path[0] if error.path else "serve_key" for error in explain("serve", values)}
    for name, rule in load_schema("serve")["properties"].items():
        if name not in names:
            continue
        if name not in values:
            value = "missing"
        elif rule.get("writeOnly"):
            value = "not valid"
        else:
            value = redactor.clean(repr(values[name]))
        yield Problem(variable(name), value, allowed(rule))


def _misspelled(names: Iterable[str]) -> Iterator[Problem]:
    variables = [variable(name) for name in names]
    for name in os.environ:
        if name.upper().startswith(PREFIX) and name not in variables:
            for near in difflib.get_close_matches(name.upper(), variables, 1, _MIN_SIMILARITY):
                yield Problem(name, "not a setting", near=near)


def _own_problems(settings: ServerSettings, redactor: Redactor) -> Iterator[Problem]:
    yield from read_sources({}, settings.secrets_dir).problems
    inputs, credentials = settings.load_own()
    token = {"access_token": "of-a-request"}
    try:
        load_given({"user_id": "1", **inputs, **(credentials or token)}, redactor)
    except UsageError as error:
        yield from error.problems
