"""Arithmetic by measurement: the precision and memory format that are fastest with a model here.

On one CPU a step of MiniLM took 132 ms in bfloat16 and 204 in float32, a step of EfficientNet-Lite0
302 in bfloat16 and 234 in float32, there with channels last, and 371 without. Another CPU or model
may turn that round: without instructions for it bfloat16 took MiniLM four times as long. So some
seconds are spent on trying, once for each machine and model (`ftkit.training.fastest_way`); the
answer is kept in $FTKIT_CACHE. $FTKIT_PRECISION answers instead, where results are to be the same
on machines of different speed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from ftkit.backbones.structure import is_convolutional, place
from ftkit.errors import RecipeError
from ftkit.machine.processor import has_bfloat16, has_bfloat16_tiles, processor_name
from ftkit.machine.runtime import Machine, choose_precision, on_main
from ftkit.recipe import Train
from ftkit.tasks.evaluation import first_examples
from ftkit.tasks.inputs import Inputs
from ftkit.training.fastest_way import noted, try_out

ROWS = (16, 4, 1)
"""Rows of a pass that is tried; fewer where one takes long. Of small images few would say too
little: of EfficientNet-Lite0 at 96 pixels channels last is as fast as not with 4, and 1.35 times as
fast with 16.
"""
FIXED = "FTKIT_PRECISION"
"""Environment variable that says what "auto" means here, fp32 or bf16; nothing is measured then."""
Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Arithmetic:
    """How a model is computed in training."""

    precision: str
    """fp32, bf16 or fp16."""
    channels_last: bool
    """Memory format of convolutions."""

    def __str__(self) -> str:
        return self.precision + (", channels last" if self.channels_last else "")


def fastest_training(
    model: nn.Module, inputs: Inputs, settings: Train, machine: Machine
) -> Arithmetic:
    """Return how to train this model: as the recipe says, on a CPU by trying what it leaves open.

    Tries forward and backward passes in eval mode, so that no statistic moves; leaves no gradient.
    Every rank must call this; rank 0 measures, on the first validation rows.

    Raises:
        RecipeError: the device cannot compute in the precision that was asked for.
    """
    wanted = _wanted(settings.precision)
    convolutional = is_convolutional(model)
    format_open = settings.channels_last is None and convolutional
    channels_last = convolutional if settings.channels_last is None else settings.channels_last
    plain = Arithmetic(choose_precision(wanted, machine), channels_last)
    precisions = _worth_trying(machine) if wanted == "auto" else (plain.precision,)
    if len(precisions) > 1 and not convolutional and has_bfloat16_tiles():
        precisions = precisions[::-1]  # expected to be fastest
    ways = [
        Arithmetic(precision, last)
        for last in ((channels_last, not channels_last) if format_open else (channels_last,))
        for precision in precisions
    ]
    if machine.device.type != "cpu" or len(ways) == 1 or os.environ.get(FIXED, "auto") != "auto":
        return plain
    moving = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def step(way: Arithmetic, batch: Batch) -> None:
        with autocast(way.precision, machine.device):
            outputs = model.eval()(**batch)["logits"]
        outputs.float().square().mean().backward()
        for parameter in moving:
            parameter.grad = None

    def prepare(way: Arithmetic) -> None:
        place(model, way.channels_last, machine.device)

    use = f"training {len(moving)}"
    return on_main(lambda: _fastest(use, model, inputs, ways, prepare, step, machine))


def fastest_precision(model: nn.Module, inputs: Inputs, wanted: str, machine: Machine) -> str:
    """Return the precision of inference for what the recipe wants: "auto" is measured.

    Every rank must call this; rank 0 measures, on the first validation rows.
    """
    wanted = _wanted(wanted)
    if wanted != "auto":
        return wanted
    precisions = _worth_trying(machine)
    if "bf16" in precisions and _suits_bfloat16(machine):
        precisions = precisions[::-1]  # expected to be fastest
    ways = [Arithmetic(precision, is_convolutional(model)) for precision in precisions]
    if len(ways) == 1:
        return ways[0].precision

    def forward(way: Arithmetic, batch: Batch) -> None:
        with autocast(way.precision, machine.device), torch.inference_mode():
            model.eval()(**batch)

    def unchanged(way: Arithmetic) -> None:
        """Leave the model as it is placed."""

    return on_main(
        lambda: _fastest("inference", model, inputs, ways, unchanged, forward, machine)
    ).precision


def autocast(precision: str, device: torch.device) -> AbstractContextManager:
    """Return a block in which matrix products and convolutions are computed in that precision."""
    if precision == "fp32":
        return nullcontext()
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    return torch.autocast(device.type, dtype)


def _suits_bfloat16(machine: Machine) -> bool:
    """Return whether the device is expected to be fastest in bfloat16."""
    if machine.device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return machine.device.type == "cpu" and bool(has_bfloat16())


def _worth_trying(machine: Machine) -> tuple[str, ...]:
    """Return the precisions that may be fastest here.

    A CPU without instructions for bfloat16 took 1.4 to 4 times as long in it as in float32
    (docs/performance.md).
    """
    slow = machine.device.type == "cpu" and has_bfloat16() is False
    return ("fp32",) if slow else ("fp32", "bf16")


def _fastest(
    use: str,
    model: nn.Module,
    inputs: Inputs,
    ways: list[Arithmetic],
    prepare: Callable[[Arithmetic], None],
    work: Callable[[Arithmetic, Batch], None],
    machine: Machine,
) -> Arithmetic:
    """Return which of these ways does the work fastest on the first validation rows."""
    batch = first_examples(inputs, ROWS[0], machine.device)
    shapes = {name: list(values.shape) for name, values in batch.items()}
    sizes = sum(parameter.numel() for parameter in model.parameters())
    about = f"{machine.device_name} {processor_name()} {torch.__version__} {type(model).__name__}"

    def on_some(way: Arithmetic, rows: int) -> None:
        work(way, {name: values[:rows] for name, values in batch.items()})

    def measure() -> tuple[dict[Arithmetic, float], int]:
        return try_out(ways, prepare, on_some, ROWS, machine.device)

    return noted(f"{about} {sizes} {shapes}", use, ways, measure)


def _wanted(setting: str) -> str:
    """Return a recipe's precision, or what this machine's owner has said that "auto" means.

    Raises:
        RecipeError: the environment says something else than a precision.
    """
    fixed = os.environ.get(FIXED, "auto")
    if fixed not in {"auto", "fp32", "bf16", "fp16"}:
        raise RecipeError(f"{FIXED}={fixed}: expected fp32, bf16, fp16 or auto")
    return fixed if setting == "auto" else setting
