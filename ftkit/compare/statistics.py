"""Which differences are real? All pairs of strategies on the same test rows, tested together.

The test exchanges answers. Were two strategies equally good, it would be chance which of them gave
which of their two answers to a test row. So the answers to each row are exchanged or left by the
toss of a coin, with all that every seed made of the row, and the difference seen is held against
those that come out of it (Noreen 1989, "Computer-Intensive Methods for Testing Hypotheses"; Dror et
al. 2018). A row that both answer alike tells nothing. Of two single runs and right or wrong answers
this is McNemar's test (1947).

Half the probability of what was seen itself is left out (mid-p), which keeps the level where few
rows tell and the exact test is far below it (Fagerland, Lydersen and Laake 2013).

One toss is used for all pairs, so the largest difference of all pairs has a distribution too. p is
adjusted by it, the largest difference first (Westfall and Young 1993, step-down max-T): in one
comparison of twenty at most any pair of equals is told apart, whichever of them were picked to be
spoken of. `scripts/simulate_comparisons.py` measures that. This stays by hand, because
scipy's permutation_test knows one difference at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

LEVEL = 0.05
"""The level of all tests of a comparison together. Their intervals hold together in 95 of 100
comparisons."""
FLIPS = 10_000
"""So many exchanges are drawn. All of them are taken when there are no more."""
MOST_TOLD = 13
"""All 2^13 exchanges are taken when so many rows differ between strategies, or fewer."""
AT_ONCE = 2 * 10**6
"""The most exchanges times rows that are in memory together."""
GAUSSIAN = 20_000
"""So often the largest of correlated normal numbers is drawn."""

Figure = Callable[[np.ndarray], np.ndarray]
"""A function from sums (..., K) over rows to a figure (...)."""


@dataclass(frozen=True)
class Paired:
    """How the second of two strategies differs from the first on the same test rows."""

    difference: float
    """The figure of the second less that of the first."""
    low: float
    high: float
    """The ends of the interval of the difference. It holds together with those of all other pairs.
    """
    p: float
    """The probability that a pair of equal strategies shows a difference as large, in any pair."""
    n: int
    """The number of test rows."""
    method: str

    @property
    def reversed(self) -> Paired:
        """How the first differs from the second."""
        return Paired(-self.difference, -self.high, -self.low, self.p, self.n, self.method)


def paired_differences(
    parts: np.ndarray,
    figure: Figure,
    pairs: np.ndarray,
    n: int,
    rate: bool,
    seed: int = 0,
    count: int = FLIPS,
) -> list[Paired]:
    """Return the difference of each pair of strategies, with intervals and p-values for all pairs.

    Args:
        parts: (L, S, U, K) what each of L strategies made in each of S seeds of each of U units,
            which are test rows or groups of them.
        figure: of the sums of parts over units. The figure of a strategy is the mean over seeds.
        pairs: (P, 2) numbers of strategies.
        n: test rows.
        rate: whether the figure is a share of something, between 0 and 1.
        seed: of the exchanges.
        count: exchanges that are drawn.
    """
    values = figure(parts.sum(2)).mean(1)
    seen = values[pairs[:, 1]] - values[pairs[:, 0]]
    tell = (parts != parts[:1]).any((0, 1, 3))
    drawn, complete = _differences_after_exchanges(parts, tell, figure, pairs, seed, count)
    scale = np.sqrt((drawn**2).mean(0))
    scale[scale == 0] = 1
    p = step_down(np.abs(seen) / scale, np.abs(drawn) / scale, complete)
    low, high = _agreeing_with_tests(
        seen, *_intervals(seen, influence(parts, figure), pairs, rate), p
    )
    unit = "rows" if n == parts.shape[2] else "groups"
    method = f"exchange of answers, {tell.sum():,} {unit} tell, max-T over {len(pairs):,} "
    method += "pair" if len(pairs) == 1 else "pairs"
    found = zip(seen.tolist(), low.tolist(), high.tolist(), p.tolist(), strict=True)
    return [Paired(*each, n, method) for each in found]


def _differences_after_exchanges(
    parts: np.ndarray, tell: np.ndarray, figure: Figure, pairs: np.ndarray, seed: int, count: int
) -> tuple[np.ndarray, bool]:
    """Return (B, P) the differences after each exchange, and whether these are all exchanges.

    Units whose answers are the same of all strategies, where `tell` is false, change nothing.
    """
    L, S, _, K = parts.shape
    total, found = parts.sum(2), []
    flat = np.moveaxis(parts[:, :, tell], 2, 0).reshape(-1, L * S * K)
    complete = len(flat) <= MOST_TOLD
    signs = _every_sign(len(flat)) if complete else _drawn_signs(len(flat), count, seed)
    for some in signs:
        moved = (some @ flat).reshape(len(some), L, S, K) / 2
        differences = np.empty((len(some), len(pairs)))
        for place, (first, second) in enumerate(pairs):
            middle = (total[first] + total[second]) / 2
            half = moved[:, second] - moved[:, first]
            differences[:, place] = (figure(middle + half) - figure(middle - half)).mean(1)
        found.append(differences)
    return np.nan_to_num(np.concatenate(found)), complete


def _every_sign(units: int) -> Iterator[np.ndarray]:
    """Yield (2^units, units): every row of signs."""
    yield 1.0 - 2 * (np.arange(2**units)[:, None] >> np.arange(units) & 1)


def _drawn_signs(units: int, count: int, seed: int) -> Iterator[np.ndarray]:
    """Yield (B, units) random signs, `count` rows in all."""
    random, size = np.random.default_rng(seed), max(1, AT_ONCE // units)
    for start in range(0, count, size):
        shape = min(size, count - start), units
        yield 1.0 - 2 * random.integers(0, 2, shape, dtype=np.int8)


def step_down(seen: np.ndarray, drawn: np.ndarray, complete: bool = False) -> np.ndarray:
    """Return (P,) p-values, adjusted for their number by the largest of what was drawn.

    The largest of all pairs is held against the largest of each draw, the second largest against
    the largest of each draw without the pair of the first, and so on; none is below that of a
    larger difference (Westfall and Young 1993, algorithm 2.8). Of what equals the seen half is
    counted, and what was seen is one of the draws where not all are taken (Phipson and Smyth 2010).

    Args:
        seen: (P,) sizes of the differences, on a common scale.
        drawn: (B, P) the same where none is real.
        complete: whether `drawn` holds all there are.
    """
    order = np.argsort(-seen, kind="stable")
    largest = np.maximum.accumulate(drawn[:, order[::-1]], axis=1)[:, ::-1]
    held = seen[order]
    equal = np.abs(largest - held) <= 1e-9 * held
    greater = ((largest > held) & ~equal).sum(0)
    more = 0 if complete else 1
    p = (greater + (equal.sum(0) + more) / 2) / (len(drawn) + more)
    p = np.maximum.accumulate(np.where(held > 0, np.minimum(p, 1), 1))
    adjusted = np.empty(len(seen))
    adjusted[order] = p
    return adjusted


def influence(parts: np.ndarray, figure: Figure) -> np.ndarray:
    """Return (L, U) how each unit moves the figure, their mean 0: the jackknife (Tukey 1958).

    The variance of the figure is the sum of their squares over U (U - 1). NaN where the figure is
    none without a unit.

    Args:
        parts: (L, S, U, K), see `paired_differences`.
    """
    U = parts.shape[2]
    with np.errstate(divide="ignore", invalid="ignore"):
        without = figure(parts.sum(2, keepdims=True) - parts).mean(1)
        return (U - 1) * (without.mean(1, keepdims=True) - without)


def _intervals(
    seen: np.ndarray, moves: np.ndarray, pairs: np.ndarray, rate: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of intervals that hold together in 95 of 100 comparisons.

    They reach as many standard errors as the largest of so many correlated normal numbers does
    (Hothorn, Bretz and Westfall 2008). A difference of rates has two units more, one that tells for
    either side, as Bonett and Price (2012) have it, so that the interval of two strategies that
    answer alike is not one point. Other figures have Student's t.

    Args:
        seen: (P,) differences.
        moves: (L, U), see `influence`.
    """
    U = moves.shape[1]
    apart = moves[pairs[:, 1]] - moves[pairs[:, 0]]
    squares, reach = (apart**2).sum(1), critical(moves, pairs)
    if rate:
        middle = U * seen / (U + 2)
        variance = (squares + U * seen**2 + 2) / (U + 2) - middle**2
        error = reach * np.sqrt(variance / (U + 2))
        low, high = np.maximum(middle - error, -1), np.minimum(middle + error, 1)
    else:
        with np.errstate(divide="ignore", invalid="ignore"):
            error = student.ppf(norm.cdf(reach), U - 1) * np.sqrt(squares / (U * (U - 1)))
        low, high = seen - error, seen + error
    whole = np.isfinite(squares) & (U > 1)
    limit = 1 if rate else np.inf
    return np.where(whole, low, -limit), np.where(whole, high, limit)


