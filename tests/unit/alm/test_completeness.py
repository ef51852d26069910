"""What a reading is worth: cursors decoded, checks failed, verdicts given."""

from __future__ import annotations

import base64
import json
from collections import Counter
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.alm.completeness import (
    LO_TYPES,
    Completeness,
    CompletenessTracker,
    Status,
    decode_cursor,
)

DOCUMENTED = "eyJqb2JBaWQiOjAsImNvdXJzZSI6MywibGVhcm5pbmdQcm9ncmFtIjowLCJjZXJ0aWZpY2F0aW9uIjowfQ=="
OPAQUE = "the cursors could not be decoded: that no enrollment was skipped is likely, not proved"
Records = list[tuple[str, str | None]]
# Unique, as a learner's enrollments are; of at least two pages of whatever size.
RECORDS = st.lists(st.sampled_from(sorted(LO_TYPES)), min_size=2, max_size=40).map(
    lambda types: [(f"{lo_type}:{number}", lo_type) for number, lo_type in enumerate(types)]
)


def cursor_of(counts: object) -> str:
    """Return a cursor made as ALM makes it."""
    return base64.b64encode(json.dumps(counts, separators=(",", ":")).encode()).decode()


def courses(*numbers: int) -> Records:
    """Return courses with these numbers."""
    return [(f"course:{number}", "course") for number in numbers]


def pages_of(records: Records, size: int) -> list[tuple[Records, str | None]]:
    """Return *records* in pages of *size*, each with the cursor that ALM would send: what was served so far, by type."""
    cut = [records[start : start + size] for start in range(0, len(records), size)]
    served = accumulate(
        (Counter(str(lo_type) for _, lo_type in page) for page in cut),
        initial=Counter(dict.fromkeys(LO_TYPES, 0)),
    )
    cursors: list[str | None] = [cursor_of(dict(counts)) for counts in list(served)[1:]]
    return list(zip(cut, [*cursors[:-1], None], strict=True))


def verdict_on(pages: list[tuple[Records, str | None]]) -> Completeness:
    """Return the verdict of a witness who saw *pages*."""
    witness = CompletenessTracker()
    for records, cursor in pages:
        witness.observe(records, cursor)
    return witness.verdict()


def test_decode_cursor__documented() -> None:
    """The documented cursor says: three courses."""
    assert decode_cursor(DOCUMENTED) == Counter(
        {"course": 3, "jobAid": 0, "learningProgram": 0, "certification": 0}
    )


@pytest.mark.parametrize(
    "cursor",
    [
        DOCUMENTED.rstrip("="),
        cursor_of({"course": 3}),
        cursor_of({"certification": 0, "course": 3}),
        base64.b64encode(b' { "course" : 3 } ').decode(),
    ],
)
def test_decode_cursor__other_spellings(cursor: str) -> None:
    """Padding, order, spaces and types without any make no difference."""
    assert decode_cursor(cursor) == Counter({"course": 3})


def test_decode_cursor__url_safe() -> None:
    """The URL-safe alphabet is read as well as the plain one, here in a byte order mark."""
    assert (
        decode_cursor("77u/eyJjb3Vyc2UiOjN9")
        == decode_cursor("77u_eyJjb3Vyc2UiOjN9")
        == Counter({"course": 3})
    )


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "=",
        "===",
        "x",
        "opaque-17",
        "not base64!",
        "é",
        "\ud800",
        "AAAA",
        base64.b64encode(b"\xff\xfe").decode(),
        base64.b64encode(b"plain").decode(),
        base64.b64encode(b"[" * 3_000).decode(),
        *map(cursor_of, [None, 3, "course", [], ["course"], {}, True]),
        cursor_of({"course": 3, "somethingNew": 1}),
        cursor_of({"offset": 10}),
        cursor_of({"course": -1}),
        cursor_of({"course": 3.0}),
        cursor_of({"course": "3"}),
        cursor_of({"course": None}),
        cursor_of({"course": True}),
        cursor_of({"course": {"served": 3}}),
        base64.b64encode(b'{"course":NaN}').decode(),
        base64.b64encode(b'{"course":' + b"1" * 5_000 + b"}").decode(),
        cursor_of({"course": 3}) + "A" * 5_000,
    ],
)
def test_decode_cursor__tells_nothing(cursor: str) -> None:
    """Whatever is not such counts tells nothing, and is no error."""
    assert decode_cursor(cursor) is None


