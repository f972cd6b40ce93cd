"""The features of a frozen backbone, and the votes of the nearest training rows in them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ftkit.backbones.structure import count_parameters, place
from ftkit.compare.baseline_answers import BaselineAnswers, threshold_of
from ftkit.errors import ModelError
from ftkit.finetuning.finetune import Ready, make_ready
from ftkit.finetuning.latency import latency_of
from ftkit.machine import runtime
from ftkit.recipe import Recipe
from ftkit.runs.result import Latency
from ftkit.strategies.features import cache_features
from ftkit.strategies.head_inputs import head_inputs_of
from ftkit.strategies.heads import recorded_head_inputs, why_not_alone
from ftkit.tasks.evaluation import NO_INPUTS, collate_of
from ftkit.tasks.inputs import Inputs, Rows, examples_of
from ftkit.tasks.vectors import Vectors
from ftkit.training.precision import fastest_precision

NEIGHBOURS = (1, 5, 20)
"""Numbers of neighbours that are tried on the validation rows; 20 is DINO's."""
TEMPERATURE = 0.07
"""A neighbour of cosine similarity s counts exp(s / 0.07) (Wu et al. 2018, Caron et al. 2021)."""


def nearest(recipe: Recipe, machine: runtime.Machine) -> BaselineAnswers:
    """Tell for every row the weighted mean label of the nearest training rows, by cosine.

    Raises:
        ModelError: the backbone gives no features of whole rows.
    """
    ready = make_ready(recipe, machine)
    place(ready.model, recipe.train.channels_last, machine.device)
    begin = time.perf_counter()
    train, validation, of_rows = features_of(ready, recipe, machine)
    cached = time.perf_counter()
    classes = len(ready.splits.label_names)
    truth = ready.task.label_array(ready.splits.validation, classes)
    targets = ready.task.targets(ready.splits.train, classes)
    first = next(iter(ready.task.settings.figures))

    def value(k: int) -> tuple[float, Any]:
        """Return the validation figure of k neighbours, and the task with what is decided by it."""
        found = ready.task.outputs_of_means(vote(validation, train, targets, k))
        task = ready.task.with_best_threshold(truth, found)
        return task.score(truth, found)[first], task

    tried = {k: value(k) for k in sorted({min(k, len(train)) for k in NEIGHBOURS})}
    k = max(tried, key=lambda k: tried[k][0])
    test = of_rows(ready.inputs.test)
    task = tried[k][1]
    outputs = task.outputs_of_means(vote(test, train, targets, k))
    parameters, _ = count_parameters(ready.model)
    weights = sum(p.numel() * p.element_size() for p in ready.model.parameters())
    return BaselineAnswers(
        ready.splits,
        task,
        outputs,
        {"neighbours": k, **threshold_of(task)},
        parameters=parameters,
        features_seconds=cached - begin,
        size=weights + train.nbytes,
        latency=latency_of_votes(
            ready, train.shape[1], lambda row: vote(row, train, targets, k), machine
        ),
    )


def vote(rows: np.ndarray, train: np.ndarray, targets: np.ndarray, k: int) -> np.ndarray:
    """Return (M, K): the mean target of the k nearest training rows, the nearer the heavier.

    Args:
        rows: (M, D) features of length 1.
        train: (N, D) features of length 1.
        targets: (N, K) of the training rows.
    """
    found = []
    for start in range(0, len(rows), 1024):
        similar = rows[start : start + 1024] @ train.T
        near = np.argpartition(-similar, k - 1, axis=1)[:, :k]
        closeness = np.take_along_axis(similar, near, axis=1)
        weights = np.exp((closeness - closeness.max(1, keepdims=True)) / TEMPERATURE)
        found.append((weights[..., None] * targets[near]).sum(1) / weights.sum(1, keepdims=True))
    return np.concatenate(found)


def features_of(
    ready: Ready, recipe: Recipe, machine: runtime.Machine
) -> tuple[np.ndarray, np.ndarray, Callable[[Rows], np.ndarray]]:
    """Return features of length 1 of training and validation rows, and a function for others."""
    inputs: Inputs = ready.inputs
    if isinstance(inputs.train, Vectors) and isinstance(inputs.validation, Vectors):

        def as_they_are(rows: Rows) -> np.ndarray:
            return unit(np.stack([rows[row]["features"].numpy() for row in range(len(rows))]))

        return unit(inputs.train.values), unit(inputs.validation.values), as_they_are
    reason = why_not_alone(ready.model, inputs, machine)
    if reason:
        raise ModelError(f"{recipe.backbone.id} gives no features of whole rows: {reason}")
    cached = cache_features(ready.model, inputs, recipe, machine)
    train, validation = (
        unit(rows.at(np.arange(len(rows))).numpy())  # type: ignore[attr-defined]
        for rows in (cached.train, cached.validation)
    )
    precision = fastest_precision(ready.model, inputs, recipe.train.precision, machine)

    def of_rows(rows: Rows) -> np.ndarray:
        found = head_inputs_of(ready.model, rows, inputs, recipe.train, machine, precision)
        return unit(found)

    return train, validation, of_rows


def unit(values: np.ndarray) -> np.ndarray:
    """Return rows of any shape as vectors (N, D) float32 of length 1."""
    flat = values.reshape(len(values), -1).astype(np.float32)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)


def latency_of_votes(
    ready: Ready, width: int, answer: Callable[[np.ndarray], Any], machine: runtime.Machine
) -> Latency | None:
    """Return the latency of a single row on the CPU, see `ftkit.finetuning.latency`.

    None in several processes. Leaves the model on the CPU.
    """
    if machine.world_size > 1:
        return None
    rows, model = ready.inputs.test, ready.model
    if isinstance(rows, Vectors):

        def of_numbers(row: int) -> Any:
            return answer(unit(rows[row]["features"].numpy()[None]))

        return Latency(**latency_of(of_numbers, range(len(rows)))._asdict())
    model.to("cpu")
    collate = collate_of(rows)
    with recorded_head_inputs(model) as given:

        def of_row(row: int) -> Any:
            batch = collate(examples_of(rows, [row]))
            with torch.inference_mode():
                model(**{name: batch[name] for name in batch if name not in NO_INPUTS})
            values = given.pop().float().numpy()
            return answer(unit(values if values[0].size == width else values[:, 0]))

        return Latency(**latency_of(of_row, range(len(rows)))._asdict())
