"""How well rows can be told by what a frozen backbone gives: a linear probe, judged on rows apart.

Ridge regression to the targets of the task, on standardised features. Training rows are held out in
folds, each is told by a probe that did not see it, and these answers are compared. One
decomposition serves all penalties and all folds: where H is the hat matrix of all rows, those of a
fold F are told without it by y - (1 - H_FF)^-1 (y - H y), as by a fit to the others alone (Allen
1974 for single rows; Pahikkala et al. 2006). Scikit-learn's RidgeCV decomposes for each fold.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from ftkit.backbones import family_of
from ftkit.backbones.structure import count_parameters, place
from ftkit.data.splits import Splits
from ftkit.errors import ModelError
from ftkit.machine import runtime
from ftkit.machine.terminal import quiet
from ftkit.planning.backbone_candidates import Candidate
from ftkit.recipe import Recipe
from ftkit.strategies.features import Features
from ftkit.strategies.head_inputs import head_inputs_of
from ftkit.strategies.heads import why_not_alone
from ftkit.strategies.lbfgs import Examples
from ftkit.tasks import task_of
from ftkit.tasks.base import Task
from ftkit.training.precision import fastest_precision

PENALTIES = tuple(10.0**exponent for exponent in range(6))
"""From 1 to 1e5, of standardised features; held-out rows say which."""


@dataclass
class Probe:
    """A candidate, and what it gave of the rows so far."""

    candidate: Candidate
    recipe: Recipe
    """With the candidate's backbone."""
    values: list[np.ndarray] = field(default_factory=list)
    """(n, D) float32 of each part of the rows that was read."""
    seconds_per_row: float = float("inf")
    """Of reading a row and running the backbone over it; the least of all parts."""
    parameters: int = 0
    model_bytes: int = 0

    @property
    def rows(self) -> int:
        """So many rows were read."""
        return sum(map(len, self.values))

    def read(
        self, splits: Splits, stop: int, machine: runtime.Machine, precisions: dict[str, str]
    ) -> None:
        """Run the backbone over the training rows up to `stop` that it has not seen.

        Every rank must call this.

        Args:
            precisions: of backbones that were asked already, by id; gets that of this one.

        Raises:
            ModelError, HubError: the backbone cannot be had, or gives no features of whole rows.
        """
        begin, recipe = self.rows, self.recipe
        part = _some(splits, begin, stop)
        with quiet():
            task = task_of(splits.task)
            loaded = family_of(recipe.backbone).load(task, part, recipe.train.seed)
        model, inputs = loaded.model, loaded.inputs
        place(model, recipe.train.channels_last, machine.device)
        name = recipe.backbone.id
        if reason := why_not_alone(model, inputs, machine):
            raise ModelError(f"{name} gives no features of whole rows: {reason}")
        if name not in precisions:
            wanted = recipe.train.precision
            precisions[name] = fastest_precision(model, inputs, wanted, machine)
        clock = time.perf_counter()
        rows, settings = inputs.train_plain, recipe.train
        found = head_inputs_of(model, rows, inputs, settings, machine, precisions[name])
        seconds = (time.perf_counter() - clock) / len(rows)
        self.values.append(found.reshape(len(found), -1))
        self.seconds_per_row = min(self.seconds_per_row, runtime.on_main(lambda: seconds))
        self.parameters, _ = count_parameters(model)
        self.model_bytes = sum(p.numel() * p.element_size() for p in model.parameters())

    def outputs(self, task: Task, targets: np.ndarray, which: np.ndarray) -> np.ndarray:
        """Return (n, C) outputs of rows that were held out, by probes that did not see them.

        On rank 0 alone, or on all.

        Args:
            targets: (N, K) of all rows that were read, see `Task.targets`.
            which: (N,) the fold that a row is held out with; -1: in none, and not among the n.
        """
        values = standardised(np.concatenate(self.values), targets)
        means = held_out_means(values, targets, which)
        number = task.settings.tells == "number"
        return task.outputs_of_means(means if number else np.clip(means, 0, 1))


def held_out_means(values: np.ndarray, targets: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Return (n, K) targets of rows that were held out, by ridge on the rows of all other folds.

    With the penalty whose squared error is least.

    Args:
        values: (N, D) float64.
        targets: (N, K).
        which: (N,) the fold that a row is held out with; -1: in none.
    """
    folds = [np.flatnonzero(which == fold) for fold in range(which.max() + 1)]
    basis, strength = _decomposed(values - values.mean(0))
    centred = targets - targets.mean(0)
    best, least = None, np.inf
    for penalty in PENALTIES:
        root = basis * np.sqrt(strength / (strength + penalty))
        intercept = np.full((len(values), 1), len(values) ** -0.5)
        root = np.hstack([root, intercept])  # the hat matrix is this times itself
        missed = centred - root @ (root.T @ centred)
        means = np.full(targets.shape, np.nan)
        for rows in folds:
            means[rows] = targets[rows] - _without(root[rows], missed[rows])
        held = which >= 0
        error = float(((means[held] - targets[held]) ** 2).mean())
        if best is None or error < least:
            best, least = means[held], error
    assert best is not None
    return best


def _without(root: np.ndarray, missed: np.ndarray) -> np.ndarray:
    """Return (1 - root root')^-1 missed, by the smaller of the two products of root with itself."""
    n, R = root.shape
    if n <= R:
        return np.linalg.solve(np.eye(n) - root @ root.T, missed)
    return missed + root @ np.linalg.solve(np.eye(R) - root.T @ root, root.T @ missed)


def _decomposed(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the left singular vectors (N, R) of centred features, and their squared values (R,).

    By the smaller of the two products of the features with themselves.
    """
    N, D = values.shape
    if N <= D:
        strength, basis = np.linalg.eigh(values @ values.T)
    else:
        strength, directions = np.linalg.eigh(values.T @ values)
        basis = values @ directions / np.sqrt(np.maximum(strength, 1e-12))
    there = strength > 1e-9 * max(strength.max(), 1e-9)
    return basis[:, there], strength[there]


def standardised(values: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return features (N, D) float64 as a head is fitted to them, see `Examples`."""
    places = np.arange(len(values))[None]
    features = Features(torch.from_numpy(values), places, targets)
    examples = Examples([features], torch.device("cpu"), targets.shape[1])
    return torch.cat([piece for piece, _, _ in examples]).numpy()


def _some(splits: Splits, begin: int, stop: int) -> Splits:
    """Return the splits with these training rows, and a single row of the others."""
    one: dict[str, Any] = {
        name: getattr(splits, name).select([0]) for name in ("validation", "test")
    }
    return replace(
        splits,
        train=splits.train.select(range(begin, stop)),
        groups=None,
        train_groups=None,
        validation_groups=None,
        **one,
    )
