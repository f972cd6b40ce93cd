"""Measure how often the 95 % intervals of a run's figures hold the truth.

    python scripts/simulate_intervals.py             # every figure, a few minutes
    python scripts/simulate_intervals.py auroc r2    # some of them
    python scripts/simulate_intervals.py --times 500

Rows are drawn from a known distribution, the interval is made as a run makes it, and the share of
drawings whose interval holds the known value is printed: a line for each number of rows, a column
for each accuracy (area, R squared or correlation). 2,000 drawings tell a share of .95 to +- .01.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import numpy as np
from scipy.stats import norm

from ftkit.tasks.metrics.classes import figures
from ftkit.tasks.metrics.intervals import effective_n, measured_share, wilson
from ftkit.tasks.metrics.matrices import matrix_interval
from ftkit.tasks.metrics.moments import error_parts, pearson_of, product_parts, r2_of
from ftkit.tasks.metrics.numbers import interval_of
from ftkit.tasks.metrics.ranking import measure_auroc
from ftkit.tasks.metrics.tags import measured_f1

ROWS = (40, 90, 360, 2000)
LEVELS = (0.5, 0.9, 0.97, 0.99)
SHARES = {
    "2 even classes": np.full(2, 1 / 2),
    "10 even classes": np.full(10, 1 / 10),
    "classes of .9 .06 .04": np.array([0.9, 0.06, 0.04]),
    "classes of .95 .05": np.array([0.95, 0.05]),
}
Held = tuple[float, float, float]
"""The ends of an interval and the truth."""
Case = Callable[[np.random.Generator, int, float], Held | None]
"""One drawing of so many rows at that level; None where it has no truth to hold."""


def matrices(name: str, shares: np.ndarray) -> Case:
    """Return drawings of a confusion matrix whose classes all have the same accuracy."""
    C = len(shares)

    def draw(random: np.random.Generator, N: int, level: float) -> Held | None:
        errors = shares * (1 - np.eye(C))
        errors = errors / errors.sum(1, keepdims=True) * (shares * (1 - level))[:, None]
        joint = errors + np.diag(shares * level)
        cells = random.choice(C * C, N, p=joint.ravel())
        counts = np.bincount(cells, minlength=C * C).reshape(C, C)
        if not counts.sum(1).all():
            return None
        values = figures(counts.sum(1), counts.sum(0), counts.diagonal())
        low, high = matrix_interval(float(values[name]), name, counts, cells // C, cells % C)
        return low, high, float(figures(joint.sum(1), joint.sum(0), joint.diagonal())[name])

    return draw


def accuracy(random: np.random.Generator, N: int, level: float) -> Held:
    """Independent rows."""
    found = measured_share((random.random(N) < level).astype(float))
    return found.low, found.high, level


def seeds(random: np.random.Generator, N: int, level: float) -> Held:
    """The mean over three seeds; how easy a row is for all three has a beta distribution."""
    ease = random.beta(2 * level, 2 * (1 - level), N)
    values = (random.random((N, 3)) < ease[:, None]).mean(1)
    low, high = wilson(float(values.mean()), effective_n(values, seeds=3))
    return low, high, level


def grouped(random: np.random.Generator, N: int, level: float) -> Held:
    """Groups of 1, 4 or 8 rows; in some, nine rows of ten are wrong, in the others none."""
    sizes = random.choice([1, 4, 8], max(2, round(N / (13 / 3))))
    groups = np.repeat(np.arange(len(sizes)), sizes)
    bad = (random.random(len(sizes)) < (1 - level) / 0.9)[groups]
    found = measured_share(1.0 - (bad & (random.random(len(groups)) < 0.9)), groups=groups)
    return found.low, found.high, level


def auroc(positive: float) -> Case:
    """Return drawings of two normal distributions, so many of the rows of the positive class."""

    def draw(random: np.random.Generator, N: int, level: float) -> Held:
        truth = np.arange(N) < round(N * positive)
        scores = random.normal(np.sqrt(2) * norm.ppf(level) * truth, 1)
        found = measure_auroc(truth[:, None], scores[:, None])["auroc"]
        return found.low, found.high, level

    return draw


def r2(skewed: bool) -> Case:
    """Return drawings of normal or exponential labels with normal errors."""

    def draw(random: np.random.Generator, N: int, level: float) -> Held:
        labels = random.exponential(1, N) if skewed else random.normal(0, 1, N)
        predictions = labels + random.normal(0, np.sqrt(1 - level), N)
        return _number("r2", labels, predictions, random, level)

    return draw


def pearson(random: np.random.Generator, N: int, level: float) -> Held:
    """Two normal numbers."""
    labels = random.normal(0, 1, N)
    predictions = level * labels + np.sqrt(1 - level**2) * random.normal(0, 1, N)
    return _number("pearson", labels, predictions, random, level)


def _number(
    name: str,
    labels: np.ndarray,
    predictions: np.ndarray,
    random: np.random.Generator,
    level: float,
) -> Held:
    centre = labels.mean()
    if name == "r2":
        parts, figure = error_parts(labels, predictions, centre), r2_of
    else:
        parts, figure = product_parts(labels, predictions, centre, predictions.mean()), pearson_of
    value = float(figure(parts.sum(0)))
    found = interval_of(name, value, parts[:, None], figure, int(random.integers(10**6)))
    assert found is not None
    return found.low, found.high, level


def micro_f1(random: np.random.Generator, N: int, level: float) -> Held:
    """Three labels a row, of which one in three is there; rows differ in how hard they are."""
    share = level / (2 - level)  # of the labels that are told or there, both
    ease = random.beta(4 * share, 4 * (1 - share), N)[:, None]
    either, both = random.random((N, 3)) < 0.4, random.random((N, 3)) < ease
    missed = random.random((N, 3)) < 0.5
    hits = either & both
    found, truth = hits | (either & missed), hits | (either & ~missed)
    measured = measured_f1(*(part.sum(1).astype(float) for part in (hits, found, truth)))
    return measured.low, measured.high, level


CASES: dict[str, dict[str, Case]] = {
    "accuracy": {"independent rows": accuracy, "mean over 3 seeds": seeds, "groups": grouped},
    **{
        name: {about: matrices(name, shares) for about, shares in SHARES.items()}
        for name in ("balanced_accuracy", "macro_f1", "matthews")
    },
    "auroc": {"half positive": auroc(0.5), "one in ten positive": auroc(0.1)},
    "r2": {"normal labels": r2(False), "exponential labels": r2(True)},
    "pearson": {"normal": pearson},
    "micro_f1": {"tags": micro_f1},
}
SLOW = ("r2", "pearson")
"""Figures of a bootstrap: a tenth of the drawings, and not 2,000 rows."""


def coverage(case: Case, N: int, level: float, times: int, seed: int = 0) -> float:
    """Return the share of drawings whose interval holds the truth."""
    random = np.random.default_rng(seed)
    drawn = [case(random, N, level) for _ in range(times)]
    held = [low - 1e-12 <= truth <= high + 1e-12 for low, high, truth in filter(None, drawn)]
    return float(np.mean(held)) if len(held) >= times / 10 else float("nan")


def lines(names: list[str], times: int) -> Iterator[str]:
    """Yield the table, line by line."""
    for name in names:
        for about, case in CASES[name].items():
            yield f"{name}, {about}" + "".join(f"  {level:5}" for level in LEVELS)
            for N in ROWS[: 3 if name in SLOW else 4]:
                few = times // 10 if name in SLOW else times
                shares = [coverage(case, N, level, few) for level in LEVELS]
                yield f"{N:8,} rows" + "".join(f"  {share:5.3f}" for share in shares)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figures", nargs="*", help=f"some of {', '.join(CASES)}")
    parser.add_argument("--times", type=int, default=2000, help="drawings of each cell")
    given = parser.parse_args()
    for line in lines(given.figures or list(CASES), given.times):
        print(line, flush=True)


if __name__ == "__main__":
    main()
