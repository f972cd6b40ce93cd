"""The report of a comparison: one HTML file that needs nothing else, and the same as Markdown.

`write(comparison, folder)` leaves report.html, report.md with its pictures in report/, and
comparison.json.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ftkit.compare.finished_runs import Run
from ftkit.compare.predictions import read_predictions
from ftkit.compare.report import (
    charts,
    classes,
    curves_and_settings,
    numbers,
    tags_and_words,
    texts,
)
from ftkit.compare.report.drawing import STYLE, standalone
from ftkit.compare.report.sections import Section
from ftkit.compare.summary import Comparison, Row
from ftkit.compare.tables import cells, headings, p_value, with_bounds
from ftkit.errors import RunError
from ftkit.errors.names import in_markdown, visible
from ftkit.hub.errors import loading_errors
from ftkit.machine.whole_files import write_whole
from ftkit.recipe import LOWER_IS_BETTER, TASKS
from ftkit.recipe.task import Answer

log = logging.getLogger(__name__)
SECTIONS: dict[Answer, Callable[..., list[Section]]] = {
    "class": classes.sections,
    "tags": tags_and_words.tags,
    "words": tags_and_words.words,
    "number": numbers.sections,
    "translation": texts.translations,
    "continuation": texts.language,
}
"""What shows the predictions of runs, by what is told of a row. It is given the tables of
predictions, the runs, and the place of the best run. That place is None for language models whose
perplexities cannot be ranked."""
LONGEST_LABEL = 60
"""The most characters of a label in the name of a file."""


@dataclass(frozen=True)
class Page:
    """All that a report shows."""

    found: Comparison
    pictures: dict[str, str]
    """The SVG of each chart by its name."""
    curve: str
    """The name of the figure that learning curves show."""
    sections: tuple[Section, ...]
    """What there is to see of this kind of task."""
    settings: tuple[tuple[str, list[str]], ...]

    @property
    def title(self) -> str:
        """What was compared."""
        recipes = dict.fromkeys(run.result.recipe for row in self.found.rows for run in row.runs)
        return f"{', '.join(recipes)}: which strategy?"

    @property
    def tests(self) -> str:
        """A sentence on what p belongs to; "" when nothing is tested."""
        found = self.found
        named = [
            f"against {name}" for name in ("the best" * bool(found.best), found.baseline) if name
        ]
        if not named:
            return ""
        return f"p: paired tests {' and '.join(named)}, adjusted for all of them together."

    @property
    def over_baseline(self) -> list[Row]:
        """Rows with a test against the baseline that does not stand among those of the best."""
        best, baseline = self.found.best, self.found.baseline
        return [
            row
            for row in self.found.rows
            if row.over_baseline and best not in (row.label, baseline)
        ]

    @property
    def machines(self) -> str:
        """The machines and commits of the runs."""
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
    (folder / "report").mkdir(exist_ok=True)
    for name, svg in page.pictures.items():
        write_whole(folder / "report" / f"{name}.svg", standalone(svg))
    for section in page.sections:
        for number, picture in enumerate(section.pictures):
            if picture.svg:
                write_whole(folder / file_of(section, number), standalone(picture.svg))
    values = json.dumps(as_values(found), indent=2, allow_nan=False)
    write_whole(folder / "comparison.json", values + "\n")
    files = [folder / "report.html", folder / "report.md"]
    for file, template in zip(files, ("page.html.jinja", "page.md.jinja"), strict=True):
        write_whole(file, render(page, template))
    return files


def file_of(section: Section, number: int) -> str:
    """Return where a picture of a section lies, below the folder of the report."""
    label = re.sub(r"[^A-Za-z0-9.]+", "-", section.pictures[number].label)[:LONGEST_LABEL]
    return f"report/{section.name}-{number + 1}-{label}.svg"


def page_of(found: Comparison) -> Page:
    """Return what a report of the comparison shows."""
    firsts = [row.runs[0] for row in found.rows]
    labels_of_rows = [row.label for row in found.rows]
    best = labels_of_rows.index(found.best) if found.best else None
    curve = curves_and_settings.curve_figure(firsts)
    return Page(
        found,
        _pictures(found, firsts, curve),
        curve,
        tuple(sections_of(firsts, best)),
        tuple(curves_and_settings.settings_that_differ(firsts)),
    )


def sections_of(runs: Sequence[Run], best: int | None) -> list[Section]:
    """Return what there is to see of these runs' task; empty when predictions cannot be read.

    Args:
        best: place of the best of them; None where they cannot be ranked.
    """
    kind = runs[0].result.task.get("kind", "")
    if kind not in TASKS:
        return []
    try:
        tables = [read_predictions(run) for run in runs]
        with loading_errors("predictions of", ", ".join(run.label for run in runs), RunError):
            found = SECTIONS[TASKS[kind].tells](tables, runs, best)
    except RunError as error:
        log.warning("the report shows no single rows: %s", error)
        return []
    return [s for s in found if s.examples or s.table or s.pictures]


def _pictures(found: Comparison, firsts: Sequence[Run], curve: str) -> dict[str, str]:
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
    drawn = [curves_and_settings.line_of(run, series, curve) for series, run in enumerate(firsts)]
    lines = [line for line in drawn if line]
    if any(len(line.x) > 1 for line in lines):  # points alone show no course
        pictures["curves"] = charts.curves(
            lines, "seconds of training", f"validation {curve}", curve in LOWER_IS_BETTER
        )
    return pictures


def render(page: Page, template: str) -> str:
    """Return the page, written by one of the templates beside this file."""
    in_html = "html" in template
    environment = Environment(
        loader=PackageLoader("ftkit.compare.report", ""),
        autoescape=in_html,
        undefined=StrictUndefined,
        finalize=_without_hidden_characters if in_html else None,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = in_markdown
    environment.filters["svg"] = Markup
    environment.filters["p"] = p_value
    environment.filters["bounds"] = with_bounds
    environment.globals |= {"file_of": file_of, "headings": headings, "cells": cells}
    style = Markup(STYLE)
    return environment.get_template(template).render(page=page, found=page.found, style=style)


def _without_hidden_characters(value: Any) -> Any:
    """Return a value that the template for HTML shows, and then escapes."""
    return visible(value) if type(value) is str else value


def as_values(found: Comparison) -> dict[str, Any]:
    """Return a comparison as JSON can hold it, with the folder, seed and figures of each run.

    The ends of an interval that has none are null: JSON knows no infinite number.
    """
    values = {
        name: getattr(found, name)
        for name in ("figure", "n", "seeds", "dataset", "best", "baseline", "verdict", "notes")
    }
    rows = []
    for row in found.rows:
        runs = [
            {"folder": os.fspath(run.folder), "seed": run.result.seed, "value": run.score.value}
            for run in row.runs
        ]
        own = {name: value for name, value in vars(row).items() if name != "runs"}
        for name in ("to_best", "over_baseline"):
            test = asdict(own[name]) if own[name] else None
            own[name] = test and {
                key: None if isinstance(value, float) and not math.isfinite(value) else value
                for key, value in test.items()
            }
        own["score"] = row.score.model_dump()
        rows.append({**own, "runs": runs})
    return {**values, "rows": rows}
