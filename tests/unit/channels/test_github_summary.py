"""The step summary: what a person finds in it, whole, and that no text from the server is markup in it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings

from connector.channels.github_summary import summary_of
from connector.errors import PartialError, UserNotFoundError
from connector.text import one_line
from tests.unit.channels.made import HOSTILE, NO_ERROR, Page, enrollment, handover, hostile

HEAD = "### Enrollments from Adobe Learning Manager\n\n"
UNKNOWN = {
    "code": 67,
    "message": "ALM knows no user 4041.",
    "hint": "Look it up.",
    **NO_ERROR,
    "request_id": "r-1",
}
BUSY = {
    "code": 75,
    "message": "ALM's quota is used up.",
    "hint": "Wait.",
    **NO_ERROR,
    "retry_at": "2023-06-29T14:05:00Z",
}
PARTIAL = {
    "code": 65,
    "message": "1 of 2 users could not be read.",
    "hint": "The other was.",
    **NO_ERROR,
}
# What the summary itself is made of: whatever else is there was let through.
OWN_TAGS = {
    "h3",
    "p",
    "strong",
    "code",
    "ul",
    "li",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "details",
    "summary",
    "wbr",
}


def failed(*errors: dict[str, Any]) -> dict[str, Any]:
    """Return the users of a run of which all but one failed with *errors*."""
    users = [{"user_id": str(number), "error": error} for number, error in enumerate(errors)]
    return {"requested": len(errors) + 1, "read": 1, "failed": users}


def cell(text: str, longest: int = 160) -> str:
    """Return what a cell shows of *text*."""
    told = one_line(text).strip()
    return told if len(told) <= longest else f"{told[: longest - 1]}…"


def test_summary_of__one_user() -> None:
    """Of a run that succeeded: whose enrollments, how many, how sure that is, counts by type and state, and the enrollments."""
    told = [
        enrollment(),
        enrollment(
            "jobAid:4_5_3", "COMPLETED", lo_type="jobAid", progress_percent=100, has_passed=None
        ),
    ]

    summary = summary_of(handover(named_users=("3",), enrollment_count=2, enrollments=told))

    assert summary == (
        f"{HEAD}**✅ complete** · **2 enrollments** of user <code>3</code> · proved from 1 page, 1 request.\n\n"
        "| type | <code>ENROLLED</code> | <code>COMPLETED</code> | all |\n"
        "| --- | --- | --- | --- |\n"
        "| <code>course</code> | 1 |  | 1 |\n"
        "| <code>jobAid</code> |  | 1 | 1 |\n"
        "| **all** | **1** | **1** | **2** |\n\n"
        "<details><summary>The enrollments</summary>\n\n"
        "| enrollment | state | progress % | passed | enrolled |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| <code>course&#58;<wbr>1&#95;2&#95;3</code> | <code>ENROLLED</code> | 0 | no |"
        " 2023&#45;06&#45;29T11&#58;<wbr>34&#58;<wbr>50&#46;000Z |\n"
        "| <code>jobAid&#58;<wbr>4&#95;5&#95;3</code> | <code>COMPLETED</code> | 100 |  |"
        " 2023&#45;06&#45;29T11&#58;<wbr>34&#58;<wbr>50&#46;000Z |\n\n"
        "</details>\n"
    )


def test_summary_of__one_enrollment() -> None:
    """One enrollment is told as one, and an output file by its name."""
    summary = summary_of(
        handover(enrollment_count=1, enrollments=[enrollment()], output_file="all.json")
    )

    assert summary.splitlines()[2] == (
        "**✅ complete** · **1 enrollment** of 1 user · proved from 1 page, 1 request. Records in <code>all&#46;json</code>."
    )
    assert "<details><summary>The enrollment</summary>" in summary


def test_summary_of__some_users_failed() -> None:
    """Of a run that failed in part: the run's error first, then each user's, with exit code, way out, moment and request id."""
    reasons = ["user 0: ALM knows no user 4041.", "a second one"]
    truth = {"status": "incomplete", "reasons": reasons, "pages": 2, "requests": 1_000}
    error = PartialError(PARTIAL["message"], hint=PARTIAL["hint"])

    summary = summary_of(
        handover(
            error, complete=False, completeness=truth, users=failed(UNKNOWN, BUSY), error=PARTIAL
        )
    )

    assert summary == (
        f"{HEAD}**❌ failed** · **0 enrollments** of 3 users (1 of them read) · incomplete from 2 pages, 1,000 requests.\n\n"
        "- user 0&#58;<wbr> ALM knows no user 4041&#46;\n"
        "- a second one\n\n"
        "| who | exit code | what happened | what to do | request id |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| the run | 65 | 1 of 2 users could not be read&#46; | The other was&#46; |  |\n"
        "| <code>0</code> | 67 | ALM knows no user 4041&#46; | Look it up&#46; | <code>r&#45;1</code> |\n"
        "| <code>1</code> | 75 | ALM&#39;s quota is used up&#46; |"
        " Wait&#46; Not before 2023&#45;06&#45;29T14&#58;<wbr>05&#58;<wbr>00Z. |  |\n"
    )


def test_summary_of__one_users_own_failure() -> None:
    """Where the run fails with its one user's error, that error is told once, beside the user."""
    error = UserNotFoundError(UNKNOWN["message"], hint=UNKNOWN["hint"])

    page = Page(
        summary_of(
            handover(
                error,
                complete=False,
                users={**failed(UNKNOWN), "requested": 1, "read": 0},
                error=UNKNOWN,
            )
        )
    )

    assert page.tables[0][1:] == [["0", "67", "ALM knows no user 4041.", "Look it up.", "r-1"]]


