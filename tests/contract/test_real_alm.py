"""Where a real account differs from the documented exchange: each case as a process, over HTTP."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import requests

from connector.sandbox import ACCESS_TOKEN
from connector.sandbox.learners import enrollments_of
from tests.support.completeness import CONSISTENT, INCOMPLETE, INCONSISTENT, VERIFIED
from tests.support.sandbox import ids_of, reaching, requested_users

if TYPE_CHECKING:
    from connector.sandbox.server import SandboxServer
    from tests.support.process import Command
    from tests.support.sandbox import StartSandbox

ALL = "--lo-types all"
LEARNERS = ",".join(map(str, range(1, 43)))
EMAIL = "ada.31@example.com"


class Case(NamedTuple):
    """What the sandbox does, what the command is asked for, and what comes of it."""

    faults: tuple[str, ...]
    line: str
    code: int
    status: str
    #: The records: those of these users, all types.
    users: tuple[str, ...] = ()
    failed: tuple[tuple[str | None, int], ...] = ()
    #: A part of the first reason, or of the error if there is one.
    text: str = ""


ONE = ("31",)
OTHERS = tuple(str(number) for number in range(1, 43) if number != 21)
CASES = {
    # A 400 about one user.
    "a user who does not exist, of 42": Case(
        ("user=21:no-objectx*",), LEARNERS, 65, INCOMPLETE, OTHERS, (("21", 67),)
    ),
    "a malformed id, of 42": Case(
        ("user=21:400/INVALID_USER_IDx*",), LEARNERS, 65, INCOMPLETE, OTHERS, (("21", 67),)
    ),
    "another learner's token, for one of 42": Case(
        ("user=21:denied-tokenx*",), LEARNERS, 65, INCOMPLETE, OTHERS, (("21", 77),)
    ),
    "an unexplained 400 for one of 42": Case(
        ("user=21:400x*",), LEARNERS, 65, INCOMPLETE, OTHERS, (("21", 64),)
    ),
    "a user who does not exist, alone": Case(
        ("*:no-objectx*",), "31", 67, INCOMPLETE, failed=(("31", 67),), text="OBJECT_DOESNT_EXIST"
    ),
    "three users who do not exist": Case(
        ("*:no-objectx*",), "1,2,3", 67, INCOMPLETE, failed=(("1", 67), ("2", 67), ("3", 67))
    ),
    "another learner's token, alone": Case(
        ("*:denied-tokenx*",), "31", 77, INCOMPLETE, failed=(("31", 77),), text="User mismatch"
    ),
    "an unexplained 400, alone": Case(
        ("*:400/bad thingx*",), "31", 64, INCOMPLETE, failed=(("31", 64),), text="bad thing"
    ),
    # Counts that ALM never serves.
    "a row that is counted and never served": Case(
        ("*:hiddenx*",),
        "31",
        0,
        CONSISTENT,
        ONE,
        text="ALM counts 1 row that it does not return (jobAid 1), in two complete",
    ),
    "two of them": Case(("*:hidden/2x*",), "31", 0, CONSISTENT, ONE, text="ALM counts 2 rows"),
    "counts that were too high once": Case(("request=2:gap",), "31", 0, VERIFIED, ONE),
    "a repeat on the next page": Case(
        ("page=2:duplicatex*",), "31", 76, INCONSISTENT, failed=(("31", 76),), text="came twice"
    ),
    "a repeat on the next page, allowed": Case(
        ("page=2:duplicatex*",),
        "31 --allow-incomplete",
        0,
        INCONSISTENT,
        ONE,
        (("31", 76),),
        text="came twice",
    ),
    "pages without end": Case(
        ("*:loopx*",), "31", 76, INCONSISTENT, failed=(("31", 76),), text="came twice"
    ),
    # Next links, and empty pages.
    "a link on another host": Case(("*:foreign-nextx*",), "31", 0, VERIFIED, ONE),
    "a link to another user": Case(
        ("*:foreign-userx*",), "31", 76, INCOMPLETE, failed=(("31", 76),), text="another path"
    ),
    "a link to another endpoint": Case(
        ("*:foreign-pathx*",), "31", 76, INCOMPLETE, failed=(("31", 76),), text="another path"
    ),
    "a link with user info": Case(
        ("*:next-userinfox*",), "31", 76, INCOMPLETE, failed=(("31", 76),), text="user info"
    ),
    "a link with the token": Case(
        ("*:next-secretx*",),
        "31",
        76,
        INCOMPLETE,
        failed=(("31", 76),),
        text="contains a secret of this run",
    ),
    "an empty next link": Case(("page=6:empty-nextx*",), "31", 0, VERIFIED, ONE),
    "links without data": Case(("*:no-datax*",), "31", 0, VERIFIED, ()),
    "links without data at the end": Case(("page=7:no-datax*",), "31", 0, VERIFIED, ONE),
    "the same record twice on a page": Case(
        ("page=2:twicex*",),
        "31",
        0,
        VERIFIED,
        ONE,
        text="and are kept once: 1, the first",
    ),
    # Types served one after the other.
    "since, with several types": Case(
        (), "31 --since 2020-01-01 --sort -dateEnrolled", 0, VERIFIED, ONE
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_real_alm(case: Case, command: Command, start_sandbox: StartSandbox) -> None:
    """Each answer of a real account has its exit code, status, records and failures."""
    server = start_sandbox(*case.faults)

    finished = command.as_process(f"--user-id {case.line} {ALL}", **reaching(server))

    document = finished.document
    reasons = " ".join(document["completeness"]["reasons"])
    assert (finished.exit_code, document["completeness"]["status"]) == (case.code, case.status)
    assert sorted(document["enrollment_ids"]) == sorted(ids_of(case.users))
    assert failures(document) == list(case.failed)
    assert case.text in f"{reasons} {document['error']}"


def failures(document: dict[str, Any]) -> list[tuple[str | None, int]]:
    """Return the id and the exit code of each user who failed."""
    return [(user["user_id"], user["error"]["code"]) for user in document["users"]["failed"]]


def test_real_alm__a_token_for_nobody_else(command: Command, start_sandbox: StartSandbox) -> None:
    """A learner's token for a list of others ends the run after the first twenty."""
    server = start_sandbox("*:denied-tokenx*")

    finished = command.as_process(f"--user-id {LEARNERS} --concurrency 1", **reaching(server))

    assert finished.exit_code == 77
    assert "the same is true for all of the first 20 users" in finished.error["message"]
    assert len(requested_users(server)) == 20


