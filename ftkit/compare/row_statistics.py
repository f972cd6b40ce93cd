"""From predictions.parquet to numbers of each test row whose sums make the figure.

Every first figure of a task is a function of numbers that are summed over test rows: right answers
for accuracy, squared errors for R squared, matching n-grams for BLEU. So what a resample or an
exchange of rows makes of the figure costs one product of matrices.

Strategies are compared on the same cells: the seeds that all of them have, and of each seed the
test rows that all of them have. A figure over other seeds has other luck in it, and to rank by it
and to test on the rest can name the wrong one (Dietterich 1998; Bouthillier et al. 2021).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from ftkit.compare.finished_runs import Run
from ftkit.compare.predictions import PREDICTIONS, read_predictions
from ftkit.compare.statistics import Figure
from ftkit.errors import RunError
from ftkit.hub.errors import loading_errors
from ftkit.recipe import TASKS, Translation
from ftkit.recipe.task import Answer
from ftkit.tasks.metrics.moments import error_parts, pearson_of, product_parts, r2_of
from ftkit.tasks.metrics.translation import Overlap, tokenizer_of
from ftkit.tasks.metrics.words import NONE, as_iob, entity_counts

Task = Mapping[str, Any]
"""The settings of a task as run.json has them."""
PartsAndFigure = tuple[np.ndarray, Figure]
"""(N, K) numbers of each test row, and the function from their sums (..., K) to the figure (...).
"""


@dataclass(frozen=True)
class RunStatistics:
    """What one run made of its test rows."""

    index: np.ndarray
    """(N,) the indices of the test rows, rising."""
    parts: np.ndarray
    """(N, K) the numbers whose sums make the figure, or from which `moments` makes them."""
    group: np.ndarray | None = None
    """(N,) int64, equal for rows that belong together, such as photos of one patient."""


@dataclass(frozen=True)
class StrategyStatistics:
    """What one strategy made of test rows, for each seed."""

    seeds: Mapping[int, RunStatistics]
    figure: Figure


@dataclass(frozen=True)
class SharedRows:
    """Test rows that some strategies share, for each seed."""

    labels: tuple[str, ...]
    """The labels of the strategies."""
    rows: Mapping[int, np.ndarray]
    """The test rows that all strategies have, for each seed that all strategies have."""

    @property
    def all_rows(self) -> np.ndarray:
        """Each test row once, in rising order."""
        return np.unique(np.concatenate([*self.rows.values()]))


def read_row_statistics(runs: Sequence[Run]) -> StrategyStatistics:
    """Return what these runs made of each test row. They are of one strategy and different seeds.

    Raises:
        RunError: their predictions are gone or damaged, or the task has no figure of single rows.
    """
    kind = runs[0].result.task.get("kind", "")
    if kind not in TASKS:
        raise RunError(f"no paired test for a task of kind {kind}")
    reader, seeds = READERS[TASKS[kind].tells], {}
    if runs[0].figure == "pearson":  # what earlier versions showed first of numbers told of texts
        reader = partial(_numbers, figure=pearson_of)
    for run in runs:
        table = read_predictions(run)
        with loading_errors("predictions of run", str(run.folder), RunError):
            parts, figure = reader(table, runs[0].result.task)
            parts = parts.astype(float)
        if not np.isfinite(parts).all():
            raise RunError(f"{run.folder / PREDICTIONS} holds something else than numbers")
        index = table.column("index").to_numpy()
        order = np.argsort(index, kind="stable")
        group = table.column("group").to_numpy()[order] if "group" in table.column_names else None
        seeds[run.result.seed] = RunStatistics(index[order], parts[order], group)
    return StrategyStatistics(seeds, figure)


def shared_rows(found: Mapping[str, StrategyStatistics]) -> SharedRows:
    """Return the rows that all strategies share, or that as many strategies as possible share.

    Of several sets of equally many strategies it is the one that shares the most cells. There is no
    cell, and no strategy, where no two of several strategies share any.
    """
    every = sorted({seed for each in found.values() for seed in each.seeds})
    sets = {labels: None for seed in every for labels in _sets_of_strategies(found, seed)}
    most = max(map(len, sets), default=0)
    if most < min(2, len(found)):
        return SharedRows((), {})
    candidates = [_shared_by(found, labels, every) for labels in sets if len(labels) == most]
    return max(
        candidates, key=lambda cells: sum(map(len, cells.rows.values())), default=SharedRows((), {})
    )


def _sets_of_strategies(
    found: Mapping[str, StrategyStatistics], seed: int
) -> list[tuple[str, ...]]:
    """Return the sets of strategies that have those test rows of this seed which most have."""
    labels = [label for label, each in found.items() if seed in each.seeds]
    every = [found[label].seeds[seed].index for label in labels]
    rows = np.unique(np.concatenate(every))
    there = np.array([np.isin(rows, index) for index in every])
    count = there.sum(0)
    distinct = np.unique(there[:, count == count.max()], axis=1).T
    return [tuple(np.array(labels)[one].tolist()) for one in distinct]


def _shared_by(
    found: Mapping[str, StrategyStatistics], labels: tuple[str, ...], seeds: Sequence[int]
) -> SharedRows:
    """Return what these strategies share in these seeds."""
    rows = {}
    for seed in seeds:
        if all(seed in found[label].seeds for label in labels):
            index = _common([found[label].seeds[seed].index for label in labels])
            if len(index):
                rows[seed] = index
    return SharedRows(labels, rows)


def _common(every: Sequence[np.ndarray]) -> np.ndarray:
    rows = every[0]
    for other in every[1:]:
        if not np.array_equal(rows, other):
            rows = np.intersect1d(rows, other, assume_unique=True)
    return rows


def sums_by_unit(found: Mapping[str, StrategyStatistics], cells: SharedRows) -> np.ndarray:
    """Return (L, S, U, K) the numbers of these rows, summed over the rows of each of U units.

    A unit is a test row, or a group of them: rows of one group are no independent witnesses, so
    they are drawn and exchanged together (Cameron, Gelbach and Miller 2008).
    """
    rows = cells.all_rows
    _, unit = np.unique(_groups(found, cells, rows), return_inverse=True)
    places = [
        (one, other, seed, index)
        for one in range(len(cells.labels))
        for other, (seed, index) in enumerate(cells.rows.items())
    ]
    every = []
    for one, _, seed, index in places:
        answers = found[cells.labels[one]].seeds[seed]
        every.append(answers.parts[np.searchsorted(answers.index, index)])
    every = moments(found[cells.labels[0]].figure, every)
    shape = len(cells.labels), len(cells.rows), unit.max() + 1, every[0].shape[1]
    parts = np.zeros(shape)
    for (one, other, _, index), mine in zip(places, every, strict=True):
        np.add.at(parts[one, other], unit[np.searchsorted(rows, index)], mine)
    return parts


def _groups(
    found: Mapping[str, StrategyStatistics], cells: SharedRows, rows: np.ndarray
) -> np.ndarray:
    """Return (N,) the group of each row by the first run that knows it, else a group of its own."""
    group = -1 - np.arange(len(rows))
    for label in cells.labels:
        for seed in cells.rows:
            answers = found[label].seeds[seed]
            if answers.group is None:
                continue
            _, mine, theirs = np.intersect1d(rows, answers.index, return_indices=True)
            fresh = group[mine] < 0
            group[mine[fresh]] = answers.group[theirs[fresh]]
    return group


def _mean(sums: np.ndarray) -> np.ndarray:
    return sums[..., 0] / sums[..., 1]


def _share(sums: np.ndarray) -> np.ndarray:
    """Return the same; 0 when there is nothing to count."""
    return sums[..., 0] / np.maximum(sums[..., 1], 1)


def _classes(table: pa.Table, task: Task) -> PartsAndFigure:
    """Return accuracy, from right answers."""
    right = np.array(table["label"].to_pylist()) == np.array(table["prediction"].to_pylist())
    return np.stack([right, np.ones(len(right))], 1), _mean


def _tags(table: pa.Table, task: Task) -> PartsAndFigure:
    """Return micro-F1, from classes that are told rightly, told, and there."""
    rows = zip(table["label"].to_pylist(), table["prediction"].to_pylist(), strict=True)
    counts = [(2 * len({*true} & {*told}), len(true) + len(told)) for true, told in rows]
    return np.array(counts, float), _share


def _words(table: pa.Table, task: Task) -> PartsAndFigure:
    """Return F1 of names; a word that the model did not see is told to be in no name.

    The names of all classes say whether tags tell where a name begins: those that occur in the
    test rows of one run may not.
    """
    names = tuple(json.loads(table.schema.metadata[b"label_names"]))
    rows = zip(table["label"].to_pylist(), table["prediction"].to_pylist(), strict=True)
    counts = []
    for labels, predictions in rows:
        truth, told = as_iob(names, [labels, [name or NONE for name in predictions]])
        hits, found, there, _, _ = entity_counts(truth, told)
        counts.append((2 * hits, found + there))
    return np.array(counts, float), _share


def _numbers(table: pa.Table, task: Task, figure: Figure = r2_of) -> PartsAndFigure:
    """Return R squared or Pearson's correlation, from labels and predictions; see `MOMENTS`."""
    return np.array([table[name].to_pylist() for name in ("label", "prediction")], float).T, figure


