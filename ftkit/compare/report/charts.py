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
    escaped,
    short,
    svg,
)

MOST_MARKS = 15
"""Points of a line that are marked."""
SERIES = 8
"""Colours of lines; the ninth line has the first one's again, in dashes."""


MOST_DOTS = 500
"""Of a chart with a point for each test row."""
BARS = 25
"""Of a histogram."""


@dataclass(frozen=True)
class Point:
    """A strategy in a chart of costs."""

    label: str
    x: float
    y: float
    low: float
    high: float
    front: bool
    """Whether it is on the Pareto front, and so is filled."""
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
    floor = least / 10 if any(point.x <= 0 for point in points) else least / 1.6
    x = Log(floor, max([*(point.x for point in points), least]) * 1.6, LEFT, WIDTH - RIGHT)
    y = Linear(*_range(points, lower_is_better), HEIGHT - BOTTOM, TOP)
    zero = "0" if any(point.x <= 0 for point in points) else None
    parts = [*axes(x, y, x_name, y_name, zero)]
    front = sorted((x(max(p.x, floor)), y(p.y)) for p in points if p.front)
    if len(front) > 1:
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in front)
        parts.append(f'<polyline class="front" points="{path}"/>')
    places = [(x(max(p.x, floor)), y(p.y)) for p in points]
    taken = [(across - 8, across + 8, down) for across, down in places]
    for point in sorted(points, key=lambda point: -point.y):
        across, down = x(max(point.x, floor)), y(point.y)
        colour = _colour(point.series)
        outside = not y.low <= point.y <= y.high
        parts.append(
            f'<line x1="{across:.1f}" x2="{across:.1f}" y1="{y(point.low):.1f}" '
            f'y2="{y(point.high):.1f}" stroke="{colour}" stroke-width="2"/>'
        )
        fill = colour if point.front else "var(--paper)"
        parts.append(
            f'<circle cx="{across:.1f}" cy="{down:.1f}" r="6" fill="{fill}" stroke="{colour}" '
            f'stroke-width="2.5"/>'
        )
        text = f"{point.label} {point.y:.3f}" if outside else point.label
        height = _free(taken, across, down, text)
        parts.append(f'<text x="{across + 11:.1f}" y="{height + 4:.1f}">{escaped(text)}</text>')
    told = "; ".join(
        f"{p.label}: {y_name} {p.y:.3f} at {x_name} {p.x:.3g}" + (", on the front" * p.front)
        for p in points
    )
    return svg(parts, f"{y_name} against {x_name}. {told}.")


def curves(lines: Sequence[Line], x_name: str, y_name: str, lower_is_better: bool = False) -> str:
    """Return lines over each other; time has a logarithmic axis."""
    every = [value for line in lines for value in line.x if value > 0]
    x = Log(min(every), max(every) * 1.1, LEFT, WIDTH - RIGHT)
    last = [line.y[-1] for line in lines]
    reach = max(max(last) - min(last), 0.02)
    values = [value for line in lines for value in line.y]
    low = max(min(values), min(last) - (0.02 if lower_is_better else reach))
    high = min(max(values), max(last) + (reach if lower_is_better else 0.02))
    y = Linear(low - (high - low) * 0.05, high + (high - low) * 0.05, HEIGHT - BOTTOM, TOP)
    parts = [*axes(x, y, x_name, y_name, None)]
    taken: list[tuple[float, float, float]] = []
    for line in lines:
        ends = [(x(max(a, min(every))), y(b)) for a, b in zip(line.x, line.y, strict=True)]
        colour = _colour(line.series)
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in ends)
        dashes = ' stroke-dasharray="6 4"' if line.series >= SERIES else ""
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>'
        )
        marks = ends if len(ends) <= MOST_MARKS else ends[-1:]
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.5" fill="{colour}"/>' for a, b in marks]
        across, down = ends[-1]
        height = _free(taken, across, down, line.label)
        parts.append(
            f'<text x="{across + 8:.1f}" y="{height + 4:.1f}">{escaped(line.label)}</text>'
        )
    told = "; ".join(f"{line.label} ends at {line.y[-1]:.3f}" for line in lines)
    return svg(parts, f"{y_name} over {x_name}. {told}.")


def confusion(counts: np.ndarray, names: Sequence[str], title: str) -> str:
    """Return a confusion matrix (C, C): rows are true classes, columns predicted ones."""
    C = len(names)
    cell = max(11.0, min(38.0, 460 / C))
    margin = min(150, 18 + 7 * max(len(name) for name in names))
    width, height = max(margin + cell * C + 10, margin + 310), margin + cell * C + 30
    shares = counts / counts.sum(axis=1, keepdims=True).clip(1)
    parts = []
    for row in range(C):
        for column in range(C):
            across, down = margin + column * cell, margin + row * cell
            share = shares[row, column]
            parts.append(
                f'<rect x="{across:.1f}" y="{down:.1f}" width="{cell - 1:.1f}" '
                f'height="{cell - 1:.1f}" fill="rgba(var(--tint),{0.04 + 0.56 * share:.2f})"/>'
            )
            if counts[row, column] and cell >= 22:
                parts.append(
                    f'<text x="{across + cell / 2:.1f}" y="{down + cell / 2 + 4:.1f}" '
                    f'text-anchor="middle">{counts[row, column]}</text>'
                )
        place = margin + row * cell + cell / 2
        parts.append(
            f'<text x="{margin - 6}" y="{place + 4:.1f}" text-anchor="end">'
            f"{escaped(short(names[row]))}</text>"
        )
        parts.append(
            f'<text x="{place:.1f}" y="{margin - 6}" transform="rotate(-45 {place:.1f} '
            f'{margin - 6})">{escaped(short(names[row]))}</text>'
        )
    parts.append(
        f'<text class="soft" x="{margin}" y="{height - 8:.0f}">'
        f"rows: true class; columns: predicted class</text>"
    )
    wrong = int(counts.sum() - counts.trace())
    return svg(parts, f"{title}: {wrong} of {int(counts.sum())} wrong.", width, height)


