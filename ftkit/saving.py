"""Saving: the fine-tuned model as an ordinary Hugging Face model folder."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import PreTrainedModel

from ftkit.recipe import Recipe


def save(model: PreTrainedModel | PeftModel, processor: Any, recipe: Recipe, folder: Path) -> None:
    """Write weights (safetensors), config and processor into `folder`.

    LoRA with `merge` writes the plain merged model there and the adapter into adapter/; without it
    the adapter alone. The model itself is left as it is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not isinstance(model, PeftModel):
        model.save_pretrained(folder)
    elif recipe.strategy.kind == "lora" and recipe.strategy.merge:
        _save_adapter(model, recipe, folder / "adapter")
        processor.save_pretrained(folder / "adapter")
        merged: Any = copy.deepcopy(model).merge_and_unload()
        merged.save_pretrained(folder)
    else:
        _save_adapter(model, recipe, folder)
    processor.save_pretrained(folder)


def _save_adapter(model: PeftModel, recipe: Recipe, folder: Path) -> None:
    """Write adapter, head, and the config that the backbone must be loaded with."""
    model.peft_config["default"].revision = recipe.backbone.revision
    model.save_pretrained(str(folder))
    (folder / "README.md").unlink()  # peft's empty template; the card stands in model/
    base: Any = model.get_base_model()
    base.config.save_pretrained(folder)


def weight_bytes(folder: Path) -> int:
    """Return the size of the weights in `folder` itself, an adapter beside them left out."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))
