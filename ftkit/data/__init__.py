"""Labelled rows: `load_splits` reads them, `screen` leaves out or refuses those that are broken."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from datasets import ClassLabel, Dataset, Features, Image, Value

from ftkit.data.images import find_bad_images
from ftkit.data.labels import name_labels
from ftkit.data.sources import SPLITS, TEXT, as_images, read
from ftkit.data.splits import Splits, cut, limit
from ftkit.errors import DataError, nearest
from ftkit.recipe import Data, ImageClassification

__all__ = ["Splits", "load_splits", "resolve_columns", "screen"]

log = logging.getLogger(__name__)
LABEL_NAMES = ("label", "labels", "class", "target", "category")
IMAGE_NAMES = ("image", "img", "file_name", "filename", "file", "path", "image_path", "filepath")


def load_splits(data: Data, task: ImageClassification, seed: int) -> Splits:
    """Return train, validation and test rows, cutting from train what the source does not have.

    Raises:
        DataError: the data cannot be what the task needs.
        HubError: it is on the Hub, and the Hub does not give it.
    """
    found = read(data)
    source = found.splits
    roles = _assign(data, source)
    train = source[roles["train"]]
    task = resolve_columns(task, train.features)
    assert task.image is not None
    assert task.label is not None
    for name in roles.values():
        _require(source[name].features, name, task.image, task.label)
    names, labels = name_labels({role: source[name] for role, name in roles.items()}, task.label)

    notes = [f"images are in column '{task.image}', classes in column '{task.label}'"]
    rows: dict[str, Dataset] = {}
    for role, name in roles.items():
        rows[role] = _canonical(source[name], task.image, labels[role], found.folder)
        unlabelled = len(source[name]) - len(rows[role])
        if unlabelled:
            problem = f"split '{name}': {unlabelled} rows have no label"
            if data.on_bad_row == "error" and role != "test":
                raise DataError(f"{problem}; leave them out with --set data.on_bad_row=skip")
            notes.append(f"left out: {problem}")
    if "test" in rows and len(rows["test"]) == 0:
        notes.append("the test split has no labels and is not used")
        del rows["test"], roles["test"]
    for role, fraction in (
        ("test", data.test_fraction),
        ("validation", data.validation_fraction),
    ):
        if role not in rows:
            size = math.ceil(min(len(rows["train"]), data.train_rows or len(train)) * fraction)
            rows["train"], rows[role] = cut(rows["train"], size, seed)
            notes.append(
                f"no {role} split: {len(rows[role])} rows cut from '{roles['train']}', by class, "
                f"seed {seed}"
            )
    limits = {"train": data.train_rows, "validation": data.validation_rows, "test": data.test_rows}
    rows = {role: limit(rows[role], most, seed) for role, most in limits.items()}
    if not all(len(split) for split in rows.values()):
        sizes = ", ".join(f"{role} {len(split)}" for role, split in rows.items())
        raise DataError(f"data '{data.path}': a split is empty ({sizes}); give more rows")
    test_split = roles.get("test", roles["train"])
    return Splits(**rows, label_names=names, test_split=test_split, notes=tuple(notes))


def screen(
    splits: Splits,
    on_bad_row: str,
    run_once: Callable[[Callable[[], dict[str, dict[int, str]]]], dict[str, dict[int, str]]],
) -> Splits:
    """Return the splits without the rows whose image cannot be read; decodes every image once.

    Args:
        on_bad_row: "error" refuses such rows, "skip" leaves them out and notes each.
        run_once: `runtime.on_main` in a run of several processes: one looks, all know.

    Raises:
        DataError: a row is broken and `on_bad_row` is "error", or nothing is left of a split.
    """
    roles = ("train", "validation", "test")
    bad = run_once(
        lambda: {role: find_bad_images(getattr(splits, role), "image") for role in roles}
    )
    named = [
        f"{_describe(getattr(splits, role), role, position)}: {reason}"
        for role in roles
        for position, reason in bad[role].items()
    ]
    if not named:
        return splits
    if on_bad_row == "error":
        more = f" (and {len(named) - 1} more)" if len(named) > 1 else ""
        raise DataError(
            f"{named[0]}{more}. Mend or remove it, or leave such rows out with "
            f"--set data.on_bad_row=skip"
        )
    kept = {}
    for role in roles:
        rows = getattr(splits, role)
        kept[role] = rows.select([i for i in range(len(rows)) if i not in bad[role]])
        if not len(kept[role]):
            raise DataError(
                f"no {role} row is left of {len(rows)} without those that cannot be read; the "
                f"first is {next(name for name in named if name.startswith(role))}"
            )
    return replace(splits, **kept).noting(*(f"left out {name}" for name in named))


def resolve_columns(task: ImageClassification, features: Features) -> ImageClassification:
    """Return the task with the names of its columns filled in, where only one can be meant.

    Raises:
        DataError: a named column is not there, or none or several could be meant.
    """
    images = [name for name, feature in features.items() if isinstance(feature, Image)]
    if not images:
        images = [
            name
            for name in IMAGE_NAMES
            if name in features and getattr(features[name], "dtype", None) in TEXT
        ]
    classes = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    if len(classes) != 1:
        classes = [name for name in LABEL_NAMES if name in features] or classes
    return task.model_copy(
        update={
            "image": _pick("image", task.image, images, features),
            "label": _pick("label", task.label, classes, features),
        }
    )


def _pick(role: str, asked: str | None, candidates: list[str], features: Features) -> str:
    there = ", ".join(features)
    if asked is not None:
        if asked not in features:
            raise DataError(
                f"the data has no column '{asked}'; columns are {there}"
                f"{nearest(asked, features) or '.'} Use --set task.{role}=COLUMN"
            )
        return asked
    if len(candidates) != 1:
        which = "none looks like" if not candidates else f"{' and '.join(candidates)} could all be"
        raise DataError(
            f"which column is the {role}? Columns are {there}; {which} it. "
            f"Use --set task.{role}=COLUMN"
        )
    return candidates[0]


def _assign(data: Data, source: dict[str, Dataset]) -> dict[str, str]:
    """Return which split of the source plays train, validation and test."""
    there = ", ".join(source)
    if data.train not in source:
        raise DataError(
            f"data '{data.path}' has no split '{data.train}'; splits are {there}. "
            f"Use --set data.train=SPLIT"
        )
    roles = {"train": data.train}
    for role in ("validation", "test"):
        asked = getattr(data, role)
        if asked != role and asked not in source:
            raise DataError(
                f"data '{data.path}' has no split '{asked}'; splits are {there}. "
                f"Use --set data.{role}=SPLIT"
            )
        if asked != role:
            roles[role] = asked
    for role in ("validation", "test"):  # what was not asked for by name, out of what is left
        left = [name for name in source if name not in roles.values()]
        others = [name for name in left if SPLITS.get(name.lower()) == role]
        if role not in roles and (role in left or others):
            roles[role] = role if role in left else others[0]
    if len(set(roles.values())) < len(roles):
        raise DataError(f"data: train, validation and test must be different splits, got {roles}")
    return roles


def _require(features: Features, split: str, *columns: str) -> None:
    for column in columns:
        if column not in features:
            raise DataError(
                f"split '{split}' has no column '{column}'; its columns are {', '.join(features)}"
            )


def _canonical(rows: Dataset, image: str, labels: np.ndarray, folder: Path | None) -> Dataset:
    """Return the labelled rows with the columns image, label and index."""
    rows = as_images(rows, image, folder).select_columns([image])
    if image != "image":
        rows = rows.rename_column(image, "image")
    rows = rows.add_column("label", labels).add_column("index", np.arange(len(labels)))
    rows = rows.cast_column("index", Value("int64"))
    return rows if (labels >= 0).all() else rows.select(np.flatnonzero(labels >= 0))


def _describe(rows: Dataset, role: str, position: int) -> str:
    row = rows[position]
    path = row["image"]["path"]
    return f"{role} row {row['index']}" + (f" ({path})" if path else "")
