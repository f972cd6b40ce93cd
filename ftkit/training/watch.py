"""Losses and gradients that must be numbers, looked at when a GPU need not wait for it.

A number that is read from a GPU at once has it wait for everything before, and then idle until the
next kernels are launched, in every step twice. So there it is copied in passing and looked at when
the kernels of the next step are launched already, and at the latest before a line is logged, a
checkpoint is written, the weights are measured, or training ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ftkit.errors import TrainingError


@dataclass(frozen=True)
class Note:
    """A number that is yet to be looked at."""

    step: int
    value: torch.Tensor
    arrived: torch.cuda.Event | None
    """When the number lies on the host; None: it does already."""
    complaint: Callable[[float], str]


class Watch:
    """Numbers that are yet to be looked at, each with what to say if it is none."""

    def __init__(self, late: bool) -> None:
        """Look at each number when it is asked for, or at once."""
        self.late = late
        self.waiting: list[Note] = []

    def note(self, value: torch.Tensor, complaint: Callable[[float], str], step: int = 0) -> None:
        """Take a number down, and look at it where that is not for later.

        Args:
            complaint: from the number to the message of the error, which tells of this step.
            step: of the optimiser, in which the number came; they never fall.

        Raises:
            TrainingError: it is NaN or infinite.
        """
        arrived = None
        if self.late:
            value, arrived = on_its_way(value)
        self.waiting.append(Note(step, value, arrived, complaint))
        if not self.late:
            self.look()

    def look(self, before: int | None = None) -> None:
        """Look at what was taken down before that step; None: at all.

        Raises:
            TrainingError: a number is NaN or infinite.
        """
        while self.waiting and (before is None or self.waiting[0].step < before):
            note = self.waiting.pop(0)
            if note.arrived is not None:
                note.arrived.synchronize()
            if not math.isfinite(number := float(note.value)):
                self.waiting.clear()
                raise TrainingError(note.complaint(number))


def on_its_way(value: torch.Tensor) -> tuple[torch.Tensor, torch.cuda.Event | None]:
    """Return the number on the host, and when it has come there; None where it lies there."""
    if not value.is_cuda:
        return value, None
    value, arrived = value.to("cpu", non_blocking=True), torch.cuda.Event()
    arrived.record()
    return value, arrived
