"""Checkpoints of a perceptron's training: when they are due, and what is in them."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate.utils import gather_object
from safetensors import safe_open
from safetensors.torch import save_file

from ftkit.errors import RunError
from ftkit.hub.backup import push_checkpoint
from ftkit.machine.runtime import Machine, on_main
from ftkit.perceptron.training import Part
from ftkit.recipe import Train
from ftkit.runs.checkpoint import keep_newest, whole_checkpoint
from ftkit.training.due import Due

STATE = "mlp.safetensors"
LEAST_SECONDS = 1.0
"""At least so much time lies between two checkpoints: an epoch of a perceptron may be shorter than
writing one takes."""


@dataclass
class State:
    """Where a training stands; written into a checkpoint and read again by --resume."""

    stage: int = 0
    """0 is the training, 1 the fine-tuning after it."""
    epoch: int = 0
    """Epochs done in this stage."""
    epochs: int = 0
    """Epochs done in all."""
    steps: int = 0
    best: tuple[float, float] | None = None
    """Best validation figure so far and the loss beside it, so signed that more is better."""
    best_figures: dict[str, float] = field(default_factory=dict)
    """All validation figures of that epoch."""
    waited: int = 0
    """Epochs of this stage since the last gain; see `ftkit.training.selection.count_validation`."""
    gain: tuple[float, float] | None = None
    """What `best` was at that gain."""
    moments_step: int = 0
    part_steps: int = 0
    """Steps done in the epoch that has begun."""
    part_seconds: float = 0.0
    train_seconds: float = 0.0
    validation_seconds: float = 0.0
    lines: int = 0
    """Lines of log.jsonl that belong to it."""
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    """parameters, m, v, and the parameters of the best epoch, each (P,); of the epoch that has
    begun norms (L,), and of each process total (R,) and drop (R, S)."""

    def begin_part(self, part: Part) -> None:
        """Take up where an epoch is. Every rank must call this."""
        self.part_steps, self.part_seconds = part.steps, part.seconds
        of_each = gather_object([(part.total.cpu(), part.drop)])
        total, drop = (torch.stack(values) for values in zip(*of_each, strict=True))
        self.tensors |= {"norms": part.norms, "total": total, "drop": drop}

    def part(self, rank: int) -> Part | None:
        """Return what one process needs to go on in the middle of an epoch."""
        if not self.part_steps:
            return None
        if rank >= len(self.tensors["total"]):
            raise RunError(
                f"the checkpoint was written in the middle of an epoch of "
                f"{len(self.tensors['total'])} processes; start as many again"
            )
        return Part(
            self.part_steps,
            self.tensors["total"][rank],
            self.tensors["norms"],
            self.part_seconds,
            self.tensors["drop"][rank],
        )


class Keeper:
    """Writes the checkpoints of a run, and ends it after one where a signal has come."""

    def __init__(self, folder: Path, settings: Train, machine: Machine, step: int = 0) -> None:
        self.folder, self.settings, self.machine = folder, settings, machine
        self.due = Due(settings, machine, step)
        self.spent = 0.0
        """Seconds in which training stood still for checkpoints."""

    def take(
        self,
        step: int,
        state: State,
        buffers: dict[str, torch.Tensor],
        moments_step: int,
        lines: int,
    ) -> None:
        """Write one. Every rank must call this.

        Raises:
            TrainingError: it cannot be written.
            Interrupted: a signal has come.
        """
        begin = time.perf_counter()
        state.moments_step, state.lines = moments_step, lines
        kept, checkpoint = self.settings.checkpoints_kept, self.folder / f"checkpoint-{step}"
        on_main(lambda: write_state(checkpoint, state, buffers, kept))
        if self.machine.is_main and self.settings.push_checkpoints:
            push_checkpoint(checkpoint, self.settings.push_checkpoints)
        self.spent += time.perf_counter() - begin
        self.due.written(step, checkpoint)


def write_state(
    checkpoint: Path, state: State, buffers: dict[str, torch.Tensor], kept: int = 2
) -> None:
    """Write a checkpoint of the state and the parameters and moments in the buffers.

    Raises:
        TrainingError: it cannot be written.
    """
    plain = {name: value for name, value in vars(state).items() if name != "tensors"}
    tensors = {name: t.cpu() for name, t in {**state.tensors, **buffers}.items()}
    with whole_checkpoint(checkpoint) as folder:
        save_file(tensors, folder / STATE, metadata={"state": json.dumps(plain)})
    keep_newest(checkpoint.parent, kept)


def read_state(checkpoint: Path) -> State:
    """Return what `write_state` wrote."""
    with safe_open(checkpoint / STATE, framework="pt") as stored:
        tensors = {name: stored.get_tensor(name) for name in list(stored.keys())}
        return State(**json.loads(stored.metadata()["state"]), tensors=tensors)
