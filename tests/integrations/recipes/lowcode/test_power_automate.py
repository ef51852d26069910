"""The workflow definition for Logic Apps, run action by action with its expressions worked out; and the custom connector's file."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from .conftest import KEY, example, newest_first

if TYPE_CHECKING:
    from .conftest import Answered, Door

WORKFLOW: dict[str, Any] = json.loads(example("power-automate/workflow.json"))
ACTIONS = WORKFLOW["actions"]
READ, PARSE, EACH = (
    ACTIONS[name] for name in ("Read_enrollments", "Parse_the_answer", "For_each_enrollment")
)


def worked_out(given: Any, **known: Any) -> Any:
    """Return *given* with its expressions worked out: they are written as in Python but for `?[…]`."""
    if isinstance(given, dict):
        return {name: worked_out(value, **known) for name, value in given.items()}
    if isinstance(given, list):
        return [worked_out(value, **known) for value in given]
    if not isinstance(given, str) or not given.startswith("@"):
        return given
    functions = {
        "addDays": lambda moment, days: moment + timedelta(days=days),
        "formatDateTime": lambda moment, form: moment.strftime(
            form.replace("yyyy", "%Y").replace("MM", "%m").replace("dd", "%d")
        ),
        **known,
    }
    return eval(re.sub(r"\?\[", "[", given[1:]), {"__builtins__": {}}, functions)  # noqa: S307 - the recipe's own text, no names but these


def sent(door: Door, now: datetime, key: str = KEY) -> Answered:
    """Return the door's answer to the HTTP action."""
    inputs = worked_out(
        READ["inputs"], utcNow=lambda: now, parameters={"door_key": key}.__getitem__
    )
    return door.send(
        inputs["method"], inputs["uri"], headers=inputs["headers"], data=json.dumps(inputs["body"])
    )


@pytest.mark.parametrize(
    ("now", "since"),
    [
        (datetime(2023, 7, 1, tzinfo=UTC), "2023-06-01"),
        (datetime(2023, 7, 25, tzinfo=UTC), "2023-06-25"),
    ],
)
def test_workflow__takes_each_enrollment_of_the_last_days(
    now: datetime, since: str, door: Door
) -> None:
    """What the loop takes are the enrollments of the last thirty days, newest first, after the answer's schema has judged it."""
    answered = sent(door, now)

    content = worked_out(
        PARSE["inputs"]["content"], body={"Read_enrollments": answered.document}.__getitem__
    )
    jsonschema.Draft4Validator(PARSE["inputs"]["schema"]).validate(content)
    items = worked_out(EACH["foreach"], body={"Parse_the_answer": content}.__getitem__)

    assert answered.status == 200
    assert [
        worked_out(EACH["actions"]["Take_it"]["inputs"], item=lambda one=one: one) for one in items
    ] == newest_first(since=since)


def test_workflow__a_refusal_is_no_list(door: Door) -> None:
    """The answer to another key fails the HTTP action, and its document would fail the parsing."""
    answered = sent(door, datetime(2023, 7, 1, tzinfo=UTC), key="another-key-0123456789")

    assert answered.status == 401
    assert not jsonschema.Draft4Validator(PARSE["inputs"]["schema"]).is_valid(answered.document)


def test_workflow__shows_the_key_to_nobody() -> None:
    """The key is a secured parameter without a default, and the run history does not show the action's inputs."""
    assert WORKFLOW["parameters"] == {"door_key": {"type": "SecureString"}}
    assert READ["runtimeConfiguration"] == {"secureData": {"properties": ["inputs"]}}


def test_workflow__runs_in_order() -> None:
    """Every action waits for the success of the one before it, and retries are within what Logic Apps allows."""
    assert [one["runAfter"] for one in ACTIONS.values()] == [
        {},
        {"Read_enrollments": ["Succeeded"]},
        {"Parse_the_answer": ["Succeeded"]},
    ]
    assert READ["inputs"]["retryPolicy"]["count"] <= 90


def test_connector__imports_what_the_door_serves(door: Door) -> None:
    """The custom connector's file is OpenAPI 2.0, under 1 MB, and its API key is the header that the door takes."""
    text, swagger = door.fetch("/swagger.json")

    assert swagger["swagger"] == "2.0"
    assert len(text) < 1024 * 1024
    assert {"type": "apiKey", "in": "header", "name": "X-API-Key"}.items() <= next(
        one for one in swagger["securityDefinitions"].values() if one["type"] == "apiKey"
    ).items()
