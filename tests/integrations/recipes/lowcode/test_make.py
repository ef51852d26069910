"""Make's blueprint: its request is sent to the door, its expressions are worked out as Make's documentation says."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from .conftest import KEY, example, newest_first

if TYPE_CHECKING:
    from .conftest import Answered, Door

BLUEPRINT: dict[str, Any] = json.loads(example("make/blueprint.json"))
REQUEST, ITERATOR = BLUEPRINT["flow"]
_DATE = re.compile(r'formatDate\(addDays\(now; (-?\d+)\); "YYYY-MM-DD"\)')
_PATH = re.compile(r"(\d+)((?:\.\w+)+)")


def worked_out(text: str, now: datetime, bundles: dict[str, Any]) -> Any:
    """Return *text* with its expressions worked out; a text that is one expression becomes its value."""

    def value(expression: str) -> Any:
        if date := _DATE.fullmatch(expression):
            return (now + timedelta(days=int(date[1]))).strftime("%Y-%m-%d")
        path = _PATH.fullmatch(expression)
        assert path, f"not understood: {expression}"
        found = bundles[path[1]]
        for name in path[2].split(".")[1:]:
            found = found[name]
        return found

    if whole := re.fullmatch(r"\{\{((?:(?!\}\}).)*)\}\}", text):
        return value(whole[1])
    return re.sub(r"\{\{(.*?)\}\}", lambda match: str(value(match[1])), text)


def sent(door: Door, now: datetime, key: str = KEY) -> Answered:
    """Return the door's answer to the request module, the keychain's key in its header."""
    mapper = REQUEST["mapper"]
    headers = {"X-API-Key": key, "Content-Type": f"application/{mapper['contentType']}"}
    return door.send(
        mapper["method"].upper(),
        mapper["url"],
        headers=headers,
        data=worked_out(mapper["jsonStringBodyContent"], now, {}),
    )


@pytest.mark.parametrize(
    ("now", "since"),
    [
        (datetime(2023, 7, 1, tzinfo=UTC), "2023-06-01"),
        (datetime(2023, 7, 25, tzinfo=UTC), "2023-06-25"),
    ],
)
def test_blueprint__iterates_over_the_last_days(now: datetime, since: str, door: Door) -> None:
    """Each bundle is an enrollment of the last thirty days, newest first."""
    answered = sent(door, now)

    array = worked_out(ITERATOR["mapper"]["array"], now, {"1": {"data": answered.document}})

    assert answered.status == 200
    assert [one["id"] for one in array] == newest_first(since=since)


def test_blueprint__a_refusal_stops_the_scenario(door: Door) -> None:
    """An answer that is no list has a status that `stopOnHttpError` stops at."""
    answered = sent(door, datetime(2023, 7, 1, tzinfo=UTC), key="another-key-0123456789")

    assert (answered.status, REQUEST["mapper"]["stopOnHttpError"]) == (401, True)


def test_blueprint__the_key_is_in_the_keychain() -> None:
    """The module has its key from a keychain, and follows no redirect with it; what is imported holds neither key nor header."""
    assert REQUEST["parameters"]["authenticationType"] == "apiKey"
    assert REQUEST["mapper"]["allowRedirects"] is False
    assert "headers" not in REQUEST["mapper"]


def test_blueprint__is_whole() -> None:
    """Modules have the names, versions and places that an import needs, and every expression names one before it."""
    assert [(one["id"], one["module"], one["version"]) for one in BLUEPRINT["flow"]] == [
        (1, "http:MakeRequest", 4),
        (2, "builtin:BasicFeeder", 1),
    ]
    assert all({"x", "y"} <= one["metadata"]["designer"].keys() for one in BLUEPRINT["flow"])
    assert BLUEPRINT.keys() == {"name", "flow", "metadata"}
