"""Run a saved perceptron on raw inputs in a fresh process, which `ftkit.verify` starts.

    python -m ftkit.mlp_reload MODEL_FOLDER INPUTS_FOLDER OUTPUT.npz

INPUTS_FOLDER holds inputs.json, {"columns": {"text" or "features": a value for each row}}, and a
PNG file for each image. OUTPUT.npz has `logits` (N, C), the outputs, and for a classifier
`probabilities` (N, C), and `seconds` of each of the first rows by itself.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ftkit.mlp_estimator import MlpClassifier
from ftkit.mlp_model import load_perceptron

TIMED = 50


def main(folder: Path, inputs: Path, output: Path) -> None:
    """Write the answers of the perceptron in `folder` for every input, in order."""
    trained = load_perceptron(folder)
    columns = json.loads((inputs / "inputs.json").read_text(encoding="utf-8"))["columns"]
    images = [Image.open(file) for file in sorted(inputs.glob("*.png"))]
    raw: list[Any] = next(iter(columns.values()), images)
    answers = {"logits": trained.outputs(raw)}
    if isinstance(trained.estimator, MlpClassifier):
        answers["probabilities"] = trained.predict_proba(raw)
    clock = [time.perf_counter()]
    for one in raw[:TIMED]:
        trained.outputs([one])
        clock.append(time.perf_counter())
    answers["seconds"] = np.diff(clock)
    np.savez(output, **answers)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]))
