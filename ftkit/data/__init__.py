"""Labelled rows: `load_splits` reads them, `screen` leaves out or refuses those that are broken."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, Features

from ftkit.data import conversations, lists  # noqa: F401 - register how theirs are read
from ftkit.data.columns import (
    canonical,
    has_column,
    input_columns,
    label_columns,
    located,
    pick,
    resolve_columns,
)
from ftkit.data.drawing import draw
from ftkit.data.files import SPLITS
from ftkit.data.findings import Finding, unreadable, with_files
from ftkit.data.groups import read_groups, require_apart, without_group
from ftkit.data.inspect import inspect
from ftkit.data.labels import class_numbers, is_labelled, read_labels
from ftkit.data.parts import with_parts
from ftkit.data.prints import look
from ftkit.data.sources import read
from ftkit.data.splits import ROLES, Splits, file_of, in_brackets, labels_of, own_groups
from ftkit.data.uses import uses_of
from ftkit.errors import DataError
from ftkit.recipe import Data, Task

__all__ = ["Finding", "Splits", "examine", "load_splits", "resolve_columns", "screen"]

log = logging.getLogger(__name__)


def load_splits(data: Data, task: Task, *, strict: bool = True) -> Splits:
    """Return train, validation and test rows, cutting from train what the source does not have.

    Args:
        strict: refuse classes that the training rows lack; else they are the splits' `lacking`.

    Raises:
        DataError: the data cannot be what the task needs.
        HubError: it is on the Hub, and the Hub does not give it.
    """
    found = read(data, partial(uses_of, task))
    source = with_parts(found.splits, data)
    for name in data.as_text:
        pick("label", name, [], next(iter(source.values())).features)
    roles = _assign(data, source)
    train = source[roles["train"]]
    group = data.group or (found.group if data.copies == "together" else None)
    try:
        task = resolve_columns(task, without_group(train.features, group, task))
    except DataError as error:
        raise (DataError(found.no_header) if found.no_header else error) from error
    inputs, labelled = input_columns(task), label_columns(task)
    also = f", labels in {_named(labelled)}" if labelled else ""
    notes = [*found.notes, f"{task.noun} are in {_named(inputs)}{also}"]
    tested = source[roles.get("test", data.train)].features
    lost = [name for name in labelled if not has_column(tested, name)]
    if "test" in roles and lost:
        notes.append(
            f"split '{roles.pop('test')}' has no column '{lost[0]}' and is not used for figures; "
            f"ftkit predict answers it"
        )
    for name in roles.values():
        _require(source[name].features, name, *inputs, *labelled)
    try:
        names, labels = read_labels(task, {r: source[name] for r, name in roles.items()}, strict)
    except DataError as error:
        raise DataError(f"{error}; {found.hint}") if found.hint else error from error
    notes += [
        f"split '{name}' numbers its classes in another way than '{roles['train']}'; they are "
        f"matched by name"
        for name in roles.values()
        if _numbering(source[name], task) != _numbering(train, task)
    ]
    known, said = _labelled(data, source, roles, labels)
    notes += said
    groups, said = _grouped(data, source, roles, known, group)
    notes += said
    rows = {}
    for role, name in roles.items():
        folder = found.folder_of(name)
        table = located(task, source[name], folder, data.images)
        whole = canonical(task, table, labels[role], folder)
        rows[role] = whole if len(known[role]) == len(whole) else whole.select(known[role])
    rows, groups_of, said = draw(rows, groups, data, group, roles["train"])
    if not all(len(split) for split in rows.values()):
        sizes = ", ".join(f"{role} {len(split)}" for role, split in rows.items())
        raise DataError(f"data '{data.path}': a split is empty ({sizes}); give more rows")
    return Splits(
        **rows,
        label_names=names,
        test_split=roles.get("test", roles["train"]),
        notes=(*notes, *said, *_lost_classes(names, labels["train"], rows["train"])),
        lacking=() if strict else _lacking(names, labels),
        task=task,
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
    seen = {role: look(getattr(splits, role), near) for role in ROLES}
    bad = {role: broken for role, (_, broken) in seen.items()}
    found = inspect(splits, {role: prints for role, (prints, _) in seen.items()})
    return with_files((*unreadable(splits, bad, on_bad_row == "skip"), *found), splits)


def screen(splits: Splits, on_bad_row: str, run_once: Callable[[Callable[[], Any]], Any]) -> Splits:
    """Return the splits without the rows that cannot be read; decodes every image once.

    What is odd with the others, as far as it can be told in passing, is logged, and in `findings`.

    Args:
        on_bad_row: "error" refuses such rows, "skip" leaves them out and notes each.
        run_once: `runtime.on_main` in a run of several processes: one looks, all know.

    Raises:
        DataError: a row is broken and `on_bad_row` is "error", or nothing is left of a split.
    """

    def see() -> tuple[dict[str, dict[int, str]], tuple[Finding, ...]]:
        seen = {role: look(getattr(splits, role), near=False) for role in ROLES}
        bad = {role: broken for role, (_, broken) in seen.items()}
        found = inspect(splits, {role: prints for role, (prints, _) in seen.items()})
        return bad, with_files(found, splits)

    bad, findings = run_once(see)
    for finding in findings:
        log.info("data: %s", finding)
    splits = replace(splits, findings=findings)
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
            kept[field] = own_groups(groups[good]) if role == "test" else groups[good]
        if not len(kept[role]):
            raise DataError(
                f"no {role} row is left of {len(rows)} without those that cannot be read; the "
                f"first is {next(name for name in named if name.startswith(role))}"
            )
    return replace(splits, **kept).noting(*(f"left out {name}" for name in named))


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


def _numbering(rows: Dataset, task: Any) -> list[str] | None:
    feature = rows.features.get(getattr(task, "label", None))
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


def _labelled(
    data: Data, source: dict[str, Dataset], roles: dict[str, str], labels: dict[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return which rows have a label, by role, and notes; drops a test split without any."""
    known, notes = {}, []
    for role, name in list(roles.items()):
        known[role] = np.flatnonzero(is_labelled(labels[role]))
        unlabelled = len(source[name]) - len(known[role])
        if unlabelled:
            problem = f"split '{name}': {unlabelled} rows have no label"
            if data.on_bad_row == "error" and role != "test":
                raise DataError(f"{problem}; leave them out with --set data.on_bad_row=skip")
            notes.append(f"left out: {problem}")
    if "test" in known and len(known["test"]) == 0:
        notes.append("the test split has no labels and is not used")
        del known["test"], roles["test"]
    return known, notes


def _grouped(
    data: Data,
    source: dict[str, Dataset],
    roles: dict[str, str],
    known: dict[str, np.ndarray],
    group: str | None,
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the group of each row of `known`, by role, and notes; leaves out rows without one.

    Raises:
        DataError: two splits share a group, or a row has none.
    """
    if group is None:
        return {}, []
    splits = {name: source[name].select(known[role]) for role, name in roles.items()}
    found, notes = read_groups(splits, group, data.on_bad_row == "skip")
    require_apart(found, splits, group)
    groups = {}
    for role, name in roles.items():
        if name in found:
            there = found[name] >= 0
            known[role], groups[role] = known[role][there], found[name][there]
    count = len(np.unique(groups["train"]))
    notes.append(f"rows of one {group} stay together: {count:,} in '{roles['train']}'")
    return groups, notes


def _describe(rows: Dataset, role: str, position: int) -> str:
    number = rows[position]["index"]
    return f"{role} row {number}{in_brackets(file_of(rows, position))}"


from ftkit.data import translation  # noqa: E402, F401 - registers its implementations
