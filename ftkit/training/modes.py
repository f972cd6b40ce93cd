"""What of a model is frozen in a step, and so stays in eval mode: always the same, or by epoch."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

log = logging.getLogger(__name__)


@contextmanager
def keeping_statistics_of_one(model: nn.Module, rows: int) -> Iterator[None]:
    """Have BatchNorm keep its statistics inside the block where a single row goes through it.

    One row has none of its own, and torch refuses it where its features are one pixel.
    """
    found = model.modules() if rows == 1 else ()
    moving = [norm for norm in found if isinstance(norm, _BatchNorm) and norm.training]
    for norm in moving:
        norm.training = False
    try:
        yield
    finally:
        for norm in moving:
            norm.training = True


def training_modes(model: nn.Module) -> list[tuple[nn.Module, bool]]:
    """Return every module of the model with whether it is in train mode while training.

    BatchNorm that keeps its statistics is not, though its scale and shift may move.
    """
    return [
        (module, moves and not getattr(module, "keeps_statistics", False))
        for module, moves in _moving(model)
    ]


def _moving(model: nn.Module) -> list[tuple[nn.Module, bool]]:
    """Return every module of the model with whether something in it moves."""
    trainable = [parameter.requires_grad for parameter in model.parameters()]
    if all(trainable) or not any(trainable):
        moves = bool(trainable) and all(trainable)
        return [(module, moves) for module in model.modules()]
    found = [(model, True)]
    for name, child in model.named_children():
        if name == "lora_dropout":
            found += [(module, True) for module in child.modules()]
        else:
            found += _moving(child)
    return found


class Unfreezing:
    """Gradual unfreezing: in each epoch one group of layers more moves, from the head down.

    Howard and Ruder 2018, "Universal Language Model Fine-tuning for Text Classification", section
    3.3. What does not move yet is frozen in every respect, in eval mode too, and has no moments in
    the optimiser. Without groups the same modules are frozen in every epoch.

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
            few = f"; {epochs} epochs move {epochs}" if epochs < len(groups) else ""
            log.info(f"unfreezing: one of {len(groups)} groups of layers more in each epoch{few}")

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
