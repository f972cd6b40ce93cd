"""Splits as vectors in memory: what a perceptron is trained on, for every task."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import datasets
import numpy as np
import torch

from ftkit import memory
from ftkit.data import Splits
from ftkit.data.images import open_rgb
from ftkit.encoders import (
    ColumnEncoder,
    Encoder,
    NgramEncoder,
    PixelEncoder,
    from_settings,
    to_settings,
)
from ftkit.errors import ModelError
from ftkit.mlp_model import load_start
from ftkit.recipe import ImageClassification, Mlp, TextClassification
from ftkit.tasks import Inputs


@dataclass(frozen=True)
class Vectors:
    """Rows of a split as vectors. The epoch in a key is dropped: they do not change."""

    values: np.ndarray
    """(N, D) float32."""
    labels: np.ndarray
    """(N,) class numbers, or the numbers to be told."""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: int) -> dict[str, Any]:
        position = key % len(self)
        return {
            "features": torch.from_numpy(self.values[position]),
            "labels": self.labels[position].item(),
            "index": position,
        }


def encode_splits(task: Any, backbone: Mlp, splits: Splits) -> tuple[Encoder, Inputs]:
    """Return the encoder, and every split encoded by it.

    It is the one that suits the training rows, or that of the perceptron to go on from: its weights
    know no other.

    Raises:
        ModelError: `backbone.start` reads another kind of input.
    """
    encoder = encoder_for(task, backbone, splits.train)
    if backbone.start is not None:
        encoder = _encoder_of(backbone.start, encoder)
    rows = sum(len(split) for split in (splits.train, splits.validation, splits.test))
    memory.require(
        memory.FLOAT * rows * encoder.size,
        f"{rows:,} rows as vectors of {encoder.size:,} numbers",
        "use a smaller backbone.image_size or backbone.buckets, or fewer rows (data.train_rows)",
    )

    def encoded(rows: datasets.Dataset) -> Vectors:
        return Vectors(encoder.encode(raw_inputs(task, rows)), np.asarray(rows["label"]))

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


@singledispatch
def encoder_for(task: Any, backbone: Mlp, train: datasets.Dataset) -> Encoder:
    """Return the encoder of this task's inputs: columns of numbers where nothing else is known."""
    return ColumnEncoder.of(np.asarray(raw_inputs(task, train), np.float64))


@encoder_for.register
def _(task: ImageClassification, backbone: Mlp, train: datasets.Dataset) -> Encoder:
    if backbone.image_size is not None:
        return PixelEncoder(backbone.image_size, backbone.image_size, backbone.grey)
    width, height = open_rgb(train[0]["image"]).size
    return PixelEncoder(height, width, backbone.grey)


@encoder_for.register
def _(task: TextClassification, backbone: Mlp, train: datasets.Dataset) -> Encoder:
    return NgramEncoder(*backbone.ngrams, backbone.buckets)


@singledispatch
def raw_inputs(task: Any, rows: datasets.Dataset) -> Iterable[Any]:
    """Return what an encoder takes, for each row: an RGB image, a text, or numbers (D,)."""
    return rows.with_format("numpy")["features"][:]


@raw_inputs.register
def _(task: ImageClassification, rows: datasets.Dataset) -> Iterable[Any]:
    return (open_rgb(row["image"]) for row in rows)


@raw_inputs.register
def _(task: TextClassification, rows: datasets.Dataset) -> Iterable[Any]:
    return rows["text"][:]
