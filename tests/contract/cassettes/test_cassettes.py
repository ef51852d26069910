"""Every kind of answer that ALM documents, replayed through the real client: what is sent, and the whole document that comes of it.

The credentials are the cassettes' own placeholders, so what was sent with a request
can be held against what was recorded, the refresh's form included.
"""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import vcr
from vcr.stubs import VCRHTTPResponse

from connector.redact import Redactor
from connector.runner import execute
from connector.settings import load_inputs

if TYPE_CHECKING:
    from collections.abc import Callable

    from vcr.request import Request

HERE = Path(__file__).parent
CASSETTES = sorted(path.stem for path in HERE.glob("*.yaml"))
TOKEN = {"ALM_ACCESS_TOKEN": "<ACCESS_TOKEN>"}
TRIPLE = {
    "ALM_CLIENT_ID": "<CLIENT_ID>",
    "ALM_CLIENT_SECRET": "<CLIENT_SECRET>",
    "ALM_REFRESH_TOKEN": "<REFRESH_TOKEN>",
}
USER = {"user_id": "20941371"}


class VirtualClock:
    """Stands still but for ``sleep``, which jumps."""

    def __init__(self) -> None:
        self.slept = 0.0

    def monotonic(self) -> float:
        """Return seconds since some moment."""
        return self.slept

    def now(self) -> datetime:
        """Return the moment of the documented exchange, and what was slept since."""
        return datetime(2024, 6, 9, 13, 5, 9, tzinfo=UTC) + timedelta(seconds=self.slept)

    def sleep(self, seconds: float) -> None:
        """Jump by *seconds*."""
        self.slept += seconds


def same_credentials(sent: Request, recorded: Request) -> None:
    """Refuse a request that carries another token or form than the recorded one."""
    assert sent.headers.get("Authorization") == recorded.headers.get("Authorization")
    assert sent.body == recorded.body


def read1(response: VCRHTTPResponse, size: int, *, decode_content: bool) -> bytes:
    """Return the next *size* bytes: vcrpy's stand-in for urllib3's response knows ``read1``, but not its keyword."""
    piece: bytes = response.read(size, decode_content=decode_content)
    return piece


@pytest.fixture
def clock() -> VirtualClock:
    """Return the run's clock."""
    return VirtualClock()


