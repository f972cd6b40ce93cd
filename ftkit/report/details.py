"""What a report shows of each strategy beside its row: read from the folder of its first run."""

from __future__ import annotations

import base64
import io
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from ftkit.compare.baselines import read_baseline
from ftkit.compare.runs import Run
from ftkit.data import load_splits
from ftkit.data.images import open_rgb
from ftkit.errors import FtkitError
from ftkit.recipe import Recipe
from ftkit.report.charts import Line

log = logging.getLogger(__name__)
BINS = 15
"""Of the calibration error (Guo et al. 2017)."""
SHOWN = 12
"""Wrong examples."""
THUMBNAIL = 96
"""Pixels of the longer side of a shown image."""
LONGEST = 300
"""Characters of a shown text."""
NOT_SETTINGS = ("name", "description", "alternatives", "expect")


@dataclass(frozen=True)
class Classes:
    """What a classifier makes of the test rows."""

    names: tuple[str, ...]
    counts: np.ndarray
    """(C, C) test rows by true and predicted class."""
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    """(C,) each."""
    support: np.ndarray
    """(C,) test rows."""
    bins: tuple[tuple[float, float, int], ...]
    """Of the reliability diagram: mean confidence, share right, test rows."""
    calibration_error: float
    """Expected calibration error (Guo et al. 2017), 15 bins of equal width."""

    def confused(self, most: int = 5) -> list[tuple[str, str, int]]:
        """Return the pairs of true and predicted class that are taken for each other most."""
        wrong = self.counts * (1 - np.eye(len(self.names), dtype=int))
        order = np.argsort(-wrong, axis=None, kind="stable")[:most]
        places = [divmod(int(place), len(self.names)) for place in order]
        return [(self.names[a], self.names[b], int(wrong[a, b])) for a, b in places if wrong[a, b]]


@dataclass(frozen=True)
class Example:
    """A test row that a strategy has wrong."""

    index: int
    label: str
    prediction: str
    confidence: float
    text: str | None = None
    image: str | None = None
    """As a data URI."""


def classes_of(run: Run) -> Classes | None:
    """Return what a run's predictions say of classes; None where they are of something else."""
    table = pq.read_table(run.folder / "predictions.parquet")
    if "probability" not in table.column_names or not isinstance(table["label"][0].as_py(), str):
        return None
    names = tuple(json.loads((table.schema.metadata or {})[b"label_names"]))
    truth, told = (np.array(table[name].to_pylist()) for name in ("label", "prediction"))
    figures = precision_recall_fscore_support(truth, told, labels=list(names), zero_division=0)
    confidence = np.array(table["probability"].to_pylist()).max(1)
    bins, error = calibration(confidence, truth == told)
    counts = confusion_matrix(truth, told, labels=list(names))
    precision, recall, f1, support = figures
    return Classes(names, counts, precision, recall, f1, support, bins, error)


def calibration(
    confidence: np.ndarray, right: np.ndarray
) -> tuple[tuple[tuple[float, float, int], ...], float]:
    """Return the bins of a reliability diagram that hold rows, and the expected calibration error.

    Args:
        confidence: (N,) probability of the predicted class.
        right: (N,) bool.
    """
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    bins = [
        (float(confidence[place == b].mean()), float(right[place == b].mean()), int(n))
        for b, n in enumerate(np.bincount(place, minlength=BINS))
        if n
    ]
    error = sum(n * abs(sure - share) for sure, share, n in bins) / len(right)
    return tuple(bins), float(error)


def numbers_of(run: Run) -> tuple[np.ndarray, np.ndarray] | None:
    """Return true and predicted numbers (N,) of a regression; None of anything else."""
    if not run.result.task.get("kind", "").endswith("regression"):
        return None
    table = pq.read_table(run.folder / "predictions.parquet")
    return np.array(table["label"].to_pylist()), np.array(table["prediction"].to_pylist())


