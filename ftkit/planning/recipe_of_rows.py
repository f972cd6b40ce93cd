"""Which recipe suits rows that nobody named one for: task and backbone by their columns.

The backbones are those that need no network; `--backbone` takes another one, and every recipe of
`ftkit list` may be named instead.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, Features, Image

from ftkit import registry
from ftkit.data.columns import (
    MAY_BE_NUMBERS,
    holds_files,
    is_number,
    is_text,
    label_candidates,
    pick,
)
from ftkit.data.image_formats import is_read
from ftkit.data.sources import read_source
from ftkit.data.split_names import assign_roles, splits_by_column
from ftkit.data.split_parts import with_parts
from ftkit.data.table_columns import as_numbers, categories_of, levels_of
from ftkit.data.usual_columns import IMAGE_NAMES, TEXT_NAMES, usually_named
from ftkit.errors import DataError, RecipeError, nearest
from ftkit.errors.addresses import shown
from ftkit.recipe import (
    Data,
    ImageClassification,
    ImageRegression,
    ImageTagging,
    Recipe,
    TabularClassification,
    TabularRegression,
    TextClassification,
    TextRegression,
    TextTagging,
)
from ftkit.recipe.defaults import usual_settings
from ftkit.strategies.few_labels import suited_to

log = logging.getLogger(__name__)
TASKS: dict[tuple[str, str], Any] = {
    ("images", "class"): ImageClassification,
    ("images", "number"): ImageRegression,
    ("images", "tags"): ImageTagging,
    ("texts", "class"): TextClassification,
    ("texts", "number"): TextRegression,
    ("texts", "tags"): TextTagging,
    ("rows", "class"): TabularClassification,
    ("rows", "number"): TabularRegression,
}
RECIPES = {
    "images": dict.fromkeys(("class", "number", "tags"), "effnet-digits"),
    "texts": dict.fromkeys(("class", "number", "tags"), "minilm-langid"),
    "rows": {"class": "mlp-tictactoe", "number": "mlp-diabetes"},
}
"""Whose backbone and settings are taken, by what a row is and what is told of it."""
SAID = {"class": "one class each", "number": "a number each", "tags": "any number of classes each"}
OTHERS = {
    "messages": "conversations",
    "conversations": "conversations",
    "translation": "translations",
    "tokens": "words of sentences",
}
"""Columns of rows for which there is no backbone without a network, and what such rows are."""
WORDS = 4
"""Texts have so many words at least, in the mean; what has fewer is a name or a category."""
MANY = 3
"""A column of texts beside so many columns of numbers and categories is a remark in a table."""
FEW = 3
"""So many different whole numbers are classes, and more where a table reads them as categories."""


def recipe_of_rows(path: str, asked: Mapping[str, Any], strategy: str | None = None) -> Recipe:
    """Return a recipe for these rows, and say which task, backbone and strategy it has.

    Args:
        path: of the data, as `--data` takes it.
        asked: settings that the command line gives, by path.
        strategy: that the command line gives; it is chosen by the rows where there is none.

    Raises:
        DataError: the rows cannot be read, or do not say which column is the label.
        RecipeError: there is no such recipe.
    """
    train, no_header = _training_rows(path, asked)
    kind = _kind_of(path, train, no_header, asked)
    noun, told = kind.noun, kind.told
    task = TASKS.get((noun, told))
    if task is None:
        raise RecipeError(f"'{shown(path)}': there is no task for tables with {SAID[told]}")
    base = registry.find(RECIPES[noun][told])
    name = base.name.partition("-")[0]
    about = {"name": name, "description": f"{name} for {noun}", "expect": ()}
    text = {"text": kind.text} if kind.text else {}
    own = {"task": task(**text), "data": Data(path=base.data.path)}
    recipe = Recipe(**{**dict(base), **about, **own})
    recipe = recipe.override(usual_settings(recipe, asked))
    says = f"{noun} with {SAID[told]}: {name} ({base.backbone.id}) with task {task().kind}"
    suited = suited_to(noun, kind.rows_of_class)
    free = strategy is None and not any(map(_of_training, asked))
    if free and suited:
        recipe = recipe.with_strategy(suited)
        says += f", and strategy {suited}, since a class has {kind.rows_of_class:.3g} {noun}"
        says += " in the mean"
    log.info(f"{says}; --set task.kind=KIND takes another task, a name of 'ftkit list' a recipe")
    return recipe


def _training_rows(path: str, asked: Mapping[str, Any]) -> tuple[Dataset, str]:
    """Return the training rows, and what is to be said where they seem to have no header."""
    given = {name: asked[f"data.{name}"] for name in Data.model_fields if f"data.{name}" in asked}
    data = Data(**{"path": path, **given})
    found = read_source(data)
    whole, _ = splits_by_column(found.splits, data)
    source = with_parts(whole, data)
    return source[assign_roles(data, source)["train"]], found.no_header


@dataclass(frozen=True)
class _Kind:
    """What rows are."""

    noun: str
    """What a row is, as `TASKS` has it."""
    told: str
    """What is told of a row, as `TASKS` has it."""
    text: str | None
    """The column of texts, where it is found out by what it holds."""
    rows_of_class: float
    """Training rows of a class in the mean; infinite where no class is told."""


def _kind_of(path: str, train: Dataset, no_header: str, asked: Mapping[str, Any]) -> _Kind:
    """Return what these rows are."""
    there = train.features
    wished = _kind_asked(asked)
    for name, what in OTHERS.items():
        if name in there and wished is None:
            raise RecipeError(
                f"which recipe? '{shown(path)}' holds {what} (column {name}); 'ftkit list' shows "
                f"recipes for them, as in ftkit train NAME --data {shown(path)}"
            )
    labels = asked.get("task.labels")
    try:
        columns = labels or [_label(there, _label_asked(asked))]
    except DataError as error:
        raise (DataError(no_header) if no_header else error) from None
    inputs = Features({name: there[name] for name in there if name not in columns})
    found = "tags" if labels else _told(train, columns[0])
    noun, text = _noun(train, inputs, asked)
    noun, told = wished or (noun, found)
    rows_of_class = math.inf
    if told == "class":
        values = [value for value in train[columns[0]][:] if value is not None]
        rows = min(len(values), asked.get("data.train_rows") or len(values))
        rows_of_class = rows / max(1, len(set(values)))
    return _Kind(noun, told, text if noun == "texts" else None, rows_of_class)


def _of_training(path: str) -> bool:
    """Return whether a setting is one of how a backbone is trained, which strategies differ in."""
    return path in ("train.epochs", "train.learning_rate") or path.partition(".")[0] == "strategy"


def _label_asked(asked: Mapping[str, Any]) -> str | None:
    whole = asked.get("task")
    return asked.get("task.label", whole.get("label") if isinstance(whole, Mapping) else None)


def _kind_asked(asked: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return what --set task.kind, or task as a whole, says of the rows; None where it does not."""
    whole = asked.get("task")
    wished = asked.get("task.kind", whole.get("kind") if isinstance(whole, Mapping) else None)
    if wished is None:
        return None
    kinds = {task().kind: kind for kind, task in TASKS.items()}
    if wished not in kinds:
        raise RecipeError(
            f"task.kind = {wished}: name a recipe for it, or choose one of {', '.join(kinds)}"
            f"{nearest(str(wished), kinds)}"
        )
    return kinds[wished]


