"""How long the saved model and its files take for the same rows, measured in turns.

The clock of one sitting counts: other work on the machine makes some turns slower, and which it
meets is chance. So all are asked one after the other in each round, and each has the median of its
round that was least.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ROUNDS = 5
SECONDS = 0.3
"""Each is asked for so long in each round, and once at least."""
TOGETHER, ALONE = 32, 10
"""Rows of a batch, and rows that are asked one by one; the same ones of all."""


@dataclass(frozen=True)
class Speed:
    """How fast one of them answers."""

    latency_seconds: float
    """From one row to its answer."""
    rows_per_second: float
    """In batches of TOGETHER rows."""


def in_turns(
    answer: Mapping[str, Callable[[Sequence[Any]], Any]], rows: Sequence[Any]
) -> dict[str, Speed]:
    """Return the speed of each.

    Args:
        answer: by name, what answers rows.
        rows: at least one.
    """
    batch = [rows[place % len(rows)] for place in range(TOGETHER)]
    alone = [[row] for row in rows[:ALONE]]
    for ask in answer.values():  # kernels are chosen and memory is taken
        ask(alone[0])
        ask(batch)
    one: dict[str, list[float]] = {name: [] for name in answer}
    many: dict[str, list[float]] = {name: [] for name in answer}
    for _ in range(ROUNDS):
        for name, ask in answer.items():
            one[name].append(_median(ask, alone))
            many[name].append(_median(ask, [batch]))
    return {name: Speed(min(one[name]), TOGETHER / min(many[name])) for name in answer}


def _median(ask: Callable[[Sequence[Any]], Any], given: Sequence[Sequence[Any]]) -> float:
    """Return the median seconds of an answer to these, all of them as often as the time allows."""
    taken: list[float] = []
    until = time.perf_counter() + SECONDS
    while not taken or time.perf_counter() < until:
        for rows in given:
            start = time.perf_counter()
            ask(rows)
            taken.append(time.perf_counter() - start)
    return statistics.median(taken)
