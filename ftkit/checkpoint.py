"""Checkpoints: the weights that move, so that training can go on or go back to its best.

Only what moves is written, and the buffers (BatchNorm's statistics): an adapter's checkpoint is as
small as the adapter. Trainer's own way is not used. It writes a model by `save_pretrained`, which
in transformers 5 gives the weights of ViT and others the names of older checkpoints, and reads it
by a `load_state_dict` that does not know of them: nothing is loaded, and only a warning says so.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

log = logging.getLogger(__name__)
FILE = "moving.safetensors"


def save_moving(model: nn.Module, folder: Path) -> None:
    """Write the trainable parameters and all buffers of `model` into a checkpoint's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().contiguous() for name, tensor in _moving(model).items()}
    save_file(tensors, folder / FILE)


def load_moving(model: nn.Module, folder: Path) -> None:
    """Put what `save_moving` wrote back into the same model, in place.

    Raises:
        KeyError: the checkpoint is of a model in which other parameters move.
    """
    saved, moving = load_file(folder / FILE), _moving(model)
    if saved.keys() != moving.keys():
        odd = sorted(saved.keys() ^ moving.keys())[:3]
        raise KeyError(f"{folder} holds other weights than the model: {', '.join(odd)}")
    with torch.no_grad():
        for name, tensor in moving.items():
            tensor.copy_(saved[name])


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the newest whole checkpoint, or None; removes those cut off while being written."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    for checkpoint in reversed(found):
        if (checkpoint / "trainer_state.json").exists():  # Trainer writes it last
            return checkpoint
        log.warning("%s was cut off while it was written; it is removed", checkpoint)
        shutil.rmtree(checkpoint, ignore_errors=True)
    return None


def _moving(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return what moves by name; a tensor that stands in two places once, under the first."""
    passed = {p.data_ptr() for p in model.parameters() if not p.requires_grad}
    found: dict[str, torch.Tensor] = {}
    for name, tensor in model.state_dict().items():
        if not tensor.numel() or tensor.data_ptr() not in passed:
            found[name] = tensor
            passed.add(tensor.data_ptr())
    return found
