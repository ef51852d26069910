"""Cursors decoded, checks that fail, and how complete a reading is."""

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
OPAQUE = (
    "the cursors could not be decoded, so it is likely but not verified that no enrollment was"
    " skipped"
)
Records = list[tuple[str, str | None]]
Pages = list[tuple[Records, str | None]]
# Unique, as a learner's enrollments are; at least two pages of any size.
RECORDS = st.lists(st.sampled_from(sorted(LO_TYPES)), min_size=2, max_size=40).map(
    lambda types: [(f"{lo_type}:{number}", lo_type) for number, lo_type in enumerate(types)]
)


def encode(text: bytes) -> str:
    """Return *text* in base64."""
    return base64.b64encode(text).decode()


def cursor_of(counts: object) -> str:
    """Return a cursor as ALM makes it."""
    return encode(json.dumps(counts, separators=(",", ":")).encode())


def courses(*numbers: int) -> Records:
    """Return courses with these numbers."""
    return [(f"course:{number}", "course") for number in numbers]


def pages_of(records: Records, size: int) -> Pages:
    """Return *records* in pages of *size*, each with the cursor that ALM would send."""
    pages = [records[start : start + size] for start in range(0, len(records), size)]
    served = accumulate(
        (Counter(str(lo_type) for _, lo_type in page) for page in pages),
        initial=Counter(dict.fromkeys(LO_TYPES, 0)),
    )
    cursors: list[str | None] = [cursor_of(dict(counts)) for counts in list(served)[1:]]
    return list(zip(pages, [*cursors[:-1], None], strict=True))


def result_of(*pages: tuple[Records, str | None]) -> Completeness:
    """Return the result of a reading of *pages*."""
    tracker = CompletenessTracker()
    for records, cursor in pages:
        tracker.add_page(records, cursor)
    return tracker.result()


@pytest.mark.parametrize(
    "cursor",
    [
        *(cursor_of({"course": 3}), cursor_of({"certification": 0, "course": 3})),
        *(DOCUMENTED, DOCUMENTED.rstrip("="), encode(b' { "course" : 3 } ')),
        # The standard and the URL-safe alphabet, here in a byte order mark.
        *("77u/eyJjb3Vyc2UiOjN9", "77u_eyJjb3Vyc2UiOjN9"),
        *("eyJjb3Vyc2UiOjN9", "eyJjb3Vyc2UiOjN9="),
        encode(b'{"course":3' + b" " * 3_060 + b"}"),
    ],
)
def test_decode_cursor__spellings(cursor: str) -> None:
    """Padding, order, spaces, alphabet and zeros make no difference, up to 4,096 characters."""
    assert len(cursor) <= 4_096
    assert decode_cursor(cursor) == Counter({"course": 3})


@pytest.mark.parametrize(
    "cursor",
    [
        *("", "=", "===", "x", "opaque-17", "not base64!", "é", "\ud800", "AAAA"),
        *map(encode, (b"\xff\xfe", b"plain", b"[" * 3_000, b'{"course":NaN}')),
        *map(cursor_of, [None, 3, "course", [], ["course"], {}, True, {"offset": 10}]),
        cursor_of({"course": 3, "somethingNew": 1}),
        *(cursor_of({"course": count}) for count in (-1, 3.0, "3", None, True, {"served": 3})),
        encode(b'{"course":' + b"1" * 5_000 + b"}"),
        encode(b'{"course":3' + b" " * 3_063 + b"}"),
        *("eyJjb3Vyc2UiOjN9!", "eyJj b3Vyc2UiOjN9", "eyJj\nb3Vyc2UiOjN9", "=eyJjb3Vyc2UiOjN9"),
    ],
)
def test_decode_cursor__opaque(cursor: str) -> None:
    """A cursor of any other shape is opaque, not an error, and no character is skipped."""
    assert decode_cursor(cursor) is None


@given(st.text())
def test_decode_cursor__any_text(cursor: str) -> None:
    """No text makes it fail."""
    assert decode_cursor(cursor) is None or decode_cursor(cursor)


@given(st.dictionaries(st.sampled_from(sorted(LO_TYPES)), st.integers(0, 10**9), min_size=1))
def test_decode_cursor__round_trip(counts: dict[str, int]) -> None:
    """Any counts of the four types are read back."""
    assert decode_cursor(cursor_of(counts)) == Counter(counts)


