"""The step summary: its full text, and that no text from the server becomes markup."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import example, given, settings
from markdown_it import MarkdownIt

from connector.channels import Tally
from connector.channels.github_summary import summary_of
from connector.errors import PartialError, UserNotFoundError
from connector.text import one_line
from tests.unit.channels.examples import HOSTILE, NO_ERROR, enrollment, hostile, run_outputs

HEAD = "### Enrollments from Adobe Learning Manager\n\n"
UNKNOWN: dict[str, Any] = {
    "code": 67,
    "message": "ALM has no user 4041.",
    "hint": "Look it up.",
    **NO_ERROR,
    "request_id": "r-1",
}
BUSY: dict[str, Any] = {
    "code": 75,
    "message": "ALM's quota is used up.",
    "hint": "Wait.",
    **NO_ERROR,
    "retry_at": "2023-06-29T14:05:00Z",
}
PARTIAL: dict[str, Any] = {
    "code": 65,
    "message": "1 of 2 users could not be read.",
    "hint": "The other was.",
    **NO_ERROR,
}
OWN_TAGS = set("h3 p strong pre code ul li table thead tbody tr th td details summary wbr".split())  # noqa: SIM905 - a list of 16 strings is harder to read


class Page(HTMLParser):
    """A summary as GitHub shows it: tags, tables, list items, and texts that it would link."""

    def __init__(self, markdown: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.tables: list[list[list[str]]] = []
        self.items: list[str] = []
        # GitHub's Markdown links addresses that are written out.
        self.links = re.findall(r"www\.|https?:|ftp:", markdown)
        self._open: list[str] = []
        parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
        self.feed(parser.render(markdown))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a tag, and begin a table, a row, a cell or an item."""
        self.tags.add(tag)
        self.attributes += attrs
        if tag != "wbr":
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "li":
            self.items.append("")

    def handle_endtag(self, tag: str) -> None:
        """End a tag: tags that do not nest are markup from a quoted text."""
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keep a text, and what GitHub links after Markdown: in code only addresses."""
        pattern = r"[\w.+-]@[\w-]" if "code" in self._open else r"@[\w-]|#\d|:[\w+-]+:"
        self.links += re.findall(pattern, data)
        if {"td", "th"} & set(self._open):
            self.tables[-1][-1][-1] += data
        elif "li" in self._open:
            self.items[-1] += data


def failed(*errors: dict[str, Any]) -> dict[str, Any]:
    """Return the document's users if all but one failed with *errors*."""
    users = [{"user_id": str(number), "error": error} for number, error in enumerate(errors)]
    return {"requested": len(errors) + 1, "read": 1, "failed": users}


def incomplete(*reasons: str) -> dict[str, Any]:
    """Return the document's completeness with *reasons*."""
    return {"status": "incomplete", "reasons": list(reasons), "pages": 2, "requests": 1_000}


def cell(text: str, max_characters: int = 160) -> str:
    """Return *text* as a cell shows it."""
    line = one_line(text).strip()
    return line if len(line) <= max_characters else f"{line[: max_characters - 1]}…"


def test_summary_of__one_user() -> None:
    """A run that succeeded: the user, counts, completeness, a table of counts, the enrollments."""
    enrollments = [
        enrollment(),
        enrollment(
            "jobAid:4_5_3", "COMPLETED", lo_type="jobAid", progress_percent=100, has_passed=None
        ),
    ]

    summary = summary_of(
        run_outputs(named_users=("3",), enrollment_count=2, enrollments=enrollments)
    )

    assert summary == (
        f"{HEAD}**✅ complete** · **2 enrollments** of user <code>3</code>"
        " · verified: 1 page, 1 request.\n\n"
        "```mermaid\n"
        "pie showData\n"
        "    title States\n"
        '    "ENROLLED" : 1\n'
        '    "COMPLETED" : 1\n'
        "```\n\n"
        "| type | <code>ENROLLED</code> | <code>COMPLETED</code> | all |\n"
        "| --- | --- | --- | --- |\n"
        "| <code>course</code> | 1 |  | 1 |\n"
        "| <code>jobAid</code> |  | 1 | 1 |\n"
        "| **all** | **1** | **1** | **2** |\n\n"
        "<details><summary>The enrollments</summary>\n\n"
        "| enrollment | state | progress % | passed | enrolled | completed |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
        "| <code>course&#58;<wbr>1&#95;2&#95;3</code> | <code>ENROLLED</code>"
        " | 0 | no | 2023-06-29 |  |\n"
        "| <code>jobAid&#58;<wbr>4&#95;5&#95;3</code> | <code>COMPLETED</code>"
        " | 100 |  | 2023-06-29 |  |\n\n"
        "</details>\n"
    )


