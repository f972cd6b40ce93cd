"""What a report shows of predicted numbers: errors, predicted against true, residuals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from ftkit.compare.finished_runs import Run
from ftkit.compare.report import charts
from ftkit.compare.report.classes import EXAMPLES, answers
from ftkit.compare.report.sections import Picture, Section, Table
from ftkit.compare.report.shown_rows import examples_of
from ftkit.machine.numbers import plain


def sections(tables: Sequence[pa.Table], runs: Sequence[Run], best: int) -> list[Section]:
    """Return what there is to see of these runs' predictions."""
    pairs = [answers(table) for table in tables]
    drawn = [(run.label, *pair) for run, pair in zip(runs, pairs, strict=True)]
    return [
        _largest_errors(tables[best], runs[best], *pairs[best]),
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
    return (plain(errors.mean(), 4, "+"), *(plain(figure, 4) for figure in figures))


def _largest_errors(table: pa.Table, run: Run, truth: np.ndarray, told: np.ndarray) -> Section:
    off = told - truth
    said = {
        row: f"{plain(truth[row], 4)}, predicted {plain(told[row], 4)} ({plain(off[row], 4, '+')})"
        for row in np.argsort(-np.abs(off), kind="stable")[:EXAMPLES].tolist()
    }
    about = f"Test rows in which {run.label}, the best, is furthest off."
    return Section("wrong", "Most wrong", about, examples=examples_of(table, run, said))
