"""Does a backbone fit? What is looked at before, while and after it is loaded.

Each of these refuses with a message that names the backbone and says what to do instead.
"""

from __future__ import annotations

from functools import singledispatch
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import PreTrainedModel, TimmWrapperConfig

from ftkit.errors import ModelError
from ftkit.hub import loading_errors
from ftkit.recipe import (
    Backbone,
    ImageClassification,
    LanguageModelling,
    TextClassification,
    TextRegression,
    TextTagging,
    TokenClassification,
)


def check_weights(name: str, backbone: Backbone) -> None:
    """Refuse a folder without weights, or with pickled ones, before anything is loaded."""
    folder = Path(name)
    if (folder / "adapter_config.json").exists():
        raise ModelError(
            f"backbone '{backbone.id}' is an adapter, not a whole model; give the merged model, or "
            f"the one that the adapter was made for"
        )
    if backbone.allow_pickle or any(folder.glob("*.safetensors")):
        return
    raise ModelError(
        f"backbone '{backbone.id}': there are no safetensors weights in it; pickled ones "
        f"can run code, load them with --set backbone.allow_pickle=true if you trust their author"
    )


def check_kind(name: str, backbone: Backbone, config: Any, task: Any, known: Any) -> None:
    """Refuse what cannot do the task, and a local folder that does not say how it takes images.

    Code of the backbone's own is taken at its word.

    Args:
        known: the types of configurations that can do the task.
    """
    if backbone.trust_remote_code:
        return
    if type(config) not in known:
        raise ModelError(
            f"backbone '{backbone.id}': a model of type '{config.model_type}', which does no "
            f"{task.kind}; give a backbone that does"
        )
    if task.noun == "texts":
        return
    settings = [Path(name) / f"{kind}_config.json" for kind in ("preprocessor", "processor")]
    timm = isinstance(config, TimmWrapperConfig)  # says it in config.json
    if Path(name).is_dir() and not timm and not any(file.exists() for file in settings):
        raise ModelError(
            f"backbone '{backbone.id}': there is no preprocessor_config.json in this folder, which "
            f"says how images become inputs; copy it from the model that this one was made from"
        )


def check_body(backbone: Backbone, loading: dict[str, Any], head: list[str]) -> None:
    """Refuse a checkpoint that leaves a part of the backbone without pretrained weights."""
    keys = [*loading["missing_keys"], *(key for key, *_ in loading["mismatched_keys"])]
    lost = sorted(
        key
        for key in keys
        if not key.startswith(tuple(f"{name}." for name in head))
        and not key.endswith("num_batches_tracked")
    )
    if lost:
        raise ModelError(
            f"backbone '{backbone.id}': the checkpoint has no weights of the right shape for "
            f"{len(lost)} tensors outside the head, such as {lost[0]}; it is another architecture"
            + (", or takes no other image size" if backbone.image_size else "")
        )


@singledispatch
def check_forward(task: Any, backbone: Backbone, model: PreTrainedModel, processor: Any) -> None:
    """Run one example through processor and model, so that a misfit is told before training.

    Raises:
        ModelError: the backbone does not take it.
    """
    raise TypeError(f"no task of type {type(task).__name__}")


@check_forward.register(TextClassification)
@check_forward.register(TextTagging)
@check_forward.register(TextRegression)
def _(task: Any, backbone: Backbone, model: PreTrainedModel, processor: Any) -> None:
    texts = [["a text", "another"]] * (1 if task.pair is None else 2)
    with loading_errors("backbone", backbone.id, ModelError), torch.inference_mode():
        model.eval()(**processor(*texts, return_tensors="pt", padding=True))


@check_forward.register
def _(
    task: TokenClassification, backbone: Backbone, model: PreTrainedModel, processor: Any
) -> None:
    if not processor.is_fast:
        raise ModelError(
            f"backbone '{backbone.id}': its tokenizer ({type(processor).__name__}) does not say "
            f"which word a token is of; give a backbone with a fast one"
        )
    words = [["a", "text"], ["another"]]
    with loading_errors("backbone", backbone.id, ModelError), torch.inference_mode():
        model.eval()(
            **processor(words, is_split_into_words=True, return_tensors="pt", padding=True)
        )


@check_forward.register
def _(task: LanguageModelling, backbone: Backbone, model: PreTrainedModel, processor: Any) -> None:
    """Read two texts that differ in their end: what was said before must not know of it."""
    size = model.config.get_text_config().vocab_size
    if len(processor) > size:
        raise ModelError(
            f"backbone '{backbone.id}': its tokenizer has {len(processor):,} tokens and the model "
            f"{size:,}; they do not belong together"
        )
    ids = torch.arange(6).remainder(size).repeat(2, 1)
    ids[1, -1] = size - 1
    with loading_errors("backbone", backbone.id, ModelError), torch.inference_mode():
        one, other = model.eval()(input_ids=ids).logits[:, :-1]
    if not torch.allclose(one, other, rtol=0, atol=1e-4 * float(one.abs().max())):
        raise ModelError(
            f"backbone '{backbone.id}': {type(model).__name__} sees the words that follow, so it "
            f"cannot learn to tell them; give a backbone that reads from left to right, as GPT-2"
        )


@check_forward.register
def _(
    task: ImageClassification, backbone: Backbone, model: PreTrainedModel, processor: Any
) -> None:
    """Run one grey image; see `check_forward`."""
    with loading_errors("backbone", backbone.id, ModelError):
        pixels = processor(images=Image.new("RGB", (64, 64), "gray"), return_tensors="pt")
    size = tuple(pixels["pixel_values"].shape[-2:])
    if backbone.image_size is not None and size != (backbone.image_size, backbone.image_size):
        raise ModelError(
            f"backbone.image_size = {backbone.image_size}: the processor of '{backbone.id}' gives "
            f"{size[0]}x{size[1]} pixels all the same; leave image_size out"
        )
    try:
        with torch.inference_mode():
            model.eval()(**pixels)
    except (ValueError, RuntimeError, AssertionError) as error:
        raise ModelError(
            f"backbone '{backbone.id}' does not take images of {size[0]}x{size[1]} pixels "
            f"({' '.join(str(error).split())[:200]}); leave backbone.image_size out"
        ) from error
