"""`fit` for a perceptron: the chapter's four steps, with the journal and checkpoints of any run."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import replace
from typing import Any

import torch
from accelerate.utils import reduce

from ftkit.backbones.perceptron import Perceptron
from ftkit.errors import RecipeError, TrainingError
from ftkit.machine.interruption import held
from ftkit.machine.runtime import on_main
from ftkit.perceptron.network import Moments, Network, Training
from ftkit.perceptron.training import Epoch, Part, one_hot, predict, train
from ftkit.recipe import Mlp, Recipe
from ftkit.runs.checkpoint import newest_checkpoint
from ftkit.runs.journal import JournalFile
from ftkit.tasks import task_of
from ftkit.tasks.inputs import Inputs
from ftkit.training.fitted import Fitted, Session
from ftkit.training.perceptron_state import LEAST_SECONDS, Keeper, State, read_state
from ftkit.training.selection import count_validation, rank
from ftkit.training.target_scaling import Scale, scale_of

log = logging.getLogger(__name__)


def fit_by_hand(model: Perceptron, inputs: Inputs, recipe: Recipe, session: Session) -> Fitted:
    """Train the perceptron in place and leave its best epoch's parameters in it.

    All layers that move do so at one pace. See `ftkit.training.fit.fit`, which calls this.
    """
    machine, folder = session.machine, session.folder
    network, task = model.network, task_of(recipe.task)
    scale = scale_of(task, inputs.train.labels, model)
    X, Y = (each.to(machine.device) for each in tensors_of(inputs.train, model, scale))
    X_validation = torch.from_numpy(inputs.validation.values).to(machine.device)  # type: ignore[attr-defined]
    checkpoints = folder / "checkpoints"
    found = on_main(lambda: newest_checkpoint(checkpoints)) if session.resume else None
    state = read_state(found) if found else State()
    keeper = Keeper(checkpoints, recipe.train, machine, state.steps + state.part_steps)
    journal = JournalFile(folder / "log.jsonl", machine.is_main, state.lines)
    stages = stages_of(recipe, model, len(X))
    if scale is not None and recipe.backbone.start:  # type: ignore[union-attr]
        scale.unfold(model)
    moments = Moments(network)
    if state.tensors:
        log.info("going on from %s, epoch %d", found, state.epochs)
        for name, buffer in _buffers(network, moments).items():
            buffer.copy_(state.tensors[name])
        moments.step = state.moments_step
    unit = 1.0 if scale is None else float(scale.deviation[0]) ** 2  # of the loss of labels
    all_epochs = sum(stage.epochs for stage in stages)

    def within(part: Part) -> None:
        """Write a checkpoint in the middle of an epoch where one is due; end where told to."""
        at = state.steps + part.steps
        if not math.isfinite(float(part.total)):
            raise no_number(float(part.total), at)
        if keeper.due.now(at):
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
        outputs = predict(network, X_validation).cpu().numpy()
        outputs = outputs if scale is None else scale.outputs(outputs)
        figures = task.score(inputs.validation.labels, outputs)
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
            loss=epoch.train_loss * unit,
            learning_rate=epoch.learning_rate,
            gradient_norms=list(epoch.gradient_norms),
        )
        state.waited, state.gain = count_validation(state.waited, state.gain, validate())
        state.part_steps = 0
        if keeper.due.now(state.steps, LEAST_SECONDS) or recipe.train.push_checkpoints:
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
    if scale is not None:
        scale.fold(model)
    return Fitted(
        steps=state.steps,
        train_seconds=state.train_seconds,
        validation_seconds=state.validation_seconds,
        examples=state.epochs * len(X),
        strategy=recipe.strategy,
        precision="fp32",
        checkpoint_seconds=keeper.spent,
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


def tensors_of(
    rows: Any, model: Perceptron, scale: Scale | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return X (N, D) and Y (N, C) to train on: classes as one-hot rows, numbers scaled."""
    X, labels = torch.from_numpy(rows.values), torch.from_numpy(rows.labels)
    if scale is None:
        return X, one_hot(labels, len(model.label_names))
    return X, scale.targets(labels).view(-1, 1)


def _buffers(network: Network, moments: Moments) -> dict[str, torch.Tensor]:
    return {"parameters": network.parameters, "m": moments.m, "v": moments.v}
