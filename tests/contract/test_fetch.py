"""The main job as a process: exit code, standard output, standard error, and the requests that the server saw."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from connector.sandbox.learners import enrollments_of

if TYPE_CHECKING:
    from connector.sandbox.server import SandboxServer

    from .conftest import Reaching, RunCommand, StartSandbox

EVERY_TYPE = "course,learningProgram,jobAid,certification"


def queries(server: SandboxServer) -> list[dict[str, str]]:
    """Return the queries that *server* saw."""
    return [dict(parse_qsl(urlsplit(request["target"]).query)) for request in server.requests]


def test_fetch__documented_example(command: RunCommand) -> None:
    """The documented learner has three enrollments and seven grades, proved complete from one page, without a network."""
    finished = command(environ={"ALM_USER_ID": "20941371", "ALM_BASE_URL": "sandbox"})

    document = finished.document
    enrollments = document.pop("enrollments")
    assert (finished.exit_code, finished.stderr) == (0, "")
    assert document == {
        "enrollment_ids": [
            "course:6511020_7037048_20941371",
            "course:7236650_7877507_20941371",
            "course:7236827_7877699_20941371",
        ],
        "resource_grade_ids": [
            "course:6511020_7037048_11676159_0_20941371",
            "course:6511020_7037048_11676160_0_20941371",
            "course:6511020_7037048_11676161_0_20941371",
            "course:6511020_7037048_11676162_0_20941371",
            "course:7236650_7877507_12456287_0_20941371",
            "course:7236827_7877699_12456477_0_20941371",
            "course:7236827_7877699_12463854_0_20941371",
        ],
        "enrollment_count": 3,
        "complete": True,
        "completeness": {"status": "proved", "reasons": [], "pages": 1, "requests": 1},
        "latest_date_enrolled": "2023-06-29T12:34:33.000Z",
        "users": {"requested": 1, "read": 1, "failed": []},
        "output_file": None,
        "error": None,
    }
    assert enrollments[1] == {
        "id": "course:7236650_7877507_20941371",
        "user_id": "20941371",
        "lo_id": "course:7236650",
        "lo_type": "course",
        "lo_instance_id": "course:7236650_7877507",
        "state": "ENROLLED",
        "progress_percent": 0,
        "has_passed": False,
        "score": 0,
        "enrollment_source": "SELF_ENROLL",
        "date_enrolled": "2023-06-29T11:34:50.000Z",
        "date_started": None,
        "date_completed": None,
        "completion_deadline": None,
        "last_access_date": None,
        "rating": None,
        "purchased_price": None,
        "url": None,
        "resource_grades": [
            {
                "id": "course:7236650_7877507_12456287_0_20941371",
                "module_id": "12456287",
                "module_version": 0,
            }
        ],
    }


def test_fetch__the_requests_that_alm_sees(
    command: RunCommand, sandbox: SandboxServer, reaching: Reaching
) -> None:
    """The documented request goes out, percent-encoded, with ALM's own headers, and its cursor brings the next page."""
    command(environ=reaching(sandbox, ALM_USER_ID="20941371", ALM_PAGE_LIMIT="3"))

    base = "/primeapi/v2/users/20941371/enrollments?page%5Blimit%5D=3&filter.loTypes=course&sort=dateEnrolled"
    cursor = "&page%5Bcursor%5D=eyJqb2JBaWQiOjAsImNvdXJzZSI6MywibGVhcm5pbmdQcm9ncmFtIjowLCJjZXJ0aWZpY2F0aW9uIjowfQ%3D%3D"
    host = sandbox.url.removeprefix("http://")
    assert [request["target"] for request in sandbox.requests] == [base, base + cursor]
    assert sandbox.requests[0]["headers"] == {
        "accept": "application/vnd.api+json",
        "accept-encoding": "gzip",
        "authorization": "oauth <ACCESS_TOKEN>",
        "host": host,
        "user-agent": "alm-enrollments/0.1.0",
    }


