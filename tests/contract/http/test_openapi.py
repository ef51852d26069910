"""The two API documents: valid, generated from the schemas, and true of the running server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV2SpecValidator, OpenAPIV30SpecValidator

from connector.schemas import load_schema
from connector.server.request import INPUTS
from scripts.openapi import DOCUMENTS, FOLDER, PAGE, TABLES, openapi, swagger, written
from scripts.tables import updated

from .conftest import KEY

if TYPE_CHECKING:
    from .conftest import RunningServer, StartServer

VALIDATORS = {"openapi.json": OpenAPIV30SpecValidator, "swagger.json": OpenAPIV2SpecValidator}
#: The inputs that no request may set; every other input must be in INPUTS.
NOT_OF_REQUESTS = {
    *("user_ids_file", "base_url", "concurrency", "quota_share", "shard"),
    *("format", "columns", "output_file", "query", "resume"),
}
# The schemas of each document, and how it writes that a value may be null.
SCHEMAS = {
    "openapi.json": (openapi()["components"]["schemas"], "nullable"),
    "swagger.json": (swagger()["definitions"], "x-nullable"),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents__are_generated(name: str) -> None:
    """The committed documents are what `make docs` writes, and valid by their specifications."""
    document = DOCUMENTS[name]()

    assert (FOLDER / name).read_text(encoding="utf-8") == written(document)
    VALIDATORS[name](document).validate()


def test_page__has_the_generated_tables() -> None:
    """The tables of docs/HTTP.md are what `make docs` writes."""
    page = PAGE.read_text(encoding="utf-8")

    assert updated(page, TABLES) == page


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents__are_served(name: str, sandbox_api: RunningServer) -> None:
    """The server has the committed documents, below the megabyte that Power Automate imports."""
    response = sandbox_api.path("GET", f"/{name}")

    assert response.headers["Content-Type"] == "application/json"
    assert response.content == (FOLDER / name).read_bytes()
    assert len(response.content) < 1_000_000


def test_request__has_every_input_of_requests() -> None:
    """Every input is either a request's, in both documents, or one that no request may set.

    Addresses belong into bodies: URLs are written to logs.
    """
    parameters = openapi()["paths"]["/v1/enrollments"]["get"]["parameters"]
    listed = [tuple(schemas["Request"]["properties"]) for schemas, _ in SCHEMAS.values()]
    query = [rule["name"] for rule in parameters if rule["in"] == "query"]

    assert listed == [INPUTS] * 2
    assert query == [name for name in INPUTS if name != "user_email"]
    assert sorted([*INPUTS, *NOT_OF_REQUESTS]) == sorted(load_schema("inputs")["properties"])


@pytest.mark.parametrize("name", DOCUMENTS)
def test_document__has_every_field(name: str) -> None:
    """Responses have every field of the output document, the enrollments always."""
    outputs, document = load_schema("outputs"), SCHEMAS[name][0]["Document"]

    assert list(document["properties"]) == list(outputs["properties"])
    assert set(document["required"]) == {*outputs["required"], "enrollments"}


def as_json_schema(rule: Any, schemas: Any, null: str) -> Any:
    """Return the *rule* of an API document as JSON Schema."""
    if isinstance(rule, list):
        return [as_json_schema(part, schemas, null) for part in rule]
    if not isinstance(rule, dict):
        return rule
    translated = {
        key: as_json_schema(value, schemas, null)
        for key, value in rule.items()
        if key not in (null, "example", "exclusiveMinimum")
    }
    if "$ref" in translated:
        return as_json_schema(schemas[translated["$ref"].rpartition("/")[2]], schemas, null)
    return {"anyOf": [translated, {"type": "null"}]} if rule.get(null) is True else translated


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("user_id", ["20941371", "4041", "31,4041", "x"])
def test_document__of_a_response(user_id: str, name: str, sandbox_api: RunningServer) -> None:
    """Responses of complete, partial and failed runs are what the documents describe."""
    schemas, null = SCHEMAS[name]
    include = "learningObject,loResourceGrades,learner"

    response = sandbox_api.get(user_id=user_id, lo_types="all", include=include)

    schema = as_json_schema(schemas["Document"], schemas, null)
    jsonschema.validate(response.document, schema)


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("definition", ["Request", "Document"])
def test_examples__are_valid(definition: str, name: str) -> None:
    """The examples in both documents are what their schemas describe."""
    schemas, null = SCHEMAS[name]

    schema = as_json_schema(schemas[definition], schemas, null)
    jsonschema.validate(schemas[definition]["example"], schema)


@pytest.mark.slow
def test_schemathesis__finds_no_failure(start_server: StartServer, tmp_path: Path) -> None:
    """The server responds as the document says to whatever schemathesis makes of it."""
    # OpenAPI cannot say that some columns need another input: those requests are refused.
    (tmp_path / "schemathesis.toml").write_text(
        "[[operations]]\n"
        """include-path-regex = '[.](csv|xlsx)$'\n"""
        "checks.positive_data_acceptance.enabled = false\n"
    )
    # The sandbox answers 403 for some other users; schemathesis would report 502 as a failure.
    api = start_server(ALM_SERVE_USER_IDS="20941371", ALM_QUOTA_SHARE="1")
    finished = subprocess.run(
        [
            *(str(Path(sys.executable).parent / "schemathesis"), "run", f"{api.url}/openapi.json"),
            *("--phases", "examples,coverage,fuzzing", "--max-examples", "25", "--seed", "7"),
            # The one user that this server serves is not among those that schemathesis makes up.
            *("--warnings", "off"),
            *("--no-color", "-H", f"Authorization: Bearer {KEY}"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert finished.returncode == 0, finished.stdout
    assert "No issues found" in finished.stdout
    assert " 500 " not in api.written()
