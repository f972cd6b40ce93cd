"""Which test rows of a run are compared with what its saved model gives."""

from __future__ import annotations

import numpy as np

MOST_ROWS = 256


def verified_rows(size: int) -> np.ndarray:
    """Return the positions, in order, of the test rows that are compared, out of `size`."""
    return spread_rows(size, MOST_ROWS)


def spread_rows(size: int, most: int) -> np.ndarray:
    """Return at most so many positions out of `size`, evenly spread, in order."""
    return np.linspace(0, size - 1, min(most, size)).round().astype(int)
