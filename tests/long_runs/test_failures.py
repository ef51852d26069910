"""What a run comes to depends on its users, not on the order in which they finish."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from tests.support.alm import FakeAlm, one_enrollment
from tests.support.clock import SimulatedClock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.long_runs.conftest import Run

# Each status with the exit code of a user who is answered with it.
CODES = {200: 0, 400: 64, 403: 77, 404: 67, 418: 76, 503: 75}


def outcome_of(run: Run, statuses: Sequence[int], order: Sequence[int]) -> tuple[int, str]:
    """Return exit code and message of a run of users who finish in this *order*."""
    clock = SimulatedClock(len(statuses))
    # Longer than all attempts of a user together.
    seconds = {str(1000 + place): 40.0 * (1 + order.index(place)) for place in range(len(statuses))}

    def fault(user_id: str) -> tuple[int, str] | None:
        status = statuses[int(user_id) - 1000]
        return None if status == 200 else (status, "")

    alm = FakeAlm(clock, one_enrollment, fault=fault, latency_of=lambda user: seconds.pop(user, 0))
    outcome = run(alm, user_id=list(seconds), concurrency=len(statuses), deadline=86_400)
    finished = list(dict.fromkeys(alm.requests))
    # A run that ends early leaves the last ones out.
    assert finished == [str(1000 + place) for place in order][: len(finished)]
    assert outcome.error is not None
    return outcome.error.code, outcome.error.message


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ((404, 403), 77),
        ((403, 400), 77),
        ((404, 418, 400), 64),
        ((404, 418, 403), 77),
        ((418, 404, 404), 76),
        ((404, 403, 503, 418), 75),
        ((404, 200, 403, 503), 65),
    ],
)
def test_failures__in_every_order_of_finishing(
    statuses: tuple[int, ...], code: int, run: Run
) -> None:
    """Mixed failures have one exit code and one message, whoever finishes first."""
    places = range(len(statuses))

    outcomes = {outcome_of(run, statuses, order) for order in itertools.permutations(places)}

    ((found, message),) = outcomes
    assert found == code
    failed = [
        (1000 + place, CODES[status]) for place, status in enumerate(statuses) if status > 200
    ]
    listed = ", ".join(f"{user} (exit code {code})" for user, code in failed[:3])
    assert listed in message


@pytest.mark.parametrize("order", [range(25), range(24, -1, -1), [*range(12, 25), *range(12)]])
@pytest.mark.parametrize("place", [None, 0, 19, 20, 24])
def test_failures__of_a_token_that_reads_nobody(
    place: int | None, order: Sequence[int], run: Run
) -> None:
    """The first 20 users of the list decide, also if one behind them may be read and is faster."""
    statuses = [200 if place == at else 403 for at in range(25)]

    code, _ = outcome_of(run, statuses, order)

    assert code == (65 if place in (0, 19) else 77)
