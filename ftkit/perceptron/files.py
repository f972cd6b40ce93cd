"""A network as model.safetensors and config.json, and back, without pickle.

The tensors are `layers.<k>.weight` (D, H) and `layers.<k>.bias` (H,), k from 0. What the network
is, and what its owner wants kept with it, stands in the metadata of the weights file and, for
people, in config.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ftkit.machine.permissions import give_usual_rights
from ftkit.perceptron.network import Network

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def save_network(network: Network, folder: Path, settings: Mapping[str, Any]) -> None:
    """Write the network into a folder, made where it is missing.

    Args:
        settings: kept beside the weights; whatever JSON can hold.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shape = {"sizes": network.sizes, "activation": network.activation, "loss": network.loss}
    text = json.dumps({"model_type": "ftkit-mlp", **shape, "settings": settings}, indent=2)
    tensors: dict[str, torch.Tensor] = {}
    for k, (W, b) in enumerate(network.layers):
        # Clones: safetensors refuses views that share one buffer.
        tensors |= {f"layers.{k}.weight": W.cpu().clone(), f"layers.{k}.bias": b.cpu().clone()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt", "ftkit": text})
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
    give_usual_rights(folder)


def load_network(folder: Path, device: str = "cpu") -> tuple[Network, Mapping[str, Any]]:
    """Return the network that `save_network` wrote, and the settings kept with it.

    Raises:
        ValueError: the folder holds no such network, or its weights do not fit its sizes.
    """
    file = folder / WEIGHTS
    if not file.is_file():
        raise ValueError(f"{folder} holds no saved perceptron: there is no {WEIGHTS}")
    try:
        with safe_open(file, framework="pt") as stored:
            metadata = stored.metadata() or {}
            tensors = {name: stored.get_tensor(name) for name in list(stored.keys())}
    except SafetensorError as error:
        raise ValueError(f"{file} cannot be read: {error}") from None
    if "ftkit" not in metadata:
        raise ValueError(f"{file} was not written by ftkit: it has no settings")
    config = json.loads(metadata["ftkit"])
    network = Network(tuple(config["sizes"]), config["activation"], config["loss"], device=device)
    for k, (W, b) in enumerate(network.layers):
        for part, name in ((W, f"layers.{k}.weight"), (b, f"layers.{k}.bias")):
            if name not in tensors or tensors[name].shape != part.shape:
                raise ValueError(f"{file}: {name} is missing or not of shape {tuple(part.shape)}")
            part.copy_(tensors[name])
    return network, config["settings"]
