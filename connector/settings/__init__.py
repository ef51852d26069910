"""Inputs and credentials: read from their sources, validated by the inputs schema, frozen.

Importing this package needs no library; ``load`` and ``load_given`` import pydantic.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from connector.clock import parse_moment, parse_relative
from connector.errors import UsageError
from connector.schemas import allowed as allowed
from connector.schemas import load_schema
from connector.settings.values import parse_shard
from connector.settings.values import read_boolean as read_boolean
from connector.settings.values import read_value as read_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic import SecretStr

    from connector.errors import Problem
    from connector.files import NamedFiles
    from connector.redact import Redactor
    from connector.settings.sources import RawSettings
    from connector.settings.surfaces import Surface

PREFIX = "ALM_"
SECRETS_DIR = Path("/run/secrets")
SANDBOX = "sandbox"
#: The variable ``ALM_SANDBOX_DAY``: no input, for ALM itself has no days.
SANDBOX_DAY = "sandbox_day"
#: The sandbox's last day: learners get new enrollments every few days, for ten years.
MAX_SANDBOX_DAY = 3_650
#: Suffixes of compressed text.
COMPRESSIONS = (".gz", ".zst")
#: The names of a record, each with the relationship path that brings it.
NAME_FIELDS = {
    "lo_name": "learningObject",
    "user_name": "learner",
    "user_email": "learner",
    "module_name": "loResourceGrades.loResource",
}


@dataclass(frozen=True, slots=True)
class Inputs:
    """The inputs of one run, defaults included; *since* has an offset, *lo_types* no ``all``."""

    user_id: tuple[str, ...]
    user_email: tuple[str, ...]
    user_ids_file: str | None
    lo_types: tuple[str, ...]
    sort: str
    state: str | None
    include: tuple[str, ...]
    names: bool
    locale: str
    query: tuple[str, ...]
    page_limit: int
    max_enrollments: int | None
    since: datetime | None
    completed_since: datetime | None
    base_url: str
    deadline: float
    allow_incomplete: bool
    concurrency: int
    prefetch: bool
    quota_share: float
    shard: tuple[int, int] | None
    format: str
    columns: tuple[str, ...]
    output_file: str | None
    resume: bool
    #: Of `since` and `completed_since` those that were given relative to now, as written.
    relative: Mapping[str, str]
    #: The day whose learners the embedded sandbox has.
    sandbox_day: int | None = None

    @property
    def related(self) -> tuple[str, ...]:
        """The relationship paths to request: those of ``include``, and those of ``names``."""
        paths = (*self.include, *NAME_FIELDS.values()) if self.names else self.include
        return tuple(dict.fromkeys(paths))


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access token, or the three credentials that refresh one, or both; they do not print."""

    access_token: SecretStr | None = None
    client_id: SecretStr | None = None
    client_secret: SecretStr | None = None
    refresh_token: SecretStr | None = None


def is_named(field: str, include: Iterable[str]) -> bool:
    """Return whether the paths of *include* bring the name *field*."""
    return any(f"{path}.".startswith(f"{NAME_FIELDS[field]}.") for path in include)


def input_names() -> tuple[str, ...]:
    """Return the names of the inputs, in the order of the schema."""
    return tuple(load_schema("inputs")["properties"])


def credential_names() -> tuple[str, ...]:
    """Return the names of the credentials, in the order of the schema."""
    return tuple(load_schema("inputs#credentials")["properties"])


def variable(name: str) -> str:
    """Return the environment variable of an input or a credential."""
    return PREFIX + name.upper()


