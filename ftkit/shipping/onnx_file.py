"""One ONNX file of a run's model: what stands before it, the model, what stands behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, compose, helper

from ftkit.exported.about import KEY, About
from ftkit.shipping.body import LOGITS
from ftkit.shipping.onnx_graph import FLOAT, OnnxGraph, value

PROBABILITIES = "probabilities"
TYPES = {
    TensorProto.UINT8: "uint8",
    TensorProto.FLOAT: "float32",
    TensorProto.DOUBLE: "float64",
    TensorProto.INT64: "int64",
}


@dataclass(frozen=True)
class Parts:
    """The graphs of a model, and what the file says of itself."""

    before: Callable[[bool], onnx.ModelProto] | None
    """From what people have to the model's inputs; None where these are the same, as with tokens.
    It takes whether the graph may have branches, see `ftkit.shipping.image_graph.image_graph`."""
    body: onnx.ModelProto
    about: About


def whole(parts: Parts, branches: bool = True) -> onnx.ModelProto:
    """Return the graph of one file, checked, with what it says of itself."""
    found = onnx.ModelProto()
    found.CopyFrom(parts.body)
    for attribute in ("producer_name", "producer_version", "doc_string"):
        found.ClearField(attribute)
    if parts.before is not None:
        before = parts.before(branches)
        (output,) = (one.name for one in before.graph.output)
        found = _joined(before, found, [(output, output)])
    if parts.about.tells != "number":
        found = _joined(found, _probabilities(found, parts.about.tells), [(LOGITS, LOGITS)])
    del found.metadata_props[:]
    helper.set_model_props(found, {KEY: about_of(parts.about, found).to_json()})
    found.producer_name = "ftkit"
    onnx.checker.check_model(found)
    return found


def about_of(about: About, model: onnx.ModelProto) -> About:
    """Return what the file says of itself, with its inputs and outputs."""
    return replace(about, inputs=_shapes(model.graph.input), outputs=_shapes(model.graph.output))


def _joined(
    first: onnx.ModelProto, second: onnx.ModelProto, between: list[tuple[str, str]]
) -> onnx.ModelProto:
    """Return two graphs as one, of which the second also hands on what it was given as logits."""
    kept = [one.name for one in first.graph.output if one.name == LOGITS]
    outputs = [*kept, *(one.name for one in second.graph.output)]
    return compose.merge_models(first, second, io_map=between, outputs=outputs)


def _probabilities(body: onnx.ModelProto, tells: str) -> onnx.ModelProto:
    """Return the graph from logits to probabilities."""
    (logits,) = (one for one in body.graph.output if one.name == LOGITS)
    shape = [axis.dim_param or axis.dim_value for axis in logits.type.tensor_type.shape.dim]
    graph = OnnxGraph("answer/")
    found = graph.op("Sigmoid", LOGITS) if tells == "tags" else graph.op("Softmax", LOGITS, axis=-1)
    graph.named(found, PROBABILITIES)
    return graph.model([value(LOGITS, FLOAT, *shape)], [value(PROBABILITIES, FLOAT, *shape)])


def _shapes(values: Any) -> dict[str, str]:
    """Return the type and shape of each input or output, for people: uint8 [batch, height, 3]."""
    found = {}
    for one in values:
        kind = one.type.tensor_type
        axes = (axis.dim_param or str(axis.dim_value) for axis in kind.shape.dim)
        found[one.name] = f"{TYPES[kind.elem_type]} [{', '.join(axes)}]"
    return found


def write(model: onnx.ModelProto, file: Path) -> None:
    """Write a file, and the folder that it lies in."""
    file.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(file))


def told(file: Path) -> Mapping[str, str]:
    """Return what a file says of itself."""
    model = onnx.load(str(file), load_external_data=False)
    return {one.key: one.value for one in model.metadata_props}
