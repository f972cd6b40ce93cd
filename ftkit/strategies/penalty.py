"""Which penalty and which temperature suit a Linear head: what rows that were held out say.

Features are cached, so trying is cheap. Penalties go from strong to weak, each begins where the one
before it ended, and the loss of held-out rows says which is best.
"""

from __future__ import annotations

import logging
import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from sklearn.model_selection import KFold, StratifiedKFold

from ftkit.recipe import Recipe
from ftkit.strategies.lbfgs import (
    HELD_BYTES,
    HISTORY,
    Examples,
    RowLoss,
    Solution,
    centred,
    minimise,
    shares_of,
)
from ftkit.tasks import task_of

log = logging.getLogger(__name__)
PENALTIES = tuple(10.0 ** (exponent / 2) for exponent in range(5, -11, -1))
"""From 316 to 1e-5, of weights of standardised features: 16 of them, half a decade apart."""
WORSE = 2
"""So many penalties in a row that are worse than the best one end the search."""
FOLDS = 5
DEAREST = 1e9
"""Where rows x features x classes are more, only one of the folds is held out."""
ITERATIONS, CHANGE = 60, 1e-4
"""L-BFGS stops after so many, or where the loss falls by less, while penalties are tried."""
TEMPERATURES, NEAR = (-4.0, 4.0), 0.03
"""The logarithm of the factor of the weights lies between these two, and is found up to this
error."""


@dataclass(frozen=True)
class Chosen:
    """What cross-validation says."""

    penalty: float
    factor: float
    """Weights are multiplied by it: one over the temperature (Guo et al. 2017)."""
    rows: np.ndarray
    """Numbers of the rows that were held out once."""
    logits: np.ndarray
    """(n, C) of these rows, by a head that did not see them, with the factor in it."""
    loss: float
    folds: int
    tried: int
    start: Solution
    """The mean of the heads of all folds, a good place to begin."""


class RescaledHeads:
    """Heads whose weights are multiplied by a factor, each with the bias that suits it then."""

    def __init__(
        self,
        heads: Solution,
        examples: Examples,
        parts: np.ndarray | None,
        fitting: RowLoss,
        bias: bool,
    ) -> None:
        """Take F heads and the rows (F, N) that each was fitted to."""
        self.scores = heads.scores(examples)
        self.shares, self.fitting, self.has_bias = shares_of(parts, examples), fitting, bias
        self.bias = heads.bias

    def at(self, factor: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ((N, F, C) logits without the bias, (F, C) the bias)."""
        scores = factor * self.scores
        if self.has_bias:
            self.bias = centred(scores, self.fitting, self.shares, self.bias)
        return scores, self.bias

    def logits(self, factor: float, rows: np.ndarray, which: np.ndarray) -> torch.Tensor:
        """Return (n, C) of these rows, each by the head whose number `which` (n,) gives."""
        scores, bias = self.at(factor)
        place, head = (torch.from_numpy(each).to(bias.device) for each in (rows, which))
        return scores[place, head] + bias[head]

    def best(self, judging: RowLoss, rows: np.ndarray, which: np.ndarray) -> tuple[float, float]:
        """Return (the factor that makes the loss of these rows least, that loss)."""
        numbers = torch.from_numpy(rows).to(self.bias.device)
        found = minimize_scalar(
            lambda power: float(judging(self.logits(math.exp(power), rows, which), numbers).mean()),
            bounds=TEMPERATURES,
            method="bounded",
            options={"xatol": NEAR},
        )
        return math.exp(found.x), float(found.fun)


def choose_penalty(
    examples: Examples, which: np.ndarray, recipe: Recipe, labels: np.ndarray, C: int, bias: bool
) -> Chosen:
    """Return the penalty whose loss on held-out rows is least, from strong to weak.

    The loss is the recipe's without label smoothing; for classes and tags the held-out rows count
    as if one more of them were wrong, which keeps the factor finite where all are right (Platt
    1999, section 2.2).

    Args:
        which: (N,) the part that a row is held out with; -1: it never is.
        labels: (N, ...), standardised where they are numbers.
    """
    task, settings, device = recipe.task, recipe.train, examples.device
    folds = int(which.max()) + 1
    room = HELD_BYTES / (16 * HISTORY * C * examples.D)
    tested = folds if examples.N * examples.D * C <= DEAREST and folds <= room else 1
    which = np.where(which < tested, which, -1)
    rows = np.flatnonzero(which >= 0)
    parts = (which[None] != np.arange(tested)[:, None]).astype(np.float64)
    targets = torch.from_numpy(labels).to(device)
    fitting = task_of(task).row_loss(settings, targets, C, settings.label_smoothing)
    smoothing = max(C, 2) / ((max(C, 2) - 1) * (len(rows) + 2))
    judging = task_of(task).row_loss(settings, targets, C, smoothing)
    best: Chosen | None = None
    solution, worse = None, 0
    for tried, penalty in enumerate(PENALTIES, 1):
        solution = minimise(
            examples, fitting, penalty, C, parts, solution, bias, ITERATIONS, CHANGE
        )
        scaled = RescaledHeads(solution, examples, parts, fitting, bias)
        factor, loss = scaled.best(judging, rows, which[rows])
        if best is None or loss < best.loss:
            held = scaled.logits(factor, rows, which[rows]).cpu().numpy()
            best = Chosen(penalty, factor, rows, held, loss, tested, tried, solution.mean())
        worse = 0 if best.tried == tried else worse + 1
        if worse == WORSE:
            break
    assert best is not None
    log.info(
        f"head: of {tried} penalties from {PENALTIES[0]:.3g} to {penalty:.2g}, {best.penalty:.2g} "
        f"has the least loss on held-out rows, {best.loss:.4f}"
    )
    return best


def folds_of(
    task: Any, labels: np.ndarray, seed: int, groups: np.ndarray | None = None
) -> np.ndarray:
    """Return (N,) in which of five parts a row is held out, classes spread evenly; -1: in none.

    Groups are held out as wholes, and are spread by the class of their first row. A class that one
    part has alone is never held out, nor is a group with a row of it: a head that has not seen the
    class would be judged by it. All zero where no two parts can be made.

    Scikit-learn's StratifiedGroupKFold spreads the classes of all rows of a group, but holds a
    table of all groups and classes, and takes a step of Python for each group, which are nearly as
    many as rows where groups are copies.

    Args:
        groups: (N,) int, equal for the rows of a group; None where each row is its own.
    """
    classes = task.tells == "class"
    groups = np.arange(len(labels)) if groups is None else groups
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    part_of, sample = np.zeros(len(first), np.int64), labels[first]
    folds = min(FOLDS, int(np.bincount(sample).max()) if classes else len(first))
    none = np.zeros(len(labels), np.int64)
    if folds < 2:
        return none
    kind = StratifiedKFold if classes else KFold
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes with fewer rows than parts
        for part, (_, held) in enumerate(
            kind(folds, shuffle=True, random_state=seed).split(first, sample if classes else None)
        ):
            part_of[held] = part
    if classes:
        pairs = np.unique(np.stack([labels, part_of[group]]), axis=1)
        part_of[group[np.bincount(pairs[0])[labels] == 1]] = -1
    held = part_of >= 0
    part_of[held] = np.unique(part_of[held], return_inverse=True)[1]  # none of them is empty
    return part_of[group] if part_of.max() > 0 else none
