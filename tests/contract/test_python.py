"""``connector.run``: the document of the command, the same errors as exceptions, and no output."""

from __future__ import annotations

import inspect
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import connector
from connector.schemas import load_schema
from tests.support.process import CHECKOUT
from tests.support.sandbox import reaching

if TYPE_CHECKING:
    from connector.sandbox.server import SandboxServer
    from tests.support.process import Command


def test_run__returns_the_documents_of_the_command(command: Command) -> None:
    """The returned document is the one that the command prints."""
    line = "--user-id 31 --lo-types all --include loResourceGrades --base-url sandbox"

    document = connector.run(
        user_id="31", lo_types=["all"], include="loResourceGrades", base_url="sandbox"
    )

    # Each run has a time of its own.
    assert document == {**command(line).document, "next_since": document["next_since"]}
    assert json.loads(json.dumps(document)) == document


def test_run__prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """Neither success nor failure writes to a stream."""
    connector.run(user_id=["20941371"], base_url="sandbox")
    with pytest.raises(connector.UserNotFoundError):
        connector.run(user_id=4041, base_url="sandbox")

    assert tuple(capfd.readouterr()) == ("", "")


def test_run__raises_with_the_document() -> None:
    """An error holds the document of its run, with what could be read."""
    with pytest.raises(connector.PartialError) as caught:
        connector.run(user_id="4041,20941371", base_url="sandbox")

    document = caught.value.document
    assert document is not None
    assert (document["enrollment_count"], document["error"]["message"]) == (3, caught.value.message)


def test_run__validates_as_the_command_does() -> None:
    """The same rules apply to the inputs; an unknown name is one of the problems."""
    with pytest.raises(connector.UsageError) as caught:
        connector.run(user_ids="31", page_limit=0, base_url="sandbox")

    names = [problem.name for problem in caught.value.problems]
    assert names == ["user_ids", "user_id", "page_limit"]


def test_run__finds_credentials_in_the_environment(
    command: Command, sandbox: SandboxServer
) -> None:
    """The token comes from the environment; an argument has precedence over a variable."""
    script = "import connector; print(connector.run(user_id='20941371')['enrollment_count'])"

    process = command.start_python(["-c", script], **reaching(sandbox, ALM_USER_ID="31"))

    assert process.communicate() == ("3\n", "")


def test_run__has_a_signature() -> None:
    """Editors complete every input of the schema; those that are not passed are not given."""
    parameters = inspect.signature(connector.run).parameters

    names = [*load_schema("inputs")["properties"], "env_file"]
    assert [*parameters] == [*names, "unknown"]
    assert {parameters[name].default for name in names} == {None}
    assert {"run", "diff"} <= {*dir(connector)}
    assert inspect.getdoc(connector.run)
    assert [*inspect.signature(connector.diff).parameters][:2] == ["old", "new"]


def test_run__from_a_zip_file(command: Command) -> None:
    """A package in a zip file reads its schemas there, as Python's importer does."""
    path = command.folder / "connector.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in (CHECKOUT / "connector").rglob("*.*"):
            if "__pycache__" not in file.parts:
                archive.write(file, file.relative_to(CHECKOUT))
        for file in (CHECKOUT / "schemas").glob("*.json"):
            archive.write(file, Path("connector/schemas", file.name))
    script = (
        "import connector; print(connector.__file__);"
        "print(connector.run(user_id='20941371', base_url='sandbox')['enrollment_count'])"
    )

    process = command.start_python(["-c", script], PYTHONPATH=str(path))

    assert process.communicate() == (f"{path}/connector/__init__.py\n3\n", "")


def test_package__exports_what_it_promises() -> None:
    """Every exported name exists, and there are few of them."""
    assert [name for name in connector.__all__ if not hasattr(connector, name)] == []
    assert len(connector.__all__) <= 12
