"""Is a smaller file as good as the run, to a margin? A paired test on all test rows.

The question is not whether a difference is seen, but whether one as large as the margin can be
ruled out: the file passes where the lower end of the interval of the difference lies above minus
the margin. The interval is the one that `ftkit compare` gives two strategies on the same rows, 95 %
on both sides, so that a file which is worse by the margin passes in 2.5 of 100 cases
(non-inferiority as in Piaggio et al. 2012, CONSORT). Of a rate it is not one point where no row
differs: of 100 rows that are answered alike nobody can say that it holds to one in a hundred.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ftkit.compare.intervals import RATES
from ftkit.compare.row_statistics import READERS, moments
from ftkit.compare.statistics import paired_differences
from ftkit.exported.about import About
from ftkit.exported.model import Answers, columns_of
from ftkit.shipping.rows import Measured

LEAST = 30
"""Rows that R squared needs: its interval rests on how rows differ, of which few tell nothing."""
MARGIN = 0.01
"""One point of accuracy, of F1 or of R squared."""


@dataclass(frozen=True)
class Difference:
    """How a file's first figure differs from the run's, on the same test rows."""

    figure: str
    difference: float
    low: float
    high: float
    rows: int
    units: int
    """Groups of rows that belong together; as many as rows where each is by itself."""

    def within(self, margin: float) -> bool:
        """Return whether the file is proven not to be worse by the margin."""
        return bool(self.low > -margin) and not self.few(margin)

    def few(self, margin: float) -> int:
        """Return how many units are needed, where there are fewer; else 0."""
        needed = rows_needed(margin) if self.figure in RATES else LEAST
        return needed if self.units < needed else 0


def difference_of(measured: Measured, answers: Answers, about: About) -> Difference:
    """Return how the figure of these answers differs from that of the run."""
    settings = measured.task.settings
    tables = [
        _table(columns, about)
        for columns in (
            measured.columns,
            {"label": measured.columns["label"], **columns_of(about, answers)},
        )
    ]
    reader = READERS[about.tells]
    read = [reader(table, settings.model_dump(mode="json")) for table in tables]
    figure = read[0][1]
    every = moments(figure, [parts.astype(float) for parts, _ in read])
    unit = _units(measured.columns.get("group"), len(measured.rows))
    parts = np.zeros((2, 1, unit.max() + 1, every[0].shape[1]))
    for row, mine in enumerate(every):
        np.add.at(parts[row, 0], unit, mine)
    name = settings.figures[0]
    (found,) = paired_differences(
        parts, figure, np.array([[0, 1]]), len(measured.rows), name in RATES
    )
    ends = found.difference, found.low, found.high
    return Difference(name, *ends, len(measured.rows), parts.shape[2])


def _units(groups: Any, N: int) -> np.ndarray:
    """Return (N,) the number of each row's group, or of the row."""
    if groups is None:
        return np.arange(N)
    return np.unique(np.asarray(groups), return_inverse=True)[1]


def _table(columns: dict[str, Any], about: About) -> pa.Table:
    """Return what a reader of predictions needs."""
    kept = {name: list(columns[name]) for name in ("label", "prediction")}
    if about.tells == "class":
        kept = {name: list(map(str, values)) for name, values in kept.items()}
    named = {b"label_names": json.dumps(list(about.classes)).encode()}
    return pa.table(kept).replace_schema_metadata(named)


def rows_needed(margin: float) -> int:
    """Return how many rows a rate needs for the margin where no row is answered otherwise.

    The interval of Bonett and Price (2012) then reaches 1.96 sqrt(2) / (N + 2).
    """
    return int(1.959964 * np.sqrt(2) / margin - 2) + 1