def load(  # noqa: PLR0913 - what a command knows of its run, each with a default
    flags: Mapping[str, Any],
    redactor: Redactor,
    *,
    problems: Iterable[Problem] = (),
    outputs: NamedFiles = MappingProxyType({}),
    others: NamedFiles = MappingProxyType({}),
    secrets_dir: Path | None = SECRETS_DIR,
    now: datetime | None = None,
    surface: Surface | None = None,
) -> tuple[Inputs, Credentials]:
    """Return the inputs and credentials of *flags*, environment, env-file and *secrets_dir*.

    The first of them that has a value decides. The flag ``env_file`` names the env-file. Relative
    moments count from *now*, by default the present. Of the caller's files, the output file may be
    neither one of its *outputs* nor one of the *others*. The *redactor* learns every credential
    first. Raises UsageError with all problems at once, after those that the caller has found, and
    a hint for the users of *surface*, by default those of Python.
    """
    from connector.settings.sources import read_sources  # noqa: PLC0415 - pydantic

    raw = read_sources(flags, secrets_dir)
    return _validated(raw, redactor, problems, outputs, others, now, surface)


def load_given(
    values: Mapping[str, Any], redactor: Redactor, *, now: datetime | None = None
) -> tuple[Inputs, Credentials]:
    """Return the inputs and credentials of *values*, both by name, from no other source.

    Raises UsageError as ``load`` does.
    """
    from connector.settings.sources import read_given  # noqa: PLC0415 - pydantic

    return _validated(read_given(values), redactor, (), {}, {}, now)


def _validated(  # noqa: PLR0913, PLR0917 - what load got
    raw: RawSettings,
    redactor: Redactor,
    problems: Iterable[Problem],
    outputs: NamedFiles,
    others: NamedFiles,
    now: datetime | None,
    surface: Surface | None = None,
) -> tuple[Inputs, Credentials]:
    from connector.settings.problems import find_problems  # noqa: PLC0415 - difflib, for errors
    from connector.settings.surfaces import Surface  # noqa: PLC0415 - it imports this module

    for secret in raw.credentials.values():
        redactor.add(secret.get_secret_value())
    found = [*problems, *raw.problems, *find_problems(raw, redactor, outputs, others)]
    if found:
        hint = _hint(found, surface or Surface.PYTHON)
        # As the user wrote them: by variable, or by name.
        written = [
            replace(problem, name=raw.names.get(problem.name, problem.name)) for problem in found
        ]
        raise UsageError.of(written, hint=hint)
    properties = load_schema("inputs")["properties"]
    values = {name: raw.inputs.get(name, rule.get("default")) for name, rule in properties.items()}
    values[SANDBOX_DAY] = raw.sandbox_day
    return _inputs(values, now or datetime.now(UTC)), Credentials(**raw.credentials)


def _hint(problems: list[Problem], surface: Surface) -> str:
    for problem in problems:
        if problem.name.startswith(PREFIX) and problem.given.startswith("missing"):
            return surface.credentials_hint
    return surface.usage_hint


def format_of(output_file: str) -> str | None:
    """Return the format that the file's suffix names; ``None`` for any other suffix."""
    path = Path(output_file.lower())
    if path.suffix in COMPRESSIONS:
        path = path.with_suffix("")
    suffixes: dict[str, str] = load_schema("inputs")["properties"]["format"]["x-suffixes"]
    return suffixes.get(path.suffix)


def _inputs(values: dict[str, Any], now: datetime) -> Inputs:
    if "all" in values["lo_types"]:
        choices = load_schema("inputs")["properties"]["lo_types"]["items"]["enum"]
        values["lo_types"] = [choice for choice in choices if choice != "all"]
    for name in ("user_id", "user_email", "lo_types", "include", "query", "columns"):
        values[name] = tuple(values[name] or ())
    values["relative"] = {}
    for name in ("since", "completed_since"):
        moment = parse_relative(values[name] or "", now)
        if moment:
            values["relative"][name] = values[name]
        values[name] = moment or (values[name] and parse_moment(values[name]))
    values["shard"] = values["shard"] and parse_shard(values["shard"])
    if values["format"] is None:
        values["format"] = format_of(values["output_file"] or "") or "json"
    values["base_url"] = values["base_url"].rstrip("/").removesuffix("/primeapi/v2")
    return Inputs(**values)
