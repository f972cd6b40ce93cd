"""Where in a run a checkpoint was taken: `Progress`, which stands in its progress.json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ftkit.runs.journal import Position

PROGRESS = "progress.json"


@dataclass(frozen=True)
class Progress:
    """Where in a run a checkpoint was taken."""

    step: int
    """Optimiser steps done."""
    evaluated: bool
    """Not so: the epoch is at its end, and its validation is still to come."""
    stopped: bool
    """Training is over: by the number of steps, or early."""
    waited: int
    """Validations without gain, for early stopping."""
    best_step: int | None
    """Step of the best validation; its checkpoint holds the best weights."""
    logged_step: int
    """Step of the last line of log.jsonl with a training loss."""
    lines: int
    train_seconds: float
    validation_seconds: float
    precision: str
    channels_last: bool
    processes: int

    @property
    def position(self) -> Position:
        """Where log.jsonl was."""
        return Position(self.lines, self.train_seconds, self.validation_seconds)

    @classmethod
    def read(cls, checkpoint: Path) -> Progress:
        """Return what lies in a whole checkpoint."""
        return cls(**json.loads((checkpoint / PROGRESS).read_text(encoding="utf-8")))
