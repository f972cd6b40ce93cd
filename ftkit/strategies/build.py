"""From data and backbone to a model, its processor and its inputs: `build`, by kind of backbone."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any

from ftkit.backbones.perceptron import new_perceptron
from ftkit.backbones.pretrained import load_model
from ftkit.data.splits import Splits
from ftkit.machine import runtime
from ftkit.recipe import Augment, Backbone, Mlp
from ftkit.tasks.base import Task
from ftkit.tasks.inputs import Inputs
from ftkit.training.vectors import encode_splits

log = logging.getLogger(__name__)
NO_CHANGES = Augment(crop=None, flip=False)


@dataclass(frozen=True)
class Built:
    """A model that has not been trained yet, and what it reads."""

    model: Any
    processor: Any
    """Of transformers, or the perceptron's encoder; saved with the model."""
    inputs: Inputs
    task: Task
    """As this backbone can do it."""


@singledispatch
def build(backbone: Any, task: Task, splits: Splits, seed: int) -> Built:
    """Return the model with an output for each class, its processor, and the splits as its inputs.

    Args:
        seed: of new weights and of the augmentation.

    Raises:
        ModelError, HubError: the backbone cannot be had, or does not fit.
    """
    raise TypeError(f"no backbone of type {type(backbone).__name__}")


@build.register
def _(backbone: Backbone, task: Task, splits: Splits, seed: int) -> Built:
    model, processor = runtime.main_first(
        lambda: load_model(backbone, splits.label_names, seed, task)
    )
    task = task.settled(splits, model, processor)
    inputs = task.suited(task.prepare(splits, processor, seed), model)
    together = {name: getattr(splits, name) for name in ("train_groups", "validation_groups")}
    return Built(model, processor, replace(inputs, **together), task)


@build.register
def _(backbone: Mlp, task: Task, splits: Splits, seed: int) -> Built:
    encoder, inputs = encode_splits(task, backbone, splits)
    width = inputs.train[0]["features"].shape[0]
    model = new_perceptron(backbone, width, splits.label_names, seed)
    log.info("%s: vectors of %s numbers, one pass in memory", backbone.id, f"{width:,}")
    if getattr(task.settings, "augment", NO_CHANGES) != NO_CHANGES:
        log.info("task.augment is not used: a perceptron sees every image as it is")
    return Built(model, encoder, inputs, task)
