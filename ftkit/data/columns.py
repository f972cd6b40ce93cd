"""Columns: which of them a task means, and its rows in one form, whatever they were called."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial, singledispatch
from pathlib import Path
from typing import Any, cast

import numpy as np
from datasets import ClassLabel, Dataset, Features, Image, Value
from datasets import Sequence as Listed
from datasets import Translation as Languages

from ftkit.data.images import find_bad_images
from ftkit.data.numbers import as_numbers
from ftkit.data.sources import TEXT, as_images
from ftkit.data.usual_names import IMAGE_NAMES, LABEL_NAMES, TEXT_NAMES, named
from ftkit.errors import DataError, nearest
from ftkit.recipe import (
    ImageClassification,
    TabularClassification,
    TabularRegression,
    TextClassification,
    TextRegression,
    TextTagging,
)

MAY_BE_NUMBERS = ("text", "sentence", "tweet", "document")
"""Names of texts, such as codes, whose values may look like numbers."""


@singledispatch
def resolve_columns(task: Any, features: Features) -> Any:
    """Return the task with the names of its columns filled in, where only one can be meant.

    Raises:
        DataError: a column that was asked for is not there, or none or several could be meant.
    """
    raise TypeError(f"no task of type {type(task).__name__}")


@resolve_columns.register
def _(task: ImageClassification, features: Features) -> ImageClassification:
    images = [name for name, feature in features.items() if isinstance(feature, Image)]
    images = images or [name for name, feature in features.items() if _are_encoded(feature)]
    if len(images) > 1:
        images = [name for name in IMAGE_NAMES if name in images] or images
    if not images:
        images = [name for name in named(IMAGE_NAMES, features) if is_text(features[name])]
    return task.model_copy(
        update={
            "image": pick("image", task.image, images, features),
            "label": pick("label", task.label, _labels(features), features),
        }
    )


@resolve_columns.register(TextClassification)
@resolve_columns.register(TextRegression)
def _(task: Any, features: Features) -> Any:
    label = pick("label", task.label, _labels(features), features)
    return task.model_copy(update={"label": label, **pick_texts(task, (label,), features)})


def pick_texts(task: Any, labels: tuple[str, ...], features: Features) -> dict[str, str | None]:
    """Return the names of the columns with the text, and with its pair where one is asked for.

    Args:
        labels: columns that are not meant.
    """
    pair = task.pair and pick("pair", task.pair, [], features)
    taken = (*labels, pair)
    texts = [name for name in features if name not in taken and is_text(features[name])]
    if not named(TEXT_NAMES, texts):
        codes = [name for name in features if name not in taken and is_number(features[name])]
        texts += named(MAY_BE_NUMBERS, codes)
    if len(texts) != 1:
        texts = named(TEXT_NAMES, texts) or texts
    text = pick("text", task.text, texts, features)
    if text in taken:
        raise DataError(f"column '{text}' cannot be text and {'pair' if text == pair else 'label'}")
    return {"text": text, "pair": pair}


@resolve_columns.register(TabularClassification)
@resolve_columns.register(TabularRegression)
def _(task: Any, features: Features) -> Any:
    label = pick("label", task.label, _labels(features), features)
    numbers = tuple(name for name in features if name != label and is_number(features[name]))
    for name in task.columns or ():
        pick("columns", name, [], features)
        empty = getattr(features[name], "dtype", "") == "null"
        if not (is_number(features[name]) or is_text(features[name]) or empty):
            raise DataError(f"column '{name}' holds {features[name]}, not numbers or words")
    if not (task.columns or numbers or any(map(is_text, features.values()))):
        raise DataError(f"the data has no column of numbers but '{label}'")
    return task.model_copy(update={"columns": task.columns or numbers, "label": label})


@singledispatch
def input_columns(task: Any) -> tuple[str, ...]:
    """Return the columns that a task with its columns filled in reads its inputs from."""
    raise TypeError(f"no task of type {type(task).__name__}")


@input_columns.register
def _(task: ImageClassification) -> tuple[str, ...]:
    return (cast(str, task.image),)


@input_columns.register(TextClassification)
@input_columns.register(TextTagging)
@input_columns.register(TextRegression)
def _(task: Any) -> tuple[str, ...]:
    return (task.text,) if task.pair is None else (task.text, task.pair)


@input_columns.register(TabularClassification)
@input_columns.register(TabularRegression)
def _(task: Any) -> tuple[str, ...]:
    return task.columns


@singledispatch
def label_columns(task: Any) -> tuple[str, ...]:
    """Return the columns that a task with its columns filled in reads its labels from."""
    return (task.label,)


def pick(role: str, asked: str | None, candidates: list[str], features: Features) -> str:
    """Return the column that was asked for, or the one candidate.

    Raises:
        DataError: it is not there, or there is not one candidate.
    """
    there = shown(features)
    if asked is not None:
        if asked not in features:
            raise DataError(
                f"the data has no column '{asked}'; columns are {there}"
                f"{nearest(asked, features) or '.'} Use --set task.{role}=COLUMN"
            )
        return asked
    if len(candidates) != 1:
        which = "none looks like"
        if candidates:
            which = f"{' and '.join(map(_quoted, candidates))} could all be"
        raise DataError(
            f"which column is the {role}? Columns are {there}; {which} it. "
            f"Use --set task.{role}=COLUMN"
        )
    return candidates[0]


def shown(columns: Iterable[str]) -> str:
    """Return names of columns for a message, in quotes where spaces would not be seen."""
    return ", ".join(map(_quoted, columns))


def _quoted(name: str) -> str:
    return name if name and name == " ".join(name.split()) else repr(name)


def _labels(features: Features) -> list[str]:
    classes = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    if len(classes) != 1:
        classes = named(LABEL_NAMES, features) or classes
    return classes


def _are_encoded(feature: Any) -> bool:
    """Return whether a column holds the bytes of files, alone or in a struct as `datasets` has."""
    kind = feature.get("bytes") if isinstance(feature, dict) else feature
    return isinstance(kind, Value) and kind.dtype in ("binary", "large_binary")


def is_text(feature: Any) -> bool:
    """Return whether a column holds texts."""
    return isinstance(feature, Value) and feature.dtype in TEXT


def fields(feature: Any) -> tuple[str, ...]:
    """Return the names of the texts in a column of several, as datasets.Translation has them."""
    if isinstance(feature, Languages):
        return tuple(feature.languages)
    return tuple(n for n, f in feature.items() if is_text(f)) if isinstance(feature, dict) else ()


def has_column(features: Features, name: str) -> bool:
    """Return whether there is such a column; `translation.de` is a field of `translation`."""
    outer, _, inner = name.partition(".")
    return name in features or inner in fields(features.get(outer))


def is_number(feature: Any) -> bool:
    """Return whether a column holds numbers, or True and False."""
    return isinstance(feature, Value) and feature.dtype.startswith(("int", "uint", "float", "bool"))


@singledispatch
def inputs_of(task: Any, rows: Dataset, folder: Path | None) -> Dataset:
    """Return the rows with the task's inputs alone, in one column: image, text or features.

    Args:
        task: with its columns filled in.
        folder: where relative file names start.

    Raises:
        DataError: a column does not hold what the task needs.
    """
    values = np.concatenate(
        [as_numbers(rows, name, task.categories.get(name)) for name in task.columns], axis=1
    )
    return Dataset.from_dict(
        {"features": values.tolist()}, features=Features({"features": Listed(Value("float64"))})
    )


@inputs_of.register
def _(task: ImageClassification, rows: Dataset, folder: Path | None) -> Dataset:
    image = cast(str, task.image)
    return _only(as_images(rows, image, folder), image, "image")


@inputs_of.register(TextClassification)
@inputs_of.register(TextTagging)
@inputs_of.register(TextRegression)
def _(task: Any, rows: Dataset, folder: Path | None) -> Dataset:
    called = {task.text: "text"} if task.pair is None else {task.text: "text", task.pair: "pair"}
    rows = rows.select_columns(list(called))
    for column in called:
        if is_number(rows.features[column]):
            rows = rows.cast_column(column, Value("string"))
        if not is_text(rows.features[column]):
            raise DataError(f"column '{column}' holds {rows.features[column]}, not texts")
    return rows.rename_columns(called)


def located(task: Any, rows: Dataset, folder: Path | None, images: str | None) -> Dataset:
    """Return the rows, with file names of images completed by `data.images` where it is given."""
    if images is None or not isinstance(task, ImageClassification):
        return rows
    return as_images(rows, cast(str, task.image), folder, images)


def canonical(task: Any, rows: Dataset, labels: np.ndarray, folder: Path | None) -> Dataset:
    """Return the rows with the task's inputs and the columns label and index, the row's number.

    Args:
        labels: (N,) as `ftkit.data.labels.read_labels` gives them.
        folder: where relative file names start.
    """
    inputs = inputs_of(task, rows, folder)
    known: Any = list(labels) if labels.dtype.kind == "O" else labels
    inputs = inputs.add_column("label", known).add_column("index", np.arange(len(labels)))
    return inputs.cast_column("index", Value("int64"))


def _only(rows: Dataset, column: str, name: str) -> Dataset:
    rows = rows.select_columns([column])
    return rows if column == name else rows.rename_column(column, name)


def find_bad_rows(rows: Dataset) -> dict[int, str]:
    """Return the position of every row that cannot be learned from, with the reason."""
    for column, find in FIND_BAD.items():
        if column in rows.column_names:
            return find(rows)
    numbers = np.asarray(rows["features"][:], np.float64)
    bad = np.abs(numbers) > np.finfo(np.float32).max  # in which perceptrons calculate
    return {
        int(row): f"number {int(bad[row].argmax()) + 1} of the row is "
        + ("infinite" if np.isinf(numbers[row]).any() else "too large for float32")
        for row in np.flatnonzero(bad.any(1))
    }


def _find_empty_texts(rows: Dataset) -> dict[int, str]:
    empty = _empty(rows["text"][:], "the text is empty")
    pairs = _empty(rows["pair"][:], "the pair is empty") if "pair" in rows.column_names else {}
    return pairs | empty


def _find_empty_words(rows: Dataset) -> dict[int, str]:
    return {
        position: "it has no words" if not words else "one of its words is empty"
        for position, words in enumerate(rows["tokens"][:])
        if not words or not all((word or "").strip() for word in words)
    }


def _find_empty_translations(rows: Dataset) -> dict[int, str]:
    targets = _empty(rows["label"][:], "the translation is empty")
    return targets | _empty(rows["source"][:], "the text is empty")


def _empty(texts: list[Any], reason: str) -> dict[int, str]:
    return {row: reason for row, text in enumerate(texts) if not (text or "").strip()}


FIND_BAD: dict[str, Callable[[Dataset], dict[int, str]]] = {
    "image": partial(find_bad_images, column="image"),
    "text": _find_empty_texts,
    "tokens": _find_empty_words,
    "source": _find_empty_translations,
}
"""What finds the rows that cannot be learned from, by the column that it looks at."""
