"""What a model's structure shows: its head, its parameters, whether it is a CNN."""

from __future__ import annotations

from typing import Any

import torch
from peft.utils import ModulesToSaveWrapper
from torch import nn
from transformers import GenerationMixin, PreTrainedModel

from ftkit.errors import ModelError


def head_names(model: PreTrainedModel) -> list[str]:
    """Return the names of the modules that turn features into classes.

    Found by structure: what timm calls the classifier, else what lies outside the base model.

    Raises:
        ModelError: there is no such module.
    """
    if isinstance(model, GenerationMixin):
        raise ModelError(
            f"{type(model).__name__} writes texts by what it was pretrained with, there is no new "
            f"head to train alone; use --strategy full or lora"
        )
    timm = getattr(model, "timm_model", None)
    if timm is not None:
        classifier = timm.get_classifier()
        parts = classifier if isinstance(classifier, (tuple, list)) else [classifier]
        names = [name for name, module in model.named_modules() if any(module is p for p in parts)]
    else:
        names = [name for name, _ in model.named_children() if name != model.base_model_prefix]
    names = [name for name in names if any(True for _ in model.get_submodule(name).parameters())]
    if not names:
        raise ModelError(f"{type(model).__name__} has no classification head that can be found")
    return names


def pooler_name(model: PreTrainedModel) -> str:
    """Return the name of the layer between the body's first token and the head.

    Raises:
        ModelError: there is none.
    """
    name = f"{model.base_model_prefix}.pooler"
    if not any(True for found, _ in model.named_modules() if found == name):
        raise ModelError(f"{type(model).__name__} has no pooler; leave strategy.pooler out")
    return name


def new_head(model: PreTrainedModel) -> list[str]:
    """Return the head's names, none of a model that writes texts: it keeps all it has."""
    return [] if isinstance(model, GenerationMixin) else head_names(model)


def begins_trained(task: Any, model: nn.Module) -> bool:
    """Return whether the model can do the task before training: its head was trained for it.

    So it is with models that write texts, with a backbone of the same classes, and with LP-FT's
    second stage. Such a model is validated before the first step, and kept if nothing is better.
    """
    return task.writes or bool(getattr(model, "keeps_head", False))


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Return (all parameters, those that are trained).

    Beside a new head that belongs to an adapter, peft keeps the head as it was. It plays no part
    and is not counted.
    """
    idle = {
        parameter
        for module in model.modules()
        if isinstance(module, ModulesToSaveWrapper)
        for parameter in module.original_module.parameters()
    }
    used = [parameter for parameter in model.parameters() if parameter not in idle]
    return sum(p.numel() for p in used), sum(p.numel() for p in used if p.requires_grad)


def place(model: nn.Module, channels_last: bool | None, device: torch.device) -> None:
    """Move the model to its device, convolutions in channels_last format (None: for CNNs)."""
    wanted = is_convolutional(model) if channels_last is None else channels_last
    model.to(device)
    model.to(memory_format=torch.channels_last if wanted else torch.contiguous_format)
    for name, parameter in model.named_parameters():
        if ".lora_" in name:  # peft's DoRA takes views of them
            parameter.data = parameter.data.contiguous()


def is_convolutional(model: nn.Module) -> bool:
    """True where convolutions after the first one do most of the spatial work (a CNN)."""
    spatial = [m for m in model.modules() if isinstance(m, nn.Conv2d) and max(m.kernel_size) > 1]
    return len(spatial) > 3