def _label(features: Features, asked: str | None) -> str:
    return pick("label", asked, label_candidates(features), features)


def _noun(train: Dataset, there: Features, asked: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return what a row is, "images", "texts", or "rows" of a table, and the column of texts.

    The latter where it is told by what it holds, and not by its name or by the user.
    """
    if "task.image" in asked or any(map(_holds_images, there.values())):
        return "images", None
    for name in usually_named(IMAGE_NAMES, there):
        first = next((value for value in train[name][:] if value), "")
        if is_text(there[name]) and is_read(str(first)):
            return "images", None
    if "task.text" in asked:
        return "texts", None
    if "task.columns" in asked:
        return "rows", None
    texts = [name for name in there if is_text(there[name])]
    if usually_named(TEXT_NAMES, texts) or usually_named(MAY_BE_NUMBERS, there):
        return "texts", None
    long = [name for name in texts if _is_long(train[name][:])]
    others = [name for name in there if is_number(there[name])]
    others += [name for name in texts if categories_of(train[name][:])[1] is None]
    if not long or len(others) >= MANY:
        return "rows", None
    return "texts", long[0] if len(long) == 1 else None


def _holds_images(feature: Any) -> bool:
    return isinstance(feature, Image) or holds_files(feature)


def _is_long(values: list[Any]) -> bool:
    """Return whether a column holds texts, and not names or categories."""
    texts = [str(value) for value in values if value]
    _, why = categories_of(values)
    words = [len(text.split()) for text in texts]
    return bool(words) and why is not None and float(np.mean(words)) >= WORDS


def _told(train: Dataset, label: str) -> str:
    """Return what is told of a row: "class", "number" or "tags"."""
    feature = train.features[label]
    if isinstance(feature, ClassLabel) or is_text(feature):
        return "class"
    if not is_number(feature):
        return "tags"
    values = as_numbers(train, label)[:, 0]
    there = np.unique(values[~np.isnan(values)])
    few = len(there) <= FEW and (there == np.round(there)).all()
    return "class" if few or levels_of(values) else "number"
