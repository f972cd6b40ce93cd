"""What the optimiser knows of each parameter: its learning rate and whether it decays."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Protocol

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

POSITIONS = re.compile(
    r"(^|\.)(position_embeddings?|pos_embed\w*|embed_positions|wpe|rel_pos\w*|rel_embeddings"
    r"|relative_\w*bias(_table)?|attention_biases|(cls|class|dist|distillation|mask|reg|register)"
    r"_tokens?|class_embedding)(\.|$)"
)
"""Names of embeddings of positions, tables of relative positions, and tokens of the model's own."""


class Pace(Protocol):
    """What training asks of a strategy; `ftkit.strategies.base.Strategy` says what it means."""

    def learning_rates(self, model: nn.Module) -> dict[str, float]:
        """Return by what the learning rate is multiplied, by parameter name."""

    def decays(self, name: str) -> bool:
        """Return whether weight decay may act on this parameter."""

    def unfreezing(self, model: nn.Module) -> list[list[str]]:
        """Return the groups of parameters that begin to move one epoch after the other."""


def parameter_groups(
    strategy: Pace,
    model: nn.Module,
    learning_rate: float,
    weight_decay: float,
    decaying: Collection[str],
) -> list[dict[str, Any]]:
    """Return the groups of an optimiser: what moves, by learning rate and by weight decay.

    What has the learning rate itself stands first: its rate is the one that is logged.

    Args:
        decaying: names of the parameters that `weight_decay` is for.

    Raises:
        ModelError: the strategy goes by the order of layers, and the model has none.
    """
    factors = strategy.learning_rates(model)
    found: dict[tuple[float, bool], list[nn.Parameter]] = {(1.0, True): [], (1.0, False): []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            key = factors.get(name, 1.0), name in decaying
            found.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": learning_rate * factor,
            "weight_decay": weight_decay if decays else 0.0,
        }
        for (factor, decays), parameters in found.items()
    ]


def decaying_names(strategy: Pace, model: nn.Module) -> list[str]:
    """Return the names of the parameters that weight decay is for: matrices and kernels.

    Biases and scales of norms have one dimension. Positions and tokens of the model's own, as the
    class token, stand in a sum with what the input gives, and are not decayed either: timm's models
    name theirs (`no_weight_decay`), those of transformers are known by their usual names. The
    strategy may spare others.
    """
    timm = getattr(model, "timm_model", None)
    told: set[str] = getattr(timm, "no_weight_decay", set)()
    spared = {f"timm_model.{name}" for name in told}
    return [
        name
        for name, parameter in model.named_parameters()
        if parameter.ndim > 1
        and name not in spared
        and strategy.decays(name)
        and (".lora_" in name or not POSITIONS.search(name))
    ]


def rates_and_decays(optimiser: torch.optim.Optimizer) -> list[tuple[float, float]]:
    """Return peak learning rate and weight decay of each group of parameters, once scheduled."""
    return [(group["initial_lr"], group["weight_decay"]) for group in optimiser.param_groups]


def keep_rates_and_decays(
    optimiser: torch.optim.Optimizer, schedule: LambdaLR, wanted: list[tuple[float, float]]
) -> None:
    """Put back what `rates_and_decays` gave before a checkpoint's states were loaded.

    It is what the checkpoint has, or what --resume-anyway has changed.
    """
    schedule.base_lrs = [rate for rate, _ in wanted]
    groups, factors = optimiser.param_groups, schedule.lr_lambdas
    for group, factor, (rate, decay) in zip(groups, factors, wanted, strict=True):
        now = rate * factor(schedule.last_epoch)
        group |= {"initial_lr": rate, "lr": now, "weight_decay": decay}
