"""Labelled rows of a task: `load_splits` reads them, `screen` leaves out or refuses broken ones.

`read_rows` does both, and logs what was found.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, Features

from ftkit.data.columns import has_column, listed_columns
from ftkit.data.findings import Finding, unreadable_rows, with_files
from ftkit.data.groups import grouped_rows, without_group
from ftkit.data.inspect import inspect
from ftkit.data.labels import class_numbers, labelled_rows
from ftkit.data.paths_outside import require_inside
from ftkit.data.row_fingerprints import fingerprint_rows
from ftkit.data.sources import read_source
from ftkit.data.split_names import assign_roles, note_unused_splits, splits_by_column
from ftkit.data.split_parts import with_parts
from ftkit.data.splits import ROLES, Splits, file_of, group_numbers, in_brackets, labels_of
from ftkit.data.splitting import draw_splits
from ftkit.errors import DataError, nearest
from ftkit.machine import runtime
from ftkit.recipe import Data
from ftkit.tasks.base import Task
from ftkit.tasks.few_rows import note_on_few_rows

log = logging.getLogger(__name__)


def read_rows(data: Data, task: Task) -> Splits:
    """Return the rows, loaded and checked, and log what was found. Every rank must call this.

    Raises:
        DataError, HubError: see `load_splits` and `screen`.
    """
    splits = runtime.main_first(lambda: load_splits(data, task))
    splits = screen(splits, data.on_bad_row, runtime.on_main)
    for note in (*splits.notes, *note_on_few_rows(splits, task)):
        log.info("data: %s", note)
    counts = ", ".join(f"{name} {rows:,}" for name, rows in splits.counts().items())
    classes = f", {len(splits.label_names)} classes" if splits.label_names else ""
    log.info("data: %s rows%s", counts, classes)
    return splits


def load_splits(data: Data, task: Task, *, strict: bool = True) -> Splits:
    """Return train, validation and test rows, cutting from train what the source does not have.

    Args:
        strict: refuse classes that the training rows lack; else they are the splits' `lacking`.

    Raises:
        DataError: the data cannot be what the task needs.
        HubError: it is on the Hub, and the Hub does not give it.
    """
    found = read_source(data, task.column_uses)
    whole, said_of_splits = splits_by_column(found.splits, data)
    source = with_parts(whole, data)
    _require_as_text(data, next(iter(source.values())).features)
    roles = assign_roles(data, source)
    train = source[roles["train"]]
    group = data.group or (found.group if data.copies == "together" else None)
    try:
        there = without_group(train.features, group, task.settings)
        task, said_of_columns = task.resolve_columns(there).learn_columns(train, there, task)
    except DataError as error:
        raise (DataError(found.no_header) if found.no_header else error) from error
    inputs, labelled = task.input_columns(), task.label_columns()
    also = f", labels in {_named(labelled)}" if labelled else ""
    notes = [*found.notes, *said_of_splits, f"{task.settings.noun} are in {_named(inputs)}{also}"]
    notes += [*said_of_columns, *note_unused_splits(source, roles)]
    tested = source[roles.get("test", data.train)].features
    lost = [name for name in labelled if not has_column(tested, name)]
    if "test" in roles and lost:
        notes.append(
            f"split '{roles.pop('test')}' has no column '{lost[0]}' and is not used for figures; "
            f"ftkit predict answers it"
        )
    for name in roles.values():
        _require(source[name].features, name, *inputs, *labelled)
        notes += task.notes_on(source[name], f"split '{name}': ")
    try:
        names, labels = task.read_labels({r: source[name] for r, name in roles.items()}, strict)
    except DataError as error:
        raise DataError(f"{error}; {found.hint}") if found.hint else error from error
    notes += [
        f"split '{name}' numbers its classes in another way than '{roles['train']}'; they are "
        f"matched by name"
        for name in roles.values()
        if _numbering(source[name], task) != _numbering(train, task)
    ]
    known, said = labelled_rows(data, source, roles, labels)
    notes += said
    groups, said = grouped_rows(data, source, roles, known, group)
    notes += said
    rows = {}
    for role, name in roles.items():
        folder = found.folder_of(name)
        table = task.with_image_files(source[name], folder, data.images)
        whole = task.canonical(table, labels[role], folder)
        if not data.outside:
            require_inside(whole, found.roots_of(name, data.images), data.path)
        rows[role] = whole if len(known[role]) == len(whole) else whole.select(known[role])
    rows, groups_of, said = draw_splits(rows, groups, data, group, roles["train"])
    if not all(len(split) for split in rows.values()):
        sizes = ", ".join(f"{role} {len(split)}" for role, split in rows.items())
        raise DataError(f"data '{data.path}': a split is empty ({sizes}); give more rows")
    task, rows, decided = task.settle(rows, groups_of["train"])
    return Splits(
        **rows,
        label_names=names,
        test_split=roles.get("test", roles["train"]),
        notes=(*notes, *said, *decided, *_lost_classes(names, labels["train"], rows["train"])),
        lacking=() if strict else _lacking(names, labels),
        task=task.settings,
        groups=groups_of["test"],
        train_groups=groups_of["train"],
        validation_groups=groups_of["validation"],
        folder=found.folder,
    )


def examine(splits: Splits, on_bad_row: str, near: bool = True) -> tuple[Finding, ...]:
    """Return everything that is wrong or odd with the rows, errors first; decodes every image once.

    Args:
        on_bad_row: "error" or "skip", what a row that cannot be read is.
        near: also look for near-copies.
    """
    found, bad = _look(splits, near)
    return with_files((*unreadable_rows(splits, bad, on_bad_row == "skip"), *found), splits)


def _look(splits: Splits, near: bool) -> tuple[tuple[Finding, ...], dict[str, dict[int, str]]]:
    """Return what is odd with rows that can be read, and by split why others cannot be."""
    seen = {role: fingerprint_rows(getattr(splits, role), near) for role in ROLES}
    found = inspect(splits, {role: prints for role, (prints, _) in seen.items()})
    return tuple(found), {role: broken for role, (_, broken) in seen.items()}


def screen(splits: Splits, on_bad_row: str, run_once: Callable[[Callable[[], Any]], Any]) -> Splits:
    """Return the splits without the rows that cannot be read; decodes every image once.

    What is odd with the others, as far as it can be told in passing, is logged, and in `findings`.

    Args:
        on_bad_row: "error" refuses such rows, "skip" leaves them out and notes each.
        run_once: `runtime.on_main` in a run of several processes: one looks, all know.

    Raises:
        DataError: a row is broken and `on_bad_row` is "error", or nothing is left of a split.
    """
    found, bad = run_once(lambda: _look(splits, near=False))
    for finding in with_files(found, splits):
        log.info("data: %s", finding)
    left_out = unreadable_rows(splits, bad, skip=True)
    splits = replace(splits, findings=with_files((*left_out, *found), splits))
    named = [
        f"{_describe(getattr(splits, role), role, position)}: {reason}"
        for role in ROLES
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
    kept: dict[str, Any] = {}
    for role in ROLES:
        rows = getattr(splits, role)
        good = [i for i in range(len(rows)) if i not in bad[role]]
        kept[role] = rows.select(good)
        field = "groups" if role == "test" else f"{role}_groups"
        groups = getattr(splits, field)
        if groups is not None:
            kept[field] = group_numbers(groups[good]) if role == "test" else groups[good]
        if not len(kept[role]):
            raise DataError(
                f"no {role} row is left of {len(rows)} without those that cannot be read; the "
                f"first is {next(name for name in named if name.startswith(role))}"
            )
    return replace(splits, **kept).noting(*(f"left out {name}" for name in named))


def _named(columns: tuple[str, ...]) -> str:
    more = len(columns) - 3
    named = ", ".join(f"'{column}'" for column in columns[:3])
    return f"{named} and {more} more columns" if more > 0 else named


def _lost_classes(names: tuple[str, ...], labels: np.ndarray, train: Dataset) -> list[str]:
    """Return a note where cuts and limits leave a class of the training rows without any."""
    if not names:
        return []
    left = class_numbers(labels_of(train))
    lost = [names[number] for number in np.setdiff1d(class_numbers(labels), left)]
    more = ", ..." if len(lost) > 5 else ""
    note = f"{len(lost)} of {len(names)} classes are left without a training row: "
    return [note + ", ".join(lost[:5]) + more] if lost else []


def _numbering(rows: Dataset, task: Task) -> list[str] | None:
    feature = rows.features.get(getattr(task.settings, "label", None))
    feature = getattr(feature, "feature", feature)  # of a list, what is in it
    return list(feature.names) if isinstance(feature, ClassLabel) else None


def _lacking(names: tuple[str, ...], labels: dict[str, np.ndarray]) -> tuple[str, ...]:
    """Return the classes that another split of the source has, and its training rows lack."""
    if not names:
        return ()
    there = np.concatenate([class_numbers(numbers) for numbers in labels.values()])
    return tuple(names[n] for n in np.setdiff1d(there, class_numbers(labels["train"])))


def _require(features: Features, split: str, *columns: str) -> None:
    for column in columns:
        if not has_column(features, column):
            raise DataError(
                f"split '{split}' has no column '{column}'; its columns are {', '.join(features)}"
            )


def _require_as_text(data: Data, features: Features) -> None:
    for name in data.as_text:
        if name not in features:
            raise DataError(
                f"data.as_text: the data has no column '{name}'; columns are "
                f"{listed_columns(features)}{nearest(name, features)}"
            )


def _describe(rows: Dataset, role: str, position: int) -> str:
    number = rows[position]["index"]
    return f"{role} row {number}{in_brackets(file_of(rows, position))}"
