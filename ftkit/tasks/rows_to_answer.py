"""Rows to be answered by a trained model, with labels or without: `read_rows`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, Features, Value

from ftkit.data.column_kinds import Use
from ftkit.data.columns import find_bad_rows, has_column, pick
from ftkit.data.findings import rows_are, rows_of
from ftkit.data.image_arguments import named_images
from ftkit.data.images import find_bad_heads, find_bad_images
from ftkit.data.labels import class_numbers, is_labelled
from ftkit.data.named_data import names_data
from ftkit.data.open_images import OpenedImage
from ftkit.data.paths_outside import require_inside
from ftkit.data.sources import read_source
from ftkit.data.splits import file_of, in_brackets
from ftkit.data.table_files import Source, split_meanings
from ftkit.errors import DataError
from ftkit.errors.addresses import without_secrets
from ftkit.recipe import Data
from ftkit.tasks.base import Task

NO_LABEL = "no label"
"""The name of the column that stands in for labels where there are none."""

COLUMNS = ("image", "text", "pair", "tokens", "source", "target", "label")
"""Fields of tasks that name a column."""
WRITTEN = ("encoding", "separator", "decimal", "as_text", "folders")
"""What a run's data say of how files and folders are written, which holds for others too."""


@dataclass(frozen=True)
class RowsToAnswer:
    """Rows in the form that the task's inputs are made from."""

    rows: Dataset
    """With `label` and `index`, as `ftkit.data.Splits` has them; what stands for a label that is
    not known means nothing."""
    labelled: np.ndarray
    """(N,) whether the label of a row is known."""
    task: Task
    """With its columns filled in."""
    notes: tuple[str, ...] = ()
    """What was decided about them, one sentence each."""


