"""How sure is the figure of one strategy, the mean over its seeds? Intervals over test rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import t as student

from ftkit.compare.evidence import Evidence, shared, summed
from ftkit.compare.runs import Run
from ftkit.compare.statistics import influence
from ftkit.metrics.intervals import wilson
from ftkit.result import Measured

RATES = ("accuracy", "micro_f1", "f1")
"""First figures of tasks that are a share of something, between 0 and 1."""
LEAST = 1e-12
"""Distance from the end of a scale that a figure is taken to keep."""


def measured(runs: Sequence[Run], found: Evidence | None) -> Measured:
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


def interval(found: Evidence, name: str, value: float) -> tuple[float, float, str]:
    """Return the ends of the 95 % interval of a mean over seeds, and how it was made.

    Args:
        name: of the figure.
        value: of it.
    """
    cells = shared({"": found})
    (parts,) = summed({"": found}, cells)
    if name in RATES:
        squares = float((influence(parts[None], found.figure) ** 2).sum())
        rows, answers = len(cells.all_rows), sum(map(len, cells.rows.values()))
        effective = effective_number(value, squares, parts.shape[1], rows, answers)
        low, high = wilson(value, effective)
        return low, high, f"Wilson score at an effective n of {effective:.0f}"
    to, back = SCALES.get(name, (_as_is, _as_is))
    moves = influence(parts[None], lambda sums: to(found.figure(sums).mean(1, keepdims=True)))
    U = parts.shape[1]
    error = np.sqrt(float((moves**2).sum()) / (U * max(U - 1, 1)))
    reach = float(student.ppf(0.975, max(U - 1, 1))) * error
    ends = [float(back(to(np.array(value)) + side * reach)) for side in (-1, 1)]
    return min(ends), max(ends), "jackknife over test rows, Student's t"


def effective_number(value: float, squares: float, units: int, rows: int, answers: int) -> float:
    """Return of how many independent answers a rate would be as sure: p (1 - p) / variance.

    Korn and Graubard (1998) put it into the interval of a single rate, and take from it what
    Student's t asks for where few groups tell the variance; Dean and Pagano (2015) found it with
    Wilson's interval to cover best. Where no variance is seen, all answers right, say, it is the
    number of units: more is not known. It is never above the number of answers.

    Args:
        value: the rate.
        squares: sum of squares of `influence` over the units.
        units: groups of test rows, or rows where each is its own.
        rows: test rows.
        answers: of all seeds.
    """
    if not 0 < value < 1 or squares <= LEAST:
        return float(units)
    number = min(units**2 * value * (1 - value) / squares, answers)
    if units < 2 or units == rows:
        return number
    few, many = student.ppf(0.975, units - 1), student.ppf(0.975, rows - 1)
    return float(number * (many / few) ** 2)


def _as_is(values: np.ndarray) -> np.ndarray:
    return values


def _of_one(values: np.ndarray) -> np.ndarray:
    return -np.log(np.maximum(1 - values, LEAST))


Scale = Callable[[np.ndarray], np.ndarray]
SCALES: dict[str, tuple[Scale, Scale]] = {
    "r2": (_of_one, lambda values: 1 - np.exp(-values)),
    "pearson": (lambda values: np.arctanh(np.clip(values, LEAST - 1, 1 - LEAST)), np.tanh),
    "perplexity": (np.log, np.exp),
}
"""On what scale a figure is about normal, and the way back: Fisher's z (1915) of correlations, the
logarithm of perplexity and of the share of variance that R squared leaves."""
