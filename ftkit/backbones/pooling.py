"""Mean pooling inside an ordinary Transformer: one more layer, whose first token looks at all.

Sentence encoders are trained with the mean over all tokens, and their first token knows less: yet
it is the one that transformers' classifiers of the BERT family read. A layer of attention can take
that mean. With keys of zero every query looks at all tokens alike, padding left out; values are the
tokens as they are, times a factor beside which the first token itself, which the residual
connection adds, does not count; and a feed-forward part whose second matrix is zero adds nothing.
So the first token leaves the layer as the layer norm of the mean, which is what sentence encoders
compare, to a factor (they scale it to length one). The saved model is an ordinary BERT with one
layer more, and needs no code of ours.
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
LIKE_BERT = (
    "bert", "roberta", "xlm-roberta", "camembert", "electra", "ernie", "data2vec-text", "xmod"
)  # fmt: skip
"""Types of models with BERT's layers. Others call theirs alike and compute something else: some
tokens alone (Longformer, BigBird), convolutions (ConvBERT), or an added bias (LayoutLMv3)."""
FACTOR = 1e3
"""The mean counts so many times what the first token does; float16 holds 65 times that."""
SLOPE = 0.5
"""The pooler's tanh is given the numbers, which are about one, times this."""
PARTS = "pooling_parts"
"""The attribute of a model with the names of the modules that do it."""


def settle(model: PreTrainedModel, backbone: Backbone, folder: Path, task: Any) -> None:
    """Add the layer if the recipe asks for it, or by `auto` where the backbone was trained so.

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
            f"({type(model).__name__}) cannot be given one more that takes the mean; leave "
            f"backbone.pooling out"
        )
    if backbone.pooling == "first" or task.settings.tells not in WHOLE:
        return
    by_mean = was_trained_by_mean(folder)
    if by_mean and not possible:
        log.info(
            f"{backbone.id}: it was trained with the mean of all tokens, which ftkit gives to "
            f"models with BERT's layers alone; the head reads what {type(model).__name__} gives it"
        )
    elif by_mean or backbone.pooling == "mean":
        pool_by_mean(model)
        log.info(
            f"{backbone.id}: one more layer of attention gives the head the mean of all tokens; "
            f"with --set backbone.pooling=first it reads the first one"
        )


def was_trained_by_mean(folder: Path) -> bool:
    """Return whether a backbone's folder says so, as sentence-transformers writes it."""
    file = folder / SETTINGS
    if not file.is_file():
        return False
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
        return bool(
            settings.get("pooling_mode_mean_tokens")  # until version 5
            or settings.get("pooling_mode") == "mean"
        )
    except (OSError, ValueError, AttributeError):
        log.warning(
            f"{file} does not say how tokens were pooled, so the head reads the first one; "
            f"with --set backbone.pooling=mean it reads the mean"
        )
        return False


def can_pool(model: PreTrainedModel) -> bool:
    """Return whether the model has BERT's layers, in which nothing goes by position."""
    positions = getattr(model.config, "position_embedding_type", "absolute")
    own_code = not type(model).__module__.startswith("transformers.")
    if model.config.model_type not in LIKE_BERT or positions != "absolute" or own_code:
        return False
    base: Any = getattr(model, model.base_model_prefix)
    return len(base.encoder.layer) > 0


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
            if isinstance(module, nn.LayerNorm):
                module.weight.fill_(1)
                module.bias.zero_()
        for silent in (attention.key, layer.output.dense):
            silent.weight.zero_()
            silent.bias.zero_()
        for passed, factor in ((attention.value, 1.0), (layer.attention.output.dense, FACTOR)):
            nn.init.eye_(passed.weight).mul_(factor)
            passed.bias.zero_()
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