@pytest.mark.parametrize(
    "pages",
    [
        pytest.param([(courses(1, 2), None)], id="single page"),
        pytest.param([([], None)], id="no enrollments"),
        pytest.param(
            [
                ([], cursor_of({"course": 0})),
                (courses(1), cursor_of({"course": 1})),
                (courses(2), None),
            ],
            id="empty page",
        ),
    ],
)
def test_result__verified(pages: Pages) -> None:
    """A reading without a contradiction to its last page is verified."""
    assert result_of(*pages) == Completeness(Status.VERIFIED, (), len(pages))


def test_result__opaque_cursors() -> None:
    """Without counts to compare the reading is consistent at best, and says so once."""
    result = result_of((courses(1), "opaque-1"), (courses(2), "opaque-2"), (courses(3), None))

    assert result == Completeness(Status.CONSISTENT, (OPAQUE,), 3)


def test_result__repeated_on_one_page() -> None:
    """What a page lists twice, byte for byte, ALM may count or not."""
    for counted in (2, 3):
        tracker = CompletenessTracker()
        tracker.add_page(courses(1, 2), cursor_of({"course": counted}), ["course"])
        tracker.add_page(courses(3), cursor_of({"course": counted + 1}))
        tracker.add_page([], None)

        assert tracker.result() == Completeness(Status.VERIFIED, (), 3)


def tracker_of(*pages: tuple[Records, object]) -> CompletenessTracker:
    """Return the tracker of a reading of *pages*, each with the counts of its cursor."""
    tracker = CompletenessTracker()
    for records, counts in pages:
        tracker.add_page(records, counts if counts is None else cursor_of(counts))
    return tracker


SURPLUS = ((courses(1, 2), {"course": 2, "jobAid": 1}), (courses(3), None))


def test_result__surplus() -> None:
    """A surplus contradicts the pages, unless it is explained: then it is a doubt."""
    tracker = tracker_of(*SURPLUS)

    reason = "page 1: ALM counts 3 enrollments (course 2, jobAid 1), but 2 came (course 2)"
    assert (tracker.has_surplus, tracker.is_inconsistent) == (True, False)
    assert tracker.result() == Completeness(Status.INCONSISTENT, (reason,), 2)
    explained = tracker.result(
        explanation="in two readings alike", doubts=["a doubt"], remarks=["a remark"]
    )
    surplus = "ALM counts 1 row that it does not return (jobAid 1), in two readings alike"
    assert explained == Completeness(Status.CONSISTENT, (surplus, "a doubt", "a remark"), 2)


def test_result__surplus_before_stopped() -> None:
    """A reading that is cut short is incomplete whatever ALM counts, and says both."""
    result = tracker_of(*SURPLUS[:1]).result("stopped after 2")

    assert result.status is Status.INCOMPLETE
    assert result.reasons[1:] == ("stopped after 2",)


def test_result__surplus_and_a_repeat() -> None:
    """An explanation of the surplus explains no repeat."""
    tracker = tracker_of(SURPLUS[0], (courses(2), None))

    assert not tracker.has_surplus
    assert tracker.result(explanation="x").status is Status.INCONSISTENT


def test_result__surplus_that_changes() -> None:
    """A surplus is listed when it changes, and explained by its largest."""
    tracker = tracker_of(
        (courses(1), {"course": 2}),
        (courses(2), {"course": 3}),
        (courses(3), {"course": 5}),
        (courses(4), {"course": 6}),
        (courses(5), {"course": 5, "jobAid": 0}),
        (courses(6), None),
    )

    assert [reason.partition(":")[0] for reason in tracker.result().reasons] == [
        *("page 1", "page 3", "page 5")
    ]
    assert "counts 2 rows" in tracker.result(explanation="x").reasons[0]


def test_result__largest_surplus_of_another_type() -> None:
    """The largest surplus is the one of most enrollments, of whichever types."""
    tracker = tracker_of(
        (courses(1), {"course": 1, "jobAid": 1}),
        ([("jobAid:1", "jobAid")], {"course": 3, "jobAid": 1}),
        ([], None),
    )

    assert "counts 2 rows" in tracker.result(explanation="x").reasons[0]


