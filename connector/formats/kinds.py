"""Counts by type and state for people: the most common kinds, and the others added up."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

OTHERS = "others"


def fold_rare(
    counts: Mapping[tuple[str, str], int], most: int
) -> tuple[Counter[tuple[str, str]], dict[str, int], dict[str, int]]:
    """Return *counts* by type and state, by type, and by state.

    At most so many types, and states, are named, the most common first; the rest is ``OTHERS``.
    """
    by_type, by_state = Counter[str](), Counter[str]()
    for (lo_type, state), count in counts.items():
        by_type[lo_type] += count
        by_state[state] += count
    types, states = dict(by_type.most_common(most)), dict(by_state.most_common(most))
    folded, folded_types, folded_states = Counter[tuple[str, str]](), Counter[str](), Counter[str]()
    for (lo_type, state), count in counts.items():
        row = lo_type if lo_type in types else OTHERS
        column = state if state in states else OTHERS
        folded[row, column] += count
        folded_types[row] += count
        folded_states[column] += count
    return folded, _ranked(folded_types), _ranked(folded_states)


def _ranked(counts: Counter[str]) -> dict[str, int]:
    # The others come last, however many they are.
    return dict(sorted(counts.items(), key=lambda item: (item[0] == OTHERS, -item[1])))
