"""The three schemas: sound, told in words, and read alike by both libraries that judge with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import jsonschema_rs
import pytest

from connector import schemas
from connector.schemas import load_schema
from connector.settings.sources import credential_names, input_names

NAMES = ["inputs", "enrollments-page", "outputs"]
# CONTRACT.md, Inputs.
INPUTS = (
    "user_id",
    "user_ids_file",
    "lo_types",
    "sort",
    "state",
    "include",
    "page_limit",
    "max_enrollments",
    "since",
    "base_url",
    "deadline",
    "allow_incomplete",
    "concurrency",
    "quota_share",
    "shard",
    "format",
    "output_file",
    "resume",
)
DEFAULTS = {
    "lo_types": ["course"],
    "sort": "dateEnrolled",
    "page_limit": 10,
    "base_url": "https://learningmanager.adobe.com",
    "deadline": 600,
    "allow_incomplete": False,
    "concurrency": 8,
    "quota_share": 1.0,
    "format": "json",
    "resume": False,
}
# CONTRACT.md, Output.
OUTPUTS = (
    "enrollment_ids",
    "resource_grade_ids",
    "enrollment_count",
    "enrollments",
    "complete",
    "completeness",
    "latest_date_enrolled",
    "users",
    "output_file",
    "error",
)
ENROLLMENT = (
    "id",
    "user_id",
    "lo_id",
    "lo_type",
    "lo_instance_id",
    "state",
    "progress_percent",
    "has_passed",
    "score",
    "enrollment_source",
    "date_enrolled",
    "date_started",
    "date_completed",
    "completion_deadline",
    "last_access_date",
    "rating",
    "purchased_price",
    "url",
    "resource_grades",
)
KIND = "learningObjectInstanceEnrollment"
GOOD_PAGES: list[Any] = [
    {"data": []},
    {"data": [], "links": None},
    {"data": [], "links": {"next": None}},
    {"data": [], "links": {"next": "https://h/x?page[cursor]=a"}, "meta": {"count": 3}},
    {"data": [{"id": "course:1_2_3", "type": KIND}]},
    {"data": [{"id": "x", "type": KIND, "attributes": None, "relationships": None}]},
    {
        "data": [
            {"id": "x", "type": KIND, "attributes": {"score": 1.5, "hasPassed": None, "new": [1]}}
        ]
    },
    {
        "data": [
            {
                "id": "x",
                "type": KIND,
                "relationships": {"learner": {"data": None}, "loResourceGrades": {"data": []}},
            }
        ]
    },
    {"data": [], "included": [{"id": "1", "type": "user", "attributes": {"score": "any"}}]},
]
BAD_PAGES: list[Any] = [
    None,
    [],
    {},
    {"data": None},
    {"data": {}},
    {"data": [None]},
    {"data": [{"id": "x"}]},
    {"data": [{"id": 1, "type": KIND}]},
    {"data": [{"id": "", "type": KIND}]},
    {"data": [{"id": "x" * 1001, "type": KIND}]},
    {"data": [{"id": "x", "type": "user"}]},
    {"data": [{"id": "x", "type": KIND, "attributes": []}]},
    {"data": [{"id": "x", "type": KIND, "attributes": {"score": "1"}}]},
    {"data": [{"id": "x", "type": KIND, "attributes": {"hasPassed": 1}}]},
    {"data": [{"id": "x", "type": KIND, "attributes": {"dateEnrolled": 0}}]},
    {
        "data": [
            {
                "id": "x",
                "type": KIND,
                "relationships": {"learner": {"data": [{"id": "1", "type": "user"}]}},
            }
        ]
    },
    {
        "data": [
            {
                "id": "x",
                "type": KIND,
                "relationships": {"loResourceGrades": {"data": {"id": "1", "type": "g"}}},
            }
        ]
    },
    {"data": [{"id": "x", "type": KIND, "relationships": {"new": {"data": "1"}}}]},
    {"data": [], "links": []},
    {"data": [], "links": {"next": ""}},
    {"data": [], "links": {"next": 1}},
    {"data": [], "included": {}},
    {"data": [], "included": [{"id": "1"}]},
    {
        "data": [],
        "included": [
            {"id": "1", "type": "learningObjectResourceGrade", "attributes": {"score": "1"}}
        ],
    },
]
OUTPUT: dict[str, Any] = load_schema("outputs")["examples"][0]
ERROR = {
    "code": 75,
    "message": "m",
    "hint": "h",
    "http_status": 429,
    "request_id": "r",
    "retry_at": "2023-06-29T12:00:00Z",
}
GOOD_OUTPUTS: list[Any] = [
    OUTPUT,
    OUTPUT | {"enrollment_ids": None, "resource_grade_ids": None, "output_file": "x.json"},
    {name: value for name, value in OUTPUT.items() if name != "enrollments"},
    OUTPUT | {"error": ERROR},
    OUTPUT | {"users": {"requested": 1, "read": 0, "failed": [{"user_id": "1", "error": ERROR}]}},
    OUTPUT
    | {
        "enrollments": [
            OUTPUT["enrollments"][0]
            | {"included": {"learner": None, "learningObject": {"id": "1", "type": "t"}}}
        ]
    },
]
BAD_OUTPUTS: list[Any] = [
    None,
    {},
    OUTPUT | {"more": 1},
    OUTPUT | {"enrollment_ids": ["a", "a"]},
    OUTPUT | {"enrollment_ids": [""]},
    OUTPUT | {"enrollment_count": -1},
    OUTPUT | {"enrollment_count": 1.5},
    OUTPUT | {"complete": None},
    OUTPUT | {"completeness": OUTPUT["completeness"] | {"status": "perhaps"}},
    OUTPUT | {"enrollments": [OUTPUT["enrollments"][0] | {"score": "1"}]},
    OUTPUT | {"enrollments": [OUTPUT["enrollments"][0] | {"more": 1}]},
    OUTPUT | {"enrollments": [{"id": "1", "user_id": "1"}]},
    OUTPUT | {"error": ERROR | {"code": 1}},
    OUTPUT | {"error": ERROR | {"message": ""}},
    OUTPUT | {"users": {"requested": 1, "read": 1}},
]


def judgements(name: str, document: object) -> tuple[bool, bool]:
    """Return what jsonschema and jsonschema_rs say of *document*."""
    schema = load_schema(name)
    return (
        jsonschema.Draft202012Validator(schema).is_valid(document),
        jsonschema_rs.Draft202012Validator(schema).is_valid(document),
    )


def resolved(rule: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Return *rule* with what its reference points at below it."""
    reference = rule.get("$ref", "")
    return {**schema["$defs"][reference.rpartition("/")[2]], **rule} if reference else rule


