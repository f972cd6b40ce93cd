"""What the optimiser is told of each parameter: its learning rate and whether it decays.

`learning_rates(strategy, model)` has an implementation for each strategy that does not let all move
alike.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import singledispatch
from typing import Any

from torch import nn

from ftkit.layers import layer_groups
from ftkit.recipe import Full, Lora

POSITIONS = re.compile(
    r"(^|\.)(position_embeddings?|pos_embed\w*|embed_positions|wpe|rel_pos\w*|rel_embeddings"
    r"|relative_\w*bias(_table)?|attention_biases|(cls|class|dist|distillation|mask|reg|register)"
    r"_tokens?|class_embedding)(\.|$)"
)
"""Names of embeddings of positions, tables of relative positions, and tokens of the model's own."""


def parameter_groups(
    strategy: Any, model: nn.Module, weight_decay: float, decaying: Collection[str]
) -> list[dict[str, Any]]:
    """Return the groups of an optimiser: what moves, by learning rate and by weight decay.

    What has the strategy's own learning rate stands first: its rate is the one that is logged.

    Args:
        decaying: names of the parameters that `weight_decay` is for.
    """
    factors = learning_rates(strategy, model)
    found: dict[tuple[float, bool], list[nn.Parameter]] = {(1.0, True): [], (1.0, False): []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            key = factors.get(name, 1.0), name in decaying
            found.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": strategy.learning_rate * factor,
            "weight_decay": weight_decay if decays else 0.0,
        }
        for (factor, decays), parameters in found.items()
    ]


def decaying_names(strategy: Any, model: nn.Module) -> list[str]:
    """Return the names of the parameters that weight decay is for: matrices and kernels.

    Biases and scales of norms have one dimension. DoRA's lengths of kernels have four, three of
    them of size one. Positions and tokens of the model's own, as the class token, stand in a sum
    with what the input gives, and are not decayed either: timm's models name theirs
    (`no_weight_decay`), those of transformers are told by their usual names. PiSSA's A and B hold
    the principal part of the pretrained weight, which decay would shrink; its authors train
    without (Meng et al. 2024).
    """
    timm = getattr(model, "timm_model", None)
    told: set[str] = getattr(timm, "no_weight_decay", set)()
    spared = {f"timm_model.{name}" for name in told}
    principal = isinstance(strategy, Lora) and strategy.init == "pissa"
    return [
        name
        for name, parameter in model.named_parameters()
        if parameter.ndim > 1
        and name not in spared
        and "lora_magnitude_vector" not in name
        and not (principal and (".lora_A." in name or ".lora_B." in name))
        and (".lora_" in name or not POSITIONS.search(name))
    ]


@singledispatch
def learning_rates(strategy: Any, model: nn.Module) -> dict[str, float]:
    """Return, by name, by what the strategy's learning rate is multiplied; 1 where it is not named.

    Raises:
        ModelError: the strategy goes by the order of layers, and the model has none.
    """
    return {}


@learning_rates.register
def _(strategy: Full, model: nn.Module) -> dict[str, float]:
    """Layer-wise decay: decay ** depth, 0 for the head (Howard and Ruder 2018, section 3.2)."""
    if strategy.layer_decay is None:
        return {}
    groups = enumerate(layer_groups(model))
    return {name: strategy.layer_decay**depth for depth, names in groups for name in names}


@learning_rates.register
def _(strategy: Lora, model: nn.Module) -> dict[str, float]:
    """LoRA+: B, which begins at zero, moves faster than A (Hayou et al. 2024, arXiv 2402.12354)."""
    if strategy.lora_plus is None:
        return {}
    return {name: strategy.lora_plus for name, _ in model.named_parameters() if ".lora_B." in name}
