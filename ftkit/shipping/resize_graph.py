"""Resizing an image in an ONNX graph, to the levels that Pillow or torchvision computes.

ONNX has an operation Resize, but for images of 256 levels it gives another level here and there,
and models have been seen to answer otherwise for such differences. Pillow computes in whole
numbers: each pixel of a row is a weighted sum of pixels, with weights of 22 binary digits, rounded
to a level; and the same for columns (Pillow's Resample.c). torchvision does the same with weights
of 15 digits (ATen's UpSampleKernel.cpp). Such sums are products with a matrix. float32 holds whole
numbers up to 2^24, so weights are split into two parts of 11 digits each; then the sums of both are
whole numbers that float32 holds, whatever the order in which they are added.

A row of the matrix has weights other than zero in a narrow window alone. So outputs are taken in
groups, each with the part of the image that its windows cover: a tenth of the work with a large
photo.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ftkit.shipping.onnx_graph import DOUBLE, FLOAT, OnnxGraph

DIGITS = 22
"""Binary digits of Pillow's weights, and the most of torchvision's."""
HALF = 2**11
"""Weights are split at this number."""
GROUPS = 8
"""Groups of outputs. With 8 a photo of 12 megapixels takes a sixth of the time of one group."""


@dataclass(frozen=True)
class Axis:
    """How one axis of an image is resized and cut."""

    length: str
    """The name of how long it is."""
    resized: str
    """The name of how long it becomes."""
    first: str
    """The name of the place where what is kept begins; below zero there is black."""
    kept: int
    """How much of it is kept."""


def cubic(graph: OnnxGraph, x: str) -> str:
    """Return Keys' cubic with a = -1/2 (1981), of distances."""

    def polynomial(*factors: float) -> str:
        found = graph.constant(factors[0], np.float64)
        for factor in factors[1:]:
            scaled = graph.op("Mul", found, x)
            found = graph.op("Add", scaled, graph.constant(factor, np.float64))
        return found

    near, far = polynomial(1.5, -2.5, 0.0, 1.0), polynomial(-0.5, 2.5, -4.0, 2.0)
    outer = _where_below(graph, x, 2.0, far, graph.constant(0.0, np.float64))
    return _where_below(graph, x, 1.0, near, outer)


def linear(graph: OnnxGraph, x: str) -> str:
    """Return 1 - x, of distances, and 0 from 1 on."""
    one = graph.constant(1.0, np.float64)
    return graph.op("Max", graph.op("Sub", one, x), graph.constant(0.0, np.float64))


def lanczos(graph: OnnxGraph, x: str) -> str:
    """Return sinc(x) sinc(x / 3), of distances, and 0 from 3 on."""

    def sinc(y: str) -> str:
        tiny = graph.constant(1e-30, np.float64)
        angle = graph.op("Mul", graph.op("Max", y, tiny), graph.constant(np.pi, np.float64))
        return graph.op("Div", graph.op("Sin", angle), angle)

    third = graph.op("Div", x, graph.constant(3.0, np.float64))
    found = graph.op("Mul", sinc(x), sinc(third))
    return _where_below(graph, x, 3.0, found, graph.constant(0.0, np.float64))


def _where_below(graph: OnnxGraph, x: str, end: float, below: str, above: str) -> str:
    return graph.op("Where", graph.op("Less", x, graph.constant(end, np.float64)), below, above)


Filter = Literal["bilinear", "bicubic", "lanczos"]
FILTERS: dict[str, tuple[Callable[[OnnxGraph, str], str], int]] = {
    "bilinear": (linear, 1),
    "bicubic": (cubic, 2),
    "lanczos": (lanczos, 3),
}
"""Each filter, and how far it reaches."""


def resize(
    graph: OnnxGraph,
    levels: str,
    height: Axis,
    width: Axis,
    by: Filter,
    like_pillow: bool,
    rows_first: bool = True,
) -> str:
    """Return levels (N, C, h, w) float32 of an image (N, C, H, W) float32, both whole numbers.

    Args:
        by: the filter.
        like_pillow: with Pillow's weights; else with those of torchvision for tensors of uint8.
        rows_first: each row is resized, then each column; both round to levels.
    """
    for down in (False, True) if rows_first else (True, False):
        levels = _along(graph, levels, height if down else width, by, like_pillow, down)
    return levels


def _along(
    graph: OnnxGraph, levels: str, axis: Axis, by: Filter, like_pillow: bool, down: bool
) -> str:
    """Return the levels with one axis resized and cut: each row, or down each column."""
    places, high, low, digits = _weights(graph, axis, by, like_pillow)
    dimension = 2 if down else 3
    parts = []
    for group in np.array_split(np.arange(axis.kept), min(GROUPS, axis.kept)):
        start, end = graph.ints(int(group[0])), graph.ints(int(group[-1]) + 1)
        inside = graph.part(places, start, end, 0)
        first = graph.reshaped(graph.op("ReduceMin", inside, keepdims=0), 1)
        last = graph.reshaped(graph.op("ReduceMax", inside, keepdims=0), 1)
        behind = graph.op("Add", last, graph.ints(1))
        covered = graph.part(levels, first, behind, dimension)
        inside = graph.op("Sub", inside, first)
        shape = graph.op("Concat", graph.ints(len(group)), graph.op("Sub", behind, first), axis=0)
        empty = graph.op("Expand", graph.constant(0.0, np.float32), shape)
        both = []
        for weights in (high, low):
            own = graph.part(weights, start, end, 0)
            matrix = graph.op("ScatterElements", empty, inside, own, axis=1, reduction="add")
            if down:
                both.append(graph.op("MatMul", matrix, covered))
            else:
                both.append(graph.op("MatMul", covered, graph.op("Transpose", matrix, perm=[1, 0])))
        parts.append(_rounded(graph, both[0], both[1], digits))
    return graph.op("Concat", *parts, axis=dimension) if len(parts) > 1 else parts[0]


