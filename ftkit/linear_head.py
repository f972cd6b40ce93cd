"""A Linear head solved to the end: its penalty and temperature by cross-validation, then L-BFGS.

Features are cached, so trying is cheap. Penalties go from strong to weak, each begins where the one
before it ended, and the loss of rows that were held out says which is best. The head that is kept
is then fitted to training and validation rows together, and the figures reported are those of the
rows while they were held out.
"""

from __future__ import annotations

import logging
import math
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from sklearn.model_selection import KFold, StratifiedKFold
from torch import nn

from ftkit.data.splits import own_groups
from ftkit.features import Features
from ftkit.heads import Head
from ftkit.journal import append
from ftkit.metrics import score
from ftkit.optimum import (
    HELD_BYTES,
    HISTORY,
    Examples,
    RowLoss,
    Solution,
    centred,
    minimise,
    row_loss,
    shares_of,
)
from ftkit.probe import measured
from ftkit.recipe import HeadOnly, Recipe, TextRegression, TextTagging
from ftkit.runtime import Machine, on_main
from ftkit.scaling import Scale, scale_of
from ftkit.tasks import Inputs
from ftkit.training import Fitted

log = logging.getLogger(__name__)
PENALTIES = tuple(10.0 ** (exponent / 2) for exponent in range(5, -11, -1))
"""From 316 to 1e-5, of weights of standardised features: 16 of them, half a decade apart."""
USUAL = 1.0
"""The penalty where there are too few rows to choose one."""
WORSE = 2
"""So many penalties in a row that are worse than the best one end the search."""
FOLDS = 5
DEAREST = 1e9
"""Where rows x features x classes are more, one of the folds is held out instead of all in turn."""
ITERATIONS, CHANGE = 60, 1e-4
"""L-BFGS stops after so many, or where the loss falls by less, while penalties are tried."""
TEMPERATURES, NEAR = (-4.0, 4.0), 0.03
"""The logarithm of what weights are multiplied by lies between these, and is found as nearly."""


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


class Scaled:
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


@dataclass(frozen=True)
class Solved:
    """A Linear head, and how it came about."""

    weight: np.ndarray
    """(C, D) float64, for features as they are."""
    bias: np.ndarray
    """(C,) float64."""
    penalty: float
    losses: list[float]
    """The penalised loss in each pass over the rows, the last fit alone."""
    gradient: float
    """Its largest entry at the end."""
    rows: int
    """That the head was fitted to."""
    figures: dict[str, float] | None
    """Of the rows while they were held out, if they were."""
    folds: int
    """Rows were held out in so many parts; 0: they were not."""


def solve(
    head: Head,
    inputs: Inputs,
    recipe: Recipe,
    machine: Machine,
    folder: Path,
    resume: bool = False,
) -> Fitted:
    """Put the best weights into a Linear head and write log.jsonl; see `solved`.

    Every rank must call this; rank 0 computes. There is nothing to resume: it takes seconds.
    """
    begin = time.perf_counter()
    found = on_main(lambda: solved(head, inputs, recipe))
    _put(found, head)
    train_seconds = time.perf_counter() - begin
    figures = found.figures or measured(head, inputs, recipe)
    validation_seconds = time.perf_counter() - begin - train_seconds
    passes = len(found.losses)
    log.info(
        "head: L-BFGS on %s rows, penalty %.2g, %d passes, largest entry of the gradient %.1g; %s "
        "loss %.4f, %s %.4f (%.1f s)",
        f"{found.rows:,}",
        found.penalty,
        passes,
        found.gradient,
        f"held out in {found.folds} folds:" if found.figures else "validation",
        figures["loss"],
        recipe.best_by,
        figures[recipe.best_by],
        train_seconds,
    )
    if machine.is_main:
        file = folder / "log.jsonl"
        file.write_text("", encoding="utf-8")
        for step, loss in enumerate(found.losses, 1):
            seconds = round(train_seconds * step / passes, 3)
            append(file, {"step": step, "epoch": step, "seconds": seconds, "loss": loss})
        named: dict[str, Any] = {f"validation_{name}": value for name, value in figures.items()}
        if found.figures:
            named["validation_by"] = f"cross-validation, {found.folds} folds"
        last = {"step": passes, "epoch": passes, "seconds": round(train_seconds, 3)}
        append(file, last | named | {"validation_seconds": round(validation_seconds, 3)})
    used = {"solver": "lbfgs", "weight_decay": found.penalty}
    return Fitted(
        steps=passes,
        train_seconds=train_seconds,
        validation_seconds=validation_seconds,
        examples=passes * found.rows,
        strategy=recipe.strategy.model_copy(update=used),
        precision="fp32",
        validation={name: float(value) for name, value in figures.items()},
    )


