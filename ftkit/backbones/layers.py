"""The layers of a backbone: in groups by their order, and how many of them are kept.

What goes by depth needs an order: layer-wise decay of the learning rate, gradual unfreezing. A
backbone is embeddings, a row of blocks (a CNN's stages), and on top its last norm, pooler and head.

The last layers of a pretrained Transformer know most of what it was pretrained for, and a layer
below them may suit other data better, in less time (Yosinski et al. 2014). With fewer layers it is
an ordinary model of its kind, whose configuration says how many it has.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from torch import nn

from ftkit.errors import ModelError
from ftkit.recipe import Backbone

ROWS = (nn.ModuleList, nn.Sequential)
KINDS = "layer_types"
"""How the name of a setting ends that says of each layer what kind it is."""
STAGES = ("depths", "num_block_repeats", "block_sizes")
"""Settings with the number of layers of each stage, of which the number of all is the sum."""


def count_layers(config: Any) -> int | None:
    """Return how many layers a Transformer has by its configuration, of which any may be the last.

    None where it is no single row of layers that are alike in shape: an encoder beside a decoder,
    the stages of a CNN or of a Swin Transformer, and whatever timm builds.
    """
    count = getattr(config, "num_hidden_layers", None)
    if not isinstance(count, int) or getattr(config, "is_encoder_decoder", False):
        return None
    settings = config.to_dict()
    lists = {name: v for name, v in settings.items() if isinstance(v, (list, tuple))}
    of_each = [name for name, v in lists.items() if len(v) == count and name != "architectures"]
    alike = all(name.endswith(KINDS) for name in of_each)
    return count if alike and not any(name in settings for name in STAGES) else None


def keep_layers(config: Any, backbone: Backbone) -> None:
    """Let a configuration have the first layers alone, as many as the recipe says.

    Raises:
        ModelError: it has fewer, or none that could be counted.
    """
    count, kept = count_layers(config), backbone.layers
    assert kept is not None
    if count is None:
        raise ModelError(
            f"backbone.layers = {kept}: '{backbone.id}' ({config.model_type}) is no single row of "
            f"layers that could end earlier; leave backbone.layers out"
        )
    if kept > count:
        raise ModelError(
            f"backbone.layers = {kept}: '{backbone.id}' has {count} layers; give a number from 1 "
            f"to {count}"
        )
    for name, value in list(config.to_dict().items()):
        if name.endswith(KINDS) and isinstance(value, (list, tuple)):
            setattr(config, name, list(value[:kept]))
    config.num_hidden_layers = kept
    if stages := getattr(config, "stage_names", None):  # a stage each, after the stem
        config.stage_names = list(stages[: kept + 1])
        config.out_features = config.stage_names[-1:]


def layer_groups(model: nn.Module) -> list[list[str]]:
    """Return the names of all parameters in groups, from the top down to the embeddings.

    The first group is the head and what lies between the last block and it, the last one what lies
    before the first block; each group between them is a block. A parameter that stands in two
    places belongs to the first, as `named_parameters` has it.

    Raises:
        ModelError: the model is no single row of blocks, as an encoder beside a decoder.
    """
    names = [name for name, _ in model.named_parameters()]
    blocks = [f"{block}." for block in _blocks(model)]
    below, above = [], []
    inside: dict[str, list[str]] = {block: [] for block in blocks}
    for name in names:
        block = next((block for block in blocks if name.startswith(block)), None)
        if block is not None:
            inside[block].append(name)
        elif any(inside.values()):
            above.append(name)
        else:
            below.append(name)
    groups = [above, *(inside[block] for block in reversed(blocks)), below]
    return [group for group in groups if group]


def _blocks(model: nn.Module) -> list[str]:
    """Return the names of the blocks, in order.

    Of the rows of modules that lie in no other row, those beside each other that hold most: where
    it is one, its members are the blocks (BERT's `encoder.layer`); where there are several, they
    are themselves (`layer1` to `layer4` of timm's ResNet).
    """
    outermost: dict[str, list[str]] = defaultdict(list)
    passed: list[str] = []
    for name, module in model.named_modules():
        if any(name.startswith(f"{row}.") for row in passed):
            continue
        if isinstance(module, ROWS) and _weight(module):
            outermost[name.rpartition(".")[0]].append(name)
            passed.append(name)
    rows = max(outermost.values(), key=lambda rows: _weight(model, rows), default=[])
    rivals = [other for other in outermost.values() if other is not rows]
    rivals = [other for other in rivals if 2 * _weight(model, other) > _weight(model, rows)]
    blocks = rows
    if len(rows) == 1:
        members = model.get_submodule(rows[0]).named_children()
        blocks = [f"{rows[0]}.{name}" for name, member in members if _weight(member)]
    if len(blocks) < 2 or rivals:
        raise ModelError(
            f"{type(model).__name__} is no single row of blocks, its layers have no order to go "
            f"by; leave strategy.layer_decay and strategy.unfreeze as they are"
        )
    return blocks


def _weight(model: nn.Module, names: list[str] | None = None) -> int:
    """Return how many parameters the model holds, or these modules in it."""
    modules = [model] if names is None else [model.get_submodule(name) for name in names]
    return sum(parameter.numel() for module in modules for parameter in module.parameters())