def _rounded(graph: OnnxGraph, high: str, low: str, digits: str) -> str:
    """Return the level of each sum, which is `high` times HALF and `low` together."""
    half = graph.constant(HALF, np.float32)
    rest = graph.op("Sub", digits, graph.constant(np.log2(HALF), np.float32))
    divisor = graph.op("Pow", graph.constant(2.0, np.float32), rest)
    middle = graph.op("Mul", divisor, graph.constant(HALF / 2, np.float32))  # half a level
    carried = graph.op("Floor", graph.op("Div", graph.op("Add", low, middle), half))
    found = graph.op("Floor", graph.op("Div", graph.op("Add", high, carried), divisor))
    return graph.op("Clip", found, graph.constant(0, np.float32), graph.constant(255, np.float32))


def _weights(
    graph: OnnxGraph, axis: Axis, by: Filter, like_pillow: bool
) -> tuple[str, str, str, str]:
    """Return for each output kept the places (K, T) that it looks at, and their weights.

    These are whole numbers in two parts, (K, T) float32 each, and how many binary digits a weight
    of 1 has, as float32.
    """
    window, reach = FILTERS[by]
    places, weights = _window(graph, axis, window, reach, graph.ints(*range(axis.kept)))
    digits = graph.constant(DIGITS, np.float64)
    if not like_pillow:
        digits = _digits_of_torchvision(graph, axis, window, reach)
    scale = graph.op("Pow", graph.constant(2.0, np.float64), digits)
    size = graph.op("Mul", graph.op("Abs", weights), scale)
    whole = graph.op("Floor", graph.op("Add", size, graph.constant(0.5, np.float64)))
    whole = graph.op("Mul", whole, graph.op("Sign", weights))
    half = graph.constant(HALF, np.float64)
    shifted = graph.op("Add", whole, graph.constant(HALF / 2, np.float64))
    high = graph.op("Floor", graph.op("Div", shifted, half))
    low = graph.op("Sub", whole, graph.op("Mul", high, half))
    return places, graph.cast(high, FLOAT), graph.cast(low, FLOAT), graph.cast(digits, FLOAT)


def _digits_of_torchvision(
    graph: OnnxGraph, axis: Axis, window: Callable[[OnnxGraph, str], str], reach: int
) -> str:
    """Return with how many binary digits the largest weight still fits into 15."""
    every = graph.op("Range", graph.number(0), axis.resized, graph.number(1))
    whole = Axis(axis.length, axis.resized, graph.number(0), 0)
    _, weights = _window(graph, whole, window, reach, every)
    largest = graph.op("ReduceMax", weights, keepdims=0)
    powers = graph.constant([2.0 ** (digits + 1) for digits in range(DIGITS)], np.float64)
    fits = graph.op("Less", graph.op("Mul", powers, largest), graph.constant(32767.5, np.float64))
    return graph.op("ReduceSum", graph.cast(fits, DOUBLE), keepdims=0)


def _window(
    graph: OnnxGraph,
    axis: Axis,
    window: Callable[[OnnxGraph, str], str],
    reach: int,
    outputs: str,
) -> tuple[str, str]:
    """Return the places (K, T) int64 that each output looks at, and the weights (K, T) float64.

    Output o of `resized` stands over place (o + 1/2) length / resized - 1/2. All distances are
    fractions with one denominator, so numerators are computed in whole numbers.

    Args:
        outputs: name of the outputs (K,), counted from `axis.first`.
    """
    op, number = graph.op, graph.number
    outputs = graph.reshaped(op("Add", outputs, axis.first), -1, 1)
    larger = op("Max", axis.length, axis.resized)
    odd = op("Add", op("Mul", outputs, number(2)), number(1))
    centre = op("Mul", odd, axis.length)  # over 2 resized
    reached = op("Mul", larger, number(2 * reach))
    start = op("Add", op("Sub", centre, reached), axis.resized)
    first = op("Div", op("Max", start, number(0)), op("Mul", axis.resized, number(2)))
    taps = op("Add", op("Div", reached, axis.resized), number(2))
    steps = op("Range", number(0), taps, number(1))
    places = op("Add", first, steps)
    there = op("Less", places, axis.length)
    of_image = op("And", _at_least_zero(graph, outputs), op("Less", outputs, axis.resized))
    position = op("Mul", op("Add", op("Mul", places, number(2)), number(1)), axis.resized)
    apart = graph.cast(op("Abs", op("Sub", position, centre)), DOUBLE)
    distance = op("Div", apart, graph.cast(op("Mul", larger, number(2)), DOUBLE))
    nothing = graph.constant(0.0, np.float64)
    weights = op("Where", there, window(graph, distance), nothing)
    total = op("ReduceSum", weights, graph.ints(1), keepdims=1)
    share = op("Where", of_image, op("Div", weights, total), nothing)
    last = op("Sub", axis.length, number(1))
    return op("Max", op("Min", places, last), number(0)), share


def _at_least_zero(graph: OnnxGraph, numbers: str) -> str:
    return graph.op("Less", graph.number(-1), numbers)
