"""Which parameters move: `adapt(strategy, model)`, one implementation for each strategy.

What does not move stays as it is in every respect: frozen layers are kept in eval mode, so that
BatchNorm statistics do not drift and dropout of frozen parts is off.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import singledispatch
from typing import Any, cast

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ftkit import memory
from ftkit.errors import ModelError
from ftkit.models import head_names, new_head, pooler_name
from ftkit.pissa import start_from_principal
from ftkit.recipe import Full, HeadOnly, Lora, Lpft

log = logging.getLogger(__name__)


@singledispatch
def adapt(strategy: Any, model: PreTrainedModel) -> PreTrainedModel | PeftModel:
    """Return the model with exactly the parameters of the strategy set to move.

    Raises:
        ModelError: the model has no layers that the strategy needs.
    """
    raise TypeError(f"no strategy of type {type(strategy).__name__}")


@adapt.register
def _(strategy: Full, model: PreTrainedModel) -> PreTrainedModel:
    # Marian's sinusoids are computed: no file holds them
    computed = getattr(model, "_keys_to_ignore_on_save", None) or ()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in computed)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            cast(Any, module).keeps_statistics = strategy.keep_statistics
    return model


@adapt.register
def _(strategy: HeadOnly, model: PreTrainedModel) -> PreTrainedModel:
    model.requires_grad_(False)
    names = head_names(model) + ([pooler_name(model)] if strategy.pooler else [])
    heads = [model.get_submodule(name) for name in names]
    for head in heads:
        head.requires_grad_(True)
    if strategy.solver == "lbfgs" and not _is_one_linear_layer(heads):
        found = ", ".join(type(head).__name__ for head in heads)
        raise ModelError(
            f"strategy.solver = 'lbfgs': needs a head of one Linear layer, {type(model).__name__} "
            f"has {found}; use --set strategy.solver=adamw"
        )
    return model


def _is_one_linear_layer(heads: list[nn.Module]) -> bool:
    return len(heads) == 1 and isinstance(heads[0], nn.Linear)


def suited_probe(strategy: Lpft, model: PreTrainedModel) -> HeadOnly:
    """Return LP-FT's probe as this model's head can be trained.

    L-BFGS, the default, needs a head of one Linear layer; RoBERTa, DistilBERT and ELECTRA have two.
    AdamW trains any.
    """
    probe = strategy.probe
    if probe.solver != "lbfgs" or (
        not probe.pooler
        and _is_one_linear_layer([model.get_submodule(name) for name in head_names(model)])
    ):
        return probe
    log.info(
        "strategy.probe.solver = 'lbfgs' is for a head of one Linear layer, which %s has not; the "
        "probe takes adamw",
        type(model).__name__,
    )
    return probe.model_copy(update={"solver": "adamw"})


@adapt.register
def _(strategy: Lpft, model: PreTrainedModel) -> PreTrainedModel | PeftModel:
    adapt(suited_probe(strategy, model), model)  # refuses a head that the probe cannot train
    return adapt(Full(keep_statistics=strategy.keep_statistics), model)


@adapt.register
def _(strategy: Lora, model: PreTrainedModel) -> PeftModel:
    head = new_head(model)
    targets = lora_targets(model, head)
    turned = isinstance(model.get_submodule(targets[0]), Conv1D)
    if strategy.targets is not None:
        targets = [name for name in targets if name.endswith(strategy.targets)]
        if not targets:
            raise ModelError(
                f"strategy.targets = {', '.join(strategy.targets)}: no layer's name ends so; "
                f"layers that can be adapted are {', '.join(lora_targets(model, head)[:8])}, ..."
            )
    _require_memory(strategy.rank, model, targets)
    config = LoraConfig(
        r=strategy.rank,
        lora_alpha=strategy.alpha,  # type: ignore[arg-type]
        use_rslora=strategy.rslora,
        use_dora=strategy.dora,
        lora_dropout=strategy.dropout,
        target_modules=targets,
        fan_in_fan_out=turned,  # how GPT-2's layers keep their weights
        # a new head belongs to the adapter, which is worthless without it; one that writes texts
        # is not new, and often the same matrix as the input's
        modules_to_save=head or None,
    )
    adapted = get_peft_model(model, config)
    if strategy.init == "pissa":
        start_from_principal(adapted)
    return adapted


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

    Told by structure: every Linear (GPT-2's Conv1D is one, too), and every Conv2d of one group
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
