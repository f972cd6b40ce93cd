"""Backbones: one loader for Transformers and CNNs, and what can be told from a model's structure.

timm's models load through transformers' TimmWrapper, so both families come from the same call, from
the Hub, a local folder, or the embedded weights.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any, cast

import torch
from peft.utils import ModulesToSaveWrapper
from torch import nn
from transformers import AutoConfig, GenerationMixin, PreTrainedModel

from ftkit.backbones.checks import check_body, check_kind, check_weights
from ftkit.backbones.embedded import embedded_backbone
from ftkit.errors import ModelError
from ftkit.hub.download import fetch
from ftkit.hub.errors import loading_errors
from ftkit.hub.names import PREFIX, is_hub_id
from ftkit.machine import memory
from ftkit.recipe import Backbone
from ftkit.runs.finished import require_verified

log = logging.getLogger(__name__)


def load_model(
    backbone: Backbone,
    label_names: tuple[str, ...],
    seed: int,
    task: Any,
) -> tuple[PreTrainedModel, Any]:
    """Return (model with a head for these classes, its processor), in float32 on the CPU.

    The head is new unless the backbone was trained on the same class names in the same order, or
    the task needs none.

    Args:
        seed: of the new head's weights.
        task: `ftkit.tasks.base.Task`, which says by which classes it is loaded.

    Raises:
        ModelError: it cannot be loaded, or lacks weights outside its head.
        HubError: it is on the Hub, and the Hub does not give it.
    """
    # transformers else asks a service elsewhere, with the token, to convert pickled weights
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
    name, auto = source_of(backbone), task.auto
    where = {"trust_remote_code": backbone.trust_remote_code}
    if backbone.trust_remote_code:
        log.warning("backbone '%s': Python code that comes with it may run", backbone.id)
    torch.manual_seed(seed)
    check_weights(name, backbone)
    with loading_errors("backbone", backbone.id, ModelError):
        was = AutoConfig.from_pretrained(name, **where)
        check_kind(name, backbone, was, task.settings, auto.known)
        settings = task.head_settings(label_names) if auto.new_head else {}
        config = AutoConfig.from_pretrained(name, **settings, **where)
        if getattr(config, "model_args", {}) is None:
            config.model_args = {}  # so that timm, too, reads the config.json that will be saved
        options = auto.processor_options or {}
        processor = auto.processor.from_pretrained(name, **where, **options)
        if backbone.image_size is not None:
            processor = _resized(processor, config, backbone.image_size)
        if task.settings.noun == "texts" and processor.pad_token is None:
            processor.pad_token = processor.eos_token  # as GPT-like models are padded
            if auto.new_head:  # which stands on the last token that is no padding
                config.pad_token_id = processor.pad_token_id
        _require_memory(backbone, auto, config)
        model, loading = auto.model.from_pretrained(
            name,
            config=config,
            dtype=torch.float32,
            use_safetensors=None if backbone.allow_pickle else True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **where,
        )
    if is_hub_id(backbone.id):
        model.name_or_path = backbone.id  # not the folder of this machine's cache
    head = new_head(model)
    check_body(backbone, loading, head)
    new = auto.new_head and list(was.id2label.values()) != list(label_names)
    cast(Any, model).keeps_head = not new
    if new:
        for part in head:
            for module in model.get_submodule(part).modules():
                if isinstance(module, nn.Linear):
                    nn.init.trunc_normal_(module.weight, std=0.02)
                    if module.bias is not None:
                        nn.init.zeros_(module.bias)
    task.write_into(model, processor, backbone.id)
    task.check_forward(model, processor, backbone)
    return model.eval(), processor


def _require_memory(backbone: Backbone, auto: Any, config: Any) -> None:
    """Refuse a backbone whose parameters alone cannot be held, before any of them is."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        shapes = auto.model.from_config(config, trust_remote_code=backbone.trust_remote_code)
    count = sum(parameter.numel() for parameter in shapes.parameters())
    what = f"backbone '{backbone.id}': {count:,} parameters"
    memory.require(memory.FLOAT * count, what, "take a smaller one")


def source_of(backbone: Backbone) -> str:
    """Return the local folder that the backbone is loaded from, fetched from the Hub if need be.

    Raises:
        ModelError: it is a local path where there is no model.
        RunError: it is the model of a run, and not as that verified it.
        HubError: the Hub does not give it.
    """
    if backbone.id.startswith(PREFIX):
        return str(embedded_backbone(backbone.id.removeprefix(PREFIX)))
    path = Path(os.path.expanduser(backbone.id))
    if path.is_dir():
        if not (path / "config.json").exists():
            raise ModelError(f"backbone '{backbone.id}': there is no config.json in this folder")
        require_verified(path)
        return str(path.resolve())
    if backbone.id.startswith(("/", ".", "~")):
        raise ModelError(f"backbone '{backbone.id}': there is no such folder")
    allowed = {"allow_pickle": backbone.allow_pickle}
    allowed["trust_remote_code"] = backbone.trust_remote_code
    return str(fetch(backbone.id, backbone.revision, **allowed))


def head_names(model: PreTrainedModel) -> list[str]:
    """Return the names of the modules that turn features into classes.

    Told by structure: what timm calls the classifier, else what lies outside the base model.

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
        raise ModelError(f"{type(model).__name__} has no classification head that can be told")
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


def _resized(processor: Any, config: Any, size: int) -> Any:
    """Return the processor for square images of that side; tells `config` where timm keeps it."""
    timm = getattr(config, "pretrained_cfg", None)
    if timm is not None:
        timm["input_size"] = [timm["input_size"][0], size, size]
        return type(processor)(pretrained_cfg=timm, architecture=config.architecture)
    crop = getattr(processor, "crop_size", None)
    if processor.size.get("shortest_edge"):
        margin = processor.size["shortest_edge"] / crop["height"] if crop else 1.0
        processor.size = {"shortest_edge": round(size * margin)}
    else:
        processor.size = {"height": size, "width": size}
    if crop:
        processor.crop_size = {"height": size, "width": size}
    return processor
