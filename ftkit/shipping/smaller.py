"""shrink: the best of several files of eight bits, where a test says that it is as good."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ftkit.errors import VerificationError
from ftkit.exported.model import Answers, open_export
from ftkit.machine.numbers import fixed
from ftkit.shipping import proof
from ftkit.shipping.files import To, write
from ftkit.shipping.noninferiority import Difference, difference_of
from ftkit.shipping.onnx_file import Parts
from ftkit.shipping.parts import Taken
from ftkit.shipping.quantise import CALIBRATION, as_int8, candidates, model_inputs
from ftkit.shipping.rows import Measured, raw_rows
from ftkit.tasks.evaluation import spread_rows

log = logging.getLogger(__name__)
VALIDATION = 256
"""Validation rows by which one of several files is chosen; test rows choose nothing."""


@dataclass(frozen=True)
class Smaller:
    """A file of eight bits that is as good as the run, to a margin."""

    parts: Parts
    made_by: str
    found: Difference
    margin: float

    def to_record(self) -> dict[str, Any]:
        """Return what export.json says of it."""
        return {**asdict(self.found), "margin": self.margin, "made_by": self.made_by}


def shrink(taken: Taken, measured: Measured, scratch: Path, to: To, margin: float) -> Smaller:
    """Return the smaller file that is nearest to the one of float32 on validation rows.

    Raises:
        VerificationError: on the test rows it is not proven to be as good.
    """
    parts, splits = taken.parts, measured.splits

    def some(role: str, most: int) -> list[Any]:
        rows, folder = getattr(splits, role), scratch / role
        folder.mkdir()
        chosen = rows.select(spread_rows(len(rows), most))
        return raw_rows(measured.task, chosen, parts.about, folder)

    beside = scratch / "fp32"
    fp32 = open_export(write(parts, taken.beside, beside, to))
    validation = some("validation", VALIDATION)
    wanted = fp32.answer(validation)
    batches = model_inputs(parts, some("train", CALIBRATION), beside)
    tried: list[tuple[float, str, Parts, Path]] = []
    for number, (name, body) in enumerate(candidates(parts, batches, to == "openvino")):
        smaller = as_int8(parts, body)
        file = write(smaller, taken.beside, scratch / f"int8-{number}", to)
        apart = _apart(wanted, open_export(file).answer(validation))
        log.info(f"int8 by {name}: answers differ by {apart:.3g} in the mean of validation rows")
        tried.append((apart, name, smaller, file))
    _, name, smaller, file = min(tried, key=lambda one: one[0])
    answers = proof.answers_of(file, measured.rows, parts.about, scratch)
    found = difference_of(measured, answers, parts.about)
    _require_as_good(found, margin, name)
    return Smaller(smaller, name, found, margin)


def _apart(first: Answers, second: Answers) -> float:
    """Return the mean difference of two answers to the same rows."""
    sides = [
        np.concatenate([np.ravel(row) for row in answers.scores])
        if isinstance(answers.scores, list)
        else np.ravel(answers.scores)
        for answers in (first, second)
    ]
    return float(np.nanmean(np.abs(sides[0] - sides[1])))


def _require_as_good(found: Difference, margin: float, name: str) -> None:
    said = (
        f"{found.figure} of int8 (by {name}) less that of the run is {fixed(found.difference, 4)} "
        f"[{fixed(found.low, 4)}, {fixed(found.high, 4)}] on {found.rows:,} test rows"
    )
    if found.within(margin):
        log.info(f"{said}; worse by the margin of {margin:g} can be ruled out")
        return
    advice = "leave out --int8, or accept more by --margin"
    if needed := found.few(margin):
        unit = "rows" if found.units == found.rows else f"groups of rows as {found.units:,}"
        advice = (
            f"so few {unit} cannot rule it out, even if all are answered alike: {needed:,} can, or "
            f"a larger --margin"
        )
    raise VerificationError(
        f"{said}, so that int8 may be worse by the margin of {margin:g}; {advice}"
    )
