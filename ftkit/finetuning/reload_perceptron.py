"""Run a saved perceptron on raw inputs in a fresh process, which `ftkit.finetuning.verify` starts.

The folder of inputs holds inputs.json, {"columns": {"text" or "features": a value for each row}},
and a PNG file for each image, named after its position. The output, an npz file, has `logits`
(N, C), the outputs, for a classifier `probabilities` (N, C), and the positions of both. Unless it
should be untimed it has `latency` too: the values of `ftkit.finetuning.latency.Waited`, from the
image file, text or row of numbers to the answer.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ftkit.backbones.perceptron import load_perceptron
from ftkit.finetuning.latency import latency_of
from ftkit.perceptron.estimators import MlpClassifier


def main(folder: str | Path, inputs: str | Path, output: str | Path, timed: bool = True) -> None:
    """Write the answers of the perceptron in `folder` for every input, in order."""
    folder, inputs = Path(folder), Path(inputs)
    trained = load_perceptron(folder)
    columns = json.loads((inputs / "inputs.json").read_text(encoding="utf-8"))["columns"]
    raw: list[Any] = next(iter(columns.values()), sorted(inputs.glob("*.png")))
    tell = trained.outputs
    opened = [_opened(one) for one in raw]
    at = np.array([_position(one, row) for row, one in enumerate(raw)])
    answers: dict[str, Any] = {"rows": len(raw), "logits": trained.outputs(opened), "logits at": at}
    if isinstance(trained.estimator, MlpClassifier):
        tell = trained.predict_proba
        answers |= {"probabilities": tell(opened), "probabilities at": at}
    if timed:
        answers["latency"] = np.array(latency_of(lambda one: tell([_opened(one)]), raw))
    np.savez(output, **answers)


def _position(one: Any, row: int) -> int:
    """Return the position of an input among all: its own, or what its file is named after."""
    return int(one.stem) if isinstance(one, Path) else row


def _opened(one: Any) -> Any:
    """Return what a file shows; texts and rows of numbers are themselves."""
    return Image.open(one) if isinstance(one, Path) else one
