"""How many rows can go through the model at once on a CPU, where nothing says so in time.

A GPU raises an error and the batch is halved (`ftkit.training.fit.fit`); a CPU's process is killed.
"""

from __future__ import annotations

import logging

from torch import nn

from ftkit.backbones.structure import count_parameters
from ftkit.errors import RecipeError
from ftkit.machine import memory
from ftkit.machine.runtime import Machine, share_batch
from ftkit.recipe import Recipe
from ftkit.tasks.evaluation import first_examples
from ftkit.tasks.inputs import Inputs
from ftkit.training.sharded import is_shared

log = logging.getLogger(__name__)


def limit_rows_at_once(
    model: nn.Module, inputs: Inputs, recipe: Recipe, machine: Machine
) -> Recipe:
    """Return the recipe with no more rows at once than memory can hold for the backward pass.

    What one row keeps is counted in a forward pass of it, and only where that is more than the
    machine has in all are there fewer; `train.batch_size` stays, over more passes.

    Raises:
        RecipeError: one row alone cannot be held.
    """
    train = recipe.train
    if machine.device.type != "cpu" or is_shared() or train.gradient_checkpointing:
        return recipe
    share, _ = share_batch(train.rows_per_step, train.micro_batch_size, machine.world_size)
    rows = min(share, len(inputs.train))
    kept = memory.saved_for_backward(model, first_examples(inputs, 1, machine.device))
    total, trained = count_parameters(model)
    free = memory.most() - memory.FLOAT * total - (memory.MOVING - memory.FLOAT) * trained
    least = kept // 2  # in bfloat16 it is half
    if rows * least <= free:
        return recipe
    if least > free:
        raise RecipeError(
            f"one row alone keeps {kept / 1e9:,.1f} GB for the backward pass of "
            f"{recipe.backbone.id}, and {max(free, 0) / 1e9:,.1f} GB of memory are left; use "
            f"smaller inputs, --set train.gradient_checkpointing=true, or a smaller backbone"
        )
    fitting = max(1, free // max(kept, 1))
    log.info(
        "train.batch_size = %d: %d rows at once would keep %.1f GB for the backward pass; going "
        "on with at most %d (train.micro_batch_size)",
        train.rows_per_step, rows, rows * kept / 1e9, fitting,
    )  # fmt: skip
    return recipe.override({"train.micro_batch_size": fitting})
