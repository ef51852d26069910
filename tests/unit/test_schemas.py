"""The JSON Schemas: valid, described, and read alike by the two libraries that validate."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from connector import schemas
from connector.schemas import SchemaError, allowed, explain, first_error, is_valid, load_schema
from connector.settings import credential_names, input_names

NAMES = ["inputs", "enrollments-page", "outputs", "diff"]
INPUTS = (
    "user_id",
    "user_email",
    "user_ids_file",
    "lo_types",
    "sort",
    "state",
    "include",
    "names",
    "locale",
    "query",
    "page_limit",
    "max_enrollments",
    "since",
    "completed_since",
    "base_url",
    "deadline",
    "allow_incomplete",
    "concurrency",
    "prefetch",
    "quota_share",
    "shard",
    "format",
    "columns",
    "output_file",
    "resume",
)
DEFAULTS = {
    "lo_types": ["course"],
    "sort": "dateEnrolled",
    "names": False,
    "locale": "en-US",
    "page_limit": 10,
    "base_url": "https://learningmanager.adobe.com",
    "deadline": 600,
    "allow_incomplete": False,
    "concurrency": 8,
    "prefetch": True,
    "quota_share": 1.0,
    "resume": False,
}
OUTPUTS = (
    "source",
    "enrollment_ids",
    "resource_grade_ids",
    "enrollment_count",
    "enrollments",
    "complete",
    "completeness",
    "next_since",
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
    {"links": {}},
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


def is_valid_twice(name: str, document: object) -> tuple[bool, bool]:
    """Return whether *document* is valid for the fast library, and for the one that explains."""
    return is_valid(name, document), not list(explain(name, document))


def resolved(rule: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Return *rule* together with the definition that it refers to."""
    reference = rule.get("$ref", "")
    return {**schema["$defs"][reference.rpartition("/")[2]], **rule} if reference else rule


@pytest.mark.parametrize("name", NAMES)
def test_schema__draft_2020_12(name: str) -> None:
    """Each schema is valid by draft 2020-12 and declares it."""
    schema = load_schema(name)

    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(schema)
    assert not is_valid(name, None)


@pytest.mark.parametrize("name", NAMES)
def test_schema__is_described(name: str) -> None:
    """Each schema has an id and a title, and every property of it a description."""
    schema = load_schema(name)
    rules = {key: resolved(rule, schema) for key, rule in schema["properties"].items()}

    assert schema["$id"] == f"urn:alm-enrollments:{name}"
    assert schema["title"]
    assert schema["description"]
    assert [key for key, rule in rules.items() if not rule.get("description")] == []


@pytest.mark.parametrize("name", INPUTS)
def test_inputs__are_described(name: str) -> None:
    """Every input has a title, a sentence and valid examples, for forms and help."""
    rule = load_schema("inputs")["properties"][name]
    validator = jsonschema.Draft202012Validator(rule)
    values = [*rule["examples"], rule.get("default", rule["examples"][0])]

    assert rule["title"]
    assert rule["description"].endswith(".")
    assert [value for value in values if not validator.is_valid(value)] == []


def test_inputs__names_and_defaults() -> None:
    """The inputs, their order and their defaults are those promised to every interface."""
    rules = load_schema("inputs")["properties"]

    assert tuple(rules) == input_names() == INPUTS
    assert {name: rule["default"] for name, rule in rules.items() if "default" in rule} == DEFAULTS


def test_inputs__credentials() -> None:
    """The four credentials are marked as secret; the three that refresh a token need each other."""
    schema = load_schema("inputs#credentials")

    assert schema == load_schema("inputs")["$defs"]["credentials"]
    assert credential_names() == ("access_token", "client_id", "client_secret", "refresh_token")
    assert [rule["writeOnly"] for rule in schema["properties"].values()] == [True] * 4
    assert schema["dependentRequired"].keys() == {"client_id", "client_secret", "refresh_token"}


def test_outputs__names() -> None:
    """A document and an enrollment have the promised fields; names only if they are requested."""
    schema = load_schema("outputs")
    enrollment = schema["$defs"]["enrollment"]

    assert tuple(schema["properties"]) == OUTPUTS
    assert schema["required"] == [name for name in OUTPUTS if name != "enrollments"]
    names = ("lo_name", "user_name", "user_email")
    assert tuple(enrollment["properties"]) == (*ENROLLMENT[:-1], *names, ENROLLMENT[-1], "included")
    assert tuple(enrollment["required"]) == ENROLLMENT


def test_outputs__codes() -> None:
    """The code of an error is one of the exit codes."""
    error = load_schema("outputs")["$defs"]["error"]

    assert error["properties"]["code"]["enum"] == [64, 65, 67, 69, 70, 73, 75, 76, 77, 130, 143]
    assert error["required"] == ["code", "message", "hint", "http_status", "request_id", "retry_at"]


