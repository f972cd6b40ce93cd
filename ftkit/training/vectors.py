"""Splits as vectors in memory: what a perceptron is trained on, for every task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np
import torch

from ftkit.backbones.perceptron import load_start
from ftkit.data.encoders import (
    Encoder,
    from_settings,
    to_settings,
)
from ftkit.data.splits import Splits
from ftkit.errors import ModelError
from ftkit.machine import memory
from ftkit.recipe import Mlp
from ftkit.tasks.base import Task
from ftkit.tasks.inputs import Inputs


@dataclass(frozen=True)
class Vectors:
    """Rows of a split as vectors. The epoch in a key is dropped: they do not change."""

    values: np.ndarray
    """(N, D) float32."""
    labels: np.ndarray
    """(N,) class numbers, or the numbers to be told."""

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> Vectors:
        """Return all of them: an epoch over vectors in memory is short."""
        return self

    def __getitem__(self, key: int) -> dict[str, Any]:
        position = key % len(self)
        return {
            "features": torch.from_numpy(self.values[position]),
            "labels": self.labels[position].item(),
            "index": position,
        }


def encode_splits(task: Task, backbone: Mlp, splits: Splits) -> tuple[Encoder, Inputs]:
    """Return the encoder, and every split encoded by it.

    It is the one that suits the training rows, or that of the perceptron to go on from: its weights
    know no other.

    Raises:
        ModelError: `backbone.start` reads another kind of input.
    """
    encoder = task.encoder(backbone, splits.train)
    if backbone.start is not None:
        encoder = _encoder_of(backbone.start, encoder)
    rows = sum(len(split) for split in (splits.train, splits.validation, splits.test))
    memory.require(
        memory.FLOAT * rows * encoder.size,
        f"{rows:,} rows as vectors of {encoder.size:,} numbers",
        "use a smaller backbone.image_size or backbone.buckets, or fewer rows (data.train_rows)",
    )

    def encoded(rows: datasets.Dataset) -> Vectors:
        return Vectors(encoder.encode(task.raw_inputs(rows)), np.asarray(rows["label"]))

    train = encoded(splits.train)
    return encoder, Inputs(train, train, encoded(splits.validation), encoded(splits.test))


def _encoder_of(start: str, suits: Encoder) -> Encoder:
    """Return the encoder saved with a perceptron; a bare estimator has none and gets what suits."""
    settings = load_start(start)[1].get("encoder")
    saved = suits if settings is None else from_settings(settings)
    if type(saved) is not type(suits):
        raise ModelError(
            f"backbone.start = {start}: it reads {to_settings(saved)['kind']}, this task gives "
            f"{to_settings(suits)['kind']}; give a perceptron of the same task"
        )
    return saved
