"""Time head-only training on cached features against the stock Trainer, which caches nothing.

    python scripts/bench_features.py [--recipe NAME] [--epochs N ...] [--rounds N] [--json FILE]
    python scripts/bench_features.py --memory --recipe vit-cifar --data FOLDER

"cold" begins without a cache, "warm" finds the one that "cold" left. Each contender runs in a
process of its own, in turns, round after round. With --memory: the peak memory of extracting the
features of 5,000 and of 50,000 rows instead.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from typing import Any

from bench_common import quiet, recipe_of, record, run_worker, work

NAMES = {"stock": "stock", "cold": "ftkit", "warm": "ftkit"}


def main() -> None:
    """Print a table of seconds, ratios, accuracies and memory."""
    options = parse()
    if options.worker:
        options.epochs = options.worker_epochs
        recipe = recipe_of(options, "head")
        if options.worker == "extract":
            print(json.dumps(extract(recipe.override({"data.train_rows": options.worker_rows}))))
        else:
            print(json.dumps(work(NAMES[options.worker], recipe)))
    elif options.memory:
        memory(options)
    else:
        speed(options)


def parse() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="effnet-digits")
    parser.add_argument("--data", help="other data: a folder, a file, a Hub id")
    parser.add_argument("--rows", type=int, help="so many training rows")
    parser.add_argument("--epochs", type=int, nargs="+", default=[5, 10])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--json", help="write all figures here")
    parser.add_argument("--worker", choices=[*NAMES, "extract"], help=argparse.SUPPRESS)
    parser.add_argument("--worker-epochs", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--worker-rows", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def speed(options: argparse.Namespace) -> None:
    """Run the contenders in turns and print their shortest times."""
    found: dict[str, Any] = {}
    print("epochs  contender  seconds (each round)      ratio  examples/s  accuracy  peak MB")
    for epochs in options.epochs:
        rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in NAMES}
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory() as cache:
                for name in NAMES:
                    words = ["--worker", name, "--worker-epochs", str(epochs)]
                    rounds[name].append(run_worker(words, {"FTKIT_CACHE": cache}))
        base = min(each["seconds"] for each in rounds["stock"])
        for name, each in rounds.items():
            best = min(each, key=lambda run: run["seconds"])
            seconds = " ".join(f"{run['seconds']:7.2f}" for run in each)
            print(
                f"{epochs:6d}  {name:9s}  {seconds:24s}"
                f"{base / best['seconds']:7.1f}  {best['examples_per_second']:10.0f}"
                f"  {statistics.mean(run['accuracy'] for run in each):8.4f}"
                f"  {best['host_bytes'] / 1e6:7.0f}",
                flush=True,
            )
        found[str(epochs)] = rounds
    record(options, {"figures": found})


def memory(options: argparse.Namespace) -> None:
    """Print the peak memory of extraction for few and for many rows."""
    found = {}
    for rows in (5_000, 50_000):
        with tempfile.TemporaryDirectory() as cache:
            words = ["--worker", "extract", "--worker-rows", str(rows)]
            found[str(rows)] = run_worker(words, {"FTKIT_CACHE": cache})
        print(f"{rows:6,d} rows", *(f"{k} {v:,.0f}" for k, v in found[str(rows)].items()))
    more = found["50000"]["host_bytes"] - found["5000"]["host_bytes"]
    print(f"50,000 rows take {more / 1e6:.0f} MB more than 5,000")
    record(options, {"memory": found})


def extract(recipe: Any) -> dict[str, float]:
    """Return the peak memory of a process that extracts the features of all training rows."""
    import time

    quiet()
    from ftkit import runtime
    from ftkit.features import cache_features
    from ftkit.models import place
    from ftkit.run import make_ready

    recipe = recipe.override({"data.validation_rows": 64, "data.test_rows": 64})
    machine = runtime.start(recipe.train.seed)
    ready = make_ready(recipe, machine)
    place(ready.model, None, machine.device)
    loaded = runtime.peak_memory(machine)["host"]
    begin = time.perf_counter()
    cache_features(ready.model, ready.inputs, recipe, machine)
    peak = runtime.peak_memory(machine)
    return {
        "seconds": time.perf_counter() - begin,
        "loaded_bytes": loaded,
        "host_bytes": peak["host"],
    }


if __name__ == "__main__":
    main()
