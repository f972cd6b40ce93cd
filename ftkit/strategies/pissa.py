"""PiSSA: LoRA that begins as the principal part of each weight (Meng et al. 2024, 2404.02948).

W = U S V^T. With the r largest singular values, B = U sqrt(S / s) and A = sqrt(S / s) V^T, s being
LoRA's scale; the frozen weight becomes W - s B A, so nothing changes at first.

This is written by hand because peft's own (`init_lora_weights="pissa"`) is for Linear layers alone,
and makes smaller matrices where a layer is narrower than the rank. Here convolutions are adapted
too, by their weight as a matrix (O, I K K).

The frozen weight is no longer the backbone's, so an adapter of A and B alone would be worthless
elsewhere. What training changed, s (B A - B0 A0), is a plain LoRA of rank 2r, and that is saved. On
resume the decomposition is made again from the backbone.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import nn

ADAPTER = "default"


@torch.no_grad()
def start_from_principal(model: PeftModel) -> None:
    """Let every update begin as the principal part of its weight, which loses it, in place."""
    for layer in _adapted(model):
        weight = _matrix(layer)
        left, values, right = torch.linalg.svd(weight, full_matrices=False)
        rank = min(layer.r[ADAPTER], len(values))  # what is over keeps B = 0
        root = (values[:rank] / layer.scaling[ADAPTER]).sqrt()
        A, B = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
        A.flatten(1)[:rank] = root[:, None] * right[:rank]
        B.flatten(1)[:, :rank] = left[:, :rank] * root
        layer.register_buffer("principal_A", A.clone(), persistent=False)
        layer.register_buffer("principal_B", B.clone(), persistent=False)
        _add(layer, -1.0)


@torch.no_grad()
def for_original_backbone(model: PeftModel) -> PeftModel:
    """Return a copy that answers alike: a plain LoRA of twice the rank on the backbone itself."""
    model = copy.deepcopy(model)
    for layer in _adapted(model):
        _add(layer, 1.0)
        A, B = layer.lora_A[ADAPTER], layer.lora_B[ADAPTER]
        A.weight = nn.Parameter(torch.cat([A.weight, layer.principal_A]))
        B.weight = nn.Parameter(torch.cat([B.weight, -layer.principal_B], dim=1))
        layer.r[ADAPTER] *= 2
    config: Any = model.peft_config[ADAPTER]
    config.r *= 2
    config.lora_alpha *= math.sqrt(2) if config.use_rslora else 2
    return model


def _adapted(model: PeftModel) -> Iterator[Any]:
    for module in model.modules():
        if isinstance(module, LoraLayer):
            yield module


def _matrix(layer: Any) -> torch.Tensor:
    """Return (outputs, inputs) of the frozen weight."""
    weight: torch.Tensor = layer.get_base_layer().weight
    return weight.T if getattr(layer, "fan_in_fan_out", False) else weight.flatten(1)


def _add(layer: Any, sign: float) -> None:
    """Add the principal part to the frozen weight, or take it away."""
    weight = layer.get_base_layer().weight
    part = layer.principal_B.flatten(1) @ layer.principal_A.flatten(1) * layer.scaling[ADAPTER]
    part = part.T if getattr(layer, "fan_in_fan_out", False) else part.reshape(weight.shape)
    weight += sign * part