@pytest.mark.parametrize(
    ("later", "is_confirmed"),
    [
        pytest.param(SURPLUS, True, id="the same"),
        pytest.param((*SURPLUS[:1], (courses(3, 4), None)), True, id="one more at the end"),
        pytest.param((*SURPLUS[:1], (courses(4), None)), False, id="another one"),
        pytest.param((*SURPLUS[:1], ([], None)), False, id="one less"),
        pytest.param(
            ((courses(1, 2), {"course": 3}), (courses(3), None)), False, id="another type"
        ),
        pytest.param(
            ((courses(1, 2), {"course": 2, "jobAid": 2}), (courses(3), None)), False, id="more"
        ),
        pytest.param(((courses(1, 2), {"course": 2}), (courses(3), None)), False, id="none"),
    ],
)
def test_confirms__an_earlier_reading(
    later: tuple[tuple[Records, object], ...], *, is_confirmed: bool
) -> None:
    """A later reading confirms a surplus if it is the same, and nothing of before is missing."""
    assert tracker_of(*later).confirms(tracker_of(*SURPLUS)) is is_confirmed


def test_result__many_contradictions() -> None:
    """The first contradictions are listed, the others counted."""
    result = result_of((courses(*range(100), *range(100)), None))

    assert (len(result.reasons), result.reasons[-1]) == (21, "and 80 more contradictions")


def test_result__enrollment_came_twice() -> None:
    """An id that comes twice, on two pages or changed on one, is inconsistent."""
    on_two = result_of((courses(1, 2), cursor_of({"course": 2})), (courses(2), None))
    on_one = result_of((courses(1, 1), None))

    reasons = [f'page {page}: enrollment "course:{page}" came twice' for page in (1, 2)]
    assert on_two == Completeness(Status.INCONSISTENT, (reasons[1],), 2)
    assert on_one == Completeness(Status.INCONSISTENT, (reasons[0],), 1)


def test_result__cursor_came_twice() -> None:
    """A cursor that comes again is a loop, though it is opaque and no id repeats."""
    result = result_of((courses(1), "opaque-1"), (courses(2), "opaque-1"))

    reasons = ("page 2: the cursor of its next link came twice", OPAQUE)
    assert result == Completeness(Status.INCONSISTENT, reasons, 2)


@pytest.mark.parametrize(
    ("counts", "described"),
    [
        ({"course": 3}, "3 enrollments (course 3)"),
        ({"course": 1}, "1 enrollment (course 1)"),
        ({"course": 0}, "0 enrollments (none)"),
        ({"jobAid": 2, "course": 0}, "2 enrollments (jobAid 2)"),
        ({"course": 2, "jobAid": 1}, "3 enrollments (course 2, jobAid 1)"),
    ],
)
def test_result__counts_differ(counts: dict[str, int], described: str) -> None:
    """Counts other than those received are inconsistent, each type's as well as the sum."""
    result = result_of((courses(1, 2), cursor_of(counts)))

    reason = f"page 1: ALM counts {described}, but 2 came (course 2)"
    assert result == Completeness(Status.INCONSISTENT, (reason,), 1)


def test_result__right_sum_of_wrong_types() -> None:
    """The right sum of the wrong types is inconsistent: one may be missing, another repeated."""
    records: Records = [(f"{lo_type}:1", lo_type) for lo_type in LO_TYPES]
    counts = {"course": 2, "jobAid": 0, "learningProgram": 1, "certification": 1}

    assert result_of((records, cursor_of(counts))).status is Status.INCONSISTENT


@pytest.mark.parametrize(
    ("lo_type", "name"), [(None, "of unknown type"), ("somethingNew", "somethingNew")]
)
def test_result__unknown_type(lo_type: str | None, name: str) -> None:
    """With an enrollment of unknown type only the sums are compared."""
    equal = result_of(
        ([*courses(1), ("e-77", lo_type)], cursor_of({"course": 1, "jobAid": 1})), ([], None)
    )
    different = result_of(([("e-77", lo_type)], cursor_of({"course": 2})))

    reason = f"page 1: ALM counts 2 enrollments (course 2), but 1 came ({name} 1)"
    more = tracker_of(([("e-77", lo_type)], {"course": 2}), ([], None)).result(explanation="x")
    assert equal == Completeness(Status.VERIFIED, (), 2)
    assert more.reasons[0].endswith("(of unknown type 1), x")
    assert different == Completeness(Status.INCONSISTENT, (reason,), 1)


