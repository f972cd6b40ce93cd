"""A better head for free: on cached features, settings can be tried and the optimum computed.

`choose` trains the head with each setting of a small grid and keeps what does best on validation
rows. `solve` finds the one minimum of the regularised loss of a Linear head, where `fit` takes a
fixed number of steps towards it.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import get_scheduler

from ftkit.batches import Batches
from ftkit.features import Features
from ftkit.heads import Head
from ftkit.journal import append
from ftkit.losses import class_weights, loss_of, summed_cross_entropy
from ftkit.metrics import score
from ftkit.recipe import HeadOnly, Recipe
from ftkit.runtime import Machine, on_main
from ftkit.scaling import Scale, scale_of
from ftkit.selection import kept, rank
from ftkit.tasks import Inputs
from ftkit.training import Fitted, schedule_of

log = logging.getLogger(__name__)
LEARNING_RATES = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Times the recipe's own."""
DECAYS = {"adamw": (1e-4, 1e-2, 1.0), "lbfgs": (1e-4, 1e-3, 1e-2, 1e-1)}
"""Beside the recipe's own."""
MOST_ITERATIONS = 500
TOLERANCE = 1e-5
"""L-BFGS stops where no entry of the gradient is larger."""
HELD_BYTES = 1 << 30
"""Up to this size L-BFGS holds the features in float64; larger ones are read in every pass."""
ROWS = 4096
"""Rows taken at once, so that memory stays flat."""


def choose(head: Head, inputs: Inputs, recipe: Recipe, machine: Machine) -> Recipe:
    """Return the recipe with the learning rate and weight decay that do best on validation rows.

    Leaves the head as it is. Best is by `train.best_by`, of equals that with the lower loss. Every
    rank must call this; rank 0 tries.
    """
    strategy, own = recipe.strategy, recipe.train.weight_decay
    assert isinstance(strategy, HeadOnly)
    rates = LEARNING_RATES if strategy.solver == "adamw" else (1.0,)
    grid = [
        recipe.override(
            {"strategy.learning_rate": rate * strategy.learning_rate, "train.weight_decay": decay}
        )
        for rate in rates
        for decay in sorted({own, *DECAYS[strategy.solver]})
    ]
    attempt = {"adamw": train_head, "lbfgs": _solved}[strategy.solver]

    begin = time.perf_counter()
    tried = on_main(lambda: [attempt(copy.deepcopy(head), inputs, each) for each in grid])
    best = max(range(len(grid)), key=lambda number: rank(tried[number], recipe.best_by))
    chosen = grid[best]
    log.info(
        "head: of %d settings, learning rate %.2g and weight decay %.2g did best on validation "
        "rows: %s %.4f, loss %.4f (%.1f s)",
        len(grid),
        chosen.strategy.learning_rate,
        chosen.train.weight_decay,
        recipe.best_by,
        tried[best][recipe.best_by],
        tried[best]["loss"],
        time.perf_counter() - begin,
    )
    return chosen


def train_head(head: Head, inputs: Inputs, recipe: Recipe) -> dict[str, float]:
    """Train the head in place as `ftkit.training.fit` does, and return its best epoch's figures.

    The same batches, loss, optimiser and schedule without the bookkeeping: for trying settings.
    """
    settings, rows = recipe.train, inputs.train
    assert isinstance(rows, Features)
    epoch = 0
    batches = Batches(len(rows), settings.rows_per_step, settings.seed, lambda: epoch)
    loss_of_batch = loss_of(recipe.task, settings, rows.labels, int(head.config.num_labels or 0))
    scale = scale_of(recipe.task, rows.labels, head)
    parameters = list(head.parameters())
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim > 1]},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        groups,
        lr=recipe.strategy.learning_rate,
        weight_decay=settings.weight_decay,
    )
    steps = settings.max_steps or settings.epochs * len(batches)
    schedule, warmup, options = schedule_of(settings, steps)
    scheduler = get_scheduler(schedule, optimizer, warmup, steps, options)
    device, step, found = parameters[0].device, 0, []
    while step < steps:
        head.train()
        for keys in batches:
            positions = np.array(keys) % len(rows)
            outputs = head(rows.at(positions, epoch).to(device))
            labels = torch.from_numpy(rows.labels[positions]).to(device)
            if scale is not None:
                labels = scale.targets(labels)
            loss = loss_of_batch(outputs, labels)
            optimizer.zero_grad()
            loss.backward()
            if settings.max_grad_norm:
                nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm)
            optimizer.step()
            scheduler.step()
            step += 1
            if step == steps:
                break
        epoch += 1
        found.append(measured(head, inputs, recipe, scale))
    return found[kept(found, recipe.best_by)]


