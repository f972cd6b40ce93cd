"""Mean pooling inside an ordinary Transformer: one more layer, whose first token looks at all.

Sentence encoders are trained with the mean over all tokens, and their first token knows less: yet
it is the one that transformers' classifiers of the BERT family read. A layer of attention can take
that mean. Queries of zero look at all tokens alike, padding left out; values are the tokens as they
are, times a factor beside which the first token itself, which the residual connection adds, does
not count; and a feed-forward part of zero adds nothing. So the first token leaves the layer as the
layer norm of the mean, which is what sentence encoders compare, to a factor (they scale it to
length one). The saved model is an ordinary BERT with one layer more, and needs no code of ours.
"""

from __future__ import annotations

import copy
import json
import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from ftkit.errors import ModelError
from ftkit.hub.names import POOLING as SETTINGS
from ftkit.recipe import Backbone

log = logging.getLogger(__name__)
WHOLE = ("class", "tags", "number")
"""What is told of a text as a whole."""
FACTOR = 1e3
"""The mean counts so many times what the first token does; float16 holds a hundred times that."""
SLOPE = 0.5
"""The pooler's tanh is nearly straight for numbers of about one times this."""
PARTS = "pooling_parts"
"""The attribute of a model with the names of the modules that do it."""


def settle(model: PreTrainedModel, backbone: Backbone, folder: Path, task: Any) -> None:
    """Add the layer where the recipe asks for it, or by itself the backbone was trained so.

    Args:
        model: with a new head.
        folder: of the backbone.

    Raises:
        ModelError: the recipe asks for it, and it cannot be.
    """
    possible = task.settings.tells in WHOLE and can_pool(model)
    if backbone.pooling == "mean" and not possible:
        raise ModelError(
            f"backbone.pooling = mean: the layers of '{backbone.id}' "
            f"({type(model).__name__}) cannot be given one more that takes the mean; leave it out"
        )
    if backbone.pooling == "first" or not possible:
        return
    if backbone.pooling == "mean" or was_trained_by_mean(folder):
        pool_by_mean(model)
        log.info(
            f"{backbone.id}: one more layer of attention gives the head the mean of all tokens, "
            f"as of sentence encoders; --set backbone.pooling=first reads the first one"
        )


def was_trained_by_mean(folder: Path) -> bool:
    """Return whether a backbone's folder says so, as sentence-transformers writes it."""
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        return bool(
            settings.get("pooling_mode_mean_tokens")  # until version 5
            or settings.get("pooling_mode") == "mean"
        )
    except (OSError, ValueError, AttributeError):
        return False


def can_pool(model: PreTrainedModel) -> bool:
    """Return whether the model has BERT's layers, and nothing in them goes by position."""
    encoder = getattr(getattr(model, model.base_model_prefix, None), "encoder", None)
    rows = getattr(encoder, "layer", None)
    kind = getattr(model.config, "position_embedding_type", "absolute")
    if not isinstance(rows, nn.ModuleList) or not len(rows) or kind != "absolute":
        return False
    names = {name for name, _ in rows[-1].named_modules()}
    needed = {
        *(f"attention.self.{part}" for part in ("query", "key", "value")),
        *("attention.output.dense", "attention.output.LayerNorm"),
        *("intermediate.dense", "output.dense", "output.LayerNorm"),
    }
    return needed <= names and not hasattr(encoder, "relative_attention_bias")


def pool_by_mean(model: PreTrainedModel) -> None:
    """Add the layer, and let the pooler after it pass on what it is given, through its tanh.

    Args:
        model: one for which `can_pool` is true.
    """
    body = model.base_model_prefix
    base: Any = getattr(model, body)
    layer = copy.deepcopy(base.encoder.layer[-1])
    attention = layer.attention.self
    with torch.no_grad():
        for module in layer.modules():
            if isinstance(module, nn.Linear):
                module.weight.zero_()
                module.bias.zero_()
            elif isinstance(module, nn.LayerNorm):
                module.weight.fill_(1)
                module.bias.zero_()
        nn.init.eye_(attention.value.weight)
        nn.init.eye_(layer.attention.output.dense.weight)
        layer.attention.output.dense.weight.mul_(FACTOR)
        if base_pooler := getattr(base, "pooler", None):
            nn.init.eye_(base_pooler.dense.weight).mul_(SLOPE)
            nn.init.zeros_(base_pooler.dense.bias)
    number = len(base.encoder.layer)
    if hasattr(attention, "layer_idx"):
        attention.layer_idx = number
    base.encoder.layer.append(layer)
    model.config.num_hidden_layers = number + 1
    parts = [f"{body}.encoder.layer.{number}", *([f"{body}.pooler"] if base_pooler else [])]
    setattr(model, PARTS, parts)


def pooling_parts(model: nn.Module) -> list[str]:
    """Return the names of the modules that take the mean, none where no layer was added."""
    return list(getattr(model, PARTS, []))
