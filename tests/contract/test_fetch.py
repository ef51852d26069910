"""The main job: exit code, both streams, and the requests that the server receives."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

import pytest

from connector.sandbox.learners import enrollments_of
from tests.support.completeness import CONSISTENT, INCOMPLETE, VERIFIED
from tests.support.sandbox import DOCUMENTED_IDS, EMBEDDED, NOTE, TRIPLE, ids_of, reaching

if TYPE_CHECKING:
    from connector.sandbox.server import SandboxServer
    from tests.support.process import Command
    from tests.support.sandbox import StartSandbox

ALL = "--user-id 31 --lo-types all"


def queries(server: SandboxServer) -> list[dict[str, str]]:
    """Return the queries that *server* received."""
    return [dict(parse_qsl(urlsplit(request["target"]).query)) for request in server.requests]


DOCUMENTED_GRADES = [
    "course:6511020_7037048_11676159_0_20941371",
    "course:6511020_7037048_11676160_0_20941371",
    "course:6511020_7037048_11676161_0_20941371",
    "course:6511020_7037048_11676162_0_20941371",
    "course:7236650_7877507_12456287_0_20941371",
    "course:7236827_7877699_12456477_0_20941371",
    "course:7236827_7877699_12463854_0_20941371",
]
DOCUMENT = {
    "source": "sandbox",
    "enrollment_ids": DOCUMENTED_IDS,
    "resource_grade_ids": DOCUMENTED_GRADES,
    "enrollment_count": 3,
    "complete": True,
    "completeness": {"status": VERIFIED, "reasons": [], "pages": 1, "requests": 1},
    "users": {"requested": 1, "read": 1, "failed": []},
    "output_file": None,
    "error": None,
}
ENROLLMENT = {
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
    "resource_grades": [{"id": DOCUMENTED_GRADES[4], "module_id": "12456287", "module_version": 0}],
}


def test_fetch__documented_example(command: Command) -> None:
    """The documented learner has three enrollments and seven grades, verified from one page."""
    finished = command(**EMBEDDED)

    document = finished.document
    next_since = datetime.fromisoformat(document.pop("next_since"))
    assert (finished.exit_code, finished.stderr) == (0, NOTE)
    # ALM answered five minutes later, and just now.
    assert timedelta(minutes=5) <= datetime.now(UTC) - next_since < timedelta(minutes=7)
    assert document.pop("enrollments")[1] == ENROLLMENT
    assert document == DOCUMENT


def test_fetch__sends_the_documented_requests(command: Command, sandbox: SandboxServer) -> None:
    """The documented request is sent with ALM's headers, and its cursor leads to the next page."""
    command("--user-id 20941371 --page-limit 3 --no-prefetch", **reaching(sandbox))

    first = (
        "/primeapi/v2/users/20941371/enrollments"
        "?page%5Blimit%5D=3&filter.loTypes=course&sort=dateEnrolled"
    )
    cursor = (
        "eyJqb2JBaWQiOjAsImNvdXJzZSI6MywibGVhcm5pbmdQcm9ncmFtIjowLCJjZXJ0aWZpY2F0aW9uIjowfQ%3D%3D"
    )
    second = f"{first}&page%5Bcursor%5D={cursor}"
    assert [request["target"] for request in sandbox.requests] == [first, second]
    assert sandbox.requests[0]["headers"] == {
        "accept": "application/vnd.api+json",
        "accept-encoding": "gzip",
        "authorization": "oauth <ACCESS_TOKEN>",
        "host": sandbox.url.removeprefix("http://"),
        "user-agent": "alm-enrollments/0.1.0",
    }


@pytest.mark.parametrize(
    ("flags", "step"), [("--page-limit 7", 1), ("--sort -dateEnrolled --page-limit 1", -1)]
)
def test_fetch__reads_every_type_over_every_page(
    flags: str, step: int, command: Command, sandbox: SandboxServer
) -> None:
    """Every enrollment of every type arrives once, in the requested order, and is verified."""
    document = command(f"{ALL} {flags}", **reaching(sandbox)).document

    assert document["enrollment_ids"] == ids_of(["31"])[::step]
    assert document["completeness"]["status"] == VERIFIED
    types = {query["filter.loTypes"] for query in queries(sandbox)}
    assert types == {"course,learningProgram,jobAid,certification"}