def read_rows(
    inputs: Sequence[str],
    task: Task,
    label_names: tuple[str, ...],
    split: str | None = None,
    data: Data | None = None,
    asked: Collection[str] = (),
    texts: bool = False,
    decode: bool = True,
) -> RowsToAnswer:
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
        decode: images are decoded, to find all that cannot be read; otherwise one that is damaged
            in its midst is among the rows.

    Raises:
        DataError: there are none, or they are not what the task reads.
        HubError: it is no local path, and the Hub does not give it.
    """
    if not inputs:
        raise DataError(f"there is nothing to answer; give {task.settings.noun}, or a data set")
    source = _source(inputs, task, label_names, data, texts)
    name, notes = _split_of(source, split)
    table, before = source.splits[name], task
    _require_asked(task, asked, table.features)
    task, unlabelled = _columns(task, table.features)
    notes += (*_renamed(before.settings, task.settings), *task.notes_on(table))
    labels, labelled, said = labels_of_table(task, table, label_names, unlabelled)
    notes += said
    folder = source.folder_of(name)
    images = data.images if data is not None else None
    table = task.with_image_files(table, folder, images)
    rows = task.canonical(table, labels, folder)
    if data is None or not data.outside:
        require_inside(rows, source.roots_of(name, images), _short(inputs))
    bad, odd = _screened(rows, decode)
    kept = np.setdiff1d(np.arange(len(rows)), list(bad))
    if not len(kept):
        why = f": {next(iter(bad.values()))}" if bad else ""
        raise DataError(f"there is no row to answer in {_short(inputs)}{why}")
    notes += tuple(f"{rows_are(count)} {what}" for what, count in sorted(odd.items()))
    notes += tuple(
        f"left out row {row}{in_brackets(file_of(rows, row))}: {reason}"
        for row, reason in bad.items()
    )
    return RowsToAnswer(rows.select(kept), labelled[kept], task, notes)


def _screened(rows: Dataset, decode: bool) -> tuple[dict[int, str], Counter[str]]:
    """Return {position: reason} of rows that cannot be read, and how many have which oddity."""
    if "image" not in rows.column_names:
        return find_bad_rows(rows), Counter()
    odd: dict[int, str] = {}
    if not decode:
        bad, odd = find_bad_heads(rows, "image")
        return bad, Counter(odd.values())

    def see(position: int, opened: OpenedImage) -> None:
        if opened.oddity:
            odd[position] = opened.oddity

    return find_bad_images(rows, "image", see), Counter(odd.values())


def _require_asked(task: Task, asked: Collection[str], features: Features) -> None:
    """Refuse a column that was asked for now and is not there."""
    for field in asked:
        value = getattr(task.settings, field, None)
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
    inputs: Sequence[str], task: Task, label_names: tuple[str, ...], data: Data | None, texts: bool
) -> Source:
    """Return the rows as they are, from files, texts or a data set."""
    if task.settings.noun == "images":
        images = named_images(inputs, label_names)
        if images is not None:
            return images
    if texts or not any(map(names_data, inputs)):
        return Source({"given": task.rows_of_texts(list(inputs))})
    if len(inputs) > 1:
        raise DataError(
            f"expected one data set, or any number of {task.settings.noun}; got {_short(inputs)}"
        )
    kept = {name: getattr(data, name) for name in WRITTEN if data is not None}
    return read_source(Data(path=inputs[0], **kept), lambda features: _uses(task, features))


def _uses(task: Task, features: Features) -> Mapping[str, Use]:
    with suppress(DataError):
        task, _ = _columns(task, features)
    return task.column_uses(features)


def _short(words: Sequence[str]) -> str:
    """Return the first letters of some words, for messages."""
    return without_secrets(" ".join(words))[:80]


def _split_of(source: Source, asked: str | None) -> tuple[str, tuple[str, ...]]:
    """Return the split that was asked for, the test split, or the only one."""
    there = ", ".join(source.splits)
    if asked is not None:
        if asked not in source.splits:
            raise DataError(f"there is no split '{asked}'; splits are {there}")
        return asked, source.notes
    means = split_meanings(map(str.lower, source.splits))
    tests = [name for name in source.splits if means.get(name.lower()) == "test"]
    names = tests or list(source.splits)
    if len(names) > 1:
        raise DataError(f"which split? Splits are {there}; use --split NAME")
    others = ", ".join(name for name in source.splits if name != names[0])
    note = f"rows are those of split '{names[0]}'; others are {others}"
    return names[0], source.notes + ((note,) if len(source.splits) > 1 else ())


def labels_of_table(
    task: Task, table: Dataset, label_names: tuple[str, ...], unlabelled: str | None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return the labels of the rows, which of them are known, and what there is to say.

    A class that the model does not know is no label.

    Args:
        unlabelled: why there are none, where there are none.
    """
    if unlabelled is not None:
        return task.blank_labels(table), np.zeros(len(table), bool), (unlabelled,)
    try:
        there = {**task.known_labels(label_names), "given": table}
        names, found = task.read_labels(there, strict=False)
    except DataError as error:
        raise DataError(str(error).replace(", split 'given'", "")) from error
    labels, labelled = found["given"], is_labelled(found["given"])
    notes: tuple[str, ...] = ()
    strange = class_numbers(labels) if names else np.array([], int)
    strange = strange[strange >= len(label_names)]
    if len(strange):
        odd = np.array([bool(np.isin(label, strange).any()) for label in labels]) & labelled
        labelled = labelled & ~odd
        shown = ", ".join(names[number] for number in strange[:5])
        said = f"{rows_of(odd.sum())} {'has' if odd.sum() == 1 else 'have'} a label that the model"
        notes = (f"{said} does not know ({shown}); figures leave them out",)
    labels[~labelled] = task.blank_labels(table)[~labelled]
    return labels, labelled, notes


def _columns(task: Task, features: Features) -> tuple[Task, str | None]:
    """Return the task with the columns of this table, and a note where it has no labels.

    Labels are where they were in training, or for one class a row in a column of classes called
    label; other columns are not guessed to be them.
    """
    lost = {
        field: None
        for field in ("image", "text", "tokens", "source")
        if (name := getattr(task.settings, field, None)) and not has_column(features, name)
    }
    task = task.changed(**lost)
    known, tells = task.label_columns(), task.settings.tells
    single = [name for name in known if isinstance(features.get(name), ClassLabel)]
    if tells == "tags" and single:
        why = f"column '{single[0]}' has one class a row, and the model predicts any number of them"
    elif all(has_column(features, name) for name in known):
        return task.resolve_columns(features), None
    elif tells == "class" and isinstance(features.get("label"), ClassLabel):
        return task.changed(label="label").resolve_columns(features), None
    else:
        alone = set(features) == {"image"}
        why = "no folder or table says their classes" if alone else f"no column '{known[0]}'"
    there = Features({**features, NO_LABEL: Value("string")})
    task = task.unlabelled(NO_LABEL).resolve_columns(there)
    return task, f"{why}: there are no labels to measure by"
