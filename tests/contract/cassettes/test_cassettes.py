"""Every kind of response that Adobe's manual documents, replayed: requests and documents.

The credentials are the cassettes' own placeholders, so a request is matched with the recorded one
by its token and its form as well.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import vcr
from vcr.stubs import VCRHTTPResponse

from connector.redact import Redactor
from connector.runner import execute
from connector.settings import load_given
from tests.support.clock import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vcr.request import Request

    Document = dict[str, Any]
    Play = Callable[..., Document]

HERE = Path(__file__).parent
CASSETTES = sorted(path.stem for path in HERE.glob("*.yaml"))
USER = "20941371"
TOKEN = {"access_token": "ACCESS_TOKEN"}
TRIO = {
    "client_id": "<CLIENT_ID>",
    "client_secret": "<CLIENT_SECRET>",
    "refresh_token": "<REFRESH_TOKEN>",
}


def has_same_credentials(sent: Request, recorded: Request) -> None:
    """Refuse a request with another token or form than the recorded one."""
    assert sent.headers.get("Authorization") == recorded.headers.get("Authorization")
    assert sent.body == recorded.body


def read1(response: VCRHTTPResponse, size: int, *, decode_content: bool) -> bytes:
    """Return the next *size* bytes: vcrpy's own ``read1`` does not take the keyword."""
    piece: bytes = response.read(size, decode_content=decode_content)
    return piece


@pytest.fixture
def clock() -> VirtualClock:
    """Return the run's clock."""
    return VirtualClock()


@pytest.fixture
def play(clock: VirtualClock) -> Play:
    """Return a function that runs the connector against a cassette and plays all of it."""
    recorder = vcr.VCR(
        cassette_library_dir=str(HERE),
        record_mode="none",
        match_on=("method", "uri", "credentials"),
        custom_patches=((VCRHTTPResponse, "read1", read1),),
    )
    recorder.register_matcher("credentials", has_same_credentials)

    def play_cassette(name: str, values: dict[str, Any] = TOKEN) -> Document:
        redactor = Redactor()
        # vcrpy serves one thread.
        given = {"user_id": USER, "prefetch": False, **values}
        inputs, credentials = load_given(given, redactor)
        with recorder.use_cassette(f"{name}.yaml") as cassette:
            outcome = execute(inputs, credentials, redactor, clock=clock, stdin=io.StringIO())
        assert cassette.all_played
        return outcome.document

    return play_cassette


FIELDS = (
    *("state", "progress_percent", "has_passed", "score", "enrollment_source", "date_enrolled"),
    *("date_started", "date_completed", "completion_deadline", "last_access_date", "rating"),
    *("purchased_price", "url"),
)


def record(instance: str, *grades: Document, **values: object) -> Document:
    """Return the record of an enrollment in *instance*, null but for *values*."""
    lo_id = instance.rpartition("_")[0]
    return {
        "id": f"{instance}_{USER}",
        "user_id": USER,
        "lo_id": lo_id,
        "lo_type": lo_id.partition(":")[0],
        "lo_instance_id": instance,
        **dict.fromkeys(FIELDS),
        "resource_grades": list(grades),
        **values,
    }


def grade(instance: str, module: str, version: int = 0, **values: object) -> Document:
    """Return the record of a grade."""
    grade_id = f"{instance}_{module}_{version}_{USER}"
    return {"id": grade_id, "module_id": module, "module_version": version, **values}


def document(*records: Document, pages: int = 1, requests: int = 1) -> Document:
    """Return the document of a run that read one user completely."""
    return {
        "source": "https://learningmanager.adobe.com",
        "enrollment_ids": [enrollment["id"] for enrollment in records],
        "resource_grade_ids": [
            grade["id"] for enrollment in records for grade in enrollment["resource_grades"]
        ],
        "enrollment_count": len(records),
        "enrollments": list(records),
        "complete": True,
        "completeness": {"status": "verified", "reasons": [], "pages": pages, "requests": requests},
        # Every answer is of 13:05:09.
        "next_since": "2024-06-09T13:00:09.000Z",
        "users": {"requested": 1, "read": 1, "failed": []},
        "output_file": None,
        "error": None,
    }


