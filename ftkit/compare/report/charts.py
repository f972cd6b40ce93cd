"""Charts of a report as SVG: text that is searched, read aloud and printed, in two colour schemes.

Colours are the page's custom properties; `ftkit.compare.report.drawing` has them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ftkit.compare.report.drawing import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Linear,
    Log,
    axes,
    axis_text,
    dot,
    label,
    line,
    short,
    svg,
    tag,
)
from ftkit.machine.numbers import fixed, plain

MOST_MARKS = 15
"""The points of a line are marked when there are at most so many."""
SERIES = 8
"""The number of colours. The ninth line has the colour of the first, in dashes."""
MOST_DOTS = 500
"""The most points of a chart that has one for each test row."""
BARS = 25
"""The bars of a histogram."""


@dataclass(frozen=True)
class Point:
    """A strategy in a chart of costs."""

    label: str
    x: float
    y: float
    low: float
    high: float
    front: bool
    """Whether it is on the Pareto front, and so its point is filled."""
    series: int = 0
    """Number of its colour."""


@dataclass(frozen=True)
class Line:
    """A strategy's figure over time."""

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    series: int = 0
    """Number of its colour."""


def costs(points: Sequence[Point], x_name: str, y_name: str, lower_is_better: bool = False) -> str:
    """Return a chart of a figure over a cost, which has a logarithmic axis; intervals are bars.

    Points far worse than all others stand at the edge, with their value.
    """
    least = min((point.x for point in points if point.x > 0), default=1.0)
    some_are_zero = any(point.x <= 0 for point in points)
    floor = least / 10 if some_are_zero else least / 1.6
    x = Log(floor, max([*(point.x for point in points), least]) * 1.6, LEFT, WIDTH - RIGHT)
    y = Linear(*_range(points, lower_is_better), HEIGHT - BOTTOM, TOP)
    parts = axes(x, y, x_name, y_name, "0" if some_are_zero else None)
    front = sorted((x(max(p.x, floor)), y(p.y)) for p in points if p.front)
    if len(front) > 1:
        parts.append(tag("polyline", points=_path(front), class_="front"))
    places = [(x(max(p.x, floor)), y(p.y)) for p in points]
    taken = [(across - 8, across + 8, down) for across, down in places]
    for point in sorted(points, key=lambda point: -point.y):
        across, down, colour = x(max(point.x, floor)), y(point.y), _colour(point.series)
        interval = y(point.low), y(point.high)
        parts.append(line(across, interval[0], across, interval[1], stroke=colour, stroke_width=2))
        fill = colour if point.front else "var(--paper)"
        parts.append(dot(across, down, 6, fill, stroke=colour, stroke_width=2.5))
        outside = not y.low <= point.y <= y.high
        text = f"{point.label} {fixed(point.y)}" if outside else point.label
        parts.append(label(text, across + 11, _free(taken, across, down, text) + 4))
    told = "; ".join(
        f"{p.label}: {y_name} {fixed(p.y)} at {x_name} {plain(p.x)}" + (", on the front" * p.front)
        for p in points
    )
    return svg(parts, f"{y_name} against {x_name}. {told}.")


def curves(lines: Sequence[Line], x_name: str, y_name: str, lower_is_better: bool = False) -> str:
    """Return lines over each other; time has a logarithmic axis."""
    every = [value for each in lines for value in each.x if value > 0]
    x = Log(min(every), max(every) * 1.1, LEFT, WIDTH - RIGHT)
    last = [each.y[-1] for each in lines]
    reach = max(max(last) - min(last), 0.02)
    values = [value for each in lines for value in each.y]
    low = max(min(values), min(last) - (0.02 if lower_is_better else reach))
    high = min(max(values), max(last) + (reach if lower_is_better else 0.02))
    y = Linear(low - (high - low) * 0.05, high + (high - low) * 0.05, HEIGHT - BOTTOM, TOP)
    parts = axes(x, y, x_name, y_name)
    taken: list[tuple[float, float, float]] = []
    for each in lines:
        ends = [(x(max(a, min(every))), y(b)) for a, b in zip(each.x, each.y, strict=True)]
        style = {"fill": "none", "stroke": _colour(each.series), "stroke_width": "2"}
        if each.series >= SERIES:
            style["stroke_dasharray"] = "6 4"
        parts.append(tag("polyline", points=_path(ends), **style))
        marks = ends if len(ends) <= MOST_MARKS else ends[-1:]
        parts += [dot(*mark, 2.5, _colour(each.series)) for mark in marks]
        across, down = ends[-1]
        parts.append(label(each.label, across + 8, _free(taken, across, down, each.label) + 4))
    told = "; ".join(f"{each.label} ends at {fixed(each.y[-1])}" for each in lines)
    return svg(parts, f"{y_name} over {x_name}. {told}.")


def confusion(counts: np.ndarray, names: Sequence[str], title: str) -> str:
    """Return a confusion matrix (C, C): rows are true classes, columns predicted ones."""
    C = len(names)
    cell = max(11.0, min(38.0, 460 / C))
    margin = min(150, 18 + 7 * max(len(name) for name in names))
    width, height = max(margin + cell * C + 10, margin + 310), margin + cell * C + 30
    shares = counts / counts.sum(axis=1, keepdims=True).clip(1)
    starts, middle = [margin + cell * place for place in range(C)], cell / 2
    parts = []
    for row, down in enumerate(starts):
        for column, across in enumerate(starts):
            tint = f"rgba(var(--tint),{0.04 + 0.56 * shares[row, column]:.2f})"
            side = cell - 1
            parts.append(tag("rect", x=across, y=down, width=side, height=side, fill=tint))
            if counts[row, column] and cell >= 22:
                count = str(counts[row, column])
                parts.append(label(count, across + middle, down + middle + 4, "middle"))
        place, name, edge = down + middle, short(names[row]), margin - 6
        slanted = f"rotate(-45 {place:.1f} {edge})"
        parts += [label(name, edge, place + 4, "end"), label(name, place, edge, transform=slanted)]
    parts.append(
        axis_text("rows: true class; columns: predicted class", margin, height - 8, "start")
    )
    wrong = int(counts.sum() - counts.trace())
    return svg(parts, f"{title}: {wrong} of {int(counts.sum())} wrong.", width, height)


