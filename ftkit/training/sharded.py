"""A model that is shared among GPUs in training (FSDP2): how it becomes whole, and is shared again.

What is trained is a copy of the model, of which accelerate gives every process a share, with the
gradients and the optimiser's state of that share. The model itself waits on the CPU; before
validation, for a checkpoint and in the end it is given the copy's weights. So a checkpoint is the
same as without FSDP2, and a run may go on with or without it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor


def is_shared() -> bool:
    """Return whether accelerate was asked to share models among processes."""
    return PartialState().num_processes > 1 and parse_flag_from_env("ACCELERATE_USE_FSDP")


def name_layers(model: nn.Module) -> None:
    """Tell accelerate which layers of this model to share one by one, where nobody has.

    Those that transformers keeps together, as accelerate would take by itself, but none around the
    embeddings: BERT's is one, and accelerate 1.15 fails on it, sharing what is in it once more.
    """
    embeddings = {module for module in model.modules() if isinstance(module, nn.Embedding)}
    with suppress(NotImplementedError):  # so says a CNN, which has no embeddings to keep out
        embeddings.add(model.get_input_embeddings())  # type: ignore[operator]
    names = set(getattr(model, "_no_split_modules", None) or ())
    layers = [module for module in model.modules() if type(module).__name__ in names]
    good = {type(layer).__name__ for layer in layers if not embeddings & set(layer.modules())}
    names = good or {type(model).__name__}  # a CNN as one piece
    os.environ.setdefault("FSDP_TRANSFORMER_CLS_TO_WRAP", ",".join(sorted(names)))


@torch.no_grad()
def make_whole(model: nn.Module, shared: nn.Module) -> None:
    """Give `model` the weights and buffers of its shared copy. Every rank must call this."""
    whole = model.state_dict()
    for name, tensor in shared.state_dict().items():
        whole[name].copy_(_whole(tensor))


@torch.no_grad()
def share(model: nn.Module, shared: nn.Module) -> None:
    """Give the shared copy the weights and buffers of `model`. Every rank must call this."""
    whole = model.state_dict()
    for name, tensor in shared.state_dict().items():
        tensor.copy_(_like(whole[name], tensor))


def whole_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return an optimiser's state dict with whole tensors, on the CPU where they were shared.

    Every rank must call this.
    """
    state = optimizer.state_dict()
    state["state"] = {
        number: {name: _whole(value) for name, value in values.items()}
        for number, values in state["state"].items()
    }
    return state


def share_state(optimizer: torch.optim.Optimizer) -> None:
    """Share the state that an optimiser was given whole, as its parameters are shared.

    Every rank must call this. Does nothing where they are not.
    """
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                values[name] = _like(value, parameter)


def _whole(value: Any) -> Any:
    return value.full_tensor().cpu() if isinstance(value, DTensor) else value


def _like(value: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return the value on the device of another one, shared as that one is."""
    if not isinstance(other, DTensor) or isinstance(value, DTensor):
        return value
    return distribute_tensor(value.to(other.device), other.device_mesh, other.placements)