def test_summary_of__one_enrollment() -> None:
    """One enrollment is singular, and an output file is named."""
    summary = summary_of(
        run_outputs(enrollment_count=1, enrollments=[enrollment()], output_file="all.json")
    )

    assert summary.splitlines()[2] == (
        "**✅ complete** · **1 enrollment** of 1 user · verified: 1 page, 1 request."
        " Records in <code>all&#46;json</code>."
    )
    assert "<details><summary>The enrollment</summary>" in summary


def test_summary_of__resumed_run() -> None:
    """A resumed run has the pages of all runs on its file, and the requests of the last one."""
    completeness = {"status": "verified", "reasons": [], "pages": 5, "requests": 1}

    summary = summary_of(run_outputs(completeness=completeness))

    assert "verified: 5 pages, 1 request in the last run." in summary


def test_summary_of__tally() -> None:
    """Records that are not in the document are shown by their tally."""
    tally = Tally({("course", "ENROLLED"): 1_000, ("jobAid", "ENROLLED"): 1}, [enrollment()])

    page = Page(summary_of(replace(run_outputs(enrollments=[]), tally=tally)))

    assert page.tables[0][1:] == [
        ["course", "1000", "1000"],
        ["jobAid", "1", "1"],
        ["all", "1001", "1001"],
    ]
    assert page.tables[1][1][0] == "course:1_2_3"


@pytest.mark.parametrize(
    ("users", "learners"),
    [
        (2, "2 users · "),
        (5, "5 users · requested: 2 users · "),
    ],
)
def test_summary_of__users_of_an_earlier_run(users: int, learners: str) -> None:
    """Enrollments are those of all users that the file has, requested or not."""
    tally = Tally({("course", "ENROLLED"): 15}, [], users)
    requested = {"requested": 2, "read": 2, "failed": []}

    summary = summary_of(replace(run_outputs(enrollment_count=15, users=requested), tally=tally))

    assert f"**15 enrollments** of {learners}verified" in summary


def test_summary_of__partial_failure() -> None:
    """The run's error comes first, then each user's with code, hint, moment and request id."""
    error = PartialError(PARTIAL["message"], hint=PARTIAL["hint"])

    summary = summary_of(
        run_outputs(
            error,
            complete=False,
            completeness=incomplete("user 0: no user", "a second one"),
            users=failed(UNKNOWN, BUSY),
            error=PARTIAL,
        )
    )

    assert summary == (
        f"{HEAD}**❌ failed** · **0 enrollments** of 3 users (1 of them read)"
        " · incomplete: 2 pages, 1,000 requests.\n\n"
        "- user 0&#58;<wbr> no user\n"
        "- a second one\n\n"
        "| user | exit code | what happened | what to do | request id |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| the run | 65 | 1 of 2 users could not be read&#46; | The other was&#46; |  |\n"
        "| <code>0</code> | 67 | ALM has no user 4041&#46; | Look it up&#46;"
        " | <code>r&#45;1</code> |\n"
        "| <code>1</code> | 75 | ALM&#39;s quota is used up&#46; |"
        " Wait&#46; Not before 2023&#45;06&#45;29T14&#58;<wbr>05&#58;<wbr>00Z. |  |\n"
    )


def test_summary_of__failure_of_one_user() -> None:
    """If the run's error is its only user's, it is shown once."""
    error = UserNotFoundError(UNKNOWN["message"], hint=UNKNOWN["hint"])
    users = {**failed(UNKNOWN), "requested": 1, "read": 0}

    page = Page(summary_of(run_outputs(error, complete=False, users=users, error=UNKNOWN)))

    assert page.tables[0][1:] == [["0", "67", "ALM has no user 4041.", "Look it up.", "r-1"]]