def solve(
    head: Head,
    inputs: Inputs,
    recipe: Recipe,
    machine: Machine,
    folder: Path,
    resume: bool = False,
) -> Fitted:
    """Put the optimum into a Linear head and write log.jsonl; see `minimise`.

    Every rank must call this; rank 0 computes. There is nothing to resume: it takes seconds.
    """
    begin = time.perf_counter()
    solution = on_main(lambda: minimise(head, inputs, recipe))
    _put(solution, head)
    train_seconds = time.perf_counter() - begin
    figures = measured(head, inputs, recipe)
    validation_seconds = time.perf_counter() - begin - train_seconds
    passes = len(solution.losses)
    log.info(
        "head: L-BFGS, %d passes, largest entry of the gradient %.1g, loss %.4f; validation "
        "loss %.4f, accuracy %.4f (%.1f s)",
        passes,
        solution.gradient,
        solution.losses[-1],
        figures["loss"],
        figures["accuracy"],
        train_seconds,
    )
    if machine.is_main:
        file = folder / "log.jsonl"
        file.write_text("", encoding="utf-8")
        for step, loss in enumerate(solution.losses, 1):
            seconds = round(train_seconds * step / passes, 3)
            append(file, {"step": step, "epoch": step, "seconds": seconds, "loss": loss})
        named = {f"validation_{name}": value for name, value in figures.items()}
        last = {"step": passes, "epoch": passes, "seconds": round(train_seconds, 3)}
        append(file, last | named | {"validation_seconds": round(validation_seconds, 3)})
    return Fitted(
        steps=passes,
        train_seconds=train_seconds,
        validation_seconds=validation_seconds,
        examples=passes * len(inputs.train),
        strategy=recipe.strategy,
        precision="fp32",
        validation={name: float(value) for name, value in figures.items()},
    )


@dataclass(frozen=True)
class Solution:
    """The optimum of a Linear head."""

    weight: np.ndarray
    """(C, D) float64."""
    bias: np.ndarray
    """(C,) float64."""
    losses: list[float]
    """The regularised loss in each pass over the rows, tries of the line search among them."""
    gradient: float
    """Its largest entry at the end."""


def minimise(head: Head, inputs: Inputs, recipe: Recipe) -> Solution:
    """Return the minimum of mean cross-entropy + weight_decay / 2 |W|^2 over W and b.

    The problem is convex; class weights and label smoothing keep it so. Features are centred, which
    the bias takes back, and scaled by their curvature at W = 0, which the weights take back: the
    same optimum in fewer iterations. In float64, in pieces of 4,096 rows.
    """
    settings, rows, linear = recipe.train, inputs.train, _linear(head)
    assert isinstance(rows, Features)
    device, C, D = linear.weight.device, linear.out_features, linear.in_features
    weights = class_weights(settings, rows.labels, C)
    weights = None if weights is None else weights.double().to(device)
    N = len(rows) * len(rows.places)
    mean, square = torch.zeros(2, D, dtype=torch.float64)
    for piece, _ in _pieces(rows):
        mean += piece.double().sum(0) / N
        square += piece.double().square().sum(0) / N
    if linear.bias is None:
        mean.zero_()
    curvature = (square - mean**2) * (C - 1) / C**2 + settings.weight_decay
    scale = curvature.clamp(min=1e-12).rsqrt().to(device)

    def centred() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for piece, labels in _pieces(rows):
            yield piece.double().sub_(mean).to(device), labels.to(device)

    pieces = list(centred()) if 8 * N * D <= HELD_BYTES else None
    V = torch.zeros(C, D, dtype=torch.float64, device=device, requires_grad=True)
    b = torch.zeros(C, dtype=torch.float64, device=device, requires_grad=linear.bias is not None)
    moving = [V, b] if linear.bias is not None else [V]
    losses: list[float] = []

    def closure() -> float:
        for parameter in moving:
            parameter.grad = None
        total = settings.weight_decay / 2 * (V * scale).square().sum()
        total.backward()
        loss = float(total.detach())
        for features, labels in pieces or centred():
            logits = features @ (V * scale).T + b
            part = summed_cross_entropy(logits, labels, settings.label_smoothing, weights)
            (part / N).backward()
            loss += float(part.detach()) / N
        losses.append(loss)
        return loss

    optimizer = torch.optim.LBFGS(
        moving,
        max_iter=MOST_ITERATIONS,
        history_size=20,
        tolerance_grad=TOLERANCE,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )
    optimizer.step(closure)
    closure()
    gradient = max(float(p.grad.abs().max()) for p in moving if p.grad is not None)
    W = (V * scale).detach()
    bias = b.detach().cpu() - W.cpu() @ mean
    return Solution(W.cpu().numpy(), bias.numpy(), losses, gradient)


def measured(
    head: Head, inputs: Inputs, recipe: Recipe, scale: Scale | None = None
) -> dict[str, float]:
    """Return {"loss": ..., "accuracy": ..., ...} of the head on validation rows.

    Args:
        scale: of a head in training, whose outputs are not in the labels' units yet.
    """
    head.eval()
    rows: Any = inputs.validation
    device = next(head.parameters()).device
    with torch.inference_mode():
        logits = np.concatenate(
            [head(piece.to(device))["logits"].float().cpu().numpy() for piece, _ in _pieces(rows)]
        )
    return score(recipe.task, rows.labels, scale.outputs(logits) if scale else logits)


def _solved(head: Head, inputs: Inputs, recipe: Recipe) -> dict[str, float]:
    """Solve in place and return the figures."""
    _put(minimise(head, inputs, recipe), head)
    return measured(head, inputs, recipe)


def _put(solution: Solution, head: Head) -> None:
    linear = _linear(head)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(solution.weight))
        if linear.bias is not None:
            linear.bias.copy_(torch.from_numpy(solution.bias))


def _linear(head: Head) -> nn.Linear:
    assert isinstance(head.head, nn.Linear), "ftkit.adapt refuses other heads"
    return head.head


def _pieces(rows: Features) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield (features (B, ...) float32, labels (B,)) of all rows in all views, in order."""
    for view in range(len(rows.places)):
        for start in range(0, len(rows), ROWS):
            positions = np.arange(start, min(start + ROWS, len(rows)))
            yield rows.at(positions, view), torch.from_numpy(rows.labels[positions])
