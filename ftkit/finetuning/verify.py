"""The verified artefact: what was saved gives what was measured, in a fresh process.

Heads that were lost on saving, statistics that are not in an adapter, a processor of another size:
each of them shows here, and fails the run before anybody uses or publishes its model.
"""

from __future__ import annotations

import json
import logging
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from ftkit.data.images import open_rgb
from ftkit.data.splits import Splits
from ftkit.errors import VerificationError
from ftkit.finetuning.latency import Waited
from ftkit.machine import fresh_process
from ftkit.runs.result import Latency
from ftkit.tasks.base import Task
from ftkit.tasks.evaluation import verified_rows

log = logging.getLogger(__name__)
TOLERANCE = 1e-3
"""Largest difference, as a share of the largest number. Reloading was seen to give differences of 0
to 2e-4 (where the run computed in channels_last, the reloaded model does not); a drifted BatchNorm
gave 0.33."""


@dataclass(frozen=True)
class Verified:
    """What a fresh process found."""

    rows: int
    """Test rows that were compared."""
    latency_seconds: float | None
    """Median time of one of them by itself, from what a user has to the answer; None where it was
    not measured."""
    latency: Latency | None = None
    """The same with quartiles, threads and repetitions."""


def verify(
    folder: Path, task: Task, splits: Splits, outputs: Any, trusted: bool = False
) -> Verified:
    """Return on how many test rows the saved model, and the adapter beside it, were compared.

    Loads each in a process of its own through transformers and peft, and compares what it gives,
    and what its pipeline gives, on up to 256 test rows.

    Args:
        folder: model/ of a run, with a plain model, an adapter, or a plain model and adapter/.
        outputs: of all test rows, as measured.
        trusted: Python code that came with the backbone, and was saved with the model, may run.

    Raises:
        VerificationError: it cannot be loaded, or answers otherwise.
    """
    rows = verified_rows(len(splits.test))
    artefacts = [folder, *(path for path in [folder / "adapter"] if path.exists())]
    with tempfile.TemporaryDirectory() as scratch:
        _write_inputs(task, splits.test.select(rows), Path(scratch), trusted)
        latency = None
        for artefact in artefacts:
            timed, wanted = artefact == folder, task.expected_on_reload(outputs, rows)
            difference, waited = _compare(artefact, Path(scratch), wanted, timed)
            latency = waited if timed else latency
            log.info(
                f"verified {artefact}: reloaded in a fresh process, {len(rows)} test rows, numbers "
                f"differ by at most {difference:.1g}"
            )
    return Verified(len(rows), latency.median if latency else None, latency)


def _write_inputs(task: Task, rows: Dataset, folder: Path, trusted: bool) -> None:
    """Write what the rows hold as a user would have it: inputs.json, and PNG files of images."""
    for number, row in enumerate(rows if "image" in rows.column_names else ()):
        open_rgb(row["image"]).save(folder / f"{number:06d}.png")
    settings = task.settings.model_dump(mode="json")
    about = {"reads": task.settings.noun, "tells": task.settings.tells}
    inputs = {"task": settings, **about, "columns": task.user_inputs(rows), "trusted": trusted}
    (folder / "inputs.json").write_text(json.dumps(inputs), encoding="utf-8")


def _compare(
    artefact: Path, inputs: Path, wanted: dict[str, np.ndarray], timed: bool
) -> tuple[float, Latency | None]:
    """Return the largest difference between what was measured and what a fresh process gives.

    And where it is timed, how long one row by itself takes.
    """
    output = inputs / "answers.npz"
    kind = json.loads((artefact / "config.json").read_text(encoding="utf-8")).get("model_type")
    script = (
        "ftkit.finetuning.reload_perceptron" if kind == "ftkit-mlp" else "ftkit.finetuning.reload"
    )
    words = [str(artefact.resolve()), str(inputs), str(output), *([] if timed else ["untimed"])]
    done = subprocess.run(fresh_process.command(script, *words), capture_output=True, text=True)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise VerificationError(f"{artefact} does not load in a fresh process: {last}")
    answers = np.load(output)
    both = [name for name in wanted if name in answers.files]
    if not both:
        raise VerificationError(f"{artefact}: a fresh process gave none of {', '.join(wanted)}")
    largest = 0.0
    for name in both:
        measured, again = wanted[name], answers[name]
        if measured.dtype.kind == "U":
            _require_equal(artefact, name, measured, again)
            continue
        scale = max(1.0, float(np.nanmax(np.abs(measured))))
        difference = float(np.nanmax(np.abs(again - measured)))
        if not difference <= TOLERANCE * scale:
            raise VerificationError(
                f"{artefact}: {name} after reloading differ by {difference:.3g} from those "
                f"measured (largest {scale:.3g})"
            )
        largest = max(largest, difference)
    if "latency" not in answers.files:
        return largest, None
    waited = dict(zip(Waited._fields, answers["latency"].tolist(), strict=True))
    return largest, Latency(**waited)


def _require_equal(artefact: Path, name: str, measured: np.ndarray, again: np.ndarray) -> None:
    """Require the same texts; one, or one in twenty, may turn at a tie between two words.

    Such ties are common where little was learned yet. Settings that are lost turn far more.
    """
    other = np.flatnonzero(measured != again)
    if len(other) > max(1, len(measured) // 20):
        row = other[0]
        raise VerificationError(
            f"{artefact}: {len(other)} of {len(measured)} {name} are others after reloading; the "
            f"first was {str(measured[row])[:80]!r} and is {str(again[row])[:80]!r}"
        )