@given(st.text())
def test_decode_cursor__any_text(cursor: str) -> None:
    """No text whatever makes it fail."""
    assert decode_cursor(cursor) is None or decode_cursor(cursor)


@given(st.dictionaries(st.sampled_from(sorted(LO_TYPES)), st.integers(0, 10**9), min_size=1))
def test_decode_cursor__round_trip(counts: dict[str, int]) -> None:
    """Any counts of the four types are read back."""
    assert decode_cursor(cursor_of(counts)) == Counter(counts)


def test_witness__single_page() -> None:
    """One page without a next link is proof: there was nothing to skip."""
    assert verdict_on([(courses(1, 2), None)]) == Completeness(Status.PROVED, (), 1)


def test_witness__empty_user() -> None:
    """A learner without enrollments is a reading like any other."""
    assert verdict_on([([], None)]) == Completeness(Status.PROVED, (), 1)


def test_witness__empty_page_between() -> None:
    """An empty page in the middle is no gap as long as the counts agree."""
    pages = [
        ([], cursor_of({"course": 0})),
        (courses(1), cursor_of({"course": 1})),
        (courses(2), None),
    ]

    assert verdict_on(pages) == Completeness(Status.PROVED, (), 3)


def test_witness__opaque_cursors() -> None:
    """Without counts to compare the reading is consistent at best, and says so once."""
    verdict = verdict_on([(courses(1), "opaque-1"), (courses(2), "opaque-2"), (courses(3), None)])

    assert verdict == Completeness(Status.CONSISTENT, (OPAQUE,), 3)


def test_witness__enrollment_came_twice() -> None:
    """An id that comes twice violates, though counts and cursors agree."""
    verdict = verdict_on([(courses(1, 2), cursor_of({"course": 2})), (courses(2), None)])

    assert verdict == Completeness(
        Status.VIOLATED, ('page 2: enrollment "course:2" came twice',), 2
    )


def test_witness__enrollment_twice_on_one_page() -> None:
    """The same within one page."""
    assert verdict_on([(courses(1, 1), None)]) == Completeness(
        Status.VIOLATED, ('page 1: enrollment "course:1" came twice',), 1
    )


def test_witness__cursor_came_twice() -> None:
    """A cursor that comes again is a loop, though it cannot be decoded and no id repeats."""
    verdict = verdict_on([(courses(1), "opaque-1"), (courses(2), "opaque-1")])

    assert verdict == Completeness(
        Status.VIOLATED, ("page 2: the cursor of its next link came before", OPAQUE), 2
    )


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ({"course": 3}, "3 enrollments served (course 3), received were 2 (course 2)"),
        ({"course": 1}, "1 enrollments served (course 1), received were 2 (course 2)"),
        ({"course": 0}, "0 enrollments served (none), received were 2 (course 2)"),
        ({"jobAid": 2, "course": 0}, "2 enrollments served (jobAid 2), received were 2 (course 2)"),
        (
            {"course": 2, "jobAid": 1},
            "3 enrollments served (course 2, jobAid 1), received were 2 (course 2)",
        ),
    ],
)
def test_witness__counts_differ(counts: dict[str, int], told: str) -> None:
    """Counts that differ from what was received violate, the types' counts as well as the sum."""
    verdict = verdict_on([(courses(1, 2), cursor_of(counts))])

    assert verdict == Completeness(Status.VIOLATED, (f"page 1: ALM counts {told}",), 1)


