"""The settings of Zapier's Retrieve Poll, followed as Zapier's help says that it follows them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .conftest import KEY, SHOWN_DOOR, example, newest_first

if TYPE_CHECKING:
    from .conftest import Door

SETTINGS: dict[str, str] = json.loads(example("zapier/retrieve-poll.json"))


def polled(door: Door, settings: dict[str, str], seen: set[Any]) -> list[Any]:
    """Return what a poll finds that is not *seen*: the list under Key, newest first, told apart by the Deduplication Key."""
    user, _, password = settings["Basic Auth"].partition("|")
    answered = door.send("GET", settings["URL"], auth=(user, password))
    assert answered.status == 200
    unique = [one[settings["Deduplication Key"]] for one in answered.document[settings["Key"]]]
    assert len(unique) == len(set(unique))
    return [key for key in unique if key not in seen]


def with_key(key: str) -> dict[str, str]:
    """Return the settings, filled in."""
    return {**SETTINGS, "Basic Auth": SETTINGS["Basic Auth"].replace("THE-KEY-OF-THE-DOOR", key)}


def test_settings__find_every_enrollment_once(door: Door) -> None:
    """The first poll finds every enrollment, newest first, and the next one none of them again."""
    first = polled(door, with_key(KEY), set())

    assert first == newest_first()
    assert polled(door, with_key(KEY), set(first)) == []


def test_settings__have_no_secret_in_the_url() -> None:
    """The address tells whom to ask for, and no key."""
    assert SETTINGS["URL"] == f"{SHOWN_DOOR}/v1/enrollments?user_id=20941371&lo_types=all"


def test_settings__want_the_key(door: Door) -> None:
    """With another key the same settings find nothing, and say so."""
    settings = with_key("another-key-0123456789")

    answered = door.send(
        "GET", settings["URL"], auth=("zapier", settings["Basic Auth"].partition("|")[2])
    )

    assert (answered.status, answered.document["enrollments"]) == (401, [])
