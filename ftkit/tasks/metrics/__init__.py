"""What a task's outputs are worth, while training and with intervals at the end.

One file for each kind of outputs. Every figure comes from an `evaluate.Metric` that needs no Hub.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import datasets
import evaluate
import numpy as np

Groups = np.ndarray | None
"""(N,) int64, equal for rows that stand and fall together, such as rotations of one position; None
where every row is one of its own."""
RESAMPLES = 2000
"""Every bootstrap draws so many resamples."""
AT_ONCE = 10**6
"""At most so many numbers, resamples times examples, are in memory together."""


def resamples(N: int, count: int, seed: int) -> Iterator[np.ndarray]:
    """Yield (B, N) float32, `count` rows in all: how often each example is in each resample."""
    random, size = np.random.default_rng(seed), max(1, AT_ONCE // N)
    for start in range(0, count, size):
        drawn = random.integers(0, N, (min(size, count - start), N))
        yield np.stack([np.bincount(row, minlength=N) for row in drawn]).astype(np.float32)


class LocalMetric(evaluate.Metric):
    """A metric that is computed without the Hub: a child says what is in its columns, and computes.

    `evaluate` ships none in its wheel, and fetches scikit-learn's from the Hub.
    """

    column: ClassVar[Any]
    """The type of each column of a row."""
    names: ClassVar[tuple[str, ...]] = ("predictions", "references")

    def __init__(self) -> None:
        super().__init__(keep_in_memory=True)

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=type(self).__doc__ or "",
            citation="",
            inputs_description=", ".join(self.names),
            features=datasets.Features(dict.fromkeys(self.names, self.column)),
        )

    def score(self, **columns: Any) -> dict[str, float]:
        """Return the figures of these columns, each with a value for every row."""
        found = self.compute(**columns)
        assert found is not None  # as on all ranks but the first of a metric that gathers
        return found
