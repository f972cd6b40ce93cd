"""What a search among backbones says: a table, sentences, a picture, and a file for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from ftkit.compare.statistics import LEVEL, Paired
from ftkit.compare.verdict import shown_p
from ftkit.errors.names import listed, visible
from ftkit.machine.numbers import plain, size, with_ends
from ftkit.machine.terminal import duration
from ftkit.machine.whole_files import write_whole
from ftkit.planning.backbone_result import BackboneSearch, Probed
from ftkit.runs.plots import plot_costs

FILE, PICTURE, PAGE = "backbones.json", "backbones.png", "backbones.md"
HEADINGS = ("backbone", "{}", "p, best", "rows", "a row", "size")
WIDE = 100
"""The characters of a table with all columns."""
MOST_NAMED = 6
"""Candidates are named one by one where there are at most so many."""


def table(found: BackboneSearch, width: int) -> Table:
    """Return a line for each candidate: its figure, by how many rows, and what it costs.

    Args:
        width: of the terminal in characters; a narrow one gets no sizes.
    """
    headings = HEADINGS if width >= WIDE else HEADINGS[:-1]
    shown = Table(
        title=f"backbones probed on {found.available:,} training rows",
        caption="in brackets: 95 % interval over the rows that the probe did not see",
        box=box.SIMPLE_HEAD,
    )
    for place, name in enumerate(headings):
        right = {"justify": "right", "no_wrap": True} if place else {"overflow": "fold"}
        shown.add_column(name.format(found.figure), **right)
    for each in found.probed:
        shown.add_row(*_cells(each, found)[: len(headings)])
    return shown


def _cells(each: Probed, found: BackboneSearch) -> tuple[str, ...]:
    test = _to_best(each, found)
    return (
        visible(str(each.candidate)),
        with_ends(each.score.value, each.score.low, each.score.high),
        "best" if each is found.probed[0] else shown_p(test).removeprefix("=") if test else "–",
        f"{each.rows:,}",
        _cost(each).removesuffix(" a row"),
        size(each.model_bytes),
    )


def _to_best(each: Probed, found: BackboneSearch) -> Paired | None:
    """Return how the best finalist differs from this one; None where it was left earlier."""
    best = str(found.probed[0].candidate)
    return found.tests.between(str(each.candidate), best)


def sentences(found: BackboneSearch) -> list[str]:
    """Return what is chosen, what cannot be told apart from it, and what it took."""
    best, figure = found.chosen, found.figure.replace("_", " ")
    said = [
        f"chosen   {best.candidate}: {figure} "
        f"{with_ends(best.score.value, best.score.low, best.score.high)} on {best.rows:,} training "
        f"rows, {_cost(best)}"
    ]
    tested = [(each, _to_best(each, found)) for each in found.probed[1:]]
    alike = [each for each, test in tested if test and test.p >= LEVEL]
    worse = [each for each, test in tested if test and test.p < LEVEL]
    if alike:
        quickest = min(alike, key=lambda each: each.seconds_per_row)
        more = ""
        if quickest.seconds_per_row < best.seconds_per_row:
            more = f"; {quickest.candidate} is quicker, {_cost(quickest)}"
        said.append(f"tests    not told apart from it: {_named(alike)}{more}")
    if worse:
        said.append(f"{'' if alike else 'tests':<8} shown to be worse: {_named(worse)}")
    left = [each for each in found.probed if not each.finalist]
    if left:
        said.append(
            f"left     {len(left)} that were not among the best on as many rows; no test shows "
            f"that they are worse"
        )
    said += [f"without  {visible(reason)}" for reason in found.refused]
    said.append(
        f"time     {duration(found.seconds)}; all candidates with all rows would take about "
        f"{duration(found.exhaustive)}. Probes read frozen backbones: of those that are trained "
        f"as a whole the order may be another"
    )
    return said


def _named(several: Sequence[Probed]) -> str:
    if len(several) <= MOST_NAMED:
        return visible(listed([str(each.candidate) for each in several]))
    return f"{len(several)} others"


def _cost(each: Probed) -> str:
    return f"{plain(1000 * each.seconds_per_row, 2)} ms a row"


def write(found: BackboneSearch, folder: Path, pictures: Path) -> None:
    """Write backbones.json and backbones.md into `folder`, backbones.png into `pictures`."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures.mkdir(exist_ok=True)
    write_whole(folder / FILE, json.dumps(_as_json(found), indent=2) + "\n")
    rows = [[heading.format(found.figure) for heading in HEADINGS], ["---"] * len(HEADINGS)]
    rows += [list(_cells(each, found)) for each in found.probed]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    told = "\n".join(f"- {line}" for line in sentences(found))
    picture = (pictures / PICTURE).relative_to(folder)
    page = f"# Backbones\n\n![]({picture})\n\n{told}\n\n" + "\n".join(lines) + "\n"
    write_whole(folder / PAGE, page)
    draw(found, pictures / PICTURE)


def draw(found: BackboneSearch, file: Path) -> None:
    """Draw what all candidates reached in the first round, and finalists later, by their cost."""
    finalists = [each for each in found.probed if each.finalist]
    plot_costs(
        [(1000 * each.seconds_per_row, each.first) for each in found.probed],
        [
            (1000 * each.seconds_per_row, each.score.value, each.score.low, each.score.high)
            for each in finalists
        ],
        [str(each.candidate) for each in finalists],
        file,
        axes=("milliseconds a row", found.figure.replace("_", " ")),
        legend=(f"{found.first_rows:,} rows", f"{found.chosen.rows:,} rows"),
    )


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _as_json(found: BackboneSearch) -> dict[str, Any]:
    """Return all that was found, as JSON can write it."""
    return {
        "figure": found.figure,
        "training_rows": found.available,
        "seconds": found.seconds,
        "seconds_of_all": found.exhaustive,
        "chosen": str(found.chosen.candidate),
        "candidates": [
            {
                "name": str(each.candidate),
                "id": each.candidate.id,
                "layers": each.candidate.layers,
                "image_size": each.candidate.image_size,
                "pooling": each.candidate.pooling,
                "rows": each.rows,
                found.figure: {
                    end: _finite(getattr(each.score, end)) for end in ("value", "low", "high")
                },
                "seconds_per_row": each.seconds_per_row,
                "parameters": each.parameters,
                "model_bytes": each.model_bytes,
                "finalist": each.finalist,
                "p_best": (test := _to_best(each, found)) and float(np.round(test.p, 6)),
            }
            for each in found.probed
        ],
        "refused": list(found.refused),
    }  # fmt: skip
