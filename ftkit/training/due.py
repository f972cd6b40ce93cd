"""When a checkpoint is due in a training that is no Trainer's, and its end where a signal came."""

from __future__ import annotations

import time
from pathlib import Path

from ftkit.machine.interruption import Interrupted, requested
from ftkit.machine.runtime import Machine, in_any
from ftkit.recipe import Train


class Due:
    """Says when to write a checkpoint; every rank must ask at the same steps."""

    def __init__(self, settings: Train, machine: Machine, step: int = 0) -> None:
        """Begin to count now.

        Args:
            step: at which the training begins or goes on.
        """
        self.machine = machine
        self.every, self.seconds = settings.checkpoint_cadence()
        self.at, self.step, self.told = time.monotonic(), step, False

    def now(self, step: int, least: float | None = None) -> bool:
        """Return whether to write one at this step. Every rank must call this.

        Args:
            least: seconds since the last one from which it is due here though nobody asked for it.
        """
        since = time.monotonic() - self.at
        late = any(since >= each for each in (self.seconds, least) if each is not None)
        self.told, late = in_any(self.machine, bool(requested()), late)
        return self.told or late or (self.every is not None and step - self.step >= self.every)

    def written(self, step: int, checkpoint: Path) -> None:
        """Note that it is written. Every rank must call this.

        Raises:
            Interrupted: a signal has come.
        """
        self.at, self.step = time.monotonic(), step
        if self.told:
            name = requested() or "a signal"
            raise Interrupted(f"stopped by {name} at step {step}, {checkpoint} written")
