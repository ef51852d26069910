"""Which enrollments are kept, and when enough was read, for every order that ALM may serve."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.alm.records import Enrollment
from connector.runner.selection import Selection as Judged

if TYPE_CHECKING:
    from collections.abc import Sequence


class Selection(Judged):
    """A selection, and all that it kept."""

    def __init__(self, **rules: Any) -> None:
        super().__init__(**rules)
        self.kept: list[Enrollment] = []

    def take(self, enrollments: Sequence[Enrollment]) -> Sequence[Enrollment]:
        """Remember what is kept of one page."""
        wanted = super().take(enrollments)
        self.kept += wanted
        return wanted


SINCE = datetime(2023, 6, 15, tzinfo=UTC)
OLD, OLDER = "2023-06-10T00:00:00.000Z", "2023-06-01T00:00:00.000Z"
NEW, NEWER = "2023-06-20T00:00:00.000Z", "2023-06-25T00:00:00.000Z"
PAST_SINCE = "stopped at the first enrollment older than since"


def enrollment(enrollment_id: str, date: str | None = None) -> Enrollment:
    """Return an enrollment of which only id and date are known."""
    values: dict[str, Any] = dict.fromkeys(Enrollment.__struct_fields__)
    known = {
        "id": enrollment_id,
        "user_id": "1",
        "date_enrolled": date,
        "resource_grades": (),
        "is_decoded": True,
    }
    return Enrollment(**{**values, **known})


def page(*dates: str | None) -> list[Enrollment]:
    """Return a page of enrollments with *dates*; an enrollment's id is its date and its place in the page."""
    return [enrollment(f"{date}/{place}", date) for place, date in enumerate(dates)]


def kept_dates(selection: Selection) -> list[str | None]:
    """Return the dates of what was kept, in order."""
    return [one.date_enrolled for one in selection.kept]


def test_selection__without_rules_keeps_all() -> None:
    """Where nothing is asked, everything is kept in the order served, and nothing stops the reading."""
    selection = Selection(since=None, most=None, newest_first=True)

    selection.take(page(OLD, None, NEW))
    selection.take(page("garbage", OLDER))

    assert kept_dates(selection) == [OLD, None, NEW, "garbage", OLDER]
    assert selection.why_stop(has_next=True) is None
    assert selection.why_stop(has_next=False) is None


@pytest.mark.parametrize("newest_first", [False, True])
def test_selection__empty_page(*, newest_first: bool) -> None:
    """An empty page keeps nothing and stops nothing: the next may have enrollments."""
    selection = Selection(since=SINCE, most=1, newest_first=newest_first)

    selection.take([])

    assert (selection.kept, selection.why_stop(has_next=True)) == ([], None)


def test_since__oldest_first_reads_everything() -> None:
    """Oldest first, the older ones are left out and the reading goes on: the wanted ones come last."""
    selection = Selection(since=SINCE, most=None, newest_first=False)

    selection.take(page(OLDER, OLD))
    stopped = selection.why_stop(has_next=True)
    selection.take(page(NEW, NEWER))

    assert stopped is None
    assert kept_dates(selection) == [NEW, NEWER]
    assert selection.why_stop(has_next=False) is None


def test_since__newest_first_stops_at_the_first_older_one() -> None:
    """Newest first, the first older enrollment ends the reading: all that follow are older too."""
    selection = Selection(since=SINCE, most=None, newest_first=True)

    selection.take(page(NEWER, NEW))
    before = selection.why_stop(has_next=True)
    selection.take(page(OLD, OLDER))

    assert before is None
    assert kept_dates(selection) == [NEWER, NEW]
    assert selection.why_stop(has_next=True) == PAST_SINCE


def test_since__newest_first_on_the_last_page() -> None:
    """Where the server ends it anyway, nothing was stopped: the answer is whole."""
    selection = Selection(since=SINCE, most=None, newest_first=True)

    selection.take(page(NEW, OLD))

    assert (kept_dates(selection), selection.why_stop(has_next=False)) == ([NEW], None)


@pytest.mark.parametrize(
    "pages",
    [
        [page(OLD, NEW)],
        [page(NEW, OLD, NEWER)],
        [page(NEW), page(NEWER, OLD)],
        [page(NEW, None, OLD)],
        [page(NEW, OLD, None)],
        [page(NEW, "garbage", OLD)],
    ],
)
def test_since__dates_that_do_not_descend(pages: list[list[Enrollment]]) -> None:
    """Where the dates served do not descend, or one is unknown, an older one proves nothing about what follows."""
    selection = Selection(since=SINCE, most=None, newest_first=True)

    for each in pages:
        selection.take(each)

    assert selection.why_stop(has_next=True) is None
    assert OLD not in kept_dates(selection)