@pytest.mark.parametrize("name", NAMES)
def test_schema__is_valid_2020_12(name: str) -> None:
    """Each schema is one of draft 2020-12, and says so."""
    schema = load_schema(name)

    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema_rs.Draft202012Validator(schema)


@pytest.mark.parametrize("name", NAMES)
def test_schema__is_told_in_words(name: str) -> None:
    """Each schema has an id, a title and a description, and every one of its properties a description."""
    schema = load_schema(name)

    assert (schema["$id"], bool(schema["title"]), bool(schema["description"])) == (
        f"urn:alm-enrollments:{name}",
        True,
        True,
    )
    assert [
        key
        for key, rule in schema["properties"].items()
        if not resolved(rule, schema).get("description")
    ] == []


@pytest.mark.parametrize("name", INPUTS)
def test_inputs__each_has_title_and_examples(name: str) -> None:
    """Every input has a short title, a description that ends as a sentence, and examples, for forms and help."""
    rule = load_schema("inputs")["properties"][name]

    assert rule["title"]
    assert rule["description"].endswith(".")
    assert rule["examples"]


@pytest.mark.parametrize("name", INPUTS)
def test_inputs__examples_and_default_obey_the_rule(name: str) -> None:
    """What the schema shows as an example, and what it fills in, is allowed by it."""
    rule = load_schema("inputs")["properties"][name]
    validator = jsonschema.Draft202012Validator(rule)

    shown = [*rule["examples"], *([rule["default"]] if "default" in rule else [])]

    assert [value for value in shown if not validator.is_valid(value)] == []


