"""Saving: the fine-tuned model as an ordinary Hugging Face model folder."""

from __future__ import annotations

import copy
from functools import singledispatch
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import PreTrainedModel

from ftkit.mlp_model import Perceptron, save_perceptron
from ftkit.pissa import for_original_backbone
from ftkit.recipe import Recipe


@singledispatch
def save(model: Any, processor: Any, recipe: Recipe, folder: Path) -> None:
    """Write weights (safetensors), config and processor into `folder`.

    LoRA with `merge` writes the plain merged model there and the adapter into adapter/; without it
    the adapter alone. The model itself is left as it is.
    """
    raise TypeError(f"no way to save a {type(model).__name__}")


@save.register
def _(model: PreTrainedModel, processor: Any, recipe: Recipe, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


@save.register
def _(model: Perceptron, processor: Any, recipe: Recipe, folder: Path) -> None:
    save_perceptron(model, processor, recipe, folder)


@save.register
def _(model: PeftModel, processor: Any, recipe: Recipe, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if recipe.strategy.kind == "lora" and recipe.strategy.merge:
        _save_adapter(model, recipe, folder / "adapter")
        processor.save_pretrained(folder / "adapter")
        merged: Any = copy.deepcopy(model).merge_and_unload()
        merged.save_pretrained(folder)
    else:
        _save_adapter(model, recipe, folder)
    processor.save_pretrained(folder)


def _save_adapter(model: PeftModel, recipe: Recipe, folder: Path) -> None:
    """Write adapter, head, and the config that the backbone must be loaded with."""
    if getattr(recipe.strategy, "init", None) == "pissa":
        model = for_original_backbone(model)
    model.peft_config["default"].revision = getattr(recipe.backbone, "revision", None)
    model.save_pretrained(str(folder))
    (folder / "README.md").unlink()  # peft's empty template; the card stands in model/
    base: Any = model.get_base_model()
    base.config.save_pretrained(folder)
    if base.can_generate():
        base.generation_config.save_pretrained(folder)


def weight_bytes(folder: Path) -> int:
    """Return the size of the weights in `folder` itself, an adapter beside them left out."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))
