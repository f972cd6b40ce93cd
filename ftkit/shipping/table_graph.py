"""The operations that stand before a perceptron for tables: from cells to its own numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx

from ftkit.data.encoders import ColumnEncoder
from ftkit.exported.about import Column
from ftkit.exported.inputs import FEATURES, cell
from ftkit.shipping.onnx_graph import DOUBLE, FLOAT, OnnxGraph, value


def table_graph(settings: Any, encoder: ColumnEncoder, output: str) -> onnx.ModelProto:
    """Return the graph from `features` (B, columns) float64 to scaled numbers (B, D) float32.

    Args:
        settings: of the task: its columns, their words, levels and gaps.
        output: the name of the numbers.
    """
    graph = OnnxGraph("table/")
    parts = []
    for place, column in enumerate(columns_of(settings)):
        cell = graph.op("Gather", FEATURES, graph.ints(place), axis=1)
        if column.words:
            parts.append(_marks(graph, cell, range(len(column.words))))
            continue
        parts.append(cell)
        if levels := settings.levels.get(column.name):
            parts.append(_marks(graph, cell, levels))
        if column.name in settings.gaps:
            parts.append(graph.cast(graph.op("IsNaN", cell), DOUBLE))
    row = graph.op("Concat", *parts, axis=1)
    less = graph.op("Sub", row, graph.constant([encoder.mean], np.float64))
    scaled = graph.op("Div", less, graph.constant([encoder.deviation], np.float64))
    gap = graph.op("IsNaN", scaled)
    there = graph.op("Where", gap, graph.constant(0.0, np.float64), scaled)
    graph.named(graph.cast(there, FLOAT), output)
    return graph.model(
        [value(FEATURES, DOUBLE, "batch", len(settings.columns))],
        [value(output, FLOAT, "batch", encoder.size)],
    )


def columns_of(settings: Any) -> tuple[Column, ...]:
    """Return the columns of a table in the order of the inputs."""
    return tuple(
        Column(name, tuple(settings.categories.get(name, ()))) for name in settings.columns
    )


def _marks(graph: OnnxGraph, cell: str, values: Any) -> str:
    """Return (B, values) 1 where the cell is one of the values, else 0."""
    known = graph.constant([[float(one) for one in values]], np.float64)
    return graph.cast(graph.op("Equal", cell, known), DOUBLE)


def features_of(settings: Any, row: Mapping[str, Any]) -> list[float]:
    """Return the numbers of a row as the task's own inputs have them, before they are scaled."""
    found: list[float] = []
    for column in columns_of(settings):
        value = cell(column, row)
        if column.words:
            found += [float(place == value) for place in range(len(column.words))]
            continue
        found += [value, *(float(one == value) for one in settings.levels.get(column.name, ()))]
        found += [float(math.isnan(value))] if column.name in settings.gaps else []
    return found