def reliability(bins: Sequence[tuple[float, float, int]], title: str, error: float) -> str:
    """Return a reliability diagram: for each bin (mean confidence, share right, examples)."""
    side = 260
    x, y = Linear(0, 1, 54, side - 12), Linear(0, 1, side - 40, 12)
    parts = []
    for tick in (0.0, 0.5, 1.0):
        parts.append(line(54, y(tick), side - 12, y(tick), class_="grid"))
        parts.append(axis_text(f"{tick:g}", 48, y(tick) + 4, "end"))
        parts.append(axis_text(f"{tick:g}", x(tick), side - 22, "middle"))
    parts.append(line(x(0), y(0), x(1), y(1), class_="axis", stroke_dasharray="3 3"))
    most = max((count for _, _, count in bins), default=1)
    for confidence, right, count in bins:
        radius = 2.5 + 6 * math.sqrt(count / most)
        parts.append(
            dot(x(confidence), y(right), radius, "rgba(var(--tint),.65)", stroke="var(--front)")
        )
    upright = f"translate(12 {side / 2:.0f}) rotate(-90)"
    parts.append(axis_text("confidence", side / 2 + 16, side - 5, "middle"))
    parts.append(axis_text("share right", 0, 0, "middle", transform=upright))
    said = f"Reliability of {title}: expected calibration error {error:.3f}."
    return svg(parts, said, side, side)


def agreement(truth: np.ndarray, told: np.ndarray, title: str) -> str:
    """Return predicted numbers (N,) against true ones (N,), and the line where both are equal."""
    ends = float(min(truth.min(), told.min())), float(max(truth.max(), told.max()))
    x, y = Linear(*ends, LEFT, WIDTH - RIGHT), Linear(*ends, HEIGHT - BOTTOM, TOP)
    equal = line(x(x.low), y(y.low), x(x.high), y(y.high))
    parts = [*axes(x, y, "true", "predicted"), equal, *_dots(x, y, truth, told)]
    return svg(parts, f"Predicted against true numbers of {title}.")


def residuals(truth: np.ndarray, told: np.ndarray, title: str) -> str:
    """Return true less predicted numbers (N,) over the predicted ones, and the line of none."""
    rest = truth - told
    reach = float(np.abs(rest).max()) or 1.0
    x = Linear(float(told.min()), float(told.max()), LEFT, WIDTH - RIGHT)
    y = Linear(-reach, reach, HEIGHT - BOTTOM, TOP)
    none = line(LEFT, y(0), WIDTH - RIGHT, y(0))
    parts = [*axes(x, y, "predicted", "true less predicted"), none, *_dots(x, y, told, rest)]
    return svg(parts, f"True less predicted numbers of {title}.")


def _dots(x: Linear, y: Linear, across: np.ndarray, down: np.ndarray) -> list[str]:
    """Return points (N,), `MOST_DOTS` of them at most."""
    pick = np.linspace(0, len(across) - 1, min(MOST_DOTS, len(across))).round().astype(int)
    return [dot(x(across[n]), y(down[n]), 3.5, "rgba(var(--tint),.55)") for n in pick]


def histogram(values: np.ndarray, ends: tuple[float, float], x_name: str, title: str) -> str:
    """Return how many values (N,) lie where. Those beyond the ends are in the last bars."""
    counts, edges = np.histogram(values.clip(*ends), BARS, ends)
    x = Linear(*ends, LEFT, WIDTH - RIGHT)
    y = Linear(0, int(counts.max()), HEIGHT - BOTTOM, TOP)
    parts = axes(x, y, x_name, "test rows")
    for count, low, high in zip(counts.tolist(), edges[:-1], edges[1:], strict=True):
        size = {"width": x(high) - x(low) - 1, "height": y(0) - y(count)}
        parts.append(tag("rect", x=x(low), y=y(count), fill="rgba(var(--tint),.65)", **size))
    return svg(parts, f"{x_name}, {title}: half have {plain(np.median(values))} or less.")


def _path(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{across:.1f},{down:.1f}" for across, down in places)


def _range(points: Sequence[Point], lower_is_better: bool) -> tuple[float, float]:
    """Return the ends of the axis: of all points but those far worse than the others."""
    sign = -1 if lower_is_better else 1
    ordered = sorted(points, key=lambda point: sign * point.y)
    while len(ordered) > 2:
        rest = [p.y for p in ordered[1:]]
        if abs(rest[0] - ordered[0].y) <= 2 * (max(rest) - min(rest)):
            break
        ordered = ordered[1:]
    low, high = min(p.low for p in ordered), max(p.high for p in ordered)
    edge = 0.06 * (high - low or 1)
    return low - edge, high + edge


def _free(taken: list[tuple[float, float, float]], across: float, down: float, text: str) -> float:
    """Return a height near `down` at which no other label stands.

    Args:
        taken: left end, right end and height of those that stand, to which this one is added.
    """
    start, end = across + 9, across + 20 + 8 * len(text)
    height = min(max(down, TOP + 6), HEIGHT - BOTTOM - 6)
    while any(a < end and start < b and abs(height - h) < 15 for a, b, h in taken):
        height += 15
    taken.append((start, end, height))
    return height


def _colour(series: int) -> str:
    return f"var(--s{series % SERIES})"