def failed_document(error: Document, user_id: str = USER, requests: int = 1) -> Document:
    """Return the document of a run that could not read its one user."""
    failed = [{"user_id": user_id, "error": error}]
    return {
        **document(),
        "next_since": None,
        "complete": False,
        "completeness": {
            "status": "incomplete",
            "reasons": [error["message"]],
            "pages": 0,
            "requests": requests,
        },
        "users": {"requested": 1, "read": 0, "failed": failed},
        "error": error,
    }


NEW = {"state": "ENROLLED", "progress_percent": 0, "has_passed": False, "score": 0}
FIRST, SECOND = "course:6511020_7037048", "course:7236650_7877507"
THIRD = "course:7236827_7877699"
DOCUMENTED = (
    record(
        FIRST,
        *(grade(FIRST, module) for module in ("11676159", "11676160", "11676161", "11676162")),
        **NEW,
        enrollment_source="AUTO_ENROLL",
        date_enrolled="2023-06-16T11:48:49.000Z",
        completion_deadline="2023-12-13T11:48:49.000Z",
    ),
    record(
        SECOND,
        grade(SECOND, "12456287"),
        **NEW,
        enrollment_source="SELF_ENROLL",
        date_enrolled="2023-06-29T11:34:50.000Z",
    ),
    record(
        THIRD,
        *(grade(THIRD, module) for module in ("12456477", "12463854")),
        **NEW,
        enrollment_source="ADMIN_ENROLL",
        date_enrolled="2023-06-29T12:34:33.000Z",
    ),
)
COURSE, JOB_AID = "course:101_201", "jobAid:104_204"
SEVERAL = (
    record(
        COURSE,
        *(grade(COURSE, "301", 1), grade(COURSE, "302")),
        state="COMPLETED",
        progress_percent=100,
        has_passed=True,
        score=87.5,
        enrollment_source="SELF_ENROLL",
        date_enrolled="2024-01-01T08:00:00.000Z",
        date_started="2024-01-02T08:00:00.000Z",
        date_completed="2024-01-03T08:00:00.000Z",
        last_access_date="2024-01-03T08:00:00.000Z",
        rating=4,
        purchased_price=9.99,
        url="https://learningmanager.adobe.com/app/learner?course=101",
    ),
    record("course:102_202", state="WAITING", date_enrolled="2024-01-02T08:00:00.000Z"),
    record("learningProgram:103_203", state="ENROLLED", date_enrolled="2024-01-03T08:00:00.000Z"),
    record(JOB_AID, grade(JOB_AID, "304", 2), date_enrolled="2024-01-04T08:00:00.000Z"),
    record("certification:105_205", state="A_NEW_STATE", date_enrolled="2024-01-05T08:00:00.000Z"),
)
PASSED: Document = {
    "progress_percent": 100,
    "has_passed": True,
    "score": 9,
    "highest_score": 10,
    "max_score": 12,
    "duration": 1260,
    "date_started": "2024-01-02T08:00:00.000Z",
    "date_completed": "2024-01-03T08:00:00.000Z",
    "date_success": "2024-01-03T08:00:00.000Z",
    "completed": True,
}
NOT_PASSED: Document = {**dict.fromkeys(PASSED), "progress_percent": 0, "has_passed": False}
LEARNING_OBJECT = {
    "id": "course:101",
    "type": "learningObject",
    "attributes": {"loType": "course", "loFormat": "Self Paced"},
}
WITH_GRADES = record(
    COURSE,
    *(grade(COURSE, "301", 1, **PASSED), grade(COURSE, "302", **NOT_PASSED)),
    date_enrolled="2024-01-01T08:00:00.000Z",
    lo_name=None,
    included={"learningObject": LEARNING_OBJECT},
)


