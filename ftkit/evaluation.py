"""Running a model over rows: each row once, in order, for any number of processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import nn
from torch.utils.data import DataLoader, Subset

from ftkit.recipe import Train
from ftkit.runtime import Machine
from ftkit.tasks import Rows

NO_INPUTS = ("labels", "index")
"""What an example has besides the model's inputs."""


def predict_logits(model: nn.Module, rows: Rows, settings: Train, machine: Machine) -> np.ndarray:
    """Return the logits (N, C) float32 of all rows, in order, on every rank.

    Every rank must call this. Leaves the model in eval mode.
    """
    model.eval()
    return for_each_row(lambda inputs: model(**inputs)["logits"], rows, settings, machine)


def for_each_row(
    compute: Callable[[dict[str, torch.Tensor]], torch.Tensor],
    rows: Rows,
    settings: Train,
    machine: Machine,
) -> np.ndarray:
    """Return (N, ...) float32: what `compute` gives for each row's inputs, in order, on every rank.

    Each rank takes every world_size-th row, so no row is counted twice. Every rank must call this.

    Args:
        compute: from the model's inputs by name, each (B, ...), to outputs (B, ...), on the device.
    """
    loader: DataLoader = DataLoader(
        Subset(rows, range(machine.rank, len(rows), machine.world_size)),  # type: ignore[arg-type]
        batch_size=settings.evaluation_batch_size,
        collate_fn=collate,
        num_workers=workers(settings, machine),
    )
    mine: list[np.ndarray] = []
    with torch.inference_mode():
        for batch in loader:
            inputs = {
                name: values.to(machine.device, non_blocking=True)
                for name, values in batch.items()
                if name not in NO_INPUTS
            }
            mine.append(compute(inputs).float().cpu().numpy())
    stacked = np.concatenate(gather_object(mine))  # rank 0's rows, then rank 1's, ...
    order = [range(rank, len(rows), machine.world_size) for rank in range(machine.world_size)]
    outputs = np.empty_like(stacked)
    outputs[np.concatenate(order)] = stacked
    return outputs


def collate(examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Return a batch: each model input (B, ...), such as pixel_values, labels and index (B,)."""
    columns = {name: [example[name] for example in examples] for name in examples[0]}
    return {
        name: torch.tensor(values) if name in NO_INPUTS else torch.stack(values)
        for name, values in columns.items()
    }


def workers(settings: Train, machine: Machine) -> int:
    """Return how many processes read images: none on the CPU, where they would take its cores."""
    if settings.workers is not None:
        return settings.workers
    cores = (os.cpu_count() or 1) // machine.world_size
    return 0 if machine.device.type == "cpu" else min(8, cores)
