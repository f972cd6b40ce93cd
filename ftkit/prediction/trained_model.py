"""The model that a run saved, loaded to answer: a plain one, or an adapter on its backbone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoConfig, PreTrainedModel

from ftkit.backbones.pretrained import source_of
from ftkit.errors import ModelError
from ftkit.hub.errors import loading_errors
from ftkit.recipe import Backbone
from ftkit.tasks.base import Task


def load_trained(
    folder: Path, backbone: Backbone, task: Task
) -> tuple[PreTrainedModel | PeftModel, Any]:
    """Return (model, its processor) as a run saved them, in float32 on the CPU, in eval mode.

    Args:
        folder: model/ of a run: a plain model, or an adapter for `backbone`.
        task: `ftkit.tasks.base.Task`, which says by which classes it is loaded.

    Raises:
        ModelError: it cannot be loaded.
        HubError: the backbone of an adapter is on the Hub, and the Hub does not give it.
    """
    auto, where = task.auto, {"trust_remote_code": backbone.trust_remote_code}
    with loading_errors("model", str(folder), ModelError):
        processor = auto.processor.from_pretrained(folder, **where)
        if not (folder / "adapter_config.json").exists():
            model = auto.model.from_pretrained(
                folder, dtype=torch.float32, use_safetensors=True, **where
            )
            return model.eval(), processor
        _check_adapter(folder)
        base = auto.model.from_pretrained(
            source_of(backbone),
            config=AutoConfig.from_pretrained(folder, **where),
            dtype=torch.float32,
            use_safetensors=None if backbone.allow_pickle else True,
            ignore_mismatched_sizes=True,
            **where,
        )
        return PeftModel.from_pretrained(base, str(folder)).eval(), processor


def _check_adapter(folder: Path) -> None:
    """Refuse an adapter that no run leaves. peft would read pickled weights, or fetch others.

    Raises:
        ModelError: so it is.
    """
    settings = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    if settings.get("peft_type") != "LORA" or settings.get("megatron_config") is not None:
        raise ModelError(f"adapter '{folder}': it is not a LoRA adapter as ftkit trains them")
    if not (folder / "adapter_model.safetensors").is_file():
        raise ModelError(f"adapter '{folder}': there is no adapter_model.safetensors in it")
