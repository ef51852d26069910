"""n8n's workflow: its request is sent to the door, its expressions are worked out by a JavaScript engine."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from importlib import import_module
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from .conftest import KEY, example, newest_first

if TYPE_CHECKING:
    from .conftest import Answered, Door

WORKFLOW: dict[str, Any] = json.loads(example("n8n/workflow.json"))
NODES: dict[str, dict[str, Any]] = {node["name"]: node for node in WORKFLOW["nodes"]}
READ = NODES["Read enrollments"]


def worked_out(text: str, now: datetime, item: dict[str, Any] | None = None) -> Any:
    """Return the value of an expression, `$json` being *item*."""
    expression = re.fullmatch(r"=\{\{(.*)\}\}", text, flags=re.DOTALL)
    assert expression, text
    clock = f"Date.now = function () {{ return {int(now.timestamp() * 1000)}; }};"
    return import_module("dukpy").evaljs(
        f"{clock} var $json = dukpy.item; ({expression[1]})", item=item
    )


def sent(door: Door, now: datetime, key: str = KEY) -> Answered:
    """Return the door's answer to the HTTP Request node, its Header Auth credential being the key."""
    parameters = READ["parameters"]
    headers = {"X-API-Key": key, "Content-Type": "application/json"}
    return door.send(
        parameters["method"],
        parameters["url"],
        headers=headers,
        data=worked_out(parameters["jsonBody"], now),
    )


@pytest.mark.parametrize(
    ("now", "since"),
    [
        (datetime(2023, 7, 1, tzinfo=UTC), "2023-06-01"),
        (datetime(2023, 7, 25, tzinfo=UTC), "2023-06-25"),
    ],
)
def test_workflow__hands_each_enrollment_on_once(now: datetime, since: str, door: Door) -> None:
    """The items are the enrollments of the last thirty days, and what tells them apart is their id."""
    answered = sent(door, now)

    items = answered.document[NODES["One item an enrollment"]["parameters"]["fieldToSplitOut"]]
    keys = [worked_out(NODES["New ones"]["parameters"]["dedupeValue"], now, item) for item in items]

    assert answered.status == 200
    assert keys == newest_first(since=since)


def test_workflow__a_refusal_fails_the_node(door: Door) -> None:
    """An answer that is no list has a status at which the node fails, for it is not told to go on."""
    answered = sent(door, datetime(2023, 7, 1, tzinfo=UTC), key="another-key-0123456789")

    assert answered.status == 401
    assert "onError" not in READ
    assert "response" not in READ["parameters"]["options"]


def test_workflow__names_its_credential() -> None:
    """The key is n8n's credential, named and not held; the node waits longer than the door."""
    assert READ["credentials"] == {"httpHeaderAuth": {"id": "", "name": "ALM enrollments"}}
    assert READ["parameters"]["genericAuthType"] == "httpHeaderAuth"
    assert READ["parameters"]["options"] == {"timeout": 40000}


def test_workflow__is_one_chain() -> None:
    """Every node is of a type and version that n8n has, and hands on to the next, from the trigger on."""
    assert [
        (node["type"].removeprefix("n8n-nodes-base."), node["typeVersion"])
        for node in WORKFLOW["nodes"]
    ] == [
        ("scheduleTrigger", 1.2),
        ("httpRequest", 4.2),
        ("splitOut", 1),
        ("removeDuplicates", 2),
    ]
    # n8n's command line imports nothing without an id; its editor gives another.
    assert WORKFLOW["id"] == "almEnrollments01"
    names = list(NODES)
    assert WORKFLOW["connections"] == {
        name: {"main": [[{"node": following, "type": "main", "index": 0}]]}
        for name, following in pairwise(names)
    }