@pytest.mark.parametrize("sort", ["dateEnrolled", "-dateEnrolled"])
@pytest.mark.parametrize("limit", ["1", "7", "10"])
def test_fetch__every_type_over_every_page(
    sort: str, limit: str, command: RunCommand, sandbox: SandboxServer, reaching: Reaching
) -> None:
    """All enrollments of all types arrive once, in the order served, and the cursors prove it."""
    finished = command(
        "--lo-types",
        "all",
        "--sort",
        sort,
        "--page-limit",
        limit,
        environ=reaching(sandbox, ALM_USER_ID="31"),
    )

    ascending = [enrollment["id"] for enrollment in enrollments_of("31")]
    assert finished.document["enrollment_ids"] == (
        ascending if sort == "dateEnrolled" else ascending[::-1]
    )
    assert finished.document["completeness"]["status"] == "proved"
    assert {query["filter.loTypes"] for query in queries(sandbox)} == {EVERY_TYPE}


def test_fetch__several_users_in_order(
    command: RunCommand, sandbox: SandboxServer, reaching: Reaching
) -> None:
    """Several users are read one after the other, each once, and handed on in the order given."""
    finished = command("--user-id", "32 31,32", environ=reaching(sandbox))

    expected = [
        one["id"]
        for user in ("32", "31")
        for one in enrollments_of(user)
        if one["id"].startswith("course:")
    ]
    assert finished.document["enrollment_ids"] == expected
    assert finished.document["users"] == {"requested": 2, "read": 2, "failed": []}


def test_fetch__users_from_standard_input(
    command: RunCommand, sandbox: SandboxServer, reaching: Reaching
) -> None:
    """A user export of ALM can be piped in."""
    finished = command(
        "--user-ids-file",
        "-",
        environ=reaching(sandbox),
        stdin="name,internalUserID\nAda,31\nBen,32\n",
    )

    assert finished.exit_code == 0
    assert sorted(
        request["target"].split("/")[4]
        for request in sandbox.requests
        if "cursor" not in request["target"]
    ) == ["31", "32"]


def test_fetch__grades_and_related_resources(
    command: RunCommand, sandbox: SandboxServer, reaching: Reaching
) -> None:
    """What include asks for comes along: the grades' attributes in the grades, other resources by their path."""
    variables = reaching(
        sandbox,
        ALM_USER_ID="31",
        ALM_INCLUDE="loResourceGrades,learningObject",
        ALM_MAX_ENROLLMENTS="1",
    )
    first = command(environ=variables).document["enrollments"][0]

    assert first["included"]["learningObject"]["id"] == first["lo_id"]
    assert {type(grade["progress_percent"]) for grade in first["resource_grades"]} == {int}
    assert queries(sandbox)[0]["include"] == "loResourceGrades,learningObject"


def test_fetch__since_oldest_first_reads_everything(
    command: RunCommand, sandbox: SandboxServer, reaching: Reaching
) -> None:
    """Oldest first, since leaves the older ones out and the answer is still proved complete."""
    document = command(
        "--lo-types", "all", "--since", "2023-01-01", environ=reaching(sandbox, ALM_USER_ID="31")
    ).document

    expected = [
        one["id"] for one in enrollments_of("31") if one["attributes"]["dateEnrolled"] >= "2023"
    ]
    assert document["enrollment_ids"] == expected
    assert document["complete"] is True


def test_fetch__since_newest_first_stops_early(
    command: RunCommand, sandbox: SandboxServer, reaching: Reaching
) -> None:
    """Newest first, since ends the reading at the first older enrollment, and the document says so."""
    arguments = ("--lo-types", "all", "--since", "2024-06-01T00:00:00Z", "--sort=-dateEnrolled")
    document = command(
        *arguments, environ=reaching(sandbox, ALM_USER_ID="31", ALM_PAGE_LIMIT="5")
    ).document

    newer = [
        one["id"]
        for one in enrollments_of("31")[::-1]
        if one["attributes"]["dateEnrolled"] >= "2024-06"
    ]
    assert document["enrollment_ids"] == newer
    assert document["completeness"]["status"] == "incomplete"
    assert document["completeness"]["reasons"] == [
        "stopped at the first enrollment older than since"
    ]
    assert len(sandbox.requests) == len(newer) // 5 + 1


