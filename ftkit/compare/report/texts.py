"""What a report shows of texts that are written: how good single ones are, and the worst."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from ftkit.compare.finished_runs import Run
from ftkit.compare.report import charts
from ftkit.compare.report.classes import EXAMPLES
from ftkit.compare.report.sections import Example, Picture, Section, Table, shortened
from ftkit.machine.numbers import plain
from ftkit.tasks.metrics.translation import chrf_counts, chrf_of

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
HEADINGS = ("strategy", "10 %", "25 %", "median", "75 %", "90 %")
MOST_WRITTEN = 6
"""So many answers of each strategy are shown."""


def translations(tables: Sequence[pa.Table], runs: Sequence[Run], best: int) -> list[Section]:
    """Return what there is to see of translations: chrF of each sentence, and the worst ones."""
    values = [
        chrf_of(chrf_counts(table["prediction"].to_pylist(), table["label"].to_pylist()))
        for table in tables
    ]
    table, chosen = tables[best], np.argsort(values[best], kind="stable")[:EXAMPLES].tolist()
    said = {row: f"chrF {values[best][row]:.1f}" for row in chosen}
    examples = _examples(table, said, source="source", reference="label", translation="prediction")
    about = f"Test sentences with the lowest chrF (0 to 100) of {runs[best].label}, the best."
    return [
        Section("wrong", "Worst translations", about, examples=examples),
        _spread(
            "chrF of single sentences",
            "Quantiles over test sentences; a figure of all of them hides the bad ones.",
            [run.label for run in runs],
            values,
            (0, 100),
            "chrF of a sentence",
        ),
    ]


def language(tables: Sequence[pa.Table], runs: Sequence[Run], best: int | None) -> list[Section]:
    """Return what there is to see of a language model: perplexity of each text, and answers.

    Args:
        best: place of the best; None where they cannot be ranked, and the first is shown.
    """
    values, place = [_perplexity(table) for table in tables], best or 0
    table, own = tables[place], values[place]
    asked = "prompt" in table.column_names
    names = {"prompt": "prompt", "answer": "answer"} if asked else {"": "text"}
    chosen = np.argsort(-np.nan_to_num(own, nan=0), kind="stable")[:EXAMPLES].tolist()
    tokens = table["tokens"].to_pylist()
    said = {row: f"perplexity {plain(own[row], 4)} over {tokens[row]} tokens" for row in chosen}
    examples = _examples(table, said, **names)
    whose = f"{runs[place].label}{'' if best is None else ', the best'}"
    about = f"Test texts with the highest perplexity of {whose}."
    whole = [found[np.isfinite(found)] for found in values]
    edge = float(np.quantile(np.concatenate(whole), 0.98))
    found = [
        Section("wrong", "Hardest texts", about, examples=examples),
        _spread(
            "Perplexity of single texts",
            "Quantiles over test texts; the lower, the better.",
            [run.label for run in runs],
            whole,
            (1, max(edge, 1.01)),
            "perplexity of a text",
        ),
    ]
    return [*found, _written(tables, runs)] if asked else found


def _written(tables: Sequence[pa.Table], runs: Sequence[Run]) -> Section:
    """Return prompts, their answers in the data, and what each strategy wrote."""
    first = tables[0]
    written = [
        dict(zip(table["index"].to_pylist(), table["written"].to_pylist(), strict=True))
        for table in tables
    ]
    examples: list[Example] = []
    for row, number in enumerate(first["index"].to_pylist()):
        told = [(run.label, w.get(number)) for run, w in zip(runs, written, strict=True)]
        texts = tuple((label, shortened(text)) for label, text in told if text is not None)
        if texts and len(examples) < MOST_WRITTEN:
            both = _texts(first, row, prompt="prompt", answer="answer")
            examples.append(Example(number, "", texts=(*both, *texts)))
    about = "Test prompts, the answer in the data, and what each strategy writes."
    return Section("written", "What they write", about, examples=tuple(examples))


def _spread(
    title: str,
    about: str,
    labels: Sequence[str],
    values: Sequence[np.ndarray],
    ends: tuple[float, float],
    unit: str,
) -> Section:
    """Return how a figure of single texts is spread, by strategy."""
    lines = tuple(
        (label, *(plain(value, 4) for value in np.quantile(found, QUANTILES)))
        for label, found in zip(labels, values, strict=True)
    )
    pictures = tuple(
        Picture(label, charts.histogram(found, ends, unit, label))
        for label, found in zip(labels, values, strict=True)
    )
    return Section("spread", title, about, Table(HEADINGS, lines), pictures)


def _perplexity(table: pa.Table) -> np.ndarray:
    """Return (N,) the perplexity of each text; NaN for one without a token to be told."""
    loss, tokens = (np.array(table[name].to_pylist(), float) for name in ("loss", "tokens"))
    return np.where(tokens > 0, np.exp(loss), np.nan)


def _examples(table: pa.Table, said: Mapping[int, str], **columns: str) -> tuple[Example, ...]:
    """Return these rows as examples, with what is said of each; see `_texts`."""
    index = table["index"].to_pylist()
    return tuple(
        Example(index[row], text, texts=_texts(table, row, **columns)) for row, text in said.items()
    )


def _texts(table: pa.Table, row: int, **columns: str) -> tuple[tuple[str, str], ...]:
    """Return the texts of a row, each with its name."""
    return tuple((name, shortened(table[column][row].as_py())) for name, column in columns.items())
