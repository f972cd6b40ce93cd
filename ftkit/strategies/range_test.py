"""The learning rate by a range test: rates that grow from step to step, and the loss they give.

Smith 2017, "Cyclical Learning Rates for Training Neural Networks", section 3.3. The rate grows
exponentially from 1e-6 to 1e-1 until the loss diverges; weights, statistics and random states are
then as they were. `ftkit train --learning-rate auto` takes the rate that `pick` says.
"""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from transformers import PrinterCallback, TrainerCallback

from ftkit.backbones.structure import place
from ftkit.errors import TrainingError
from ftkit.machine.numbers import plain
from ftkit.machine.runtime import Machine, random_state_of, set_random_state
from ftkit.recipe import Recipe
from ftkit.runs.journal import Journal
from ftkit.strategies import strategy_of
from ftkit.tasks.inputs import Inputs
from ftkit.training.fit import training_arguments
from ftkit.training.precision import fastest_training
from ftkit.training.trainer import FrozenTrainer

log = logging.getLogger(__name__)
LOWEST, HIGHEST, STEPS = 1e-6, 1e-1, 80
"""16 steps for each factor of ten; most tests end at 1e-2, after 64."""
MEMORY = 0.8
"""Share that the smoothed loss keeps of itself in each step."""
CALM = 10
"""The first steps, whose rates are too small to change anything: their losses differ as batches
do."""


@dataclass(frozen=True)
class RangeTest:
    """What a range test gave."""

    rates: tuple[float, ...]
    """Learning rate of each step."""
    losses: tuple[float, ...]
    """Training loss of the step's batch, before the step."""
    chosen: float
    seconds: float

    def write(self, file: Path) -> None:
        """Write it as JSON, the smoothed losses with it."""
        values = {**asdict(self), "smoothed": [float(v) for v in smoothed(self.losses)]}
        file.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def range_test(
    model: Any, inputs: Inputs, recipe: Recipe, machine: Machine, steps: int = STEPS
) -> RangeTest:
    """Return what learning rates do to the loss of this model; it is as before afterwards.

    Every rank must call this.

    Args:
        model: adapted to the recipe's strategy.

    Raises:
        RecipeError: the strategy has no learning rate to look for.
        TrainingError: no rate made the loss smaller, or the memory does not suffice.
    """
    begin = time.perf_counter()
    place(model, recipe.train.channels_last, machine.device)
    with put_back_afterwards(model, machine):
        strategy = strategy_of(recipe.strategy)
        part, seen = strategy.for_range_test(model, inputs, recipe, machine)
        rates, losses = _curve(part, seen, recipe, machine, steps)
    chosen = pick(rates, losses)
    seconds = time.perf_counter() - begin
    log.info(
        f"range test: learning rate {chosen:.2g}, from {len(rates)} steps up to {rates[-1]:.2g} in "
        f"{seconds:.1f} s"
    )
    return RangeTest(tuple(rates), tuple(losses), chosen, seconds)


class RangeTrainer(FrozenTrainer):
    """Takes steps with a learning rate that grows; every parameter keeps its share of it."""

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Return the schedule of a range test."""
        peak, steps = self.args.learning_rate, num_training_steps
        optimizer = optimizer or self.optimizer
        assert optimizer is not None
        self.lr_scheduler = LambdaLR(optimizer, lambda step: rate_of(step, steps) / peak)
        return self.lr_scheduler

    def require_number(self, loss: torch.Tensor) -> None:
        """Accept any loss: a test ends where it is no number."""


class Curve(TrainerCallback):
    """Notes the loss of each step and stops where it has diverged."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.rates: list[float] = []
        self.losses: list[float] = []

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict | None = None, **rest: Any
    ) -> None:
        """Note the loss of the step, a mean over all processes."""
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        if np.isfinite(loss):
            self.rates.append(rate_of(state.global_step - 1, self.steps))
            self.losses.append(float(loss))
        control.should_training_stop |= not np.isfinite(loss) or diverged(self.losses)


def _curve(
    model: nn.Module, inputs: Inputs, recipe: Recipe, machine: Machine, steps: int
) -> tuple[list[float], list[float]]:
    recipe, curve = recipe.override({"train.max_steps": steps}), Curve(steps)
    try:
        take_steps(RangeTrainer, model, inputs, recipe, machine, curve)
    except TrainingError:  # a gradient that is no number, which is the same on every rank
        log.debug("the range test ended by a gradient that is no number")
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            "out of memory in the range test; use --set train.micro_batch_size=..."
        ) from error
    return curve.rates, curve.losses


