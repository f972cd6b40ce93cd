"""The operations that stand before a model of images: from RGB of any size to its own numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from PIL import Image

from ftkit.errors import ModelError
from ftkit.exported.inputs import IMAGE
from ftkit.shipping.image_steps import ImageSteps, pillow_goes_down_first
from ftkit.shipping.onnx_graph import FLOAT, UINT8, OnnxGraph, value
from ftkit.shipping.resize_graph import Axis, resize

SHAPE = ("batch", "height", "width", 3)
LUMA = (19595.0, 38470.0, 7471.0)
"""Pillow's weights of red, green and blue in brightness, over 65,536 (Convert.c, L24)."""
SIZES = ((8, 8), (40, 90), (97, 33), (300, 200), (225, 223), (64, 500))
"""Widths and heights of the images on which graph and processor are compared."""
TOLERANCE = 1e-4
"""Largest difference, as a share of all 255 levels; one level is 4e-3."""


def image_graph(steps: ImageSteps, output: str, flat: bool = False) -> onnx.ModelProto:
    """Return the graph from `image` (B, H, W, 3) uint8 to numbers (B, C, h, w) float32.

    Args:
        output: the name of the numbers.
        flat: as (B, h * w * C), channels last, which a perceptron reads.
    """
    graph = OnnxGraph("image/")
    turned = graph.op("Transpose", IMAGE, perm=[0, 3, 1, 2])
    levels = graph.cast(turned, FLOAT)
    axes = _axes(graph, steps)
    same = _is_in_size(graph, steps, axes)
    inner = OnnxGraph("image/resized/")
    other = inner.named(_resized(inner, levels, axes, steps), "image/resized")
    as_it_is = OnnxGraph("image/kept/")
    kept = as_it_is.named(levels, "image/kept")
    (found,) = graph.ops(
        "If", 1, same, then_branch=as_it_is.inner([kept]), else_branch=inner.inner([other])
    )
    found = graph.reshaped(found, 0, 3, steps.height, steps.width)
    found = _brightness(graph, found) if steps.grey else _ordered(graph, found, steps.order)
    channels = 1 if steps.grey else 3
    for kind, numbers in (("Mul", steps.scale), ("Add", steps.offset)):
        column = np.array(numbers).reshape(1, channels, 1, 1)
        found = graph.op(kind, found, graph.constant(column, np.float32))
    shape: tuple[int | str, ...] = ("batch", channels, steps.height, steps.width)
    if flat:
        shape = ("batch", channels * steps.height * steps.width)
        found = graph.reshaped(graph.op("Transpose", found, perm=[0, 2, 3, 1]), 0, int(shape[1]))
    graph.named(found, output)
    return graph.model([value(IMAGE, UINT8, *SHAPE)], [value(output, FLOAT, *shape)])


def _axes(graph: OnnxGraph, steps: ImageSteps) -> tuple[Axis, Axis]:
    """Return how height and width are resized and cut."""
    height, width = graph.size(IMAGE, 1), graph.size(IMAGE, 2)
    if isinstance(steps.resized, int):
        shorter = graph.op("Min", height, width)
        resized = [
            graph.op("Div", graph.op("Mul", side, graph.int(steps.resized)), shorter)
            for side in (height, width)
        ]
    else:
        resized = [graph.int(side) for side in steps.resized]
    kept = (steps.height, steps.width)
    first, second = (
        Axis(length, side, _first_kept(graph, side, wanted, steps.cut_even), wanted)
        for length, side, wanted in zip((height, width), resized, kept, strict=True)
    )
    return first, second


def _first_kept(graph: OnnxGraph, length: str, kept: int, even: bool) -> str:
    """Return where what is kept of an axis begins: in its middle; below 0 there is black."""
    left = graph.op("Sub", length, graph.int(kept))
    padded = graph.op("Neg", graph.op("Div", graph.op("Neg", left), graph.int(2)))
    cut = graph.op("Div", left, graph.int(2))
    if even:  # half to even, as Python's round
        odd = graph.op("Mod", left, graph.int(2))
        cut = graph.op("Add", cut, graph.op("Mul", odd, graph.op("Mod", cut, graph.int(2))))
    return graph.op("Where", graph.op("Less", left, graph.int(0)), padded, cut)


def _is_in_size(graph: OnnxGraph, steps: ImageSteps, axes: tuple[Axis, Axis]) -> str:
    """Return whether the image has its size already, so that nothing is to be done."""
    if not isinstance(steps.resized, int) and steps.resized != (steps.height, steps.width):
        return graph.constant(False, np.bool_)
    if isinstance(steps.resized, int) and {steps.resized} != {steps.height, steps.width}:
        return graph.constant(False, np.bool_)
    sides = (steps.height, steps.width)
    same = [
        graph.op("Equal", axis.length, graph.int(side))
        for axis, side in zip(axes, sides, strict=True)
    ]
    return graph.op("And", *same)


def _resized(inner: OnnxGraph, levels: str, axes: tuple[Axis, Axis], steps: ImageSteps) -> str:
    """Return the levels in the size of the model, rows first unless Pillow does otherwise."""
    height, width = axes

    def in_order(graph: OnnxGraph, rows_first: bool) -> str:
        return resize(graph, levels, height, width, steps.by, steps.like_pillow, rows_first)

    if not (steps.like_pillow and pillow_goes_down_first()):
        return in_order(inner, True)
    shrinks = inner.op("Sub", height.length, height.resized)
    narrows = inner.op("Sub", width.length, width.resized)
    twice = inner.op("Max", inner.op("Mul", narrows, inner.int(2)), inner.int(0))
    tall = inner.op("Greater", shrinks, twice)
    branches = {}
    for name, rows_first in (("then_branch", False), ("else_branch", True)):
        own = OnnxGraph(f"{inner.prefix}{name}/")
        branches[name] = own.inner([own.named(in_order(own, rows_first), f"{inner.prefix}{name}")])
    (found,) = inner.ops("If", 1, tall, **branches)
    return found


def _ordered(graph: OnnxGraph, levels: str, order: tuple[int, ...]) -> str:
    """Return the channels in the order that the model reads."""
    same = order == (0, 1, 2)
    return levels if same else graph.op("Gather", levels, graph.ints(*order), axis=1)


def _brightness(graph: OnnxGraph, levels: str) -> str:
    """Return the levels (B, 1, h, w) of brightness, as Pillow rounds them."""
    weights = graph.constant(np.array(LUMA).reshape(1, 3, 1, 1), np.float32)
    total = graph.op("ReduceSum", graph.op("Mul", levels, weights), graph.ints(1), keepdims=1)
    half = graph.op("Add", total, graph.constant(32768.0, np.float32))
    return graph.op("Floor", graph.op("Div", half, graph.constant(65536.0, np.float32)))


def require_alike(
    run: Callable[[np.ndarray], np.ndarray], process: Callable[[Any], np.ndarray], steps: ImageSteps
) -> None:
    """Require that the graph gives what the processor gives, on noise of several sizes.

    Args:
        run: gives the graph's numbers of an image (1, H, W, 3).
        process: gives those of the processor for one image of Pillow.

    Raises:
        ModelError: it does not.
    """
    draw = np.random.default_rng(0)
    span = 255 * max(map(abs, steps.scale))
    for width, height in SIZES:
        levels = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
        wanted, found = process(Image.fromarray(levels)), run(levels[None])
        difference = float(np.abs(wanted - found).max()) / span
        if not difference <= TOLERANCE:
            raise ModelError(
                f"what the processor does to an image cannot be put into the file: of one of "
                f"{width}x{height} pixels it makes other numbers, by {difference * 255:.3g} levels"
            )