def test_add_page__every_inconsistency() -> None:
    """Each failed check has its own reason, in the order of the pages, and is known at once."""
    tracker = CompletenessTracker()

    cursor = cursor_of({"course": 2})
    pages = (([*courses(1), ("x", None)], cursor), (courses(1, 2), cursor), (courses(2), None))
    are_new, known = [], []
    for records, next_cursor in pages:
        are_new.append(tracker.add_page(records, next_cursor))
        known.append(tracker.is_inconsistent)

    counted = "2 enrollments (course 2), but 4 came (of unknown type 1, course 3)"
    assert are_new == [[True, True], [False, True], [False]]
    assert known == [False, True, True]
    assert tracker.is_looping
    assert tracker.result().reasons == (
        'page 2: enrollment "course:1" came twice',
        "page 2: the cursor of its next link came twice",
        f"page 2: ALM counts {counted}",
        'page 3: enrollment "course:2" came twice',
    )


def test_result__stopped() -> None:
    """A reading that ended before its last page is incomplete, and says why."""
    tracker = CompletenessTracker()
    tracker.add_page(courses(1), cursor_of({"course": 1}))

    result = tracker.result("stopped after 1")

    assert result == Completeness(Status.INCOMPLETE, ("stopped after 1",), 1)


def test_result__inconsistent_before_stopped() -> None:
    """An inconsistent reading is inconsistent wherever it ended; every reason is listed."""
    tracker = CompletenessTracker()
    tracker.add_page(courses(1, 1), "opaque-1")

    result = tracker.result("stopped after 1", remarks=["a remark"])

    reasons = ('page 1: enrollment "course:1" came twice', "a remark", OPAQUE, "stopped after 1")
    assert result == Completeness(Status.INCONSISTENT, reasons, 1)


def test_result__remarks() -> None:
    """A remark is listed and does not change the status."""
    tracker = CompletenessTracker()
    tracker.add_page(courses(1), None)

    result = tracker.result(remarks=["a remark"])

    assert result == Completeness(Status.VERIFIED, ("a remark",), 1)


def test_result__doubts() -> None:
    """A doubt makes a reading consistent: complete, but not verified."""
    tracker = CompletenessTracker()
    tracker.add_page(courses(1), None)

    result = tracker.result(doubts=["a doubt"], remarks=["a remark"])

    assert result == Completeness(Status.CONSISTENT, ("a doubt", "a remark"), 1)
    assert result.is_complete


def test_result__hostile_id() -> None:
    """An id of another shape is quoted in a reason."""
    hostile = ("x\n::error::", None)

    result = result_of(([hostile, hostile], None))

    assert result.reasons == (r'page 1: enrollment "x\n::error::" came twice',)


@given(RECORDS, st.integers(1, 10))
def test_result__any_correct_pages(records: Records, size: int) -> None:
    """Correct pages of any records and size are verified."""
    pages = pages_of(records, size)

    assert result_of(*pages) == Completeness(Status.VERIFIED, (), len(pages))


@given(RECORDS, st.data())
def test_result__dropped_record(records: Records, data: st.DataObject) -> None:
    """A record missing from any page with a cursor is noticed."""
    size = data.draw(st.integers(1, len(records) - 1))
    pages = pages_of(records, size)
    page = data.draw(st.integers(0, len(pages) - 2))
    pages[page][0].pop(data.draw(st.integers(0, size - 1)))

    assert result_of(*pages).status is Status.INCONSISTENT


@given(RECORDS, st.data())
def test_result__repeated_record(records: Records, data: st.DataObject) -> None:
    """A record that comes twice on any page, the last one included, is noticed."""
    pages = pages_of(records, data.draw(st.integers(1, 10)))
    repeated = data.draw(st.sampled_from(records))
    data.draw(st.sampled_from(pages))[0].append(repeated)

    assert result_of(*pages).status is Status.INCONSISTENT


@given(RECORDS.filter(lambda records: len(records) > 2), st.data())
def test_result__skipped_page(records: Records, data: st.DataObject) -> None:
    """A missing page is noticed by the next cursor."""
    pages = pages_of(records, data.draw(st.integers(1, len(records) // 3)))
    del pages[data.draw(st.integers(0, len(pages) - 3))]

    assert result_of(*pages).status is Status.INCONSISTENT


def test_status__order_and_meaning() -> None:
    """The contract's four words, the most certain first; the first two are complete."""
    assert [(str(status), Completeness(status, (), 1).is_complete) for status in Status] == [
        ("verified", True),
        ("consistent", True),
        ("incomplete", False),
        ("inconsistent", False),
    ]
