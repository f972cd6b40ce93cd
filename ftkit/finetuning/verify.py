"""The verified artefact: what was saved gives what was measured, in a fresh process.

Heads that were lost on saving, statistics that are not in an adapter, a processor of another size:
each of them shows here, and fails the run before anybody uses or publishes its model.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from ftkit.data.open_images import open_rgb
from ftkit.data.splits import Splits
from ftkit.errors import VerificationError
from ftkit.finetuning.fresh_reader import module_of
from ftkit.finetuning.in_time import in_time
from ftkit.finetuning.latency import Waited
from ftkit.machine.fresh_process import FreshProcess, waiting_for
from ftkit.runs.result import Latency
from ftkit.tasks.base import Task
from ftkit.tasks.evaluation import verified_rows

log = logging.getLogger(__name__)
TOLERANCE = 1e-3
"""Largest difference, as a share of the largest number. Reloading was seen to give differences of 0
to 2e-4 (where the run computed in channels_last, the reloaded model does not); a drifted BatchNorm
gave 0.33."""

SHARE, LEAST_SECONDS = 0.1, 2.0
"""Rows are written down and answered for this share of the run's time until then, or for so many
seconds. Where a row takes long, fewer are compared, 16 at least."""


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
    folder: Path,
    task: Task,
    splits: Splits,
    outputs: Any,
    trusted: bool = False,
    fresh: FreshProcess | None = None,
    run_seconds: float = 0.0,
) -> Verified:
    """Return on how many test rows the saved model, and the adapter beside it, were compared.

    Loads them in a fresh process through transformers and peft, and compares what they give on up
    to 256 test rows, and what their pipelines give on some of these; on fewer where that would take
    long beside the run.

    Args:
        folder: model/ of a run, with a plain model, an adapter, or a plain model and adapter/.
        outputs: of all test rows, as measured.
        trusted: Python code that came with the backbone, and was saved with the model, may run.
        fresh: the process, where it has been started already.
        run_seconds: that the run has taken until now.

    Raises:
        VerificationError: it cannot be loaded, or answers otherwise.
    """
    rows = verified_rows(len(splits.test))
    artefacts = [folder, *(path for path in [folder / "adapter"] if path.exists())]
    wanted = task.expected_on_reload(outputs, rows)
    with tempfile.TemporaryDirectory() as scratch:
        seconds = most_seconds(run_seconds) / (1 + len(artefacts))
        _write_inputs(task, splits.test.select(rows), Path(scratch), trusted, seconds)
        read = _read_in(fresh, artefacts, Path(scratch))
        latency = _latency(read[0])
        for artefact, answers in zip(artefacts, read, strict=True):
            difference = _compare(artefact, wanted, answers)
            log.info(
                f"verified {artefact}: reloaded in a fresh process, {answers['rows']} test rows, "
                f"numbers differ by at most {difference:.1g}"
            )
    compared = min(int(answers["rows"]) for answers in read)
    return Verified(compared, latency.median if latency else None, latency)


def most_seconds(run_seconds: float) -> float:
    """Return for how long rows may be written down and answered, after so long a run."""
    return max(LEAST_SECONDS, SHARE * run_seconds)


def _write_inputs(task: Task, rows: Dataset, folder: Path, trusted: bool, seconds: float) -> None:
    """Write what the rows hold as a user would have it: inputs.json, and PNG files of images.

    Of large images there are as many as can be written in time.
    """
    for some in in_time(len(rows), seconds) if "image" in rows.column_names else ():
        for number in some:
            image = open_rgb(rows[number]["image"])
            image.save(folder / f"{number:06d}.png", compress_level=1)
    settings = task.settings.model_dump(mode="json")
    about = {"reads": task.settings.noun, "tells": task.settings.tells}
    asked = {"columns": task.user_inputs(rows), "trusted": trusted, "seconds": seconds}
    inputs = {"task": settings, **about, **asked}
    (folder / "inputs.json").write_text(json.dumps(inputs), encoding="utf-8")


def _read_in(
    fresh: FreshProcess | None, artefacts: list[Path], inputs: Path
) -> list[Mapping[str, np.ndarray]]:
    """Return what a fresh process writes about each artefact; the first one is timed."""
    if fresh is None or fresh.has_ended():
        kind = json.loads((artefacts[0] / "config.json").read_text(encoding="utf-8"))
        fresh = waiting_for(module_of(perceptron=kind.get("model_type") == "ftkit-mlp"))
    files = [inputs / f"answers-{number}.npz" for number in range(len(artefacts))]
    status, last = fresh.carry_out(
        [
            (str(artefact.resolve()), str(inputs), str(file), file is files[0])
            for artefact, file in zip(artefacts, files, strict=True)
        ]
    )
    if status != 0:
        done = sum(file.exists() for file in files[:-1])
        raise VerificationError(f"{artefacts[done]} does not load in a fresh process: {last}")
    return [np.load(file) for file in files]


def _compare(
    artefact: Path, wanted: Mapping[str, np.ndarray], answers: Mapping[str, np.ndarray]
) -> float:
    """Return the largest difference between what was measured and what a fresh process gives."""
    both = [name for name in wanted if name in answers]
    if not both:
        raise VerificationError(f"{artefact}: a fresh process gave none of {', '.join(wanted)}")
    largest = 0.0
    for name in both:
        places = answers.get(f"{name} at", slice(None))
        measured, again = wanted[name][places], answers[name]
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
    return largest


def _latency(answers: Mapping[str, np.ndarray]) -> Latency | None:
    """Return how long one row by itself takes, where that was timed."""
    if "latency" not in answers:
        return None
    return Latency(**dict(zip(Waited._fields, answers["latency"].tolist(), strict=True)))


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
