"""Every input and credential with its type, and their sources in order. Refuses no value."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from dotenv.parser import parse_stream
from pydantic import BeforeValidator, SecretStr, SkipValidation
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from connector.errors import Problem
from connector.schemas import is_valid, load_schema
from connector.settings import (
    MAX_SANDBOX_DAY,
    PREFIX,
    SANDBOX_DAY,
    credential_names,
    input_names,
    variable,
)
from connector.settings.values import (
    read_boolean,
    read_list,
    read_moment,
    read_number,
    read_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pydantic.fields import FieldInfo
    from pydantic_settings import PydanticBaseSettingsSource

# A variable this similar to one of ours is a typing error; a less similar one is another program's.
_MIN_SIMILARITY = 0.9


def _read_secret(value: object) -> SecretStr:
    text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    return SecretStr(text.strip())


Text = Annotated[str | None, SkipValidation, BeforeValidator(read_text)]
Moment = Annotated[str | None, SkipValidation, BeforeValidator(read_moment)]
TextList = Annotated[list[str] | None, SkipValidation, BeforeValidator(read_list)]
Integer = Annotated[int | None, SkipValidation, BeforeValidator(read_number)]
Number = Annotated[float | None, SkipValidation, BeforeValidator(read_number)]
Boolean = Annotated[bool | None, SkipValidation, BeforeValidator(read_boolean)]
Secret = Annotated[SecretStr | None, BeforeValidator(_read_secret)]


class Settings(BaseSettings):
    """The inputs and credentials that any source gives; the JSON Schema validates them later."""

    model_config = SettingsConfigDict(
        # Variables are upper case only; after `env_prefix` the fields' lower case would follow.
        alias_generator=variable,
        case_sensitive=True,
        # The validators above read lists.
        enable_decoding=False,
        env_ignore_empty=True,
        extra="ignore",
    )

    user_id: TextList = None
    user_email: TextList = None
    user_ids_file: Text = None
    lo_types: TextList = None
    sort: Text = None
    state: Text = None
    include: TextList = None
    names: Boolean = None
    locale: Text = None
    query: TextList = None
    page_limit: Integer = None
    max_enrollments: Integer = None
    since: Moment = None
    completed_since: Moment = None
    base_url: Text = None
    deadline: Number = None
    allow_incomplete: Boolean = None
    concurrency: Integer = None
    prefetch: Boolean = None
    quota_share: Number = None
    shard: Text = None
    format: Text = None
    columns: TextList = None
    output_file: Text = None
    resume: Boolean = None
    sandbox_day: Integer = None

    access_token: Secret = None
    client_id: Secret = None
    client_secret: Secret = None
    refresh_token: Secret = None

    @classmethod
    def settings_customise_sources(  # type: ignore[override] # always called by keyword
        cls, *_: object, init_settings: PydanticBaseSettingsSource, **_unused: object
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources, highest first: flags, environment, env-file, ``/run/secrets``."""
        files = init_settings()
        return init_settings, Variables(), files["env_file"], files["secrets"]