@pytest.mark.parametrize("date", [None, "", "garbage"])
def test_since__an_unknown_date_is_kept(date: str | None) -> None:
    """An enrollment of unknown date is kept: to leave it out could lose it."""
    selection = Selection(since=SINCE, most=None, newest_first=False)

    selection.take(page(OLD, date, NEW))

    assert kept_dates(selection) == [date, NEW]


def test_since__the_moment_itself_is_wanted() -> None:
    """`since` is that moment or later, whatever offset either of them names."""
    dates = [
        "2023-06-15T00:00:00.000Z",
        "2023-06-15T02:00:00+02:00",
        "2023-06-15",
        "2023-06-14T23:59:59.999Z",
        "0001-01-01T00:00:00+23:59",
    ]
    selection = Selection(
        since=SINCE.astimezone(timezone(timedelta(hours=-7))), most=None, newest_first=True
    )

    selection.take(page(*dates))

    assert kept_dates(selection) == dates[:3]


def test_since__equal_dates_descend() -> None:
    """Enrollments of one moment, as a bulk enrollment makes them, do not break the order."""
    selection = Selection(since=SINCE, most=None, newest_first=True)

    selection.take(page(NEW, NEW, OLD, OLD))

    assert (kept_dates(selection), selection.why_stop(has_next=True)) == ([NEW, NEW], PAST_SINCE)


@pytest.mark.parametrize(
    ("most", "pages", "has_next", "kept", "stopped"),
    [
        (3, [2], True, 2, None),
        (3, [2], False, 2, None),
        (2, [2], True, 2, "stopped after 2 enrollments, as max_enrollments asks"),
        (2, [2], False, 2, None),
        (2, [3], True, 2, "stopped after 2 enrollments, as max_enrollments asks"),
        (2, [3], False, 2, "stopped after 2 enrollments, as max_enrollments asks"),
        (3, [2, 1], False, 3, None),
        (3, [2, 2], False, 3, "stopped after 3 enrollments, as max_enrollments asks"),
        (1, [10], False, 1, "stopped after 1 enrollments, as max_enrollments asks"),
    ],
)
def test_max_enrollments__at_page_ends(
    *, most: int, pages: list[int], has_next: bool, kept: int, stopped: str | None
) -> None:
    """Enough is enough, and said where more was there; the very number and no more is a whole answer."""
    selection = Selection(since=None, most=most, newest_first=False)

    for count in pages:
        selection.take(page(*[NEW] * count))

    assert (len(selection.kept), selection.why_stop(has_next=has_next)) == (kept, stopped)


def test_both__older_ones_do_not_count() -> None:
    """`max_enrollments` counts what `since` lets through, and the first ones of those are kept."""
    selection = Selection(since=SINCE, most=2, newest_first=False)

    selection.take(page(OLDER, OLD, NEW))
    before = selection.why_stop(has_next=True)
    selection.take(page(NEWER, NEWER))

    assert before is None
    assert [one.id for one in selection.kept] == [f"{NEW}/2", f"{NEWER}/0"]
    assert (
        selection.why_stop(has_next=False) == "stopped after 2 enrollments, as max_enrollments asks"
    )


@pytest.mark.parametrize(
    ("dates", "has_next", "stopped"),
    [
        ((NEWER, NEW, OLD), False, None),
        ((NEWER, NEW, OLD), True, "stopped after 2 enrollments, as max_enrollments asks"),
        ((NEWER, NEW, NEW), False, "stopped after 2 enrollments, as max_enrollments asks"),
        ((NEW, OLD), True, PAST_SINCE),
        ((NEW, OLD), False, None),
    ],
)
def test_both__newest_first(*, dates: tuple[str, ...], has_next: bool, stopped: str | None) -> None:
    """Whichever of the two comes first ends the reading; an older one left out is none that `max_enrollments` cut off."""
    selection = Selection(since=SINCE, most=2, newest_first=True)

    selection.take(page(*dates))

    assert selection.why_stop(has_next=has_next) == stopped


@given(
    pages=st.lists(
        st.lists(st.sampled_from([None, OLDER, OLD, NEW, NEWER]), max_size=5), max_size=5
    ),
    newest_first=st.booleans(),
)
def test_since__loses_nothing_it_has_read(
    *, newest_first: bool, pages: list[list[str | None]]
) -> None:
    """Whatever is served in whatever order, all that is not known to be older is kept, in order."""
    selection = Selection(since=SINCE, most=None, newest_first=newest_first)

    for dates in pages:
        selection.take(page(*dates))

    served = [date for dates in pages for date in dates]
    assert kept_dates(selection) == [date for date in served if date not in (OLD, OLDER)]