@pytest.mark.parametrize(
    ("name", "values", "records", "pages"),
    [
        ("documented", {"page_limit": 3}, DOCUMENTED, 2),
        ("several_pages", {"page_limit": 2, "lo_types": "all"}, SEVERAL, 3),
        ("include_grades", {"include": "learningObject,loResourceGrades"}, (WITH_GRADES,), 1),
    ],
)
def test_read__document(
    play: Play, name: str, values: Document, records: Sequence[Document], pages: int
) -> None:
    """The documented page, all types over several pages, and included grades are read."""
    played = play(name, {**TOKEN, **values})

    assert played == document(*records, pages=pages, requests=pages)


@pytest.mark.parametrize(
    ("name", "values", "requests"),
    [
        ("empty_user", TOKEN, 1),
        ("first_token", TRIO, 1),
        ("refreshed", {**TOKEN, **TRIO}, 2),
        ("quota", TOKEN, 2),
        ("server_errors", TOKEN, 3),
        ("html_from_proxy", TOKEN, 3),
    ],
)
def test_empty_user__document(play: Play, name: str, values: Document, requests: int) -> None:
    """A failure that passes shows only in the number of requests."""
    assert play(name, values) == document(requests=requests)


def test_email_lookup__document(play: Play) -> None:
    """An address is looked up with one request, and the user is named by both."""
    job_aid = "jobAid:144891_-1"
    address = {"user_email": "ada.l+alm@example.com"}

    played = play("email_lookup", {**TOKEN, **address, "user_id": None, "lo_types": "jobAid"})

    attempt = record(
        job_aid,
        grade(job_aid, "-1", 2),
        state="COMPLETED",
        date_enrolled="2024-01-04T08:00:00.000Z",
        **address,
    )
    assert played == document(attempt, requests=2)


def test_email_lookup__denied(play: Play) -> None:
    """A token that may not list users is a failure of the address, without an id."""
    address = {"user_email": "ada.l+alm@example.com"}

    played = play("email_denied", {**TOKEN, **address, "user_id": None})

    (failed,) = played["users"]["failed"]
    assert (failed["user_id"], failed["user_email"]) == (None, address["user_email"])
    assert (failed["error"]["code"], failed["error"]["http_status"]) == (77, 403)
    hint = "Use a token with the scope admin:read, or ids instead of addresses."
    assert failed["error"]["hint"] == played["error"]["hint"] == hint


def test_quota__wait(play: Play, clock: VirtualClock) -> None:
    """The documented fraction is waited for, and at most a second longer."""
    play("quota")

    assert 10.752 <= sum(clock.slept) <= 11.752


CHECK_INCLUDE = "Fix `include`, or the input that ALM's message names."
CHECK_REGION = (
    "Check that `base_url` is the account's region, and that the application has the scope"
    " admin:read."
)
CHECK_SCOPE = "Use a token with the scope admin:read."
SIGN_IN = (
    "Tokens live seven days. Create a new one, or set `ALM_CLIENT_ID`, `ALM_CLIENT_SECRET` and"
    " `ALM_REFRESH_TOKEN`: the connector then refreshes it."
)
ERRORS: dict[str, tuple[int, str, str, int]] = {
    "bad_request": (
        64,
        (
            "ALM refuses the request for user 20941371 (400:"
            ' "BAD_REQUEST: Invalid value for parameter include : learner.nothing").'
        ),
        CHECK_INCLUDE,
        400,
    ),
    "jsonapi_errors": (
        64,
        (
            "ALM refuses the request for user 20941371 (400:"
            ' "Invalid query parameter: include: no relationship learner.nothing").'
        ),
        CHECK_INCLUDE,
        400,
    ),
    "unauthorized": (
        77,
        (
            "ALM refuses the access token while reading user 20941371 (401:"
            ' "UNAUTHORIZED: Invalid or expired access token").'
        ),
        SIGN_IN,
        401,
    ),
    "same_token": (
        77,
        (
            "ALM refuses the access token, and a refresh returns the same one:"
            " the token is valid, but not for this host."
        ),
        CHECK_REGION,
        401,
    ),
    "refresh_refused": (
        77,
        'ALM refuses to refresh the access token (400: "BAD_REQUEST: Invalid refresh token").',
        (
            "Check `ALM_CLIENT_ID`, `ALM_CLIENT_SECRET` and `ALM_REFRESH_TOKEN`, and that"
            " `base_url` is the account's region."
        ),
        400,
    ),
    "forbidden": (
        77,
        'ALM does not let this token read user 20941371 (403: "FORBIDDEN: Insufficient scope").',
        CHECK_SCOPE,
        403,
    ),
    "message_body": (
        77,
        'ALM does not let this token read user 20941371 (403: "Access denied for this account").',
        CHECK_SCOPE,
        403,
    ),
    "unknown_user": (
        67,
        'ALM has no user 99 (404: "NOT_FOUND: No user 99").',
        "Check the id, and that `base_url` is the region of this account.",
        404,
    ),
    "not_acceptable": (
        76,
        (
            "ALM does not accept the header Accept: application/vnd.api+json"
            " while reading user 20941371 (406)."
        ),
        "Look for a proxy that changes headers.",
        406,
    ),
}


