"""Measure the perceptron's test accuracy on MNIST over several seeds.

    python scripts/measure_mnist.py FOLDER [--network plain|tuned] [--seeds 5] [--validate]

FOLDER holds train.parquet and test.parquet. `plain` is 784-64-64-10, ReLU, Adam, batch 32, five
epochs; `tuned` is 784-256-128-10 with the settings below, chosen with --validate: that trains on
the first 50,000 training rows, scores the last 10,000, and leaves the test rows alone.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet
from PIL import Image

from ftkit.perceptron.estimators import MlpClassifier

PLAIN = MlpClassifier(hidden=(64, 64), activation="relu", update="adam", batch_size=32, epochs=5)
TUNED = MlpClassifier(
    hidden=(256, 128),
    activation="relu",
    update="adamw",
    learning_rate=2e-3,
    batch_size=128,
    epochs=30,
    schedule="cosine",
    warmup=0.05,
    weight_decay=0.05,
    dropout=0.3,
)


def main() -> None:
    """Print the accuracy for each seed, and the mean."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--network", choices=("plain", "tuned"), default="plain")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--validate", action="store_true")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=NUMBER")
    options = parser.parse_args()
    X, y = load(options.folder / "train.parquet")
    if options.validate:
        X, X_test, y, y_test = X[:50_000], X[50_000:], y[:50_000], y[50_000:]
    else:
        X_test, y_test = load(options.folder / "test.parquet")
    model = PLAIN if options.network == "plain" else TUNED
    for change in options.set:
        name, _, number = change.partition("=")
        model.set_params(**{name: type(getattr(model, name))(number)})
    scores = []
    for seed in range(options.seeds):
        begin = time.perf_counter()
        model.set_params(random_state=seed).fit(X, y)
        seconds = time.perf_counter() - begin
        scores.append(model.score(X_test, y_test))
        print(f"seed {seed}: {scores[-1]:.4f} in {seconds:.1f} s", flush=True)
    print(f"mean {statistics.mean(scores):.4f}, {min(scores):.4f} to {max(scores):.4f}")


def load(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return X (N, 784) float32 in [0, 1] and labels (N,)."""
    table = pyarrow.parquet.read_table(file).to_pydict()
    images = [np.asarray(Image.open(io.BytesIO(row["bytes"]))) for row in table["image"]]
    return np.stack(images).reshape(len(images), -1).astype(np.float32) / 255, np.array(
        table["label"]
    )


if __name__ == "__main__":
    main()
