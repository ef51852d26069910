"""Writes the API documents and the tables of docs/HTTP.md from the schemas (``make docs``).

The schemas are JSON Schema 2020-12. OpenAPI 3.0 knows an older draft, and Swagger 2.0, which Power
Automate imports, even less: the documents omit what they cannot express. A test compares them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connector import __version__
from connector.schemas import load_schema
from connector.server.request import FILE_INPUTS, INPUTS, MAX_BODY_BYTES, TOKEN_HEADER
from connector.server.response import ENROLLMENTS, FILES
from connector.settings import allowed, variable
from scripts.tables import updated

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER = Path(__file__).parents[1] / "schemas"
Rule = dict[str, Any]
# The keywords that both formats share with JSON Schema.
_KEYWORDS = (
    *("title", "description", "type", "format", "enum", "items", "properties"),
    *("additionalProperties", "required", "default", "pattern", "minLength", "minItems"),
    *("uniqueItems", "minimum", "maximum", "exclusiveMinimum", "anyOf"),
)
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
#: The inputs that name learners, one of them in each request.
_USERS = ("user_id", "user_email")
_EMPTY: Rule = {"type": "string", "maxLength": 0}
# What differs from the other interfaces; null removes a keyword.
_OVERRIDES: dict[str, Rule] = {
    # As everywhere, empty text stands for the default.
    "locale": {"pattern": "^([A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3})?$"},
    "sort": {
        "description": "Newest enrollment first, or oldest first with `dateEnrolled`.",
        "default": "-dateEnrolled",
    },
    "deadline": {
        "description": "Answer within this many seconds, waits included;"
        " at most the server's own deadline (ALM_SERVE_DEADLINE, 25 by default).",
        "default": None,
        "exclusiveMinimum": None,
        "minimum": 1,
        "examples": [20],
    },
    "since": {"format": "date-time", "examples": ["2023-06-29T12:34:33.000Z"]},
    "completed_since": {"format": "date-time", "examples": ["2023-06-29T12:34:33.000Z"]},
}
_MOMENTS = ("since", "completed_since")
_OTHER_MOMENTS = (
    {"type": "string", "format": "date"},
    {"type": "string", "pattern": "^(yesterday|[1-9][0-9]{0,3}[dh])$"},
)
_SUMMARY = "Read learners' enrollments"
_DESCRIPTION = (
    "Read every enrollment of Adobe Learning Manager learners, or report what is missing."
    " With any status, the response is one document;"
    " if `error` is not null, it says what happened and what to do."
)
_STATUSES = {
    HTTPStatus.OK: "The document; `complete` is true if nothing is missing.",
    HTTPStatus.BAD_REQUEST: "The inputs are invalid; `error` names each.",
    HTTPStatus.UNAUTHORIZED: "The key is missing or wrong.",
    HTTPStatus.NOT_FOUND: "ALM has no such learner, or this server does not serve the learner.",
    HTTPStatus.TOO_MANY_REQUESTS: (
        "ALM's quota is used up, or the server is busy. Send the request again after Retry-After."
    ),
    HTTPStatus.INTERNAL_SERVER_ERROR: "Internal error.",
    HTTPStatus.BAD_GATEWAY: "ALM cannot be reached, refuses the token, or fails.",
    HTTPStatus.GATEWAY_TIMEOUT: (
        "ALM did not answer completely in time, or in five attempts."
        " Send the request again, at `error.retry_at` if it is set."
    ),
}
_STATUSES_OF_BODIES = {
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: f"The body is larger than {MAX_BODY_BYTES // 1024} KB.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is not declared as JSON.",
}
_EXIT_CODES = {
    HTTPStatus.OK: "",
    HTTPStatus.NOT_FOUND: "67, 65; 64 for an unknown path",
    HTTPStatus.TOO_MANY_REQUESTS: "75, 65",
    HTTPStatus.INTERNAL_SERVER_ERROR: "70",
    HTTPStatus.BAD_GATEWAY: "69, 75, 76, 77, 65",
    HTTPStatus.GATEWAY_TIMEOUT: "75, 65",
}
_RETRY_AFTER = "Seconds to wait before the next request, if they are known."
_REQUEST_ID = "Of this request, also in the server's log."
_TOKEN = "ALM's access token to read with, in place of the server's own credentials."  # noqa: S105 - a description
_API_KEY = {
    "type": "apiKey",
    "in": "header",
    "name": "X-API-Key",
    "description": "The server's key.",
}


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one of the two formats expresses a JSON Schema."""

    references: str
    null: str
    has_alternatives: bool

    def translate(self, rule: Rule, schema: Rule) -> Rule:
        """Return *rule*, of *schema*, in this dialect."""
        target = schema["$defs"].get(_name_of(rule))
        if target and "properties" not in target:
            # A plain type is written out; only records are referred to.
            rule = {**target, **{key: value for key, value in rule.items() if key != "$ref"}}
        translated = {key: rule[key] for key in _KEYWORDS if key in rule}
        if "$ref" in rule:
            reference = {"$ref": self.references + _capitalized(_name_of(rule))}
            # Keywords next to a reference are ignored.
            return {"allOf": [reference], **translated} if translated else reference
        if alternatives := translated.pop("anyOf", []):
            return {**self._alternatives(alternatives, schema), **translated}
        translated |= self._type(translated)
        if "exclusiveMinimum" in translated:
            translated |= {"minimum": translated["exclusiveMinimum"], "exclusiveMinimum": True}
        for key in ("items", "additionalProperties"):
            if isinstance(translated.get(key), dict):
                translated[key] = self.translate(translated[key], schema)
        if "properties" in translated:
            properties = translated["properties"].items()
            translated["properties"] = {
                name: self.translate(property_rule, schema) for name, property_rule in properties
            }
        if "examples" in rule:
            translated["example"] = rule["examples"][0]
        return translated

    def _type(self, rule: Rule) -> Rule:
        types = rule.get("type", [])
        if isinstance(types, str):
            types = [types]
        if not types and "enum" in rule:
            types = [_TYPES[type(rule["enum"][0])]]
        translated: Rule = {"type": types[0]} if types else {}
        if "null" in types:
            translated[self.null] = True
        return translated

    def _alternatives(self, alternatives: list[Rule], schema: Rule) -> Rule:
        rules = [self.translate(rule, schema) for rule in alternatives if rule != {"type": "null"}]
        if len(rules) < len(alternatives):
            # Only a schema that names its type can be null: the first one, written out.
            first = schema["$defs"][_name_of(alternatives[0])]
            rules[0] = self.translate(first, schema) | {self.null: True}
        if len(rules) == 1:
            return rules[0]
        return {"anyOf": rules} if self.has_alternatives else {}

    def definitions(self) -> Rule:
        """Return the schemas that requests and responses refer to."""
        outputs = load_schema("outputs")
        document = {**outputs, "required": [*outputs["required"], "enrollments"]}
        definitions = {"Request": self._request(), "Document": self.translate(document, outputs)}
        for name, rule in outputs["$defs"].items():
            if "properties" in rule:
                definitions[_capitalized(name)] = self.translate(rule, outputs)
        return definitions

    def _request(self) -> Rule:
        """Return the schema of a body, in which null and empty text mean "not given"."""
        properties = self.inputs()
        for name, rule in properties.items():
            if self.has_alternatives or name != "user_id":
                rule[self.null] = True
            if self.has_alternatives and "enum" in rule and self.null in rule:
                # OpenAPI 3.0.3 wants null among the values, too.
                rule["enum"] = [*rule["enum"], None]
        if self.has_alternatives:
            for name in _USERS:
                rule = properties[name]
                properties[name] = _any_of(rule, rule["items"], _EMPTY) | {self.null: True}
            for name in _MOMENTS:
                properties[name] = _any_of(properties[name], *_OTHER_MOMENTS, _EMPTY)
        request: Rule = {
            "title": "Request",
            "description": "A list may also be one text, separated by commas;"
            " a number or a truth may be text, too. Learners are named by id or by address.",
            "type": "object",
            "properties": properties,
            "additionalProperties": False,
            "example": {"user_id": load_schema("inputs")["properties"]["user_id"]["examples"][0]},
        }
        if self.has_alternatives:
            request["oneOf"] = [
                self._named_by(name, other) for name, other in (_USERS, _USERS[::-1])
            ]
        return request

    def _named_by(self, name: str, other: str) -> Rule:
        """Return the alternative of a body that names learners by *name*, and not by *other*."""
        rule = self.inputs()[name]
        given = {"anyOf": [rule, rule["items"]]}
        return {
            "required": [name],
            "properties": {name: given, other: {**_EMPTY, self.null: True}},
        }

    def inputs(self, names: Sequence[str] = INPUTS) -> dict[str, Rule]:
        """Return the inputs *names*, as a request may set them."""
        schema = load_schema("inputs")
        rules = {}
        for name in names:
            rule = {**schema["properties"][name], **_OVERRIDES.get(name, {})}
            present = {key: value for key, value in rule.items() if value is not None}
            rules[name] = self.translate(present, schema)
        return rules


