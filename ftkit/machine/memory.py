"""Is there memory for what is asked? Said before it is taken, from shapes.

Refused is what cannot be: parameters, gradients and moments alone are more than this process may
ever have. What else a run takes is measured by `ftkit check`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import psutil
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from ftkit.errors import RecipeError
from ftkit.machine import control_groups

FLOAT = 4
"""Bytes of a parameter, of its gradient, and of each of AdamW's two moments, all in float32."""
MOVING = 4 * FLOAT
"""Bytes of a parameter that AdamW moves."""
NO_LIMIT = 1 << 60
"""A larger limit is none: cgroup v1 writes the largest number of whole pages."""


def most(device: torch.device | None = None) -> int:
    """Return the bytes that this process may ever have, on the host or on its GPU.

    On the host that is what is smallest: memory and swap of the machine, the container's limit,
    or what `ulimit -v` leaves.
    """
    if device is not None and device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    machine = psutil.virtual_memory().total + psutil.swap_memory().total
    return min([machine, *_container_limits(), *_left_of_addresses()])


def require(needed: int, what: str, advice: str, device: torch.device | None = None) -> None:
    """Refuse what takes more bytes than there can be.

    Args:
        what: takes them, as "strategy.rank = 8: 12 new parameters".
        advice: what to do.

    Raises:
        RecipeError: so it is.
    """
    there = most(device)
    if needed > there:
        where = "this GPU has" if device is not None and device.type == "cuda" else "there are"
        raise RecipeError(
            f"{what} would take {_size(needed)} of memory, and {where} {_size(there)}; {advice}"
        )


def require_layers(sizes: Sequence[int]) -> None:
    """Refuse a perceptron of these layer sizes that cannot be held while it is trained.

    That is its parameters, the best ones so far, their gradient, and two moments.

    Raises:
        RecipeError: so it is.
    """
    count = sum((D + 1) * H for D, H in pairwise(sizes))
    what = f"layers of {', '.join(map(str, sizes))} units: {count:,} parameters"
    require(5 * FLOAT * count, what, "give smaller layers (backbone.hidden)")


def saved_for_backward(model: nn.Module, example: dict[str, torch.Tensor]) -> int:
    """Return the bytes that a forward pass of these rows keeps for the backward pass.

    Args:
        example: inputs of the model, on its device.
    """
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    modes = [(module, module.training) for module in model.modules()]
    model.eval()  # draws no random numbers
    try:
        with torch.enable_grad(), saved_tensors_hooks(keep, lambda tensor: tensor):
            output = model(**example)
            own = {p.untyped_storage().data_ptr() for p in model.parameters()}
            del output
    finally:
        for module, mode in modes:
            module.training = mode
    return sum(size for place, size in kept.items() if place not in own)


def _container_limits() -> Iterator[int]:
    """Yield the limits of the control groups that this process is in."""
    for text in control_groups.values("memory", "memory.limit_in_bytes", "memory.max"):
        if text.isdigit() and int(text) < NO_LIMIT:
            yield int(text)


def _left_of_addresses() -> Iterator[int]:
    """Yield what `ulimit -v` leaves of the addresses that this process may use."""
    try:
        import resource
    except ImportError:  # Windows
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        yield max(0, limit - psutil.Process().memory_info().vms)


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"
