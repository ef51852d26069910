"""``connector.run``: the same document as the command's, the same errors as exceptions, and not a word."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import connector

if TYPE_CHECKING:
    from connector.sandbox.server import SandboxServer

    from .conftest import Reaching, RunCommand


def test_run__is_the_commands_document(command: RunCommand) -> None:
    """The document is the very one that the command prints."""
    printed = command(
        "--user-id",
        "31",
        "--lo-types",
        "all",
        "--include",
        "loResourceGrades",
        environ={"ALM_BASE_URL": "sandbox"},
    ).document

    document = connector.run(
        user_id="31", lo_types=["all"], include="loResourceGrades", base_url="sandbox"
    )

    assert document == printed
    assert json.loads(json.dumps(document)) == document


def test_run__prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """Neither success nor failure writes to a stream."""
    connector.run(user_id=["20941371"], base_url="sandbox")
    with pytest.raises(connector.UserNotFoundError):
        connector.run(user_id=4041, base_url="sandbox")

    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_run__raises_with_the_document() -> None:
    """An error has the document of the run that it ended, with what could be read all the same."""
    with pytest.raises(connector.PartialError) as caught:
        connector.run(user_id="4041,20941371", base_url="sandbox")

    document = caught.value.document
    assert document is not None
    assert document["enrollment_count"] == 3
    assert document["error"]["message"] == caught.value.message


def test_run__judges_as_the_command_does() -> None:
    """Inputs are judged by the same rules; a name that is none is one of the problems."""
    with pytest.raises(connector.UsageError) as caught:
        connector.run(user_ids="31", page_limit=0, base_url="sandbox")

    assert [problem.name for problem in caught.value.problems] == [
        "user_ids",
        "user_id",
        "page_limit",
    ]


def test_run__finds_credentials_in_the_environment(
    sandbox: SandboxServer, reaching: Reaching, environ: dict[str, str]
) -> None:
    """The token comes from the environment; an argument goes before a variable."""
    script = "import connector; print(connector.run(user_id='20941371')['enrollment_count'])"

    finished = subprocess.run(
        [sys.executable, "-c", script],
        env={**environ, **reaching(sandbox, ALM_USER_ID="31")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (finished.stdout, finished.stderr) == ("3\n", "")


def test_package__exports_what_it_promises() -> None:
    """Everything named is there, and the version is the distribution's."""
    assert all(hasattr(connector, name) for name in connector.__all__)
    assert len(connector.__all__) <= 12