_OPENAPI = Dialect("#/components/schemas/", "nullable", has_alternatives=True)
_SWAGGER = Dialect("#/definitions/", "x-nullable", has_alternatives=False)


def _name_of(rule: Rule) -> str:
    return str(rule.get("$ref", "")).rpartition("/")[2]


def _capitalized(name: str) -> str:
    return f"{name[0].upper()}{name[1:]}"


def _any_of(rule: Rule, *others: Rule) -> Rule:
    about = {key: rule[key] for key in ("title", "description", "example")}
    first = {key: value for key, value in rule.items() if key not in about}
    return {**about, "anyOf": [first, *others]}


def _info() -> Rule:
    return {
        "title": "alm-enrollments",
        "version": __version__,
        "description": _DESCRIPTION,
        "license": {"name": "Apache-2.0"},
    }


def _query(names: Sequence[str]) -> list[Rule]:
    parameters = []
    for name, rule in _OPENAPI.inputs(names).items():
        # A URL is written to logs: addresses are documented for bodies only.
        if name == "user_email":
            continue
        parameter = {"name": name, "in": "query", "required": name == "user_id"}
        parameter["description"] = rule["description"]
        if rule["type"] == "array":
            parameter |= {"style": "form", "explode": False}
        about = ("title", "description", "example")
        schema = {key: value for key, value in rule.items() if key not in about}
        if name in _MOMENTS:
            schema = {"anyOf": [schema, *_OTHER_MOMENTS]}
        parameter["schema"] = schema
        parameters.append(parameter)
    return parameters