MOMENTS: dict[Figure, Callable[[np.ndarray, float], np.ndarray]] = {
    r2_of: lambda each, centre: error_parts(each[:, 0], each[:, 1], centre),
    pearson_of: lambda each, centre: product_parts(each[:, 0], each[:, 1], centre, centre),
}
"""Of figures of labels and predictions (N, 2): the numbers (N, K) whose sums make the figure, from
them and a number that is taken from all of them. Squares of large numbers, such as seconds since
1970, would cancel without it, and it must be the same of all that is compared."""


def moments(figure: Figure, every: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return what is summed over rows, for each of the parts that are compared."""
    if figure not in MOMENTS:
        return list(every)
    centre = float(np.mean(np.concatenate([parts[:, 0] for parts in every])))
    return [MOMENTS[figure](parts, centre) for parts in every]


def _perplexity(table: pa.Table, task: Task) -> PartsAndFigure:
    """Return perplexity, from nats and tokens."""
    nats, tokens = (np.array(table[name].to_pylist(), float) for name in ("loss", "tokens"))
    sums = np.stack([np.where(tokens > 0, nats * tokens, 0), tokens], 1)
    return sums, lambda sums: np.exp(_mean(sums))


def _bleu(table: pa.Table, task: Task) -> PartsAndFigure:
    """Return BLEU, from counts of n-grams."""
    overlap = Overlap(tokenizer_of(Translation(**task)))
    counts = overlap.bleu_counts(table["prediction"].to_pylist(), table["label"].to_pylist())
    return counts, partial(bleu_of, overlap)


def bleu_of(overlap: Overlap, sums: np.ndarray) -> np.ndarray:
    """Return BLEU (...) of summed counts (..., 10) as `Overlap.bleu_of` does, all at once.

    Where an order of n-grams has no match, sacrebleu smooths, and is asked itself.
    """
    own, wanted = sums[..., 0], sums[..., 1]
    matches, totals = sums[..., 2:6], sums[..., 6:]
    plain = (matches > 0).all(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.exp(np.log(matches / totals).mean(-1))
        found = np.array(100 * np.exp(np.minimum(0, 1 - wanted / own)) * precision)
    for place in map(tuple, np.argwhere(~plain)):
        found[place] = overlap.bleu_of(sums[place].round().astype(int))
    return found


READERS: dict[Answer, Callable[[pa.Table, Task], PartsAndFigure]] = {
    "class": _classes,
    "tags": _tags,
    "words": _words,
    "number": _numbers,
    "continuation": _perplexity,
    "translation": _bleu,
}
"""What reads the numbers behind the first figure of a run, by what is told of a row."""
