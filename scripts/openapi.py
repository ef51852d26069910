"""Writes the API documents and the tables of docs/HTTP.md from the schemas: ``make docs``. A test holds them to it.

The schemas are JSON Schema 2020-12. OpenAPI 3.0 knows an older draft, and Swagger 2.0,
which Power Automate imports, less than that: what they cannot say is left out of
them, never said otherwise.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from connector import __version__
from connector.schemas import load_schema
from connector.server.request import INPUTS, MAX_BODY_BYTES, TOKEN_HEADER
from connector.server.response import ENROLLMENTS
from connector.settings.problems import allowed
from connector.settings.sources import variable
from scripts.tables import updated

FOLDER = Path(__file__).parents[1] / "schemas"
Rule = dict[str, Any]
_KEPT = (
    *(
        "title",
        "description",
        "type",
        "format",
        "enum",
        "items",
        "properties",
        "additionalProperties",
        "required",
        "default",
    ),
    *(
        "pattern",
        "minLength",
        "minItems",
        "uniqueItems",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "anyOf",
    ),
)
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
# Here it is the server's own that counts, and the newest come first.
_OF_THE_DOOR: dict[str, Rule] = {
    "sort": {
        "description": "Newest enrollment first, or oldest first with `dateEnrolled`.",
        "default": "-dateEnrolled",
    },
    "deadline": {
        "description": "Seconds in which to answer, waits included; at most the server's own (25, unless it is told otherwise).",
        "default": None,
        "exclusiveMinimum": None,
        "minimum": 1,
        "examples": [20],
    },
    "since": {"format": "date-time", "examples": ["2023-06-29T12:34:33.000Z"]},
}
_SUMMARY = "Read learners' enrollments"
_DESCRIPTION = (
    "Brings every enrollment of Adobe Learning Manager learners, or says what is missing. "
    "Whatever the status, the answer is one document; where `error` is not null, it says what happened and what to do."
)
_WHOLE = "The document; `complete` says whether nothing is missing."
_REFUSALS = {
    HTTPStatus.BAD_REQUEST: "The inputs cannot be used; `error` names each.",
    HTTPStatus.UNAUTHORIZED: "No key of this server, or a wrong one.",
    HTTPStatus.NOT_FOUND: "ALM knows no such learner, or this server is not to be asked for him.",
    HTTPStatus.TOO_MANY_REQUESTS: "ALM's quota is used up, or the server is busy; ask again after Retry-After.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "A defect of this program.",
    HTTPStatus.BAD_GATEWAY: "ALM cannot be reached, refuses the token, or fails.",
    HTTPStatus.GATEWAY_TIMEOUT: "No whole answer of ALM's came, in time or in five attempts; ask again, at `error.retry_at` if there.",
}
_OF_BODIES = {
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: f"The body is larger than {MAX_BODY_BYTES // 1024} KB.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is not declared as JSON.",
}
_RETRY_AFTER = "Seconds after which to ask again, where they are known."
_REQUEST_ID = "Of this request, also in the server's log."
_TOKEN = "ALM's access token to read with, in place of the server's own credentials."  # noqa: S105 - a description


@dataclass(frozen=True, slots=True)
class _Dialect:
    """How one of the two formats says what both have."""

    references: str
    null: str
    has_alternatives: bool

    def translate(self, rule: Rule, schema: Rule) -> Rule:
        """Return *rule*, of *schema*, in this dialect."""
        rule = self._resolved(rule, schema)
        if "$ref" in rule:
            # Beside a reference nothing is heeded.
            beside = {name: rule[name] for name in _KEPT if name in rule}
            target = {"$ref": self._target(rule["$ref"])}
            return {"allOf": [target], **beside} if beside else target
        found = {name: rule[name] for name in _KEPT if name in rule}
        if alternatives := found.pop("anyOf", []):
            return {**self._alternatives(alternatives, schema), **found}
        found |= self._type(found)
        if "exclusiveMinimum" in found:
            found |= {"minimum": found["exclusiveMinimum"], "exclusiveMinimum": True}
        for name in ("items", "additionalProperties"):
            if isinstance(found.get(name), dict):
                found[name] = self.translate(found[name], schema)
        if "properties" in found:
            found["properties"] = {
                name: self.translate(one, schema) for name, one in found["properties"].items()
            }
        return found | ({"example": rule["examples"][0]} if "examples" in rule else {})

    def _type(self, rule: Rule) -> Rule:
        kinds = [rule["type"]] if isinstance(rule.get("type"), str) else rule.get("type", [])
        if not kinds:
            return {"type": _TYPES[type(rule["enum"][0])]} if "enum" in rule else {}
        return {"type": kinds[0]} | ({self.null: True} if "null" in kinds else {})

    def _alternatives(self, alternatives: list[Rule], schema: Rule) -> Rule:
        others = [self.translate(one, schema) for one in alternatives if one != {"type": "null"}]
        if len(others) < len(alternatives):
            # Only a schema that names its type can be null: the first one, written out.
            name = alternatives[0]["$ref"].rpartition("/")[2]
            others[0] = self.translate(schema["$defs"][name], schema) | {self.null: True}
        if len(others) == 1:
            return others[0]
        return {"anyOf": others} if others and self.has_alternatives else {}

    def _resolved(self, rule: Rule, schema: Rule) -> Rule:
        """Return *rule* with what it refers to in its place, where that is a plain type and no record."""
        target = schema["$defs"].get(rule.get("$ref", "").rpartition("/")[2])
        if target is None or "properties" in target:
            return rule
        return {**target, **{name: value for name, value in rule.items() if name != "$ref"}}

    def _target(self, reference: str) -> str:
        name = reference.rpartition("/")[2]
        return f"{self.references}{name[0].upper()}{name[1:]}"

    def definitions(self) -> Rule:
        """Return the schemas that both requests and answers refer to."""
        inputs, outputs = load_schema("inputs"), load_schema("outputs")
        records = {name: rule for name, rule in outputs["$defs"].items() if "properties" in rule}
        document = {
            **outputs,
            "required": [*outputs["required"], "enrollments"],
            "examples": outputs["examples"],
        }
        asked = {
            "title": "Request",
            "description": "A list may also be one text, separated by commas; a number or a truth may be text, too.",
            "type": "object",
            "properties": self._body(),
            "required": ["user_id"],
            "additionalProperties": False,
            "example": {"user_id": inputs["properties"]["user_id"]["examples"][0]},
        }
        named = {
            f"{name[0].upper()}{name[1:]}": self.translate(rule, outputs)
            for name, rule in records.items()
        }
        return {"Request": asked, "Document": self.translate(document, outputs), **named}

    def _body(self) -> dict[str, Rule]:
        """Return the inputs as a body may give them: null, or an empty text, is not given, and one learner needs no list."""
        told = {
            name: rule | ({} if name == "user_id" else {self.null: True})
            for name, rule in self.inputs().items()
        }
        if self.has_alternatives:
            # OpenAPI 3.0.3 wants null among the values, too.
            told |= {
                name: rule | {"enum": [*rule["enum"], None]}
                for name, rule in told.items()
                if "enum" in rule
            }
            told["user_id"] = _one_of(told["user_id"], told["user_id"]["items"])
            told["since"] = _one_of(
                told["since"],
                {"type": "string", "format": "date"},
                {"type": "string", "maxLength": 0},
            )
        return told

    def inputs(self) -> dict[str, Rule]:
        """Return the inputs that a request may give."""
        schema = load_schema("inputs")
        told = {}
        for name in INPUTS:
            rule = {**schema["properties"][name], **_OF_THE_DOOR.get(name, {})}
            told[name] = self.translate(
                {key: value for key, value in rule.items() if value is not None}, schema
            )
        return told


_OPENAPI = _Dialect("#/components/schemas/", "nullable", has_alternatives=True)
_SWAGGER = _Dialect("#/definitions/", "x-nullable", has_alternatives=False)


def _one_of(rule: Rule, *others: Rule) -> Rule:
    beside = ("title", "description", "example")
    own = {name: value for name, value in rule.items() if name not in beside}
    return {**{name: rule[name] for name in beside}, "anyOf": [own, *others]}


def _info() -> Rule:
    return {
        "title": "alm-enrollments",
        "version": __version__,
        "description": _DESCRIPTION,
        "license": {"name": "Apache-2.0"},
    }


def openapi() -> Rule:
    """Return the document in OpenAPI 3.0."""
    schema = {"$ref": "#/components/schemas/Document"}
    id_header = {"X-Request-Id": {"description": _REQUEST_ID, "schema": {"type": "string"}}}
    wait_header = {
        "Retry-After": {"description": _RETRY_AFTER, "schema": {"type": "integer", "minimum": 1}}
    }

    def answers(more: dict[HTTPStatus, str]) -> Rule:
        told = {HTTPStatus.OK: _WHOLE, **_REFUSALS, **more}
        return {
            str(status.value): {
                "description": text,
                "headers": id_header | (wait_header if status in (429, 504) else {}),
                "content": {"application/json": {"schema": schema}},
            }
            for status, text in sorted(told.items())
        }

    query = [
        {
            "name": name,
            "in": "query",
            "required": name == "user_id",
            "description": rule["description"],
            **({"style": "form", "explode": False} if rule["type"] == "array" else {}),
            "schema": {
                key: value
                for key, value in rule.items()
                if key not in ("title", "description", "example")
            },
        }
        for name, rule in _OPENAPI.inputs().items()
    ]
    token = {
        "name": TOKEN_HEADER,
        "in": "header",
        "description": _TOKEN,
        "schema": {"type": "string", "pattern": "^[!-~]+$"},
    }
    body = {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Request"}}},
    }
    common = {"summary": _SUMMARY, "security": [{"bearer": []}, {"basic": []}, {"apiKey": []}]}
    return {
        "openapi": "3.0.3",
        "info": _info(),
        "servers": [{"url": "/"}],
        "paths": {
            ENROLLMENTS: {
                "get": {
                    "operationId": "getEnrollments",
                    **common,
                    "parameters": [*query, token],
                    "responses": answers({}),
                },
                "post": {
                    "operationId": "readEnrollments",
                    **common,
                    "parameters": [token],
                    "requestBody": body,
                    "responses": answers(_OF_BODIES),
                },
            },
            "/healthz": {
                "get": {
                    "operationId": "isHealthy",
                    "summary": "Tell that the server answers",
                    "responses": {
                        "200": {
                            "description": "It does.",
                            "content": {"text/plain": {"schema": {"type": "string"}}},
                        }
                    },
                }
            },
        },
        "components": {
            "schemas": _OPENAPI.definitions(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "The server's key."},
                "basic": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "The server's key as password; any user name.",
                },
                "apiKey": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "X-API-Key",
                    "description": "The server's key.",
                },
            },
        },
    }


def swagger() -> Rule:
    """Return the document in Swagger 2.0: the request with a body, for importers that offer each operation as an action."""
    schema = {"$ref": "#/definitions/Document"}
    told = {HTTPStatus.OK: _WHOLE, **_REFUSALS, **_OF_BODIES}
    return {
        "swagger": "2.0",
        "info": _info(),
        "basePath": "/",
        "schemes": ["https"],
        "consumes": ["application/json"],
        "produces": ["application/json"],
        "securityDefinitions": {
            "apiKey": {
                "type": "apiKey",
                "in": "header",
                "name": "X-API-Key",
                "description": "The server's key.",
            }
        },
        "security": [{"apiKey": []}],
        "paths": {
            ENROLLMENTS: {
                "post": {
                    "operationId": "readEnrollments",
                    "summary": _SUMMARY,
                    "description": _DESCRIPTION,
                    "parameters": [
                        {
                            "name": "body",
                            "in": "body",
                            "required": True,
                            "schema": {"$ref": "#/definitions/Request"},
                        },
                        {
                            "name": TOKEN_HEADER,
                            "in": "header",
                            "type": "string",
                            "description": _TOKEN,
                            "x-ms-visibility": "advanced",
                        },
                    ],
                    "responses": {
                        str(status.value): {"description": text, "schema": schema}
                        for status, text in sorted(told.items())
                    },
                }
            }
        },
        "definitions": _SWAGGER.definitions(),
    }


def statuses_table() -> str:
    """Return the table of the statuses that a request can be answered with."""
    told = {
        HTTPStatus.OK: _WHOLE,
        **_REFUSALS,
        **_OF_BODIES,
        HTTPStatus.METHOD_NOT_ALLOWED: "Another method than GET and POST.",
    }
    rows = [
        f"| {status.value} | {_CODES.get(status, '64')} | {text} |"
        for status, text in sorted(told.items())
    ]
    return "\n".join(["| status | `error.code` | when |", "|---|---|---|", *rows])


_CODES = {
    HTTPStatus.OK: "",
    HTTPStatus.NOT_FOUND: "67, 65; 64 of a path that is none",
    HTTPStatus.TOO_MANY_REQUESTS: "75, 65",
    HTTPStatus.INTERNAL_SERVER_ERROR: "70",
    HTTPStatus.BAD_GATEWAY: "69, 75, 76, 77, 65",
    HTTPStatus.GATEWAY_TIMEOUT: "75, 65",
}


def serve_table() -> str:
    """Return the table of the server's settings."""
    rules = load_schema("serve")["properties"]
    rows = [
        f"| `{variable(name)}` | {rule.get('default', 'required' if name in load_schema('serve')['required'] else 'none')} |"
        f" {rule['description']} Allowed: {allowed(rule)}. |"
        for name, rule in rules.items()
    ]
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *rows])


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
