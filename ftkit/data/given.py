"""Rows to be answered by a trained model, with labels or without: `read_given`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from glob import has_magic
from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, Features, List, Value

from ftkit.data.columns import canonical, has_column, label_columns, resolve_columns
from ftkit.data.files import READERS, SPLITS, Source
from ftkit.data.findings import rows_are
from ftkit.data.foreign import has_image_name
from ftkit.data.given_images import named_images
from ftkit.data.labels import is_labelled, read_labels
from ftkit.data.prints import look
from ftkit.data.remote import is_remote
from ftkit.data.sources import read
from ftkit.data.splits import file_of, in_brackets, objects
from ftkit.embedded import PREFIX
from ftkit.errors import DataError
from ftkit.recipe import (
    Data,
    ImageClassification,
    LanguageModelling,
    TabularRegression,
    TextClassification,
    TextRegression,
    TextTagging,
    TokenClassification,
    Translation,
)

NO_LABEL = "no label"
"""The name of the column that stands in for labels where there are none."""


@dataclass(frozen=True)
class Given:
    """Rows in the form that the task's inputs are made from."""

    rows: Dataset
    """With `label` and `index`, as `ftkit.data.Splits` has them; what stands for a label that is
    not known means nothing."""
    labelled: np.ndarray
    """(N,) whether the label of a row is known."""
    task: Any
    """With its columns filled in."""
    notes: tuple[str, ...] = ()
    """What was decided about them, one sentence each."""


def read_given(
    inputs: Sequence[str], task: Any, label_names: tuple[str, ...], split: str | None = None
) -> Given:
    """Return the rows that these words name, without those that cannot be read.

    Args:
        inputs: image files, texts, or one data set as `Data.path` has it; a folder of images
            without class folders too.
        task: of the trained model.
        label_names: that it knows, in its order.
        split: of a data set with several; its test split when not given.

    Raises:
        DataError: there are none, they are not what the task reads, or have classes that the model
            does not know.
        HubError: it is no local path, and the Hub does not give it.
    """
    if not inputs:
        raise DataError(f"there is nothing to answer; give {task.noun}, or a data set")
    source = _source(inputs, task, label_names)
    name, notes = _split_of(source, split)
    table = source.splits[name]
    task, unlabelled = _columns(task, table.features)
    if unlabelled is None:
        _, found = read_labels(task, {**_each_class(task, label_names), "given": table})
        labels, labelled = found["given"], is_labelled(found["given"])
        labels[~labelled] = blank(task, table)[~labelled]
    else:
        labels, labelled = blank(task, table), np.zeros(len(table), bool)
    rows = canonical(task, table, labels, source.folder_of(name))
    prints, bad = look(rows, near=False)
    kept = np.setdiff1d(np.arange(len(rows)), list(bad))
    if not len(kept):
        why = f": {next(iter(bad.values()))}" if bad else ""
        raise DataError(f"there is no row to answer in {' '.join(inputs)[:80]}{why}")
    notes += () if unlabelled is None else (unlabelled,)
    notes += tuple(f"{rows_are(marks.sum())} {what}" for what, marks in prints.odd.items())
    notes += tuple(
        f"left out row {row}{in_brackets(file_of(rows, row))}: {reason}"
        for row, reason in bad.items()
    )
    return Given(rows.select(kept), labelled[kept], task, notes)


def _source(inputs: Sequence[str], task: Any, label_names: tuple[str, ...]) -> Source:
    """Return the rows as they are, from files, texts or a data set."""
    if isinstance(task, ImageClassification):
        images = named_images(inputs, label_names)
        if images is not None:
            return images
    if not any(map(names_data, inputs)):
        return Source({"given": from_texts(task, list(inputs))})
    if len(inputs) > 1:
        raise DataError(
            f"expected one data set, or any number of {task.noun}; got {' '.join(inputs)[:80]}"
        )
    return read(Data(path=inputs[0]))


def names_data(text: str) -> bool:
    """Return whether a word names data instead of being a text to answer."""
    path = Path(text)
    if text.startswith(PREFIX) or is_remote(text) or path.suffix in READERS:
        return True
    is_id = text.count("/") == 1 and not text.split()[1:]
    return is_id or (
        len(text) < 1000 and (path.exists() or has_image_name(path.name) or has_magic(text))
    )


