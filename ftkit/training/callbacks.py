"""When a training stops or takes a checkpoint: early stopping, steps and seconds, signals."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from transformers import EarlyStoppingCallback, TrainerCallback, TrainerControl, TrainerState

from ftkit.machine import interruption
from ftkit.machine.interruption import Interrupted
from ftkit.machine.runtime import in_any
from ftkit.training.selection import without_gain

if TYPE_CHECKING:
    from ftkit.training.resuming import ExactTrainer


def validations(state: TrainerState) -> dict[int | None, dict[str, float]]:
    """Return loss and figures of each validation of a run so far, by its step."""
    return {
        int(entry["step"]): {
            name.removeprefix("eval_"): float(value)
            for name, value in entry.items()
            if name.startswith("eval_")
        }
        for entry in state.log_history
        if "eval_loss" in entry
    }


class Patience(EarlyStoppingCallback):
    """Ends a run after so many validations without gain, see `ftkit.training.selection`."""

    def __init__(self, patience: int, by: str) -> None:
        super().__init__(patience)
        self.by = by

    def check_metric_value(self, args: Any, state: Any, control: Any, metric_value: Any) -> None:
        """Count the validations since the last gain; that before the first step is none of them.

        The first epochs, with a learning rate that still rises, often do worse than the start.
        """
        epochs = [figures for step, figures in validations(state).items() if step]
        self.early_stopping_patience_counter = without_gain(epochs, self.by) if epochs else 0


class Cadence(TrainerCallback):
    """Says when a checkpoint is due, and ends the run after it where a signal has come.

    Must be the last callback, so that others see the checkpoint.
    """

    def __init__(self, trainer: ExactTrainer) -> None:
        self.trainer = trainer
        self.steps, self.seconds = trainer.settings.checkpoint_cadence()
        self.last = time.monotonic()
        self.stopping = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Start the clock."""
        self.last = time.monotonic()

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **rest: Any
    ) -> None:
        """Ask for a checkpoint where one is due; at the end of an epoch one comes anyway."""
        late = self.seconds is not None and time.monotonic() - self.last >= self.seconds
        told, failed = bool(interruption.requested()), self.trainer.background.failed
        self.stopping, late, failed = in_any(self.trainer.machine, told, late, failed)
        if failed:
            self.trainer.wait()  # which says so
        due = self.stopping or late or (self.steps and state.global_step % self.steps == 0)
        ends = float(state.epoch).is_integer() or control.should_training_stop
        if due and not ends:
            control.should_save = True

    def on_save(self, args: Any, state: TrainerState, control: Any, **rest: Any) -> None:
        """End the run here where a signal has come."""
        self.last = time.monotonic()
        told = self.stopping or bool(interruption.requested())
        (self.stopping,) = in_any(self.trainer.machine, told)
        if self.stopping:
            self.trainer.wait()
            raise self.end(state)

    def end(self, state: TrainerState) -> Interrupted:
        """Return what ends the run and says where."""
        return Interrupted(
            f"stopped by {interruption.requested() or 'a signal'} at step {state.global_step} of "
            f"{state.max_steps}, {self.trainer.checkpoint(state.global_step)} written"
        )