class GivenSettings(Settings):
    """The inputs and credentials of an HTTP request or an Airflow task, their only source."""

    @classmethod
    def settings_customise_sources(  # type: ignore[override] # as above
        cls, *_: object, init_settings: PydanticBaseSettingsSource, **_unused: object
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the only source."""
        return (init_settings,)


class Variables(EnvSettingsSource):
    """The environment's variables, or those of files, with the problems in reading them.

    A variable of white space counts as not set. Of the inputs that exclude each other, those of
    the highest source count.
    """

    def __init__(
        self, variables: Mapping[str, str] | None = None, problems: Iterable[Problem] = ()
    ) -> None:
        super().__init__(Settings)
        if variables is not None:
            self.env_vars = variables
        self.problems = tuple(problems)
        options = load_schema("inputs")["oneOf"]
        self._exclusive = {variable(name) for option in options for name in option["required"]}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the variable's text, or ``None``; its name; and that the text is not JSON."""
        text, name, is_complex = super().get_field_value(field, field_name)
        is_hidden = name in self._exclusive and not self._exclusive.isdisjoint(self.current_state)
        if is_hidden or not self.has(name):
            text = None
        return text, name, is_complex

    def has(self, name: str) -> bool:
        """Return whether the variable *name* is set, to more than white space."""
        return bool((self.env_vars.get(name) or "").strip())

    def find_misspelled(self) -> Iterator[Problem]:
        """Yield a problem for each variable that differs little from one of ours."""
        known = [variable(name) for name in (*input_names(), *credential_names(), SANDBOX_DAY)]
        for name in self.env_vars:
            if name.upper().startswith(PREFIX) and name not in known and self.has(name):
                for near in difflib.get_close_matches(name.upper(), known, 1, _MIN_SIMILARITY):
                    yield Problem(name, "not an input", near=near)


@dataclass(frozen=True, slots=True)
class RawSettings:
    """Inputs and credentials before validation; *inputs* has names that are no input, too.

    *names* has the names of those that variables give, with the env-file's path. *closed_folder*
    is the secrets folder if this user may not enter it.
    """

    inputs: dict[str, Any]
    credentials: dict[str, SecretStr]
    names: Mapping[str, str]
    problems: tuple[Problem, ...]
    env_file: object = None
    sandbox_day: int | None = None
    closed_folder: Path | None = None


def read_sources(flags: Mapping[str, Any], secrets_dir: Path | None) -> RawSettings:
    """Return the settings of *flags*, environment, the flag ``env_file`` and *secrets_dir*."""
    flags = _without_empty(flags)
    path = flags.pop("env_file", None)
    environment, env_file, secrets = Variables(), _read_env_file(path), _read_secrets(secrets_dir)
    values = {variable(name): flags[name] for name in input_names() if name in flags}
    values.update(env_file=env_file, secrets=secrets)
    inputs, credentials = _split(Settings(**values))
    day = inputs.pop(SANDBOX_DAY, None)
    problems = [*env_file.problems]
    higher = [
        name
        for name in credential_names()
        if environment.has(variable(name)) or env_file.has(variable(name))
    ]
    if not (higher and is_valid("inputs#credentials", dict.fromkeys(higher, ""))):
        problems += [
            problem
            for problem in secrets.problems
            if problem.name not in map(variable, credentials)
        ]
    problems += [*environment.find_misspelled(), *env_file.find_misspelled()]
    if day is not None and not (isinstance(day, int) and 0 <= day <= MAX_SANDBOX_DAY):
        allowed = f"a whole number from 0 to {MAX_SANDBOX_DAY}"
        problems.append(Problem(variable(SANDBOX_DAY), f'"{day}"', allowed))
    names = {}
    for name in inputs.keys() - flags:
        names[name] = variable(name)
        if not environment.has(names[name]):
            names[name] += f' in "{path}"'
    unknown = dict.fromkeys(name for name in flags if name not in input_names())
    closed = None
    if secrets_dir and os.access(secrets_dir, os.F_OK) and not os.access(secrets_dir, os.X_OK):
        closed = secrets_dir
    return RawSettings(
        {**inputs, **unknown}, credentials, names, tuple(problems), path, day, closed
    )


def read_given(values: Mapping[str, Any]) -> RawSettings:
    """Return the settings of *values*, inputs and credentials by name."""
    values = _without_empty(values)
    names = [name for name in (*input_names(), *credential_names()) if name in values]
    inputs, credentials = _split(GivenSettings(**{variable(name): values[name] for name in names}))
    unknown = dict.fromkeys(name for name in values if name not in names)
    return RawSettings({**inputs, **unknown}, credentials, {}, ())


def _without_empty(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in values.items()
        if value is not None and not (isinstance(value, str) and not value.strip())
    }


def _split(settings: Settings) -> tuple[dict[str, Any], dict[str, SecretStr]]:
    inputs = settings.model_dump(exclude_unset=True, warnings=False)
    credentials = {name: inputs.pop(name) for name in credential_names() if name in inputs}
    return inputs, credentials


def _read_env_file(path: object) -> Variables:
    if path is None:
        return Variables({})
    try:
        # Without "-sig", python-dotenv takes a byte order mark for a part of the first name.
        with Path(str(path)).open(encoding="utf-8-sig") as stream:
            bindings = list(parse_stream(stream))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", "it is not UTF-8 text")
        given = f'"{path}", which cannot be read: {reason}'
        return Variables({}, [Problem("env_file", given, "a readable file")])
    # The line itself may hold a secret: a problem has only its number.
    problems = [
        Problem("env_file", f"not valid in line {binding.original.line}", "NAME=value")
        for binding in bindings
        if binding.error
    ]
    pairs = ((binding.key, binding.value) for binding in bindings)
    return Variables({name: value for name, value in pairs if name and value}, problems)


def _read_secrets(folder: Path | None) -> Variables:
    """Read the credentials, and only those: nothing else belongs in ``/run/secrets``."""
    if folder is None:
        return Variables({})
    names = [variable(name) for name in credential_names()]
    paths = [folder / spelling for name in names for spelling in (name.lower(), name)]
    try:
        files = [path for path in paths if path.is_file()]
    except OSError:
        # This user may not enter the folder, as `closed_folder` says if credentials are missing.
        files = []
    texts, problems = {}, []
    for path in files:
        name = path.name.upper()
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, ValueError):
            rule = "a file of UTF-8 text that this user may read"
            problems.append(Problem(name, f"not readable in {folder}", rule))
        else:
            if text.strip():
                texts[name] = text
    return Variables(texts, problems)