def test_fetch__most_enrollments(
    command: RunCommand, sandbox: SandboxServer, reaching: Reaching
) -> None:
    """max_enrollments stops each user's reading, and the document is not complete."""
    finished = command(
        "--max-enrollments", "12", "--lo-types", "all", environ=reaching(sandbox, ALM_USER_ID="31")
    )

    assert finished.exit_code == 0
    assert (
        finished.document["enrollment_count"],
        finished.document["complete"],
        len(sandbox.requests),
    ) == (12, False, 2)
    assert finished.document["completeness"]["reasons"] == [
        "stopped after 12 enrollments, as max_enrollments asks"
    ]


def test_fetch__one_unknown_user_among_others(
    command: RunCommand, sandbox: SandboxServer, reaching: Reaching
) -> None:
    """One user's failure does not stop the others: 65, the others' enrollments, and the failed one by name."""
    finished = command("--user-id", "4041,31", environ=reaching(sandbox))

    document = finished.document
    assert finished.exit_code == 65
    assert document["users"]["read"] == 1
    assert [failed["user_id"] for failed in document["users"]["failed"]] == ["4041"]
    assert document["users"]["failed"][0]["error"]["code"] == 67
    assert (
        document["error"]["code"],
        document["complete"],
        document["completeness"]["status"],
    ) == (65, False, "incomplete")
    assert document["enrollment_ids"] == [
        one["id"] for one in enrollments_of("31") if one["id"].startswith("course:")
    ]


FAILURES = [
    ("user=4041", "4041", 67, "ALM knows no user 4041", 1),
    ("user=4031", "4031", 77, "ALM does not let this token read user 4031", 1),
    ("*:401x*", "31", 77, "ALM refuses the access token, asked for user 31", 1),
    ("*:400x*", "31", 64, "ALM refuses the request for user 31", 1),
    (
        "*:406x*",
        "31",
        76,
        "ALM does not accept the header Accept: application/vnd.api+json, asked for user 31",
        1,
    ),
    ("*:503x*", "31", 75, "ALM failed, asked for user 31 (503), 5 times", 5),
    ("*:htmlx*", "31", 75, "ALM answered for user 31 with an HTML page", 5),
    ("*:emptyx*", "31", 75, "ALM answered for user 31 with an empty body", 5),
    ("*:cutx*", "31", 75, "The connection with", 5),
    (
        "*:schemax*",
        "31",
        76,
        "ALM's page for user 31 is not of the documented shape, at data/0/id",
        1,
    ),
    ("*:redirectx*", "31", 76, "ALM's address redirects", 1),
    ("*:foreign-nextx*", "31", 76, "ALM's link to the next page leads to another host", 1),
    ("*:foreign-userx*", "31", 76, "ALM's link to the next page leads to another path", 1),
    (
        "page=1:loopx*",
        "31",
        76,
        "ALM's pages for user 31 contradict themselves, 3 readings over",
        None,
    ),
    (
        "page=2:duplicatex*",
        "31",
        76,
        "ALM's pages for user 31 contradict themselves, 3 readings over",
        None,
    ),
    ("page=1:gapx*", "31", 76, "ALM's pages for user 31 contradict themselves, 3 readings over", 3),
    ("*:bigx*", "31", 76, "ALM's answer for user 31 is larger than 32 MB", 1),
    ("*:bombx*", "31", 76, "ALM's answer for user 31 is larger than 32 MB", 1),
]


@pytest.mark.parametrize(
    ("fault", "user", "exit_code", "message", "requests"),
    FAILURES,
    ids=[case[0] for case in FAILURES],
)
def test_fetch__what_ends_it(
    fault: str,
    user: str,
    exit_code: int,
    message: str,
    requests: int | None,
    command: RunCommand,
    start_sandbox: StartSandbox,
    reaching: Reaching,
) -> None:
    """Each failure has its exit code, its one line on standard error, and a document with the same error and no enrollments."""
    server = start_sandbox(*([fault] if ":" in fault else []))

    finished = command(
        "--lo-types", "all", environ=reaching(server, ALM_USER_ID=user, ALM_DEADLINE="60")
    )

    document = finished.document
    last_line = finished.stderr.splitlines()[-1]
    assert finished.exit_code == exit_code
    assert last_line.startswith(f"alm-enrollments: error: {message}")
    assert document["error"]["message"].startswith(message)
    assert (document["error"]["code"], document["complete"], document["enrollment_ids"]) == (
        exit_code,
        False,
        [],
    )
    assert requests in (None, len(server.requests))