def test_real_alm__hidden_rows_of_many(command: Command, start_sandbox: StartSandbox) -> None:
    """After three users of whom ALM counts more than it serves, no further one is read twice."""
    server = start_sandbox("*:hiddenx*", enrollments_per_user=11, only_type="course")

    finished = command.as_process("--user-id 1,2,3,4,5 --concurrency 1", **reaching(server))

    completeness = finished.document["completeness"]
    reasons = completeness.pop("reasons")
    assert completeness == {"status": CONSISTENT, "pages": 10, "requests": 3 * 4 + 2 * 2}
    surplus = "ALM counts 1 row that it does not return (jobAid 1)"
    assert reasons == [
        *(f"user {user}: {surplus}, in two complete readings" for user in "123"),
        *(f"user {user}: {surplus}, as for other users of this run" for user in "45"),
    ]


@pytest.mark.parametrize(("flags", "code"), [("", 76), ("--allow-incomplete", 0)])
def test_real_alm__counts_that_change(
    flags: str, code: int, command: Command, start_sandbox: StartSandbox
) -> None:
    """A surplus that changes is inconsistent, and what was read is everything, not one page."""
    faults = [f"request={2 * n - 1}:hidden/{n},request={2 * n}:hidden/{n}" for n in (1, 2, 3)]
    server = start_sandbox(*faults, enrollments_per_user=14, only_type="course")

    finished = command.as_process(f"--user-id 31 {flags}", **reaching(server))

    document = finished.document
    assert (finished.exit_code, document["completeness"]["status"]) == (code, INCONSISTENT)
    assert document["completeness"]["requests"] == 6
    assert document["enrollment_count"] == (14 if flags else 0)


def test_real_alm__job_aids(command: Command, sandbox: SandboxServer) -> None:
    """Job aids have the instance and the module -1, and no remark."""
    line = "--user-id 31 --lo-types jobAid --include loResourceGrades"

    document = command.as_process(line, **reaching(sandbox)).document

    instances = {enrollment["lo_instance_id"] for enrollment in document["enrollments"]}
    grades = [
        grade for enrollment in document["enrollments"] for grade in enrollment["resource_grades"]
    ]
    assert document["completeness"]["reasons"] == []
    assert all(re.fullmatch("jobAid:[0-9]+_-1", instance) for instance in instances)
    assert grades
    assert {grade["module_id"] for grade in grades} == {"-1"}
    assert all(isinstance(grade["completed"], bool) for grade in grades)
    versions = [int(grade["id"].split("_")[3]) for grade in grades]
    assert [grade["module_version"] for grade in grades] == versions


def test_real_alm__query(command: Command, sandbox: SandboxServer) -> None:
    """Further parameters reach ALM, on every page."""
    line = f"--user-id 31 {ALL} --query includeHierarchicalEnrollments=true"

    finished = command.as_process(line, **reaching(sandbox))

    targets = [request["target"] for request in sandbox.requests]
    assert (finished.exit_code, len(targets)) == (0, 6)
    assert all("&includeHierarchicalEnrollments=<VALUE>" in target for target in targets)