def _split_of(source: Source, asked: str | None) -> tuple[str, tuple[str, ...]]:
    """Return the split that was asked for, the test split, or the only one."""
    there = ", ".join(source.splits)
    if asked is not None:
        if asked not in source.splits:
            raise DataError(f"there is no split '{asked}'; splits are {there}")
        return asked, source.notes
    tests = [name for name in source.splits if SPLITS.get(name.lower()) == "test"]
    names = tests or list(source.splits)
    if len(names) > 1:
        raise DataError(f"which split? Splits are {there}; use --split NAME")
    note = f"rows are those of split '{names[0]}'; others are {there}"
    return names[0], source.notes + ((note,) if len(source.splits) > 1 else ())


@singledispatch
def from_texts(task: Any, texts: list[str]) -> Dataset:
    """Return a table with these texts where the task looks for them."""
    raise DataError(f"'{texts[0][:80]}': there is no such file, and the model reads {task.noun}")


@from_texts.register(TextClassification)
@from_texts.register(TextTagging)
@from_texts.register(TextRegression)
def _(task: Any, texts: list[str]) -> Dataset:
    if task.pair is not None:
        raise DataError("the model reads pairs of texts; give a table with a column for each")
    return Dataset.from_dict({task.text or "text": texts})


@from_texts.register
def _(task: TokenClassification, texts: list[str]) -> Dataset:
    """Words are what stands between spaces."""
    return Dataset.from_dict({task.tokens or "tokens": [text.split() for text in texts]})


@from_texts.register
def _(task: Translation, texts: list[str]) -> Dataset:
    return Dataset.from_dict({"source": texts})


def _columns(task: Any, features: Features) -> tuple[Any, str | None]:
    """Return the task with the columns of this table, and a note where it has no labels.

    Labels are where they were in training, or in a column of classes called label; other columns
    are not guessed to be them.
    """
    lost = {
        field: None
        for field in ("image", "text", "tokens", "source")
        if getattr(task, field, None) and not has_column(features, getattr(task, field))
    }
    task = task.model_copy(update=lost)
    role = "target" if isinstance(task, Translation) else "label"
    known = label_columns(task)
    if all(has_column(features, name) for name in known):
        return resolve_columns(task, features), None
    if role == "label" and isinstance(features.get("label"), ClassLabel):
        return resolve_columns(task.model_copy(update={"label": "label"}), features), None
    bare = task.model_copy(update={role: NO_LABEL} | ({"labels": None} if len(known) > 1 else {}))
    task = resolve_columns(bare, Features({**features, NO_LABEL: Value("string")}))
    return task, f"no column '{known[0]}': there are no labels to measure by"


@singledispatch
def _each_class(task: Any, names: tuple[str, ...]) -> dict[str, Dataset]:
    """Return a training split that has the classes the model knows, in its order.

    Each twice: a column in which no value comes again would be none of classes.
    """
    classes = Features({str(task.label): ClassLabel(names=list(names))})
    return {"train": Dataset.from_dict({task.label: [*range(len(names))] * 2}, features=classes)}


@_each_class.register
def _(task: TextTagging, names: tuple[str, ...]) -> dict[str, Dataset]:
    if task.labels is not None:
        return {}  # the columns themselves are the classes
    classes = Features({str(task.label): List(ClassLabel(names=list(names)))})
    return {"train": Dataset.from_dict({task.label: [[*range(len(names))]]}, features=classes)}


@_each_class.register
def _(task: TokenClassification, names: tuple[str, ...]) -> dict[str, Dataset]:
    classes = Features(
        {
            str(task.tokens): List(Value("string")),
            str(task.label): List(ClassLabel(names=list(names))),
        }
    )
    row = {task.tokens: [list(names)], task.label: [[*range(len(names))]]}
    return {"train": Dataset.from_dict(row, features=classes)}


@_each_class.register(TextRegression)
@_each_class.register(TabularRegression)
@_each_class.register(Translation)
@_each_class.register(LanguageModelling)
def _(task: Any, names: tuple[str, ...]) -> dict[str, Dataset]:
    return {}


@singledispatch
def blank(task: Any, table: Dataset) -> np.ndarray:
    """Return (N,) what stands for the labels of rows that have none."""
    return np.zeros(len(table), int)


@blank.register(TextRegression)
@blank.register(TabularRegression)
def _(task: Any, table: Dataset) -> np.ndarray:
    return np.zeros(len(table))


@blank.register
def _(task: TextTagging, table: Dataset) -> np.ndarray:
    return objects([[] for _ in range(len(table))])


@blank.register
def _(task: TokenClassification, table: Dataset) -> np.ndarray:
    return objects([[0] * len(words or ()) for words in table[str(task.tokens)][:]])


@blank.register
def _(task: Translation, table: Dataset) -> np.ndarray:
    return objects(["-"] * len(table))
