"""What ALM says in a refusal, and whether a 400 is about the user, the token or the request."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.alm.protocol import Response, error_for
from connector.alm.refusals import Meaning, find_messages, meaning_of, read_messages
from connector.errors import PermissionDeniedError, UsageError, UserNotFoundError

REQUEST = "Bad request. Check url, params and headers"
NO_OBJECT = "object doesn't exist"


@pytest.mark.parametrize(("spaces", "messages"), [(0, ["M"]), (1, [])])
def test_read_messages__bounded(spaces: int, messages: list[str]) -> None:
    """A body of more than 256 KB is not parsed: as values it would take many times its size."""
    body = b'{"message":"M"}'

    assert read_messages(body.ljust(256 * 1024 + spaces)) == messages


@pytest.mark.parametrize(
    ("document", "messages"),
    [
        (
            {"status": "BAD_REQUEST", "title": REQUEST, "source": {"info": "bad sort"}},
            [REQUEST, "bad sort"],
        ),
        ({"status": "BAD_REQUEST", "title": REQUEST}, [REQUEST]),
        (
            {"meta": {"error": "OBJECT_DOESNT_EXIST", "detail": NO_OBJECT}},
            ["OBJECT_DOESNT_EXIST", NO_OBJECT],
        ),
        ({"meta": {"detail": NO_OBJECT}}, [NO_OBJECT]),
        ({"message": "429 Too many requests"}, ["429 Too many requests"]),
        (
            {"errors": [{"status": "400", "code": "C", "title": "T", "detail": "D"}]},
            ["C", "T", "D"],
        ),
        ({"errors": [{"detail": "D"}, {"detail": "E"}]}, ["D", "E"]),
        ({"errors": ["D"], "message": "M"}, ["D", "M"]),
        (
            {"error": "invalid_request", "error_description": "no scope"},
            ["invalid_request", "no scope"],
        ),
        ({"error": {"message": "M", "status": 400}}, ["M"]),
        ({"status": 400, "error": "Bad Request", "message": "M"}, ["Bad Request", "M"]),
        ({"title": "T", "detail": "T", "source": {"info": " T "}}, ["T"]),
        ({"status": "BAD_REQUEST"}, ["BAD_REQUEST"]),
        ({"status": "INVALID_USER", "title": REQUEST}, ["INVALID_USER", REQUEST]),
        ({"status": "400"}, []),
        ("User mismatch", ["User mismatch"]),
        ([], []),
        (None, []),
        (7, []),
        ({"title": 7}, []),
        ({"title": ""}, []),
        ({"errors": [{"title": str(number)} for number in range(9)]}, list("01234")),
        ({"error": {"error": {"error": {"error": {"error": "too deep"}}}}}, []),
        ([[[["deep"]]]], ["deep"]),
        ([[[[["too deep"]]]]], []),
        ({"message": "x" * 5_000}, ["x" * 1_000]),
    ],
)
def test_find_messages__shapes(document: object, messages: list[str]) -> None:
    """Every documented shape is read, each text once, most telling first, within bounds."""
    assert find_messages(document) == messages
    assert read_messages(json.dumps(document).encode()) == messages


@pytest.mark.parametrize(("size", "messages"), [(256 * 1024, ["T"]), (256 * 1024 + 1, [])])
def test_read_messages__size(size: int, messages: list[str]) -> None:
    """A body above 256 KB is not read, however short its message is."""
    assert read_messages(b'{"title":"T"}'.ljust(size)) == messages


@pytest.mark.parametrize("body", [b"", b"plain", b"<html>", b"\xff\xfe", b"[" * 100_000])
def test_read_messages__no_json(body: bytes) -> None:
    """A body that is not JSON has no message."""
    assert read_messages(body) == []


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["errors", "error", "title", "source"]), inner)
        ),
    )
)
def test_find_messages__any_document(document: object) -> None:
    """No document is a crash."""
    assert all(meaning_of([message]) in Meaning for message in find_messages(document))


ABOUT_THE_USER = [
    *("OBJECT_DOESNT_EXIST", NO_OBJECT, "object doesn\u2019t exist", "Object does not exist."),
    *("The object no longer exists", "NON_EXISTENT_OBJECT", "objectDoesntExist", "DOESNT_EXIST"),
    *("USER_NOT_FOUND", "UserNotFoundException", "User 31 not found", "No such user: 31"),
    *("Can't find learner 31", "User 31 couldn\xb4t be found"),
    *("Cannot find learner 31", "user could not be found", "ENTITY_NOT_FOUND", "NOT_FOUND"),
    *("User 31 does not exist in this account", "user id 31 doesn't exist", "Unknown user"),
    *("INVALID_USER", "INVALID_USER_ID", "InvalidUserId", "INVALID_USER_GROUP_ID", "Malformed id"),
    *("Invalid value for parameter userId : 31x", "Invalid value 31 for parameter id"),
    *("id is not valid", "id is not a valid number", "Invalid user id supplied in path"),
    *("No user with id 31", "There is no learner 31", "NO_USER"),
    *("The user has been deleted", "Invalid path variable id", "The parameter user_id is invalid"),
    'java.lang.NumberFormatException: For input string: "99999999999999999999"',
]
ABOUT_THE_TOKEN = [
    *("User mismatch", "USER_MISMATCH", "UserMismatch", "user id mis-match"),
    "The user in the token does not match",
]
ABOUT_THE_REQUEST = [
    *(REQUEST, "BAD_REQUEST", "INVALID_PARAMETER", "Unknown error", "no such thing", "oops"),
    *("Invalid value for parameter include : learner.nothing", "page[limit] 50 is not valid"),
    *("Relationship learner.nothing does not exist", "learner.nothing does not exist"),
    *("Parameter userFoo does not exist", "filter.loTypes x is not known", "Invalid cursor"),
    *("sort order not found", "The cursor does not exist", "Page not found", "No such endpoint"),
    *("Invalid account id", "Account does not exist", "invalid access token for this user"),
    *("The token has no user scope", "no user role", "no object for this query"),
    *("Include user is unknown", "attribute id not found in query", "Version mismatch"),
]


@pytest.mark.parametrize(
    ("messages", "meaning"),
    [
        *(([text], Meaning.NO_SUCH_USER) for text in ABOUT_THE_USER),
        *(([text], Meaning.ANOTHERS_TOKEN) for text in ABOUT_THE_TOKEN),
        *(([text], Meaning.REQUEST) for text in ABOUT_THE_REQUEST),
        ([REQUEST, NO_OBJECT], Meaning.NO_SUCH_USER),
        ([REQUEST, "User mismatch"], Meaning.ANOTHERS_TOKEN),
        ([], Meaning.REQUEST),
    ],
)
def test_meaning_of(messages: list[str], meaning: Meaning) -> None:
    """A 400 that says that the user does not exist, or the id is none, is no refused request."""
    assert meaning_of(messages) is meaning


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        (
            b'{"meta":{"error":"OBJECT_DOESNT_EXIST","detail":"object doesn\'t exist"}}',
            UserNotFoundError,
            (
                'ALM has no user 31 (400: "OBJECT_DOESNT_EXIST: object doesn\'t exist").'
                " Check the id, and that `base_url` is the region of this account."
            ),
        ),
        (
            b'{"source":{"info":"User mismatch"}}',
            PermissionDeniedError,
            (
                'ALM does not let this token read user 31 (400: "User mismatch"). This is another'
                " learner's token. Use a token with the scope admin:read."
            ),
        ),
        (
            b'{"title":"include is bad"}',
            UsageError,
            (
                'ALM refuses the request for user 31 (400: "include is bad"). Fix `include`, or the'
                " input that ALM's message names."
            ),
        ),
        (
            b'{"title":"Relationship x is bad"}',
            UsageError,
            (
                'ALM refuses the request for user 31 (400: "Relationship x is bad"). Fix `include`,'
                " or the input that ALM's message names."
            ),
        ),
        (
            b'{"title":"sort is bad"}',
            UsageError,
            (
                'ALM refuses the request for user 31 (400: "sort is bad"). Fix the input that'
                " ALM's message names."
            ),
        ),
        (
            b"<html>",
            UsageError,
            (
                "ALM refuses the request for user 31 (400). The response is not ALM's own. Look for"
                " a proxy between this machine and ALM."
            ),
        ),
        (
            b"",
            UsageError,
            (
                "ALM refuses the request for user 31 (400). ALM gives no reason. Check the inputs,"
                " first `query` and `include`."
            ),
        ),
    ],
)
def test_error_for__bad_request(body: bytes, kind: type[Exception], text: str) -> None:
    """A 400 has the class of what it refuses, and a hint at that."""
    error = error_for(Response(400, {}, body), "user 31")

    assert (type(error), str(error)) == (kind, text)