def test_fetch__several_users_keep_their_order(command: Command, sandbox: SandboxServer) -> None:
    """Each user is read once, and the document keeps the order of the input."""
    document = command("--user-id '32 31,32'", **reaching(sandbox)).document

    assert document["enrollment_ids"] == ids_of(["32", "31"], "course:")
    assert document["users"] == {"requested": 2, "read": 2, "failed": []}


def test_fetch__users_from_standard_input(command: Command, sandbox: SandboxServer) -> None:
    """A user export of ALM can be piped to the command."""
    export = "name,internalUserID\nAda,31\nBen,32\n"

    finished = command("--user-ids-file -", stdin=export, **reaching(sandbox))

    assert finished.document["users"] == {"requested": 2, "read": 2, "failed": []}
    assert sorted(finished.document["enrollment_ids"]) == sorted(ids_of(["31", "32"], "course:"))


def test_fetch__include_adds_grades_and_resources(command: Command, sandbox: SandboxServer) -> None:
    """Included grades get their attributes, and included resources are found by their path."""
    line = "--user-id 31 --include loResourceGrades,learningObject --max-enrollments 1"

    (enrollment,) = command(line, **reaching(sandbox)).document["enrollments"]

    assert enrollment["included"]["learningObject"]["id"] == enrollment["lo_id"]
    progress = {type(grade["progress_percent"]) for grade in enrollment["resource_grades"]}
    assert progress == {int}
    assert queries(sandbox)[0]["include"] == "loResourceGrades,learningObject"


def since(date: str) -> list[str]:
    """Return the enrollments of user 31 since *date*, oldest first."""
    return [
        enrollment["id"]
        for enrollment in enrollments_of("31")
        if enrollment["attributes"]["dateEnrolled"] >= date
    ]


def test_fetch__since_oldest_first_reads_everything(
    command: Command, sandbox: SandboxServer
) -> None:
    """Oldest first, since leaves out older enrollments, and the result is verified."""
    document = command(f"{ALL} --since 2023-01-01", **reaching(sandbox)).document

    assert document["enrollment_ids"] == since("2023-01-01")
    assert (document["complete"], document["completeness"]["status"]) == (True, VERIFIED)


def test_fetch__since_newest_first_stops_early(command: Command, sandbox: SandboxServer) -> None:
    """Newest first, since stops at the first older enrollment: nothing that counts is missing."""
    flags = "--user-id 31 --since 2024-06-01T00:00:00Z --sort=-dateEnrolled --page-limit 5"
    wanted = [found for found in since("2024-06-01")[::-1] if found.startswith("course:")]
    pages = len(wanted) // 5 + 1

    document = command(flags, **reaching(sandbox)).document

    assert document["enrollment_ids"] == wanted
    assert (document["complete"], document["completeness"]["status"]) == (True, CONSISTENT)
    reasons = [f"stopped at the first enrollment older than since, on page {pages}"]
    assert document["completeness"]["reasons"] == reasons
    assert len(sandbox.requests) == pages
    assert document["next_since"] is not None


def test_fetch__max_enrollments_stops_each_user(command: Command, sandbox: SandboxServer) -> None:
    """max_enrollments stops each user's reading, and the document is not complete."""
    finished = command(f"{ALL} --max-enrollments 12", **reaching(sandbox))

    document = finished.document
    assert (finished.exit_code, document["complete"], len(sandbox.requests)) == (0, False, 2)
    assert document["enrollment_ids"] == ids_of(["31"])[:12]
    reasons = ["stopped after 12 enrollments, the limit of max_enrollments"]
    assert document["completeness"]["reasons"] == reasons


def test_fetch__one_failure_does_not_stop_the_others(
    command: Command, sandbox: SandboxServer
) -> None:
    """If one user fails, the run ends with 65, the others' enrollments, and the failed user."""
    finished = command("--user-id 4041,31", **reaching(sandbox))

    document = finished.document
    (failed,) = document["users"]["failed"]
    assert (finished.exit_code, document["error"]["code"], document["complete"]) == (65, 65, False)
    assert (failed["user_id"], failed["error"]["code"]) == ("4041", 67)
    assert document["completeness"]["status"] == INCOMPLETE
    assert document["enrollment_ids"] == ids_of(["31"], "course:")


