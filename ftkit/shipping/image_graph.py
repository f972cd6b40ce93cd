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


def image_graph(
    steps: ImageSteps, output: str, flat: bool = False, branches: bool = True
) -> onnx.ModelProto:
    """Return the graph from `image` (B, H, W, 3) uint8 to numbers (B, C, h, w) float32.

    Args:
        output: the name of the numbers.
        flat: as (B, h * w * C), channels last, which a perceptron reads.
        branches: the graph may decide by the image's size what it computes. OpenVINO 2026.4 gives
            wrong numbers for the first image of each size where it does; without branches it
            computes both and takes one.
    """
    graph = OnnxGraph("image/")
    turned = graph.op("Transpose", IMAGE, perm=[0, 3, 1, 2])
    levels = graph.cast(turned, FLOAT)
    height, width = axes = _axes(graph, steps)

    def in_order(own: OnnxGraph, rows_first: bool) -> str:
        return resize(own, levels, height, width, steps.by, steps.like_pillow, rows_first)

    def resized(own: OnnxGraph) -> str:
        if not (steps.like_pillow and pillow_goes_down_first()):
            return in_order(own, True)
        either = (lambda one: in_order(one, False)), (lambda one: in_order(one, True))
        return _choice(own, _is_tall(own, *axes), *either, branches)

    same = _is_in_size(graph, steps, axes) if branches else None
    found = resized(graph) if same is None else _choice(graph, same, lambda _: levels, resized)
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


Written = Callable[[OnnxGraph], str]
"""Writes operations into a graph, and gives the name of what they make."""


def _choice(
    graph: OnnxGraph, condition: str, then: Written, otherwise: Written, branches: bool = True
) -> str:
    """Return what one of two parts makes."""
    if not branches:
        return graph.op("Where", condition, then(graph), otherwise(graph))
    parts = {}
    for name, write in (("then_branch", then), ("else_branch", otherwise)):
        own = OnnxGraph(f"{graph.prefix}{len(graph.nodes)}/{name}/")
        parts[name] = own.inner([own.named(write(own), f"{own.prefix}found")])
    return graph.op("If", condition, **parts)


def _axes(graph: OnnxGraph, steps: ImageSteps) -> tuple[Axis, Axis]:
    """Return how height and width are resized and cut."""
    height, width = graph.size(IMAGE, 1), graph.size(IMAGE, 2)
    if isinstance(steps.resized, int):
        shorter = graph.op("Min", height, width)
        resized = [
            graph.op("Div", graph.op("Mul", side, graph.number(steps.resized)), shorter)
            for side in (height, width)
        ]
    else:
        resized = [graph.number(side) for side in steps.resized]
    kept = (steps.height, steps.width)
    first, second = (
        Axis(length, side, _first_kept(graph, side, wanted, steps.cut_even), wanted)
        for length, side, wanted in zip((height, width), resized, kept, strict=True)
    )
    return first, second


def _first_kept(graph: OnnxGraph, length: str, kept: int, even: bool) -> str:
    """Return where what is kept of an axis begins: in its middle; below 0 there is black."""
    left = graph.op("Sub", length, graph.number(kept))
    padded = graph.op("Neg", graph.op("Div", graph.op("Neg", left), graph.number(2)))
    cut = graph.op("Div", left, graph.number(2))
    if even:  # half to even, as Python's round
        odd = graph.op("Mod", left, graph.number(2))
        cut = graph.op("Add", cut, graph.op("Mul", odd, graph.op("Mod", cut, graph.number(2))))
    return graph.op("Where", graph.op("Less", left, graph.number(0)), padded, cut)


def _is_in_size(graph: OnnxGraph, steps: ImageSteps, axes: tuple[Axis, Axis]) -> str | None:
    """Return whether the image has its size already; None where nothing of its size stays so."""
    sides = (steps.height, steps.width)
    stays = (
        {steps.resized} == set(sides) if isinstance(steps.resized, int) else steps.resized == sides
    )
    if not stays:
        return None
    same = [
        graph.op("Equal", axis.length, graph.number(side))
        for axis, side in zip(axes, sides, strict=True)
    ]
    return graph.op("And", *same)


def _is_tall(graph: OnnxGraph, height: Axis, width: Axis) -> str:
    """Return whether Pillow resizes columns first, see `pillow_goes_down_first`."""
    shrinks = graph.op("Sub", height.length, height.resized)
    narrows = graph.op("Sub", width.length, width.resized)
    twice = graph.op("Max", graph.op("Mul", narrows, graph.number(2)), graph.number(0))
    return graph.op("Greater", shrinks, twice)


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
