"""All tests of a comparison: which strategies share test rows, and every pair of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from ftkit.compare.intervals import RATES
from ftkit.compare.row_statistics import StrategyStatistics, shared_rows, sums_by_unit
from ftkit.compare.statistics import FLIPS, Paired, paired_differences


@dataclass(frozen=True)
class PairedTests:
    """The strategies that share test rows, and how each two of them differ."""

    seeds: tuple[int, ...] = ()
    """The seeds that all strategies have."""
    n: int = 0
    """The number of test rows that all strategies have."""
    units: int = 0
    """The number of groups of these rows; as many as rows when each row is its own group."""
    values: Mapping[str, float] = field(default_factory=dict)
    """The figure of each strategy on these rows."""
    pairs: Mapping[tuple[str, str], Paired] = field(default_factory=dict)
    """How the second of two strategies differs from the first, by their labels."""

    def between(self, first: str, second: str) -> Paired | None:
        """Return how the second differs from the first; None when that was not tested."""
        if (first, second) in self.pairs:
            return self.pairs[first, second]
        other = self.pairs.get((second, first))
        return other.reversed if other else None


def run_paired_tests(
    found: Mapping[str, StrategyStatistics],
    figure: str,
    about: str | None = None,
    seed: int = 0,
    count: int = FLIPS,
) -> PairedTests:
    """Return the tests of all strategies that share test rows.

    There are none where the shared rows have no figure, such as the R squared of a single row.

    Args:
        found: by label.
        figure: name of what is compared.
        about: the one strategy whose pairs are tested, which must not be chosen by these rows; all
            pairs when not given.
        seed: of the exchanges.
        count: exchanges that are drawn.
    """
    common = shared_rows(found)
    if not common.rows:
        return PairedTests()
    parts, n = sums_by_unit(found, common), len(common.all_rows)
    of = found[common.labels[0]].figure
    values = of(parts.sum(2)).mean(1)
    if not np.isfinite(values).all():
        return PairedTests()
    every = [
        (first, second)
        for first, second in combinations(range(len(common.labels)), 2)
        if about is None or about in (common.labels[first], common.labels[second])
    ]
    rate = figure in RATES
    tests = paired_differences(parts, of, np.array(every), n, rate, seed, count) if every else []
    names = [(common.labels[first], common.labels[second]) for first, second in every]
    return PairedTests(
        tuple(common.rows),
        n,
        parts.shape[2],
        dict(zip(common.labels, values.tolist(), strict=True)),
        dict(zip(names, tests, strict=True)),
    )
