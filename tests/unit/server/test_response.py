"""The status and headers of each response."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

import pytest

from connector.errors import TemporaryError
from connector.output.document import failed_document
from connector.schemas import load_schema
from connector.server.response import document_response, error_response, refusal, status_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def failed_run(code: int, http_status: int | None, *failed: tuple[int, int | None]) -> Any:
    """Return what decides the status of a run's document; *failed* are the users' errors."""
    errors = [{"error": {"code": code, "http_status": status}} for code, status in failed]
    return {"error": {"code": code, "http_status": http_status}, "users": {"failed": errors}}


@pytest.mark.parametrize(
    ("document", "status"),
    [
        (failed_run(64, None), 400),
        (failed_run(64, 400), 400),
        (failed_run(67, 404), 404),
        (failed_run(69, None), 502),
        (failed_run(70, None), 500),
        (failed_run(73, None), 500),
        (failed_run(75, 429), 429),
        (failed_run(75, 503), 502),
        (failed_run(75, None), 504),
        (failed_run(75, 200), 504),
        (failed_run(76, 200), 502),
        (failed_run(77, 401), 502),
        (failed_run(65, None, (67, 404), (75, 429)), 429),
        (failed_run(65, None, (67, 404), (75, None), (77, 403)), 504),
        (failed_run(65, None, (67, 404), (77, 403)), 502),
        (failed_run(65, None, (67, 404)), 404),
        # An error that ends the run for all users decides, whatever had failed before.
        (failed_run(77, 401, (75, 429), (77, 401)), 502),
        (failed_run(75, None, (75, 503), (67, 404)), 502),
        (failed_run(75, None, (75, None), (75, 429)), 429),
    ],
)
def test_status__of_a_failed_run(document: Any, status: int) -> None:
    """Of several users' failures, the one that another request is likeliest to avoid decides."""
    assert status_of(document) == status


def test_status__of_every_exit_code() -> None:
    """Every exit code that a document can have leads to a status of failure."""
    codes = load_schema("outputs")["$defs"]["error"]["properties"]["code"]["enum"]

    assert {status_of(failed_run(code, None)) for code in codes} == {400, 404, 500, 502, 504}


def test_document__of_a_run_without_error() -> None:
    """A run that did not fail is returned with 200, even if its document has an error."""
    document = {"error": {"code": 75, "retry_at": "2026-01-01T00:01:00Z"}}

    response = document_response(document, None, NOW)

    assert (response.status, response.exit_code) == ("200 OK", None)
    assert response.get_data() == b'{"error":{"code":75,"retry_at":"2026-01-01T00:01:00Z"}}\n'
    assert list(response.headers) == [
        ("Content-Type", "application/json"),
        ("Content-Length", "56"),
    ]


@pytest.mark.parametrize(("seconds", "header"), [(-5, "1"), (0.2, "1"), (3, "3"), (3.2, "4")])
def test_retry_after__is_in_whole_seconds(seconds: float, header: str) -> None:
    """Retry-After is rounded up, and never 0."""
    document = failed_run(75, 429)
    document["error"]["retry_at"] = (NOW + timedelta(seconds=seconds)).isoformat()

    response = document_response(document, TemporaryError("Later.", hint="Wait."), NOW)

    assert (response.status, response.headers["Retry-After"]) == ("429 Too Many Requests", header)


def test_error__without_a_run() -> None:
    """An error before any run is returned as the document of a run that read nothing."""
    error = TemporaryError("Later.", hint="Wait.")

    response = error_response(error)

    assert (response.status, response.exit_code) == ("504 Gateway Timeout", 75)
    assert response.get_json() == failed_document(error)
    assert "Retry-After" not in response.headers


SHOW_KEY = "Send it as Authorization: Bearer KEY, as Basic's password, or as X-API-Key."
REFUSALS = {
    400: ("The request is not valid: Bad Request.", "Nothing was sent to ALM.", []),
    401: (
        "The request has no key of this server, or a wrong one.",
        f"{SHOW_KEY} Nothing was sent to ALM.",
        [
            ("WWW-Authenticate", 'Bearer realm="alm-enrollments"'),
            ("WWW-Authenticate", 'Basic realm="alm-enrollments", charset="UTF-8"'),
        ],
    ),
    404: (
        "This server has no such path.",
        (
            "Available paths: /v1/enrollments, /v1/enrollments.csv, /v1/enrollments.xlsx, /healthz,"
            " /openapi.json, /swagger.json."
        ),
        [],
    ),
    405: ("/healthz does not support this method.", "Use GET or HEAD.", [("Allow", "GET, HEAD")]),
    413: ("The body is larger than 64 KB.", "Request fewer learners at once.", []),
    415: (
        "The body is not declared as JSON.",
        "Send it as Content-Type: application/json.",
        [],
    ),
}


@pytest.mark.parametrize("status", REFUSALS)
def test_refusal__of_each_status(status: int) -> None:
    """Every refused request gets a document that says why, and what to do."""
    text, hint, headers = REFUSALS[status]

    response = refusal(HTTPStatus(status), "/healthz")

    error = response.get_json()["error"]
    assert (response.status_code, response.exit_code, error["code"]) == (status, 64, 64)
    assert (error["message"], error["hint"]) == (text, hint)
    assert list(response.headers)[2:] == headers