def critical(moves: np.ndarray, pairs: np.ndarray) -> float:
    """Return how many standard errors 95 % of the largest of these pairs' differences stay within.

    Args:
        moves: (L, U), see `influence`.
    """
    if len(pairs) == 1:
        return float(norm.ppf(1 - LEVEL / 2))
    finite = np.where(np.isfinite(moves), moves, 0)
    covariance = finite @ finite.T
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0))
    drawn = root @ np.random.default_rng(0).standard_normal((len(moves), GAUSSIAN))
    largest = np.zeros(GAUSSIAN)
    for first, second in pairs:
        apart = np.abs(drawn[second] - drawn[first])
        variance = covariance[first, first] + covariance[second, second]
        variance -= 2 * covariance[first, second]
        if variance > 1e-12 * (covariance[first, first] + covariance[second, second]):
            np.maximum(largest, apart / np.sqrt(variance), out=largest)
    return max(float(np.quantile(largest, 1 - LEVEL)), float(norm.ppf(1 - LEVEL / 2)))


def _agreeing_with_tests(
    seen: np.ndarray, low: np.ndarray, high: np.ndarray, p: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return ends of intervals that hold 0 exactly when the test does not exclude it.

    An interval that passes 0 though the test excludes it ends there: that is the interval that goes
    with a step-down test (Hayter and Hsu 1994), which is open at 0. One that excludes 0 though the
    test does not is drawn out to it.
    """
    told = p < LEVEL
    low = np.where(told & (seen > 0), np.maximum(low, 0), np.where(told, low, np.minimum(low, 0)))
    high = np.where(
        told & (seen < 0), np.minimum(high, 0), np.where(told, high, np.maximum(high, 0))
    )
    return low, high