CONTRADICTION = "ALM's pages for user 31 contradict themselves in each of 3 readings"
FAILURES = [
    ("", "4041", 67, "ALM has no user 4041"),
    ("", "4031", 77, "ALM does not let this token read user 4031"),
    ("*:401x*", "31", 77, "ALM refuses the access token while reading user 31"),
    ("*:400x*", "31", 64, "ALM refuses the request for user 31"),
    ("*:406x*", "31", 76, "ALM does not accept the header Accept: application/vnd.api+json while"),
    ("*:429/30x*", "31", 75, "ALM's quota is used up while reading user 31"),
    ("*:schemax*", "31", 76, "ALM's page for user 31 is not of the documented shape, at data/0/id"),
    ("*:redirectx*", "31", 76, "ALM's address redirects"),
    ("*:foreign-pathx*", "31", 76, "ALM's link to the next page leads to another path"),
    ("*:next-userinfox*", "31", 76, "ALM's link to the next page has user info"),
    ("*:foreign-userx*", "31", 76, "ALM's link to the next page leads to another path"),
    ("page=1:loopx*", "31", 76, CONTRADICTION),
    ("page=2:duplicatex*", "31", 76, CONTRADICTION),
    ("*:bigx*", "31", 76, "ALM's response for user 31 is larger than 8 MB"),
]


@pytest.mark.parametrize(
    ("fault", "user", "code", "message"),
    FAILURES,
    ids=[f"{case[0]} {case[1]}" for case in FAILURES],
)
def test_fetch__failures_have_their_exit_code_and_message(
    fault: str, user: str, code: int, message: str, command: Command, start_sandbox: StartSandbox
) -> None:
    """A failure has its exit code, one line on standard error, and a document without records."""
    server = start_sandbox(*filter(None, [fault]))

    finished = command(f"--user-id {user} --lo-types all --deadline 20", **reaching(server))

    document = finished.document
    assert finished.stderr.splitlines()[-1].startswith(f"alm-enrollments: error: {message}")
    assert document["error"]["message"].startswith(message)
    assert (finished.exit_code, document["error"]["code"]) == (code, code)
    assert (document["complete"], document["enrollment_ids"]) == (False, [])
    assert bool(document["error"]["retry_at"]) is (code == 75)


def test_fetch__unreachable_host_ends_with_69(command: Command) -> None:
    """A host that cannot be reached ends the run with 69 and a message with its name."""
    reachable = {"ALM_ACCESS_TOKEN": "t0ken-value", "ALM_BASE_URL": "http://127.0.0.1:9"}

    finished = command("--user-id 1 --deadline 1", **reachable)

    assert finished.exit_code == 69
    assert finished.error["message"].startswith(
        "127.0.0.1:9 cannot be reached while reading user 1"
    )


@pytest.mark.parametrize("fault", ["page=2:429/0.1", "page=1:reset"])
def test_fetch__retries_are_logged_and_leave_no_trace(
    fault: str, command: Command, start_sandbox: StartSandbox
) -> None:
    """A failure that passes is logged in one line, and leaves no trace in the document."""
    finished = command(ALL, **reaching(start_sandbox(fault)))

    assert (finished.exit_code, finished.document["enrollment_ids"]) == (0, ids_of(["31"]))
    assert finished.document["completeness"]["status"] == VERIFIED
    (line,) = finished.stderr.splitlines()
    assert re.search(r", retrying in [01]\.[0-9]{2} s \(attempt 1\b", line)


def test_fetch__opaque_cursors_are_consistent(
    command: Command, start_sandbox: StartSandbox
) -> None:
    """Cursors that do not decode leave the document complete, but consistent at most."""
    document = command(ALL, **reaching(start_sandbox("*:opaquex*"))).document

    assert document["enrollment_ids"] == ids_of(["31"])
    assert (document["complete"], document["completeness"]["status"]) == (True, CONSISTENT)


