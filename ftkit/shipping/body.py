"""The model itself as an ONNX graph, from its own inputs to logits."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from ftkit.errors import ModelError
from ftkit.perceptron.network import Network
from ftkit.shipping.onnx_graph import FLOAT, OPSET, OnnxGraph, value

log = logging.getLogger(__name__)
LOGITS = "logits"
LARGEST = 1_900_000_000
"""Bytes of weights in one file: a file of ONNX, being a message of protobuf, holds 2 GB."""


class Logits(nn.Module):
    """A model of transformers as a function from its inputs, in order, to its logits."""

    def __init__(self, model: Any, names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.names = model, tuple(names)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        return self.model(**dict(zip(self.names, inputs, strict=True)))["logits"]


def body_of(
    model: nn.Module, example: Mapping[str, torch.Tensor], dynamic: Sequence[int]
) -> onnx.ModelProto:
    """Return the graph of a model of transformers, for batches of any size.

    Args:
        example: the model's inputs by name, of two rows at least.
        dynamic: the axes of each input that may have any length.

    Raises:
        ModelError: torch cannot export it, or it is too large for one file.
    """
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    if size > LARGEST:
        raise ModelError(
            f"the model has {size / 1e9:.1f} GB of weights, and one file of ONNX holds 2 GB; take "
            f"a smaller backbone"
        )
    axes = dict.fromkeys(dynamic, torch.export.Dim.DYNAMIC)
    names = list(example)
    wrapped = Logits(model, names).eval()
    said = io.StringIO()
    try:
        with _quiet(said), torch.no_grad():
            program: Any = torch.onnx.export(
                wrapped,
                tuple(example.values()),
                dynamo=True,
                dynamic_shapes=((axes,) * len(names),),
                input_names=names,
                output_names=[LOGITS],
                opset_version=OPSET,
                verbose=False,
            )
    except Exception as error:  # whatever torch cannot follow, it says in classes of its own
        reason = " ".join(str(error.__cause__ or error).split())[:300]
        raise ModelError(
            f"torch cannot export {type(model).__name__} to ONNX ({reason}); take another backbone"
        ) from error
    return _named_axes(program.model_proto)


def _named_axes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with names for axes of any length that say what they are."""
    graph = model.graph
    del graph.value_info[:]
    names: dict[str, str] = {}
    axes = graph.input[0].type.tensor_type.shape.dim
    for axis, called in zip(axes, ("batch", "tokens"), strict=False):
        if axis.dim_param:
            names[axis.dim_param] = called
    for one in (*graph.input, *graph.output):
        for axis in one.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_param = names.get(axis.dim_param, axis.dim_param)
    return model


@contextlib.contextmanager
def _quiet(said: io.StringIO) -> Any:
    """Keep what the exporter prints away from the terminal."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with contextlib.redirect_stdout(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def body_of_network(network: Network, name: str) -> onnx.ModelProto:
    """Return the graph of a perceptron, from vectors (B, D) float32 to its outputs.

    Args:
        name: of the vectors.
    """
    graph, found = OnnxGraph("network/"), name
    for k, (W, b) in enumerate(network.layers):
        weight = graph.constant(W.cpu().numpy(), np.float32)
        found = graph.op("Gemm", found, weight, graph.constant(b.cpu().numpy(), np.float32))
        if k + 1 < len(network.layers) and network.activation != "identity":
            found = graph.op(network.activation.title(), found)
    graph.named(found, LOGITS)
    sizes = network.sizes
    return graph.model(
        [value(name, FLOAT, "batch", sizes[0])], [value(LOGITS, FLOAT, "batch", sizes[-1])]
    )
