"""What the server reads of a request, and what it refuses."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from flask import Request
from pydantic import SecretStr
from werkzeug.exceptions import RequestEntityTooLarge, Unauthorized, UnsupportedMediaType
from werkzeug.test import EnvironBuilder

from connector.errors import UsageError
from connector.schemas import load_schema
from connector.server.request import (
    INPUTS,
    MAX_BODY_BYTES,
    check_key,
    read_body,
    read_query,
    read_token,
)

KEY = "a-key/0+1=2-of-a-server"
JSON = "application/json"
NOT_JSON = (
    'the body is not JSON (allowed: an object such as {"user_id": ["20941371"]}, each name once)'
)
ONCE = "once; several values with commas"
IN_HEADER = "ALM's token in the header X-ALM-Token, which no log has"
NO_QUERY = "the query is not valid (allowed: UTF-8, percent-encoded, at most 100 fields)"


def request(**parts: Any) -> Request:
    """Return a request with these parts."""
    return Request(EnvironBuilder(**parts).get_environ())


def basic(credentials: str) -> str:
    """Return the value of the header Authorization for *credentials*."""
    return f"Basic {base64.b64encode(credentials.encode()).decode()}"


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"bEARER   {KEY} "},
        {"Authorization": basic(f"anybody:{KEY}")},
        {"X-API-Key": KEY},
        {"X-API-Key": KEY, "Authorization": "Bearer another-key-0000"},
    ],
)
def test_key__is_accepted(headers: dict[str, str]) -> None:
    """The key may be a bearer token, Basic's password, or X-API-Key."""
    check_key(request(headers=headers), SecretStr(KEY))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer canary-wrong-key-000000"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Digest {KEY}"},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": basic(f"{KEY}:")},
        {"X-API-Key": KEY[:-1]},
        {"X-API-Key": f"{KEY}x"},
        {"X-API-Key": f"{KEY}, {KEY}"},
        {"X-API-Key": "ключ".encode().decode("latin-1")},
        {"X-API-Key": ""},
    ],
)
def test_key__is_refused(headers: dict[str, str]) -> None:
    """A request without exactly the key is refused."""
    with pytest.raises(Unauthorized):
        check_key(request(headers=headers), SecretStr(KEY))


def test_token__of_a_request() -> None:
    """A request brings ALM's token in X-ALM-Token, or none."""
    assert read_token(request(headers={"X-ALM-Token": "the-token"})) == "the-token"
    assert read_token(request()) is None


@pytest.mark.parametrize(
    ("token", "given"),
    [
        ("", "empty"),
        ("the token", "not valid"),
        ("the-tokün", "not valid"),
        ("7-chars", "not valid"),
        ("a" * 16_385, "not valid"),
    ],
)
def test_token__is_refused(token: str, given: str) -> None:
    """A token that cannot be sent is refused, so that the server's own is not used in its place."""
    with pytest.raises(UsageError) as caught:
        read_token(request(headers={"X-ALM-Token": token}))

    assert caught.value.message == (
        f"1 input is not valid: X-ALM-Token is {given}"
        " (allowed: ALM's access token, 8 to 16,384 characters without spaces,"
        " or no such header)."
    )


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"user_id": [31], "since": null}', JSON),
        (b'\xef\xbb\xbf{"user_id": [31], "since": null}', "Application/JSON; charset=utf-8"),
        (b'{"user_id": [31], "since": null}'.ljust(MAX_BODY_BYTES), JSON),
    ],
)
def test_body__is_json(body: bytes, content_type: str) -> None:
    """A body of up to 64 KB is read as JSON, whatever its declared character set."""
    values = read_body(request(method="POST", data=body, content_type=content_type))

    assert values == {"user_id": [31], "since": None}


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", NOT_JSON),
        (b"{", NOT_JSON),
        (b'{"user_id": "31", "user_id": "32"}', NOT_JSON),
        (b'{"user_id": "31", "deadline": NaN}', NOT_JSON),
        (b'{"page_limit": ' + b"9" * 60_000 + b"}", NOT_JSON),
        (b"[" * 60_000, NOT_JSON),
        ('{"user_id": "31"}'.encode("utf-16"), NOT_JSON),
        (
            b'["31"]',
            'the body is not a JSON object (allowed: an object such as {"user_id": ["20941371"]})',
        ),
        (b'{"usr_id": 1}', "usr_id is not an input of a request (did you mean user_id?)"),
        (
            json.dumps({"x" * 100: 1, "env_file": 2}).encode(),
            f"{'x' * 60}… is not an input of a request; env_file is not an input of a request",
        ),
    ],
)
def test_body__is_refused(body: bytes, problem: str) -> None:
    """A body that is not an object of a request's inputs, each name once, is refused."""
    with pytest.raises(UsageError) as caught:
        read_body(request(method="POST", data=body, content_type=JSON))

    assert caught.value.message.partition(": ")[2] == f"{problem}."
    assert caught.value.hint == "Nothing was sent to ALM; /openapi.json lists every input."


@pytest.mark.parametrize("name", sorted({*load_schema("inputs")["properties"]} - {*INPUTS}))
def test_body__with_an_input_of_other_interfaces(name: str) -> None:
    """A request sets no address, no file, no format and no share of the server, not even null."""
    with pytest.raises(UsageError, match=f"valid: {name} is not an input of this request"):
        read_body(request(method="POST", json={"user_id": "31", name: None}))


def test_body__with_a_query() -> None:
    """A request has its inputs in the query or in the body, not in both."""
    with pytest.raises(UsageError, match="the query is set together with a body"):
        read_body(request(method="POST", query_string="user_id=31", data=b"{}", content_type=JSON))


def test_body__larger_than_the_limit() -> None:
    """A body of more than 64 KB is refused."""
    with pytest.raises(RequestEntityTooLarge):
        read_body(request(method="POST", data=b"{}".ljust(MAX_BODY_BYTES + 1), content_type=JSON))


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/jsonx", "multipart/form-data"]
)
def test_body__of_another_type(content_type: str | None) -> None:
    """A web page of another origin can send other types, but not JSON, without asking first."""
    with pytest.raises(UnsupportedMediaType):
        read_body(request(method="POST", data=b"{}", content_type=content_type))


def test_query__is_text() -> None:
    """The inputs in a query are text; an empty one stays for the settings to read."""
    values = read_query(request(query_string="user_id=31%2C32&lo_types=job+aid&since="))

    assert values == {"user_id": "31,32", "lo_types": "job aid", "since": ""}


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("state=%ff", NO_QUERY),
        ("&".join(f"a{number}=1" for number in range(101)), NO_QUERY),
        (
            "user_id=31&user_id=32&x=1",
            f"user_id is given twice (allowed: {ONCE}); x is not an input of a request",
        ),
        (
            "refresh_token=canary",
            f"refresh_token is not an input of a request (allowed: {IN_HEADER})",
        ),
    ],
)
def test_query__is_refused(query: str, problem: str) -> None:
    """A query is refused if it is not UTF-8, too long, or has other names than each input once."""
    with pytest.raises(UsageError) as caught:
        read_query(request(query_string=query))

    assert caught.value.message.partition(": ")[2] == f"{problem}."
