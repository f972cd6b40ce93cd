"""Rows to be answered by a trained model, with labels or without: `read_given`."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import singledispatch
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, Features, Value

from ftkit.addresses import is_address, without_secrets
from ftkit.data.columns import canonical, has_column, label_columns, located, pick, resolve_columns
from ftkit.data.files import Source, is_table, meanings
from ftkit.data.findings import rows_are
from ftkit.data.foreign import has_image_name
from ftkit.data.given_images import named_images
from ftkit.data.given_labels import NO_LABEL, labels_given
from ftkit.data.kinds import Use
from ftkit.data.outside import require_inside
from ftkit.data.prints import look
from ftkit.data.sources import read
from ftkit.data.splits import file_of, in_brackets
from ftkit.data.tabular import unknown_words
from ftkit.data.uses import uses_of
from ftkit.embedded import PREFIX
from ftkit.errors import DataError
from ftkit.recipe import (
    Data,
    ImageClassification,
    TextClassification,
    TextRegression,
    TextTagging,
    TokenClassification,
    Translation,
)

COLUMNS = ("image", "text", "pair", "tokens", "source", "target", "label")
"""Fields of tasks that name a column."""
WRITTEN = ("encoding", "separator", "decimal", "as_text", "folders")
"""What a run's data say of how files and folders are written, which holds for others too."""


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
    inputs: Sequence[str],
    task: Any,
    label_names: tuple[str, ...],
    split: str | None = None,
    data: Data | None = None,
    asked: Collection[str] = (),
    texts: bool = False,
) -> Given:
    """Return the rows that these words name, without those that cannot be read.

    Args:
        inputs: image files, texts, or one data set as `Data.path` has it; a folder of images
            without class folders too.
        task: of the trained model.
        label_names: that it knows, in its order.
        split: of a data set with several; its test split when not given.
        data: of the trained model, whose encoding, separator and the like hold for these rows too.
        asked: fields of the task that were asked for now, and not only in training.
        texts: the inputs are texts, whatever they look like, where the task reads texts.

    Raises:
        DataError: there are none, or they are not what the task reads.
        HubError: it is no local path, and the Hub does not give it.
    """
    if not inputs:
        raise DataError(f"there is nothing to answer; give {task.noun}, or a data set")
    source = _source(inputs, task, label_names, data, texts)
    name, notes = _split_of(source, split)
    table, before = source.splits[name], task
    _require_asked(task, asked, table.features)
    task, unlabelled = _columns(task, table.features)
    notes += (*_renamed(before, task), *unknown_words(task, table))
    labels, labelled, said = labels_given(task, table, label_names, unlabelled)
    notes += said
    folder = source.folder_of(name)
    images = data.images if data is not None else None
    table = located(task, table, folder, images)
    rows = canonical(task, table, labels, folder)
    if data is None or not data.outside:
        require_inside(rows, source.roots_of(name, images), _short(inputs))
    prints, bad = look(rows, near=False)
    kept = np.setdiff1d(np.arange(len(rows)), list(bad))
    if not len(kept):
        why = f": {next(iter(bad.values()))}" if bad else ""
        raise DataError(f"there is no row to answer in {_short(inputs)}{why}")
    notes += tuple(f"{rows_are(marks.sum())} {what}" for what, marks in prints.odd.items())
    notes += tuple(
        f"left out row {row}{in_brackets(file_of(rows, row))}: {reason}"
        for row, reason in bad.items()
    )
    return Given(rows.select(kept), labelled[kept], task, notes)


def _require_asked(task: Any, asked: Collection[str], features: Features) -> None:
    """Refuse a column that was asked for now and is not there."""
    for field in asked:
        value = getattr(task, field, None)
        names = value if isinstance(value, tuple) else (value,)
        if field in ("columns", "labels", *COLUMNS):
            for name in names:
                if name is not None and not has_column(features, name):
                    pick(field, name, [], features)


def _renamed(before: Any, task: Any) -> tuple[str, ...]:
    """Return a note for each column that has another name than in training."""
    names = {field: (getattr(before, field, None), getattr(task, field, None)) for field in COLUMNS}
    return tuple(
        f"{task.noun} are in '{now}', which was '{then}' in training"
        for field, (then, now) in names.items()
        if field != "label" and then and now and then != now
    )


def _source(
    inputs: Sequence[str], task: Any, label_names: tuple[str, ...], data: Data | None, texts: bool
) -> Source:
    """Return the rows as they are, from files, texts or a data set."""
    if isinstance(task, ImageClassification):
        images = named_images(inputs, label_names)
        if images is not None:
            return images
    if texts or not any(map(names_data, inputs)):
        return Source({"given": from_texts(task, list(inputs))})
    if len(inputs) > 1:
        raise DataError(
            f"expected one data set, or any number of {task.noun}; got {_short(inputs)}"
        )
    kept = {name: getattr(data, name) for name in WRITTEN if data is not None}
    return read(Data(path=inputs[0], **kept), lambda features: _uses(task, features))


def _uses(task: Any, features: Features) -> Mapping[str, Use]:
    with suppress(DataError):
        task, _ = _columns(task, features)
    return uses_of(task, features)


def _short(words: Sequence[str]) -> str:
    """Return the first letters of some words, for messages."""
    return without_secrets(" ".join(words))[:80]


def names_data(text: str) -> bool:
    """Return whether a word names data instead of being a text to answer."""
    one_word = not text.split()[1:]
    if text.startswith(PREFIX) or (is_address(text) and one_word):
        return True
    if len(text) > 1000 or "\n" in text:
        return False
    path = Path(os.path.expanduser(text))
    if os.path.exists(path) or (one_word and has_image_name(path.name)):
        return True
    if has_magic(text) and (glob(str(path), recursive=True) or (one_word and "/" in text)):
        return True
    return one_word and (text.count("/") == 1 or is_table(path))


def _split_of(source: Source, asked: str | None) -> tuple[str, tuple[str, ...]]:
    """Return the split that was asked for, the test split, or the only one."""
    there = ", ".join(source.splits)
    if asked is not None:
        if asked not in source.splits:
            raise DataError(f"there is no split '{asked}'; splits are {there}")
        return asked, source.notes
    means = meanings(map(str.lower, source.splits))
    tests = [name for name in source.splits if means.get(name.lower()) == "test"]
    names = tests or list(source.splits)
    if len(names) > 1:
        raise DataError(f"which split? Splits are {there}; use --split NAME")
    others = ", ".join(name for name in source.splits if name != names[0])
    note = f"rows are those of split '{names[0]}'; others are {others}"
    return names[0], source.notes + ((note,) if len(source.splits) > 1 else ())


@singledispatch
def from_texts(task: Any, texts: list[str]) -> Dataset:
    """Return a table with these texts where the task looks for them."""
    raise DataError(
        f"'{_short(texts[:1])}': there is no such file, and the model reads {task.noun}"
    )


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
