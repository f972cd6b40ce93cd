"""A Linear head solved to the end: its penalty and temperature by cross-validation, then L-BFGS.

`ftkit.strategies.penalty` says which penalty is best. The head that is kept is then fitted to
training and validation rows together, and the figures reported are those of the rows while they
were held out.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from ftkit.data.splits import group_numbers
from ftkit.machine.runtime import on_main
from ftkit.recipe import HeadOnly, Recipe
from ftkit.runs.journal import JournalFile
from ftkit.strategies.features import Features
from ftkit.strategies.heads import Head
from ftkit.strategies.lbfgs import Examples, minimise
from ftkit.strategies.penalty import FOLDS, RescaledHeads, choose_penalty, folds_of
from ftkit.strategies.probe import validation_figures
from ftkit.tasks import task_of
from ftkit.tasks.inputs import Inputs
from ftkit.training.fitted import Fitted, Session
from ftkit.training.target_scaling import Scale, scale_of

log = logging.getLogger(__name__)
USUAL = 1.0
"""The penalty where there are too few rows to choose one."""


@dataclass(frozen=True)
class SolvedHead:
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


def solve(head: Head, inputs: Inputs, recipe: Recipe, session: Session) -> Fitted:
    """Put the best weights into a Linear head and write log.jsonl; see `solve_head`.

    Every rank must call this; rank 0 computes. There is nothing to resume: it takes seconds.
    """
    begin = time.perf_counter()
    found = on_main(lambda: solve_head(head, inputs, recipe))
    _copy_into_head(found, head)
    train_seconds = time.perf_counter() - begin
    figures = found.figures or validation_figures(head, inputs, recipe)
    validation_seconds = time.perf_counter() - begin - train_seconds
    passes = len(found.losses)
    judged = f"held out in {found.folds} folds:" if found.figures else "validation"
    loss, best = figures["loss"], figures[recipe.best_by]
    log.info(
        f"head: L-BFGS on {found.rows:,} rows, penalty {found.penalty:.2g}, {passes} passes, "
        f"largest entry of the gradient {found.gradient:.1g}; {judged} loss {loss:.4f}, "
        f"{recipe.best_by} {best:.4f} ({train_seconds:.1f} s)"
    )
    journal = JournalFile(session.folder / "log.jsonl", session.machine.is_main, 0)
    for step, loss in enumerate(found.losses, 1):
        seconds = round(train_seconds * step / passes, 3)
        journal.write(step=step, epoch=step, seconds=seconds, loss=loss)
    named: dict[str, Any] = {f"validation_{name}": value for name, value in figures.items()}
    if found.figures:
        named["validation_by"] = f"cross-validation, {found.folds} folds"
    last = {"step": passes, "epoch": passes, "seconds": round(train_seconds, 3)}
    journal.write(**last, **named, validation_seconds=round(validation_seconds, 3))
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


def solve_head(head: Head, inputs: Inputs, recipe: Recipe) -> SolvedHead:
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
    assert isinstance(linear, nn.Linear), "`ftkit.strategies.probe.solver_of` sees to it"
    train, validation = inputs.train, inputs.validation
    assert isinstance(train, Features)
    assert isinstance(validation, Features)
    free = strategy.search or strategy.weight_decay is None
    # the threshold of each tag is chosen on validation rows, which must be new to the head
    both = free and strategy.refit and recipe.task.tells != "tags"
    C, device, bias = linear.out_features, linear.weight.device, linear.bias is not None
    splits = [train, validation] if both else [train]
    examples = Examples(splits, device, FOLDS * C, bias)
    scale = scale_of(task_of(recipe.task), examples.labels, head)
    labels = _targets(examples.labels, scale)
    chosen = None
    if free:
        which = folds_of(recipe.task, labels, recipe.train.seed, _groups(inputs, both))
        chosen = choose_penalty(examples, which, recipe, labels, C, bias) if which.max() else None
    if chosen is None and both:  # too few rows to hold some out: the validation rows judge
        examples = Examples([train], device, C, bias)
        scale = scale_of(task_of(recipe.task), examples.labels, head)
        labels = _targets(examples.labels, scale)
    targets = torch.from_numpy(labels).to(device)
    loss = task_of(recipe.task).row_loss(recipe.train, targets, C, recipe.train.label_smoothing)
    penalty = chosen.penalty if chosen else USUAL if free else strategy.weight_decay
    assert penalty is not None
    found = minimise(examples, loss, penalty, C, start=chosen.start if chosen else None, bias=bias)
    factor, figures = chosen.factor if chosen else 1.0, None
    if chosen and both:  # else validation rows are new to the head, and judge it
        outputs = scale.outputs(chosen.logits) if scale else chosen.logits
        figures = task_of(recipe.task).score(
            examples.labels[chosen.rows], outputs.astype(np.float32)
        )
    _, centre = RescaledHeads(found, examples, None, loss, bias).at(factor)
    W = (found.weight[0].cpu() * examples.scale).numpy() * factor
    b = centre[0].cpu().numpy() - W @ examples.mean.numpy()
    if scale is not None:
        W, b = W * scale.deviation[:, None], b * scale.deviation + scale.mean
    return SolvedHead(
        weight=W,
        bias=b,
        penalty=penalty,
        losses=found.losses,
        gradient=found.gradient,
        rows=examples.N,
        figures=figures,
        folds=chosen.folds if chosen and both else 0,
    )


def _groups(inputs: Inputs, both: bool) -> np.ndarray | None:
    """Return the groups of the training rows, and after them of the validation rows if `both`."""
    if inputs.train_groups is None or not both:
        return group_numbers(inputs.train_groups)
    assert inputs.validation_groups is not None, "`ftkit.data.splitting` sees to it"
    return group_numbers(np.concatenate([inputs.train_groups, inputs.validation_groups]))


def _targets(labels: np.ndarray, scale: Scale | None) -> np.ndarray:
    """Return labels as the head is fitted to them: numbers scaled, others as they are."""
    return labels if scale is None else scale.targets(torch.from_numpy(labels)).numpy()


def _copy_into_head(found: SolvedHead, head: Head) -> None:
    with torch.no_grad():
        linear: Any = head.head
        linear.weight.copy_(torch.from_numpy(found.weight))
        if linear.bias is not None:
            linear.bias.copy_(torch.from_numpy(found.bias))