@pytest.mark.parametrize(
    "fault",
    [
        "page=2:503x2",
        "page=2:429/0.42",
        "page=1:cut-chunked",
        "page=3:reset",
        "page=2:close",
        "page=1:bad-gzip",
    ],
)
def test_fetch__what_passes(
    fault: str, command: RunCommand, start_sandbox: StartSandbox, reaching: Reaching
) -> None:
    """A failure that passes is waited for, told in one line, and leaves no trace in the answer."""
    server = start_sandbox(fault)

    finished = command("--lo-types", "all", environ=reaching(server, ALM_USER_ID="31"))

    assert finished.exit_code == 0
    assert finished.document["enrollment_ids"] == [one["id"] for one in enrollments_of("31")]
    assert finished.document["completeness"]["status"] == "proved"
    assert {line[:26] for line in finished.stderr.splitlines()} == {
        "alm-enrollments: attempt 1"
    } | ({"alm-enrollments: attempt 2"} if "503" in fault else set())


def test_fetch__opaque_cursors(
    command: RunCommand, start_sandbox: StartSandbox, reaching: Reaching
) -> None:
    """Cursors that do not decode leave the answer complete, but consistent in place of proved."""
    document = command(
        "--lo-types", "all", environ=reaching(start_sandbox("*:opaquex*"), ALM_USER_ID="31")
    ).document

    assert document["enrollment_ids"] == [one["id"] for one in enrollments_of("31")]
    assert (document["complete"], document["completeness"]["status"]) == (True, "consistent")


@pytest.mark.parametrize("fault", ["page=2:gap", "page=2:duplicate", "page=2:empty-page"])
def test_fetch__a_second_reading_mends_it(
    fault: str, command: RunCommand, start_sandbox: StartSandbox, reaching: Reaching
) -> None:
    """Pages that contradict themselves once are read again from the start."""
    finished = command(
        "--lo-types", "all", environ=reaching(start_sandbox(fault), ALM_USER_ID="31")
    )

    assert finished.exit_code == 0
    assert finished.document["enrollment_ids"] == [one["id"] for one in enrollments_of("31")]
    assert "reading 1 of user 31 contradicts itself" in finished.stderr


def test_fetch__allow_incomplete_hands_on_what_was_read(
    command: RunCommand, start_sandbox: StartSandbox, reaching: Reaching
) -> None:
    """Under allow_incomplete the pages before a failure are handed on, marked, with the error, and the run succeeds."""
    server = start_sandbox("page=2:schemax*")

    finished = command(
        "--lo-types", "all", "--allow-incomplete", environ=reaching(server, ALM_USER_ID="31")
    )

    document = finished.document
    assert finished.exit_code == 0
    assert document["enrollment_ids"] == [one["id"] for one in enrollments_of("31")[:10]]
    assert (
        document["complete"],
        document["completeness"]["status"],
        document["error"]["code"],
    ) == (False, "incomplete", 76)
    assert finished.stderr.startswith(
        "alm-enrollments: incomplete, as allow_incomplete allows: ALM's page for user 31"
    )


def test_fetch__allow_incomplete_still_fails_on_nothing(
    command: RunCommand, start_sandbox: StartSandbox, reaching: Reaching
) -> None:
    """Under allow_incomplete a run that could read no page at all fails as without it."""
    finished = command(
        "--allow-incomplete", "true", environ=reaching(start_sandbox(), ALM_USER_ID="4041")
    )

    assert finished.exit_code == 67


