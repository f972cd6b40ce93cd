"""Gradual unfreezing: in each epoch one group of layers more moves, from the head down.

Howard and Ruder 2018, "Universal Language Model Fine-tuning for Text Classification", section 3.3.
What does not move yet is frozen in every respect, in eval mode too, and has no moments in the
optimiser.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from ftkit.training.modes import training_modes

log = logging.getLogger(__name__)


class Unfreezing:
    """Which modules are frozen in an epoch; always the same ones where there are no groups.

    `frozen` are the modules to keep in eval mode in the step that is taken.
    """

    def __init__(self, groups: list[list[str]], model: nn.Module, epochs: int, alone: bool) -> None:
        """See the class.

        Args:
            groups: names of parameters, those first that move from the first epoch on.
            alone: whether this is the only process. DistributedDataParallel waits for a gradient of
                every parameter that it knew at the start, so there they are computed and dropped.
        """
        self.model, self.alone, self.known = model, alone, 0
        named = dict(model.named_parameters())
        self.groups = [[named[name] for name in group] for group in groups]
        self.frozen = _frozen(model)
        if self.groups:
            log.info(
                "unfreezing: one of %d groups of layers more in each epoch%s",
                len(self.groups),
                f"; {epochs} epochs move {epochs}" if epochs < len(self.groups) else "",
            )

    @contextmanager
    def step(self, epoch: int) -> Iterator[None]:
        """Take a step of this epoch (from 0) inside: what is frozen in it has no gradient after."""
        still = [p for group in self.groups[epoch + 1 :] for p in group if p.requires_grad]
        for parameter in still:
            parameter.requires_grad_(False)
        if self.groups and epoch + 1 != self.known:
            self.frozen, self.known = _frozen(self.model), epoch + 1
        for parameter in still:
            parameter.requires_grad_(not self.alone)
        try:
            yield
        finally:
            for parameter in still:
                parameter.requires_grad_(True)
                parameter.grad = None


def _frozen(model: nn.Module) -> list[nn.Module]:
    return [module for module, moves in training_modes(model) if not moves]