def test_summary_of__incomplete_is_not_failed() -> None:
    """An incomplete result that was allowed is not called failed, but its error is shown."""
    summary = summary_of(run_outputs(complete=False, error=BUSY))

    assert summary.startswith(f"{HEAD}**⚠️ incomplete** · ")
    assert "| the run | 75 |" in summary


@pytest.mark.parametrize("count", [50, 51, 1_050])
def test_summary_of__first_50(count: int) -> None:
    """Of enrollments, failures and reasons the first 50 are shown, and the number of the others."""
    summary = summary_of(
        run_outputs(
            enrollments=[enrollment()] * count,
            users=failed(*[UNKNOWN] * count),
            completeness=incomplete(*["because"] * count),
        )
    )

    page, more = Page(summary), f"{count - 50:,} more"
    assert page.items == ["because"] * 50 + [f"and {more}"] * (count > 50)
    assert [len(table) for table in page.tables] == [51, 3, 51]
    assert (f"\n\n… and {more} users; `users.failed` names them all.\n\n" in summary) == (
        count > 50
    )
    heading = "The enrollments" if count == 50 else f"The first 50 of {count:,} enrollments"
    assert f"<summary>{heading}</summary>" in summary


def test_summary_of__many_kinds() -> None:
    """Over twelve types or states, the rarest are counted together, and every sum is right."""
    counts = Counter({(f"k{number:02}", f"k{number:02}"): 14 - number for number in range(14)})

    page = Page(summary_of(replace(run_outputs(), tally=Tally(counts, []))))

    header, *rows, total = page.tables[0]
    kinds = [*(f"k{number:02}" for number in range(12)), "others"]
    sums = [str(count) for count in (*range(14, 2, -1), 3)]
    assert header == ["type", *kinds, "all"]
    assert [row[0] for row in rows] == kinds
    assert [row[index + 1] for index, row in enumerate(rows)] == sums
    assert [row[-1] for row in rows] == sums
    assert total == ["all", *sums, "105"]


def test_summary_of__kind_named_others() -> None:
    """A state that ALM calls as the rarest are called here is counted once, with them."""
    counts = Counter({("course", f"k{number:02}"): 20 - number for number in range(13)})
    counts["course", "others"] = 30

    page = Page(summary_of(replace(run_outputs(), tally=Tally(counts, []))))

    header, row, total = page.tables[0]
    assert header == ["type", *(f"k{number:02}" for number in range(11)), "others", "all"]
    assert row[1:] == total[1:] == [*(str(20 - number) for number in range(11)), "47", "212"]


def test_summary_of__missing_fields() -> None:
    """An enrollment without state, type or date is counted and shown without them."""
    enrollments = [enrollment(state=None, lo_type=None, date_enrolled=None)]

    page = Page(summary_of(run_outputs(enrollments=enrollments)))

    assert page.tables == [
        [["type", "None", "all"], ["None", "1", "1"], ["all", "1", "1"]],
        [
            ["enrollment", "state", "progress %", "passed", "enrolled", "completed"],
            ["course:1_2_3", "", "0", "no", "", ""],
        ],
    ]


@given(hostile, hostile, hostile)
@example("     code", "a@b.cd @someone", "# head")
@example("|a|", ":smile: #12", "<img src=//b.cd>")
@settings(max_examples=150)
def test_summary_of__hostile_texts(first: str, second: str, third: str) -> None:
    """Each text is one line in its own cell, cut if it is long, and neither markup nor a link."""
    error = {"code": 76, "message": first, "hint": second, **NO_ERROR, "request_id": third}
    outputs = run_outputs(
        enrollments=[enrollment(first, second, lo_type=third, date_enrolled=first)],
        users=failed(error),
        completeness=incomplete(second, third),
        output_file=third,
    )

    page = Page(summary_of(outputs))

    assert page.tags <= OWN_TAGS
    # The only attribute is that of the pie.
    assert (page.attributes, page.links) == ([("class", "language-mermaid")], [])
    assert [table[1:] for table in page.tables] == [
        [["0", "76", cell(first, 1_000), cell(second, 1_000), cell(third)]],
        [[cell(third), "1", "1"], ["all", "1", "1"]],
        [[cell(first), cell(second), "0", "no", cell(first), ""]],
    ]
    assert page.tables[1][0] == ["type", cell(second), "all"]
    assert page.items == [cell(second, 1_000), cell(third, 1_000)]


