"""LoRA: low-rank updates beside frozen weights, and the new head (Hu et al. 2021)."""

from __future__ import annotations

import logging
import math
from typing import Any, cast

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import Conv1D, PreTrainedModel

from ftkit.backbones.pooling import pooling_parts
from ftkit.backbones.structure import new_head
from ftkit.errors import ModelError
from ftkit.machine import memory
from ftkit.recipe import Lora
from ftkit.strategies.base import Strategy
from ftkit.strategies.pissa import for_original_backbone, start_from_principal

log = logging.getLogger(__name__)


class LoraStrategy(Strategy):
    """See the head of this file."""

    settings: Lora
    artefacts = 2
    bytes_per_parameter = 5
    """The weights and a little."""

    def adapt(self, model: PreTrainedModel) -> PeftModel:
        """Return the model with updates beside its layers; they and a new head move.

        Raises:
            ModelError: it has no such layers, or none whose names end in `strategy.targets`.
        """
        settings, parts = self.settings, pooling_parts(model)
        kept = [*new_head(model), *parts]
        targets = lora_targets(model, kept)
        turned = isinstance(model.get_submodule(targets[0]), Conv1D)
        if settings.targets is not None:
            targets = [name for name in targets if name.endswith(settings.targets)]
            if not targets:
                raise ModelError(
                    f"strategy.targets = {', '.join(settings.targets)}: no layer's name ends in "
                    f"them; layers that can be adapted are "
                    f"{', '.join(lora_targets(model, kept)[:8])}, ..."
                )
        _require_memory(settings.rank, model, targets)
        config = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,  # type: ignore[arg-type]
            use_rslora=settings.rslora,
            use_dora=settings.dora,
            lora_dropout=settings.dropout,
            target_modules=targets,
            fan_in_fan_out=turned,  # how GPT-2's layers keep their weights
            # a new head belongs to the adapter, which is worthless without it; one that writes
            # texts is not new, and often the same matrix as the input's. So does a new layer
            modules_to_save=kept or None,
        )
        adapted = get_peft_model(model, config)
        for part in parts:
            cast(Any, adapted.base_model.model).get_submodule(part).requires_grad_(False)
        if settings.init == "pissa":
            start_from_principal(adapted)
        return adapted

    def moves(self, model: nn.Module) -> set[str]:
        """Return the names of the updates' parameters, and of the new head's."""
        kept, still = (".lora_", ".modules_to_save."), pooling_parts(model)
        return {
            name
            for name, _ in model.named_parameters()
            if any(part in name for part in kept) and not any(f".{part}." in name for part in still)
        }

    def for_saving(self, model: PeftModel) -> PeftModel:
        """Return the adapter as a plain one, where it began as the principal part of weights."""
        return for_original_backbone(model) if self.settings.init == "pissa" else model

    def learning_rates(self, model: nn.Module) -> dict[str, float]:
        """LoRA+: B, which begins at zero, moves faster (Hayou et al. 2024, arXiv 2402.12354).

        peft's `create_loraplus_optimizer` is not used: it gives every vector, such as the head's
        bias, the rate of B as well.
        """
        factor = self.settings.lora_plus
        if factor is None:
            return {}
        return {name: factor for name, _ in model.named_parameters() if ".lora_B." in name}

    def decays(self, name: str) -> bool:
        """Spare DoRA's lengths and what PiSSA takes from the weights.

        The lengths of kernels have four dimensions, three of them of size one. PiSSA's A and B hold
        the principal part of the pretrained weight, which decay would shrink; its authors train
        without (Meng et al. 2024).
        """
        principal = self.settings.init == "pissa" and (".lora_A." in name or ".lora_B." in name)
        return "lora_magnitude_vector" not in name and not principal


def _require_memory(rank: int, model: nn.Module, targets: list[str]) -> None:
    """Refuse a rank whose updates, (rank, in) and (out, rank), cannot be held."""
    shapes = [cast(Any, model.get_submodule(name)).weight.shape for name in targets]
    new = sum(rank * (shape[0] + math.prod(shape[1:])) for shape in shapes)
    memory.require(
        memory.MOVING * new,
        f"strategy.rank = {rank}: {new:,} new parameters in {len(targets)} layers",
        "give a smaller rank",
    )


def lora_targets(model: PreTrainedModel, head: list[str]) -> list[str]:
    """Return the names of the layers outside the head that low-rank updates are put beside.

    Found by structure: every Linear (GPT-2's Conv1D is one, too), and every Conv2d of one group
    where convolutions hold most of the weights. Depthwise and grouped convolutions are left out:
    their updates cannot be merged.

    Raises:
        ModelError: there is no such layer.
    """
    linear: dict[str, int] = {}
    convolution: dict[str, int] = {}
    skipped, words = 0, model.get_output_embeddings()  # often tied to the input's
    for name, module in model.named_modules():
        inside_head = any(name == part or name.startswith(f"{part}.") for part in head)
        parent = model.get_submodule(name.rpartition(".")[0]) if name else model
        if inside_head or module is words or isinstance(parent, nn.MultiheadAttention):
            continue  # torch's own attention reads its projection's weight without calling it
        if isinstance(module, (nn.Linear, Conv1D)):
            linear[name] = module.weight.numel()
        elif isinstance(module, nn.Conv2d) and module.groups == 1:
            convolution[name] = module.weight.numel()
        elif isinstance(module, nn.Conv2d):
            skipped += 1
    targets = list(linear)
    if sum(convolution.values()) > sum(linear.values()):
        targets += list(convolution)
        if skipped:
            log.info("LoRA leaves out %d grouped convolutions: they cannot be merged", skipped)
    if not targets:
        raise ModelError(f"{type(model).__name__} has no Linear or Conv2d layer outside its head")
    return targets
