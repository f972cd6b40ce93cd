"""What is in train mode while a part of a model trains, and what stays in eval mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def set_training_mode(model: nn.Module) -> None:
    """Put what moves into train mode, and everything that is frozen into eval mode.

    A module without parameters counts as frozen where a part of the model is; LoRA's own dropout
    does not.
    """
    for module, moves in training_modes(model):
        module.training = moves


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
