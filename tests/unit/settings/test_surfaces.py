"""Each interface writes inputs its own way, and its hints work where they are shown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from connector.errors import Problem, TemporaryError, UsageError
from connector.settings.surfaces import Surface

if TYPE_CHECKING:
    from pathlib import Path

TEXT = "Set `base_url` and `ALM_CLIENT_ID`; `users.failed` has `output_dir`."


@pytest.mark.parametrize(
    ("surface", "text"),
    [
        (Surface.PYTHON, TEXT),
        (
            Surface.COMMAND,
            "Set --base-url and ALM_CLIENT_ID; `users.failed` has `output_dir`.",
        ),
        (
            Surface.ACTION,
            "Set `base-url` and `client-id`; `users.failed` has `output_dir`.",
        ),
        (
            Surface.SERVER,
            (
                "Set `ALM_BASE_URL` of the server and `ALM_CLIENT_ID`; `users.failed` has"
                " `output_dir`."
            ),
        ),
        (
            Surface.AIRFLOW,
            (
                "Set the connection's host and the connection's login; `users.failed` has"
                " `output_dir`."
            ),
        ),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_text__writes_inputs(surface: Surface, text: str) -> None:
    """Only inputs and credentials in backticks change: each interface has its own names."""
    assert surface.text(TEXT) == text


def test_text__names_flags_that_only_the_command_has() -> None:
    """The action has no input for some flags of the command, and says so."""
    text = "Use `assume_complete`."

    assert Surface.COMMAND.text(text) == "Use --assume-complete."
    assert Surface.ACTION.text(text) == "Use `--assume-complete` of the command."


def test_error__of_the_action() -> None:
    """In the action, inputs and credentials have hyphens, whatever variable has them."""
    problems = [Problem("ALM_PAGE_LIMIT", "50"), Problem("ALM_ACCESS_TOKEN", "missing")]

    error = Surface.ACTION.error(UsageError.of(problems, hint="Set `output_file`."))

    assert error.message == "2 inputs are not valid: page-limit is 50; access-token is missing."
    assert error.hint == "Set `output-file`."


@pytest.mark.parametrize(
    ("surface", "advice"),
    [
        (
            Surface.ACTION,
            " If the file is in the repository, run actions/checkout before this step.",
        ),
        (Surface.COMMAND, ""),
    ],
)
def test_error__file_that_does_not_exist(surface: Surface, advice: str) -> None:
    """In the action, a list that does not exist was probably not checked out."""
    error = UsageError.of([Problem("user_ids_file", '"a.csv"')], hint="Nothing was sent.")
    error.__cause__ = FileNotFoundError()

    assert surface.error(error).hint == f"Nothing was sent.{advice}"


def test_document__has_the_same_words() -> None:
    """The document's error and those of its users are in the terms of the interface."""
    error = {"code": 75, "message": "Late.", "hint": "Set `deadline`."}
    document = {"error": error, "users": {"failed": [{"user_id": "1", "error": error}]}}

    written = Surface.COMMAND.document(document)

    assert written["error"]["hint"] == "Set --deadline."
    assert written["users"]["failed"][0]["error"]["hint"] == "Set --deadline."
    assert document["error"] is error


def test_error__keeps_its_class() -> None:
    """An error without inputs keeps class and message."""
    error = Surface.COMMAND.error(TemporaryError("Late.", hint="Wait."))

    assert (type(error), str(error)) == (TemporaryError, "Late. Wait.")


@pytest.mark.parametrize(
    ("variables", "source", "reason"),
    [
        ({}, None, ""),
        ({"GITHUB_ACTOR": "dependabot[bot]"}, None, "Runs that Dependabot starts get only"),
        ({"GITHUB_EVENT_NAME": "pull_request"}, "eve/fork", "of a fork, here eve/fork, get no"),
        ({"GITHUB_EVENT_NAME": "pull_request"}, "own/repo", ""),
        ({"GITHUB_EVENT_NAME": "pull_request_target"}, "eve/fork", ""),
    ],
)
def test_credentials_hint__names_what_applies(
    variables: dict[str, str],
    source: str | None,
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Forks and Dependabot are mentioned only if the event's variables show them."""
    for name in ("GITHUB_ACTOR", "GITHUB_EVENT_NAME", "GITHUB_EVENT_PATH"):
        monkeypatch.delenv(name, raising=False)
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"pull_request": {"head": {"repo": {"full_name": source}}}}))
    if source:
        variables = {
            **variables,
            "GITHUB_EVENT_PATH": str(event),
            "GITHUB_REPOSITORY": "own/repo",
        }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    hint = Surface.ACTION.credentials_hint

    assert hint.startswith("Secret ALM_ACCESS_TOKEN is empty: add it under Settings → Secrets and")
    assert reason in hint
    assert ("fork" in hint, "Dependabot" in hint) == ("fork" in reason, "Dependabot" in reason)
    assert "--help" not in hint + Surface.ACTION.usage_hint
