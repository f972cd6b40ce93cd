"""The table of scripts/bench_accuracy.py: means over seeds, intervals, paired tests and verdicts.

Intervals and tests are those of `ftkit compare`: over test rows, with what all seeds made of each.
They say what holds of these draws of training rows. The tests of a cell are those of ftkit with
each peer, and their p-values are adjusted for their number.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ftkit.compare.intervals import interval
from ftkit.compare.paired_tests import run_paired_tests
from ftkit.compare.row_statistics import RunStatistics, StrategyStatistics
from ftkit.compare.statistics import LEVEL, Paired

FTKIT = "ftkit"
NAMES = {"probe": "linear probe", "setfit": "SetFit", "fastai": "fastai"}
BEGIN, END = "<!-- scripts/bench_accuracy.py writes from here -->", "<!-- to here -->"


class Answers(NamedTuple):
    """What one tool made of the test rows after one draw; a line of the results."""

    data: str
    rows: int
    """Training rows of each class; 0 for all there are."""
    seed: int
    tool: str
    seconds: float
    told: str
    """What it did: ftkit's strategy, steps, epochs."""
    right: str
    """A letter for each test row: 1 where the answer is right."""

    @property
    def n(self) -> int:
        """The number of test rows."""
        return len(self.right)

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return self.right.count("1") / self.n

    @property
    def cell(self) -> tuple[str, int]:
        """The data set and the number of rows of each class."""
        return self.data, self.rows


@dataclass(frozen=True)
class Figure:
    """What one tool reached in a cell."""

    value: float
    low: float
    high: float
    seconds: float
    told: tuple[str, ...]
    less: Paired | None
    """How the tool differs from ftkit; None for ftkit itself."""

    @property
    def beats_ftkit(self) -> bool:
        """Whether the paired test says so."""
        return self.less is not None and self.less.p < LEVEL and self.less.difference > 0


@dataclass(frozen=True)
class CellFigures:
    """All tools in a cell, on the seeds that all of them have."""

    data: str
    rows: int
    seeds: int
    n: int
    tools: dict[str, Figure]

    @property
    def name(self) -> str:
        """What the cell is called in sentences."""
        return f"{self.data} with {self.rows or 'all'} labels a class"

    @property
    def best(self) -> str:
        """The tool with the highest mean; ftkit where it has the same."""
        return max(self.tools, key=lambda tool: (self.tools[tool].value, tool == FTKIT))

    @property
    def worse_than(self) -> list[str]:
        """The peers that the paired test tells to be better than ftkit."""
        return [tool for tool, figure in self.tools.items() if figure.beats_ftkit]


def write_report(found: list[Answers], docs: Path) -> None:
    """Print the table, and write it into accuracy.md and the figures into figures/accuracy.json.

    A cell of that file stays, as it was measured elsewhere, where fewer tools or seeds were found.
    """
    file = docs / "figures/accuracy.json"
    stored = json.loads(file.read_text("utf-8")) if file.exists() else []
    known = {(cell.data, cell.rows): cell for cell in map(from_json, stored)}
    for cell in cells_of(found):
        older = known.get((cell.data, cell.rows))
        if older is None or (len(older.tools), older.seeds) <= (len(cell.tools), cell.seeds):
            known[cell.data, cell.rows] = cell
    cells = sorted(known.values(), key=lambda cell: (cell.data, cell.rows or np.inf))
    if not cells:
        print("nothing is finished in which ftkit and a peer have a seed in common")
        return
    text = "\n".join([*table(cells), "", *verdict(cells)])
    print(text)
    page = docs / "accuracy.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
    file.write_text(f"{json.dumps([as_json(cell) for cell in cells], indent=1)}\n", "utf-8")


def cells_of(found: Iterable[Answers]) -> list[CellFigures]:
    """Return the cells, in order, in which ftkit and a peer have a seed in common."""
    groups: dict[tuple[str, int, int], dict[str, dict[int, Answers]]] = {}
    for each in found:
        tools = groups.setdefault((*each.cell, each.n), {})
        tools.setdefault(each.tool, {})[each.seed] = each
    order = sorted(groups, key=lambda key: (key[0], key[1] or np.inf, key[2]))
    cells = [_figures(key, groups[key]) for key in order]
    return [cell for cell in cells if cell is not None]


def _figures(key: tuple[str, int, int], tools: dict[str, dict[int, Answers]]) -> CellFigures | None:
    own = tools.get(FTKIT, {})
    tools = {tool: runs for tool, runs in tools.items() if set(runs) & set(own)}
    if len(tools) < 2:
        return None
    seeds = sorted(set.intersection(*(set(runs) for runs in tools.values())))
    if not seeds:
        return None
    found = {tool: _statistics([runs[seed] for seed in seeds]) for tool, runs in tools.items()}
    tests = run_paired_tests(found, "accuracy", about=FTKIT)
    figures = {}
    for tool in sorted(found, key=[FTKIT, *NAMES].index):
        value = tests.values[tool]
        low, high, _ = interval(found[tool], "accuracy", value)
        runs = [tools[tool][seed] for seed in seeds]
        told = tuple(sorted({run.told for run in runs}))
        seconds = float(np.mean([run.seconds for run in runs]))
        less = None if tool == FTKIT else tests.between(FTKIT, tool)
        figures[tool] = Figure(value, low, high, seconds, told, less)
    return CellFigures(key[0], key[1], len(seeds), tests.n, figures)


