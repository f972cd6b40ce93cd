"""The journal of a training: log.jsonl, one line on the screen per epoch, and the clock."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import ProgressCallback

log = logging.getLogger(__name__)


class Progress(ProgressCallback):
    """A bar of training steps on the terminal; the figures are the journal's."""

    def on_log(self, *arguments: Any, **rest: Any) -> None:
        """Say nothing: Trainer's bar would print every entry as a dict."""


class Journal(TrainerCallback):
    """Writes a line to log.jsonl for every logging step, and measures training and validation.

    A line has step, epoch and seconds, and then either loss and learning_rate or the validation
    figures under validation_*. A resumed run goes on where its checkpoint was taken.
    """

    def __init__(self, file: Path, writes: bool, checkpoint: Path | None) -> None:
        self.file, self.writes = file, writes
        self.train_seconds = self.validation_seconds = 0.0
        kept: list[str] = []
        if checkpoint is not None and file.exists():
            last_step = int(checkpoint.name.rpartition("-")[2])
            for line in file.read_text(encoding="utf-8").splitlines():
                entry = json.loads(line)
                if entry["step"] > last_step:
                    break
                kept.append(line + "\n")
                self.train_seconds = entry["seconds"]
                self.validation_seconds += entry.get("validation_seconds", 0.0)
        if writes:
            file.write_text("".join(kept), encoding="utf-8")
        self.mark = time.perf_counter()

    def _lap(self) -> float:
        now = time.perf_counter()
        lap, self.mark = now - self.mark, now
        return lap

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Start the clock."""
        self.mark = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Count the time since the last mark as training."""
        self.train_seconds += self._lap()

    def on_save(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Count writing a checkpoint as training."""
        self.train_seconds += self._lap()

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict | None = None, **rest: Any
    ) -> None:
        """Write the line."""
        logs = logs or {}
        entry = {
            "step": state.global_step,
            "epoch": round(state.epoch or 0, 4),
            "seconds": round(self.train_seconds, 3),
        }
        if "eval_loss" in logs:
            lap = self._lap()
            self.validation_seconds += lap
            figures = {
                k.replace("eval_", "validation_"): v for k, v in logs.items() if "eval_" in k
            }
            entry |= figures | {"validation_seconds": round(lap, 3)}
            log.info(
                "epoch %.3g of %.3g: validation loss %.4f, accuracy %.4f (step %d, %.0f s)",
                state.epoch,
                args.num_train_epochs,
                logs["eval_loss"],
                logs["eval_accuracy"],
                state.global_step,
                self.train_seconds,
            )
        elif "loss" in logs:
            entry |= {"loss": logs["loss"], "learning_rate": logs["learning_rate"]}
        else:
            return
        if self.writes:
            append(self.file, entry)


def append(file: Path, entry: dict[str, Any]) -> None:
    """Write one line at the end of log.jsonl."""
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(entry) + "\n")
