"""What strategies made of each row, in the form that tests and intervals read."""

import numpy as np

EXPERIMENTS = 200


def share(sums):
    return sums[..., 0] / sums[..., 1]


def parts_of(values):
    """Of values (L, S, N): these, and a one for each row."""
    return np.stack([values, np.ones_like(values)], -1).astype(float)
