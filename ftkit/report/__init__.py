"""The report of a comparison: one HTML file that needs nothing else, and the same as Markdown.

`write(comparison, folder)` leaves report.html, report.md with its pictures in report/, and
comparison.json.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ftkit.compare.runs import Run
from ftkit.compare.summary import Comparison, Row
from ftkit.compare.tables import HEADINGS, cells
from ftkit.recipe import LOWER_IS_BETTER
from ftkit.report import charts, details
from ftkit.report.drawing import STYLE, standalone

MOST_CLASSES = 40
"""Of a confusion matrix that is drawn."""
MOST_ROWS = 60
"""Classes in the table of classes, the hardest."""


@dataclass(frozen=True)
class Strategy:
    """One strategy's part of a report."""

    row: Row
    classes: details.Classes | None
    pictures: dict[str, str] = field(default_factory=dict)
    """SVG by name."""


@dataclass(frozen=True)
class Page:
    """All that a report shows."""

    found: Comparison
    headings: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    """Of the table: label and cells."""
    pictures: dict[str, str]
    """SVG by name."""
    strategies: tuple[Strategy, ...]
    examples: tuple[details.Example, ...]
    """That the best strategy has wrong."""
    settings: tuple[tuple[str, list[str]], ...]
    hardest: tuple[int, ...]
    """Classes by number, those of the table of classes."""

    @property
    def title(self) -> str:
        """What was compared."""
        recipes = dict.fromkeys(run.result.recipe for row in self.found.rows for run in row.runs)
        return f"{', '.join(recipes)}: which strategy?"

    @property
    def machines(self) -> str:
        """What it ran on."""
        runs = [run.result for row in self.found.rows for run in row.runs]
        names = dict.fromkeys(
            f"{run.device}, {run.world_size} process{'es' * (run.world_size > 1)}" for run in runs
        )
        commits = dict.fromkeys(run.commit for run in runs if run.commit)
        return "; ".join(names) + (f"; commit {', '.join(commits)}" if commits else "")


def write(found: Comparison, folder: Path) -> list[Path]:
    """Write report.html, report.md, report/*.svg and comparison.json, each whole or not at all.

    Returns:
        The HTML file and the Markdown file.
    """
    page = page_of(found)
    folder.mkdir(parents=True, exist_ok=True)
    pictures = dict(page.pictures)
    for strategy in page.strategies:
        for name, svg in strategy.pictures.items():
            pictures[f"{strategy.row.label.replace(' ', '-')}-{name}"] = svg
    (folder / "report").mkdir(exist_ok=True)
    for name, svg in pictures.items():
        _whole(folder / "report" / f"{name}.svg", standalone(svg))
    _whole(folder / "comparison.json", json.dumps(as_values(found), indent=2) + "\n")
    files = [folder / "report.html", folder / "report.md"]
    for file, template in zip(files, ("page.html.jinja", "page.md.jinja"), strict=True):
        _whole(file, render(page, template))
    return files


def page_of(found: Comparison) -> Page:
    """Return what a report of the comparison shows."""
    firsts = [row.runs[0] for row in found.rows]
    strategies = tuple(_strategy(row) for row in found.rows)
    best = next(s for s in strategies if s.row.label == found.best)
    examples = details.wrong_examples(best.row.runs[0]) if best.classes else []
    hardest: Sequence[int] = ()
    if best.classes:
        order = sorted(range(len(best.classes.names)), key=lambda c: best.classes.f1[c])  # type: ignore[union-attr]
        hardest = sorted(order[:MOST_ROWS])
    return Page(
        found,
        tuple(name.format(found.figure, found.baseline) for name in HEADINGS),
        tuple((row.label, *cells(row, found)) for row in found.rows),
        _pictures(found, firsts),
        strategies,
        tuple(examples),
        tuple(details.settings_that_differ(firsts)),
        tuple(hardest),
    )


def _pictures(found: Comparison, firsts: Sequence[Run]) -> dict[str, str]:
    lower = found.figure in LOWER_IS_BETTER
    pictures = {}
    for name, cost, title in (
        ("seconds", "seconds", "seconds of training"),
        ("trained", "trained", "trained parameters"),
    ):
        points = [
            charts.Point(
                row.label,
                getattr(row, cost),
                row.score.value,
                row.score.low,
                row.score.high,
                getattr(row, f"front_of_{name}"),
                series,
            )
            for series, row in enumerate(found.rows)
        ]
        pictures[name] = charts.costs(points, title, found.figure, lower)
    drawn = [details.line_of(run, series) for series, run in enumerate(firsts)]
    lines = [line for line in drawn if line]
    if lines:
        title = f"validation {found.figure}"
        pictures["curves"] = charts.curves(lines, "seconds of training", title, lower)
    return pictures


def _strategy(row: Row) -> Strategy:
    run, pictures = row.runs[0], {}
    classes, numbers = details.classes_of(run), details.numbers_of(run)
    if classes is not None:
        if len(classes.names) <= MOST_CLASSES:
            pictures["confusion"] = charts.confusion(
                classes.counts, classes.names, f"Confusion matrix of {row.label}"
            )
        pictures["reliability"] = charts.reliability(
            classes.bins, row.label, classes.calibration_error
        )
    if numbers is not None:
        pictures["agreement"] = charts.agreement(*numbers, row.label)
    return Strategy(row, classes, pictures)


def render(page: Page, template: str) -> str:
    """Return the page as one of the templates beside this file has it."""
    loader = PackageLoader("ftkit.report", "")
    environment = Environment(
        loader=loader,
        autoescape="html" in template,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    environment.filters["svg"] = Markup
    style = Markup(STYLE)
    return environment.get_template(template).render(page=page, found=page.found, style=style)


def as_values(found: Comparison) -> dict[str, Any]:
    """Return a comparison as JSON can write it: of each run its folder, seed and figures."""
    values = {
        name: getattr(found, name)
        for name in ("figure", "n", "dataset", "best", "baseline", "verdict", "notes")
    }
    rows = []
    for row in found.rows:
        runs = [
            {"folder": os.fspath(run.folder), "seed": run.result.seed, "value": run.score.value}
            for run in row.runs
        ]
        own = {name: value for name, value in vars(row).items() if name != "runs"}
        for name in ("to_best", "over_baseline"):
            own[name] = asdict(own[name]) if own[name] else None
        own["score"] = row.score.model_dump()
        rows.append({**own, "runs": runs})
    return {**values, "rows": rows}


def _whole(file: Path, text: str) -> None:
    unfinished = file.with_name(file.name + ".part")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(file)
