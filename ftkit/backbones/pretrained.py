"""Pretrained Transformers and CNNs: one loader, and the way to disk and back.

timm's models load through transformers' TimmWrapper, so both kinds come from the same call, from
the Hub, a local folder, or the embedded weights.
"""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel
from torch import nn
from transformers import AutoConfig, PreTrainedModel

from ftkit.backbones import pooling
from ftkit.backbones.base import Family, Loaded
from ftkit.backbones.checks import check_adapter, check_body, check_kind, check_weights
from ftkit.backbones.embedded import embedded_backbone
from ftkit.backbones.layers import keep_layers
from ftkit.backbones.structure import new_head, place
from ftkit.data.splits import Splits
from ftkit.errors import ModelError
from ftkit.hub.download import fetch
from ftkit.hub.errors import loading_errors
from ftkit.hub.names import PREFIX, is_hub_id
from ftkit.machine import memory, runtime
from ftkit.recipe import Backbone, Recipe
from ftkit.runs.finished import require_verified

log = logging.getLogger(__name__)


class PretrainedFamily(Family):
    """Models that transformers loads, timm's among them."""

    settings: Backbone
    opened_by = "transformers alone"

    def load(self, task: Any, splits: Splits, seed: int) -> Loaded:
        """Return the model with a head for the task, its processor, and tokens or pixels."""
        model, processor = runtime.main_first(
            lambda: load_model(self.settings, splits.label_names, seed, task)
        )
        task = task.for_backbone(splits, model, processor)
        inputs = task.inputs_for(task.prepare(splits, processor, seed), model)
        groups = {name: getattr(splits, name) for name in ("train_groups", "validation_groups")}
        return Loaded(model, processor, replace(inputs, **groups), task)

    def save(
        self,
        model: PreTrainedModel | PeftModel,
        processor: Any,
        recipe: Recipe,
        folder: Path,
        for_saving: Callable[[Any], Any],
    ) -> None:
        """Write an ordinary model folder.

        Of an adapted model that is the plain merged model, and the adapter in adapter/; or the
        adapter alone, where the recipe asks for that.
        """
        folder.mkdir(parents=True, exist_ok=True)
        plain: Any = model
        if isinstance(model, PeftModel):
            alone = recipe.strategy.adapter_alone
            adapter_folder = folder if alone else folder / "adapter"
            self._save_adapter(for_saving(model), adapter_folder)
            processor.save_pretrained(adapter_folder)
            plain = None if alone else copy.deepcopy(model).merge_and_unload()
        if plain is not None:
            plain.save_pretrained(folder)
            processor.save_pretrained(folder)

    def _save_adapter(self, model: PeftModel, folder: Path) -> None:
        """Write adapter, head, and the config that the backbone must be loaded with."""
        model.peft_config["default"].revision = self.settings.revision
        model.save_pretrained(str(folder))
        (folder / "README.md").unlink()  # peft's empty template; the card stands in model/
        base: Any = model.get_base_model()
        base.config.save_pretrained(folder)
        if base.can_generate():
            base.generation_config.save_pretrained(folder)

    def reload(self, folder: Path, task: Any) -> tuple[PreTrainedModel | PeftModel, Any]:
        """Return (model, its processor) as a run saved them, in float32 on the CPU, in eval mode.

        Args:
            folder: model/ of a run: a plain model, or an adapter for this backbone.
            task: `ftkit.tasks.base.Task`, which says by which classes it is loaded.

        Raises:
            ModelError: it cannot be loaded.
            HubError: the backbone of an adapter is on the Hub, and the Hub does not give it.
        """
        backbone, auto = self.settings, task.auto
        where = {"trust_remote_code": backbone.trust_remote_code}
        with loading_errors("model", str(folder), ModelError):
            processor = auto.processor.from_pretrained(folder, **where)
            if not (folder / "adapter_config.json").exists():
                model = auto.model.from_pretrained(
                    folder, dtype=torch.float32, use_safetensors=True, **where
                )
                return model.eval(), processor
            check_adapter(folder)
            base = auto.model.from_pretrained(
                source_of(backbone),
                config=AutoConfig.from_pretrained(folder, **where),
                dtype=torch.float32,
                use_safetensors=None if backbone.allow_pickle else True,
                ignore_mismatched_sizes=True,
                **where,
            )
            return PeftModel.from_pretrained(base, str(folder)).eval(), processor

    def label_names(self, folder: Path) -> tuple[str, ...]:
        """Return the classes of the model's config, in which timm's are in another place."""
        with loading_errors("model", str(folder), ModelError):
            trusted = self.settings.trust_remote_code
            names = AutoConfig.from_pretrained(folder, trust_remote_code=trusted).id2label
            return tuple(names[number] for number in range(len(names)))

    def answer(
        self, folder: Path, recipe: Recipe, task: Any, splits: Splits, machine: runtime.Machine
    ) -> Any:
        """Return what `ftkit.tasks.base.Task.predict` gives."""
        model, processor = runtime.main_first(lambda: self.reload(folder, task))
        place(model, recipe.train.channels_last, machine.device)
        inputs = task.inputs_for(task.prepare(splits, processor, 0), model)
        with runtime.exact_float32():
            return task.predict(model, inputs.test, recipe.train, machine)


def load_model(
    backbone: Backbone, label_names: tuple[str, ...], seed: int, task: Any
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
        if backbone.layers is not None:
            keep_layers(config, backbone)
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
    new = auto.new_head and not (label_names and was.id2label == config.id2label)
    cast(Any, model).keeps_head = not new
    if new:
        for part in head:
            for module in model.get_submodule(part).modules():
                if isinstance(module, nn.Linear):
                    nn.init.trunc_normal_(module.weight, std=0.02)
                    if module.bias is not None:
                        nn.init.zeros_(module.bias)
        pooling.settle(model, backbone, Path(name), task)
    elif backbone.pooling == "mean":
        raise ModelError(
            f"backbone.pooling = mean goes with a new head, and '{backbone.id}' keeps its own; "
            f"leave backbone.pooling out"
        )
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
    allowed = backbone.allow_pickle, backbone.trust_remote_code
    return str(fetch(backbone.id, backbone.revision, *allowed))


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
