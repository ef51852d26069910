"""The page: it counts everything, lists a part and says so, and nothing in it is executed."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from connector.formats import columns_of
from connector.formats.html import MAX_FAILED, MAX_MONTHS, MAX_OVERDUE, MAX_REASONS, MAX_ROWS
from tests.support.formats import REPORT, finished
from tests.support.inputs import inputs_of
from tests.support.records import enrollment, enrollments

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from connector.alm.records import Enrollment

ERROR = {"code": 67, "message": "ALM has no user 9.", "hint": "Check the id."}
HOSTILE = [
    "<script>window.hacked = true</script>",
    '"><img src=x onerror=alert(1)>',
    "</style></script><script>alert(1)//",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "\u202eevil\u2066",
    "x\x1b[31m\x00\ud800",
]


class Elements(HTMLParser):
    """Collects the elements of a page, each with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, list[tuple[str, str | None]]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Add an element."""
        self.elements.append((tag, attrs))


def page_of(folder: Path, served: Sequence[Enrollment], **values: Any) -> str:
    """Return the page of *served*; *values* replace those of the report."""
    columns = values.pop("columns", ())
    report = replace(REPORT, **values)
    return finished(folder, "html", served, columns, report).read_text(encoding="utf-8")


def text_of(page: str) -> str:
    """Return what a page shows, in lines without markup."""
    body = re.sub(r"(?s)<(style|script|svg)\b.*?</\1>", "", page.partition("<body>")[2])
    body = re.sub(r"(?i)</(li|tr|p|h\d|dd|dt|th|td|summary)>|<t[dh][^>]*>", " ", body)
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", body)))


def test_finish__what_a_reader_looks_for(tmp_path: Path) -> None:
    """The page has source, time, counts, completions, the overdue and the list of enrollments."""
    late = enrollment(
        state="STARTED",
        lo_name="First aid",
        user_name="Ada",
        progress_percent=40,
        completion_deadline="2024-01-30T00:00:00Z",
    )
    done = enrollment(number=2, date_completed="2024-01-02T10:11:12Z", lo_type="jobAid")
    columns = ["user_name", "lo_name", "state", "date_completed"]

    text = text_of(page_of(tmp_path, [late, done], columns=columns, requested=2, read=2))

    assert text.strip().startswith(
        "Enrollments Complete 2 enrollments of 2 learners."
        " Source sandbox: learners and enrollments are made up"
        " Time 2024-01-31 12:00 UTC Completeness verified"
    )
    for part in (
        "By state STARTED 1 COMPLETED 1 By type course 1 jobAid 1",
        "Completions per month 2024-01 1",
        "type STARTED COMPLETED all course 1 0 1 jobAid 0 1 1",
        "Overdue 1 enrollment is past the deadline and not completed.",
        "2024-01-30 00:00 Ada First aid STARTED 40",
        "learner learning object state completed Ada First aid STARTED COMPLETED 2024-01-02 10:11",
    ):
        assert part in re.sub(r" +", " ", text)


@pytest.mark.parametrize(
    ("names", "learner", "learning_object"),
    [(True, "user_name", "lo_name"), (False, "user_id", "lo_id")],
)
def test_columns__names_or_ids(names: bool, learner: str, learning_object: str) -> None:  # noqa: FBT001 - a parameter
    """The list has names if the run reads them, and ids otherwise."""
    columns = columns_of(inputs_of(format="html", names=names))

    assert columns[:4] == (learner, learning_object, "lo_type", "state")


@pytest.mark.parametrize("text", HOSTILE)
def test_finish__hostile_text_is_text(text: str, tmp_path: Path) -> None:
    """No text ends its element, is an address to follow, or reverses what follows it."""
    record = enrollment(
        id=text, user_id=text, lo_name=text, user_name=text, state=text, lo_type=text, url=text,
        completion_deadline="2020-01-01T00:00:00Z",
    )  # fmt: skip
    failed = [{"user_id": text, "error": {**ERROR, "message": text, "hint": text}}]
    columns = ["id", "user_name", "lo_name", "state", "lo_type", "url"]

    page = page_of(tmp_path, [record], columns=columns, source=text, reasons=[text], failed=failed)

    parser = Elements()
    parser.feed(page)
    names = Counter(name for name, _ in parser.elements)
    assert [names[name] for name in ("script", "style", "img", "a")] == [1, 1, 0, 0]
    attributes = [pair for _, pairs in parser.elements for pair in pairs]
    active = [pair for pair in attributes if re.match("on|src|action|style|href", pair[0])]
    assert active == [("href", "data:,")]
    assert not re.search("[\x00-\x09\x0b-\x1f\u200e\u200f\u202a-\u202e\u2066-\u2069]", page)


def test_finish__nothing_from_elsewhere(tmp_path: Path) -> None:
    """The page allows only its own style and script, by their hashes, and no request."""
    page = page_of(tmp_path, enrollments(1))

    hashes = {}
    for name in ("style", "script"):
        (content,) = re.findall(rf"(?s)<{name}>(.*?)</{name}>", page)
        digest = hashlib.sha256(content.encode()).digest()
        hashes[name] = f"sha256-{base64.b64encode(digest).decode()}"
    (policy,) = re.findall(r'"Content-Security-Policy" content="([^"]*)"', page)
    assert policy == (
        f"default-src 'none'; img-src data:; style-src '{hashes['style']}';"
        f" script-src '{hashes['script']}'; base-uri 'none'; form-action 'none'"
    )
    assert re.findall(r"https?://[^\s\"']+", page) == []


def test_finish__long_text_is_cut(tmp_path: Path) -> None:
    """A name of 10,000 characters ends in an ellipsis."""
    page = page_of(tmp_path, [enrollment(lo_name="n" * 10_000)], columns=["lo_name"])

    assert f"<bdi>{'n' * 199}…</bdi>" in page
    assert "n" * 200 not in page


def test_finish__says_what_it_leaves_out(tmp_path: Path) -> None:
    """Rows, overdue enrollments, months, failures and remarks beyond a limit are counted."""
    served = [enrollment(state="STARTED", completion_deadline="2019-01-01")] * 60
    served += [
        enrollment(date_completed=f"{2000 + number}-05-01") for number in range(MAX_MONTHS + 2)
    ]
    served += enrollments(MAX_ROWS)
    failed = [{"user_id": str(number), "error": ERROR} for number in range(MAX_FAILED + 1)]
    reasons = [f"reason {number}" for number in range(MAX_REASONS + 2)]

    page = page_of(tmp_path, served, columns=["id"], failed=failed, reasons=reasons)

    text = text_of(page)
    total = f"{len(served):,}"
    for part in (
        f"lists the first 5,000 of {total} enrollments; everything above counts all of them",
        "60 enrollments are past the deadline and not completed. These 50 are the longest overdue.",
        "2 more in earlier months.",
        "The first 100 of 101 learners",
        "The document of the run lists the other 2.",
    ):
        assert part in text
    assert page.count("<tr><td><bdi>course:") == MAX_ROWS


def test_finish__the_longest_overdue(tmp_path: Path) -> None:
    """Of too many overdue enrollments, the page lists the oldest deadlines, in order."""
    days = [f"2023-{1 + number // 28:02}-{1 + number % 28:02}" for number in range(MAX_OVERDUE + 9)]
    served = [enrollment(state="ENROLLED", completion_deadline=day) for day in reversed(days)]

    page = page_of(tmp_path, served, columns=["id"])

    section = page.partition('id="overdue"')[2].partition("</table>")[0]
    assert re.findall(r">(\S+) 00:00</td>", section) == days[:MAX_OVERDUE]


@pytest.mark.parametrize(
    ("values", "is_overdue"),
    [
        ({}, True),
        ({"state": "PENDING_APPROVAL"}, True),
        ({"completion_deadline": "2024-01-31T12:00:01Z"}, False),
        ({"completion_deadline": "soon"}, False),
        ({"completion_deadline": None}, False),
        ({"date_completed": "2023-01-01T00:00:00Z"}, False),
        ({"state": "COMPLETED"}, False),
        ({"state": "REJECTED"}, False),
    ],
)
def test_finish__overdue(values: dict[str, Any], is_overdue: bool, tmp_path: Path) -> None:  # noqa: FBT001 - a parameter
    """Overdue is what is open after its deadline, at the time of the run."""
    usual = {"state": "STARTED", "completion_deadline": "2024-01-31T11:59:59Z"}

    text = text_of(page_of(tmp_path, [enrollment(**{**usual, **values})], columns=["id"]))

    assert ("1 enrollment is past the deadline" in text) is is_overdue


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ("verified", "Complete"),
        ("consistent", "Complete"),
        ("incomplete", "Incomplete"),
        ("inconsistent", "Incomplete"),
    ],
)
def test_finish__status(status: str, word: str, tmp_path: Path) -> None:
    """A run that is not complete is never called so, and what is missing is counted."""
    text = text_of(page_of(tmp_path, [], status=status, requested=3, read=1))

    assert f"{word} 0 enrollments of 1 learner (3 requested)." in text
    assert "There are no enrollments." in text


def test_finish__many_kinds(tmp_path: Path) -> None:
    """Beyond eight types or states, the rarest are added up as others."""
    served = [enrollment(state=f"S{number}", lo_type=f"T{number}") for number in range(10)]

    text = text_of(page_of(tmp_path, served, columns=["id"]))

    assert "S6 1 S7 1 others 2 By type" in re.sub(r" +", " ", text)
    assert "S8" not in text


def test_finish__the_time_of_the_run(tmp_path: Path) -> None:
    """The page names the moment in UTC, for people and for programs."""
    moment = datetime(2025, 2, 3, 4, 5, 6, tzinfo=UTC)

    page = page_of(tmp_path, [], finished_at=moment, source=None)

    assert '<time datetime="2025-02-03T04:05:06.000Z">2025-02-03 04:05 UTC</time>' in page
    assert "<bdi>unknown</bdi>" in page