def openapi() -> Rule:
    """Return the document in OpenAPI 3.0."""
    text_schema = {"type": "string"}
    token: Rule = {"name": TOKEN_HEADER, "in": "header", "description": _TOKEN}
    token["schema"] = {"type": "string", "pattern": "^[!-~]{8,16384}$"}
    request = {"schema": {"$ref": "#/components/schemas/Request"}}
    common = {"summary": _SUMMARY, "security": [{"bearer": []}, {"basic": []}, {"apiKey": []}]}
    files = {}
    for format_name, content_type in FILES.items():
        responses = _openapi_responses(_STATUSES)
        content = {content_type: {"schema": {"type": "string", "format": "binary"}}}
        responses["200"] |= {"description": "The file.", "content": content}
        files[f"{ENROLLMENTS}.{format_name}"] = {
            "get": {
                "operationId": f"getEnrollmentsAs{format_name.capitalize()}",
                **common,
                "summary": f"{_SUMMARY} as {format_name}",
                "parameters": [*_query(FILE_INPUTS), token],
                "responses": responses,
            }
        }
    alive = {"description": "It does.", "content": {"text/plain": {"schema": text_schema}}}
    basic = "The server's key as password; any user name."
    return {
        "openapi": "3.0.3",
        "info": _info(),
        "servers": [{"url": "/"}],
        "paths": {
            ENROLLMENTS: {
                "get": {
                    "operationId": "getEnrollments",
                    **common,
                    "parameters": [*_query(INPUTS), token],
                    "responses": _openapi_responses(_STATUSES),
                },
                "post": {
                    "operationId": "readEnrollments",
                    **common,
                    "parameters": [token],
                    "requestBody": {"required": True, "content": {"application/json": request}},
                    "responses": _openapi_responses({**_STATUSES, **_STATUSES_OF_BODIES}),
                },
            },
            **files,
            "/healthz": {
                "get": {
                    "operationId": "isHealthy",
                    "summary": "Report that the server answers",
                    "responses": {"200": alive},
                }
            },
        },
        "components": {
            "schemas": _OPENAPI.definitions(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "The server's key."},
                "basic": {"type": "http", "scheme": "basic", "description": basic},
                "apiKey": _API_KEY,
            },
        },
    }