@pytest.mark.parametrize(
    ("name", "values", "requests"),
    [
        ("bad_request", {**TOKEN, "include": "learner.nothing"}, 1),
        ("jsonapi_errors", {**TOKEN, "include": "learner.nothing"}, 1),
        ("unauthorized", TOKEN, 1),
        ("forbidden", TOKEN, 1),
        ("message_body", TOKEN, 1),
        ("not_acceptable", TOKEN, 1),
        ("unknown_user", {**TOKEN, "user_id": "99"}, 1),
        ("same_token", {**TOKEN, **TRIO}, 1),
        ("refresh_refused", TRIO, 0),
    ],
)
def test_error__document(play: Play, name: str, values: Document, requests: int) -> None:
    """An error that no retry helps is requested once and quotes ALM's own message."""
    played = play(name, values)

    code, message, hint, status = ERRORS[name]
    request_id = None if name == "same_token" else "csvbscitrace"
    error = {"code": code, "message": message, "hint": hint, "http_status": status}
    error |= {"request_id": request_id, "retry_at": None}
    assert played == failed_document(error, values.get("user_id", USER), requests)


SECRET = re.compile(
    r"set-cookie|\bcookie\b|bearer|eyJhbGciOi|\b[0-9a-f]{24,}\b|[?&]access_token|x-api-key"
    r"|proxy-authorization",
    re.IGNORECASE,
)
CREDENTIAL = re.compile(
    r"(?:oauth |(?:access_token|refresh_token|client_id|client_secret)(?:=|\": ?\"))([^\s\"&,]+)"
)
PLACEHOLDERS = {"ACCESS_TOKEN", "FRESH_TOKEN", "CLIENT_ID", "CLIENT_SECRET", "REFRESH_TOKEN"}


@pytest.mark.parametrize("name", CASSETTES)
def test_cassettes__no_secret(name: str) -> None:
    """No cassette holds a secret or a cookie: every credential is a placeholder."""
    text = (HERE / f"{name}.yaml").read_text()

    credentials = {
        re.sub("%3C|%3E", "", found, flags=re.IGNORECASE).strip("<>")
        for found in CREDENTIAL.findall(text)
    }
    assert SECRET.findall(text) == []
    assert credentials
    assert credentials <= PLACEHOLDERS


@pytest.mark.parametrize("name", CASSETTES)
def test_cassettes__one_host(name: str) -> None:
    """Every recorded request went to ALM's own host."""
    uris = re.findall(r"^    uri: (.+)$", (HERE / f"{name}.yaml").read_text(), re.MULTILINE)

    assert uris
    assert [uri for uri in uris if not uri.startswith("https://learningmanager.adobe.com/")] == []


def test_cassettes__all_are_played(request: pytest.FixtureRequest) -> None:
    """Every cassette is played by a test."""
    source = request.path.read_text()

    assert [name for name in CASSETTES if f'"{name}"' not in source] == []