def test_diff__names() -> None:
    """The document of a comparison has every field always, and an error as every document has."""
    schema = load_schema("diff")

    assert schema["required"] == list(schema["properties"])
    assert schema["$defs"]["error"] == load_schema("outputs")["$defs"]["error"]


@pytest.mark.parametrize("name", ["diff", "enrollments-page", "outputs", "users-page"])
def test_examples__are_valid(name: str) -> None:
    """The documents that a schema shows as examples are valid by it."""
    examples = load_schema(name)["examples"]

    assert [is_valid_twice(name, example) for example in examples] == [(True, True)] * len(examples)


@pytest.mark.parametrize("page", GOOD_PAGES, ids=json.dumps)
def test_page__valid(page: object) -> None:
    """A page with the ids, types and shapes that are used is valid, whatever else it has."""
    assert is_valid_twice("enrollments-page", page) == (True, True)


@pytest.mark.parametrize("page", BAD_PAGES, ids=lambda page: json.dumps(page)[:80])
def test_page__invalid(page: object) -> None:
    """A page without an id, a type or a shape that is used is invalid."""
    assert is_valid_twice("enrollments-page", page) == (False, False)


@pytest.mark.parametrize("document", GOOD_OUTPUTS)
def test_outputs__valid(document: object) -> None:
    """Every form that a document may have is valid."""
    assert is_valid_twice("outputs", document) == (True, True)


@pytest.mark.parametrize("document", BAD_OUTPUTS)
def test_outputs__invalid(document: object) -> None:
    """A document that breaks the promises to its readers is invalid."""
    assert is_valid_twice("outputs", document) == (False, False)


def test_is_valid__formats() -> None:
    """A custom format is checked by the caller's function, for texts only."""
    formats = {"alm-shard": "2/8".__eq__, "alm-base-url": bool, "alm-moment": bool}

    assert is_valid("inputs", {"user_id": ["1"], "shard": "2/8"}, formats)
    assert not is_valid("inputs", {"user_id": ["1"], "shard": "9/8"}, formats)
    assert list(explain("inputs", {"user_id": ["1"], "shard": "9/8"}, formats)) == [
        SchemaError(("shard",), "format", "9/8")
    ]
    assert list(explain("inputs", {"user_id": ["1"], "shard": 1}, formats)) == [
        SchemaError(("shard",), "type", 1)
    ]


@pytest.mark.parametrize("value", [{"data": {1}}, {"data": "\ud800"}, {"data": object()}])
def test_is_valid__not_json(value: object) -> None:
    """A value that JSON has no form for is invalid, without a crash."""
    assert not is_valid("enrollments-page", value)


def test_first_error__path_and_message() -> None:
    """The first error has its path in the document and a message."""
    page = {"data": [{"id": "x", "type": KIND}, {"id": 7, "type": KIND}]}

    assert first_error("enrollments-page", page) == ("data/1/id", '7 is not of type "string"')
    assert first_error("enrollments-page", {}) == ("", '"data" is a required property')


def test_explain__every_error() -> None:
    """Every error is listed with its path, the schema's keyword and the value."""
    errors = list(explain("inputs", {"lo_types": ["x", "y"], "page_limit": 0}))

    assert sorted(errors, key=lambda error: (error.keyword, str(error.path))) == [
        SchemaError(("lo_types", 0), "enum", "x"),
        SchemaError(("lo_types", 1), "enum", "y"),
        SchemaError(("page_limit",), "minimum", 0),
        SchemaError((), "oneOf", {"lo_types": ["x", "y"], "page_limit": 0}),
    ]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"x-allowed": "a path", "type": "string"}, "a path"),
        ({"enum": ["a", "b"], "type": "string"}, "a, b"),
        ({"items": {"enum": ["a", "b"]}, "type": "array"}, "a, b"),
        ({"type": "boolean"}, "true or false"),
        ({"type": "integer", "minimum": 1}, "a whole number from 1"),
        ({"type": "integer", "minimum": 1, "maximum": 10}, "a whole number from 1 to 10"),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 1}, "a number above 0 to 1"),
    ],
)
def test_allowed(rule: dict[str, Any], words: str) -> None:
    """The allowed values of a rule are its own words, its choices or its limits."""
    assert allowed(rule) == words


def test_load_schema__is_cached() -> None:
    """A schema is read once per process: validating a page reads no file."""
    assert load_schema("inputs") is load_schema("inputs")


def test_read_file__unknown() -> None:
    """A schema that does not exist is an error that names it."""
    with pytest.raises(FileNotFoundError, match=r"none\.schema\.json"):
        schemas.read_file("none.schema.json")
