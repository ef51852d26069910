"""The two API documents: held to the schemas, valid by their specifications, and true of the server as it runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import requests
from openapi_spec_validator import OpenAPIV2SpecValidator, OpenAPIV30SpecValidator

from connector.schemas import load_schema
from connector.server.request import INPUTS
from scripts.openapi import DOCUMENTS, FOLDER, PAGE, TABLES, openapi, swagger, written
from scripts.tables import updated

from .conftest import KEY

if TYPE_CHECKING:
    from .conftest import Pair, Serve

VALIDATORS = {"openapi.json": OpenAPIV30SpecValidator, "swagger.json": OpenAPIV2SpecValidator}
#: The inputs that no request has: what is not in either list has been forgotten.
SERVERS_OWN = {
    "user_ids_file",
    "base_url",
    "concurrency",
    "quota_share",
    "shard",
    "format",
    "output_file",
    "resume",
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents__are_the_schemas(name: str) -> None:
    """The committed documents are those that the schemas give (`make docs` writes them)."""
    assert (FOLDER / name).read_text(encoding="utf-8") == written(DOCUMENTS[name]())


def test_page__has_the_schemas_tables() -> None:
    """The page's tables are those that schemas and statuses give (`make docs` writes them)."""
    assert updated(PAGE.read_text(encoding="utf-8"), TABLES) == PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents__are_valid(name: str) -> None:
    """Each is what its specification says, by openapi-spec-validator."""
    VALIDATORS[name](DOCUMENTS[name]()).validate()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents__are_served(name: str, shared: Pair) -> None:
    """Whoever imports it gets the committed document, without a key, and smaller than the megabyte that Power Automate takes."""
    answer = requests.get(f"{shared.door.url}/{name}", timeout=10)

    assert answer.headers["content-type"] == "application/json"
    assert answer.content == (FOLDER / name).read_bytes()
    assert len(answer.content) < 1_000_000


def test_request__has_every_input_that_is_not_the_servers() -> None:
    """Every input is either a request's, in both documents, or the server's own."""
    of_bodies = [
        document["Request"]["properties"]
        for document in (openapi()["components"]["schemas"], swagger()["definitions"])
    ]
    of_query = [
        one["name"]
        for one in openapi()["paths"]["/v1/enrollments"]["get"]["parameters"]
        if one["in"] == "query"
    ]

    assert [tuple(names) for names in (*of_bodies, of_query)] == [INPUTS] * 3
    assert {*INPUTS, *SERVERS_OWN} == set(load_schema("inputs")["properties"])
    assert not SERVERS_OWN & {*INPUTS}


def test_document__has_every_field() -> None:
    """Answers have every field of the output document, the enrollments always."""
    outputs = load_schema("outputs")
    for document in (
        openapi()["components"]["schemas"]["Document"],
        swagger()["definitions"]["Document"],
    ):
        assert list(document["properties"]) == list(outputs["properties"])
        assert set(document["required"]) == {*outputs["required"], "enrollments"}


def as_json_schema(rule: Any, schemas: Any, null: str) -> Any:
    """Return an API document's *rule* as JSON Schema has it."""
    if isinstance(rule, list):
        return [as_json_schema(one, schemas, null) for one in rule]
    if not isinstance(rule, dict):
        return rule
    told = {
        name: as_json_schema(value, schemas, null)
        for name, value in rule.items()
        if name not in (null, "example", "exclusiveMinimum")
    }
    if "$ref" in told:
        return as_json_schema(schemas[told["$ref"].rpartition("/")[2]], schemas, null)
    return {"anyOf": [told, {"type": "null"}]} if rule.get(null) is True else told


@pytest.mark.parametrize("user_id", ["20941371", "4041", "31,4041", "x"])
def test_document__is_what_is_answered(user_id: str, shared: Pair) -> None:
    """What is answered, of whole runs and of failed ones, with everything included, is what both documents describe."""
    answered = shared.door.get(
        user_id=user_id, lo_types="all", include="learningObject,loResourceGrades,learner"
    )

    for schemas, null in (
        (openapi()["components"]["schemas"], "nullable"),
        (swagger()["definitions"], "x-nullable"),
    ):
        jsonschema.validate(answered.document, as_json_schema(schemas["Document"], schemas, null))


def test_schemathesis__finds_no_failure(serve: Serve, tmp_path: Path) -> None:
    """Whatever schemathesis makes of the document, the server answers as the document says, all of its checks on."""
    # Other learners are refused: among random ones are those that the sandbox answers 403 for, a failure of ALM's that is no server's.
    door = serve(ALM_SERVE_USER_IDS="20941371", ALM_QUOTA_SHARE="1")
    command = [
        "run",
        f"{door.url}/openapi.json",
        "--phases",
        "examples,coverage,fuzzing",
        "--max-examples",
        "25",
        "--seed",
        "7",
        "--no-color",
    ]

    finished = subprocess.run(
        [
            str(Path(sys.executable).parent / "schemathesis"),
            *command,
            "-H",
            f"Authorization: Bearer {KEY}",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert finished.returncode == 0, finished.stdout
    assert "No issues found" in finished.stdout
    assert " 500 " not in door.written()


def test_examples__are_valid() -> None:
    """The examples in both documents are what their schemas describe."""
    for schemas, null in (
        (openapi()["components"]["schemas"], "nullable"),
        (swagger()["definitions"], "x-nullable"),
    ):
        for name in ("Request", "Document"):
            jsonschema.validate(
                schemas[name]["example"], as_json_schema(schemas[name], schemas, null)
            )
    assert json.loads(written(openapi())) == openapi()
