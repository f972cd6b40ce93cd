"""The verified artefact: what was saved gives what was measured, in a fresh process.

Heads that were lost on saving, statistics that are not in an adapter, a processor of another size:
each of them shows here, and fails the run before anybody uses or publishes its model.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from datasets import Dataset

from ftkit import reload
from ftkit.data import Splits
from ftkit.data.images import open_rgb
from ftkit.errors import VerificationError
from ftkit.metrics import softmax

log = logging.getLogger(__name__)
MOST_ROWS = 256
LOGIT_TOLERANCE = 1e-3
"""Largest difference, as a share of the largest logit. Reloading was seen to give differences of 0
to 2e-4 (where the run computed in channels_last, the reloaded model does not); a drifted BatchNorm
gave 0.33."""


def verify(folder: Path, splits: Splits, logits: np.ndarray) -> int:
    """Return how many test rows the saved model, and the adapter beside it, were compared on.

    Loads each in a process of its own through transformers and peft, and compares logits, the
    pipeline's probabilities, and the score on up to 256 test rows.

    Args:
        folder: model/ of a run, with a plain model, an adapter, or a plain model and adapter/.
        logits: (N, C) of all test rows, as measured.

    Raises:
        VerificationError: it cannot be loaded, or answers otherwise.
    """
    count = min(MOST_ROWS, len(splits.test))
    rows = np.linspace(0, len(splits.test) - 1, count).round().astype(int)
    artefacts = [folder, *(path for path in [folder / "adapter"] if path.exists())]
    with tempfile.TemporaryDirectory() as scratch:
        _write_inputs(splits.test.select(rows), Path(scratch))
        for artefact in artefacts:
            _compare(artefact, Path(scratch), logits[rows], np.asarray(splits.test["label"])[rows])
    return count


def _write_inputs(rows: Dataset, folder: Path) -> None:
    """Write what the rows hold as a user would have it: PNG files, or inputs.json."""
    for number, row in enumerate(rows if "image" in rows.column_names else ()):
        open_rgb(row["image"]).save(folder / f"{number:06d}.png")
    for column in {"text", "features"} & set(rows.column_names):
        (folder / "inputs.json").write_text(json.dumps(list(rows[column])), encoding="utf-8")


def _compare(artefact: Path, inputs: Path, expected: np.ndarray, labels: np.ndarray) -> None:
    output = inputs / "answers.npz"
    kind = json.loads((artefact / "config.json").read_text(encoding="utf-8")).get("model_type")
    script = ["-m", "ftkit.mlp_reload"] if kind == "ftkit-mlp" else [reload.__file__]
    command = [sys.executable, *script, str(artefact.resolve()), str(inputs), str(output)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise VerificationError(f"{artefact} does not load in a fresh process: {last}")
    answers = np.load(output)
    scale = max(1.0, float(np.abs(expected).max()))
    difference = float(np.abs(answers["logits"] - expected).max())
    if not difference <= LOGIT_TOLERANCE * scale:
        raise VerificationError(
            f"{artefact}: logits after reloading differ by {difference:.3g} from those measured "
            f"(largest logit {scale:.3g})"
        )
    if "probabilities" in answers:
        gap = float(np.abs(answers["probabilities"] - softmax(expected)).max())
        if not gap <= LOGIT_TOLERANCE * scale:
            raise VerificationError(
                f"{artefact}: probabilities of the pipeline differ by {gap:.3g} from those measured"
            )
    score, measured = (
        float((values.argmax(1) == labels).mean()) for values in (answers["logits"], expected)
    )
    if expected.shape[1] > 1 and abs(score - measured) > 1 / len(
        labels
    ):  # one row may lie on the border of two classes
        raise VerificationError(
            f"{artefact}: accuracy after reloading is {score:.4f}, measured was {measured:.4f}"
        )
    log.info(
        "verified %s: reloaded in a fresh process, %d test rows, logits differ by at most %.1g",
        artefact,
        len(labels),
        difference,
    )