def test_witness__every_violation_is_told() -> None:
    """Each failed check has its own reason, in the order of the pages."""
    verdict = verdict_on(
        [(courses(1, 1), cursor_of({"course": 1})), (courses(2), cursor_of({"course": 1}))]
    )

    assert verdict == Completeness(
        Status.VIOLATED,
        (
            'page 1: enrollment "course:1" came twice',
            "page 1: ALM counts 1 enrollments served (course 1), received were 2 (course 2)",
            "page 2: the cursor of its next link came before",
            "page 2: ALM counts 1 enrollments served (course 1), received were 3 (course 3)",
        ),
        2,
    )


@pytest.mark.parametrize("lo_type", [None, "somethingNew"])
def test_witness__unknown_type_agrees_by_sum(lo_type: str | None) -> None:
    """With an enrollment of unknown type only the sums are compared, and they can prove."""
    records = [*courses(1), ("e-77", lo_type)]

    assert verdict_on(
        [(records, cursor_of({"course": 1, "jobAid": 1})), ([], None)]
    ) == Completeness(Status.PROVED, (), 2)


@pytest.mark.parametrize(
    ("lo_type", "name"), [(None, "of unknown type"), ("somethingNew", "somethingNew")]
)
def test_witness__unknown_type_differs_by_sum(lo_type: str | None, name: str) -> None:
    """Sums that differ violate, whatever the types."""
    verdict = verdict_on([([("e-77", lo_type)], cursor_of({"course": 2}))])

    told = f"page 1: ALM counts 2 enrollments served (course 2), received were 1 ({name} 1)"
    assert verdict == Completeness(Status.VIOLATED, (told,), 1)


def test_witness__violated_at_once() -> None:
    """Whoever reads on can see after each page whether it is of any use."""
    witness = CompletenessTracker()

    witness.observe(courses(1), cursor_of({"course": 1}))
    before = witness.violated
    witness.observe(courses(1), None)

    assert (before, witness.violated) == (False, True)


def test_witness__stopped() -> None:
    """A reading that ended on purpose is incomplete, and says why."""
    witness = CompletenessTracker()
    witness.observe(courses(1), cursor_of({"course": 1}))

    assert witness.verdict("stopped after 1") == Completeness(
        Status.INCOMPLETE, ("stopped after 1",), 1
    )


def test_witness__violated_beats_stopped() -> None:
    """What contradicts itself is violated, wherever it ended; every reason is told in its order."""
    witness = CompletenessTracker()
    witness.observe(courses(1, 1), "opaque-1")

    verdict = witness.verdict("stopped after 1", noticed=["a remark"])

    reasons = ('page 1: enrollment "course:1" came twice', "a remark", OPAQUE, "stopped after 1")
    assert verdict == Completeness(Status.VIOLATED, reasons, 1)


def test_witness__remarks_change_nothing() -> None:
    """A remark is told, and the verdict stays what it is."""
    witness = CompletenessTracker()
    witness.observe(courses(1), None)

    assert witness.verdict(noticed=["a remark"]) == Completeness(Status.PROVED, ("a remark",), 1)


def test_witness__hostile_id() -> None:
    """An id of another shape is text from the server: in a reason it stays one line, cut."""
    hostile = "x\n::error::" + "y" * 900

    verdict = verdict_on([([(hostile, None), (hostile, None)], None)])

    assert verdict.reasons == (f'page 1: enrollment "x\\n::error::{"y" * 189}\\u2026" came twice',)


@given(RECORDS, st.integers(1, 10))
def test_witness__right_pages_are_proved(records: Records, size: int) -> None:
    """Whatever the records and the page size, a right walk is proved."""
    pages = pages_of(records, size)

    assert verdict_on(pages) == Completeness(Status.PROVED, (), len(pages))


@given(RECORDS, st.data())
def test_witness__dropped_record_is_violated(records: Records, data: st.DataObject) -> None:
    """One record less on any page with a cursor is noticed."""
    size = data.draw(st.integers(1, len(records) - 1))
    pages = pages_of(records, size)
    page = data.draw(st.integers(0, len(pages) - 2))
    pages[page][0].pop(data.draw(st.integers(0, size - 1)))

    assert verdict_on(pages).status is Status.VIOLATED


