"""Is a difference real? Two models on the same test examples: a test, and an interval.

Right or wrong answers go to McNemar's test (1947): only examples that one model has right and the
other wrong tell them apart. Its p-value is the exact binomial one less half the probability of what
was seen (mid-p), which keeps its level where the exact one is far below it (Fagerland, Lydersen and
Laake 2013). The interval of the difference is Bonett and Price's (2012). Any other figure, and the
mean over several seeds, goes to the paired bootstrap: examples are drawn with replacement, each
with all that every model said of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom, norm

from ftkit.metrics import RESAMPLES, resamples

Statistic = Callable[[np.ndarray], np.ndarray]
"""From weights (B, N), how often each example counts, to a figure (B,)."""


@dataclass(frozen=True)
class Paired:
    """What sets the second of two models apart from the first, on the same examples."""

    difference: float
    """Second less first."""
    low: float
    high: float
    """Ends of its 95 % interval over test examples."""
    p: float
    """How often a difference as large would be seen if there were none."""
    n: int
    """Test examples."""
    method: str
    at_most: bool = False
    """The true p is this or smaller: no resample was beyond no difference."""


def mcnemar(first: np.ndarray, second: np.ndarray) -> Paired:
    """Return the difference of two accuracies by McNemar's test, mid-p.

    Args:
        first: (N,) bool, whether the first model has each example right.
        second: (N,) bool, of the second model.
    """
    N = len(first)
    lost, won = int((first & ~second).sum()), int((second & ~first).sum())
    told = lost + won
    tail = binom.cdf(min(lost, won), told, 0.5) - binom.pmf(min(lost, won), told, 0.5) / 2
    down, up = (lost + 1) / (N + 2), (won + 1) / (N + 2)
    middle, error = up - down, np.sqrt((up + down - (up - down) ** 2) / (N + 2))
    reach = float(norm.ppf(0.975) * error)
    return Paired(
        difference=(won - lost) / N,
        low=max(-1.0, middle - reach),
        high=min(1.0, middle + reach),
        p=min(1.0, 2 * float(tail)),
        n=N,
        method=f"McNemar, exact mid-p, {told} examples tell",
    )


def paired_bootstrap(
    first: Statistic, second: Statistic, N: int, seed: int = 0, count: int = RESAMPLES
) -> Paired:
    """Return the difference of two figures by the paired bootstrap (Efron 1979), percentile.

    Of B resamples, r of them beyond no difference on its rarer side, p is 2 (r + 1) / (B + 1)
    (Davison and Hinkley 1997, section 4.2).

    Args:
        first: the figure of the first model, of weights of the examples.
        second: that of the second model.
        N: examples.
        seed: of the resamples.
    """
    once = np.ones((1, N))
    seen = float((second(once) - first(once))[0])
    drawn = np.concatenate(
        [second(weights) - first(weights) for weights in resamples(N, count, seed)]
    )
    drawn = drawn[np.isfinite(drawn)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    beyond = int(min((drawn <= 0).sum(), (drawn >= 0).sum()))
    p = min(1.0, 2 * (beyond + 1) / (len(drawn) + 1))
    method = f"paired bootstrap, {count:,} resamples"
    return Paired(seen, float(low), float(high), p, N, method, beyond == 0)


def interval(
    statistic: Statistic, N: int, seed: int = 0, count: int = RESAMPLES
) -> tuple[float, float]:
    """Return the ends of a figure's 95 % percentile bootstrap interval over N examples."""
    drawn = np.concatenate([statistic(weights) for weights in resamples(N, count, seed)])
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values of a family of tests, adjusted so that one false alarm in all is as rare.

    Holm (1979): the k-th smallest of m is multiplied by m - k + 1, and none is below a smaller one.
    """
    order = np.argsort(p, kind="stable")
    adjusted, highest = [0.0] * len(p), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, p[place] * (len(p) - rank)))
        adjusted[place] = highest
    return adjusted
