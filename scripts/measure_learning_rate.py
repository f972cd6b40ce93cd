"""Does the range test find a good learning rate? Its pick against a grid, by several rules.

    python scripts/measure_learning_rate.py effnet-digits:full effnet-digits:lora \\
        minilm-langid:full minilm-langid:lora

For each recipe and strategy, on a part of its rows: test accuracy at seven rates half a decade
apart, and what each rule reads from the range tests of two seeds. Measurements lie in
runs/learning_rate.jsonl and are not repeated; --only-tests leaves the trainings out.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ftkit import registry, runtime
from ftkit.evaluation import predict
from ftkit.metrics import score
from ftkit.models import place
from ftkit.range_test import pick, range_test, smoothed
from ftkit.recipe import Recipe
from ftkit.run import make_ready
from ftkit.stages import train

FILE = Path("runs/learning_rate.jsonl")
PART: dict[str, dict[str, Any]] = {
    "effnet-digits": {"train.epochs": 3, "data.train_rows": 600},
    "minilm-langid": {"train.epochs": 2, "data.train_rows": 2400, "data.test_rows": 700},
}
GRIDS = {
    "full": (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2),
    "lora": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
}


def least_over(divisor: float) -> Callable[[np.ndarray, np.ndarray], float]:
    """Return the rule: the rate of the least smoothed loss over this number."""
    return lambda rates, losses: float(rates[smoothed(losses).argmin()] / divisor)


def steepest(rates: np.ndarray, losses: np.ndarray) -> float:
    """Return the rate at which the smoothed loss falls fastest with the log of the rate."""
    means = smoothed(losses)
    least = max(2, int(means.argmin()) + 1)
    return float(rates[np.gradient(means[:least]).argmin()])


def halfway(rates: np.ndarray, losses: np.ndarray) -> float:
    """Return the rate at which half of the whole fall of the smoothed loss is done."""
    means = smoothed(losses)
    return float(rates[int((means <= (means[0] + means.min()) / 2).argmax())])


RULES: dict[str, Callable[[Any, Any], float]] = {
    "least / 10": least_over(10),
    "least / 5": least_over(5),
    "least / 4": least_over(4),
    "least / 3": least_over(3),
    "steepest": steepest,
    "halfway": halfway,
    "pick": pick,
}


def main() -> None:
    """Measure what is missing and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="+", help="NAME:STRATEGY")
    parser.add_argument("--only-tests", action="store_true")
    arguments = parser.parse_args()
    for given in arguments.recipes:
        name, _, kind = given.partition(":")
        recipe = registry.find(name).with_strategy(kind).override(PART[name])
        rates = () if arguments.only_tests else GRIDS[kind]
        grid = [measured(recipe, name, kind, rate=rate) for rate in rates]
        tests = [measured(recipe, name, kind, seed=seed) for seed in (0, 1)]
        rows = [
            (rule, [read(np.array(t["rates"]), np.array(t["losses"])) for t in tests])
            for rule, read in RULES.items()
        ]
        chosen = rows[-1][1][0]
        if grid:
            grid.append(measured(recipe, name, kind, rate=chosen))
        print(f"\n{given}: rate and accuracy on test rows, seconds of training")
        for run in sorted(grid, key=lambda run: run["rate"]):
            mark = "  <- picked" if run["rate"] == chosen else ""
            print(f"  {run['rate']:8.2g}  {run['test']:.3f}  {run['train_seconds']:.0f} s{mark}")
        for rule, found in rows:
            print(f"  {rule:12s}" + "".join(f"{rate:10.2g}" for rate in found))
        print(f"  range test: {tests[0]['seconds']:.0f} s, {len(tests[0]['rates'])} steps")


def measured(recipe: Recipe, name: str, kind: str, **what: float) -> dict[str, Any]:
    """Return one measurement, of a training at a `rate` or of a range test with a `seed`."""
    about = {"recipe": name, "strategy": kind, **what}
    lines = FILE.read_text(encoding="utf-8").splitlines() if FILE.exists() else []
    for entry in map(json.loads, lines):
        if about.items() <= entry.items():
            return entry
    seed = int(what.get("seed", 0))
    recipe = recipe.override({"train.seed": seed})
    if "rate" in what:
        recipe = recipe.override({"strategy.learning_rate": what["rate"]})
    machine = runtime.start(seed)
    ready = make_ready(recipe, machine)
    place(ready.model, None, machine.device)
    begin = time.perf_counter()
    if "rate" in what:
        with tempfile.TemporaryDirectory() as folder:
            fitted = train(
                recipe.strategy, ready.model, ready.inputs, recipe, machine, Path(folder)
            )
        rows = ready.inputs.test
        outputs = predict(ready.task, ready.model, rows, recipe.train, machine)
        about["test"] = score(ready.task, rows.labels, outputs)["accuracy"]
        about["train_seconds"] = fitted.train_seconds
    else:
        found = range_test(ready.model, ready.inputs, recipe, machine)
        about |= {"rates": found.rates, "losses": found.losses}
    about["seconds"] = time.perf_counter() - begin
    FILE.parent.mkdir(exist_ok=True)
    with FILE.open("a", encoding="utf-8") as file:
        file.write(json.dumps(about) + "\n")
    return about


if __name__ == "__main__":
    main()