def solved(head: Head, inputs: Inputs, recipe: Recipe) -> Solved:
    """Return the head that makes mean loss + penalty / 2 |V|^2 least, V for standardised features.

    The penalty is `strategy.weight_decay`, or the one of the grid whose loss is least on rows that
    were held out, when its weights are multiplied by the factor that suits them: a strong penalty
    tells classes apart well and leaves probabilities too even, which the factor mends (temperature
    scaling, Guo et al. 2017, arXiv 1706.04599). The bias is fitted again beside the larger weights.
    The head is then fitted to all of these rows; with `strategy.refit` the validation rows are
    among them. Scales go back into the weights.
    """
    strategy, linear = recipe.strategy, head.head
    assert isinstance(strategy, HeadOnly)
    assert isinstance(linear, nn.Linear), "`ftkit.probe.solver_of` sees to it"
    train, validation = inputs.train, inputs.validation
    assert isinstance(train, Features)
    assert isinstance(validation, Features)
    free = strategy.search or strategy.weight_decay is None
    # the threshold of each tag is chosen on validation rows, which must be new to the head
    both = free and strategy.refit and not isinstance(recipe.task, TextTagging)
    C, device, bias = linear.out_features, linear.weight.device, linear.bias is not None
    splits = [train, validation] if both else [train]
    examples = Examples(splits, device, FOLDS * C, bias)
    scale = scale_of(recipe.task, examples.labels, head)
    labels = _targets(examples.labels, scale)
    chosen = None
    if free:
        which = folds_of(recipe.task, labels, recipe.train.seed, _groups(inputs, both))
        chosen = choose_penalty(examples, which, recipe, labels, C, bias) if which.max() else None
    if chosen is None and both:  # too few rows to hold some out: the validation rows judge
        examples = Examples([train], device, C, bias)
        scale = scale_of(recipe.task, examples.labels, head)
        labels = _targets(examples.labels, scale)
    loss = row_loss(recipe.task, recipe.train, labels, C, device, recipe.train.label_smoothing)
    penalty = chosen.penalty if chosen else USUAL if free else strategy.weight_decay
    assert penalty is not None
    found = minimise(examples, loss, penalty, C, start=chosen.start if chosen else None, bias=bias)
    factor, figures = chosen.factor if chosen else 1.0, None
    if chosen and both:  # else validation rows are new to the head, and judge it
        outputs = scale.outputs(chosen.logits) if scale else chosen.logits
        figures = score(recipe.task, examples.labels[chosen.rows], outputs.astype(np.float32))
    _, centre = Scaled(found, examples, None, loss, bias).at(factor)
    W = (found.weight[0].cpu() * examples.scale).numpy() * factor
    b = centre[0].cpu().numpy() - W @ examples.mean.numpy()
    if scale is not None:
        W, b = W * scale.deviation[:, None], b * scale.deviation + scale.mean
    return Solved(
        weight=W,
        bias=b,
        penalty=penalty,
        losses=found.losses,
        gradient=found.gradient,
        rows=examples.N,
        figures=figures,
        folds=chosen.folds if chosen and both else 0,
    )


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
    fitting = row_loss(task, settings, labels, C, device, settings.label_smoothing)
    smoothing = max(C, 2) / ((max(C, 2) - 1) * (len(rows) + 2))
    judging = row_loss(task, settings, labels, C, device, smoothing)
    best: Chosen | None = None
    solution, worse = None, 0
    for tried, penalty in enumerate(PENALTIES, 1):
        solution = minimise(
            examples, fitting, penalty, C, parts, solution, bias, ITERATIONS, CHANGE
        )
        scaled = Scaled(solution, examples, parts, fitting, bias)
        factor, loss = scaled.best(judging, rows, which[rows])
        if best is None or loss < best.loss:
            held = scaled.logits(factor, rows, which[rows]).cpu().numpy()
            best = Chosen(penalty, factor, rows, held, loss, tested, tried, solution.mean())
        worse = 0 if best.tried == tried else worse + 1
        if worse == WORSE:
            break
    assert best is not None
    log.info(
        "head: of %d penalties from %.3g to %.2g, %.2g has the least loss on held-out rows, %.4f",
        tried,
        PENALTIES[0],
        penalty,
        best.penalty,
        best.loss,
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
    classes = not isinstance(task, (TextTagging, TextRegression))
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


def _groups(inputs: Inputs, both: bool) -> np.ndarray | None:
    """Return the groups of the training rows, and after them of the validation rows if `both`."""
    if inputs.train_groups is None or not both:
        return own_groups(inputs.train_groups)
    assert inputs.validation_groups is not None, "`ftkit.data.drawing` sees to it"
    return own_groups(np.concatenate([inputs.train_groups, inputs.validation_groups]))


def _targets(labels: np.ndarray, scale: Scale | None) -> np.ndarray:
    """Return labels as the head is fitted to them: numbers scaled, others as they are."""
    return labels if scale is None else scale.targets(torch.from_numpy(labels)).numpy()


def _put(found: Solved, head: Head) -> None:
    with torch.no_grad():
        linear: Any = head.head
        linear.weight.copy_(torch.from_numpy(found.weight))
        if linear.bias is not None:
            linear.bias.copy_(torch.from_numpy(found.bias))