EMAIL_CASES: dict[str, tuple[tuple[str, ...], str, int, str]] = {
    "nobody": ((), "ada@example.com", 67, "No user of ALM has the address ada@example.com."),
    "several": ((), "31.32@example.com", 67, "have the address 31.32@example.com: 31, 32."),
    "not allowed": (("page=0:403x*",), EMAIL, 77, "Use a token with the scope admin:read"),
    "malformed": (("page=0:400/invalid idx*",), EMAIL, 67, "invalid id"),
    "refused": (("page=0:400/bad thingx*",), EMAIL, 64, "bad thing"),
    "failing": (
        ("page=0:503/0x*",),
        EMAIL,
        75,
        "ALM failed while reading user ada.31@example.com",
    ),
}


@pytest.mark.parametrize("case", EMAIL_CASES.values(), ids=EMAIL_CASES)
def test_user_email__failed(
    case: tuple[tuple[str, ...], str, int, str], command: Command, start_sandbox: StartSandbox
) -> None:
    """An address that leads to no user is its own failure, without an id."""
    faults, email, code, text = case

    finished = command(f"--user-email {email},32@x.org", **reaching(start_sandbox(*faults)))

    document = finished.document
    (failed,) = [user for user in document["users"]["failed"] if user["user_email"] == email]
    assert (failed["user_id"], failed["error"]["code"]) == (None, code)
    assert text in f"{failed['error']['message']} {failed['error']['hint']}"


def test_user_email__found(command: Command, start_sandbox: StartSandbox) -> None:
    """An address is looked up with one request, and named with the id wherever the user is."""
    server = start_sandbox("page=0:503,user=32:404x*")
    line = f"--user-email '{EMAIL} 32+a@example.com' --concurrency 1"

    finished = command.as_process(line, **reaching(server))

    document = finished.document
    (failed,) = document["users"]["failed"]
    assert (finished.exit_code, document["users"]["read"]) == (65, 1)
    assert (failed["user_id"], failed["user_email"]) == ("32", "32+a@example.com")
    assert {record["user_email"] for record in document["enrollments"]} == {EMAIL}
    assert document["enrollment_ids"] == ids_of(ONE, "course")
    targets = [request["target"] for request in server.requests]
    lookup = "/primeapi/v2/users?page%5Boffset%5D=0&page%5Blimit%5D=10&sort=id&ids=email:"
    assert targets[:2] == [f"{lookup}ada.31%40example.com"] * 2
    assert f"{lookup}32%2Ba%40example.com" in targets
    assert document["completeness"]["requests"] == len(targets)
    assert "1 of 2 users could not be read: 32 (32+a@example.com) (exit code 67)" in finished.stderr


def test_user_email__and_the_id_of_one_user(command: Command, sandbox: SandboxServer) -> None:
    """A user listed by id and by addresses is read once; ALM's own report can be the list."""
    report = (
        "internalUserID,userEmail,state\n31,ada.31@example.com,ACTIVE\n"
        f",{EMAIL},ACTIVE\n,ADA.31@example.com,ACTIVE\n,b31@x.org,ACTIVE\n"
        "33,cy.33@example.com,DELETED\n,32@example.com,Active\n"
    )

    finished = command("--user-ids-file -", stdin=report, **reaching(sandbox))

    document = finished.document
    assert (finished.exit_code, document["users"]["requested"]) == (0, 2)
    assert document["users"] == {"requested": 2, "read": 2, "failed": []}
    assert sorted(document["enrollment_ids"]) == sorted(ids_of(("31", "32"), "course"))
    assert document["completeness"]["reasons"] == ["skipped 1 user that ALM has deleted"]


def test_user_email__resumed(command: Command, sandbox: SandboxServer) -> None:
    """A finished user is not looked up again, whichever way the address is written."""
    # Pages that were requested ahead may arrive after the run.
    line = "--no-prefetch --output-file out.ndjson --format ndjson --resume --user-email"
    first = command(f"{line} {EMAIL}", **reaching(sandbox))
    requests_of_first = len(sandbox.requests)

    second = command(f"{line} ADA.31@Example.com", **reaching(sandbox))

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert len(sandbox.requests) == requests_of_first
    assert second.document["users"] == first.document["users"]