def test_inputs__names_are_the_contracts() -> None:
    """The inputs are those of the contract's table, in its order."""
    assert tuple(load_schema("inputs")["properties"]) == INPUTS
    assert input_names() == INPUTS


def test_inputs__defaults_are_the_contracts() -> None:
    """The defaults are those of the contract's table, and what has none there has none here."""
    properties = load_schema("inputs")["properties"]

    assert {
        name: rule["default"] for name, rule in properties.items() if "default" in rule
    } == DEFAULTS


def test_inputs__credentials_are_the_contracts() -> None:
    """There are four credentials, each told and marked as not to be shown; the refreshing three need each other."""
    credentials = load_schema("inputs")["$defs"]["credentials"]

    assert credential_names() == ("access_token", "client_id", "client_secret", "refresh_token")
    assert [rule["writeOnly"] for rule in credentials["properties"].values()] == [True] * 4
    assert credentials["dependentRequired"].keys() == {
        "client_id",
        "client_secret",
        "refresh_token",
    }


@pytest.mark.parametrize("name", ["enrollments-page", "outputs"])
def test_examples__obey_their_schema(name: str) -> None:
    """The whole documents that a schema shows are allowed by it."""
    examples = load_schema(name)["examples"]

    assert [judgements(name, example) for example in examples] == [(True, True)] * len(examples)


def test_outputs__names_are_the_contracts() -> None:
    """The document's fields and an enrollment's are the contract's, and all are there but those that it lets go."""
    schema = load_schema("outputs")
    enrollment = schema["$defs"]["enrollment"]

    assert tuple(schema["properties"]) == OUTPUTS
    assert schema["required"] == [name for name in OUTPUTS if name != "enrollments"]
    assert tuple(enrollment["properties"]) == (*ENROLLMENT, "included")
    assert tuple(enrollment["required"]) == ENROLLMENT


def test_outputs__codes_are_the_contracts() -> None:
    """An error's code is one of the contract's exit codes."""
    error = load_schema("outputs")["$defs"]["error"]

    assert error["properties"]["code"]["enum"] == [64, 65, 67, 69, 70, 73, 75, 76, 77, 130, 143]
    assert error["required"] == ["code", "message", "hint", "http_status", "request_id", "retry_at"]


@pytest.mark.parametrize("document", GOOD_PAGES, ids=json.dumps)
def test_page__what_is_relied_on_is_there(document: object) -> None:
    """A page with ids, types and shapes passes both libraries, whatever else is in it."""
    assert judgements("enrollments-page", document) == (True, True)


@pytest.mark.parametrize("document", BAD_PAGES, ids=lambda document: json.dumps(document)[:80])
def test_page__what_is_relied_on_is_missing(document: object) -> None:
    """A page without an id, a type or a shape that is relied on passes neither library."""
    assert judgements("enrollments-page", document) == (False, False)


@pytest.mark.parametrize("document", GOOD_OUTPUTS)
def test_outputs__whole_documents(document: object) -> None:
    """Every form that the contract gives the document passes both libraries."""
    assert judgements("outputs", document) == (True, True)


@pytest.mark.parametrize("document", BAD_OUTPUTS)
def test_outputs__broken_documents(document: object) -> None:
    """A document that breaks the contract passes neither library."""
    assert judgements("outputs", document) == (False, False)


def test_load_schema__reads_each_once() -> None:
    """A schema is read once a process: judging a page must not cost a file."""
    assert load_schema("inputs") is load_schema("inputs")


def test_folders__the_wheels_own_comes_first() -> None:
    """An installed package reads the schemas it was shipped with, a checkout those beside it."""
    package = Path(schemas.__file__).parent

    assert (package / "schemas", package.parent / "schemas") == schemas.FOLDERS
