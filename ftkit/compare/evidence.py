"""From predictions.parquet to a figure of any weights of its examples: what paired tests need.

Every first figure of a task is a function of numbers that are summed over examples: right answers
for accuracy, squared errors for R squared, matching n-grams for BLEU. So a
resample costs one product of matrices, and draws an example with what every seed made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ftkit.compare.runs import Run
from ftkit.compare.statistics import Paired, Statistic, interval, mcnemar, paired_bootstrap
from ftkit.errors import RunError
from ftkit.metrics.translation import Overlap, tokenizer_of
from ftkit.metrics.words import as_iob, counted
from ftkit.recipe import Translation
from ftkit.result import Measured

Task = Mapping[str, Any]
"""As run.json has it."""
Of = tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]
"""(N, K) numbers of each example, and the figure (B,) of their sums (B, K)."""


@dataclass(frozen=True)
class Evidence:
    """What one strategy made of each test example, over some seeds."""

    index: np.ndarray
    """(N,) of the examples that any seed was tested on, rising."""
    seeds: tuple[Of, ...]
    """Of each seed the numbers (N, K) of these examples, 0 where it was not tested on one, and what
    makes the figure of their sums."""
    right: np.ndarray | None
    """(N,) bool, where the figure is accuracy and there is one seed."""

    def of(self, index: np.ndarray) -> Statistic:
        """Return the figure, the mean over seeds, as a function of weights of these examples."""
        rows = np.searchsorted(self.index, index)
        seeds = [(parts[rows], figure) for parts, figure in self.seeds]
        return lambda weights: np.mean([figure(weights @ parts) for parts, figure in seeds], axis=0)


def evidence(runs: Sequence[Run]) -> Evidence:
    """Return what these runs, of one strategy and different seeds, made of each example.

    Raises:
        RunError: their predictions are not there, or the task has no figure of single examples.
    """
    kind = runs[0].result.task.get("kind", "")
    if kind not in READERS:
        raise RunError(f"no paired test for a task of kind {kind}")
    tables = [_predictions(run) for run in runs]
    own = [table.column("index").to_numpy() for table in tables]
    index, seeds = np.unique(np.concatenate(own)), []
    for rows, table in zip(own, tables, strict=True):
        numbers, figure = READERS[kind](table, runs[0].result.task)
        parts = np.zeros((len(index), numbers.shape[1]))
        parts[np.searchsorted(index, rows)] = numbers
        seeds.append((parts, figure))
    single = len(runs) == 1 and READERS[kind] is _classes
    return Evidence(index, tuple(seeds), seeds[0][0][:, 0] > 0 if single else None)


def paired(first: Evidence, second: Evidence, seed: int = 0) -> Paired:
    """Return what sets the second strategy apart from the first, on the examples of both.

    Raises:
        RunError: they share no example.
    """
    index = np.intersect1d(first.index, second.index)
    if not len(index):
        raise RunError(
            "two runs share no test example; compare runs of the same data and data.split_seed"
        )
    if first.right is not None and second.right is not None:
        one, other = (e.right[np.searchsorted(e.index, index)] for e in (first, second))  # type: ignore[index]
        return mcnemar(one, other)
    return paired_bootstrap(first.of(index), second.of(index), len(index), seed)


def measured(runs: Sequence[Run], found: Evidence | None) -> Measured:
    """Return the first figure of these runs, with an interval over test examples.

    That of a single run is the one in its run.json. Of several seeds it is their mean, and the
    bootstrap draws examples with all that the seeds made of them.
    """
    name = runs[0].figure
    values = [run.result.metrics[name] for run in runs]
    if len(values) == 1:
        return values[0]
    value = float(np.mean([each.value for each in values]))
    if found is None:
        low, high = (float(np.mean([getattr(v, end) for v in values])) for end in ("low", "high"))
        return Measured(value=value, low=low, high=high, method="mean of the seeds' intervals")
    low, high = interval(found.of(found.index), len(found.index))
    return Measured(
        value=value, low=low, high=high, method="percentile bootstrap over examples and all seeds"
    )


def _predictions(run: Run) -> pa.Table:
    file = run.folder / "predictions.parquet"
    if not file.is_file():
        raise RunError(f"{run.folder} holds no predictions.parquet; run it again")
    return pq.read_table(file)


def _mean(sums: np.ndarray) -> np.ndarray:
    return sums[:, 0] / sums[:, 1]


def _classes(table: pa.Table, task: Task) -> Of:
    """Accuracy."""
    right = np.array(table["label"].to_pylist()) == np.array(table["prediction"].to_pylist())
    return np.stack([right, np.ones(len(right))], 1), _mean


def _tags(table: pa.Table, task: Task) -> Of:
    """Micro-F1."""
    rows = zip(table["label"].to_pylist(), table["prediction"].to_pylist(), strict=True)
    counts = [(2 * len({*true} & {*told}), len(true) + len(told)) for true, told in rows]
    return np.array(counts, float), lambda sums: sums[:, 0] / np.maximum(sums[:, 1], 1)


def _words(table: pa.Table, task: Task) -> Of:
    """F1 of names, of the words that the model saw."""
    rows = zip(table["label"].to_pylist(), table["prediction"].to_pylist(), strict=True)
    seen = [[(t, p) for t, p in zip(*row, strict=True) if p is not None] for row in rows]
    names = tuple({name for row in seen for pair in row for name in pair})
    counts = []
    for row in seen:
        truth, told = as_iob(names, [[t for t, _ in row], [p for _, p in row]])
        hits, found, there, _, _ = counted(truth, told)
        counts.append((2 * hits, found + there))
    return np.array(counts, float), lambda sums: sums[:, 0] / np.maximum(sums[:, 1], 1)


def _r2(table: pa.Table, task: Task) -> Of:
    """R squared, from sums of squares."""
    y, p = (np.array(table[name].to_pylist(), float) for name in ("label", "prediction"))

    def figure(sums: np.ndarray) -> np.ndarray:
        errors, squares, total, count = sums.T
        return 1 - errors / (squares - total**2 / count)

    return np.stack([(y - p) ** 2, y * y, y, np.ones(len(y))], 1), figure


def _perplexity(table: pa.Table, task: Task) -> Of:
    """Perplexity, from nats and tokens."""
    nats, tokens = (np.array(table[name].to_pylist(), float) for name in ("loss", "tokens"))
    there = tokens > 0
    return np.stack([np.where(there, nats * tokens, 0), tokens], 1), lambda sums: np.exp(
        _mean(sums)
    )


def _bleu(table: pa.Table, task: Task) -> Of:
    """BLEU, from counts of n-grams."""
    overlap = Overlap(tokenizer_of(Translation(**task)))
    counts = overlap.bleu_counts(table["prediction"].to_pylist(), table["label"].to_pylist())
    return counts, lambda sums: np.array([overlap.bleu_of(row) for row in sums.round().astype(int)])


READERS: dict[str, Callable[[pa.Table, Task], Of]] = {
    "image-classification": _classes,
    "text-classification": _classes,
    "tabular-classification": _classes,
    "text-tagging": _tags,
    "token-classification": _words,
    "tabular-regression": _r2,
    "text-regression": _r2,
    "text-generation": _perplexity,
    "translation": _bleu,
}
"""By kind of task: the numbers of the figure that its runs show first."""