def test_user_email__merged(command: Command, sandbox: SandboxServer) -> None:
    """Shards go by the address, and their join keeps users and failures with their addresses."""
    emails = [f"ada.{number}@example.com" for number in range(31, 41)]
    (command.folder / "list").write_text(
        "email\n" + "\n".join([*emails, "x@example.com", "y@example.com"])
    )
    line = "--user-ids-file list --format ndjson --resume"
    for number in (1, 2):
        command(f"{line} --shard {number}/2 --output-file {number}.ndjson", **reaching(sandbox))

    document = command("merge all.ndjson 1.ndjson 2.ndjson").document

    records = (command.folder / "all.ndjson").read_text().splitlines()
    failed = [(user["user_id"], user["user_email"]) for user in document["users"]["failed"]]
    assert {json.loads(record)["user_email"] for record in records} == set(emails)
    assert (document["users"]["requested"], document["users"]["read"]) == (12, 10)
    assert sorted(failed) == [(None, "x@example.com"), (None, "y@example.com")]
    assert document["error"]["message"].startswith("2 of 12 users could not be read: ")
    reasons = document["completeness"]["reasons"]
    named = sorted(reason.partition(":")[0] for reason in reasons)
    assert named == ["user x@example.com", "user y@example.com"]


def test_user_email__found_later(command: Command, start_sandbox: StartSandbox) -> None:
    """An address that failed is tried by the next run that resumes, and a known id is kept."""
    server = start_sandbox("page=0:403")
    line = "--format ndjson --output-file out.ndjson --resume --concurrency 1"
    first = command(f"{line} --user-email {EMAIL},32@x.org", **reaching(server))

    second = command(f"{line} --user-email {EMAIL},32@x.org,b.32@x.org", **reaching(server))

    assert (first.exit_code, first.document["users"]["read"]) == (65, 1)
    assert (second.exit_code, second.document["users"]["failed"]) == (0, [])
    ids = [
        json.loads(record)["id"]
        for record in (command.folder / "out.ndjson").read_text().splitlines()
    ]
    assert sorted(ids) == sorted(ids_of(("31", "32"), "course"))


def test_user_email__step_summary(command: Command, sandbox: SandboxServer) -> None:
    """With names the step summary has the address with the id, of a user and of a failure."""
    github = {"GITHUB_STEP_SUMMARY": "summary.md", "GITHUB_OUTPUT": "output"}

    command(f"--user-email {EMAIL} --names", **reaching(sandbox), **github)
    command("--user-email nobody@example.com,404@x.org --names", **reaching(sandbox), **github)

    text = (command.folder / "summary.md").read_text()
    shown = re.sub("<.*?>", "", re.sub(r"&#([0-9]+);", lambda code: chr(int(code[1])), text))
    assert "of user 31 (ada.31@example.com)" in shown
    assert "| nobody@example.com | 67 |" in shown


def test_check__an_address(command: Command, sandbox: SandboxServer) -> None:
    """A check looks up the first user's address, and counts the look-ups of all."""
    report = f"email,state\n{EMAIL},\n32@x.org,\n33@x.org,DELETED\n"

    finished = command("check --user-ids-file -", stdin=report, **reaching(sandbox))

    lines = finished.stdout.splitlines()
    assert lines[0].startswith("inputs     valid: 2 users (1 deleted user skipped); course;")
    assert lines[3].startswith("read       1 enrollment of user 31 (ada.31@example.com) in ")
    assert lines[4].startswith("full read  2 users of 10 enrollments: 4 requests, less than 1 s")


def pages_of_the_public_client(url: str) -> list[dict[str, Any]]:
    """Return the pages that the public Python client for this API reads.

    It repeats ``filter.loTypes``, follows absolute next links as they are, and takes a response
    without data for the end.
    """
    headers = {"Accept": "application/vnd.api+json", "Authorization": f"oauth {ACCESS_TOKEN}"}
    parameters: dict[str, Any] = {
        "page[limit]": 10,
        "filter.loTypes": ["course", "learningProgram", "jobAid", "certification"],
        "sort": "dateEnrolled",
    }
    pages: list[dict[str, Any]] = []
    next_url: str | None = f"{url}/primeapi/v2/users/31/enrollments"
    while next_url:
        response = requests.get(
            next_url, params=None if pages else parameters, headers=headers, timeout=30
        )
        page = response.json()
        if not page.get("data"):
            break
        pages.append(page)
        next_url = page["links"].get("next")
    return pages


@pytest.mark.parametrize("faults", [(), ("page=7:no-data",), ("page=6:empty-next",)])
def test_sandbox__public_client(faults: tuple[str, ...], start_sandbox: StartSandbox) -> None:
    """The public Python client reads every enrollment of the sandbox."""
    pages = pages_of_the_public_client(start_sandbox(*faults).url)

    served = [enrollment for page in pages for enrollment in page["data"]]
    assert served == list(enrollments_of("31"))