@pytest.fixture
def play(clock: VirtualClock, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Return what runs the whole job against one cassette, in which every interaction must have been used."""
    recorder = vcr.VCR(
        cassette_library_dir=str(HERE),
        record_mode="none",
        match_on=("method", "uri", "credentials"),
        custom_patches=((VCRHTTPResponse, "read1", read1),),
    )
    recorder.register_matcher("credentials", same_credentials)

    def play_cassette(name: str, environ: dict[str, str], **flags: object) -> dict[str, Any]:
        redactor = Redactor()
        inputs, credentials = load_inputs(
            {**USER, **flags}, environ, redactor, secrets_dir=tmp_path
        )
        with recorder.use_cassette(f"{name}.yaml") as cassette:
            outcome = execute(inputs, credentials, redactor, clock=clock, stdin=io.StringIO())
        assert cassette.all_played
        return outcome.document

    return play_cassette


def record(enrollment_id: str, **told: object) -> dict[str, Any]:
    """Return the document's record of an enrollment of which ALM told only this."""
    lo_type, _, numbers = enrollment_id.partition(":")
    lo, instance, user = numbers.split("_")
    return {
        "id": enrollment_id,
        "user_id": user,
        "lo_id": f"{lo_type}:{lo}",
        "lo_type": lo_type,
        "lo_instance_id": f"{lo_type}:{lo}_{instance}",
        "state": None,
        "progress_percent": None,
        "has_passed": None,
        "score": None,
        "enrollment_source": None,
        "date_enrolled": None,
        "date_started": None,
        "date_completed": None,
        "completion_deadline": None,
        "last_access_date": None,
        "rating": None,
        "purchased_price": None,
        "url": None,
        "resource_grades": [],
        **told,
    }


def grades(instance: str, *modules: str) -> list[dict[str, Any]]:
    """Return the records of grades in version 0 of *modules*."""
    return [
        {"id": f"{instance}_{module}_0_20941371", "module_id": module, "module_version": 0}
        for module in modules
    ]


def document(
    *records: dict[str, Any], pages: int = 1, requests: int = 1, latest: str | None = None
) -> dict[str, Any]:
    """Return the document of a run that read one user whole."""
    return {
        "enrollment_ids": [one["id"] for one in records],
        "resource_grade_ids": [grade["id"] for one in records for grade in one["resource_grades"]],
        "enrollment_count": len(records),
        "enrollments": list(records),
        "complete": True,
        "completeness": {"status": "proved", "reasons": [], "pages": pages, "requests": requests},
        "latest_date_enrolled": latest,
        "users": {"requested": 1, "read": 1, "failed": []},
        "output_file": None,
        "error": None,
    }


def failed(error: dict[str, Any], user_id: str = "20941371", requests: int = 1) -> dict[str, Any]:
    """Return the document of a run whose one user could not be read at all."""
    return {
        **document(requests=requests, pages=0),
        "complete": False,
        "completeness": {
            "status": "incomplete",
            "reasons": [error["message"]],
            "pages": 0,
            "requests": requests,
        },
        "users": {"requested": 1, "read": 0, "failed": [{"user_id": user_id, "error": error}]},
        "error": error,
    }


def test_documented__whole(play: Callable[..., dict[str, Any]]) -> None:
    """The documented exchange, to its last page: these three enrollments and seven grades, and that nothing is missing."""
    first = grades("course:6511020_7037048", "11676159", "11676160", "11676161", "11676162")
    second, third = (
        grades("course:7236650_7877507", "12456287"),
        grades("course:7236827_7877699", "12456477", "12463854"),
    )
    new = {"state": "ENROLLED", "progress_percent": 0, "has_passed": False, "score": 0}

    played = play("documented", TOKEN, page_limit=3)

    dates = ("2023-06-16T11:48:49.000Z", "2023-06-29T11:34:50.000Z", "2023-06-29T12:34:33.000Z")
    due = {"completion_deadline": "2023-12-13T11:48:49.000Z"}
    assert played == document(
        record(
            "course:6511020_7037048_20941371",
            **new,
            **due,
            enrollment_source="AUTO_ENROLL",
            date_enrolled=dates[0],
            resource_grades=first,
        ),
        record(
            "course:7236650_7877507_20941371",
            **new,
            enrollment_source="SELF_ENROLL",
            date_enrolled=dates[1],
            resource_grades=second,
        ),
        record(
            "course:7236827_7877699_20941371",
            **new,
            enrollment_source="ADMIN_ENROLL",
            date_enrolled=dates[2],
            resource_grades=third,
        ),
        pages=2,
        requests=2,
        latest=dates[2],
    )


def test_documented__ids(play: Callable[..., dict[str, Any]]) -> None:
    """The ids that the documented answer holds, written out."""
    played = play("documented", TOKEN, page_limit=3)

    assert played["enrollment_ids"] == [
        "course:6511020_7037048_20941371",
        "course:7236650_7877507_20941371",
        "course:7236827_7877699_20941371",
    ]
    assert played["resource_grade_ids"] == [
        "course:6511020_7037048_11676159_0_20941371",
        "course:6511020_7037048_11676160_0_20941371",
        "course:6511020_7037048_11676161_0_20941371",
        "course:6511020_7037048_11676162_0_20941371",
        "course:7236650_7877507_12456287_0_20941371",
        "course:7236827_7877699_12456477_0_20941371",
        "course:7236827_7877699_12463854_0_20941371",
    ]


def test_several_pages__whole(play: Callable[..., dict[str, Any]]) -> None:
    """Three pages over all four types, every attribute among them, states and relationships to come as well."""
    played = play("several_pages", TOKEN, page_limit=2, lo_types="all")

    assert played == document(
        record(
            "course:101_201_20941371",
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
            resource_grades=[GRADE_301, GRADE_302],
        ),
        record(
            "course:102_202_20941371", state="WAITING", date_enrolled="2024-01-02T08:00:00.000Z"
        ),
        record(
            "learningProgram:103_203_20941371",
            state="ENROLLED",
            date_enrolled="2024-01-03T08:00:00.000Z",
        ),
        record(
            "jobAid:104_204_20941371",
            date_enrolled="2024-01-04T08:00:00.000Z",
            resource_grades=[GRADE_304],
        ),
        record(
            "certification:105_205_20941371",
            state="A_NEW_STATE",
            date_enrolled="2024-01-05T08:00:00.000Z",
        ),
        pages=3,
        requests=3,
        latest="2024-01-05T08:00:00.000Z",
    )


GRADE_301 = {"id": "course:101_201_301_1_20941371", "module_id": "301", "module_version": 1}
GRADE_302 = {"id": "course:101_201_302_0_20941371", "module_id": "302", "module_version": 0}
GRADE_304 = {"id": "jobAid:104_204_304_2_20941371", "module_id": "304", "module_version": 2}
PASSED = {
    "progress_percent": 100,
    "has_passed": True,
    "score": 9,
    "highest_score": 10,
    "max_score": 12,
    "duration": 1260,
    "date_started": "2024-01-02T08:00:00.000Z",
    "date_completed": "2024-01-03T08:00:00.000Z",
    "date_success": "2024-01-03T08:00:00.000Z",
}
NOT_PASSED = {**dict.fromkeys(PASSED), "progress_percent": 0, "has_passed": False}


def test_include_grades__whole(play: Callable[..., dict[str, Any]]) -> None:
    """With include the grades have their attributes, and the learning object stands beside its enrollment."""
    played = play("include_grades", TOKEN, include="learningObject,loResourceGrades")

    course = {
        "id": "course:101",
        "type": "learningObject",
        "attributes": {"loType": "course", "loFormat": "Self Paced"},
    }
    assert played == document(
        record(
            "course:101_201_20941371",
            date_enrolled="2024-01-01T08:00:00.000Z",
            resource_grades=[{**GRADE_301, **PASSED}, {**GRADE_302, **NOT_PASSED}],
            included={"learningObject": course},
        ),
        latest="2024-01-01T08:00:00.000Z",
    )


@pytest.mark.parametrize(
    ("name", "environ", "requests"),
    [
        ("empty_user", TOKEN, 1),
        ("first_token", TRIPLE, 1),
        ("refreshed", {**TOKEN, **TRIPLE}, 2),
        ("quota", TOKEN, 2),
        ("server_errors", TOKEN, 3),
        ("html_from_proxy", TOKEN, 3),
    ],
)
def test_empty_page__whole(
    play: Callable[..., dict[str, Any]], name: str, environ: dict[str, str], requests: int
) -> None:
    """A user without enrollments is read whole, and whatever stood in the way of it leaves no trace but the number of requests."""
    assert play(name, environ) == document(requests=requests)


def test_quota__waits(play: Callable[..., dict[str, Any]], clock: VirtualClock) -> None:
    """The documented fraction is waited for to the end, and at most a second longer."""
    play("quota", TOKEN)

    assert 10.752 <= clock.slept <= 11.752


def error(
    code: int, message: str, hint: str, status: int, request_id: str | None = "csvbscitrace"
) -> dict[str, Any]:
    """Return an error as the document has it."""
    return {
        "code": code,
        "message": message,
        "hint": hint,
        "http_status": status,
        "request_id": request_id,
        "retry_at": None,
    }


BAD_INCLUDE = "Check include and the other inputs against what ALM's message names."
NO_REFRESH = "Tokens live seven days: make a new one, or set ALM_CLIENT_ID, ALM_CLIENT_SECRET and ALM_REFRESH_TOKEN to have it refreshed."
NO_SCOPE = "It needs the scope admin:read, or learner:read for the learner's own enrollments."


@pytest.mark.parametrize(
    ("name", "flags", "told"),
    [
        (
            "bad_request",
            {"include": "learner.nothing"},
            error(
                64,
                'ALM refuses the request for user 20941371 (400: "BAD_REQUEST: Invalid value for parameter include : learner.nothing").',
                BAD_INCLUDE,
                400,
            ),
        ),
        (
            "jsonapi_errors",
            {"include": "learner.nothing"},
            error(
                64,
                'ALM refuses the request for user 20941371 (400: "Invalid query parameter: include: no relationship learner.nothing").',
                BAD_INCLUDE,
                400,
            ),
        ),
        (
            "unauthorized",
            {},
            error(
                77,
                'ALM refuses the access token, asked for user 20941371 (401: "UNAUTHORIZED: Invalid or expired access token").',
                NO_REFRESH,
                401,
            ),
        ),
        (
            "forbidden",
            {},
            error(
                77,
                'ALM does not let this token read user 20941371 (403: "FORBIDDEN: Insufficient scope").',
                NO_SCOPE,
                403,
            ),
        ),
        (
            "message_body",
            {},
            error(
                77,
                'ALM does not let this token read user 20941371 (403: "Access denied for this account").',
                NO_SCOPE,
                403,
            ),
        ),
        (
            "not_acceptable",
            {},
            error(
                76,
                "ALM does not accept the header Accept: application/vnd.api+json, asked for user 20941371 (406).",
                "Look for a proxy that changes headers.",
                406,
            ),
        ),
    ],
)
def test_error_answer__whole(
    play: Callable[..., dict[str, Any]], name: str, flags: dict[str, str], told: dict[str, Any]
) -> None:
    """An error that asking again would not mend is asked once, and told in ALM's own words."""
    assert play(name, TOKEN, **flags) == failed(told)


def test_unknown_user__whole(play: Callable[..., dict[str, Any]]) -> None:
    """A user whom ALM does not know is told as such."""
    told = error(
        67,
        'ALM knows no user 99 (404: "NOT_FOUND: No user 99").',
        "Check the id, and that base_url is the region of this account.",
        404,
    )

    assert play("unknown_user", TOKEN, user_id="99") == failed(told, user_id="99")


def test_same_token__whole(play: Callable[..., dict[str, Any]]) -> None:
    """A refresh that brings the same token back ends the run: the token is valid, but not here."""
    told = error(
        77,
        "ALM refuses the access token, and gives the same one back when asked to refresh it: it is valid, but not here.",
        "Check that base_url is the account's region, and that the application has the scope admin:read or learner:read.",
        401,
        None,
    )

    assert play("same_token", {**TOKEN, **TRIPLE}) == failed(told)


def test_refresh_refused__whole(play: Callable[..., dict[str, Any]]) -> None:
    """A refused refresh ends the run before any page was asked for."""
    told = error(
        77,
        'ALM refuses to refresh the access token (400: "BAD_REQUEST: Invalid refresh token").',
        "Check ALM_CLIENT_ID, ALM_CLIENT_SECRET and ALM_REFRESH_TOKEN, and that base_url is the account's region.",
        400,
    )

    assert play("refresh_refused", TRIPLE) == failed(told, requests=0)


SECRET = re.compile(
    r"set-cookie|\bcookie\b|bearer|eyJhbGciOi|\b[0-9a-f]{24,}\b|[?&]access_token|x-api-key|proxy-authorization",
    re.IGNORECASE,
)
CREDENTIAL = re.compile(
    r"(?:oauth |(?:access_token|refresh_token|client_id|client_secret)(?:=|\": ?\"))([^\s\"&,]+)"
)


@pytest.mark.parametrize("name", CASSETTES)
def test_cassettes__no_secret(name: str) -> None:
    """No cassette holds a secret or a cookie: wherever a credential stands there is a placeholder."""
    text = (HERE / f"{name}.yaml").read_text()

    credentials = [
        re.sub("%3C|%3E", "", found, flags=re.IGNORECASE).strip("<>")
        for found in CREDENTIAL.findall(text)
    ]
    assert SECRET.findall(text) == []
    assert credentials
    assert set(credentials) <= {
        "ACCESS_TOKEN",
        "FRESH_TOKEN",
        "CLIENT_ID",
        "CLIENT_SECRET",
        "REFRESH_TOKEN",
    }


@pytest.mark.parametrize("name", CASSETTES)
def test_cassettes__one_host(name: str) -> None:
    """Every recorded request went to ALM's own host."""
    uris = re.findall(r"^    uri: (.+)$", (HERE / f"{name}.yaml").read_text(), re.MULTILINE)

    assert uris
    assert [uri for uri in uris if not uri.startswith("https://learningmanager.adobe.com/")] == []


def test_cassettes__every_one_is_played(request: pytest.FixtureRequest) -> None:
    """No cassette lies here that no test plays."""
    source = request.path.read_text()

    assert [name for name in CASSETTES if f'"{name}"' not in source] == []