def test_fetch__token_is_refreshed_in_mid_run(
    command: RunCommand, start_sandbox: StartSandbox, reaching: Reaching
) -> None:
    """A token that dies in mid-run is refreshed once, and the page asked for again."""
    server = start_sandbox("page=2:dead-token")
    triple = {
        "ALM_CLIENT_ID": "sandbox-client-id",
        "ALM_CLIENT_SECRET": "sandbox-client-secret",
        "ALM_REFRESH_TOKEN": "sandbox-refresh-token",
    }

    finished = command("--lo-types", "all", environ=reaching(server, ALM_USER_ID="31", **triple))

    assert finished.exit_code == 0
    assert [request["method"] for request in server.requests][:4] == ["GET", "GET", "POST", "GET"]
    assert finished.document["enrollment_count"] == len(enrollments_of("31"))


def test_fetch__same_token_returned(
    command: RunCommand, start_sandbox: StartSandbox, reaching: Reaching
) -> None:
    """A refresh that gives the refused token back ends the run, with a hint on region and scope."""
    server = start_sandbox("*:same-token")
    triple = {
        "ALM_CLIENT_ID": "sandbox-client-id",
        "ALM_CLIENT_SECRET": "sandbox-client-secret",
        "ALM_REFRESH_TOKEN": "sandbox-refresh-token",
    }

    finished = command(environ=reaching(server, ALM_USER_ID="31", **triple))

    assert finished.exit_code == 77
    assert "gives the same one back" in finished.stderr
    assert len(server.requests) == 2


BAD_INPUT = {
    "ALM_USER_ID": "ada",
    "ALM_PAGE_LIMIT": "50",
    "ALM_SORT": "dateenrolled",
    "ALM_LO_TYPES": "courses",
    "ALM_LO_TYPE": "all",
    "ALM_SINCE": "yesterday",
}


def test_fetch__bad_input(command: RunCommand, sandbox: SandboxServer, reaching: Reaching) -> None:
    """Bad input gets all its problems at once in one line, nothing is sent, and no library speaks."""
    finished = command("--dead-line", "5", environ=reaching(sandbox, **BAD_INPUT))

    assert finished.exit_code == 64
    assert finished.stderr == (
        "alm-enrollments: error: 7 inputs are not valid:"
        " --dead-line is no flag (did you mean --deadline?);"
        " ALM_LO_TYPE is not an input (did you mean ALM_LO_TYPES?);"
        ' user_id is "ada" (allowed: ALM user ids, decimal digits each);'
        ' lo_types is "courses" (allowed: course, learningProgram, jobAid, certification, all; did you mean course?);'
        ' sort is "dateenrolled" (allowed: dateEnrolled, -dateEnrolled; did you mean dateEnrolled?);'
        " page_limit is 50 (allowed: a whole number from 1 to 10);"
        ' since is "yesterday" (allowed: an ISO 8601 date or date-time).'
        " Nothing was sent; alm-enrollments --help tells every input.\n"
    )
    assert finished.document["error"]["code"] == 64
    assert sandbox.requests == []


def test_fetch__nobody_there(command: RunCommand) -> None:
    """A host that does not answer is told by its name, with 69."""
    finished = command(
        environ={
            "ALM_USER_ID": "1",
            "ALM_ACCESS_TOKEN": "t0ken-value",
            "ALM_BASE_URL": "http://127.0.0.1:9",
        }
    )

    assert finished.exit_code == 69
    assert (
        finished.document["error"]["message"]
        == "127.0.0.1:9 cannot be reached, asked for user 1, 5 times."
    )


def test_fetch__deadline(
    command: RunCommand, start_sandbox: StartSandbox, reaching: Reaching
) -> None:
    """A wait that would cross the deadline is not begun: the run ends at once and says when to come back."""
    finished = command(
        "--deadline", "5", environ=reaching(start_sandbox("*:429/30"), ALM_USER_ID="31")
    )

    error: dict[str, Any] = finished.document["error"]
    assert finished.exit_code == 75
    assert error["message"].startswith("ALM's quota is used up, asked for user 31")
    assert error["retry_at"] is not None
    assert json.dumps(error["hint"]).startswith('"Run again after ')
