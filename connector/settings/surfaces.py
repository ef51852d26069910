"""How each interface writes inputs in its messages, and what helps its users."""

from __future__ import annotations

import contextlib
import json
import os
import re
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from connector.errors import ConnectorError, UsageError
from connector.settings import PREFIX, credential_names, input_names, variable

if TYPE_CHECKING:
    from collections.abc import Mapping

    Error = TypeVar("Error", bound=ConnectorError)

_IN_BACKTICKS = re.compile(r"`([a-z_]+|ALM_[A-Z_]+)`")
_TRIO = "ALM_CLIENT_ID, ALM_CLIENT_SECRET and ALM_REFRESH_TOKEN"


# Flags that are no inputs, under the names that they have in Python.
_FLAGS = ("assume_complete", "env_file", "ignore")
_AIRFLOW = {
    "base_url": "the connection's host",
    "ALM_CLIENT_ID": "the connection's login",
    "ALM_CLIENT_SECRET": "the connection's password",
    "ALM_REFRESH_TOKEN": "refresh_token in the connection's extra",
}


class Surface(Enum):
    """An interface that runs fetch and the other commands.

    Python names inputs as the schema does; messages quote those names in backticks.
    """

    PYTHON = "python"
    COMMAND = "command"
    ACTION = "action"
    SERVER = "server"
    AIRFLOW = "airflow"

    def input(self, name: str) -> str:
        """Return the input or credential *name*, or its variable, as this interface writes it."""
        if self is Surface.ACTION:
            plain = name.removeprefix(PREFIX).lower()
            is_known = plain in input_names() or plain in credential_names()
            return plain.replace("_", "-") if is_known else name
        if self is Surface.COMMAND and name in (*input_names(), *_FLAGS):
            return f"--{name.replace('_', '-')}"
        return name

    def _written(self, name: str) -> str:
        """Return *name*, which a message has in backticks, for this interface's users."""
        if self is Surface.COMMAND:
            is_ours = name in (*input_names(), *_FLAGS) or name.startswith(PREFIX)
            return self.input(name) if is_ours else f"`{name}`"
        if self is Surface.ACTION and name in _FLAGS:
            return f"`--{name.replace('_', '-')}` of the command"
        if self is Surface.SERVER and name in ("base_url", "quota_share", "concurrency"):
            return f"`{variable(name)}` of the server"
        if self is Surface.AIRFLOW and name in _AIRFLOW:
            return _AIRFLOW[name]
        return f"`{self.input(name)}`"

    def text(self, text: str) -> str:
        """Return *text* with each input in backticks as this interface writes it."""
        return _IN_BACKTICKS.sub(lambda match: self._written(match[1]), text)

    def error(self, error: Error) -> Error:
        """Return *error* in the terms of this interface."""
        if self is Surface.PYTHON:
            return error
        message, hint = error.message, error.hint
        if isinstance(error, UsageError) and error.problems:
            problems = [
                replace(problem, name=self.input(problem.name)) for problem in error.problems
            ]
            message = UsageError.of(problems, hint=error.hint).message
            if self is Surface.ACTION and isinstance(error.__cause__, FileNotFoundError):
                hint += " If the file is in the repository, run actions/checkout before this step."
        return error.replaced(message=self.text(message), hint=self.text(hint))

    def document(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return *document* with its errors in the terms of this interface."""
        changed = dict(document)
        if self is Surface.PYTHON or not document["error"]:
            return changed
        changed["error"] = self._entry(document["error"])
        if users := document.get("users"):
            failed = [{**user, "error": self._entry(user["error"])} for user in users["failed"]]
            changed["users"] = {**users, "failed": failed}
        return changed

    def _entry(self, error: Mapping[str, Any]) -> dict[str, Any]:
        texts = {name: self.text(error[name]) for name in ("message", "hint") if name in error}
        return {**error, **texts}

    @property
    def usage_hint(self) -> str:
        """Where all inputs are described."""
        where = {
            Surface.PYTHON: "help(connector.run) describes every input",
            Surface.COMMAND: "Run alm-enrollments --help to see every input",
            Surface.AIRFLOW: "Correct the task's parameters; help(connector.run) describes all",
            Surface.ACTION: "Correct the inputs under `with:`; action.yml describes all of them",
        }
        return f"Nothing was sent. {where.get(self, where[Surface.PYTHON])}."

    @property
    def credentials_hint(self) -> str:
        """How to pass credentials, and why a workflow of GitHub may have none."""
        if self is Surface.ACTION:
            hint = (
                "Secret ALM_ACCESS_TOKEN is empty: add it under Settings → Secrets and variables"
                " → Actions and pass it as `access-token`; or pass `client-id`, `client-secret`"
                " and `refresh-token` together."
            )
        else:
            hint = f"Set {_TRIO} together, or ALM_ACCESS_TOKEN, in the environment."
        return f"{hint}{_reason_for_no_secrets(os.environ)} Nothing was sent."


def _reason_for_no_secrets(environ: Mapping[str, str]) -> str:
    """Return why GitHub passes no secrets to this run, to continue a hint; empty if it does."""
    if environ.get("GITHUB_ACTOR") == "dependabot[bot]":
        return (
            " Runs that Dependabot starts get only the secrets under Settings → Secrets and"
            " variables → Dependabot."
        )
    event: Any = {}
    with contextlib.suppress(OSError, ValueError):
        event = json.loads(Path(environ.get("GITHUB_EVENT_PATH", "")).read_text(encoding="utf-8"))
    with contextlib.suppress(KeyError, TypeError):
        # `pull_request_target` runs in the base repository, with its secrets.
        source = event["pull_request"]["head"]["repo"]["full_name"]
        is_fork = source != environ.get("GITHUB_REPOSITORY")
        if is_fork and environ.get("GITHUB_EVENT_NAME") != "pull_request_target":
            return f" Runs for pull requests of a fork, here {source}, get no secrets."
    return ""