def pie_of(*states: str) -> str:
    """Return the pie of enrollments in *states*."""
    counts = Counter(("course", state) for state in states)
    text = summary_of(replace(run_outputs(), tally=Tally(counts, [])))
    return text.partition("```mermaid\n")[2].partition("```")[0]


@given(hostile)
@example('" : 9\n    "x')
@settings(max_examples=100)
def test_pie__hostile_states(state: str) -> None:
    """A state is part of its own label, whatever it is: a pie has no escapes."""
    assert re.fullmatch(
        r'pie showData\n    title States\n    "[A-Za-z0-9 _-]*" : 1\n', pie_of(state)
    )


def test_pie__of_many_states() -> None:
    """States that look alike are added up, and beyond twelve the rarest are one slice."""
    states = ["A!", "A?", *(f"S{number:02}" for number in range(14) for _ in range(20 - number))]

    lines = pie_of(*states).splitlines()

    assert lines[2:4] == ['    "S00" : 20', '    "S01" : 19']
    # S12, S13 and the two that look alike.
    assert lines[-1] == '    "others" : 17'
    assert len(lines) == 2 + 13


def test_pie__without_enrollments() -> None:
    """A run without enrollments has no pie."""
    assert pie_of() == ""


NAMED = {"user_name": "Ada", "user_email": "ada@example.com", "lo_name": "First aid"}


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        (NAMED, ["Ada", "First aid"]),
        ({**NAMED, "user_name": None}, ["ada@example.com", "First aid"]),
        (dict.fromkeys(NAMED), ["3", "course:1"]),
        ({}, ["3", "course:1"]),
    ],
)
def test_summary_of__names(fields: dict[str, Any], names: list[str]) -> None:
    """With names, the enrollments are listed by learner and learning object, if they have any."""
    outputs = run_outputs(enrollments=[enrollment(date_completed="2024-01-02T03:04Z", **fields)])

    page = Page(summary_of(replace(outputs, shows_names=True)))

    assert page.tables[-1][0][:2] == ["learner", "learning object"]
    assert page.tables[-1][1] == [*names, "ENROLLED", "0", "no", "2023-06-29", "2024-01-02"]


def test_summary_of__names_that_were_not_asked_for() -> None:
    """Names that include brings are not in the summary: more people read it than the document."""
    outputs = run_outputs(enrollments=[enrollment(**NAMED)])

    assert all(name not in summary_of(outputs) for name in ("Ada", "ada", "First"))


def test_summary_of__addresses() -> None:
    """Only with names are there addresses of users, in whatever text."""
    missing = {**UNKNOWN, "message": "No user of ALM has the address ada@example.com."}
    busy = {**BUSY, "message": "ALM's quota is used up, asked for user 32 (bob@example.com)."}
    users = {
        **failed(missing, busy),
        "failed": [
            {"user_id": None, "user_email": "ada@example.com", "error": missing},
            {"user_id": "32", "user_email": "bob@example.com", "error": busy},
        ],
    }
    outputs = run_outputs(
        PartialError("1 of 3", hint="", request_id=None),
        ("eve@example.com",),
        users=users,
        error={**PARTIAL, "message": "Failed: ada@example.com, eve@example.com."},
        completeness=incomplete("user 33 (joe@example.com): it stopped", "32 (bob@example.com)"),
    )

    hidden = summary_of(outputs)
    rows = Page(hidden).tables[0][1:]

    assert "example" not in hidden
    assert "of user <code>&#42;&#42;&#42;</code>" in hidden
    assert Page(hidden).items == ["user 33: it stopped", "32"]
    assert [row[:3] for row in rows] == [
        ["the run", "65", "Failed: ***, ***."],
        ["***", "67", "No user of ALM has the address ***."],
        ["32 ***", "75", "ALM's quota is used up, asked for user 32."],
    ]
    assert summary_of(replace(outputs, shows_names=True)).count("example") == 9


@pytest.mark.parametrize("text", HOSTILE)
def test_summary_of__each_hostile_text(text: str) -> None:
    """Each of these texts stays a text."""
    page = Page(summary_of(run_outputs(completeness=incomplete(text))))

    assert page.tags - {"wbr"} == {"h3", "p", "strong", "ul", "li"}
    assert (page.items, page.attributes, page.links) == ([cell(text, 1_000)], [], [])
