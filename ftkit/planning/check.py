"""Before training: look at data and plan as a careful colleague would, and say what would be done.

The rows are looked at first, all faults at once. Where there is no error, data and backbone are
made ready exactly as for training, two real steps are taken, and nothing is kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from ftkit.backbones.structure import count_parameters
from ftkit.data.findings import Finding
from ftkit.data.splits import ROLES, Splits
from ftkit.errors import DataError
from ftkit.finetuning.estimate import Estimate, estimate
from ftkit.finetuning.finetune import make_ready
from ftkit.machine import runtime
from ftkit.machine.numbers import plain, size, span
from ftkit.machine.terminal import duration, quiet
from ftkit.recipe import Recipe
from ftkit.strategies.few_labels import tip_on_few_labels
from ftkit.tasks import task_of
from ftkit.tasks.few_rows import note_on_few_rows
from ftkit.tasks.loading import examine, load_splits


@dataclass(frozen=True)
class Plan:
    """What a run of a recipe would do on this machine."""

    parameters_total: int
    parameters_trained: int
    batch: tuple[int, int, int]
    """Processes, rows in each at once, and steps of accumulation."""
    precision: str
    estimate: Estimate


@dataclass(frozen=True)
class Report:
    """What `ftkit check` says."""

    recipe: str
    strategy: str
    machine: str
    command: str
    """The command that trains what was checked."""
    splits: dict[str, dict[str, int | str]]
    """The rows of each split, and how they are spread over the classes."""
    notes: tuple[str, ...]
    findings: tuple[Finding, ...]
    plan: Plan | None
    """None when an error stops the run."""

    @property
    def errors(self) -> tuple[str, ...]:
        """What training would refuse, with the first rows and their files."""
        found = (str(each) for each in self.findings if each.severity == "error")
        return tuple(each.removeprefix("error: ") for each in found)

    def to_json(self) -> str:
        """Return all of it as JSON."""
        found = asdict(self) | {"findings": [finding.values() for finding in self.findings]}
        return json.dumps(found, indent=2, ensure_ascii=False)

    def lines(self) -> Iterator[str]:
        """Yield the lines for the screen."""
        yield f"recipe     {self.recipe}, strategy {self.strategy}"
        for name, split in self.splits.items():
            yield f"{name:<10} {split['rows']:,} rows, {split['spread']}"
        for note in self.notes:
            yield f"note       {note}"
        for finding in self.findings:
            severity, _, rest = str(finding).partition(": ")
            yield f"{severity:<10} {rest}"
        if not self.findings:
            yield "data       nothing odd was found"
        if self.plan is None:
            return
        plan, estimate = self.plan, self.plan.estimate
        memory = ", ".join(
            f"{size(count)} {place}" for place, count in estimate.peak_memory_bytes.items() if count
        )
        share = plan.parameters_trained / plan.parameters_total
        yield (
            f"parameters {plan.parameters_total:,}, of them trained "
            f"{plan.parameters_trained:,} ({share:.2%})"
        )
        if estimate.seconds_per_step:
            yield (
                f"steps      {estimate.steps:,} of {np.prod(plan.batch)} rows "
                f"({' x '.join(map(str, plan.batch))}: processes, rows each, accumulation)"
            )
        else:
            yield "steps      the backbone runs once, and the head learns from what it gave"
        yield f"machine    {self.machine}, {plan.precision}"
        yield (
            f"time       about {duration(estimate.seconds)} beside loading and saving"
            + (f", {step:.2g} s a step" if (step := estimate.seconds_per_step) else "")
        )
        yield f"memory     about {memory}"
        yield f"run        {self.command}"


def check(recipe: Recipe, command: str = "") -> Report:
    """Return what is odd with a recipe's data, and what a run would do and take. Keeps nothing.

    Args:
        command: that trains as checked.

    Raises:
        RecipeError, ModelError, HubError: the request cannot be met.
    """
    machine = runtime.start(recipe.train.seed)
    lenient = recipe.data.model_copy(update={"on_bad_row": "skip"})
    splits, plan = None, None
    findings: tuple[Finding, ...] = ()
    try:
        splits = runtime.main_first(
            lambda: load_splits(lenient, task_of(recipe.task), strict=False)
        )
        findings = runtime.on_main(partial(examine, splits, recipe.data.on_bad_row))
        if not any(finding.severity == "error" for finding in findings):
            with quiet():  # the report says it
                plan = _plan(recipe, machine)
    except DataError as error:  # it cannot be read at all, or lacks labels
        findings = (Finding("error", str(error)), *findings)
    return Report(
        recipe=recipe.name,
        strategy=recipe.strategy.kind,
        machine=machine.device_name,
        command=command,
        splits=_sizes(splits) if splits else {},
        notes=_notes(splits, findings, recipe) if splits else (),
        findings=findings,
        plan=plan,
    )


def _notes(splits: Splits, findings: tuple[Finding, ...], recipe: Recipe) -> tuple[str, ...]:
    """Return the notes without those that repeat an error: rows of an error are not left out."""
    notes = (*splits.notes, *note_on_few_rows(splits, task_of(splits.task)))
    if splits.task.tells == "class":
        tip = tip_on_few_labels(recipe, np.asarray(splits.train["label"]))
        notes += (tip,) if tip else ()
    errors = "\n".join(found.message for found in findings if found.severity == "error")
    return tuple(note for note in notes if note.removeprefix("left out: ") not in errors)


def _plan(recipe: Recipe, machine: runtime.Machine) -> Plan:
    ready = make_ready(recipe, machine)
    total, trained = count_parameters(ready.model)
    train = recipe.train
    share = runtime.share_batch(train.rows_per_step, train.micro_batch_size, machine.world_size)
    return Plan(
        parameters_total=total,
        parameters_trained=trained,
        batch=(machine.world_size, *share),
        precision=runtime.choose_precision(train.precision, machine),
        estimate=estimate(recipe, ready, machine),
    )


def _sizes(splits: Splits) -> dict[str, dict[str, int | str]]:
    counts = splits.counts()
    return {role: {"rows": counts[role], "spread": _spread(splits, role)} for role in ROLES}


def _spread(splits: Splits, role: str) -> str:
    """Return how many rows of a split a class has, or from where to where its numbers go."""
    values = getattr(splits, role)["label"][:]
    if isinstance(values[0], str):
        middle = sorted(map(len, values))[len(values) // 2]
        return f"texts to write, half of them with {middle:,} characters or fewer"
    if isinstance(values[0], (int, float)):
        labels: Any = np.asarray(values)
        counted = ""
        if not splits.label_names:
            numbers = labels.dtype.kind == "f"
            ends = span(plain(labels.min(), 6), plain(labels.max(), 6))
            return f"labels from {ends}" if numbers else "no labels"
    else:
        labels = [n for row in values if isinstance(row, list) for n in row]
        counted = f"{len(labels):,} labels, "
        if not splits.label_names or not all(isinstance(number, int) for number in labels):
            return "each with a label of its own"
    counts = np.bincount(labels, minlength=len(splits.label_names))
    return f"{counted}{span(f'{counts.min():,}', f'{counts.max():,}')} a class"
