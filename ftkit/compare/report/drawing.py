"""What charts are drawn with: scales, axes, colours in two schemes, and the SVG around them.

By hand, as matplotlib's SVG has its colours fixed, where the page has a light and a dark scheme.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from ftkit.errors.names import visible
from ftkit.machine.numbers import plain

WIDTH, HEIGHT = 520, 340
LEFT, RIGHT, TOP, BOTTOM = 64, 112, 16, 50
STYLE = """
:root{--ink:#1b1f24;--soft:#57606a;--line:#d0d7de;--paper:#ffffff;
--tint:31,111,235;--front:#0b6bcb;--s0:#0b6bcb;--s1:#b45309;--s2:#0f766e;--s3:#a21caf;
--s4:#4d7c0f;--s5:#b91c1c;--s6:#4338ca;--s7:#57534e}
@media (prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9ba7b4;--line:#3d444d;
--paper:#0d1117;--tint:88,166,255;--front:#6cb6ff;--s0:#6cb6ff;--s1:#f0a45d;--s2:#4fd1c5;
--s3:#e879f9;--s4:#a3d65c;--s5:#ff8a8a;--s6:#a5b4fc;--s7:#d6d3d1}}
svg text{font:14px system-ui,sans-serif;fill:var(--ink)}
svg .soft{fill:var(--soft)}
svg .grid{stroke:var(--line);stroke-width:1}
svg .axis{stroke:var(--soft);stroke-width:1}
svg .front{fill:none;stroke:var(--front);stroke-width:1.5;stroke-dasharray:4 4}
"""


def escaped(text: str) -> str:
    """Return a text as SVG shows it; hidden characters, which XML forbids, are written out."""
    return escape(visible(text))


def standalone(svg: str) -> str:
    """Return an SVG of a page as a file of its own."""
    return svg.replace(">", f"><style>{STYLE}</style>", 1)


class Linear:
    """A scale from values to pixels. Values beyond its ends stand at the edge."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high = low, high if high > low else low + 1
        self.start, self.end = start, end

    def __call__(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        """Return four to eight round values, and how they are written."""
        step = 10 ** math.floor(math.log10((self.high - self.low) / 2))
        step *= next(m for m in (1, 2, 5, 10) if (self.high - self.low) / (step * m) <= 8)
        first = math.ceil(self.low / step - 1e-9)
        count = math.floor(self.high / step + 1e-9) - first + 1
        return [((first + n) * step, plain((first + n) * step, 6)) for n in range(count)]


class Log(Linear):
    """A scale on which equal factors have equal distances."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        super().__init__(math.log10(low), math.log10(max(high, low * 1.01)), start, end)

    def __call__(self, value: float) -> float:
        return super().__call__(math.log10(max(value, 1e-12)))

    def ticks(self) -> list[tuple[float, str]]:
        """Return powers of ten, or of ten with 2 and 5 between them."""
        powers = range(math.floor(self.low), math.ceil(self.high) + 1)
        for steps in ((1, 2, 5), (1,)):
            found = [m * 10.0**p for p in powers for m in steps]
            inside = [v for v in found if self.low <= math.log10(v) <= self.high]
            if len(inside) <= 7:
                break
        return [(value, _si(value)) for value in inside]


def _si(value: float) -> str:
    for size, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{name}"
    return f"{value:g}"


def tag(name: str, text: str | None = None, /, **attributes: float | str) -> str:
    """Return an element of SVG; in the names of attributes a _ stands for -."""
    written = "".join(
        f" {key.strip('_').replace('_', '-')}="
        f'"{value if isinstance(value, str) else format(value, ".1f")}"'
        for key, value in attributes.items()
    )
    return f"<{name}{written}/>" if text is None else f"<{name}{written}>{escaped(text)}</{name}>"


def line(x1: float, y1: float, x2: float, y2: float, **style: float | str) -> str:
    """Return a straight line: of an axis, unless its style says another class or colour."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, **(style or {"class_": "axis"}))


def dot(x: float, y: float, radius: float, fill: str, **style: float | str) -> str:
    """Return a filled circle."""
    return tag("circle", cx=x, cy=y, r=radius, fill=fill, **style)


def label(text: str, x: float, y: float, anchor: str = "start", **style: float | str) -> str:
    """Return a text that starts, ends or has its middle at a place."""
    return tag("text", text, x=x, y=y, text_anchor=anchor, **style)


def axis_text(text: str, x: float, y: float, anchor: str, **style: float | str) -> str:
    """Return a text of an axis."""
    return label(text, x, y, anchor, class_="soft", **style)


def axes(x: Linear, y: Linear, x_name: str, y_name: str, zero: str | None = None) -> list[str]:
    """Return the axes of a chart of the usual size, and its grid.

    Args:
        zero: what stands at the left end of a logarithmic axis that also has zeros.
    """
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for value, text in y.ticks():
        parts.append(line(LEFT, y(value), right, y(value), class_="grid"))
        parts.append(axis_text(text, LEFT - 8, y(value) + 4, "end"))
    ticks = [(x(value), text) for value, text in x.ticks()]
    if zero:
        ticks = [(LEFT, zero), *((place, text) for place, text in ticks if place > LEFT + 30)]
    for place, text in ticks:
        parts.append(line(place, bottom, place, bottom + 5))
        parts.append(axis_text(text, place, bottom + 20, "middle"))
    upright = f"translate(15 {(TOP + bottom) / 2:.0f}) rotate(-90)"
    return [
        *parts,
        line(LEFT, bottom, right, bottom),
        axis_text(x_name, (LEFT + right) / 2, HEIGHT - 8, "middle"),
        axis_text(y_name, 0, 0, "middle", transform=upright),
    ]


def short(name: str) -> str:
    """Return a name of 18 characters at most."""
    return name if len(name) <= 18 else name[:17] + "…"


def svg(parts: Sequence[str], told: str, width: float = WIDTH, height: float = HEIGHT) -> str:
    """Return the picture; `told` is what is read aloud instead.

    It is as wide as the page has room, up to a quarter more than its own width.
    """
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'style="max-width:{1.25 * width:.0f}px" '
        f'role="img" aria-label="{escaped(told)}">{"".join(parts)}</svg>'
    )