def take_steps(
    kind: type[FrozenTrainer],
    model: nn.Module,
    inputs: Inputs,
    recipe: Recipe,
    machine: Machine,
    watcher: TrainerCallback,
) -> None:
    """Take `train.max_steps` steps on this model to try something out; nothing is written.

    Every rank must call this.

    Raises:
        TrainingError: a loss or a gradient is no number.
        torch.OutOfMemoryError: the rows of a step do not fit into memory.
    """
    way = fastest_training(model, inputs, recipe.train, machine)
    place(model, way.channels_last, machine.device)
    # compiling would take longer than all that is tried
    recipe = recipe.override({"train.early_stopping": None, "train.compile": False})
    with tempfile.TemporaryDirectory(prefix="ftkit-") as folder:
        arguments = training_arguments(
            recipe, machine, Path(folder), len(inputs.train), way.precision
        )
        arguments.logging_steps, arguments.warmup_steps = 1, 0
        arguments.load_best_model_at_end = False
        arguments.eval_strategy = arguments.save_strategy = "no"
        trainer = kind(
            model=model,
            args=arguments,
            strategy=strategy_of(recipe.strategy),
            recipe=recipe,
            machine=machine,
            inputs=inputs,
            journal=Journal(Path(folder) / "log.jsonl", writes=False),
            callbacks=[watcher],
        )
        trainer.remove_callback(PrinterCallback)
        try:
            trainer.train()
        finally:
            trainer.end_readers()
            trainer.accelerator.unwrap_model(trainer.model_wrapped, keep_fp32_wrapper=False)


@contextmanager
def put_back_afterwards(model: nn.Module, machine: Machine) -> Iterator[None]:
    """Put back, after the block, every weight and buffer, what moves, modes, and random states."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    values = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    moves = {name: tensor.requires_grad for name, tensor in model.named_parameters()}
    modes = [(module, module.training) for module in model.modules()]
    state = random_state_of(machine)
    try:
        yield
    finally:
        with torch.no_grad():
            for name, tensor in tensors.items():
                tensor.copy_(values[name])
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(moves[name])
            parameter.grad = None
        for module, training in modes:
            module.training = training
        set_random_state(state, machine)


def rate_of(step: int, steps: int) -> float:
    """Return the learning rate of a step, counted from 0."""
    return LOWEST * (HIGHEST / LOWEST) ** (step / (steps - 1))


def smoothed(losses: Any) -> np.ndarray:
    """Return (N,) exponential means of losses (N,), the bias of the first ones corrected.

    As Adam's moments (Kingma and Ba 2015, section 3).
    """
    mean, found = 0.0, []
    for step, loss in enumerate(losses, start=1):
        mean = MEMORY * mean + (1 - MEMORY) * loss
        found.append(mean / (1 - MEMORY**step))
    return np.array(found)


def diverged(losses: list[float]) -> bool:
    """Return whether the smoothed loss has risen by half of what it had fallen, and a quarter.

    By more, too, than losses of batches differ before any step counts: beside a head that is
    solved already they are small, and the next batch's may be twice the last one's.
    """
    if len(losses) <= CALM:
        return False
    means = smoothed(losses)
    first, least, spread = means[0], means.min(), float(np.std(losses[:CALM]))
    return bool(means[-1] > least + max(0.5 * (first - least), 0.25 * first, spread))


def pick(rates: Any, losses: Any) -> float:
    """Return the learning rate that such a curve speaks for: a quarter of that of the least loss.

    That one is already at the edge of diverging. A tenth of it, the usual rule, was too careful for
    effnet-digits, and the steepest fall too bold for minilm-langid: docs/choosing.md.

    Raises:
        TrainingError: the loss fell at no rate, or was no number from the first step on.
    """
    if not len(losses):
        raise TrainingError(
            f"the range test found no learning rate: the training loss was no number in the first "
            f"step, at a rate of {LOWEST:.2g}; look for NaN or huge values in the data, or try "
            "--set train.precision=fp32"
        )
    means = smoothed(losses)
    best = int(means.argmin())
    if means[best] > 0.995 * means[0] or rates[best] / 4 < LOWEST:
        raise TrainingError(
            f"the range test found no learning rate: the training loss began at "
            f"{plain(means[0], 4)} and fell to {plain(means[best], 4)} at most, at a rate of "
            f"{rates[best]:.2g}; give --learning-rate a number"
        )
    return float(f"{rates[best] / 4:.2g}")
