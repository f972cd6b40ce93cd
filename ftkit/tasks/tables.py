"""What tasks share that read columns of a table: numbers, words as 0 and 1 for each, and gaps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import Dataset, Features, List, Value

from ftkit.data.columns import is_number, is_text, pick
from ftkit.data.encoders import ColumnEncoder, Encoder
from ftkit.data.findings import rows_of
from ftkit.data.table_columns import (
    as_numbers,
    categories_of,
    levels_of,
    unknown_levels,
    unknown_words,
    words_as_numbers,
)
from ftkit.errors import DataError
from ftkit.machine.numbers import plain
from ftkit.recipe import AUTO, Mlp
from ftkit.tasks.base import Task
from ftkit.tasks.whole_numbers import levels_help

if TYPE_CHECKING:
    from typing_extensions import Self


class Tables(Task):
    """A row of numbers and categories in."""

    def resolve_columns(self, features: Features) -> Self:
        """Return the task with its label, and every column of numbers as an input."""
        settings = self.settings
        label = self.label_fields(features)["label"]
        numbers = tuple(name for name in features if name != label and is_number(features[name]))
        for name in settings.columns or ():
            pick("columns", name, [], features)
            empty = getattr(features[name], "dtype", "") == "null"
            if not (is_number(features[name]) or is_text(features[name]) or empty):
                raise DataError(f"column '{name}' holds {features[name]}, not numbers or words")
        if not (settings.columns or numbers or any(map(is_text, features.values()))):
            raise DataError(f"the data has no column of numbers but '{label}'")
        return self.changed(columns=settings.columns or numbers, label=label)

    def input_columns(self) -> tuple[str, ...]:
        """Return the columns of numbers and of few words."""
        return self.settings.columns

    def learn_columns(self, train: Dataset, there: Features, asked: Self) -> tuple[Self, list[str]]:
        """Return the task with its columns of words, and what is left of the others and why.

        Words become categories where they are few.
        """
        settings, wanted = self.settings, asked.settings.columns
        texts = [name for name in there if is_text(there[name]) and name != settings.label]
        if wanted is not None:
            texts = [name for name in texts if name in wanted]
        words, left = {}, {}
        for name in texts:
            found, why = categories_of(train[name][:])
            if found and why is None:
                words[name] = found
            else:
                left[name] = why
        for name in there if wanted is None else wanted:
            if name != settings.label and not is_text(there[name]) and not is_number(there[name]):
                kind = str(getattr(there[name], "dtype", type(there[name]).__name__))
                left[name] = "empty" if kind == "null" else kind
        if left and wanted is not None:
            name, why = next(iter(left.items()))
            raise DataError(f"column '{name}' cannot be an input: {why}")
        chosen = wanted or tuple(
            name
            for name in there
            if name in words or (name in settings.columns and name not in left)
        )
        if not chosen:
            why = ", ".join(f"{name} ({reason})" for name, reason in left.items())
            raise DataError(
                f"the data has no column of numbers but '{settings.label}', nor one of few words: "
                f"{why}"
            )
        unused = [f"{name} ({why})" for name, why in left.items()] if wanted is None else []
        said = ", ".join(f"{name} ({len(values)} values)" for name, values in words.items())
        notes = [f"columns of words: {said}"] if said else []
        learned = {"columns": chosen, "categories": words or asked.settings.categories}
        task, said_of_numbers = self.changed(**learned)._learn_numbers(train)
        notes += said_of_numbers
        notes += [f"not used: {', '.join(unused)}"] if unused else []
        return task, notes

    def _learn_numbers(self, train: Dataset) -> tuple[Self, list[str]]:
        """Return the task with what may be read of a column of numbers beside them, and notes."""
        settings, gaps, levels = self.settings, {}, {}
        for name in (name for name in settings.columns if name not in settings.categories):
            values = as_numbers(train, name)[:, 0]
            if count := int(np.isnan(values).sum()):
                gaps[name] = count
            if settings.read_levels and (found := levels_of(values)):
                levels[name] = settings.levels.get(name, found)
        said = ", ".join(f"{name} ({count:,})" for name, count in gaps.items())
        notes = [f"gaps in training rows, where the mean stands in: {said}"] if said else []
        given = {"read_levels": True} if settings.levels and settings.read_levels else {}
        return self.changed(levels=levels, gaps=tuple(gaps), **given), notes

    def settle(
        self, rows: Mapping[str, Dataset], groups: np.ndarray | None
    ) -> tuple[Self, dict[str, Dataset], list[str]]:
        """Return the task without levels, and rows without their inputs, where they do not help."""
        settings, kept = self.settings, dict(rows)
        if not settings.levels:
            return self, kept, []
        named = ", ".join(f"{name} ({len(found)})" for name, found in settings.levels.items())
        said = f"columns of few whole numbers: {named}: each of them is an input beside the number"
        if settings.read_levels != AUTO:
            return self, kept, [said]
        train, is_level = rows["train"], np.array([kind == "level" for kind in self._kinds()])
        is_number = np.array([kind == "number" for kind in self._kinds()])
        values, labels = np.array(train["features"][:]), np.array(train["label"][:])
        if levels_help(values[:, is_number], values[:, is_level], labels, groups):
            advice = "which helps a linear model; --set task.read_levels=false takes none"
            return self, kept, [f"{said}, {advice}"]
        kept = {role: _without(part, is_level) for role, part in rows.items()}
        said = f"columns of few whole numbers: {named}: read as numbers alone, since a linear model"
        return self.changed(levels={}), kept, [f"{said} is not helped by an input for each"]

    def _kinds(self) -> Iterator[str]:
        """Yield what each input is: "word", "number", "level" or "gap"."""
        settings = self.settings
        for name in settings.columns:
            if name in settings.categories:
                yield from ("word",) * len(settings.categories[name])
                continue
            yield "number"
            yield from ("level",) * len(settings.levels.get(name, ()))
            yield from ("gap",) * (name in settings.gaps)

    def notes_on(self, rows: Dataset, where: str = "") -> Iterable[str]:
        """Return a note for each column with words, numbers or gaps that training did not have."""
        settings = self.settings
        yield from unknown_words(settings.categories, rows, where)
        for name in (name for name in settings.columns if name not in settings.categories):
            values = as_numbers(rows, name)[:, 0]
            gaps = int(np.isnan(values).sum())
            if gaps and name not in settings.gaps:
                have = "has" if gaps == 1 else "have"
                told = f"{where}{rows_of(gaps)} {have} a gap in '{name}', where training has none"
                yield f"{told}: the mean stands in"
            yield from unknown_levels(name, values, settings.levels.get(name, ()), where)

    def inputs(self, rows: Dataset, folder: Path | None) -> Dataset:
        """Return the rows with their numbers in one column, `features`."""
        settings = self.settings
        columns = [
            words_as_numbers(rows, name, settings.categories[name])
            if name in settings.categories
            else as_numbers(rows, name, settings.levels.get(name, ()), name in settings.gaps)
            for name in settings.columns
        ]
        features = Features({"features": List(Value("float64"))})
        values = np.concatenate(columns, axis=1).tolist()
        return Dataset.from_dict({"features": values}, features=features)

    def cells(self, features: Sequence[float]) -> dict[str, float | str | None]:
        """Return the number or word of each column, of a row of `inputs`; None for a gap."""
        settings, start = self.settings, 0
        found: dict[str, float | str | None] = {}
        for name in settings.columns:
            words = settings.categories.get(name)
            levels = len(settings.levels.get(name, ()))
            width = len(words) if words else 1 + levels + (name in settings.gaps)
            own = features[start : start + width]
            if words:
                found[name] = next((w for w, there in zip(words, own, strict=True) if there), None)
            else:
                found[name] = None if math.isnan(own[0]) else own[0]
            start += width
        return found

    def told(self, features: Sequence[float]) -> list[tuple[str, str]]:
        """Return (column, its number or word) of a row of `inputs`; a gap is an empty text."""
        return [
            (name, plain(cell, 6) if isinstance(cell, float) else cell or "")
            for name, cell in self.cells(features).items()
        ]

    def encoder(self, backbone: Mlp, train: Dataset) -> Encoder:
        """Return what brings each column to mean 0 and variance 1."""
        return ColumnEncoder.of(np.asarray(self.raw_inputs(train), np.float64))

    def raw_inputs(self, rows: Dataset) -> Iterable[Any]:
        """Return the numbers (D,) of each row."""
        return rows.with_format("numpy")["features"][:]


def _without(rows: Dataset, inputs: np.ndarray) -> Dataset:
    """Return canonical rows without some of their inputs, (D,) which."""
    left = np.array(rows["features"][:])[:, ~inputs].tolist()
    feature = rows.features["features"]
    return rows.remove_columns("features").add_column("features", left, feature=feature)
