"""What a report shows of predicted numbers: errors, predicted against true, residuals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from ftkit.compare.report import charts
from ftkit.compare.report.classes import SHOWN, answers
from ftkit.compare.report.inputs import inputs_of
from ftkit.compare.report.sections import Example, Picture, Section, Table
from ftkit.compare.runs import Run


def sections(tables: Sequence[pa.Table], runs: Sequence[Run], best: int) -> list[Section]:
    """Return what there is to see of these runs' predictions."""
    pairs = [answers(table) for table in tables]
    drawn = [(run.label, *pair) for run, pair in zip(runs, pairs, strict=True)]
    return [
        _furthest(tables[best], runs[best], *pairs[best]),
        Section(
            "errors",
            "Errors",
            "Predicted less true number, its mean; then of its size alone.",
            Table(
                ("strategy", "mean error", "MAE", "RMSE", "median", "90 %", "largest"),
                tuple((label, *_errors(truth, told)) for label, truth, told in drawn),
            ),
        ),
        Section(
            "agreement",
            "Predicted against true",
            "On the line both are the same.",
            pictures=tuple(Picture(label, charts.agreement(y, p, label)) for label, y, p in drawn),
        ),
        Section(
            "residuals",
            "Residuals",
            "True less predicted number, over the predicted one: a good model leaves no pattern.",
            pictures=tuple(Picture(label, charts.residuals(y, p, label)) for label, y, p in drawn),
        ),
    ]


def _errors(truth: np.ndarray, told: np.ndarray) -> tuple[str, ...]:
    errors, sizes = told - truth, np.abs(told - truth)
    figures = (sizes.mean(), np.sqrt((errors**2).mean()), *np.quantile(sizes, [0.5, 0.9, 1]))
    return (f"{errors.mean():+.4g}", *(f"{figure:.4g}" for figure in figures))


def _furthest(table: pa.Table, run: Run, truth: np.ndarray, told: np.ndarray) -> Section:
    chosen = np.argsort(-np.abs(told - truth), kind="stable")[:SHOWN]
    index = table["index"].to_numpy()[chosen].tolist()
    found = inputs_of(run, index)
    examples = tuple(
        Example(
            i, f"{truth[row]:.4g}, predicted {told[row]:.4g} ({told[row] - truth[row]:+.4g})",
            **found.get(i, {}),
        )
        for i, row in zip(index, chosen, strict=True)
    )  # fmt: skip
    about = f"Test rows in which {run.label}, the best, is furthest off."
    return Section("wrong", "Most wrong", about, examples=examples)
