"""Which inputs a saved model is asked: as many as there is time for, evenly spread at any moment.

This file imports nothing of ftkit: `ftkit.finetuning.reload`, which must not, uses it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

BATCH = 16
"""Inputs that are answered together, and so the fewest that are."""
PIPED, PIPED_AT_LEAST = 16, 4
"""So many inputs go through the pipeline too, one at a time as its users give them, in half of the
time."""


def coarse_to_fine(count: int) -> list[int]:
    """Return so many positions in an order whose beginnings are spread evenly over all.

    It is that of their bits read backwards (van der Corput 1935).
    """
    bits = max(1, (count - 1).bit_length())
    return sorted(range(count), key=lambda position: f"{position:0{bits}b}"[::-1])


def in_time(count: int, seconds: float, size: int = BATCH) -> Iterator[list[int]]:
    """Yield positions out of so many in batches, until the time is over or they are through.

    The first batch always comes.
    """
    order, end = coarse_to_fine(count), time.monotonic() + seconds
    for start in range(0, count, size):
        if start and time.monotonic() > end:
            return
        yield order[start : start + size]


def piped(count: int, seconds: float) -> Iterator[int]:
    """Yield the positions of the inputs, out of so many, that go through the pipeline."""
    some = np.linspace(0, count - 1, min(PIPED, count)).round().astype(int).tolist()
    for batch in in_time(len(some), seconds / 2, PIPED_AT_LEAST):
        yield from (some[place] for place in batch)
