"""The look-up of an e-mail address: the request, and which user it leads to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from connector.alm.protocol import Response
from connector.alm.users import UserLookup, read_user_id
from connector.errors import (
    ConnectorError,
    PermissionDeniedError,
    ProtocolError,
    TemporaryError,
    UserNotFoundError,
)
from tests.support.errors import facts

if TYPE_CHECKING:
    from collections.abc import Callable

    import requests

    from connector.alm.client import Client

HOST = "https://alm.example"
EMAIL = "Ada.L@example.com"
LOOKUP = UserLookup(HOST, EMAIL)
CHECK = "Check the address, and that `base_url` is the region of this account. (request id trace)"


def users(*ids: str, email: str | None = EMAIL, **members: Any) -> Response:
    """Return a response with these users."""
    data = [{"id": user_id, "type": "user", "attributes": {"email": email}} for user_id in ids]
    return response({"data": data, **members})


def response(document: object) -> Response:
    """Return a 200 response with this document."""
    return Response(200, {"x-request-id": "trace"}, json.dumps(document).encode())


def failure(of: Response) -> ConnectorError:
    """Return the error for this response."""
    with pytest.raises(ConnectorError) as caught:
        read_user_id(LOOKUP, of)
    return caught.value


@pytest.mark.parametrize(
    ("email", "encoded"),
    [
        ("ada@example.com", "ada%40example.com"),
        ("a+b@example.com", "a%2Bb%40example.com"),
        ("o'b&c=d/e?f#g%@x", "o%27b%26c%3Dd%2Fe%3Ff%23g%25%40x"),
        ("zoë@x", "zo%C3%AB%40x"),
        ("\udcff@x", "%ED%B3%BF%40x"),
    ],
)
def test_lookup__address(email: str, encoded: str) -> None:
    """The request is the one that programs for ALM send, every character of the address encoded."""
    address = UserLookup(HOST, email).address

    assert address == (
        f"{HOST}/primeapi/v2/users?page%5Boffset%5D=0&page%5Blimit%5D=10&sort=id&ids=email:{encoded}"
    )


@pytest.mark.parametrize(
    "of",
    [
        users("31"),
        users("31", email="ada.l@EXAMPLE.com "),
        users("31", email=None),
        users("31", "31"),
        response({"data": [{"id": "31", "type": "user"}]}),
        response({"data": [{"id": "31", "type": "user", "attributes": None}], "links": {}}),
    ],
)
def test_read_user_id__one(of: Response) -> None:
    """The id of the only user who has the address is found."""
    assert read_user_id(LOOKUP, of) == "31"


@pytest.mark.parametrize(
    "of", [users(), response({"links": {"self": "x"}}), users("31", "32", email="ben@example.com")]
)
def test_read_user_id__nobody(of: Response) -> None:
    """An address that no user has is that user's failure, also if ALM lists other users."""
    text = f"No user of ALM has the address {EMAIL}. {CHECK}"

    assert facts(failure(of)) == (UserNotFoundError, text, 200, None)


def test_read_user_id__several() -> None:
    """Of several users with the address none is chosen, and all are named."""
    text = (
        f"Several users of ALM have the address {EMAIL}: 31, 32. Use the id of the right"
        " user in `user_id` or `user_ids_file`. (request id trace)"
    )

    assert facts(failure(users("31", "32"))) == (UserNotFoundError, text, 200, None)


@pytest.mark.parametrize(
    ("of", "kind"),
    [
        *((users(user_id), ProtocolError) for user_id in ("", "me", "1/../2", "-1", "1" * 21)),
        (response({"data": [{"id": 31, "type": "user"}]}), ProtocolError),
        (response({"data": [{"id": "31", "type": "userGroup"}]}), ProtocolError),
        (users(*map(str, range(101))), ProtocolError),
        (response({"errors": []}), ProtocolError),
        (response({"links": {}, "errors": []}), ProtocolError),
        (Response(200, {}, b"<html>"), TemporaryError),
    ],
)
def test_read_user_id__another_shape(of: Response, kind: type[ConnectorError]) -> None:
    """A response of another shape is refused: the id becomes a part of a URL."""
    error = failure(of)

    assert type(error) is kind
    assert f"user {EMAIL}" in error.message


def test_read_user_id__no_json() -> None:
    """The message about a body that is not JSON says what was requested."""
    message = failure(Response(200, {}, b"<html>")).message

    assert all(part in message for part in (EMAIL, "an HTML page", "a list of users"))


def test_find_user__as_a_page(
    open_client: Callable[..., Client], sent: list[requests.PreparedRequest]
) -> None:
    """A look-up is retried, and counted, as a page is."""
    client = open_client((503, {}, b""), (200, {}, users("31").body))

    assert client.find_user(EMAIL) == "31"
    assert client.requests == 2
    assert [request.url for request in sent] == [
        UserLookup("https://alm.example", EMAIL).address
    ] * 2


@pytest.mark.parametrize("status", [400, 404])
def test_find_user__unknown(open_client: Callable[..., Client], status: int) -> None:
    """ALM may also refuse an address that nobody has."""
    with pytest.raises(UserNotFoundError) as caught:
        open_client((status, {}, b'{"title":"OBJECT_DOESNT_EXIST"}')).find_user(EMAIL)

    assert str(caught.value) == (
        f'ALM has no user {EMAIL} ({status}: "OBJECT_DOESNT_EXIST"). Check the address, and that'
        " `base_url` is the region of this account."
    )


def test_find_user__denied(open_client: Callable[..., Client]) -> None:
    """A token that may not list users is told which scope that needs."""
    with pytest.raises(PermissionDeniedError) as caught:
        open_client((403, {"x-request-id": "trace"}, b"")).find_user(EMAIL)

    assert str(caught.value) == (
        f"ALM does not let this token read user {EMAIL} (403). Use a token with the scope"
        " admin:read, or ids instead of addresses. (request id trace)"
    )
