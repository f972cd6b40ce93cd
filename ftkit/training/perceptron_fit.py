"""`fit` for a perceptron: the chapter's four steps, with the journal and checkpoints of any run."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import reduce

from ftkit.backbones.perceptron import Perceptron
from ftkit.errors import RecipeError, TrainingError
from ftkit.machine.interruption import held
from ftkit.machine.runtime import Machine, on_main
from ftkit.perceptron.network import Moments, Network, Training
from ftkit.perceptron.training import Epoch, Part, one_hot, predict, train
from ftkit.recipe import Mlp, Recipe
from ftkit.runs.checkpoint import newest_checkpoint
from ftkit.runs.journal import JournalFile
from ftkit.tasks import task_of
from ftkit.tasks.inputs import Inputs
from ftkit.training.fitted import Fitted
from ftkit.training.perceptron_state import LEAST_SECONDS, Keeper, State, read_state
from ftkit.training.selection import counted, rank
from ftkit.training.target_scaling import mean_and_deviation

log = logging.getLogger(__name__)


def fit_by_hand(
    model: Perceptron,
    inputs: Inputs,
    recipe: Recipe,
    machine: Machine,
    folder: Path,
    resume: bool = False,
) -> Fitted:
    """Train the perceptron in place and leave its best epoch's parameters in it.

    All layers that move do so at one pace. See `ftkit.training.fit.fit`, which calls this.
    """
    network, scaler = model.network, Scaler.of(model, inputs)
    X, Y = (tensor.to(machine.device) for tensor in scaler.targets(inputs.train))
    X_validation = torch.from_numpy(inputs.validation.values).to(machine.device)  # type: ignore[attr-defined]
    keeper = Keeper(folder / "checkpoints", recipe.train, machine)
    found = on_main(lambda: newest_checkpoint(keeper.folder)) if resume else None
    state = read_state(found) if found else State()
    journal = JournalFile(folder / "log.jsonl", machine.is_main, state.lines)
    stages = stages_of(recipe, model, len(X))
    if recipe.backbone.start:  # type: ignore[union-attr]
        scaler.unfold(network)
    moments = Moments(network)
    if state.tensors:
        log.info("going on from %s, epoch %d", found, state.epochs)
        for name, buffer in _buffers(network, moments).items():
            buffer.copy_(state.tensors[name])
        moments.step = state.moments_step
    all_epochs = sum(stage.epochs for stage in stages)

    def within(part: Part) -> None:
        """Write a checkpoint in the middle of an epoch where one is due; end where told to."""
        at = state.steps + part.steps
        if not math.isfinite(float(part.total)):
            raise no_number(float(part.total), at)
        if keeper.due(at):
            state.begin_part(part)
            keeper.take(at, state, _buffers(network, moments), moments.step, journal.count)

    def no_number(loss: float, step: int) -> TrainingError:
        return TrainingError(
            f"the loss became {loss} by step {step} with learning rate "
            f"{recipe.strategy.learning_rate:.2g}. Use a smaller --learning-rate, or look at the "
            f"rows"
        )

    def validate() -> tuple[float, float]:
        """Measure, write it down, keep the parameters if they are better; return the rank."""
        begin = time.perf_counter()
        outputs = scaler.outputs(predict(network, X_validation))
        figures = task_of(recipe.task).score(inputs.validation.labels, outputs)
        state.validation_seconds += time.perf_counter() - begin
        journal.validation(state.steps, state.epochs, all_epochs, state.train_seconds, figures)
        now = rank(figures, recipe.best_by)
        if state.best is None or now > tuple(state.best):
            state.best = now
            state.best_figures = {name: float(value) for name, value in figures.items()}
            state.tensors["best"] = network.parameters.clone()
        return now

    def after(epoch: Epoch) -> bool:
        """Measure, keep the best, write the checkpoint; return whether to stop."""
        steps = math.ceil(len(X) / recipe.train.rows_per_step)
        state.epoch, state.epochs, state.steps = epoch.number, state.epochs + 1, state.steps + steps
        state.train_seconds += epoch.seconds
        if not math.isfinite(epoch.train_loss):
            raise no_number(epoch.train_loss, state.steps)
        journal.write(
            step=state.steps,
            epoch=state.epochs,
            seconds=round(state.train_seconds, 3),
            loss=epoch.train_loss * scaler.deviation**2,  # in the labels' own units
            learning_rate=epoch.learning_rate,
            gradient_norms=list(epoch.gradient_norms),
        )
        state.waited, state.gain = counted(state.waited, state.gain, validate())
        state.part_steps = 0
        if keeper.due(state.steps, LEAST_SECONDS) or recipe.train.push_checkpoints:
            keeper.take(state.steps, state, _buffers(network, moments), moments.step, journal.count)
        return stopped()

    def stopped() -> bool:
        """Return whether so many epochs brought nothing that the recipe says to stop."""
        patience = recipe.train.early_stopping
        return patience is not None and state.waited >= patience

    if recipe.backbone.start and state.best is None:  # type: ignore[union-attr]
        validate()  # what was trained before is kept if nothing is better
    several = machine.world_size > 1
    for number, stage in enumerate(stages):
        if number < state.stage:
            continue
        if number > state.stage:
            state.stage, state.epoch, state.waited, state.gain = number, 0, 0, None
            moments = Moments(network)
        if stopped():  # a resumed run whose stage had ended already
            continue
        with held():
            train(
                network,
                X,
                Y,
                stage,
                on_epoch=after,
                begin=state.epoch,
                moments=moments,
                average=average if several else None,
                ranks=(machine.rank, machine.world_size),
                on_part=within,
                part=state.part(machine.rank),
            )
    network.parameters.copy_(state.tensors["best"])
    scaler.fold(network)
    return Fitted(
        steps=state.steps,
        train_seconds=state.train_seconds,
        validation_seconds=state.validation_seconds,
        examples=state.epochs * len(X),
        strategy=recipe.strategy,
        precision="fp32",
        validation=state.best_figures,
    )


def average(buffer: torch.Tensor) -> None:
    """Put the mean over all processes in place of a buffer."""
    buffer.copy_(reduce(buffer, reduction="mean"))


def stages_of(recipe: Recipe, model: Perceptron, rows: int) -> list[Training]:
    """Return the training that a recipe asks for, and the fine-tuning after it where there is one.

    Raises:
        RecipeError: `fine_tune.frozen` leaves no layer to train.
    """
    mlp, settings = recipe.backbone, recipe.train
    assert isinstance(mlp, Mlp)
    assert settings.schedule != "wsd"
    epochs = settings.epochs
    if settings.max_steps is not None:  # whole epochs: at least so many steps
        epochs = min(
            epochs, math.ceil(settings.max_steps / math.ceil(rows / settings.rows_per_step))
        )
    first = Training(
        epochs=epochs,
        batch_size=settings.rows_per_step,
        update=mlp.update,
        learning_rate=recipe.strategy.learning_rate,
        schedule=settings.schedule,
        warmup=settings.warmup,
        momentum=mlp.momentum,
        weight_decay=settings.weight_decay,
        dropout=mlp.dropout,
        frozen=model.frozen_layers(),
        seed=settings.seed,
    )
    if mlp.fine_tune is None or settings.max_steps is not None:
        return [first]
    frozen = max(first.frozen, mlp.fine_tune.frozen)
    if frozen >= len(model.network.layers):
        raise RecipeError(
            f"backbone.fine_tune.frozen = {mlp.fine_tune.frozen}: the network has "
            f"{len(model.network.layers)} layers, one must move"
        )
    again = replace(
        first,
        epochs=mlp.fine_tune.epochs,
        learning_rate=mlp.fine_tune.learning_rate,
        frozen=frozen,
        seed=settings.seed + 1,
    )
    return [first, again]


@dataclass(frozen=True)
class Scaler:
    """Targets of mean 0 and variance 1 for training, and the way back; classes need none of it."""

    classes: int
    mean: float = 0.0
    deviation: float = 1.0

    @classmethod
    def of(cls, model: Perceptron, inputs: Inputs) -> Scaler:
        """Return the scaler of a model's training targets."""
        if model.label_names:
            return cls(len(model.label_names))
        mean, deviation = mean_and_deviation(inputs.train.labels)
        return cls(0, float(mean[0]), float(deviation[0]))

    def targets(self, rows: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Return X (N, D) and Y (N, C) to train on."""
        X = torch.from_numpy(rows.values)
        if self.classes:
            return X, one_hot(torch.from_numpy(rows.labels), self.classes)
        scaled = (rows.labels - self.mean) / self.deviation
        return X, torch.from_numpy(scaled.astype(np.float32)).view(-1, 1)

    def outputs(self, z: torch.Tensor) -> np.ndarray:
        """Return a network's outputs (N, C) in the units of the labels."""
        return z.cpu().numpy() * self.deviation + self.mean

    def fold(self, network: Network) -> None:
        """Make the last layer give the units of the labels by itself."""
        W, b = network.layers[-1]
        W.mul_(self.deviation)
        b.mul_(self.deviation).add_(self.mean)

    def unfold(self, network: Network) -> None:
        """Undo `fold`, for a network that was trained before."""
        W, b = network.layers[-1]
        W.div_(self.deviation)
        b.sub_(self.mean).div_(self.deviation)


def _buffers(network: Network, moments: Moments) -> dict[str, torch.Tensor]:
    return {"parameters": network.parameters, "m": moments.m, "v": moments.v}