def line_of(run: Run, series: int) -> Line | None:
    """Return the validation figure over seconds of training; None of a run without a journal.

    Args:
        series: number of its colour.
    """
    file = run.folder / "log.jsonl"
    if not file.is_file():
        return None
    entries = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    name, before = f"validation_{run.figure}", run.result.seconds.features
    points = [(before + e["seconds"], e[name]) for e in entries if name in e]
    points = [(seconds, value) for seconds, value in points if seconds > 0]
    if not points:
        return None
    x, y = zip(*points, strict=True)
    return Line(run.label, x, y, series)


def wrong_examples(run: Run) -> list[Example]:
    """Return the wrong test rows of which the run was most confident, with their inputs.

    Without them where the data cannot be read again.
    """
    table = pq.read_table(run.folder / "predictions.parquet")
    truth, told = (np.array(table[name].to_pylist()) for name in ("label", "prediction"))
    sure = np.array(table["probability"].to_pylist()).max(1)
    wrong = np.flatnonzero(truth != told)
    chosen = wrong[np.argsort(-sure[wrong], kind="stable")][:SHOWN]
    index = table["index"].to_numpy()[chosen]
    found = _inputs(run, index.tolist())
    return [
        Example(int(i), str(truth[row]), str(told[row]), float(sure[row]), **found.get(int(i), {}))
        for i, row in zip(index, chosen, strict=True)
    ]


def _inputs(run: Run, index: Sequence[int]) -> dict[int, dict[str, str]]:
    """Return text or image of these test rows."""
    recipe = recipe_of(run)
    if recipe is None or not index:
        return {}
    level = logging.getLogger("ftkit").level
    try:
        splits = load_splits(recipe.data, recipe.task, recipe.train.seed)
    except FtkitError as error:
        log.warning("the report shows no inputs: %s", error)
        return {}
    finally:
        logging.getLogger("ftkit").setLevel(level)
    test = splits.test
    place = {number: row for row, number in enumerate(test["index"][:])}
    shown = {}
    for number in index:
        row: Mapping[str, Any] = test[place[number]]
        if "image" in row:
            shown[number] = {"image": _uri(open_rgb(row["image"]))}
        elif "text" in row:
            text = " | ".join(str(row[name]) for name in ("text", "pair") if name in row)
            shown[number] = {"text": text[:LONGEST] + ("…" if len(text) > LONGEST else "")}
        else:
            values = {name: row[name] for name in row if name not in ("label", "index")}
            shown[number] = {"text": json.dumps(values, default=str)[:LONGEST]}
    return shown


def _uri(image: Any) -> str:
    """Return a small picture as a data URI."""
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    kind = "PNG" if max(image.size) <= 32 else "JPEG"
    image.save(file, kind, quality=82)
    text = base64.b64encode(file.getvalue()).decode("ascii")
    return f"data:image/{kind.lower()};base64,{text}"


def recipe_of(run: Run) -> Recipe | None:
    """Return the recipe of a run, or that of a baseline's rows; None where it is not there."""
    file = run.folder / "recipe.json"
    if file.is_file():
        return Recipe.from_json(file.read_text(encoding="utf-8"))
    found = read_baseline(run.folder)
    return found[1] if found else None


def settings_that_differ(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Return each setting in which runs differ, with its value in each; baselines have few."""
    found = []
    for run in runs:
        recipe = recipe_of(run)
        trained = recipe is not None and run.result.parameters_trained
        values = _flat(recipe.model_dump(mode="json")) if recipe and trained else {}
        values |= _flat({"strategy": run.result.strategy})
        found.append({name: _written(value) for name, value in values.items()})
    names = list(dict.fromkeys(name for values in found for name in values))
    rows = [(name, [values.get(name, "–") for values in found]) for name in names]
    return [
        (name, values)
        for name, values in rows
        if len(set(values)) > 1 and name.split(".")[0] not in NOT_SETTINGS and name != "train.seed"
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        inner = isinstance(value, dict)
        found |= _flat(value, f"{prefix}{name}.") if inner else {prefix + name: value}
    return found


def _written(value: Any) -> str:
    if value is None:
        return "–"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
