"""Saving: the fine-tuned model as an ordinary Hugging Face model folder."""

from __future__ import annotations

import copy
from functools import singledispatch
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import PreTrainedModel

from ftkit.backbones.perceptron import Perceptron, save_perceptron
from ftkit.recipe import Recipe
from ftkit.strategies import strategy_of


@singledispatch
def save(model: Any, processor: Any, recipe: Recipe, folder: Path) -> None:
    """Write weights (safetensors), config and processor into `folder`.

    Of an adapted model that is the plain merged model, and the adapter in adapter/; or the adapter
    alone, where the recipe asks for that. The model itself is left as it is.
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
    if recipe.strategy.adapter_alone:
        _save_adapter(model, recipe, folder)
    else:
        _save_adapter(model, recipe, folder / "adapter")
        processor.save_pretrained(folder / "adapter")
        merged: Any = copy.deepcopy(model).merge_and_unload()
        merged.save_pretrained(folder)
    processor.save_pretrained(folder)


def _save_adapter(model: PeftModel, recipe: Recipe, folder: Path) -> None:
    """Write adapter, head, and the config that the backbone must be loaded with."""
    model = strategy_of(recipe.strategy).for_saving(model)
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
