"""How sure is the figure of one strategy, the mean over its seeds? Intervals over test rows.

They are made by the same functions as those of a single run; see `ftkit.tasks.metrics`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ftkit.compare.finished_runs import Run
from ftkit.compare.row_statistics import StrategyStatistics, moments
from ftkit.runs.result import Measured
from ftkit.tasks.metrics import RESAMPLES, resamples
from ftkit.tasks.metrics.intervals import NOTHING, cluster_sums, effective_n, wilson
from ftkit.tasks.metrics.language import measured_perplexity
from ftkit.tasks.metrics.numbers import interval_of
from ftkit.tasks.metrics.translation import overlap_interval

RATES = ("accuracy", "micro_f1", "f1")
"""First figures of tasks that are a share, between 0 and 1."""


def measured(runs: Sequence[Run], found: StrategyStatistics | None) -> Measured:
    """Return the first figure of these runs, with an interval over test rows.

    That of a single run is the one in its run.json. Of several seeds it is their mean, and the
    interval knows how alike the seeds answer each row.
    """
    name = runs[0].figure
    values = [run.result.metrics[name] for run in runs]
    if len(values) == 1:
        return values[0]
    value = float(np.mean([each.value for each in values]))
    if found is not None:
        low, high, method = interval(found, name, value)
        if np.isfinite([low, high]).all():
            return Measured(value=value, low=low, high=high, method=method)
    low, high = (float(np.mean([getattr(v, end) for v in values])) for end in ("low", "high"))
    return Measured(value=value, low=low, high=high, method="mean of the seeds' intervals")


def interval(found: StrategyStatistics, name: str, value: float) -> tuple[float, float, str]:
    """Return the ends of the 95 % interval of a mean over seeds, and how it was made.

    Args:
        name: of the figure.
        value: of it.
    """
    parts, groups = by_row(found)
    S = len(found.seeds)
    if name in RATES:
        return _of_rate(name, value, parts.mean(1), groups, S, bool((parts[..., 1] > 0).all()))
    if name == "perplexity":
        one = measured_perplexity(value, parts[..., 0], parts[..., 1], 0, groups)
    elif name == "bleu":
        one = _of_bleu(found, value, parts, groups)
    else:
        known = interval_of(name, value, parts, found.figure, 0, groups)
        assert known is not None  # errors are no first figure
        one = known
    return one.low, one.high, one.method


def by_row(found: StrategyStatistics) -> tuple[np.ndarray, np.ndarray | None]:
    """Return (N, S, K) what S seeds made of each of N rows; 0 for a seed that lacks the row.

    And the rows' groups (N,), None where each is its own.
    """
    seeds = list(found.seeds.values())
    rows = np.unique(np.concatenate([answers.index for answers in seeds]))
    every = moments(found.figure, [answers.parts for answers in seeds])
    parts, groups = np.zeros((len(rows), len(seeds), every[0].shape[1])), -1 - np.arange(len(rows))
    for place, (answers, mine) in enumerate(zip(seeds, every, strict=True)):
        at = np.searchsorted(rows, answers.index)
        parts[at, place] = mine
        if answers.group is not None:
            groups[at] = answers.group
    return parts, groups if any(answers.group is not None for answers in seeds) else None


def _of_rate(
    name: str,
    value: float,
    means: np.ndarray,
    groups: np.ndarray | None,
    seeds: int,
    complete: bool,
) -> tuple[float, float, str]:
    """Return Wilson's interval. That of F1 is the interval of Jaccard's share, as for a single run.

    Args:
        means: (N, 2) over seeds, what is divided by what.
        complete: whether all seeds have all rows.
    """
    hits, counts = means.T
    if name != "accuracy":  # 2 hits of what is told and what is there
        hits, counts = hits / 2, counts - hits / 2
    if not counts.sum() > 0:
        return 0.0, 1.0, NOTHING
    each = None if name == "accuracy" and complete else counts
    n = effective_n(hits, groups, each, seeds)
    method = f"Wilson score at an effective n of {n:.0f}"
    if name == "accuracy":
        return *wilson(value, n), method
    low, high = (2 * j / (1 + j) for j in wilson(value / (2 - value), n))
    return min(low, value), max(high, value), method


def _of_bleu(
    found: StrategyStatistics, value: float, parts: np.ndarray, groups: np.ndarray | None
) -> Measured:
    """Return the mean of BLEU over seeds, as `ftkit.tasks.metrics.translation` has one seed's."""
    sums = cluster_sums(parts, groups)
    drawn = [
        found.figure(np.tensordot(weights, sums, 1)).mean(1)
        for weights in resamples(len(sums), RESAMPLES, 0)
    ]
    return overlap_interval(value, np.concatenate(drawn), len(sums))
