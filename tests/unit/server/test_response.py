"""Which status an outcome has, and when it says to come back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connector.errors import ConnectorError, TemporaryError
from connector.schemas import load_schema
from connector.server.response import answer_document, answer_error, defect, status_of


def outcome(code: int, http_status: int | None, *failed: tuple[int, int | None]) -> dict[str, Any]:
    """Return what of a document its status is judged by."""
    failures = [{"error": {"code": one, "http_status": status}} for one, status in failed]
    return {"error": {"code": code, "http_status": http_status}, "users": {"failed": failures}}


@pytest.mark.parametrize(
    ("document", "status"),
    [
        (outcome(64, None), 400),
        (outcome(64, 400), 400),
        (outcome(67, 404), 404),
        (outcome(69, None), 502),
        (outcome(70, None), 500),
        (outcome(73, None), 500),
        (outcome(75, 429), 429),
        (outcome(75, 503), 502),
        (outcome(75, None), 504),
        (outcome(75, 200), 504),
        (outcome(76, 200), 502),
        (outcome(77, 401), 502),
        (outcome(65, None, (67, 404), (75, 429)), 429),
        (outcome(65, None, (67, 404), (75, None), (77, 403)), 504),
        (outcome(65, None, (67, 404), (77, 403)), 502),
        (outcome(65, None, (67, 404)), 404),
        # What ends the run for everybody decides, whatever had failed before.
        (outcome(77, 401, (75, 429), (77, 401)), 502),
        (outcome(75, None, (75, 503), (67, 404)), 502),
        (outcome(75, None, (75, None), (75, 429)), 429),
    ],
)
def test_status__of_each_outcome(document: dict[str, Any], status: int) -> None:
    """The status is the error's; of several learners' failures that counts which another request is the likeliest to mend."""
    assert status_of(document) == status


def test_status__of_every_code() -> None:
    """Every exit code that a document can have, but those of signals, has a status of its own, and none is taken for success."""
    codes = load_schema("outputs")["$defs"]["error"]["properties"]["code"]["enum"]

    assert {status_of(outcome(code, None)).value for code in codes} == {400, 404, 500, 502, 504}


def test_answer__without_an_error() -> None:
    """A document without an error is answered as it stands, in 200."""
    answer = answer_document({"error": None}, '{"a":1}', None, datetime.now(UTC))

    assert (answer.status, answer.body, answer.code, answer.headers) == (
        200,
        b'{"a":1}\n',
        None,
        (),
    )


@pytest.mark.parametrize(("seconds", "header"), [(-5, "1"), (0.2, "1"), (3, "3"), (3.2, "4")])
def test_retry_after__is_whole_seconds(seconds: float, header: str) -> None:
    """Retry-After counts whole seconds, rounded up, and is never 0."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    document = outcome(75, 429)
    document["error"]["retry_at"] = (now + timedelta(seconds=seconds)).isoformat()

    answer = answer_document(document, "{}", TemporaryError("Later.", hint="Wait."), now)

    assert answer.headers == (("Retry-After", header),)


def test_defect__tells_its_kind_alone() -> None:
    """A defect is told by its kind, for its message may quote anything."""
    answer = defect(ValueError("a secret"))

    assert (answer.status, answer.code) == (500, 70)
    assert b"ValueError" in answer.body
    assert b"secret" not in answer.body


def test_error__without_a_status_of_its_own() -> None:
    """An error of no kind that is known is a defect."""
    assert answer_error(ConnectorError("What?", hint="No idea.")).status == 500
