"""Labels of rows to be answered, as far as the model knows them, and what stands for the others."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, Features, List, Value

from ftkit.data.findings import rows_of
from ftkit.data.labels import class_numbers, is_labelled, read_labels
from ftkit.data.splits import objects
from ftkit.errors import DataError
from ftkit.recipe import (
    LanguageModelling,
    TabularRegression,
    TextRegression,
    TextTagging,
    TokenClassification,
    Translation,
)

NO_LABEL = "no label"
"""The name of the column that stands in for labels where there are none."""


def labels_given(
    task: Any, table: Dataset, label_names: tuple[str, ...], unlabelled: str | None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return the labels of the rows, which of them are known, and what there is to say.

    A class that the model does not know is no label.

    Args:
        unlabelled: why there are none, where there are none.
    """
    if unlabelled is not None:
        return blank(task, table), np.zeros(len(table), bool), (unlabelled,)
    try:
        there = {**_each_class(task, label_names), "given": table}
        names, found = read_labels(task, there, strict=False)
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
    labels[~labelled] = blank(task, table)[~labelled]
    return labels, labelled, notes


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
