"""Gathers what was given: flags, then the environment, then the env-file, then ``/run/secrets``. Judges nothing."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from dotenv.parser import parse_stream
from pydantic import SecretStr, create_model
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
)

from connector.errors import Problem
from connector.schemas import load_schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PREFIX = "ALM_"
SECRETS_DIR = Path("/run/secrets")
# A variable that differs this little from an input's name is taken for a slip of the pen, not for another program's.
_NEAR = 0.9


class Environment(dict[str, str]):
    """Environment variables that do not print: a traceback's locals would show the credentials among them."""

    def __repr__(self) -> str:
        """Tell how many there are, and none of them."""
        return f"Environment({len(self)} variables)"


@dataclass(frozen=True, slots=True)
class Given:
    """What was given, each value from the first place that has one, and what could not be read at all."""

    inputs: dict[str, Any]
    credentials: dict[str, SecretStr]
    problems: tuple[Problem, ...]


class _Variables(EnvSettingsSource):
    """Reads a mapping in place of the process's environment; an empty value is none."""

    def __init__(self, settings_cls: type[BaseSettings], variables: Mapping[str, str]) -> None:
        self._variables = variables
        super().__init__(settings_cls, case_sensitive=False, env_prefix=PREFIX)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return Environment(
            {name.lower(): value for name, value in self._variables.items() if value.strip()}
        )


def input_names() -> tuple[str, ...]:
    """Return the inputs' names, in the order of the schema."""
    return tuple(load_schema("inputs")["properties"])


def credential_names() -> tuple[str, ...]:
    """Return the credentials' names, in the order of the schema."""
    return tuple(load_schema("inputs")["$defs"]["credentials"]["properties"])


def variable(name: str) -> str:
    """Return the environment variable of an input or a credential."""
    return PREFIX + name.upper()


def gather(
    flags: Mapping[str, Any], environ: Mapping[str, str], *, secrets_dir: Path | None
) -> Given:
    """Return what *flags*, *environ*, the file that the flag ``env_file`` names, and *secrets_dir*, where there is one, give.

    Nothing is read that was not asked for: a ``.env`` that happens to lie in a
    repository could point the token at another host (CONTRACT.md, Inputs).
    """
    given_flags = {name: value for name, value in flags.items() if not _is_empty(value)}
    file_variables, problems = _read_env_file(given_flags.pop("env_file", None))
    secrets, unread = _read_secrets(secrets_dir) if secrets_dir else (Environment(), ())
    settings = _settings(given_flags, (environ, file_variables, secrets))
    found = {name: getattr(settings, name) for name in settings.model_fields_set}
    # Flags are not matched with fields by pydantic-settings when they are none: those are judged as unknown inputs.
    inputs = {
        name: value
        for name, value in {**found, **given_flags}.items()
        if name not in credential_names() or name in given_flags
    }
    credentials = {
        name: cast("SecretStr", found[name]) for name in credential_names() if name in found
    }
    slips = (*_slips(environ), *_slips(file_variables))
    return Given(inputs, credentials, (*problems, *unread, *slips))


def _settings(flags: Mapping[str, Any], variables: Sequence[Mapping[str, str]]) -> BaseSettings:
    class Sources(BaseSettings):
        @classmethod
        def settings_customise_sources(  # type: ignore[override] # only the class is asked for its sources here
            cls, settings_cls: type[BaseSettings], **_: object
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            known = {name: value for name, value in flags.items() if name in input_names()}
            return (
                InitSettingsSource(settings_cls, known),
                *(_Variables(settings_cls, each) for each in variables),
            )

    inputs: dict[str, Any] = dict.fromkeys(input_names(), (Any, None))
    credentials: dict[str, Any] = dict.fromkeys(credential_names(), (SecretStr | None, None))
    return create_model("Settings", __base__=Sources, **inputs, **credentials)()


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _read_env_file(path: object) -> tuple[Environment, tuple[Problem, ...]]:
    if path is None:
        return Environment(), ()
    try:
        with Path(str(path)).open(encoding="utf-8") as stream:
            bindings = list(parse_stream(stream))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        return Environment(), (Problem("env_file", f'"{path}"', f"a readable file; {reason}"),)
    # The line itself may hold a secret: only its number is told.
    problems = tuple(
        Problem("env_file", f"not to be understood in line {binding.original.line}", "NAME=value")
        for binding in bindings
        if binding.error
    )
    return Environment(
        {binding.key: binding.value for binding in bindings if binding.key and binding.value}
    ), problems


def _read_secrets(folder: Path) -> tuple[Environment, tuple[Problem, ...]]:
    """Return the credentials among the files of *folder*: nothing else belongs in ``/run/secrets``."""
    found, problems = Environment(), []
    for name in map(variable, credential_names()):
        for path in (folder / name.lower(), folder / name):
            try:
                found.update(
                    {name: path.read_text(encoding="utf-8").strip()} if path.is_file() else {}
                )
            except (OSError, ValueError):
                problems.append(
                    Problem(
                        name,
                        f"not to be read from {folder}",
                        "a file of UTF-8 text that this user may read",
                    )
                )
    return found, tuple(problems)


def _slips(variables: Mapping[str, str]) -> Iterator[Problem]:
    known = [variable(name) for name in (*input_names(), *credential_names())]
    for name, value in variables.items():
        if name.startswith(PREFIX) and name not in known and value.strip():
            for near in difflib.get_close_matches(name, known, n=1, cutoff=_NEAR):
                yield Problem(name, "not an input", near=near)


@dataclass(frozen=True, slots=True)
class RawSettings:
    """Inputs and credentials before validation."""

    inputs: dict[str, Any]
    credentials: dict[str, SecretStr]
    problems: tuple[Problem, ...]


def read_sources(flags: Mapping[str, Any], secrets_dir: Path | None) -> RawSettings:
    """Return the settings of *flags*, environment, the flag ``env_file`` and *secrets_dir*."""
    given = gather(flags, Environment(os.environ), secrets_dir=secrets_dir)  # noqa: TID251
    return RawSettings(given.inputs, given.credentials, given.problems)
