"""The fresh process that reads a saved model; it is started before there is one, and waits.

This file imports no torch, so that a command starts the process before it imports torch itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ftkit.machine.fresh_process import FreshProcess, waiting_for
from ftkit.machine.terminal import rank
from ftkit.recipe import Mlp


@contextmanager
def fresh_reader(backbone: Any) -> Iterator[FreshProcess | None]:
    """Have a process import what the saved model of such a backbone needs; ends it afterwards.

    Args:
        backbone: the recipe's settings.

    Yields:
        the process, on rank 0; None on the others.
    """
    if rank() != 0:
        yield None
        return
    waiting = waiting_for(module_of(perceptron=isinstance(backbone, Mlp)))
    try:
        yield waiting
    finally:
        waiting.end()


def module_of(perceptron: bool) -> str:
    """Return the module that reads a saved model."""
    return f"ftkit.finetuning.reload{'_perceptron' if perceptron else ''}"