@given(RECORDS, st.data())
def test_witness__repeated_record_is_violated(records: Records, data: st.DataObject) -> None:
    """Any one record more that was there before is noticed, on the last page too."""
    pages = pages_of(records, data.draw(st.integers(1, 10)))
    again = data.draw(st.sampled_from(records))
    data.draw(st.sampled_from(pages))[0].append(again)

    assert verdict_on(pages).status is Status.VIOLATED


@given(RECORDS.filter(lambda records: len(records) > 2), st.data())
def test_witness__skipped_page_is_violated(records: Records, data: st.DataObject) -> None:
    """A whole page that is missing is noticed by the next cursor."""
    pages = pages_of(records, data.draw(st.integers(1, len(records) // 3)))
    del pages[data.draw(st.integers(0, len(pages) - 3))]

    assert verdict_on(pages).status is Status.VIOLATED


@pytest.mark.parametrize(
    ("status", "complete"),
    [
        (Status.PROVED, True),
        (Status.CONSISTENT, True),
        (Status.INCOMPLETE, False),
        (Status.VIOLATED, False),
    ],
)
def test_completeness__is_complete(status: Status, *, complete: bool) -> None:
    """Only what is proved or consistent is complete."""
    assert Completeness(status, (), 1).is_complete is complete


def test_status__values() -> None:
    """The contract's four words, from the surest to the least sure."""
    assert [*map(str, Status)] == ["proved", "consistent", "incomplete", "violated"]


@pytest.mark.parametrize(
    "cursor",
    [
        pytest.param("eyJjb3Vyc2UiOjN9", id="whole"),
        pytest.param("eyJjb3Vyc2UiOjN9=", id="padded too much"),
    ],
)
def test_decode_cursor__padding_is_forgiven(cursor: str) -> None:
    """Padding says nothing: too much of it is as good as none."""
    assert decode_cursor(cursor) == {"course": 3}


@pytest.mark.parametrize(
    "cursor", ["eyJjb3Vyc2UiOjN9!", "eyJj b3Vyc2UiOjN9", "eyJj\nb3Vyc2UiOjN9", "=eyJjb3Vyc2UiOjN9"]
)
def test_decode_cursor__other_characters_are_not_skipped(cursor: str) -> None:
    """A cursor with characters that base64 has not is of another shape, not one to be made fit."""
    assert decode_cursor(cursor) is None


def test_decode_cursor__longest() -> None:
    """A cursor of 4 KiB is still read, a longer one is not."""
    longest = base64.b64encode(b'{"course":3' + b" " * 3_060 + b"}").decode()

    assert len(longest) == 4_096
    assert decode_cursor(longest) == {"course": 3}
    assert decode_cursor(longest + "AAAA") is None


def test_witness__the_types_count_even_where_all_are_known() -> None:
    """The right sum with the wrong types is no proof: one of a type may be missing, and one of another twice."""
    witness = CompletenessTracker()
    records = [(f"{lo_type}:1", lo_type) for lo_type in sorted(LO_TYPES)]

    witness.observe(
        records, cursor_of({"course": 2, "jobAid": 0, "learningProgram": 1, "certification": 1})
    )

    assert witness.violated


def test_observe__every_contradiction_is_told() -> None:
    """What a later page contradicts is told beside what an earlier one did; of unknown types the sums are compared."""
    witness = CompletenessTracker()

    first = witness.observe([("course:1_1_1", "course"), ("x", None)], cursor_of({"course": 3}))
    second = witness.observe([("course:1_1_1", "course"), ("course:2_2_1", "course")], None)

    assert (first, second) == ([True, True], [False, True])
    assert witness.verdict().reasons == (
        "page 1: ALM counts 3 enrollments served (course 3), received were 2 (of unknown type 1, course 1)",
        'page 2: enrollment "course:1_1_1" came twice',
    )
