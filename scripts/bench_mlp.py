"""Time ftkit's perceptron against other libraries on the same network, data and batches.

    python scripts/bench_mlp.py --data FOLDER [--keras-python PYTHON] [--json FILE]

FOLDER holds MNIST's train.parquet and test.parquet; without it a set of the same shape is made by
scikit-learn. Each contender runs in a process of its own, one after the other, round after round,
so that all meet the same machine. A process's first epoch (compiling, warming up) is not counted.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from mlp_numpy import numpy_by_hand

Runner = tuple[Callable[[], Any], Callable[[], float]]
"""Run one epoch; return the test accuracy."""


def main() -> None:
    """Print a table of seconds per epoch, ratios and accuracies."""
    options = parse()
    os.environ.setdefault("KERAS_BACKEND", "jax")
    if options.worker:
        print(json.dumps(work(options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        options.arrays = str(Path(folder) / "arrays.npz")
        arrays: dict[str, Any] = load(options.data)
        np.savez(options.arrays, **arrays)
        names = options.only or list(CONTENDERS)
        if "keras" in names and not has_keras(options.keras_python):
            print("keras: not installed, left out")
            names.remove("keras")
        rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for number in range(options.rounds):
            for name in names:
                rounds[name].append(run_worker(name, options))
                seconds = rounds[name][-1]["seconds"]
                print(f"round {number + 1} {name:16s}", *(f"{s:.3f}" for s in seconds), flush=True)
    report(rounds, options)


def parse() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder with MNIST's train.parquet and test.parquet")
    parser.add_argument("--hidden", type=int, nargs="*", default=[64, 64])
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=3, help="per process; the first is not timed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu", help="of ftkit, torch and the floor")
    parser.add_argument("--tf32", action="store_true", help="TF32 products on a GPU")
    parser.add_argument("--only", nargs="*", choices=list(CONTENDERS))
    parser.add_argument("--keras-python", default=sys.executable, help="a Python that has Keras")
    parser.add_argument("--json", help="write all times here")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--arrays", help=argparse.SUPPRESS)
    return parser.parse_args()


def load(folder: str | None) -> dict[str, np.ndarray]:
    """Return X (N, 784) float32 in [0, 1] and labels (N,) of both splits."""
    arrays = {}
    if folder is None:
        from sklearn.datasets import make_classification

        X, y = make_classification(70_000, 784, n_informative=40, n_classes=10, random_state=0)
        X = (X - X.min(0)) / (X.max(0) - X.min(0))
        cut = 60_000
        arrays = {"X": X[:cut], "y": y[:cut], "X_test": X[cut:], "y_test": y[cut:]}
    else:
        import pyarrow.parquet
        from PIL import Image

        for split, end in (("train", ""), ("test", "_test")):
            table = pyarrow.parquet.read_table(Path(folder) / f"{split}.parquet").to_pydict()
            images = (Image.open(io.BytesIO(row["bytes"])) for row in table["image"])
            arrays["X" + end] = np.stack([np.asarray(image).ravel() for image in images]) / 255
            arrays["y" + end] = np.array(table["label"])
    return {
        name: a.astype(np.float32 if name[0] == "X" else np.int64) for name, a in arrays.items()
    }


def has_keras(python: str) -> bool:
    """Return whether that Python can import Keras."""
    return subprocess.run([python, "-c", "import keras"], capture_output=True).returncode == 0


def run_worker(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return one process's seconds per epoch, first one left out, and its test accuracy."""
    python = options.keras_python if name == "keras" else sys.executable
    command = [python, __file__, "--worker", name, "--arrays", options.arrays]
    command += ["--batch-size", str(options.batch_size), "--epochs", str(options.epochs)]
    command += ["--device", options.device, "--hidden", *map(str, options.hidden)]
    command += ["--tf32"] if options.tf32 else []
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def work(options: argparse.Namespace) -> dict[str, Any]:
    """Run one contender in this process."""
    with np.load(options.arrays) as stored:
        data = {name: stored[name] for name in stored.files}
    sizes = [data["X"].shape[1], *options.hidden, int(data["y"].max()) + 1]
    run_epoch, accuracy = CONTENDERS[options.worker](data, sizes, options)
    seconds = []
    for _ in range(options.epochs):
        begin = time.perf_counter()
        run_epoch()
        seconds.append(time.perf_counter() - begin)
    return {"seconds": seconds[1:], "accuracy": accuracy()}


def prepare_torch(data: dict[str, np.ndarray], options: argparse.Namespace) -> tuple[Any, ...]:
    """Return torch and the four arrays on the device."""
    import torch

    if options.tf32:
        torch.set_float32_matmul_precision("high")
    names = ("X", "y", "X_test", "y_test")
    return torch, *(torch.from_numpy(data[name]).to(options.device) for name in names)


def ftkit(data: dict[str, np.ndarray], sizes: list[int], options: argparse.Namespace) -> Runner:
    """The chapter."""
    _, X, y, X_test, y_test = prepare_torch(data, options)
    from ftkit.perceptron.network import Moments, Network, Training
    from ftkit.perceptron.training import evaluate, one_hot, train

    network, Y = Network(tuple(sizes), device=options.device), one_hot(y, sizes[-1])
    moments, how = Moments(network), Training(epochs=1, batch_size=options.batch_size)
    return (
        lambda: train(network, X, Y, how, moments=moments),
        lambda: evaluate(network, X_test, one_hot(y_test, sizes[-1]))[1] or 0.0,
    )