def _openapi_responses(statuses: dict[HTTPStatus, str]) -> Rule:
    responses = {}
    for status, text in sorted(statuses.items()):
        headers: Rule = {"X-Request-Id": {"description": _REQUEST_ID, "schema": {"type": "string"}}}
        if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.GATEWAY_TIMEOUT):
            seconds = {"type": "integer", "minimum": 1}
            headers["Retry-After"] = {"description": _RETRY_AFTER, "schema": seconds}
        schema = {"$ref": "#/components/schemas/Document"}
        responses[str(status.value)] = {
            "description": text,
            "headers": headers,
            "content": {"application/json": {"schema": schema}},
        }
    return responses


def swagger() -> Rule:
    """Return the document in Swagger 2.0: the request with a body.

    Importers of Swagger 2.0 offer each operation as an action of its own.
    """
    schema = {"$ref": "#/definitions/Document"}
    statuses = {**_STATUSES, **_STATUSES_OF_BODIES}
    body = {"name": "body", "in": "body", "required": True}
    body["schema"] = {"$ref": "#/definitions/Request"}
    token = {"name": TOKEN_HEADER, "in": "header", "type": "string", "description": _TOKEN}
    token["x-ms-visibility"] = "advanced"
    return {
        "swagger": "2.0",
        "info": _info(),
        "basePath": "/",
        "schemes": ["https"],
        "consumes": ["application/json"],
        "produces": ["application/json"],
        "securityDefinitions": {"apiKey": _API_KEY},
        "security": [{"apiKey": []}],
        "paths": {
            ENROLLMENTS: {
                "post": {
                    "operationId": "readEnrollments",
                    "summary": _SUMMARY,
                    "description": _DESCRIPTION,
                    "parameters": [body, token],
                    "responses": {
                        str(status.value): {"description": text, "schema": schema}
                        for status, text in sorted(statuses.items())
                    },
                }
            }
        },
        "definitions": _SWAGGER.definitions(),
    }


def statuses_table() -> str:
    """Return the table of the statuses that a request can get."""
    other = {HTTPStatus.METHOD_NOT_ALLOWED: "The method is not GET or POST."}
    rows = ["| status | `error.code` | when |", "|---|---|---|"]
    for status, text in sorted({**_STATUSES, **_STATUSES_OF_BODIES, **other}.items()):
        rows.append(f"| {status.value} | {_EXIT_CODES.get(status, '64')} | {text} |")
    return "\n".join(rows)


def serve_table() -> str:
    """Return the table of the server's settings."""
    schema = load_schema("serve")
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, rule in schema["properties"].items():
        without_default = "required" if name in schema["required"] else "none"
        default = rule.get("default", without_default)
        meaning = f"{rule['description']} Allowed: {allowed(rule)}."
        rows.append(f"| `{variable(name)}` | {default} | {meaning} |")
    return "\n".join(rows)


PAGE = FOLDER.parent / "docs" / "HTTP.md"
TABLES = {"statuses": statuses_table, "serve": serve_table}
DOCUMENTS = {"openapi.json": openapi, "swagger.json": swagger}


def written(document: Rule) -> str:
    """Return *document* as its file has it."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, make in DOCUMENTS.items():
        (FOLDER / name).write_text(written(make()), encoding="utf-8")
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8"), TABLES), encoding="utf-8")