def _statistics(runs: list[Answers]) -> StrategyStatistics:
    """Return right answers and one for each row, of each seed, whose sums make the accuracy."""
    seeds = {}
    for run in runs:
        right = np.array([letter == "1" for letter in run.right], float)
        parts = np.stack([right, np.ones(run.n)], 1)
        seeds[run.seed] = RunStatistics(np.arange(run.n), parts)
    return StrategyStatistics(seeds, lambda sums: sums[..., 0] / sums[..., 1])


def table(cells: list[CellFigures]) -> list[str]:
    """Return the lines of a Markdown table, a row for each cell."""
    peers = [tool for tool in NAMES if any(tool in cell.tools for cell in cells)]
    head = ["data", "labels a class", "seeds", "test rows", "ftkit"]
    head += [NAMES[tool] for tool in peers] + ["ftkit beside the best peer"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for cell in cells:
        words = [cell.data, str(cell.rows or "all"), str(cell.seeds), f"{cell.n:,}"]
        words += [_shown(cell.tools.get(tool)) for tool in (FTKIT, *peers)]
        lines.append(f"| {' | '.join([*words, _beside(cell)])} |")
    return lines


def _shown(figure: Figure | None) -> str:
    if figure is None:
        return "–"
    told = ", ".join(figure.told)
    text = (
        f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]; {told}; {figure.seconds:.0f} s"
    )
    return text if figure.less is None else f"{text}; p {_p(figure.less.p)}"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.2g}"


def _beside(cell: CellFigures) -> str:
    """Return how ftkit stands to the peer with the highest mean, and to any that beats it."""
    peers = [tool for tool in cell.tools if tool != FTKIT]
    best = max(peers, key=lambda tool: cell.tools[tool].value)
    less = cell.tools[best].less
    assert less is not None
    if cell.worse_than:
        return "worse than " + " and ".join(NAMES[tool] for tool in cell.worse_than)
    if less.p < LEVEL:
        return f"better by {-less.difference:.3f}"
    return "cannot be told apart"


def verdict(cells: list[CellFigures]) -> list[str]:
    """Return sentences: in how many cells ftkit is best, not told apart or worse, and which."""
    lost = [cell for cell in cells if cell.worse_than]
    fine = [cell for cell in cells if cell.best == FTKIT or cell.best not in cell.worse_than]
    best = sum(cell.best == FTKIT for cell in cells)
    lines = [
        f"In {len(fine)} of {len(cells)} cells ({len(fine) / len(cells):.0%}) ftkit is best or not "
        f"told apart from the best; it has the highest mean in {best}. By a paired test it is "
        f"worse than a peer in {len(lost)} ({len(lost) / len(cells):.0%})."
    ]
    if lost:
        lines += ["", "The cells that ftkit loses:", ""]
    for cell in lost:
        for tool in cell.worse_than:
            less = cell.tools[tool].less
            assert less is not None
            lines.append(
                f"- {cell.name}: {NAMES[tool]} is better by {less.difference:.3f} "
                f"[{less.low:.3f}, {less.high:.3f}], p {_p(less.p)}; ftkit took the strategy "
                f"{', '.join(cell.tools[FTKIT].told)}."
            )
    return lines


def as_json(cell: CellFigures) -> dict[str, Any]:
    """Return the figures of a cell as they are stored."""
    tools = {}
    for tool, figure in cell.tools.items():
        tools[tool] = {
            "accuracy": round(figure.value, 6),
            "interval": [round(figure.low, 6), round(figure.high, 6)],
            "seconds": round(figure.seconds),
            "told": list(figure.told),
        }
        if figure.less is not None:
            less = figure.less
            ends = [round(less.low, 6), round(less.high, 6)]
            tools[tool] |= {"difference": round(less.difference, 6), "ends": ends}
            tools[tool] |= {"p": round(less.p, 8)}
    about = {"data": cell.data, "rows": cell.rows or "all", "seeds": cell.seeds, "n": cell.n}
    return {**about, "tools": tools}


def from_json(stored: dict[str, Any]) -> CellFigures:
    """Return a cell of figures that `as_json` stored."""
    tools = {}
    for tool, figure in stored["tools"].items():
        less = None
        if "p" in figure:
            ends = figure["ends"]
            less = Paired(
                figure["difference"], ends[0], ends[1], figure["p"], stored["n"], "as stored"
            )
        low, high = figure["interval"]
        told = tuple(figure["told"])
        tools[tool] = Figure(figure["accuracy"], low, high, figure["seconds"], told, less)
    rows = 0 if stored["rows"] == "all" else stored["rows"]
    return CellFigures(stored["data"], rows, stored["seeds"], stored["n"], tools)
