"""One vector of each row, what the head is given: of all rows, or with its gradient of some."""

from __future__ import annotations

import math

import numpy as np
import torch
from transformers import PreTrainedModel

from ftkit.errors import ModelError
from ftkit.machine.runtime import Machine
from ftkit.recipe import Train
from ftkit.strategies.heads import Head, positions_read, recorded_head_inputs
from ftkit.tasks.evaluation import (
    by_length,
    collate_of,
    first_examples,
    for_each_row,
    lengths_of,
)
from ftkit.tasks.inputs import Inputs, Rows, examples_of
from ftkit.training.precision import autocast

TOGETHER = 8
"""Texts that go through a model on a CPU together."""


class HeadInputs:
    """What the head of a model is given. Leaves the modes of its modules as they are."""

    def __init__(self, model: PreTrainedModel, inputs: Inputs, machine: Machine) -> None:
        """Find out what the head reads, in eval mode.

        Raises:
            ModelError: it reads all of a sequence whose length differs from row to row.
        """
        self.model, self.machine = model, machine
        values, one = _looked_at(model, inputs, machine)
        if values.ndim == 3 and not one and lengths_of(inputs.train) is not None:
            raise ModelError(
                "strategy contrastive: the head of this model reads every token, so there is no "
                "one vector of each row to compare; use full or lora"
            )
        self.one_position = one
        """Whether the head is given a sequence and reads its first position alone."""

    def of(
        self, rows: Rows, positions: np.ndarray, epoch: int = 0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return vectors (B, D) of these rows, in any order, and their labels (B,) in the same.

        Args:
            epoch: which random changes of the rows are meant.
        """
        labels = []
        with recorded_head_inputs(self.model) as given:
            for part in self._together(rows, positions):
                keys = (epoch * len(rows) + part).tolist()
                batch = collate_of(rows)(examples_of(rows, keys))
                batch = {name: values.to(self.machine.device) for name, values in batch.items()}
                labels.append(batch.pop("labels"))
                batch.pop("index")
                self.model(**batch)
            vectors = [v[:, 0] if self.one_position else v.flatten(1) for v in given.values]
        return torch.cat(vectors), torch.cat(labels)

    def _together(self, rows: Rows, positions: np.ndarray) -> list[np.ndarray]:
        """Return these positions in the parts that go through the model together.

        Texts of about the same length on a CPU, where padding costs time; else all at once.
        """
        if self.machine.device.type != "cpu" or lengths_of(rows) is None:
            return [positions]
        return np.array_split(by_length(rows, positions), math.ceil(len(positions) / TOGETHER))


def head_inputs_of(
    model: PreTrainedModel,
    rows: Rows,
    inputs: Inputs,
    settings: Train,
    machine: Machine,
    precision: str,
) -> np.ndarray:
    """Return (N, ...) float32: what the head is given of all these rows, in order, on every rank.

    Every rank must call this. Leaves the model in eval mode.

    Args:
        inputs: of the model, to find out what its head reads.
        precision: fp32, bf16 or fp16.
    """
    _, one = _looked_at(model, inputs, machine)
    with recorded_head_inputs(model) as given:

        def compute(row: dict[str, torch.Tensor]) -> torch.Tensor:
            with autocast(precision, machine.device):
                model(**row)
            values = given.pop()
            return values[:, 0] if one else values

        return for_each_row(compute, rows, settings, machine)


def _looked_at(
    model: PreTrainedModel, inputs: Inputs, machine: Machine
) -> tuple[torch.Tensor, bool]:
    """Return what the head is given of one row, and whether it reads the first position alone."""
    model.eval()
    with torch.inference_mode(), recorded_head_inputs(model) as given:
        model(**first_examples(inputs, 1, machine.device))
        values = given.pop()
        one = values.ndim == 3 and positions_read(Head(model).eval(), values).shape[1] == 1
    return values, one
