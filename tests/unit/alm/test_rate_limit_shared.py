"""Runs that share a bucket unknowingly, on a virtual clock: none starves, few are refused."""

from __future__ import annotations

import statistics

import pytest

from benchmarks.shared_quota import THREADS, Simulation

REQUESTS = 600


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_simulation__one_run(share: float, seed: int) -> None:
    """A run that has its bucket for itself is never refused and uses nearly all of its share."""
    simulation = Simulation(1, REQUESTS, share=share, seed=seed)

    simulation.run()

    assert (simulation.accepted, simulation.refused) == (REQUESTS, 0)
    assert 0.95 < simulation.part_of_the_bound < 1.02


@pytest.mark.parametrize("seed", range(3))
def test_simulation__four_runs(seed: int) -> None:
    """Four runs on one bucket all finish, use most of it, and are rarely refused."""
    simulation = Simulation(4, REQUESTS, seed=seed)

    simulation.run()

    assert simulation.accepted == 4 * REQUESTS
    assert simulation.part_of_the_bound > 0.8
    assert simulation.refused_part < 0.05


def test_simulation__four_quarters() -> None:
    """Four runs with a quarter each are never refused after they have learned the limits."""
    simulation = Simulation(4, REQUESTS, share=0.25)

    simulation.run()

    assert simulation.accepted == 4 * REQUESTS
    assert simulation.refused < THREADS * 4


def test_simulation__four_short_runs() -> None:
    """Four runs that start together share the burst: few requests are refused, and all are soon."""
    simulations = [Simulation(4, 150, seed=seed) for seed in range(10)]

    for simulation in simulations:
        simulation.run()

    assert statistics.mean(simulation.refused_part for simulation in simulations) < 0.05
    assert statistics.mean(simulation.part_of_the_bound for simulation in simulations) > 0.8


def test_simulation__no_burst() -> None:
    """Without a burst a run is never refused, and takes at most 1.5 times the bound."""
    simulation = Simulation(1, 50, per_minute=600, burst=0)

    simulation.run()

    assert simulation.refused == 0
    assert simulation.part_of_the_bound > 1 / 1.5
