"""The recipes that call the HTTP API: their requests read what the pages promise."""

from __future__ import annotations

import json
import re
from itertools import pairwise

import jsonschema
import pytest
import requests

from connector.schemas import load_schema
from tests.integrations.recipes.conftest import KEY, recipe
from tests.support.process import PATIENCE_SECONDS, valid_document
from tests.support.sandbox import DOCUMENTED_IDS

SHOWN_URL = "https://alm.example.com"
ZAPIER = recipe("zapier/retrieve-poll.json")
MAKE, MAKE_ITERATOR = recipe("make/blueprint.json")["flow"]
POWER_AUTOMATE = recipe("power-automate/workflow.json")
READ, PARSE, EACH = POWER_AUTOMATE["actions"].values()
ANSWER = jsonschema.Draft4Validator(PARSE["inputs"]["schema"])
N8N = recipe("n8n/workflow.json")
N8N_READ, N8N_SPLIT, N8N_NEW = N8N["nodes"][1:]
# Instead of the platforms' expressions for thirty days before today.
DATE = "2023-06-01"
MAKE_DATE = '{{formatDate(addDays(now; -30); "YYYY-MM-DD")}}'
POWER_AUTOMATE_DATE = "@formatDateTime(addDays(utcNow(), -30), 'yyyy-MM-dd')"

REQUESTS = {
    "make": (
        MAKE["mapper"]["method"],
        MAKE["mapper"]["url"],
        MAKE["mapper"]["jsonStringBodyContent"].replace(MAKE_DATE, DATE),
    ),
    "power-automate": (
        READ["inputs"]["method"],
        READ["inputs"]["uri"],
        json.dumps(READ["inputs"]["body"]).replace(POWER_AUTOMATE_DATE, DATE),
    ),
    "n8n": (
        N8N_READ["parameters"]["method"],
        N8N_READ["parameters"]["url"],
        json.dumps({"user_id": "20941371", "lo_types": ["all"], "since": DATE}),
    ),
}


def send(api_url: str, name: str, key: str = KEY) -> requests.Response:
    """Send the request of a recipe to the HTTP API."""
    method, url, body = REQUESTS[name]
    return requests.request(
        method,
        url.replace(SHOWN_URL, api_url),
        headers={"Content-Type": "application/json", "X-API-Key": key},
        data=body,
        timeout=PATIENCE_SECONDS,
    )


@pytest.mark.parametrize("name", REQUESTS)
def test_request__returns_the_enrollments(name: str, api_url: str) -> None:
    """The request is answered with the learner's enrollments, newest first."""
    response = send(api_url, name)

    document = valid_document(response.text)
    assert (response.status_code, document["enrollment_ids"]) == (200, DOCUMENTED_IDS[::-1])
    ANSWER.validate(document)


def test_request__with_another_key_stops_the_flow(api_url: str) -> None:
    """A refusal has a status at which each flow stops, and is no list for Logic Apps."""
    response = send(api_url, "make", "another-key-0123456789")

    assert response.status_code == 401
    assert not ANSWER.is_valid(valid_document(response.text))
    assert (MAKE["mapper"]["stopOnHttpError"], "onError" in N8N_READ) == (True, False)


def test_zapier__polls_for_new_enrollments(api_url: str) -> None:
    """A poll with Zapier's settings finds the list under Key, and an id in each entry."""
    user, _, password = ZAPIER["Basic Auth"].partition("|")
    url = ZAPIER["URL"].replace(SHOWN_URL, api_url)

    entries = requests.get(url, auth=(user, KEY), timeout=PATIENCE_SECONDS).json()[ZAPIER["Key"]]

    assert [entry[ZAPIER["Deduplication Key"]] for entry in entries] == DOCUMENTED_IDS[::-1]
    assert (user, password) == ("zapier", "THE-SERVER-KEY")


def test_make__iterates_over_the_response() -> None:
    """The iterator takes the enrollments of the request, whose key is in the keychain."""
    modules = [(module["module"], module["version"]) for module in (MAKE, MAKE_ITERATOR)]

    assert modules == [("http:MakeRequest", 4), ("builtin:BasicFeeder", 1)]
    assert MAKE_ITERATOR["mapper"] == {"array": f"{{{{{MAKE['id']}.data.enrollments}}}}"}
    assert MAKE["parameters"]["authenticationType"] == "apiKey"
    assert (MAKE["mapper"]["allowRedirects"], "headers" in MAKE["mapper"]) == (False, False)


def test_n8n__is_one_chain() -> None:
    """Each node passes its items to the next one; the body names inputs only."""
    names = [node["name"] for node in N8N["nodes"]]
    types = [(node["type"].rpartition(".")[2], node["typeVersion"]) for node in N8N["nodes"]]

    assert types[1:] == [("httpRequest", 4.2), ("splitOut", 1), ("removeDuplicates", 2)]
    assert N8N["connections"] == {
        name: {"main": [[{"node": following, "type": "main", "index": 0}]]}
        for name, following in pairwise(names)
    }
    body = set(re.findall(r"(\w+): ", N8N_READ["parameters"]["jsonBody"]))
    assert body == {"user_id", "lo_types", "since"} <= set(load_schema("inputs")["properties"])
    assert N8N_SPLIT["parameters"]["fieldToSplitOut"] == "enrollments"
    assert N8N_NEW["parameters"]["dedupeValue"] == "={{ $json.id }}"
    credential = {"id": "", "name": "ALM enrollments"}
    assert N8N_READ["credentials"] == {"httpHeaderAuth": credential}


def test_power_automate__passes_each_enrollment_on() -> None:
    """Each action follows the success of the one before; the key is secured."""
    after = [action["runAfter"] for action in (READ, PARSE, EACH)]

    assert after == [{}, {"Read_enrollments": ["Succeeded"]}, {"Parse_the_response": ["Succeeded"]}]
    assert PARSE["inputs"]["content"] == "@body('Read_enrollments')"
    assert EACH["foreach"] == "@body('Parse_the_response')?['enrollments']"
    assert EACH["actions"]["Take_it"]["inputs"] == "@item()?['id']"
    assert READ["inputs"]["headers"]["X-API-Key"] == "@parameters('api_key')"
    assert POWER_AUTOMATE["parameters"] == {"api_key": {"type": "SecureString"}}
    assert READ["runtimeConfiguration"] == {"secureData": {"properties": ["inputs"]}}


def test_power_automate__imports_the_served_description(api_url: str) -> None:
    """The custom connector imports OpenAPI 2.0 of at most 1 MB, with the key as a header."""
    response = requests.get(f"{api_url}/swagger.json", timeout=PATIENCE_SECONDS)

    definitions = response.json()["securityDefinitions"].values()
    keys = [(one["in"], one["name"]) for one in definitions if one["type"] == "apiKey"]
    assert (response.json()["swagger"], keys) == ("2.0", [("header", "X-API-Key")])
    assert len(response.content) < 1024 * 1024


def test_cloud_run__probe_is_answered(api_url: str) -> None:
    """The container listens on Cloud Run's port, and answers its probe without a key."""
    (container,) = recipe("cloud-run/service.yaml")["spec"]["template"]["spec"]["containers"]
    path = container["startupProbe"]["httpGet"]["path"]

    assert requests.get(f"{api_url}{path}", timeout=PATIENCE_SECONDS).status_code == 200
    # The image has no command alm-enrollments, only its entrypoint.
    assert "command" not in container
