"""What a table means to a task: which columns it reads, its labels, its rows in one form."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import ClassLabel, Dataset, Features

from ftkit.data.column_kinds import Use
from ftkit.data.columns import AS_TEXT, canonical, label_candidates, pick
from ftkit.data.labels import name_labels
from ftkit.data.splits import labels_of
from ftkit.errors import DataError

if TYPE_CHECKING:
    from typing_extensions import Self

Labels = tuple[tuple[str, ...], dict[str, np.ndarray]]
"""The class names, and the labels (N,) of each split by its role."""


class TableReading(ABC):
    """The part of a task that reads rows; by default their label is one class out of C."""

    for_numbers = ""
    """What to do where labels turn out to be measures, for a message."""
    for_several = ""
    """What to do where a row turns out to have several classes, for a message."""

    def __init__(self, settings: Any) -> None:
        """Take the settings of the recipe, such as `ftkit.ImageClassification()`."""
        self.settings = settings

    def changed(self, **settings: Any) -> Self:
        """Return this task with some settings changed."""
        return type(self)(self.settings.model_copy(update=settings))

    @abstractmethod
    def resolve_columns(self, features: Features) -> Self:
        """Return the task with the names of its columns filled in, where only one can be meant.

        Raises:
            DataError: a column that was asked for is not there, or none or several could be meant.
        """

    def label_fields(self, features: Features) -> dict[str, Any]:
        """Return the settings that name the column of labels, for `resolve_columns`."""
        label = pick("label", self.settings.label, label_candidates(features), features)
        return {"label": label}

    @abstractmethod
    def input_columns(self) -> tuple[str, ...]:
        """Return the columns that inputs are read from, once they are filled in."""

    def label_columns(self) -> tuple[str, ...]:
        """Return the columns that labels are read from, once they are filled in."""
        return (self.settings.label,)

    def column_uses(self, features: Features) -> dict[str, Use]:
        """Return which columns are read as texts, and which as classes.

        So that a file that does not say it, as CSV, is read in the same way in every split. Where
        it is not clear which columns are meant, those count that were asked for by name.
        """
        task = self._resolved_where_possible(features)
        found: dict[str, Use] = {}
        for field in AS_TEXT:
            column = getattr(task.settings, field, None)
            if column is not None and column in features:
                found[column] = "text"
        found |= dict.fromkeys(getattr(task.settings, "categories", {}), "text")
        label = getattr(task.settings, "label", None)
        if label is not None and label in features and self.settings.tells != "number":
            found[label] = "text" if self.settings.tells == "tags" else "class"
        return found

    def _resolved_where_possible(self, features: Features) -> Self:
        try:
            return self.resolve_columns(features)
        except DataError:
            return self

    def learn_columns(self, train: Dataset, there: Features, asked: Self) -> tuple[Self, list[str]]:
        """Return the task with what it has to know of the training rows, and notes about columns.

        It runs before `read_labels`, which it may call, and may raise DataError.

        Args:
            train: training rows as the source has them.
            there: the columns that inputs can be.
            asked: the task before its columns were filled in.
        """
        settings = self.settings
        used = {
            name
            for field in type(settings).model_fields
            for name in _names(getattr(settings, field))
        }
        left = [name for name in there if name not in used]
        told = ", ".join(map(repr, left[:5])) + (", ..." if left[5:] else "")
        return self, [f"not used: column{'s' if left[1:] else ''} {told}"] if left else []

    def settle(
        self, rows: Mapping[str, Dataset], groups: np.ndarray | None
    ) -> tuple[Self, dict[str, Dataset], list[str]]:
        """Return the task with what training labels decide, rows as it then reads them, and notes.

        It is called once the rows of test and validation are apart, whose labels decide nothing.

        Args:
            rows: canonical, by role.
            groups: (N,) of the training rows, equal for those that belong together.
        """
        return self, dict(rows), []

    def notes_on(self, rows: Dataset, where: str = "") -> Iterable[str]:
        """Return what is to be said of rows that training did not see; most tasks say nothing.

        Args:
            where: stands before each note.
        """
        return ()

    def with_image_files(self, rows: Dataset, folder: Path | None, images: str | None) -> Dataset:
        """Return the rows, file names in them completed by `data.images` where it is given."""
        return rows

    @abstractmethod
    def inputs(self, rows: Dataset, folder: Path | None) -> Dataset:
        """Return the rows with the inputs alone, under the names that this task uses itself.

        Args:
            folder: where relative file names start.

        Raises:
            DataError: a column does not hold what the task needs.
        """

    def canonical(self, rows: Dataset, labels: np.ndarray, folder: Path | None) -> Dataset:
        """Return the rows with the inputs and the columns label and index, the row's number."""
        return canonical(self.inputs(rows, folder), labels)

    def read_labels(self, splits: Mapping[str, Dataset], strict: bool = True) -> Labels:
        """Return the class names and the labels of each split by role; -1 where there is none.

        Args:
            strict: refuse a class that another split has and the training rows lack.

        Raises:
            DataError: the labels are not what the task predicts.
        """
        settings = self.settings
        return name_labels(splits, settings.label, strict, self.for_numbers, self.for_several)

    def known_labels(self, names: tuple[str, ...]) -> dict[str, Dataset]:
        """Return a training split that has the classes a model knows, in its order.

        `read_labels(..., strict=False)` reads it before the rows that are to be answered, so that
        classes which the model does not know come last.

        Each twice: a column in which no value comes again would be none of classes. Empty where a
        task has no classes to agree on.
        """
        label = str(self.settings.label)
        classes = Features({label: ClassLabel(names=list(names))})
        return {"train": Dataset.from_dict({label: [*range(len(names))] * 2}, features=classes)}

    def blank_labels(self, table: Dataset) -> np.ndarray:
        """Return (N,) what stands for the labels of rows that have none."""
        return np.zeros(len(table), int)

    def unlabelled(self, column: str) -> Self:
        """Return the task as it reads a table without labels, where `column` stands for them."""
        changes: dict[str, Any] = {"label": column}
        if getattr(self.settings, "labels", None) is not None:
            changes["labels"] = None
        return self.changed(**changes)

    def rows_of_texts(self, texts: list[str]) -> Dataset:
        """Return a table with these texts where the task looks for them.

        Raises:
            DataError: the task reads no texts.
        """
        raise DataError(
            f"'{texts[0][:80]}': there is no such file, and the model reads {self.settings.noun}"
        )

    def label_array(self, rows: Dataset, classes: int) -> np.ndarray:
        """Return (N,) the classes or numbers of canonical rows."""
        return labels_of(rows)


def _names(value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, tuple) else (value,)
    return tuple(name.partition(".")[0] for name in values if isinstance(name, str))
