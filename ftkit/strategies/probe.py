"""Heads on cached features, where trying is cheap: which solver, which settings of AdamW.

`ftkit.strategies.linear_head` solves a head of one Linear layer to the end. Others are trained by
AdamW, and `search_settings` tries a small grid of settings: what does best on validation rows is
kept.
"""

from __future__ import annotations

import copy
import logging
import time
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import get_scheduler

from ftkit.machine.runtime import on_main
from ftkit.recipe import HeadOnly, Recipe
from ftkit.strategies.features import Features
from ftkit.strategies.heads import Head
from ftkit.tasks import task_of
from ftkit.tasks.inputs import Inputs
from ftkit.training.batches import Batches
from ftkit.training.fit import schedule_of
from ftkit.training.selection import best_validation, rank
from ftkit.training.target_scaling import Scale, scale_of

log = logging.getLogger(__name__)
LEARNING_RATES = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Learning rates that are tried, as multiples of the recipe's own."""
DECAYS = (1e-4, 1e-2, 1.0)
"""Weight decays that are tried beside the recipe's own."""
ROWS = 4096
"""Rows taken at once, so that memory stays flat."""


def solver_of(strategy: HeadOnly, head: Head) -> str:
    """Return what trains this head on cached features, lbfgs or adamw, and log why."""
    if strategy.solver != "auto":
        return strategy.solver
    if isinstance(head.head, nn.Linear):
        log.info(
            "head: one Linear layer, solved by L-BFGS; learning rate, epochs and batch size play "
            "no part (--set strategy.solver=adamw uses them)"
        )
        return "lbfgs"
    log.info("head: several layers, trained by AdamW; L-BFGS is for one Linear layer")
    return "adamw"


def search_settings(head: Head, inputs: Inputs, recipe: Recipe) -> Recipe:
    """Return the recipe with the learning rate and weight decay that do best on validation rows.

    Leaves the head as it is. Best is by `train.best_by`, of equals that with the lower loss. Every
    rank must call this; rank 0 tries.
    """
    strategy, own = recipe.strategy, recipe.train.weight_decay
    assert isinstance(strategy, HeadOnly)
    grid = [
        recipe.override(
            {"strategy.learning_rate": rate * strategy.learning_rate, "train.weight_decay": decay}
        )
        for rate in LEARNING_RATES
        for decay in sorted({own, *DECAYS})
    ]
    begin = time.perf_counter()
    tried = on_main(lambda: [train_head(copy.deepcopy(head), inputs, each) for each in grid])
    best = max(range(len(grid)), key=lambda number: rank(tried[number], recipe.best_by))
    chosen, figures = grid[best], tried[best]
    log.info(
        f"head: of {len(grid)} settings, learning rate {chosen.strategy.learning_rate:.2g} and "
        f"weight decay {chosen.train.weight_decay:.2g} did best on validation rows: "
        f"{recipe.best_by} {figures[recipe.best_by]:.4f}, loss {figures['loss']:.4f} "
        f"({time.perf_counter() - begin:.1f} s)"
    )
    return chosen


def train_head(head: Head, inputs: Inputs, recipe: Recipe) -> dict[str, float]:
    """Train the head in place as `ftkit.training.fit.fit` does, and return its best epoch's
    figures.

    The weights of that epoch are in the head afterwards. It takes the same batches, loss,
    optimiser and schedule without the bookkeeping, and so is for trying settings.
    """
    settings, rows = recipe.train, inputs.train
    assert isinstance(rows, Features)
    epoch = 0
    batches = Batches(len(rows), settings.rows_per_step, settings.seed, lambda: epoch)
    loss_of_batch = task_of(recipe.task).loss(
        settings, rows.labels, int(head.config.num_labels or 0)
    )
    parameters = list(head.parameters())
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim > 1]},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        groups, lr=recipe.strategy.learning_rate, weight_decay=settings.weight_decay
    )
    steps = settings.max_steps or settings.epochs * len(batches)
    schedule, warmup, options = schedule_of(settings, steps)
    scheduler = get_scheduler(schedule, optimizer, warmup, steps, options)
    scale = scale_of(task_of(recipe.task), rows.labels, head)
    device, step = parameters[0].device, 0
    found: list[dict[str, float]] = []
    best: dict[str, torch.Tensor] = {}
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
        found.append(validation_figures(head, inputs, recipe, scale))
        if best_validation(found, recipe.best_by) == len(found) - 1:
            best = copy.deepcopy(head.state_dict())
    head.load_state_dict(best)
    if scale is not None:
        scale.fold(head)
    return found[best_validation(found, recipe.best_by)]


def validation_figures(
    head: Head, inputs: Inputs, recipe: Recipe, scale: Scale | None = None
) -> dict[str, float]:
    """Return {"loss": ..., "accuracy": ..., ...} of the head on validation rows.

    Args:
        scale: of a head in training, whose outputs are not in the labels' units yet.
    """
    head.eval()
    rows: Any = inputs.validation
    device = next(head.parameters()).device
    pieces = np.split(np.arange(len(rows)), range(ROWS, len(rows), ROWS))
    with torch.inference_mode():
        given = (rows.at(positions).to(device) for positions in pieces)
        logits = np.concatenate([head(each)["logits"].float().cpu().numpy() for each in given])
    return task_of(recipe.task).score(rows.labels, scale.outputs(logits) if scale else logits)