def autograd(threads: int | None, fused: bool) -> Callable[..., Runner]:
    """torch with autograd and torch.optim.Adam, rows indexed from memory without a DataLoader."""

    def make(data: dict[str, np.ndarray], sizes: list[int], options: argparse.Namespace) -> Runner:
        torch, X, y, X_test, y_test = prepare_torch(data, options)
        torch.set_num_threads(threads or torch.get_num_threads())
        layers = [m for D, H in pairwise(sizes) for m in (torch.nn.Linear(D, H), torch.nn.ReLU())]
        model = torch.nn.Sequential(*layers[:-1]).to(options.device)
        optimiser = torch.optim.Adam(model.parameters(), 1e-3, fused=fused or None)
        error = torch.nn.CrossEntropyLoss()

        def run_epoch() -> None:
            for rows in torch.randperm(len(X)).to(X.device).split(options.batch_size):
                optimiser.zero_grad()
                error(model(X[rows]), y[rows]).backward()
                optimiser.step()
            if X.is_cuda:
                torch.cuda.synchronize()

        def accuracy() -> float:
            with torch.no_grad():
                return (model(X_test).argmax(1) == y_test).double().mean().item()

        return run_epoch, accuracy

    return make


def floor(threads: int | None) -> Callable[..., Runner]:
    """The matrix products of an epoch alone, into buffers made before."""

    def make(data: dict[str, np.ndarray], sizes: list[int], options: argparse.Namespace) -> Runner:
        torch, X, *_ = prepare_torch(data, options)
        torch.set_num_threads(threads or torch.get_num_threads())
        B = options.batch_size
        a = [torch.rand(B, size, device=X.device) for size in sizes]
        W = [torch.rand(D, H, device=X.device) for D, H in pairwise(sizes)]
        dW = [torch.empty_like(w) for w in W]

        def run_epoch() -> None:
            with torch.inference_mode():
                for _ in range(-(-len(X) // B)):
                    for k, w in enumerate(W):
                        torch.mm(a[k], w, out=a[k + 1])
                    for k in reversed(range(len(W))):
                        torch.mm(a[k].t(), a[k + 1], out=dW[k])
                        if k:
                            torch.mm(a[k + 1], W[k].t(), out=a[k])
                    for buffer in a[1:]:
                        buffer.fill_(0.5)  # keeps the numbers from growing
                if X.is_cuda:
                    torch.cuda.synchronize()

        return run_epoch, lambda: float("nan")

    return make


def scikit_learn(threads: int | None) -> Callable[..., Runner]:
    """scikit-learn's MLPClassifier, epoch by epoch through partial_fit."""

    def make(data: dict[str, np.ndarray], sizes: list[int], options: argparse.Namespace) -> Runner:
        from sklearn.neural_network import MLPClassifier
        from threadpoolctl import threadpool_limits

        threadpool_limits(threads)
        model = MLPClassifier(tuple(sizes[1:-1]), alpha=0.0, batch_size=options.batch_size)
        classes = np.arange(sizes[-1])
        return (
            lambda: model.partial_fit(data["X"], data["y"], classes=classes),
            lambda: float(model.score(data["X_test"], data["y_test"])),
        )

    return make


def keras(data: dict[str, np.ndarray], sizes: list[int], options: argparse.Namespace) -> Runner:
    """Keras' model.fit on the backend that KERAS_BACKEND names (jax where it is not set)."""
    import keras

    hidden = [keras.layers.Dense(H, activation="relu") for H in sizes[1:-1]]
    model = keras.Sequential([keras.Input((sizes[0],)), *hidden, keras.layers.Dense(sizes[-1])])
    error = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), error)
    batch = {"batch_size": options.batch_size, "verbose": 0}
    return (
        lambda: model.fit(data["X"], data["y"], **batch),
        lambda: float((model.predict(data["X_test"], **batch).argmax(1) == data["y_test"]).mean()),
    )


CONTENDERS: dict[str, Callable[..., Runner]] = {
    "ftkit": ftkit,
    "numpy-1": numpy_by_hand,
    "scikit-learn": scikit_learn(None),
    "scikit-learn-1": scikit_learn(1),
    "torch": autograd(None, False),
    "torch-1": autograd(1, False),
    "torch-1-fused": autograd(1, True),
    "keras": keras,
    "floor": floor(None),
    "floor-1": floor(1),
}
"""A name that ends in -1 has one CPU thread, the others as many as the library likes."""


def report(rounds: dict[str, list[dict[str, Any]]], options: argparse.Namespace) -> None:
    """Print the medians, and write everything as JSON."""
    times = {name: [s for run in runs for s in run["seconds"]] for name, runs in rounds.items()}
    medians = {name: statistics.median(values) for name, values in times.items()}
    own = medians.get("ftkit", float("nan"))
    print(f"\n{'':16s} seconds per epoch (range)   of ftkit   test accuracy")
    for name, median in sorted(medians.items(), key=lambda item: item[1]):
        low, high = min(times[name]), max(times[name])
        accuracy = statistics.mean(run["accuracy"] for run in rounds[name])
        print(
            f"{name:16s} {median:8.3f} ({low:.3f}-{high:.3f}) {median / own:13.2f} {accuracy:13.4f}"
        )
    if options.json:
        settings = {"command": sys.argv, "cpus": os.cpu_count(), **vars(options)}
        result = {"settings": settings, "medians": medians, "rounds": rounds}
        Path(options.json).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
