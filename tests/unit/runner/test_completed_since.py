"""``completed_since`` filters what was read; it never ends a reading."""

from __future__ import annotations

import pytest

from connector.runner.one_user import Selection
from tests.support.inputs import inputs_of
from tests.support.records import enrollment

SINCE = "2023-06-29T12:00:00Z"


@pytest.mark.parametrize(
    ("date", "is_wanted"),
    [
        ("2023-06-29T12:00:00.000Z", True),
        ("2023-06-29T11:59:59.999Z", False),
        ("2023-06-29T13:59:59+02:00", False),
        ("2023-06-29T14:00:00+02:00", True),
        ("soon", True),
        (None, False),
    ],
)
def test_completed_since__by_the_date_of_completion(date: str | None, is_wanted: bool) -> None:  # noqa: FBT001 - a parameter
    """What was completed then or later is kept; an unreadable date may be later."""
    selection = Selection(inputs_of(completed_since=SINCE))
    served = enrollment(date_completed=date, date_enrolled="2030-01-01T00:00:00Z")

    assert selection.take([served]) == [served] * is_wanted


def test_completed_since__reads_to_the_end() -> None:
    """Newest first and older than the moment, the reading goes on: completions have no order."""
    selection = Selection(inputs_of(completed_since=SINCE, sort="-dateEnrolled"))
    older = [enrollment(number=n, date_enrolled=f"202{3 - n}-01-01") for n in range(3)]

    assert selection.take(older) == []
    assert not selection.has_all
    assert selection.reason_to_stop(has_next=True) is None


def test_completed_since__with_since_and_a_limit() -> None:
    """Both moments hold, and the limit counts what is kept."""
    rules = {"since": "2023-01-01", "completed_since": SINCE, "max_enrollments": 1}
    selection = Selection(inputs_of(**rules))
    wanted = [enrollment(number=n, date_completed="2024-01-01") for n in range(2)]
    old = enrollment(date_enrolled="2022-01-01", date_completed="2024-01-01")

    assert selection.take([old, enrollment(), *wanted]) == wanted[:1]
    assert selection.reason_to_stop(has_next=False) == (
        "stopped after 1 enrollment, the limit of max_enrollments"
    )
