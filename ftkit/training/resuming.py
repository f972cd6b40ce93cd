"""Trainer whose checkpoints hold all that decides what comes next, so that it goes on exactly.

    checkpoints/checkpoint-STEP/
        moving.safetensors   the weights that move, and the statistics
        state.pt             optimiser, schedule, scaler; of each process its random states and the
                             loss since the last line of log.jsonl
        trainer_state.json   step, epoch, best figure so far; what was logged
        progress.json        `Progress`: where in the run it was taken
        checksums.json       see `ftkit.runs.checkpoint`

The rows of a step follow from seed, epoch and step (`ftkit.training.batches`), and so do their
random changes; so a position is all that the order of rows needs. A checkpoint is taken at the end
of every epoch, after its validation, and in between as `train.checkpoint_every` says or a signal
asks. A signal during the validation leaves one whose epoch is still to be validated. It is written
while training goes on (`ftkit.training.background`), and whole before anything reads it and before
the run ends.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import nn
from transformers import Trainer
from transformers.trainer_utils import TrainOutput

from ftkit.hub.backup import push_checkpoint
from ftkit.machine.runtime import Machine, on_main, random_state_of, set_random_state
from ftkit.recipe import Train
from ftkit.runs.checkpoint import STATE, keep_newest, load_moving, moving_tensors, write_checkpoint
from ftkit.runs.journal import Journal
from ftkit.training.background import Background
from ftkit.training.callbacks import Patience, validations
from ftkit.training.optimiser import keep_rates_and_decays, rates_and_decays
from ftkit.training.progress import PROGRESS, Progress
from ftkit.training.selection import rank
from ftkit.training.sharded import make_whole, share, share_state, whole_state


class ExactTrainer(Trainer):
    """See the head of this file."""

    machine: Machine
    settings: Train
    journal: Journal
    channels_last = False
    model_itself: nn.Module | None = None
    """Where processes share a copy of the model that is trained, see `ftkit.training.sharded`."""
    best_by: str
    """The validation figure that picks the weights to keep."""
    keeps_last = False
    """Whether the last validation's weights are kept instead, whatever their figures."""
    begins_trained = False
    """Whether the model is validated before the first step, and kept if nothing is better."""
    progress: Progress | None = None
    """Of the checkpoint from which training goes on, until it does."""

    def __init__(self, **arguments: Any) -> None:
        self.background = Background()
        super().__init__(**arguments)

    def train(self, *given: Any, **named: Any) -> TrainOutput:
        """Train as Trainer does; however that ends, nothing is being written afterwards."""
        try:
            return super().train(*given, **named)
        finally:
            self.background.end()

    def wait(self) -> None:
        """Return when the last checkpoint is whole. Every rank must call this.

        Raises:
            TrainingError: it cannot be written.
        """
        on_main(self.background.wait)

    def checkpoint(self, step: int) -> Path:
        """Return the folder of the checkpoint of that step."""
        return Path(str(self.args.output_dir)) / f"checkpoint-{step}"

    def take_checkpoint(self, evaluated: bool, random_state: dict[str, Any]) -> None:
        """Begin to write a checkpoint of this moment; see `wait`. Every rank must call this.

        Raises:
            TrainingError: the one before it cannot be written.
        """
        best = self.state.best_global_step
        self.state.best_model_checkpoint = None if best is None else str(self.checkpoint(best))
        of_each = gather_object([random_state | {"loss": self._tr_loss.detach().cpu()}])
        assert self.optimizer is not None
        model, optimizer = self.whole(), whole_state(self.optimizer)
        on_main(lambda: self._write(evaluated, best, of_each, model, optimizer))

    def whole(self) -> nn.Module:
        """Return the model with the weights of this moment. Every rank must call this."""
        trained = self.accelerator.unwrap_model(self.model)
        if self.model_itself is None:
            return trained
        make_whole(self.model_itself, trained)
        return self.model_itself

    def _put_back(self, checkpoint: Path) -> None:
        """Give the model the weights of a checkpoint."""
        trained = self.accelerator.unwrap_model(self.model)
        load_moving(self.model_itself or trained, checkpoint)
        if self.model_itself is not None:
            share(self.model_itself, trained)

    def _write(
        self,
        evaluated: bool,
        best: int | None,
        of_each: list[dict[str, Any]],
        model: nn.Module,
        optimizer: dict[str, Any],
    ) -> None:
        position = self.journal.position
        progress = Progress(
            step=self.state.global_step,
            evaluated=evaluated,
            stopped=self.control.should_training_stop,
            waited=self._patience.early_stopping_patience_counter if self._patience else 0,
            best_step=best,
            logged_step=self._globalstep_last_logged,
            **asdict(position),
            precision="bf16" if self.args.bf16 else "fp16" if self.args.fp16 else "fp32",
            channels_last=self.channels_last,
            processes=self.machine.world_size,
        )
        scaler = getattr(self.accelerator, "scaler", None)
        assert self.lr_scheduler is not None
        content = {
            "weights": moving_tensors(model),
            "state": {
                "optimizer": optimizer,
                "schedule": self.lr_scheduler.state_dict(),
                "scaler": scaler.state_dict() if scaler else None,
                "of_each": of_each,
            },
        }
        texts = {
            PROGRESS: json.dumps(asdict(progress), indent=2),
            "trainer_state.json": json.dumps(asdict(self.state), indent=2, sort_keys=True),
        }
        folder, settings = self.checkpoint(self.state.global_step), self.settings
        best_folder = None if best is None else self.checkpoint(best).name

        def to_disk(content: Any) -> None:
            write_checkpoint(folder, content, texts, best_folder)
            keep_newest(folder.parent, settings.checkpoints_kept, best_folder)
            if settings.push_checkpoints:
                push_checkpoint(folder, settings.push_checkpoints)

        self.background.write(content, to_disk)

    @property
    def _patience(self) -> Patience | None:
        found = (c for c in self.callback_handler.callbacks if isinstance(c, Patience))
        return next(found, None)

    def kept_figures(self) -> dict[str, float]:
        """Return loss and figures on the validation rows of the weights that are kept."""
        return validations(self.state).get(self.state.best_global_step, {})

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """Keep these weights if they are better, by the loss where figures are equal.

        Trainer's own compares the figure alone, and so keeps the earliest of equals.
        """
        figures, before = validations(self.state)[self.state.global_step], self.kept_figures()
        better = self.keeps_last or not before
        better = better or rank(figures, self.best_by) > rank(before, self.best_by)
        if better:
            self.state.best_metric = figures[self.best_by]
            self.state.best_global_step = self.state.global_step
        return better

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self.take_checkpoint(evaluated=True, random_state=random_state_of(self.machine))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self._put_back(Path(resume_from_checkpoint))

    def _finalize_training(self, *given: Any) -> TrainOutput:
        self.wait()
        self.journal.count_as_training()
        return super()._finalize_training(*given)

    def _load_best_model(self) -> None:
        self._put_back(Path(self.state.best_model_checkpoint or ""))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        assert self.optimizer is not None
        assert self.lr_scheduler is not None
        wanted = rates_and_decays(self.optimizer)
        state = _read_state(checkpoint)
        self.optimizer.load_state_dict(state["optimizer"])
        share_state(self.optimizer)
        self.lr_scheduler.load_state_dict(state["schedule"])
        keep_rates_and_decays(self.optimizer, self.lr_scheduler, wanted)

    def _load_scaler(self, checkpoint: str | None) -> None:
        scaler = getattr(self.accelerator, "scaler", None)
        if checkpoint is not None and scaler is not None:
            state = _read_state(checkpoint)["scaler"]
            if state is not None:
                scaler.load_state_dict(state)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            states = _read_state(checkpoint)["of_each"]
            if self.machine.rank < len(states):
                set_random_state(states[self.machine.rank], self.machine)

    def _init_training_state(
        self,
        max_steps: int,
        num_update_steps_per_epoch: int,
        num_train_epochs: int,
        resume_from_checkpoint: str | None,
        trial: Any,
    ) -> tuple[int, int]:
        begun, batches = super()._init_training_state(
            max_steps, num_update_steps_per_epoch, num_train_epochs, resume_from_checkpoint, trial
        )
        if resume_from_checkpoint is None:
            return begun, batches
        self.progress = progress = Progress.read(Path(resume_from_checkpoint))
        best = progress.best_step
        self.state.best_model_checkpoint = None if best is None else str(self.checkpoint(best))
        if self._patience:
            self._patience.early_stopping_patience_counter = progress.waited
        if not progress.evaluated:  # Trainer is to come to the end of that epoch once more
            return math.ceil(progress.step / num_update_steps_per_epoch) - 1, 0
        return begun, batches

    def _run_epoch(self, **given: Any) -> None:  # type: ignore[override]
        progress, self.progress = self.progress, None
        if progress is not None:
            states = _read_state(given["resume_from_checkpoint"])["of_each"]
            if self.machine.rank < len(states):
                self._tr_loss.copy_(states[self.machine.rank]["loss"])
            self._globalstep_last_logged = progress.logged_step
        if progress is None and self.begins_trained and not self.state.global_step:
            self._validate_start(given)
        if progress is None or (progress.evaluated and not progress.stopped):
            super()._run_epoch(**given)
            return
        self.control.should_training_stop = progress.stopped
        if not progress.evaluated:
            self._load_rng_state(given["resume_from_checkpoint"])
            self.control = self.callback_handler.on_epoch_end(self.args, self.state, self.control)
            self._validate(given)

    def _validate_start(self, given: dict[str, Any]) -> None:
        """Validate the model as it is before the first step, and write a checkpoint of it."""
        self.control.should_evaluate = self.control.should_save = True
        self._validate(given)

    def _validate(self, given: dict[str, Any]) -> None:
        self._maybe_log_save_evaluate(
            self._tr_loss,
            None,
            given["model"],
            given["trial"],
            given["epoch"],
            given["ignore_keys_for_eval"],
            given["start_time"],
        )


def _read_state(checkpoint: str) -> dict[str, Any]:
    return torch.load(Path(checkpoint) / STATE, map_location="cpu", weights_only=True)