def test_summary_of__incomplete_is_not_failed() -> None:
    """What was forgiven, or stopped early as asked, is incomplete."""
    summary = summary_of(handover(complete=False, error=BUSY))

    assert summary.startswith(f"{HEAD}**⚠️ incomplete** · ")
    assert "| the run | 75 |" in summary


def test_summary_of__many() -> None:
    """The first 50 of enrollments, failures and reasons are shown, and that there are more."""
    many = {"status": "incomplete", "reasons": ["because"] * 1_052, "pages": 1, "requests": 1}

    summary = summary_of(
        handover(
            enrollments=[enrollment()] * 1_051, users=failed(*[UNKNOWN] * 1_053), completeness=many
        )
    )

    page = Page(summary)
    assert page.items == ["because"] * 50 + ["and 1,002 more"]
    assert [len(table) for table in page.tables] == [51, 3, 51]
    assert "\n\n… and 1,003 more users; `users.failed` names them all.\n\n" in summary
    assert "<summary>The first 50 of 1,051 enrollments</summary>" in summary


@pytest.mark.parametrize("count", [50, 51])
def test_summary_of__just_as_many_as_are_shown(count: int) -> None:
    """Where all are shown, nothing says that there are more."""
    truth = {"status": "incomplete", "reasons": ["because"] * count, "pages": 1, "requests": 1}

    summary = summary_of(
        handover(
            enrollments=[enrollment()] * count, users=failed(*[UNKNOWN] * count), completeness=truth
        )
    )

    assert [
        told in summary for told in ("- and 1 more", "… and 1 more users", "The first 50 of 51 ")
    ] == [count == 51] * 3


def test_summary_of__many_kinds() -> None:
    """Of more than twelve types or states the rarest are counted together, and every sum is right."""
    kinds = [f"k{number:02}" for number in range(14) for _ in range(14 - number)]

    summary = summary_of(
        handover(enrollments=[enrollment(state=kind, lo_type=kind) for kind in kinds])
    )

    header, *rows, total = Page(summary).tables[0]
    assert header == ["type", *(f"k{number:02}" for number in range(12)), "others", "all"]
    assert [row[0] for row in rows] == header[1:-1]
    assert [row[-1] for row in rows] == [str(count) for count in (*range(14, 2, -1), 3)]
    assert total == ["all", *(str(count) for count in (*range(14, 2, -1), 3)), "105"]


def test_summary_of__what_alm_did_not_send() -> None:
    """An enrollment without state or type is counted as such."""
    page = Page(
        summary_of(handover(enrollments=[enrollment(state=None, lo_type=None, date_enrolled=None)]))
    )

    assert page.tables == [
        [["type", "None", "all"], ["None", "1", "1"], ["all", "1", "1"]],
        [
            ["enrollment", "state", "progress %", "passed", "enrolled"],
            ["course:1_2_3", "", "0", "no", ""],
        ],
    ]


@given(hostile, hostile, hostile)
@example("     code", "a@b.cd @someone", "# head")
@example("|a|", ":smile: #12", "<img src=//b.cd>")
@settings(max_examples=150)
def test_summary_of__hostile_texts(one: str, two: str, three: str) -> None:
    """Whatever the server sent stands in its cell as one line, cut where it is long, and is neither markup nor ever a link."""
    error = {"code": 76, "message": one, "hint": two, **NO_ERROR, "request_id": three}
    shown = [enrollment(one, two, lo_type=three, date_enrolled=one)]
    truth = {"status": "incomplete", "reasons": [two, three], "pages": 1, "requests": 1}

    page = Page(
        summary_of(
            handover(enrollments=shown, users=failed(error), completeness=truth, output_file=three)
        )
    )

    assert page.tags <= OWN_TAGS
    assert (page.attributes, page.links) == ([], [])
    assert page.tables == [
        [
            ["who", "exit code", "what happened", "what to do", "request id"],
            ["0", "76", cell(one, 1_000), cell(two, 1_000), cell(three)],
        ],
        [["type", cell(two), "all"], [cell(three), "1", "1"], ["all", "1", "1"]],
        [
            ["enrollment", "state", "progress %", "passed", "enrolled"],
            [cell(one), cell(two), "0", "no", cell(one)],
        ],
    ]
    assert page.items == [cell(two, 1_000), cell(three, 1_000)]


@pytest.mark.parametrize("text", HOSTILE)
def test_summary_of__each_hostile_text(text: str) -> None:
    """Each of these alone, where it is told by itself, is text."""
    page = Page(
        summary_of(
            handover(
                completeness={"status": "incomplete", "reasons": [text], "pages": 1, "requests": 1}
            )
        )
    )

    assert page.tags == {"h3", "p", "strong", "ul", "li"} | ({"wbr"} & page.tags)
    assert (page.items, page.attributes, page.links) == ([cell(text, 1_000)], [], [])