@pytest.mark.parametrize("fault", ["page=2:gap", "page=2:duplicate", "page=2:empty-page"])
def test_fetch__contradicting_pages_are_read_again(
    fault: str, command: Command, start_sandbox: StartSandbox
) -> None:
    """Pages that contradict themselves once are read again from the start."""
    finished = command(ALL, **reaching(start_sandbox(fault)))

    assert (finished.exit_code, finished.document["enrollment_ids"]) == (0, ids_of(["31"]))
    assert "reading 1 of user 31 contradicts itself" in finished.stderr


def test_fetch__allow_incomplete_returns_what_was_read(
    command: Command, start_sandbox: StartSandbox
) -> None:
    """With allow_incomplete, the pages before a failure are returned, marked, with exit code 0."""
    server = start_sandbox("page=2:schemax*")

    finished = command(f"{ALL} --allow-incomplete", **reaching(server))

    document = finished.document
    assert (finished.exit_code, document["enrollment_ids"]) == (0, ids_of(["31"])[:10])
    assert (document["complete"], document["error"]["code"]) == (False, 76)
    assert document["completeness"]["status"] == INCOMPLETE
    expected = "alm-enrollments: incomplete, as allow_incomplete allows: ALM's page for user 31"
    assert finished.stderr.startswith(expected)


def test_fetch__allow_incomplete_still_fails_on_nothing(
    command: Command, sandbox: SandboxServer
) -> None:
    """With allow_incomplete, a run that reads no page fails as it does without."""
    finished = command("--user-id 4041 --allow-incomplete true", **reaching(sandbox))

    assert finished.exit_code == 67


def test_fetch__token_is_refreshed_during_the_run(
    command: Command, start_sandbox: StartSandbox
) -> None:
    """A token that expires during the run is refreshed once, and the page is requested again."""
    server = start_sandbox("page=2:dead-token")

    finished = command(ALL, **reaching(server, **TRIPLE))

    methods = [request["method"] for request in server.requests]
    assert (finished.exit_code, methods[:4]) == (0, ["GET", "GET", "POST", "GET"])
    assert finished.document["enrollment_ids"] == ids_of(["31"])


def test_fetch__refresh_that_returns_the_same_token_ends_it(
    command: Command, start_sandbox: StartSandbox
) -> None:
    """A refresh that returns the refused token ends the run, with a hint on region and scope."""
    server = start_sandbox("*:same-token")

    finished = command("--user-id 31", **reaching(server, **TRIPLE))

    assert (finished.exit_code, len(server.requests)) == (77, 2)
    assert "a refresh returns the same one" in finished.stderr


BAD_INPUT = {
    "ALM_USER_ID": "ada",
    "ALM_PAGE_LIMIT": "50",
    "ALM_SORT": "dateenrolled",
    "ALM_LO_TYPES": "courses",
    "ALM_LO_TYPE": "all",
    "ALM_SINCE": "last week",
}


def test_fetch__invalid_inputs_are_reported_at_once(
    command: Command, sandbox: SandboxServer
) -> None:
    """One line reports every invalid input, and nothing is sent."""
    finished = command("--dead-line 5", **reaching(sandbox, **BAD_INPUT))

    assert (finished.exit_code, finished.error["code"], sandbox.requests) == (64, 64, [])
    assert finished.stderr == (
        "alm-enrollments: error: 7 inputs are not valid:"
        " --dead-line is an unknown option (did you mean --deadline?);"
        " ALM_LO_TYPE is not an input (did you mean ALM_LO_TYPES?);"
        ' ALM_USER_ID is "ada" (allowed: ALM user ids, decimal digits each);'
        ' ALM_LO_TYPES is "courses" (allowed: course, learningProgram, jobAid, certification, all;'
        " did you mean course?);"
        ' ALM_SORT is "dateenrolled" (allowed: dateEnrolled, -dateEnrolled;'
        " did you mean dateEnrolled?);"
        " ALM_PAGE_LIMIT is 50 (allowed: a whole number from 1 to 10);"
        ' ALM_SINCE is "last week" (allowed: YYYY-MM-DD, or YYYY-MM-DDThh:mm:ss with or without Z'
        " or an offset; or yesterday, 7d, 12h)."
        " Nothing was sent. Run alm-enrollments --help to see every input.\n"
    )