def reliability(bins: Sequence[tuple[float, float, int]], title: str, error: float) -> str:
    """Return a reliability diagram: for each bin (mean confidence, share right, examples)."""
    side = 260
    x = Linear(0, 1, 54, side - 12)
    y = Linear(0, 1, side - 40, 12)
    parts = []
    for tick in (0.0, 0.5, 1.0):
        parts.append(
            f'<line class="grid" x1="54" x2="{side - 12}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        )
        parts.append(
            f'<text class="soft" x="48" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
        )
        parts.append(
            f'<text class="soft" x="{x(tick):.1f}" y="{side - 22}" text-anchor="middle">'
            f"{tick:g}</text>"
        )
    parts.append(
        f'<line class="axis" x1="{x(0):.1f}" y1="{y(0):.1f}" x2="{x(1):.1f}" y2="{y(1):.1f}" '
        f'stroke-dasharray="3 3"/>'
    )
    most = max((count for _, _, count in bins), default=1)
    for confidence, right, count in bins:
        radius = 2.5 + 6 * math.sqrt(count / most)
        parts.append(
            f'<circle cx="{x(confidence):.1f}" cy="{y(right):.1f}" r="{radius:.1f}" '
            f'fill="rgba(var(--tint),.65)" stroke="var(--front)"/>'
        )
    parts.append(
        f'<text class="soft" x="{side / 2 + 16:.0f}" y="{side - 5}" text-anchor="middle">'
        f"confidence</text>"
        f'<text class="soft" transform="translate(12 {side / 2:.0f}) rotate(-90)" '
        f'text-anchor="middle">share right</text>'
    )
    return svg(
        parts,
        f"Reliability of {title}: expected calibration error {error:.3f}.",
        side,
        side,
    )


def agreement(truth: np.ndarray, told: np.ndarray, title: str) -> str:
    """Return predicted numbers (N,) against true ones (N,), and the line where both are equal."""
    ends = float(min(truth.min(), told.min())), float(max(truth.max(), told.max()))
    x, y = Linear(*ends, LEFT, WIDTH - RIGHT), Linear(*ends, HEIGHT - BOTTOM, TOP)
    line = x(x.low), y(y.low), x(x.high), y(y.high)
    said = f"Predicted against true numbers of {title}."
    return _dots(truth, told, (x, y), ("true", "predicted"), line, said)


def residuals(truth: np.ndarray, told: np.ndarray, title: str) -> str:
    """Return true less predicted numbers (N,) over the predicted ones, and the line of none."""
    rest = truth - told
    reach = float(np.abs(rest).max()) or 1.0
    x = Linear(float(told.min()), float(told.max()), LEFT, WIDTH - RIGHT)
    y = Linear(-reach, reach, HEIGHT - BOTTOM, TOP)
    line = LEFT, y(0), WIDTH - RIGHT, y(0)
    said = f"True less predicted numbers of {title}."
    return _dots(told, rest, (x, y), ("predicted", "true less predicted"), line, said)


def _dots(
    across: np.ndarray,
    down: np.ndarray,
    scales: tuple[Linear, Linear],
    names: tuple[str, str],
    line: tuple[float, float, float, float],
    said: str,
) -> str:
    """Return points (N,), `MOST_DOTS` of them at most, over a line."""
    x, y = scales
    pick = np.linspace(0, len(across) - 1, min(MOST_DOTS, len(across))).round().astype(int)
    x1, y1, x2, y2 = line
    parts = [*axes(x, y, *names, None)]
    parts.append(f'<line class="axis" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')
    parts += [
        f'<circle cx="{x(across[n]):.1f}" cy="{y(down[n]):.1f}" r="3.5" '
        f'fill="rgba(var(--tint),.55)"/>'
        for n in pick
    ]
    return svg(parts, said)


def histogram(values: np.ndarray, ends: tuple[float, float], x_name: str, title: str) -> str:
    """Return how many of the values (N,) lie where; those beyond the ends are in the last bars."""
    counts, edges = np.histogram(values.clip(*ends), BARS, ends)
    x = Linear(*ends, LEFT, WIDTH - RIGHT)
    y = Linear(0, int(counts.max()), HEIGHT - BOTTOM, TOP)
    parts = [*axes(x, y, x_name, "test rows", None)]
    parts += [
        f'<rect x="{x(low):.1f}" y="{y(count):.1f}" width="{x(high) - x(low) - 1:.1f}" '
        f'height="{y(0) - y(count):.1f}" fill="rgba(var(--tint),.65)"/>'
        for count, low, high in zip(counts.tolist(), edges[:-1], edges[1:], strict=True)
    ]
    return svg(parts, f"{x_name}, {title}: half have {np.median(values):.3g} or less.")


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
    """Return a height for a label near `down` at which no other one stands.

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
