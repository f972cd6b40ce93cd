"""Losses and gradients that must be numbers, looked at when a GPU need not wait for it.

A number that is read from a GPU at once has it wait for everything before, and then idle until the
next kernels are launched, in every step twice. So there it is copied in passing and looked at a
step later, and at the latest before a checkpoint is written or the weights are measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from ftkit.errors import TrainingError


class Watch:
    """Numbers that are yet to be looked at, each with what to say if it is none."""

    def __init__(self, late: bool) -> None:
        """Look at each number a step after it came, or at once."""
        self.late = late
        self.waiting: list[
            tuple[torch.Tensor, torch.cuda.Event | None, Callable[[float], str]]
        ] = []

    def note(self, value: torch.Tensor, complaint: Callable[[float], str]) -> None:
        """Take a number down, and look at it where that is not for later.

        Args:
            complaint: from the number to the message of the error, which tells of this step.

        Raises:
            TrainingError: it is NaN or infinite.
        """
        arrived = None
        if self.late and value.is_cuda:
            value, arrived = value.to("cpu", non_blocking=True), torch.cuda.Event()
            arrived.record()
        self.waiting.append((value, arrived, complaint))
        if not self.late:
            self.look()

    def look(self) -> None:
        """Look at all that was taken down.

        Raises:
            TrainingError: a number is NaN or infinite.
        """
        waiting, self.waiting = self.waiting, []
        for value, arrived, complaint in waiting:
            if arrived is not None:
                arrived.synchronize()
            if not math.isfinite(number := float(value)):
                raise TrainingError(complaint(number))
