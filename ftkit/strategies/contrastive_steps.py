"""The steps of contrastive fine-tuning: the backbone moves, so that rows of a class are near.

    RUN/contrastive/log.jsonl     the loss of each step
    RUN/contrastive/checkpoints/  where a training that was stopped goes on, to the same weights

What a step is follows from the seed and its number, so a checkpoint needs no more than the weights
that move, the optimiser and the random states. They are the same on every rank: all take the same
steps, and the weights of rank 0 count.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import astuple
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel, get_scheduler

from ftkit.backbones.structure import place
from ftkit.errors import RunError, TrainingError
from ftkit.machine.interruption import check, held
from ftkit.machine.runtime import Machine, on_main, random_state_of, set_random_state
from ftkit.recipe import Contrastive, Recipe
from ftkit.runs.checkpoint import (
    STATE,
    keep_newest,
    load_moving,
    moving_tensors,
    newest_checkpoint,
    write_checkpoint,
)
from ftkit.runs.journal import JournalFile
from ftkit.strategies.base import Strategy
from ftkit.strategies.head_inputs import HeadInputs
from ftkit.strategies.pairs import batches_of_classes, contrastive_loss
from ftkit.tasks.inputs import Inputs, Rows
from ftkit.training.due import Due
from ftkit.training.fit import schedule_of
from ftkit.training.fitted import Session
from ftkit.training.modes import training_modes
from ftkit.training.optimiser import (
    decaying_names,
    keep_rates_and_decays,
    parameter_groups,
    rates_and_decays,
)
from ftkit.training.precision import Arithmetic, autocast, fastest_training

log = logging.getLogger(__name__)
FIRST = "contrastive"
"""The subfolder of the run with what this file writes."""
MARKS = 4
"""So many times in a round the log says the loss, and a checkpoint is due unless there was one."""
LEAST_SECONDS = 30.0
"""So much time lies between two of these checkpoints at least, and between two lines at most."""
CHECKPOINTS = "checkpoints"
STATEFUL = ("optimiser", "schedule", "scaler")
"""The parts of `Steps` that say themselves what a checkpoint holds of them."""


def draw_together(
    model: PreTrainedModel,
    inputs: Inputs,
    own: int,
    recipe: Recipe,
    strategy: Strategy,
    session: Session,
) -> Steps:
    """Move the backbone, in place, so that rows of a class are near each other.

    Args:
        own: how many training rows there are; after them come the names of classes, which are
            in every batch with rows of theirs.

    Raises:
        TrainingError: the loss stopped being a number, or a checkpoint cannot be written.
        Interrupted: a signal has come, and the checkpoint is written.
    """
    settings, machine, folder = recipe.train, session.machine, session.folder / FIRST
    labels = inputs.train.labels
    on_main(lambda: folder.mkdir(exist_ok=True))
    steps = Steps(model, inputs, recipe, strategy, machine)
    if session.resume and (newest := on_main(lambda: newest_checkpoint(folder / CHECKPOINTS))):
        steps.go_on(newest)
    due, before = Due(settings, machine, steps.done), steps.seconds
    begin = said = time.perf_counter()
    journal = JournalFile(folder / "log.jsonl", machine.is_main, steps.done)
    batches = batches_of_classes(labels[:own], settings.rows_per_step, settings.seed)
    for _ in range(steps.done):
        next(batches)
    with held():
        while steps.done < steps.wanted:
            batch = next(batches)
            named = np.flatnonzero(np.isin(labels[own:], labels[batch]))
            loss = steps.take(inputs.train, np.concatenate([batch, own + named]))
            step, now = steps.done, time.perf_counter()
            steps.seconds = before + now - begin
            journal.write(step=step, seconds=round(steps.seconds, 3), loss=loss)
            mark = step % max(1, steps.wanted // MARKS) == 0
            if mark or now - said >= LEAST_SECONDS:
                log.info(f"contrastive: step {step} of {steps.wanted}, loss {loss:.3f}")
                said = now
            if due.now(step, LEAST_SECONDS if mark or step == steps.wanted else None):
                checkpoint = folder / CHECKPOINTS / f"checkpoint-{step}"
                on_main(partial(steps.write, checkpoint))
                due.written(step, checkpoint)
    check()  # a signal may have come while the last one was written
    on_main(lambda: keep_newest(folder / CHECKPOINTS, 1))
    if machine.world_size > 1:
        for parameter in steps.moving:
            torch.distributed.broadcast(parameter.data, 0)
    return steps


class Steps:
    """Model, optimiser and schedule, and how far they have come."""

    def __init__(
        self,
        model: PreTrainedModel,
        inputs: Inputs,
        recipe: Recipe,
        strategy: Strategy,
        machine: Machine,
    ) -> None:
        settings, own = recipe.train, strategy.settings
        assert isinstance(own, Contrastive)
        self.model, self.machine, self.settings = model, machine, settings
        self.temperature = own.temperature
        self.wanted, self.done = settings.max_steps or own.steps, 0
        self.seconds = 0.0
        """What the steps took, in all sessions."""
        self.way = fastest_training(model, inputs, settings, machine)
        place(model, self.way.channels_last, machine.device)
        decaying = decaying_names(strategy, model)
        rate, decay = own.learning_rate, settings.weight_decay
        self.optimiser = torch.optim.AdamW(parameter_groups(strategy, model, rate, decay, decaying))
        name, warmup, options = schedule_of(settings, self.wanted)
        self.schedule = get_scheduler(name, self.optimiser, warmup, self.wanted, options)
        self._make_scaler()
        self.moving = [p for p in model.parameters() if p.requires_grad]
        self.head_inputs = HeadInputs(model, inputs, machine)
        for module, moves in training_modes(model):
            module.training = moves
        torch.manual_seed(settings.seed)

    def take(self, rows: Rows, batch: np.ndarray) -> float:
        """Take the next step with these rows, and return its loss.

        Raises:
            TrainingError: that is no number.
        """
        step = self.done + 1
        with autocast(self.way.precision, self.machine.device):
            vectors, labels = self.head_inputs.of(rows, batch, step)
        loss = contrastive_loss(vectors.float(), labels, self.temperature)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimiser)
        if self.settings.max_grad_norm:
            nn.utils.clip_grad_norm_(self.moving, self.settings.max_grad_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.schedule.step()
        self.optimiser.zero_grad()
        self.done, value = step, float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(
                f"the contrastive loss became {value} at step {step}; use a smaller --learning-rate"
            )
        return value

    def write(self, checkpoint: Path) -> None:
        """Write a checkpoint of this moment; the older ones go."""
        state = {name: getattr(self, name).state_dict() for name in STATEFUL}
        state |= {"random": random_state_of(self.machine), "done": self.done}
        state |= {"seconds": self.seconds, "way": astuple(self.way)}
        content = {"weights": moving_tensors(self.model), "state": state}
        write_checkpoint(checkpoint, content, {})
        keep_newest(checkpoint.parent, self.settings.checkpoints_kept)

    def go_on(self, checkpoint: Path) -> None:
        """Become what was written. Every rank must call this.

        Raises:
            RunError: the checkpoint is of a model in which other parameters move, or has taken more
                steps than are wanted now.
        """
        log.info("going on from %s", checkpoint)
        state = torch.load(checkpoint / STATE, map_location="cpu", weights_only=True)
        if state["done"] > self.wanted:
            raise RunError(
                f"{checkpoint} has taken {state['done']} contrastive steps already, and "
                f"{self.wanted} are wanted now; give as many, or another --out"
            )
        self.way = Arithmetic(*state["way"])
        place(self.model, self.way.channels_last, self.machine.device)
        load_moving(self.model, checkpoint)
        self._make_scaler()
        wanted = rates_and_decays(self.optimiser)
        for name in STATEFUL:
            getattr(self, name).load_state_dict(state[name])
        keep_rates_and_decays(self.optimiser, self.schedule, wanted)
        self.done, self.seconds = state["done"], state["seconds"]
        set_random_state(state["random"], self.machine)

    def _make_scaler(self) -> None:
        used = self.way.precision == "fp16"
        self.scaler = torch.amp.GradScaler(self.machine.device.type, enabled=used)
